"""One request's way through Kiro: tries, translation, timeouts, until its last events.

Rules of this file: nothing of a failed try reaches the target; no task, timer or lock per
chunk. The caller owns the response to the client and its errors.

Theory of operation: `exchange.open` gives the next accepted answer. Where the target has an
outlet, a `Pump` takes that answer from Kiro's socket to the client's, and this task sleeps until
its end. Elsewhere each chunk goes through the same translator and is awaited into the target,
which is the back-pressure, for meanwhile nobody asks Kiro's connection for more. A failure
before content goes to `exchange.failed`, which says whether another try may follow; one timer
per try limits the time to the first content and is switched off by it.
"""

import asyncio
import logging
import time
from typing import Protocol

from kiroproxy._answer import Answer
from kiroproxy._pump import Outlet, Pump
from kiroproxy._request import Record
from kiroproxy.config import Config
from kiroproxy.errors import GatewayError, UpstreamError, UpstreamTimeout
from kiroproxy.protocol.request import Plan
from kiroproxy.protocol.response import Fold
from kiroproxy.server.gateway import Gateway, now_ms
from kiroproxy.upstream.connection import Response
from kiroproxy.upstream.dispatch import Exchange
from kiroproxy.upstream.faults import classify_failure

_log = logging.getLogger(__name__)


class Target(Protocol):
    """Where events go while an answer runs."""

    @property
    def is_final(self) -> bool:
        """Nothing that was written can be taken back, ever."""

    @property
    def outlet(self) -> Outlet | None:
        """The way past `write`, once started; None where there is none."""

    async def start(self) -> None:
        """Kiro accepted the request: the response may start."""

    async def write(self, events: bytes) -> None:
        """Take whole events; waits while the reader is slow."""

    def take_back(self) -> bool:
        """Forget what was written. False: the client has it already."""


class Folding:
    """Collects the events of a whole answer into one message."""

    outlet = None
    is_final = False

    def __init__(self, opening: bytes) -> None:
        self._opening = opening
        self.take_back()

    def take_back(self) -> bool:
        """Begin again: nobody has seen anything yet."""
        self._fold = Fold()
        self._fold.feed(self._opening)
        return True

    async def start(self) -> None:
        """Do nothing: a whole answer starts when it is whole."""

    async def write(self, events: bytes) -> None:
        """Fold the events in."""
        self._fold.feed(events)

    def message(self) -> dict[str, object]:
        """Return the finished message."""
        return self._fold.message()


class Relay:
    """One request on its way. Order: run() once; aborted() if it raised."""

    def __init__(
        self,
        config: Config,
        gateway: Gateway,
        plan: Plan,
        record: Record,
        request_id: str,
        answer: Answer,
        target: Target,
    ) -> None:
        self._config, self._gateway, self._plan = config, gateway, plan
        self._times = config.times_for(plan.model.id)
        self._record, self._request_id = record, request_id
        self._answer, self._target = answer, target
        self._first_plan = plan  # one that is sent later asks for more than was estimated
        self._held = b""  # what the translator gave out only at the end
        self._tries_before = 0  # those of calls that were answered
        self.exchange: Exchange | None = None  # one that began already …
        self.began_at = 0.0  # … at this time of the loop's; 0 = with run()

    async def run(self) -> bytes:
        """Pass Kiro's answer on. Returns the last events, for the caller to send.

        Raises: GatewayError — tries are used up, or the answer broke after content.
        """
        total_s = self._times.total_timeout_s
        try:
            if not total_s:
                return await self._work()
            began_at = self.began_at or asyncio.get_running_loop().time()
            async with asyncio.timeout_at(began_at + total_s) as limit:
                return await self._work()
        except BaseException as end:
            self._note_usage()  # what came before the end was asked for, and is paid for
            if isinstance(end, TimeoutError) and total_s and limit.expired():
                raise UpstreamTimeout(
                    f"Kiro took longer than {total_s:g} seconds", setting="totalTimeout"
                ) from None
            raise

    def aborted(self, error: GatewayError) -> bytes:
        """Note the error and return what is complete followed by the error event."""
        self._record.note(error)
        return self._answer.abort(error.kind, error.message, self._request_id)

    async def _work(self) -> bytes:
        await self._converse()
        return self._last_events()

    async def _converse(self) -> None:
        """Have the plan answered by Kiro, by as many tries as it takes.

        Raises: GatewayError — as run().
        """
        begun, self.exchange = self.exchange, None
        async with begun or self._gateway.dispatcher.exchange(self._plan, self._config) as exchange:
            exchange.attempts = self._record.attempts
            self._tries_before = self._record.tries
            while True:
                response = await self._open(exchange)
                await self._target.start()
                try:
                    fault = await self._pass_on(response)
                finally:  # an answer that nobody waits for any more is charged as well
                    self._record.charge(self._answer.credits)
                if fault is None:
                    exchange.succeeded()
                    return
                if self._answer.has_content and not self._target.take_back():
                    raise fault  # through the exchange, which reports it
                if not exchange.failed(fault):
                    raise exchange.verdict(fault) from fault
                self._answer = self._answer.restart()

    async def _open(self, exchange: Exchange) -> Response:
        try:
            return await exchange.open()
        finally:
            self._record.tries = self._tries_before + exchange.tries
            if exchange.credential is not None:
                self._record.credential_id = exchange.credential.id

    async def _pass_on(self, response: Response) -> UpstreamError | None:
        """Translate one answer to its end. None: complete."""
        limit_s = self._times.first_byte_timeout_s
        try:
            async with asyncio.timeout_at(response.sent_at + limit_s) as limit:
                return await self._translate(response, limit)
        except TimeoutError:
            if not limit.expired():
                raise
            return UpstreamTimeout(
                f"Kiro sent no content within {limit_s:g} seconds", setting="firstByteTimeout"
            )
        except UpstreamError as fault:
            return fault

    async def _translate(self, response: Response, limit: asyncio.Timeout) -> UpstreamError | None:
        answer, outlet = self._answer, self._target.outlet
        if outlet is None:
            await self._copy(response, limit)
        else:
            pump = Pump(answer, outlet, lambda: self._begun(limit))
            try:
                await response.pour(pump)
            finally:
                pump.close()
        if answer.failure is None:
            self._held = answer.end()
        return None if answer.failure is None else classify_failure(answer.failure)

    async def _copy(self, response: Response, limit: asyncio.Timeout) -> None:
        """Pass chunks on one by one until the answer ends, early or not, or fails."""
        answer, target = self._answer, self._target
        waiting = True
        while True:
            # Before the first chunk too: an answer that began without a task may be this far.
            if waiting and answer.has_content:
                self._begun(limit)
                waiting = False
            if answer.failure is not None or answer.finished_early:
                return
            data = await response.chunk()
            if not data:
                return
            events = answer.feed(data)
            if events:
                await target.write(events)

    def _begun(self, limit: asyncio.Timeout) -> None:
        """The first content came: its time limit is kept."""
        limit.reschedule(None)
        # What a client has seen is not tried again; only these send more calls of their own.
        if self._target.is_final and self._plan.demand is None and self._plan.search is None:
            self._plan.forget_body()
        self._record.first_token_s = self._record.first_token_s or time.monotonic()

    def _last_events(self) -> bytes:
        note_end(self._record, self._answer, self._usage())
        if self._plan is self._first_plan:
            learn(self._gateway, self._plan, self._answer)
        remember_cut(self._gateway, self._plan, self._answer)
        return self._held + self._answer.finish()

    def _note_usage(self) -> None:
        note_usage(self._record, self._usage())

    def _usage(self) -> dict[str, int]:
        """Return what the answer has cost so far; nothing before it began."""
        return usage_of(self._answer)


def usage_of(answer: Answer) -> dict[str, int]:
    """Return what an answer has cost so far; nothing before it began."""
    return answer.usage() if answer.has_content or answer.stop_reason else {}


def note_usage(record: Record, usage: dict[str, int]) -> None:
    """Note what an answer used so far."""
    if usage:
        record.input_tokens = usage["input_tokens"]
        record.output_tokens = usage["output_tokens"]
        record.cache_read_tokens = usage["cache_read_input_tokens"]


def note_end(record: Record, answer: Answer, usage: dict[str, int]) -> None:
    """Note how an answer ended that came whole."""
    note_usage(record, usage)
    record.stop_reason = answer.stop_reason
    record.cut = answer.stop_reason == "max_tokens" and not answer.finished_early


def learn(gateway: Gateway, plan: Plan, answer: Answer) -> None:
    """Hold the estimate of a request against Kiro's own count, for the next ones.

    Order: after `usage`; only with the plan that the estimate was made for.
    """
    usage = answer.usage()
    if answer.usage_source == "estimate":
        return
    model, counted = plan.model.id, sum(usage.values()) - usage["output_tokens"]
    if gateway.corrections.hear(model, plan.estimated_tokens, counted):
        factor = gateway.corrections.factor(model)
        _log.debug("estimates corrected", extra={"fields": {"model": model, "factor": factor}})


def remember_cut(gateway: Gateway, plan: Plan, answer: Answer) -> None:
    """Keep in mind that a call was cut: the client will not know, and its model must."""
    if answer.cut_calls and plan.mark:
        gateway.cuts.add(plan.conversation_id, plan.mark, answer.cut_calls[0], now_ms())
