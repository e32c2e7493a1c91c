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
middle of a streamed body straight into the transport, and to hear at once that the client left;
and the way to hear of the server's stop, for answers that have no end of their own.
And an application that has an `express` way is offered each ordinary request that came in one or
two reads and stands alone, before the parser sees it. What it takes, the parser never sees,
unless the request is handed over: then the parser gets the same bytes, and a task goes on.

Source: uvicorn.protocols.http.httptools_impl (0.34 to 0.54), whose attributes `cycle`,
`transport`, `flow`, `pipeline`, `scope`, `data_received` and `send_400_response` are relied on.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from kiroproxy._express import Express
from kiroproxy._pump import Outlet
from kiroproxy.errors import GatewayError, RequestError, RequestTimeout
from kiroproxy.server.express import Lane
from kiroproxy.server.reply import error_body
from kiroproxy.server.request import BEGUN, ON_STOP, OUTLET, Request
from kiroproxy.server.sink import STREAM_HEADERS

_log = logging.getLogger(__name__)

# Many clients write head and body by two calls, so that the body arrives a moment later.
HELD_S = 0.02
HELD_MAX_BYTES = 64 * 1024


class HeadTooLarge(RequestError):
    """A request line or headers beyond what any client of this API sends."""

    status = 431


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on how a request may arrive. The sizes are the usual ones of nginx and HAProxy."""

    line_bytes: int = 8 * 1024
    headers_bytes: int = 32 * 1024
    header_count: int = 100
    # Of a chunked body, beyond eight times what it holds: sizes, extensions, trailers.
    framing_bytes: int = 16 * 1024
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


class Flag:
    """What an `asyncio.Event` does for one waiter, in a tenth of its memory.

    Cost: 64 bytes; an Event has a deque, whose first block is 600. A connection has two, which
    nobody waits for as a rule.
    """

    __slots__ = ("_is_set", "_waiters")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._waiters: tuple[asyncio.Future[None], ...] = ()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> bool:
        if not self._is_set:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters = (*(each for each in self._waiters if not each.done()), waiter)
            await waiter
        return True


class Pipeline(list[Any]):
    """Requests that wait for the one before: uvicorn's deque, empty at no cost."""

    __slots__ = ()

    def appendleft(self, request: Any) -> None:
        self.insert(0, request)


class Protocol(HttpToolsProtocol):
    """One client connection."""

    # Slots keep the instance's dictionary below the 30 names that Python shares between
    # instances: one more costs 1.3 kB a connection.
    __slots__ = (
        *(
            "_ahead",
            "_arrived_bytes",
            "_awaited",
            "_begun",
            "_body_bytes",
            "_deadline",
            "_deaf",
            "_express",
        ),
        *("_fed", "_framed_bytes", "_headers_bytes", "_held", "_held_timer", "_idle_since"),
        *("_in_head", "_in_message", "_is_upgrade", "_kept", "_lane", "_limits", "_refusal"),
        *("_rest_timer", "outlet"),
    )

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.pipeline = cast("Any", Pipeline())
        self._limits: Limits = getattr(config, "limits", None) or Limits()
        # Per-connection state
        self.outlet: Outlet
        self._deadline: asyncio.TimerHandle | None = None
        self._awaited = Awaited.HEAD
        self._deaf = False  # refused: whatever else arrives is dropped
        self._lane: Lane | None = getattr(self.app, "express", None)
        self._express: Express | None = None  # the request that is served without a task
        self._kept: list[bytes] = []  # what arrived behind it
        self._held = b""  # an ordinary head whose body is to follow
        self._held_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self._ahead: Any = None  # the cycle that is being answered, while later ones wait
        # Per-request state
        self._on_stop: Callable[[], None] | None = None  # for an answer that has no end
        self._in_message = False  # the parser has seen a request's beginning and not its end
        self._begun: Request | None = None  # to be gone on with
        self._in_head = True
        self._arrived_bytes = 0  # of the head, counted in reads
        self._headers_bytes = 0  # of the head, counted in parsed headers
        self._framed_bytes = 0  # of the body as it came …
        self._body_bytes = 0  # … and what it holds
        self._refusal: GatewayError | None = None
        self._fed = b""  # what the parser is reading
        self._is_upgrade = False  # the parser stops behind this head, which offers one

    # -- transport callbacks -----------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow._is_writable_event = cast("asyncio.Event", Flag(is_set=True))
        self.outlet = Outlet(transport.write)
        self.outlet.bypass(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            # Events are small and each one matters now.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._arm(self._limits.head_timeout_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._let_held_go()
        self._disarm()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
        self._express, self._kept = None, []
        # The base class does so only after an orderly end: after a reset its timer would keep
        # connection, request and answer alive for as long as an idle client may stay.
        self._unset_keepalive_if_required()
        if self._ahead is not None:  # the base class tells only the one that came last
            self._ahead.disconnected = True
            self._ahead.message_event.set()
            self._ahead = None
        super().connection_lost(exc)
        self.outlet.close()
        # They lead back here: a connection would have to wait for the collector.
        self.cycle = self.scope = None  # type: ignore[assignment]

    def pause_writing(self) -> None:
        super().pause_writing()
        self.outlet.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.outlet.resume()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._express is not None:
            self._kept.append(data)
            self.flow.pause_reading()
        elif self._held:
            self._take_held(data)
        elif not (self._is_between() and self._take_express(data)):
            self._feed(data)

    def shutdown(self) -> None:
        """Begin to drain: what is served without a task needs one, to be told."""
        self._let_held_go()
        if self._express is not None:
            self._express.hand_over()
        if self._on_stop is not None:
            self._on_stop()
        super().shutdown()

    def _tell_stop(self, callback: Callable[[], None]) -> None:
        """Have an answer that would never end be told of the drain."""
        self._on_stop = callback

    def _feed(self, data: bytes) -> None:
        if self._in_head:
            self._arrived_bytes += len(data)
        else:
            self._framed_bytes += len(data)
        self._fed = data
        super().data_received(data)
        self._fed = b""
        if self._deaf:
            return
        if not self._in_head and self._is_padded():
            self._refuse(RequestError("The framing of the request body is too large"))
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
        extensions: dict[str, Any] = {OUTLET: self.outlet, ON_STOP: self._tell_stop}
        if self._begun is not None:
            extensions[BEGUN], self._begun = self._begun, None
        self.scope["extensions"] = extensions
        self._in_message = True
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
        if self.parser.get_method() == b"CONNECT":
            self._stop(RequestError("The request is not for this server"))
        self._is_upgrade = self.parser.should_upgrade()
        if self._is_upgrade:
            return  # it begins again, without the offer
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            self._stop(RequestError("host: exactly one is required"))
        self._in_head = False
        self._arrived_bytes = self._framed_bytes = self._body_bytes = 0
        before = self.cycle
        super().on_headers_complete()
        if len(self.pipeline) == 1 and self._ahead is None:
            self._ahead = before
        self.cycle.message_event = cast("asyncio.Event", Flag())  # its task has not begun yet

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_upgrade:
            return
        self._in_head, self._in_message = True, False
        super().on_message_complete()
        if not self.pipeline:
            # A long body pauses the reading; whoever does not read on would miss the end.
            self.flow.resume_reading()

    def _unsupported_upgrade_warning(self) -> None:
        """Decline an offered h2c or websocket by going on in HTTP/1.1 (called by the base class).

        The parser takes what follows such a head for another protocol, also the body of a POST
        with which a client merely says what else it speaks. A new one reads the head again,
        without the offer, and what follows.
        """
        stopped = sys.exc_info()[1]
        assert stopped is not None and stopped.args, "called while the parser's stop is handled"
        rest = self._fed[stopped.args[0] :]
        head = _without_offer(self.parser, self.url, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self._is_upgrade, self._in_head, self._arrived_bytes = False, True, 0
        self._feed(head + rest)

    def _is_padded(self) -> bool:
        """Whether a body that is still coming is mostly wrapping; looked at once a read."""
        overhead = self._framed_bytes - self._body_bytes
        return overhead > self._limits.framing_bytes + 8 * self._body_bytes

    def on_response_complete(self) -> None:
        following = self.pipeline[-1][0] if len(self.pipeline) > 1 else None
        super().on_response_complete()
        self._ahead = following
        self._on_stop = None
        self._idle_since = self.loop.time()

    # -- requests without a task -----------------------------------------------------------

    def _is_between(self) -> bool:
        """Whether the next byte is a request's first, and no other request is running."""
        cycle = self.cycle
        if self._in_message or self.pipeline:
            return False
        return cycle is None or cycle.response_complete

    def _take_express(self, data: bytes, *, may_hold: bool = True) -> bool:
        if self._lane is None:
            return False
        found = self._lane.take(self, data)
        if found is None:
            return False
        if isinstance(found, int):
            return may_hold and self._hold(data, found)
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._awaited = Awaited.NOTHING
        if self._deadline is not None:
            self._disarm()
        self._express = found
        found.go()
        return True

    def _hold(self, data: bytes, missing_bytes: int) -> bool:
        """Wait a moment for the rest of a small body; once, not for every piece of it."""
        if missing_bytes > HELD_MAX_BYTES:
            return False
        self._unset_keepalive_if_required()
        self._held = data
        self._held_timer = self.loop.call_later(HELD_S, self._let_held_go)
        return True

    def _take_held(self, data: bytes) -> None:
        whole = self._release_held() + data
        if not self._take_express(whole, may_hold=False):
            self._feed(whole)

    def _release_held(self) -> bytes:
        held, self._held = self._held, b""
        if self._held_timer is not None:
            self._held_timer.cancel()
            self._held_timer = None
        return held

    def _let_held_go(self) -> None:
        """Give the parser what waits: the rest is late, or the connection ends."""
        held = self._release_held()
        if held:
            self._feed(held)

    def response_form(self) -> bytes:
        """Return status line and headers of a streamed answer, as the server would write them.

        Shape: "%b" stands for the request id, "%%" for a percent sign.
        """
        return _stream_head(self.server_state.default_headers)

    def whole_form(self) -> bytes:
        """Return status line and headers of a whole answer, as the server would write them.

        Shape: as of response_form, and "%d" stands for the size of the body, before the id.
        """
        return _whole_head(self.server_state.default_headers)

    def over(self) -> None:
        """Note that the response is complete: the connection may carry the next."""
        self._express = None
        self.server_state.total_requests += 1
        self._idle_since = self.loop.time()
        if self._rest_timer is None and not self.transport.is_closing():
            self._rest_timer = self.loop.call_later(self.timeout_keep_alive, self._look_for_rest)
        if self._kept:
            self.flow.resume_reading()
            self._feed_kept()

    def hand_over(self, express: Express) -> None:
        """Have a request that began without a task served by one."""
        self._express, self._begun = None, express.request
        before = self.cycle
        self._feed(express.head)
        if self.cycle is before:  # our reader took what the parser refuses
            self._begun = None
            if self._lane is not None:
                self._lane.abandon(express.request)
            self.transport.abort()
            return
        if express.started:
            self.cycle.response_started = self.cycle.chunked_encoding = True
        self._feed_kept()

    def _feed_kept(self) -> None:
        kept, self._kept = self._kept, []
        if kept:
            self.data_received(b"".join(kept))

    def _look_for_rest(self) -> None:
        """Close a connection that has rested for long; one timer looks after many requests."""
        self._rest_timer = None
        if self._express is not None or self._held or not self._is_between():
            return  # the end of what is under way sets a timer again
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s <= 0:
            self.timeout_keep_alive_handler()
        else:
            self._rest_timer = self.loop.call_later(left_s, self._look_for_rest)

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


class _Form:
    """A response head with gaps.

    Cost: made once a second, for the server makes its default headers, which hold the date, anew.
    """

    def __init__(self, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self._headers = headers
        self._made: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")

    def __call__(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        if self._made[0] is not default_headers:
            headers = [*[(n, v.replace(b"%", b"%%")) for n, v in default_headers], *self._headers]
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            self._made = default_headers, STATUS_LINE[200] + lines + b"\r\n"
        return self._made[1]


_stream_head = _Form(
    (*STREAM_HEADERS, (b"request-id", b"%b"), (b"transfer-encoding", b"chunked")),
)
_whole_head = _Form(
    (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d"),
        (b"request-id", b"%b"),
    )
)


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


def _without_offer(parser: Any, url: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Write a parsed head again without the headers by which it offers another protocol."""
    lines = [b"%s %s HTTP/%s" % (parser.get_method(), url, parser.get_http_version().encode())]
    for name, value in headers:
        if name == b"connection":
            options = [option.strip() for option in value.lower().split(b",")]
            value = b", ".join(o for o in options if o not in (b"upgrade", b"http2-settings"))
        if value and name not in (b"upgrade", b"http2-settings"):
            lines.append(name + b": " + value)
    return b"\r\n".join(lines) + b"\r\n\r\n"
