"""A connection to Kiro as the event loop wants it.

Rules of this file: nothing is decided here; the protocol is `_line`'s.
"""

import asyncio
from collections.abc import Hashable
from typing import Protocol

from kiroproxy._line import Limits, Line

__all__ = ["READ_BUFFER_BYTES", "Connection", "Limits"]

READ_BUFFER_BYTES = 64 * 1024  # one read is what a slow client can make us hold


class Owner(Protocol):
    """Who keeps count of connections."""

    def made(self, connection: "Connection") -> None: ...
    def lost(self, connection: "Connection") -> None: ...


class Connection(Line, asyncio.BufferedProtocol):
    """A line that the standard library's event loop takes for a protocol, too.

    Shape: `key` is the owner's, who files the connection under it.
    """

    __slots__ = ()

    def __new__(cls, owner: Owner, key: Hashable, buffer: memoryview) -> "Connection":
        loop = asyncio.get_running_loop()
        return super().__new__(cls, loop.time, buffer, loop, owner, key)

    def __init__(self, owner: Owner, key: Hashable, buffer: memoryview) -> None:
        """Take what `__new__` has used."""
