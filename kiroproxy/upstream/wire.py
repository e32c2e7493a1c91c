"""One connection to Kiro: a request out, the time its answer may take, who waits for it.

Rules of this file: what arrives is taken apart in `_wire`; here are the transport, the timer,
and the one reader that waits. A connection is reusable only if its answer was read to the end
that its own framing says, and nothing came after it.

Theory of operation. A body waits in `_wire`'s queue for `next_bytes()`, or goes straight to a
consumer while `pour()` waits for its end. Who has no task to wait in is told through `listener`.
One timer per connection watches silence and total time: progress only moves a number, the timer
looks at it when it fires and re-arms itself. It is not stopped at an answer's end: setting it
anew for every short answer would cost more than the answer's bytes.

Source: RFC 9112 §9 (connection management).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, cast

from kiroproxy._wire import Consumer, Malformed, Phase, Wire
from kiroproxy.errors import ConnectionLost, UpstreamTimeout

# A body goes out in such pieces: under TLS only what was not handed over yet can be counted.
_SLICE = 256 * 1024
_SLICES_A_TURN = 4  # of the event loop: a fast peer would take 32 MB in one, 15 ms
_NOTHING = memoryview(b"")  # an empty rest of a body would keep all of it alive
READ_BUFFER_BYTES = 64 * 1024  # one read is what a slow client can make us hold


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an answer may take. Units: seconds; total_s and head_s 0 are no limit."""

    first_byte_s: float
    idle_s: float
    total_s: float
    head_s: float = 0.0


class Owner(Protocol):
    """Who keeps count of connections."""

    def made(self, connection: "Connection") -> None: ...
    def lost(self, connection: "Connection") -> None: ...


class Connection(Wire, asyncio.BufferedProtocol):
    """A transport and the answer that is being read from it.

    Shape: `key` is the owner's, who files the connection under it.
    Order: send() → head() → next_bytes() until b"", or pour() → rest(); abort() at any time.
    """

    __slots__ = (
        "_fault",
        "_limits",
        "_loop",
        "_owner",
        "_started_at",
        "_timer",
        "_timer_at",
        "_unsent",
        "_waiter",
        "_writing_paused",
        "idle_since",
        "key",
        "listener",
        "sent_at",
    )

    def __new__(cls, owner: Owner, key: Hashable, buffer: memoryview) -> "Connection":
        return super().__new__(cls, asyncio.get_running_loop().time, buffer)

    def __init__(self, owner: Owner, key: Hashable, buffer: memoryview) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self.key = key
        self._waiter: asyncio.Future[None] | None = None
        self.listener: Callable[[], object] | None = None  # told in place of a task's waking
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._unsent = _NOTHING
        self._writing_paused = False
        self._limits = Limits(0, 0, 0)
        self._fault: Exception | None = None
        self.sent_at = self._started_at = self.idle_since = 0.0

    # -- towards the peer --------------------------------------------------------------

    def send(self, head: bytes, body: bytes, limits: Limits) -> None:
        """Write one request; what becomes of it shows in `head()`."""
        is_idle = self.phase == Phase.IDLE and self._transport is not None
        self.begin()
        self._limits, self._fault = limits, None
        if not is_idle:
            self.abort("it was closed while idle")
            return
        assert self._transport is not None
        self.sent_at = self._started_at = self.quiet_since
        self._arm(limits.head_s or limits.first_byte_s)
        try:
            if len(body) <= _SLICE:
                self._transport.writelines((head, body) if body else (head,))
                return
            self._unsent = memoryview(body)[_SLICE:]
            self._transport.writelines((head, body[:_SLICE]))
            self._write_more()
        except RuntimeError:  # uvloop's word for a transport that is already closed
            self.abort("it was closed while idle")

    def _write_more(self) -> None:
        """Hand over what the transport takes; the rest waits here, where its progress shows."""
        for _ in range(_SLICES_A_TURN):
            if not self._unsent or self._writing_paused:
                break
            assert self._transport is not None
            piece, self._unsent = self._unsent[:_SLICE], self._unsent[_SLICE:]
            self._transport.write(piece)
        self._unsent = self._unsent or _NOTHING
        if self._unsent and not self._writing_paused:
            self._loop.call_soon(self._write_on)

    def _write_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._write_more()

    async def head(self) -> None:
        """Wait for status and headers. Raises: ConnectionLost, UpstreamTimeout."""
        while self.phase == Phase.HEAD:
            await self._wait()
        if not self.status:
            assert self._fault is not None  # HEAD is left with one or the other
            raise self._fault

    async def next_bytes(self) -> bytes:
        """Return everything that has arrived, waiting for at least one byte.

        Shape: b"" is the body's clean end. What came before a failure is returned first.
        Raises: ConnectionLost, UpstreamTimeout.
        """
        while not self.queued_bytes:
            if self._fault is not None:
                raise self._fault
            if self.phase != Phase.BODY:
                return b""
            await self._wait()
        return self.take_queue()

    async def pour(self, consumer: Consumer) -> None:
        """Give the rest of the body to a consumer as it arrives, until its end.

        Shape: returns at the body's clean end, or earlier when the consumer is done.
        Raises: ConnectionLost, UpstreamTimeout; what the consumer raises.
        """
        self.attach(consumer)
        try:
            while self.phase == Phase.BODY and self.wants_more and self._fault is None:
                await self._wait()
        finally:
            self.detach()
        if self._fault is not None:
            raise self._fault

    @property
    def fault(self) -> Exception | None:
        """Why the answer ended before its end, if it did."""
        return self._fault

    @property
    def is_reusable(self) -> bool:
        """Whether the answer is finished, taken, and nothing is left over on either side."""
        return (
            self.phase == Phase.DONE
            and self.keep_alive
            and not self.queued_bytes
            and not self._unsent
            and not self._writing_paused
            and self._transport is not None
            and not self._transport.is_closing()
        )

    def rest(self) -> None:
        """Become idle. Order: only if `is_reusable`."""
        self.phase = Phase.IDLE
        self.idle_since = self._loop.time()

    def close(self) -> None:
        """Say goodbye to a peer that owes us nothing (TLS: close_notify first)."""
        self.phase = Phase.CLOSED
        if self._transport is not None:
            self._transport.close()

    def abort(self, reason: str = "aborted") -> None:
        """Drop the connection at once, in any phase; a reader that waits learns the reason."""
        if self.phase in (Phase.HEAD, Phase.BODY):
            self._end(self._lost(reason))
        self.phase = Phase.CLOSED
        if self._transport is not None:
            self._transport.abort()

    # -- from the event loop -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.phase = Phase.IDLE
        peer = transport.get_extra_info("socket")
        if peer is not None:
            # Both loops do this on their own today; a request is two writes, so it must be so.
            with contextlib.suppress(OSError, NotImplementedError):
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._owner.made(self)

    def eof_received(self) -> bool:
        return False  # close our half too: nothing may linger in CLOSE_WAIT

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._unsent = _NOTHING
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.phase == Phase.BODY and self.is_delimited_by_close and exc is None:
            self._end(None)
        elif self.phase in (Phase.HEAD, Phase.BODY):
            self._end(self._lost(str(exc) if exc else "closed by the peer"))
        self.forget_parser()
        self.keep_alive = False
        self.phase = Phase.CLOSED
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Go on with a long upload; the wait for the first byte counts from its latest piece."""
        self._writing_paused = False
        self.sent_at = self._loop.time()
        self._write_on()

    # -- from what arrives ---------------------------------------------------------------

    def arrived(self) -> None:
        self._wake()

    def began(self) -> None:
        self._arm(self._limits.idle_s)

    def ended(self) -> None:
        self._end(None)

    def broken(self, fault: Exception) -> None:
        if self.phase in (Phase.HEAD, Phase.BODY):
            if isinstance(fault, Malformed):
                fault = ConnectionLost(_LOST, detail=f"not HTTP: {fault}")
            self._end(fault)
        self.abort()

    # -- inside --------------------------------------------------------------------------

    def _end(self, fault: Exception | None) -> None:
        self._fault = fault
        self.phase = Phase.DONE if fault is None else Phase.CLOSED
        self._wake()

    def _lost(self, reason: str) -> ConnectionLost:
        return ConnectionLost(_LOST, detail=f"{reason}; {self.body_bytes} body bytes had arrived")

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self.listener is not None:
            self.listener()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _arm(self, limit_s: float) -> None:
        """Watch a new phase; a timer that fires sooner sets itself again."""
        at = self.quiet_since + limit_s
        if self._limits.total_s:
            at = min(at, self._started_at + self._limits.total_s)
        if self._timer is None or at < self._timer_at:
            self._set_timer(at)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self.phase not in (Phase.HEAD, Phase.BODY):
            return  # the answer ended; the next request sets the timer again
        limits, now = self._limits, self._loop.time()
        if self.body_bytes:
            # While the reader is behind, the silence is ours.
            since = now if self.paused else self.quiet_since
            setting, limit_s = "idleTimeout", limits.idle_s
        elif limits.head_s and self.phase == Phase.HEAD:
            since, setting, limit_s = self.sent_at, "headTimeout", limits.head_s
        else:
            since, setting, limit_s = self.sent_at, "firstByteTimeout", limits.first_byte_s
        due = since + limit_s
        if limits.total_s and self._started_at + limits.total_s <= due:
            setting, limit_s = "totalTimeout", limits.total_s
            due = self._started_at + limit_s
        if now < due:
            self._set_timer(due)
            return
        fault = UpstreamTimeout(
            "Kiro did not answer in time",
            setting=setting,
            detail=f"{setting} ({limit_s:g} s) passed; {self.body_bytes} body bytes had arrived",
        )
        self._end(fault)
        self.abort()


_LOST = "the connection to Kiro ended before the answer did"
