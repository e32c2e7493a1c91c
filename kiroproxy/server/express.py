"""The short way of an ordinary request: from socket to socket without a task.

Rules of this file: only what needs no waiting happens here. Whatever turns out otherwise, at any
point, is handed over to a task (`messages`), which goes on from there; nothing is decided here that
is not decided there, and nothing is refused here. Every request ends exactly once: answered, handed
over, or left by its client.

Theory of operation. A request that came whole in one read is planned at once, a credential with a
fresh token is leased, and the request is written to an idle connection. Kiro's answer goes through
a `Carrier` to the client, with the response's start in its first write and the end in its last; one
that is wanted whole waits in a `Gatherer` and is folded at its end.
Most of what a short request costs otherwise is the task, its wake-ups, timers and messages.

Handing over gives the client's connection the same bytes it has sent, to be read by the server's
own parser; the request's `Work` travels along. So that pings and time limits need no timer here,
a request that is not over within two ticks of the lane is handed over as well.

Source: ARCHITECTURE.md, the way of a request.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import Protocol

import orjson

from kiroproxy._line import Listener
from kiroproxy._pump import Carrier, Gatherer, Outlet
from kiroproxy.errors import GatewayError
from kiroproxy.protocol.request import parse_body
from kiroproxy.protocol.response import Fold
from kiroproxy.protocol.stream import Answer
from kiroproxy.server.gateway import Gateway
from kiroproxy.server.messages import Messages, Work, is_plain
from kiroproxy.server.relay import learn, note_end, note_usage, remember_cut, usage_of
from kiroproxy.server.request import Request
from kiroproxy.upstream.dispatch import Exchange

BODY_MAX_BYTES = 64 * 1024  # planning a larger one is what its request costs
LEAST_TICK_S = 0.01  # whoever wants responses started at once gets them a moment later
TICK_S = 1.0  # of the lane; a stream that lives longer has time for a task

_log = logging.getLogger(__name__)


class Link(Protocol):
    """A client's connection, as far as a request without a task needs it."""

    @property
    def outlet(self) -> Outlet: ...
    @property
    def client(self) -> tuple[str, int] | None: ...
    def response_head(self, request_id: str) -> bytes:
        """Return status line and headers of a streamed answer."""

    def whole_head(self, request_id: str, size_bytes: int) -> bytes:
        """Return status line and headers of a whole answer."""

    def over(self) -> None:
        """Note that the response is complete: the connection may carry the next."""

    def hand_over(self, express: "Express") -> None:
        """Have the request served by a task."""


class Lane:
    """What the express requests of one worker share. Shape: `finish` counts a request out."""

    def __init__(
        self, gateway: Gateway, messages: Messages, finish: Callable[[Request, int], None]
    ) -> None:
        self.gateway, self.messages, self.finish = gateway, messages, finish
        self._young: set[Express] = set()
        self._old: set[Express] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(
        self,
        link: Link,
        data: bytes,
        request: Request,
        raw: bytes,
        admit: Callable[[Request, bool], None],
    ) -> "Express | None":
        """Start a request on the short way; None: it is not for here, and nothing has happened."""
        config = self.gateway.config
        if len(raw) > min(BODY_MAX_BYTES, config.max_body_bytes) or _log.isEnabledFor(
            logging.DEBUG
        ):
            return None  # at debug level each step is told under the request's id, by its task
        try:
            if not request.is_plain():
                return None
            body = parse_body(raw)
            if type(body.get("stream", False)) is not bool:
                return None
            admit(request, True)
        except GatewayError:
            return None  # a task says so
        request.record.request_bytes = len(raw)
        return Express(self, link, data, Work(request, config, body, len(raw)))

    @property
    def is_busy(self) -> bool:
        """Whether any request is under way here."""
        return bool(self._young or self._old)

    def enter(self, express: "Express") -> None:
        """Look after a request that is under way."""
        self._young.add(express)
        if self._timer is None:
            self._set_timer()

    def leave(self, express: "Express") -> None:
        """Look no more."""
        self._young.discard(express)
        self._old.discard(express)

    def _set_timer(self) -> None:
        config = self.gateway.config
        tick_s = min(TICK_S, config.early_start_s / 2, config.ping_interval_s / 2)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(tick_s, LEAST_TICK_S), self._tick)

    def _tick(self) -> None:
        self._timer = None
        slow, self._old, self._young = self._old, self._young, set()
        for express in slow:
            express.hand_over()
        if self._old:
            self._set_timer()


class Express(Listener):
    """One request. Order: go() once; `data` is what the client sent."""

    __slots__ = ("_carrier", "_is_leaving", "_is_over", "_lane", "_link", "data", "work")

    def __init__(self, lane: Lane, link: Link, data: bytes, work: Work) -> None:
        self._lane, self._link, self.data, self.work = lane, link, data, work
        self._carrier: Carrier | None = None
        self._is_leaving = False  # to be handed over when Kiro's connection is done with us
        self._is_over = False

    def go(self) -> None:
        """Plan and send, or hand over at once."""
        lane, work = self._lane, self.work
        try:
            work.plan = lane.messages.plan_now(work)
            if work.plan is not None and is_plain(work.plan):
                work.exchange = lane.gateway.dispatcher.exchange(work.plan, work.config)
                work.exchange.attempts = work.request.record.attempts
                if work.exchange.launch(self):
                    lane.enter(self)
                    self._link.outlet.watch(self._left)
                    return
        except Exception:  # noqa: S110 - the task meets it again, and says what it is
            pass
        self.hand_over()

    def hand_over(self) -> None:
        """Let a task go on from here. More often does no harm."""
        if self._is_over:
            return
        work = self.work
        self._end()
        if self._carrier is not None:
            work.started = self._carrier.has_begun
            self._carrier.close()
        if work.exchange is not None:
            work.exchange.release_listener()
        work.request.work = work
        self._link.hand_over(self)

    def abandon(self) -> None:
        """Count out a request that cannot be gone on with; its connection ends."""
        self.work.close()
        self.work.request.record.error = "internal:NotHandedOver"
        self._lane.finish(self.work.request, 0)

    # -- told by Kiro's connection -----------------------------------------------------------

    def stirred(self) -> None:
        """The head is there, or the answer ended before its end."""
        if self._is_over or self._is_leaving:
            return
        exchange, answer = self._exchange, self.work.answer
        if answer is None and exchange.landed_ordinary():
            self._carry()
        elif answer is None or exchange.is_broken or answer.failure or answer.finished_early:
            self._hand_over_soon()

    def _carry(self) -> None:
        work, link, exchange = self.work, self._link, self._exchange
        assert work.plan is not None, "launched"
        work.answer = answer = Answer(work.plan, work.message_id)
        if not work.plan.stream:
            exchange.attach(Gatherer(answer.translator, self._content_came, self._came_whole))
            return
        self._carrier = carrier = Carrier(
            answer.translator, link.outlet, self._content_came, self._last_events, self._done
        )
        exchange.attach(carrier)
        carrier.lead(link.response_head(work.request.id), answer.start(work.plan.input_tokens))

    def _hand_over_soon(self) -> None:
        # Not from within: Kiro's connection is in the middle of a read.
        self._is_leaving = True
        asyncio.get_running_loop().call_soon(self.hand_over)

    # -- told by the carrier -------------------------------------------------------------------

    def _content_came(self) -> None:
        self.work.request.record.first_token_s = time.monotonic()

    def _came_whole(self) -> None:
        work = self.work
        last = self._last_events()
        if last is None or work.answer is None or work.plan is None:
            return
        try:
            fold = Fold()
            fold.feed(work.answer.start(work.plan.input_tokens) + last)
            body = orjson.dumps(fold.message())
        except Exception as bug:
            work.bug = bug
            self._hand_over_soon()
            return
        now = asyncio.get_running_loop().time()
        self._link.outlet.send(self._link.whole_head(work.request.id, len(body)) + body, now)
        self._done()

    def _last_events(self) -> bytes | None:
        answer, record = self.work.answer, self.work.request.record
        assert answer is not None, "carried"
        try:
            held = answer.end()
            if answer.failure is not None:
                return None
            record.charge(answer.credits)
            note_end(record, answer, usage_of(answer))
            if self.work.plan is not None:
                learn(self._lane.gateway, self.work.plan, answer)
                remember_cut(self._lane.gateway, self.work.plan, answer)
            return held + answer.finish()
        except Exception as bug:
            self.work.bug = bug
            self._hand_over_soon()
            return None

    def _done(self) -> None:
        if self._is_over:
            return  # the client left while the end was written
        self._end()
        try:
            self._note_try()
            self._exchange.succeeded()
            self._lane.finish(self.work.request, 200)
        except Exception:  # the client has its answer; the connection must go on
            _log.exception("internal error")
        finally:
            self._link.over()

    # -- told by the client's connection -------------------------------------------------------

    def _left(self) -> None:
        """The client is gone: so is the answer, at once."""
        if self._is_over:
            return
        self._end()
        self._note_try()
        work, record = self.work, self.work.request.record
        if self._carrier is not None:
            self._carrier.close()
        if work.answer is not None:
            record.charge(work.answer.credits)
            note_usage(record, usage_of(work.answer))
        work.close()
        record.error = "client_closed"
        started = self._carrier is not None and self._carrier.has_begun
        self._lane.finish(work.request, 200 if started else 0)

    # -- inside --------------------------------------------------------------------------------

    @property
    def _exchange(self) -> Exchange:
        assert self.work.exchange is not None, "launched"
        return self.work.exchange

    def _note_try(self) -> None:
        exchange, record = self._exchange, self.work.request.record
        record.tries = exchange.tries
        if exchange.credential is not None:
            record.credential_id = exchange.credential.id

    def _end(self) -> None:
        self._is_over = True
        self._lane.leave(self)
        self._link.outlet.watch(None)


@functools.lru_cache(maxsize=256)  # a handful of spellings; others come from the curious
def is_messages(target: bytes, normal: Callable[[str], str]) -> bool:
    """Tell whether a request target is that of the conversation endpoint."""
    return normal(target.partition(b"?")[0].decode("ascii")) == "messages"
