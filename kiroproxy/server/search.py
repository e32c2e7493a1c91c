"""Requests that search the web: one that is nothing else, and conversations whose model may.

Rules of this file: the client sees one answer, however often Kiro is asked for it: blocks
numbered through, one end, the usage of all. Every call that was told has its result told too.

Theory of operation. A conversation is a `Relay` that goes on: when an answer of Kiro's ends with
searches, their results are written behind it and the conversation, with all that was said and
found, is translated and sent again. Its events therefore pass through a `Tape`, which can tell
them as blocks; the way from socket to socket is for conversations without a search. What the
client has to run ends the answer, as does everything that is no ordinary end.

Source: protocol.searching and protocol.websearch; Anthropic's web search tool and pause_turn.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson

from kiroproxy._answer import Answer
from kiroproxy._pump import Outlet
from kiroproxy.protocol import searching, websearch
from kiroproxy.protocol.demand import Demand
from kiroproxy.protocol.request import Plan
from kiroproxy.protocol.response import Fold
from kiroproxy.protocol.searching import WebSearch
from kiroproxy.protocol.stream import opening
from kiroproxy.server.checked import CheckedRelay
from kiroproxy.server.lookup import Found, Lookup
from kiroproxy.server.relay import Relay, Target, learn, remember_cut

# How often Kiro is asked for one answer: Anthropic's own number, which ends in `pause_turn` too.
ROUNDS = 10
PARALLEL = 4  # searches of one turn at once

# (the blocks so far, max_tokens left) → the plan of the request that goes on behind them.
More = Callable[[list[dict[str, Any]], int], Awaitable[Plan]]


class SearchRelay(Relay):
    """One search on its way, which is all its request wants."""

    async def _work(self) -> bytes:
        search = self._plan.wants_web_search
        assert search is not None, "only searches come here"
        found = await Lookup(self._gateway, self._plan, self._record).found(search)
        await self._target.start()
        self._record.stop_reason = "end_turn"
        whole = websearch.events(
            search,
            found,
            self._answer.message_id,
            self._plan.requested_model,
            self._plan.input_tokens,
        )
        # The target's opening has sent its own message_start with the same id and numbers.
        return whole.split(b"\n\n", 1)[1]


class Tape:
    """A target that remembers what went through it. Order: keep() behind each whole answer."""

    outlet: Outlet | None = None  # everything has to pass by here
    is_final = False

    def __init__(self, target: Target) -> None:
        self._target = target
        self._kept: list[bytes] = []
        self._new: list[bytes] = []
        self._taken_back = False

    async def start(self) -> None:
        """Let the response start, with what was kept if the target has forgotten it."""
        await self._target.start()
        if self._taken_back:
            self._taken_back = False
            for events in self._kept:
                await self._target.write(events)

    def open_with(self, events: bytes) -> None:
        """Let the response start with events. Order: before start."""
        self._kept.append(events)
        self._taken_back = True

    async def write(self, events: bytes) -> None:
        """Pass whole events on."""
        if events:
            self._new.append(events)
            await self._target.write(events)

    def take_back(self) -> bool:
        """Forget what was not kept. False: the client has it already."""
        self._taken_back = self._target.take_back()
        if self._taken_back:
            self._new.clear()
        return self._taken_back

    def keep(self) -> None:
        """Remember what was written for good."""
        self._kept += self._new
        self._new.clear()

    def blocks(self) -> list[dict[str, Any]]:
        """Return what was kept as content blocks."""
        fold = Fold()
        fold.feed(b"".join((opening("", "", 0), *self._kept)))
        return fold.content()


class SearchingRelay(Relay):
    """A conversation whose model may search, on its way."""

    def __init__(self, *parts: Any, more: More) -> None:
        super().__init__(*parts)
        self._more = more
        self._before: dict[str, int] = {}  # the usage of answers that are continued
        self._calls = 0  # searches the model asked for …
        self._uses = 0  # … and those that were asked of Kiro
        assert self._plan.search is not None, "only conversations with a search come here"
        self._terms = self._plan.search
        self._max_tokens = self._plan.max_tokens

    async def _work(self) -> bytes:
        target = self._target
        self._target = self._tape = Tape(target)
        self._answer = Answer(self._plan, self._answer.message_id)  # from its first block on
        self._before = {}
        try:
            if self._terms.query and self._plan.demand is None:
                await self._begin()
            return await self._rounds()
        finally:
            self._target = target

    async def _begin(self) -> None:
        """Search for the one question there is, as if the model had called for it."""
        self._calls, self._uses = 1, int(self._terms.refusal is None)
        found = await Lookup(self._gateway, self._plan, self._record).found(self._terms)
        call_id = "srvtoolu_" + self._answer.message_id.removeprefix("msg_")
        call = websearch.call_events(call_id, self._terms.query)
        self._tape.open_with(b"".join((*call, *websearch.result_events(call_id, found))))
        self._plan = await self._more(self._tape.blocks(), self._max_tokens)
        self._answer = Answer(self._plan, self._answer.message_id, first_index=2)

    async def _rounds(self) -> bytes:
        for number in range(1, ROUNDS + 1):
            await self._converse()
            if number == 1 and self._plan is self._first_plan:
                learn(self._gateway, self._plan, self._answer)
            calls, reason = self._answer.own_calls, self._answer.stop_reason
            await self._perform(calls)
            if not calls or reason != "end_turn":
                return self._end(reason)
            left = self._max_tokens - self._usage()["output_tokens"]
            if left <= 0:
                return self._end("max_tokens")
            if number < ROUNDS:
                self._before = self._usage()
                self._plan = await self._more(self._tape.blocks(), left)
                self._answer = self._answer.continued(self._plan)
        return self._end("pause_turn")

    async def _perform(self, calls: list[tuple[str, bytes]]) -> None:
        """Search for everything, and tell the results in the order of the calls."""
        held, self._held = self._held, b""
        await self._tape.write(held)
        lookup = Lookup(self._gateway, self._plan, self._record)
        gate = asyncio.Semaphore(PARALLEL)

        async def found(search: WebSearch) -> Found:
            async with gate:
                return await lookup.found(search)

        searches = [self._wanted(arguments) for _, arguments in calls]
        tasks = [asyncio.create_task(found(search)) for search in searches]
        try:
            for (call_id, _), task in zip(calls, tasks, strict=True):
                block = searching.result_block(call_id, await task)
                await self._tape.write(self._answer.insert(orjson.dumps(block)))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._tape.write(self._answer.release())
        self._tape.keep()

    def _wanted(self, arguments: bytes) -> WebSearch:
        """Return a call's search; one beyond `max_uses` has none left."""
        limit = self._terms.max_uses
        left = None if limit is None else limit - self._uses
        search = replace(self._terms, query=searching.query_in(arguments), max_uses=left)
        self._calls += 1
        self._uses += search.refusal is None
        return search

    def _usage(self) -> dict[str, int]:
        usage = super()._usage() or dict.fromkeys(self._before, 0)
        return {name: count + self._before.get(name, 0) for name, count in usage.items()}

    def _end(self, reason: str) -> bytes:
        record, answer = self._record, self._answer
        self._note_usage()
        record.stop_reason = reason
        record.cut = answer.stop_reason == "max_tokens" and not answer.finished_early
        usage: dict[str, object] = {**self._usage()}
        if self._calls:
            usage["server_tool_use"] = {"web_search_requests": record.searches}
        remember_cut(self._gateway, self._plan, self._answer)
        return answer.finish(usage, reason)


class CheckedSearchingRelay(CheckedRelay, SearchingRelay):
    """A conversation with a demand whose model may search: what is checked is the whole answer."""

    def _is_settled(self, demand: Demand) -> bool:
        if demand.needs_call and self._answer.own_calls:
            return demand.tool in ("", searching.NAME)
        return super()._is_settled(demand)
