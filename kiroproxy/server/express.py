"""The lane of ordinary requests: what their short way shares, and all of it that needs no speed.

Rules of this file: as in `_express`, which holds the way itself.

Theory of operation. Handing over gives the client's connection a head to be read by the server's
own parser; the request's `Work` travels along. A stream whose content has begun stays here for as
long as it runs: the lane's tick sends its pings, and Kiro's connection watches its silence. What
has not begun within two ticks is handed over, so that early start and time limits need no timer
here. Most of what a short request costs otherwise is the task, its wake-ups, timers and messages;
most of what a long one keeps is its stack.

Source: ARCHITECTURE.md, the way of a request.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import orjson

from kiroproxy._express import Express, Way
from kiroproxy._json import read
from kiroproxy._pump import Outlet
from kiroproxy.protocol.corrections import LEAST_TOKENS
from kiroproxy.protocol.request import Plan, judged
from kiroproxy.protocol.response import Fold
from kiroproxy.protocol.simple import RULES
from kiroproxy.protocol.stream import PING
from kiroproxy.server.gateway import Gateway
from kiroproxy.server.ledger import Ledger
from kiroproxy.server.messages import Messages, Work, is_plain, new_id, new_message_id
from kiroproxy.server.relay import learn, note_usage, remember_cut, usage_of
from kiroproxy.server.request import Request
from kiroproxy.upstream.dispatch import Attempt

BODY_MAX_BYTES = 64 * 1024  # planning a larger one is what its request costs
LEAST_TICK_S = 0.01  # whoever wants responses started sooner wants a task for each
TICK_S = 1.0  # of the lane; a request that has not begun by then has time for a task

_log = logging.getLogger(__name__)


class Link(Protocol):
    """A client's connection, as far as a request without a task needs it."""

    @property
    def outlet(self) -> Outlet: ...
    @property
    def client(self) -> tuple[str, int] | None: ...
    def response_form(self) -> bytes:
        """Return status line and headers of a streamed answer, with "%b" for the request id."""

    def whole_form(self) -> bytes:
        """Return the same of a whole answer, with "%d" for its body's size before the id."""

    def over(self) -> None:
        """Note that the response is complete: the connection may carry the next."""

    def hand_over(self, express: Express) -> None:
        """Have the request served by a task."""


class Lane(Way):
    """What the express requests of one worker share.

    Shape: `owns` says of a request target whether it is for here; `admit` looks at a key that is
    not the operator's own; `finish` counts a request out, and `log_line` is the last part of it,
    worth its call where `tells` says that such a level is logged.
    Order: start() before the first request.
    """

    def __init__(
        self,
        gateway: Gateway,
        ledger: Ledger,
        messages: Messages,
        owns: Callable[[bytes], bool],
        admit: Callable[[Request, bool], None],
        finish: Callable[[Request, int], None],
        log_line: Callable[[Request, int], None],
        tells: Callable[[int], bool],
    ) -> None:
        self.gateway, self.ledger, self.messages = gateway, ledger, messages
        self.owns, self.admit, self.count_out, self.log_line = owns, admit, finish, log_line
        self.tells = tells
        self.settings, self.metrics, self.log = gateway.settings, gateway.metrics, _log
        self.simple, self.read, self.judged, self.ids = RULES, read, judged, new_id
        self.drafted = messages.drafted
        self.new_message_id, self.is_plain = new_message_id, is_plain
        self.learned_min, self.least_start_s = LEAST_TOKENS, 2 * LEAST_TICK_S
        self.body_max_bytes = BODY_MAX_BYTES
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin. Order: after the gateway's own start."""
        loop = asyncio.get_running_loop()
        self.clock = loop.time
        self.equip(self.gateway.dispatcher.launcher(), Request, loop.time, loop.call_soon)

    @property
    def is_busy(self) -> bool:
        """Whether any request is under way here."""
        return bool(self.young or self.old)

    # -- what `Express` asks for -------------------------------------------------------------

    def plan(self, express: Express) -> Plan | None:
        """Plan a request, None where that has to wait for something. Raises: GatewayError."""
        return self.messages.plan_now(express)

    def learn(self, express: Express) -> None:
        """Keep in mind what a whole answer teaches."""
        answer = express.answer
        learn(self.gateway, express.plan, answer)
        remember_cut(self.gateway, express.plan, answer)

    def folded(self, express: Express, last: bytes) -> bytes:
        """Return as one message the answer of which these are the events, whatever they are."""
        fold = Fold()
        fold.feed(express.answer.start(express.plan.input_tokens) + last)
        return orjson.dumps(fold.message())

    def finish(self, express: Express, status: int) -> None:
        """Count a request out."""
        self._note_try(express, status)
        self.count_out(express.request, status)

    def left(self, express: Express, status: int) -> None:
        """Count out a request whose client has left."""
        record, answer = express.request.record, express.answer
        if answer is not None:
            record.charge(answer.credits)
            note_usage(record, usage_of(answer))
        record.error = "client_closed"
        self.finish(express, status)

    def hand_over(self, express: Express, link: Link) -> None:
        """Have a task go on with a request, from wherever it came to."""
        request = express.request
        work = Work(request, express.config, express.body or {}, express.size)
        work.message_id, work.began_at = express.message_id, express.began_at
        work.plan, work.answer, work.bug = express.plan, express.answer, express.bug
        work.started, work.draft = express.started, express.draft
        if express.launch is not None:
            work.exchange = self.gateway.dispatcher.adopted(
                express.launch, express.plan, express.config, request.record.attempts
            )
        request.work = work
        link.hand_over(express)

    def abandon(self, request: Request) -> None:
        """Count out a request that cannot be gone on with; its connection ends."""
        if request.work is not None:
            request.work.close()
        request.record.error = "internal:NotHandedOver"
        self.count_out(request, 0)

    def _note_try(self, express: Express, status: int) -> None:
        launch, record = express.launch, express.request.record
        if launch.ready is None:
            return
        sent = launch.ready.sent
        record.tries, record.credential_id = 1, sent.id
        record.attempts.append(
            Attempt(
                sent.id,
                sent.endpoint,
                1,
                launch.started_ms,
                200 if launch.is_landed else 0,
                self.gateway.dispatcher.clock(),
            )
        )

    # -- the tick ----------------------------------------------------------------------------

    def tick_soon(self) -> None:
        """Look after the requests that are under way."""
        config = self.gateway.config
        tick_s = min(TICK_S, config.early_start_s / 2, config.ping_interval_s / 2)
        self.is_ticking = True
        asyncio.get_running_loop().call_later(max(tick_s, LEAST_TICK_S), self._tick)

    def _tick(self) -> None:
        self.is_ticking = False
        slow = tuple(self.old)
        self.old.update(self.young)
        self.young.clear()
        if self.old:
            self.tick_soon()  # first: whatever befalls one of them, the others get their pings
        now = self.clock()
        for express in slow:
            if not express.has_content:
                express.hand_over()
            elif express.plan.stream:
                self._ping(express, now)

    def _ping(self, express: Express, now: float) -> None:
        outlet = express.request.outlet
        # A full buffer is a slow client, not a quiet upstream.
        if not outlet.paused and now - outlet.wrote_at >= express.config.ping_interval_s:
            outlet.write(PING, now)
