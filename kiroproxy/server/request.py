"""One client request: its head, as it arrived, and its body under a limit.

Rules of this file: nothing is read that was not asked for; every read has a size and a time
limit; a body never reaches the log above debug level.

Source: ASGI HTTP specification 2.4; Anthropic's request limits (32 MB).
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from kiroproxy._request import Arrived
from kiroproxy.errors import (
    PayloadTooLarge,
    RequestError,
    RequestTimeout,
    UnsupportedMedia,
)

if TYPE_CHECKING:
    from kiroproxy.server.ledger import Grant
    from kiroproxy.server.messages import Work

# Our protocol's own extension of the ASGI scope; on other servers it is not there.
OUTLET = "kiroproxy.outlet"
ON_STOP = "kiroproxy.on_stop"
# Likewise: a request that began without a task and goes on in one.
BEGUN = "kiroproxy.begun"

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A refused upload is still read and dropped for this long: closing on a client that is
# writing resets the connection, and the refusal would be lost with it.
LINGER_S = 5.0
JOINED_BYTES = 1024 * 1024  # of a body that is put together when it is whole

_WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}  # zlib's names for the formats


class ClientGone(Exception):
    """The client closed its connection; nobody is left to answer."""


class Request(Arrived):
    """A parsed request head and the way to its body."""

    __slots__ = ("_receive", "on_stop")
    _receive: Receive
    work: "Work | None"  # what began without a task; nothing reads the body then
    grant: "Grant | None"  # a client key's; None = config's apiKey, or no key

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> "Request":
        """Return the request of an ASGI scope, which may have begun without one."""
        # Taken out: the server keeps the scope until the connection's next request.
        begun: Request | None = scope.get("extensions", {}).pop(BEGUN, None)
        if begun is None:
            return cls(scope, receive)
        begun._receive = receive
        return begun

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:  # ASGI gives names in lower case
            known = headers.get(name)
            headers[name] = value if known is None else known + b", " + value
        super().__init__(scope["method"], scope["path"], scope.get("query_string", b""), headers)
        extensions = scope.get("extensions", {})
        self.outlet = extensions.get(OUTLET)
        # Takes what to call when the server begins to drain; None on other servers.
        self.on_stop: Callable[[Callable[[], None]], None] | None = extensions.get(ON_STOP)
        self.client = scope.get("client")
        self._receive = receive

    async def receive(self) -> Message:
        """Hand on the server's next message, for the watch that waits for a disconnect."""
        return await self._receive()

    async def body(self, limit_bytes: int, timeout_s: float) -> bytes | bytearray:
        """Read the whole JSON body, inflated if the client compressed it.

        Units: limit_bytes holds for what is sent and for what it inflates to.
        Raises: UnsupportedMedia, PayloadTooLarge, RequestTimeout; ClientGone.
        """
        window_bits = self._check_media()
        if self._declared_length() > limit_bytes:
            raise _too_large(limit_bytes)
        try:
            async with asyncio.timeout(timeout_s):
                raw = await self._read(limit_bytes)
        except TimeoutError:
            raise RequestTimeout(
                f"The request body did not arrive within {timeout_s:g} seconds"
            ) from None
        self.record.request_bytes = len(raw)
        if window_bits is None:
            return raw
        # zlib lets other threads run; 32 MB of it would stop every stream of this process.
        return await asyncio.to_thread(_inflate, raw, window_bits, limit_bytes)

    async def discard(self) -> None:
        """Drop what the client is still sending, so that it can read the refusal."""
        try:
            async with asyncio.timeout(LINGER_S):
                while (message := await self._receive())["type"] == "http.request":
                    if not message.get("more_body"):
                        return
        except TimeoutError:
            return

    def is_plain(self) -> bool:
        """Whether the body is JSON as it stands. Raises: UnsupportedMedia."""
        headers = self.headers
        if headers.get(b"content-type") == b"application/json":
            return b"content-encoding" not in headers or self._check_media() is None
        return self._check_media() is None

    def _check_media(self) -> int | None:
        kind = self.headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
        # SDKs always send application/json; a missing type is a hand-written client.
        if kind and kind != b"application/json" and not kind.endswith(b"+json"):
            raise UnsupportedMedia("content-type: must be application/json")
        encoding = self.headers.get(b"content-encoding", b"").strip().lower()
        if encoding in (b"", b"identity"):
            return None
        if encoding not in _WINDOW_BITS:
            raise UnsupportedMedia("content-encoding: use gzip, deflate or none")
        return _WINDOW_BITS[encoding]

    def _declared_length(self) -> int:
        declared = self.headers.get(b"content-length", b"0")
        return int(declared) if declared.isdigit() else 0

    async def _read(self, limit_bytes: int) -> bytes | bytearray:
        parts: list[bytes] = []
        grown: bytearray | None = None  # in place of parts: joining 32 MB would hold the loop
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            if grown is not None:
                grown += part
            elif size > JOINED_BYTES and parts:
                grown = bytearray().join((*parts, part))
            else:
                parts.append(part)
            if not message.get("more_body", False):
                return grown if grown is not None else b"".join(parts)


def _too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"Request exceeds the maximum size of {limit_bytes} bytes")


def _inflate(raw: bytes | bytearray, window_bits: int, limit_bytes: int) -> bytes:
    """Inflate with a limit: a few KB can claim to be gigabytes."""
    machine = zlib.decompressobj(window_bits)
    try:
        plain = machine.decompress(raw, limit_bytes + 1)
    except zlib.error:
        raise RequestError("The compressed request body is damaged") from None
    if len(plain) > limit_bytes:
        raise _too_large(limit_bytes)
    if not machine.eof:
        raise RequestError("The compressed request body is incomplete")
    return plain
