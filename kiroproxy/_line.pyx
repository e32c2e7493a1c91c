"""One connection to Kiro: a request out, the time its answer may take, who waits for it.

Rules of this file: what arrives is taken apart in `_wire`; here are the transport, the timer,
and the one reader that waits. A line is reusable only if its answer was read to the end that its
own framing says, and nothing came after it.

Theory of operation. A body waits in `_wire`'s queue for `next_bytes()`, or goes straight to a
consumer while `pour()` waits for its end. Who has no task to wait in is told as a `Listener`.
One timer per line watches silence and total time: progress only moves a number, the timer looks
at it when it fires and re-arms itself. It is not stopped at an answer's end: setting it anew for
every short answer would cost more than the answer's bytes.

Source: RFC 9112 §9 (connection management).
"""

from cpython.bytes cimport PyBytes_GET_SIZE

from kiroproxy._wire cimport BODY, BY_CLOSE, CLOSED, DONE, HEAD, IDLE, Consumer, Wire

import asyncio
import contextlib
import socket

from kiroproxy._wire import Malformed
from kiroproxy.errors import ConnectionLost, UpstreamTimeout

cdef enum:
    # A body goes out in such pieces: under TLS only what was not handed over yet can be counted.
    SLICE = 256 * 1024
    SLICES_A_TURN = 4    # of the event loop: a fast peer would take 32 MB in one, 15 ms
    JOINED_MAX = 16384   # one write is cheaper than two, a copy of more is not

cdef object NOTHING = memoryview(b"")  # an empty rest of a body would keep all of it alive
cdef str LOST = "the connection to Kiro ended before the answer did"


cdef class Listener:
    """Who is told in place of a task's waking."""

    cpdef stirred(self):
        """Note that the head is there, or that the answer ended, cleanly or not."""


cdef class Limits:
    """How long an answer may take. Units: seconds; total_s and head_s 0 are no limit."""

    def __cinit__(self, double first_byte_s, double idle_s, double total_s, double head_s=0.0):
        self.first_byte_s, self.idle_s = first_byte_s, idle_s
        self.total_s, self.head_s = total_s, head_s


cdef class Line(Wire):
    """A transport and the answer that is being read from it.

    Order: send() → head() → next_bytes() until b"", or pour() → rest(); abort() at any time.
    """

    def __cinit__(self, clock, buffer, loop, owner, key):
        self._loop, self._owner, self.key = loop, owner, key
        self._unsent = NOTHING
        self._limits = Limits(0, 0, 0)

    # -- towards the peer --------------------------------------------------------------

    def send(self, bytes head not None, bytes body not None, Limits limits not None) -> None:
        """Write one request; what becomes of it shows in `head()`."""
        self.put(head, body, limits)

    cdef int put(self, bytes head, bytes body, Limits limits) except -1:
        cdef bint is_idle = self.phase == IDLE and self._transport is not None
        cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
        self.begin()
        self._limits, self.fault = limits, None
        if not is_idle:
            self.abort("it was closed while idle")
            return 0
        self.sent_at = self._started_at = self.quiet_since
        self._arm(limits.head_s or limits.first_byte_s)
        try:
            if size <= JOINED_MAX:
                self._transport.write(head + body)
            elif size <= SLICE:
                self._transport.writelines((head, body))
            else:
                self._unsent = memoryview(body)[SLICE:]
                self._transport.writelines((head, body[:SLICE]))
                self._write_more()
        except RuntimeError:  # uvloop's word for a transport that is already closed
            self.abort("it was closed while idle")
        return 0

    cdef int _write_more(self) except -1:
        """Hand over what the transport takes; the rest waits here, where its progress shows."""
        cdef int turn
        for turn in range(SLICES_A_TURN):
            if not self._unsent or self._writing_paused:
                break
            piece, self._unsent = self._unsent[:SLICE], self._unsent[SLICE:]
            self._transport.write(piece)
        self._unsent = self._unsent or NOTHING
        if self._unsent and not self._writing_paused:
            self._loop.call_soon(self._write_on)
        return 0

    def _write_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._write_more()

    async def head(self) -> None:
        """Wait for status and headers. Raises: ConnectionLost, UpstreamTimeout."""
        while self.phase == HEAD:
            await self._wait()
        if not self.status:
            raise self.fault  # HEAD is left with one or the other

    async def next_bytes(self) -> bytes:
        """Return everything that has arrived, waiting for at least one byte.

        Shape: b"" is the body's clean end. What came before a failure is returned first.
        Raises: ConnectionLost, UpstreamTimeout.
        """
        while not self.queued_bytes:
            if self.fault is not None:
                raise self.fault
            if self.phase != BODY:
                return b""
            await self._wait()
        return self.take_queue()

    async def pour(self, Consumer consumer not None) -> None:
        """Give the rest of the body to a consumer as it arrives, until its end.

        Shape: returns at the body's clean end, or earlier when the consumer is done.
        Raises: ConnectionLost, UpstreamTimeout; what the consumer raises.
        """
        self.attach(consumer)
        try:
            while self.phase == BODY and self.wants_more and self.fault is None:
                await self._wait()
        finally:
            self.detach()
        if self.fault is not None:
            raise self.fault

    @property
    def is_reusable(self) -> bool:
        """Whether the answer is finished, taken, and nothing is left over on either side."""
        return (
            self.phase == DONE
            and self.keep_alive
            and not self.queued_bytes
            and not self._unsent
            and not self._writing_paused
            and self._transport is not None
            and not self._transport.is_closing()
        )

    def rest(self) -> None:
        """Become idle. Order: only if `is_reusable`."""
        self.phase = IDLE
        self.idle_since = self._clock()

    def close(self) -> None:
        """Say goodbye to a peer that owes us nothing (TLS: close_notify first)."""
        self.phase = CLOSED
        if self._transport is not None:
            self._transport.close()

    def abort(self, str reason="aborted") -> None:
        """Drop the connection at once, in any phase; a reader that waits learns the reason."""
        if self.phase == HEAD or self.phase == BODY:
            self._end(self._lost(reason))
        self.phase = CLOSED
        if self._transport is not None:
            self._transport.abort()

    # -- from the event loop -----------------------------------------------------------

    def connection_made(self, transport) -> None:
        self._transport = transport
        self.phase = IDLE
        peer = transport.get_extra_info("socket")
        if peer is not None:
            # Both loops do this on their own today; a long request is two writes, so it must be so.
            with contextlib.suppress(OSError, NotImplementedError):
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._owner.made(self)

    def eof_received(self) -> bool:
        return False  # close our half too: nothing may linger in CLOSE_WAIT

    def connection_lost(self, exc) -> None:
        self._transport = None
        self._unsent = NOTHING
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.phase == BODY and self._framing == BY_CLOSE and exc is None:
            self._end(None)
        elif self.phase == HEAD or self.phase == BODY:
            self._end(self._lost(str(exc) if exc else "closed by the peer"))
        self.forget_parser()
        self.keep_alive = False
        self.phase = CLOSED
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Go on with a long upload; the wait for the first byte counts from its latest piece."""
        self._writing_paused = False
        self.sent_at = self._clock()
        self._write_on()

    # -- from what arrives ---------------------------------------------------------------

    cpdef arrived(self):
        self._wake()

    cpdef began(self):
        self._arm(self._limits.idle_s)

    cpdef ended(self):
        self._end(None)

    cpdef broken(self, fault):
        if self.phase == HEAD or self.phase == BODY:
            if isinstance(fault, Malformed):
                fault = ConnectionLost(LOST, detail=f"not HTTP: {fault}")
            self._end(fault)
        self.abort()

    # -- inside --------------------------------------------------------------------------

    cdef int _end(self, object fault) except -1:
        self.fault = fault
        self.phase = DONE if fault is None else CLOSED
        return self._wake()

    cdef object _lost(self, str reason):
        return ConnectionLost(LOST, detail=f"{reason}; {self.body_bytes} body bytes had arrived")

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    cdef int _wake(self) except -1:
        if self.listener is not None:
            self.listener.stirred()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return 0

    cdef int _arm(self, double limit_s) except -1:
        """Watch a new phase; a timer that fires sooner sets itself again."""
        cdef double at = self.quiet_since + limit_s
        if self._limits.total_s:
            at = min(at, self._started_at + self._limits.total_s)
        if self._timer is None or at < self._timer_at:
            self._set_timer(at)
        return 0

    cdef int _set_timer(self, double at) except -1:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer)
        return 0

    def _on_timer(self) -> None:
        cdef Limits limits = self._limits
        cdef double now = self._clock(), since = self.sent_at, limit_s, due
        cdef str setting
        self._timer = None
        if self.phase != HEAD and self.phase != BODY:
            return  # the answer ended; the next request sets the timer again
        if self.body_bytes:
            # While the reader is behind, the silence is ours.
            since = now if self.paused else self.quiet_since
            setting, limit_s = "idleTimeout", limits.idle_s
        elif limits.head_s and self.phase == HEAD:
            setting, limit_s = "headTimeout", limits.head_s
        else:
            setting, limit_s = "firstByteTimeout", limits.first_byte_s
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
