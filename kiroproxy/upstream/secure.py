"""TLS to hosts: the context that verifies them, what channels share, and sessions to resume.

Rules of this file: there is no way around the context's verification; a session is only offered
to the host it came from.

Source: `_channel` for the protocol itself.
"""

import asyncio
import functools
import ssl
from collections import OrderedDict

from kiroproxy._channel import READ_BYTES, Channel

_SESSIONS = 64  # hosts; a gateway has a handful
# Looking at a connection's session costs it 7 KiB for good; servers take tickets for hours.
_SESSION_FRESH_S = 60.0


class Secured(Channel, asyncio.BufferedProtocol):
    """A channel that the standard library's event loop takes for a protocol, too."""

    __slots__ = ()


class Security:
    """How one pool speaks TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._sessions: OrderedDict[tuple[str, int], tuple[ssl.SSLSession, float]] = OrderedDict()
        # A context that asks the system's verifier must see certificates, and resuming shows none.
        self._resumes = type(context) is ssl.SSLContext

    def channel(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> Secured:
        """Return a channel that will accept nobody but this host."""
        key = (host, port)
        if not self._resumes:
            return Secured(loop, self.context, host, self._buffer)
        session, kept_at = self._sessions.get(key, (None, 0.0))
        if session is not None and loop.time() - kept_at < _SESSION_FRESH_S:
            return Secured(loop, self.context, host, self._buffer, session)
        on_session = functools.partial(self._keep, key, loop.time())
        return Secured(loop, self.context, host, self._buffer, session, on_session)

    def _keep(self, key: tuple[str, int], now_s: float, session: ssl.SSLSession) -> None:
        self._sessions[key] = session, now_s
        self._sessions.move_to_end(key)
        if len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)
