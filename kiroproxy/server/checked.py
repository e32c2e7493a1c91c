"""The way of a request that demands something of its answer: checked before it is shown.

Rules of this file: nothing of an answer reaches the client before it is sure that the answer will
do; of one that will not, nothing ever does. One corrective retry, then the truth as an error.

Theory of operation. A `Hold` stands before the real target and keeps the events. As soon as the
demand is met whatever follows (the demanded call is whole), it lets everything through; otherwise
the answer is judged when it has ended. Meanwhile the client gets pings, as in any quiet time. An
answer that falls short becomes part of the conversation that is sent once more, with a word on
what it lacked.

Source: protocol.demand for the judgement; BEHAVIOUR.md, "Demands".
"""

import asyncio
from collections.abc import Callable

from kiroproxy.errors import GatewayError, Unmet
from kiroproxy.protocol.conformity import Conformity, conformity
from kiroproxy.protocol.demand import Demand, only_json, text_of
from kiroproxy.protocol.response import Fold, block_events
from kiroproxy.protocol.stream import opening
from kiroproxy.server.relay import Relay, Target

_FAREWELL = b"event: message_delta\n"  # cannot occur within an event: JSON has no raw newline


class Hold:
    """A target that keeps an answer until it may be seen."""

    outlet = None  # events have to come by `write`, where they can be kept
    is_final = False

    def __init__(self, target: Target, is_settled: Callable[[], bool]) -> None:
        self._target, self._is_settled = target, is_settled
        self._kept: list[bytes] = []
        self.is_open = False  # the client sees what is written

    @property
    def kept(self) -> bytes:
        """The events that nobody has seen."""
        return b"".join(self._kept)

    async def start(self) -> None:
        """Do nothing: until there is something to show, an error can have its own status."""

    async def write(self, events: bytes) -> None:
        """Keep whole events, or pass them on once that is safe."""
        if self.is_open:
            await self._target.write(events)
            return
        self._kept.append(events)
        if self._is_settled():
            await self.open(self.kept)

    async def open(self, events: bytes) -> None:
        """Show these events in place of what was kept, and let through what follows."""
        self._kept = []
        self.is_open = True
        await self._target.start()
        await self._target.write(events)

    def take_back(self) -> bool:
        """Forget what was kept. False: the client has it already."""
        if self.is_open and not self._target.take_back():
            return False
        self._kept = []
        self.is_open = False
        return True


class CheckedRelay(Relay):
    """One request with a demand on its way."""

    async def _work(self) -> bytes:
        demand = self._plan.demand
        assert demand is not None, "only requests with a demand come here"
        judge = None
        if demand.schema is not None:  # in a thread: the library and a large schema take a while
            judge = await asyncio.to_thread(conformity, demand.schema)
        self._target = hold = Hold(self._target, lambda: self._is_settled(demand))
        return await self._attempt(demand, judge, hold, is_last=False)

    async def _attempt(
        self, demand: Demand, judge: Conformity | None, hold: Hold, *, is_last: bool
    ) -> bytes:
        last = await super()._work()
        if hold.is_open:
            return last
        fold = Fold()
        fold.feed(opening(self._answer.message_id, "", 0) + hold.kept + last)
        message = fold.message()
        shortfall = await asyncio.to_thread(demand.shortfall, message, judge)
        if shortfall is None:
            content = only_json(message) if judge is not None else None
            if content is None:
                await hold.open(hold.kept)
                return last
            await hold.open(block_events(content))
            return _FAREWELL + last.rpartition(_FAREWELL)[2]
        hold.take_back()
        self._answer = self._answer.restart()
        if is_last:
            raise Unmet(shortfall.message)
        self._plan = self._plan.corrected(text_of(message), shortfall.correction)
        return await self._attempt(demand, judge, hold, is_last=True)

    def aborted(self, error: GatewayError) -> bytes:
        """Note the error; of an answer that was not shown, not even its end is."""
        if not (isinstance(self._target, Hold) and self._target.is_open):
            self._answer = self._answer.restart()
        return super().aborted(error)

    def _is_settled(self, demand: Demand) -> bool:
        return demand.is_settled(self._answer.called, self._answer.has_text)
