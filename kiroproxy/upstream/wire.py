"""One HTTP/1.1 connection to Kiro: a request out, the pieces of an answer in.

Rules of this file: everything about bytes on a socket is here and in `tunnel`; above it only
`Response.chunk()`, `read()` and `close()` are known. A clean end is reported only when the
body's own framing says so. A connection is reusable only if its answer was read to that end
and nothing came after it.

Theory of operation. The event loop reads into one buffer that all connections of a pool share
(nothing re-enters between fill and parse), httptools takes the answer apart, and body pieces
wait in a short queue. A queue above `_HIGH_WATER` pauses the socket until the reader has
taken it. One timer per answer watches silence and total time: progress only moves a number,
the timer looks at it when it fires and re-arms itself.

    IDLE → HEAD → BODY → DONE → IDLE        any of them → CLOSED

Source: RFC 9112 §6.3 (body framing) and §9 (connection management).
"""

import asyncio
import contextlib
import socket
from collections.abc import Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, cast

import httptools

from kiroproxy.errors import ConnectionLost, UpstreamError, UpstreamTimeout

# Unread bytes above which the socket is paused; uvicorn pauses its clients at the same mark.
_HIGH_WATER = 64 * 1024
# Kiro's heads are under 2 KiB; httptools itself would collect one without end.
_HEAD_LIMIT = 64 * 1024
# A body goes out in such pieces: under TLS only what was not handed over yet can be counted.
_SLICE = 256 * 1024
READ_BUFFER_BYTES = 256 * 1024  # what uvloop's TLS layer reads at most in one go


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an answer may take. Units: seconds; total_s 0 is no limit."""

    first_byte_s: float
    idle_s: float
    total_s: float


class State(IntEnum):
    """What the next byte from the peer would be."""

    IDLE = 0  # a fault: nobody asked
    HEAD = 1  # of the answer's head
    BODY = 2  # of its body
    DONE = 3  # a fault: the answer is complete
    CLOSED = 4  # impossible


class Owner(Protocol):
    """Who keeps count of connections."""

    def made(self, connection: "Connection") -> None: ...
    def lost(self, connection: "Connection") -> None: ...


class Connection(asyncio.BufferedProtocol):
    """A transport and the answer that is being read from it.

    Shape: `key` is the owner's, who files the connection under it.
    Order: send() → head() → next_bytes() until b"" → rest(); abort() at any time.
    """

    def __init__(self, owner: Owner, key: Hashable, buffer: memoryview) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self.key = key
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = memoryview(b"")
        self._writing_paused = False
        self.state = State.IDLE
        self.idle_since = 0.0
        self._begin(Limits(0, 0, 0))

    def _begin(self, limits: Limits) -> None:
        """Reset what belongs to one answer."""
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.answered = False  # the peer has sent at least one byte of the answer
        self._limits = limits
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._body_bytes = 0
        self._head_bytes = 0
        self._paused = False
        self._keep_alive = False
        self._fault: UpstreamError | None = None
        self._sent_at = self._quiet_since = self._started_at = self._loop.time()

    # -- towards the peer --------------------------------------------------------------

    def send(self, head: bytes, body: bytes, limits: Limits) -> None:
        """Write one request; what becomes of it shows in `head()`."""
        self._begin(limits)
        if self.state is not State.IDLE or self._transport is None:
            self._fault = self._lost("it was closed while idle")
            return
        self.state = State.HEAD
        self._arm(limits.first_byte_s)
        first, self._unsent = body[:_SLICE], memoryview(body)[_SLICE:]
        try:
            self._transport.writelines((head, first) if first else (head,))
            self._write_more()
        except RuntimeError:  # uvloop's word for a transport that is already closed
            self.abort("it was closed while idle")

    def _write_more(self) -> None:
        """Hand over what the transport takes; the rest waits here, where its progress shows."""
        while self._unsent and not self._writing_paused:
            assert self._transport is not None
            piece, self._unsent = self._unsent[:_SLICE], self._unsent[_SLICE:]
            self._transport.write(piece)

    async def head(self) -> None:
        """Wait for status and headers. Raises: ConnectionLost, UpstreamTimeout."""
        while self.state is State.HEAD:
            await self._wait()
        if not self.status:
            assert self._fault is not None  # HEAD is left with one or the other
            raise self._fault

    async def next_bytes(self) -> bytes:
        """Return everything that has arrived, waiting for at least one byte.

        Shape: b"" is the body's clean end. What came before a failure is returned first.
        Raises: ConnectionLost, UpstreamTimeout.
        """
        while not self._queue:
            if self._fault is not None:
                raise self._fault
            if self.state is not State.BODY:
                return b""
            await self._wait()
        data = self._queue[0] if len(self._queue) == 1 else b"".join(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        self._resume()
        return data

    @property
    def is_reusable(self) -> bool:
        """Whether the answer is finished, taken, and nothing is left over on either side."""
        return (
            self.state is State.DONE
            and self._keep_alive
            and not self._queue
            and not self._unsent
            and not self._writing_paused
            and self._transport is not None
            and not self._transport.is_closing()
        )

    def rest(self) -> None:
        """Become idle. Order: only if `is_reusable`."""
        self.state = State.IDLE
        self.idle_since = self._loop.time()

    def close(self) -> None:
        """Say goodbye to a peer that owes us nothing (TLS: close_notify first)."""
        self.state = State.CLOSED
        if self._transport is not None:
            self._transport.close()

    def abort(self, reason: str = "aborted") -> None:
        """Drop the connection at once, in any state; a reader that waits learns the reason."""
        if self.state in (State.HEAD, State.BODY):
            self._end(self._lost(reason))
        self.state = State.CLOSED
        if self._transport is not None:
            self._transport.abort()

    # -- from the event loop -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        peer = transport.get_extra_info("socket")
        if peer is not None:
            # Both loops do this on their own today; a request is two writes, so it must be so.
            with contextlib.suppress(OSError, NotImplementedError):
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._owner.made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.state not in (State.HEAD, State.BODY):
            self.abort()  # unsolicited: whatever it means, it is no answer to anything
            return
        assert self._parser is not None
        self.answered = True
        self._quiet_since = self._loop.time()
        if self.state is State.HEAD:
            self._head_bytes += nbytes
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            self._on_bad_bytes(fault)
        if self.state is State.HEAD and self._head_bytes > _HEAD_LIMIT:
            self._on_bad_bytes(ValueError(f"more than {_HEAD_LIMIT} bytes of headers"))
        if self._queued_bytes > _HIGH_WATER and self.state is State.BODY and not self._paused:
            self._paused = True
            assert self._transport is not None
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        return False  # close our half too: nothing may linger in CLOSE_WAIT

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self._parser = None  # the parser refers back to us
        self._unsent = memoryview(b"")
        if self.state is State.BODY and self._is_delimited_by_close() and exc is None:
            self._end(None)
        elif self.state in (State.HEAD, State.BODY):
            self._end(self._lost(str(exc) if exc else "closed by the peer"))
        self._keep_alive = False
        self.state = State.CLOSED
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Go on with a long upload; the wait for the first byte counts from its latest piece."""
        self._writing_paused = False
        self._sent_at = self._loop.time()
        if self._transport is not None and not self._transport.is_closing():
            self._write_more()

    # -- from the parser (they may not raise, nor touch the transport) -----------------

    def on_message_begin(self) -> None:
        if self.state is State.HEAD:
            self.headers = {}
        else:
            self._keep_alive = False  # a second answer in the same read

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.state is not State.HEAD:
            return
        key = name.lower()
        self.headers[key] = self.headers[key] + b", " + value if key in self.headers else value

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if self.state is not State.HEAD or 100 <= status < 200:
            return  # an interim answer: the real one follows
        self.status = status
        self.state = State.BODY
        self._wake()

    def on_body(self, data: bytes) -> None:
        if self.state is not State.BODY:
            return
        if not self._body_bytes:
            self._arm(self._limits.idle_s)
        self._body_bytes += len(data)
        self._queued_bytes += len(data)
        self._queue.append(data)
        self._wake()

    def on_message_complete(self) -> None:
        if self.state is not State.BODY:
            return
        assert self._parser is not None
        # Only here: once this callback returns, httptools has reset and says False.
        self._keep_alive = self._parser.should_keep_alive()
        self._end(None)

    # -- inside --------------------------------------------------------------------------

    def _on_bad_bytes(self, fault: Exception) -> None:
        """End an answer whose bytes are not HTTP; after its end they only spoil reuse."""
        self._keep_alive = False
        if self.state in (State.HEAD, State.BODY):
            self._end(ConnectionLost(_LOST, detail=f"not HTTP: {fault}"))
            self.abort()

    def _end(self, fault: UpstreamError | None) -> None:
        self._fault = fault
        self.state = State.DONE if fault is None else State.CLOSED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    def _is_delimited_by_close(self) -> bool:
        coding = self.headers.get(b"transfer-encoding", b"").lower()
        return b"content-length" not in self.headers and b"chunked" not in coding

    def _lost(self, reason: str) -> ConnectionLost:
        return ConnectionLost(_LOST, detail=f"{reason}; {self._body_bytes} body bytes had arrived")

    def _resume(self) -> None:
        if not self._paused:
            return
        self._paused = False
        self._quiet_since = self._loop.time()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _arm(self, limit_s: float) -> None:
        """Watch a new phase: the running timer may be set later than the phase allows."""
        if self._timer is not None:
            self._timer.cancel()
        at = self._loop.time() + limit_s
        if self._limits.total_s:
            at = min(at, self._started_at + self._limits.total_s)
        self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        limits, now = self._limits, self._loop.time()
        if self._body_bytes:
            # While the reader is behind, the silence is ours.
            since = now if self._paused else self._quiet_since
            setting, limit_s = "idleTimeout", limits.idle_s
        else:
            since, setting, limit_s = self._sent_at, "firstByteTimeout", limits.first_byte_s
        due = since + limit_s
        if limits.total_s and self._started_at + limits.total_s <= due:
            setting, limit_s = "totalTimeout", limits.total_s
            due = self._started_at + limit_s
        if now < due:
            self._timer = self._loop.call_at(due, self._on_timer)
            return
        fault = UpstreamTimeout(
            "Kiro did not answer in time",
            setting=setting,
            detail=f"{setting} ({limit_s:g} s) passed; {self._body_bytes} body bytes had arrived",
        )
        self._end(fault)
        self.abort()


_LOST = "the connection to Kiro ended before the answer did"
