"""Refresh tokens that this process has traded, and what it got for each.

Rules of this file: memory of this process only, no I/O; spent tokens are kept as digests.

Theory of operation. Whoever opens credentials.json in an editor and saves it minutes later puts a
token back that was traded meanwhile. The auth service would refuse it for good, and the only copy
of the good one would be gone with that save. A spent token is never anybody's wish, so it is
answered with what replaced it; any other token is a new login and stands.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kiroproxy.accounts.credential import digest

_KEPT = 64  # spent tokens a credential: days, at one an hour


@dataclass(slots=True)
class _Chain:
    latest: Mapping[str, Any] = field(default_factory=dict)
    spent: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))


class Rotations:
    """The chains of rotated tokens, by credential id."""

    def __init__(self) -> None:
        self._chains: dict[int, _Chain] = {}

    def note(self, id: int, spent: str, fields: Mapping[str, Any]) -> None:
        """Remember a renewal. Shape: `fields` are what was written, by wire name."""
        token = fields.get("refreshToken")
        if not spent or not token or token == spent:
            return  # not rotated: the old one goes on to be good
        chain = self._chains.setdefault(id, _Chain())
        chain.latest = dict(fields)
        chain.spent.append(digest(spent))

    def newer(self, id: int, token: str) -> Mapping[str, Any] | None:
        """Return the fields that came after a spent token, None for any other."""
        chain = self._chains.get(id)
        if chain is None or digest(token) not in chain.spent:
            return None
        return chain.latest

    def forget(self, id: int) -> None:
        """Drop what is known of a credential that is gone for good."""
        self._chains.pop(id, None)
