"""Our HTTP/1.1 protocol for uvicorn: limits, deadlines, and refusals in Anthropic's shape.

Rules of this file: the application must not depend on it; it stays a raw ASGI app that runs
on any server. Only refusals that no application gets to see are written here.

Theory of operation: uvicorn's httptools protocol has no limit on a request's head and no
deadline for its arrival, and answers malformed HTTP in plain text. This subclass counts the
head as it is parsed, arms one timer per request phase (head, then the rest of the request),
and writes its own refusals. A refused connection is half-closed and drained for a moment
before it is closed: closing at once on a client that is still writing sends a reset, which
can overtake the refusal.

It also offers the application, as an extension of the scope, an `Outlet`: the way to write the
middle of a streamed body straight into the transport, and to hear at once that the client left.

Source: uvicorn.protocols.http.httptools_impl (0.34 to 0.54), whose attributes `cycle`,
`transport`, `flow`, `pipeline`, `scope`, `data_received` and `send_400_response` are relied on.
"""

import asyncio
import logging
import os
import socket
from dataclasses import dataclass
from enum import Enum
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from kiroproxy._pump import Outlet
from kiroproxy.errors import GatewayError, RequestError, RequestTimeout
from kiroproxy.server.reply import error_body
from kiroproxy.server.request import OUTLET

_log = logging.getLogger(__name__)


class HeadTooLarge(RequestError):
    """A request line or headers beyond what any client of this API sends."""

    status = 431


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on how a request may arrive. The sizes are the usual ones of nginx and HAProxy."""

    line_bytes: int = 8 * 1024
    headers_bytes: int = 32 * 1024
    header_count: int = 100
    head_timeout_s: float = 10.0
    # The application refuses a late body itself; this is the backstop for the bodies it
    # never asked for, so it comes later.
    body_timeout_s: float = 65.0
    linger_s: float = 2.0


class Awaited(Enum):
    """What a request still owes."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration and our limits: the only thing a protocol is given."""

    def __init__(self, app: Any, *, limits: Limits, **options: Any) -> None:
        super().__init__(app, **options)
        self.limits = limits


class Protocol(HttpToolsProtocol):
    """One client connection."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits: Limits = getattr(config, "limits", None) or Limits()
        # Per-connection state
        self._outlet: Outlet
        self._deadline: asyncio.TimerHandle | None = None
        self._awaited = Awaited.HEAD
        self._deaf = False  # refused: whatever else arrives is dropped
        # Per-request state
        self._in_head = True
        self._arrived_bytes = 0  # of the head, counted in reads
        self._headers_bytes = 0  # of the head, counted in parsed headers
        self._refusal: GatewayError | None = None

    # -- transport callbacks -----------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._outlet = Outlet(transport.write)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            # Events are small and each one matters now.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._arm(self._limits.head_timeout_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        self._outlet.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._outlet.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._outlet.resume()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._in_head:
            self._arrived_bytes += len(data)
        super().data_received(data)
        if self._deaf:
            return
        # A header is reported when it is whole; one that never ends shows only here.
        if self._in_head and self._arrived_bytes > self._head_limit():
            self._refuse(HeadTooLarge("Request headers are too large"))
            return
        self._watch_phase()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read (called by the base class)."""
        self._refuse(self._refusal or RequestError("The request is not valid HTTP/1.1"))

    # -- parser callbacks ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {OUTLET: self._outlet}
        self.scope["extensions"] = extensions
        self._in_head = True
        self._headers_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._limits.line_bytes:
            self._stop(HeadTooLarge("Request line is too long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: it may neither hold a key nor replace one (RFC 9110 §6.5.1)
        self._headers_bytes += len(name) + len(value) + 4  # ": " and CRLF
        if (
            self._headers_bytes > self._limits.headers_bytes
            or len(self.headers) >= self._limits.header_count
        ):
            self._stop(HeadTooLarge("Request headers are too large"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._arrived_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()
        if not self.pipeline:
            # A long body pauses the reading; whoever does not read on would miss the end.
            self.flow.resume_reading()

    def _unsupported_upgrade_warning(self) -> None:
        # h2c or websocket was offered and is declined by answering in HTTP/1.1. The parser
        # has stopped at this message, so the connection cannot carry another.
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    # -- refusals --------------------------------------------------------------------------

    def _stop(self, refusal: GatewayError) -> None:
        """End parsing from inside a parser callback; `send_400_response` follows."""
        self._refusal = refusal
        raise refusal

    def _refuse(self, error: GatewayError) -> None:
        self._deaf = True
        self._disarm()
        if self.transport.is_closing():
            return
        if self._is_answering():
            # The fault lies behind a whole request: that one gets its answer, then the end.
            self.cycle.keep_alive = False
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # The application may be at work on the body: its answer would follow ours.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        request_id = f"req_{os.urandom(12).hex()}"
        fields = {"status": error.status, "error": error.message}
        _log.info("refused", extra={"fields": fields, "request_id": request_id})
        self.transport.write(_refusal_bytes(error, request_id, self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._arm(self._limits.linger_s, self.transport.close)
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return cycle.response_started or not cycle.more_body

    def _head_limit(self) -> int:
        return self._limits.line_bytes + self._limits.headers_bytes

    # -- deadlines -------------------------------------------------------------------------

    def _watch_phase(self) -> None:
        """Time what is still to come; a request that came whole in one read needs no timer."""
        awaited = Awaited.BODY
        if self._in_head:
            awaited = Awaited.HEAD if self._arrived_bytes else Awaited.NOTHING
        if awaited is self._awaited:
            return
        self._awaited = awaited
        if awaited is Awaited.HEAD:
            self._arm(self._limits.head_timeout_s, self._head_is_late)
        elif awaited is Awaited.BODY:
            self._arm(self._limits.body_timeout_s, self._body_is_late)
        else:
            self._disarm()

    def _arm(self, delay_s: float, callback: Any) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(delay_s, callback)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_is_late(self) -> None:
        self._deadline = None
        if self._is_answering():
            # Part of a pipelined request waits behind a running answer: no hurry with it.
            self._arm(self._limits.head_timeout_s, self._head_is_late)
        elif self._arrived_bytes:
            self._refuse(RequestTimeout("The request headers did not arrive in time"))
        else:
            self.transport.close()  # nothing was asked, so nothing is answered

    def _body_is_late(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()  # answered already; the rest of the upload is of no use
        elif self.cycle.response_started:
            self.transport.abort()
        else:
            self._refuse(RequestTimeout("The request body did not arrive in time"))


def _refusal_bytes(
    error: GatewayError, request_id: str, default_headers: list[tuple[bytes, bytes]]
) -> bytes:
    body = error_body(error, request_id)
    headers = [
        *default_headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"request-id", request_id.encode("ascii")),
        (b"connection", b"close"),
    ]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return STATUS_LINE[error.status] + lines + b"\r\n" + body
