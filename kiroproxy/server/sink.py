"""The client's side of one streamed answer: its start, its pings, its end, and its leaving.

Rules of this file: one writer at a time; pings only when nothing was written for a whole
interval; nothing here creates a task or a timer per chunk.

Theory of operation: one timer per stream is re-armed when it fires, not when bytes pass (a
write only notes the time). When it fires in a quiet moment it writes a ping into the server's
outlet; where there is none, and for the early start, it spawns a task that does so through
`send`, and the relaying task waits for that one before it writes itself. `send` is silent after
a client has left: `Watch` hears of it from the outlet, or from a task that waits for the
disconnect message.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType

from kiroproxy._pump import Outlet
from kiroproxy.server.request import ClientGone, Request, Send

STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the events back otherwise
)


class Sink:
    """Where the SSE of one answer goes.

    Order: arm() → start()/write() in any number → finish() or nothing; close() always.
    Between start() and finish() the outlet may be written to as well.
    Units: early_start_s and ping_interval_s in seconds.
    """

    __slots__ = (
        "_early_start_s",
        "_last_s",
        "_loop",
        "_opening",
        "_ping",
        "_ping_interval_s",
        "_pulse",
        "_request_id",
        "_send",
        "_timer",
        "_writing",
        "outlet",
        "started",
    )

    def __init__(
        self,
        send: Send,
        request_id: str,
        opening: Callable[[], bytes],
        ping: Callable[[], bytes],
        *,
        early_start_s: float,
        ping_interval_s: float,
        outlet: Outlet | None = None,
    ) -> None:
        self._send = send
        self.outlet = outlet
        self._request_id = request_id
        self._opening, self._ping = opening, ping
        self._early_start_s, self._ping_interval_s = early_start_s, ping_interval_s
        self._loop = asyncio.get_running_loop()
        self._last_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._writing = False
        self.started = False

    is_final = True

    def arm(self, began_at: float | None = None, *, started: bool = False) -> None:
        """Begin to count the quiet time; from a moment gone by, for a response that may run."""
        if began_at is not None:
            self._last_s = began_at
        self.started = self.started or started
        due_s = self._ping_interval_s if self.started else self._early_start_s
        wait_s = max(self._last_s + due_s - self._loop.time(), 0.0)
        self._timer = self._loop.call_later(wait_s, self._beat)

    async def start(self) -> None:
        """Send status, headers and the opening events, unless that has happened."""
        await self.settle()
        if not self.started:
            await self._guarded(b"", more=True)

    async def write(self, events: bytes) -> None:
        """Send whole events; returns when the client's buffer takes more."""
        if self._pulse is not None:
            await self.settle()
        await self._guarded(events, more=True)

    def take_back(self) -> bool:
        """Do nothing: what was written is on its way."""
        return False

    async def finish(self, events: bytes) -> None:
        """Send the last events and end the body."""
        await self.settle()
        await self._guarded(events, more=False)

    async def settle(self) -> None:
        """Wait for a ping or early start that is being written."""
        pulse, self._pulse = self._pulse, None
        if pulse is not None:
            await pulse

    async def close(self) -> None:
        """Stop the pings."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pulse, self._pulse = self._pulse, None
        if pulse is not None:
            pulse.cancel()
            await asyncio.gather(pulse, return_exceptions=True)

    async def _guarded(self, events: bytes, *, more: bool) -> None:
        self._writing = True
        try:
            await self._put(events, more=more)
        except OSError as error:  # how servers other than uvicorn say that the client left
            raise ClientGone from error
        finally:
            self._writing = False

    async def _put(self, events: bytes, *, more: bool) -> None:
        if not self.started:
            self.started = True
            headers = [*STREAM_HEADERS, (b"request-id", self._request_id.encode("ascii"))]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            events = self._opening() + events
        if events or not more:
            await self._send({"type": "http.response.body", "body": events, "more_body": more})
        self._last_s = self._loop.time()

    def _beat(self) -> None:
        now, outlet = self._loop.time(), self.outlet
        due_s = self._ping_interval_s if self.started else self._early_start_s
        last_s, is_slow = self._last_s, self._writing
        if outlet is not None:
            last_s, is_slow = max(last_s, outlet.wrote_at), is_slow or outlet.paused
        # A writer that waits has a slow client, not a quiet upstream.
        wait_s = due_s if is_slow else last_s + due_s - now
        if wait_s > 0:
            self._timer = self._loop.call_later(wait_s, self._beat)
        elif self.started and outlet is not None:
            outlet.write(self._ping(), now)
            self._timer = self._loop.call_later(self._ping_interval_s, self._beat)
        else:
            self._pulse = self._loop.create_task(self._write_pulse())

    async def _write_pulse(self) -> None:
        await self._guarded(self._ping() if self.started else b"", more=True)
        self._timer = self._loop.call_later(self._ping_interval_s, self._beat)


class Watch:
    """Turns a client's leaving into the cancellation of the task that serves it.

    Order: `async with Watch(request) as watch`; set `over` before the last send.
    Raises: ClientGone — out of the block, in whatever phase the request was.
    """

    __slots__ = ("_outlet", "_request", "_served", "_task", "gone", "over")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._outlet = request.outlet
        self._task: asyncio.Task[None] | None = None
        self.gone = False
        self.over = False  # the answer is complete: a disconnect is no news any more

    async def __aenter__(self) -> "Watch":
        served = asyncio.current_task()
        assert served is not None, "an ASGI application runs in a task"
        self._served = served
        if self._outlet is None:
            self._task = asyncio.create_task(self._wait())
        elif self._outlet.closed:
            self._leave()
        else:
            self._outlet.watch(self._leave)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._outlet is not None:
            self._outlet.watch(None)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self.gone and kind is not None and issubclass(kind, asyncio.CancelledError):
            self._served.uncancel()
            raise ClientGone from error

    async def _wait(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass  # uvicorn repeats an empty last body part when it is woken for other reasons
        self._leave()

    def _leave(self) -> None:
        if not self.over:
            self.gone = True
            self._served.cancel()
