"""The check of keys that the operator's configuration names.

Rules of this file: a key is compared by digest, in constant time, and never kept.

Source: the headers that Anthropic's SDKs and Claude Code present a key in.
"""

import hashlib
import hmac

from kiroproxy.server.request import Request


class KeyCheck:
    """Compares presented keys by digest in constant time; any right one is enough.

    Claude Code sends `x-api-key` and `authorization` at once with different values when both
    of its variables are set, and new SDKs send API keys as bearer tokens.
    """

    def __init__(self, key: str) -> None:
        self._digest = hashlib.sha256(key.encode()).digest()
        self._enabled = bool(key)  # an empty key would match an empty header

    def admits(self, request: Request) -> bool:
        """Tell whether one of the request's keys is ours."""
        scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
        first = self._matches(request.headers.get(b"x-api-key", b""))
        # Always both: which header matched is nobody's business.
        second = self._matches(token if scheme.lower() == b"bearer" else b"")
        return self._enabled and (first or second)

    def _matches(self, presented: bytes) -> bool:
        if not presented:
            return False
        if not presented.isascii():  # headers are Latin-1, settings UTF-8
            presented = presented.decode("latin-1").encode()
        digest = hashlib.sha256(presented.strip()).digest()
        return hmac.compare_digest(digest, self._digest)
