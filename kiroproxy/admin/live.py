"""Live state: one look at all credentials twice a second for everybody who watches.

Rules of this file: nobody watches, nothing runs; what is sent are changes. A look at thousands
of credentials gives way to requests in between.

Theory of operation. Each look compares every slot's values, and the few derived from time, with
the look before; only what differs is described anew. Every watcher has a queue of its own, and
one that does not read is dropped: its page connects again and gets a snapshot. What other workers
learn by asking Kiro comes from the file of records.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from kiroproxy.accounts.balance import Balance
from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.expiry import rfc3339
from kiroproxy.accounts.slot import State
from kiroproxy.admin.items import is_throttled, item, state_of, token_state
from kiroproxy.admin.routes import Event
from kiroproxy.records import reading
from kiroproxy.server.gateway import now_ms

if TYPE_CHECKING:
    from kiroproxy.admin.desk import Desk

_log = logging.getLogger(__name__)

LOOK_S = 0.5
COUNTS_S = 5.0  # between two looks at requests of the last minute, and at balances
CHUNK = 200  # credentials described before requests get their turn
MOST_WAITING = 8  # events a watcher may leave unread

Item = dict[str, Any]


class Live:
    """The items of one worker's admin. Order: `watch()` by any number; `aclose()` at the end."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk
        self._watchers: set[asyncio.Queue[Event | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._marks: dict[int, tuple[Any, ...]] | None = None  # of the look before
        self._faults: dict[int, Mapping[str, Any]] = {}
        self._faults_ms = 0
        self._balances: dict[int, Balance] = {}
        self._counts: dict[int, int] = {}
        self._counts_at = -COUNTS_S
        self._news: set[int] = set()  # whose notes no look has told of

    async def aclose(self) -> None:
        """Send everybody home."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for queue in self._watchers:
            queue.put_nowait(None)

    # -- for a list ----------------------------------------------------------------------------

    async def items(self) -> list[Item]:
        """Describe every credential, in the order they would be asked."""
        await self._learn()
        states, now = self._states(), now_ms()
        current = self.current(states, now)
        found = []
        for position, (credential, state) in enumerate(states):
            if position % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
            found.append(self._item(credential, state, current, now))
        return found

    async def one(self, id: int) -> Item | None:
        """Describe one credential."""
        await self._learn()
        pool = self._desk.gateway.pool
        credential, state = pool.get(id), pool.state(id)
        if credential is None or state is None:
            return None
        now = now_ms()
        return self._item(credential, state, self.current(self._states(), now), now)

    def current(self, states: list[tuple[Credential, State]], now: int) -> int:
        """Return the id of the credential that is asked next, 0 where there is none."""
        usable = (credential.id for credential, state in states if state.is_usable(now))
        return next(usable, 0)

    def overview(self) -> dict[str, Any]:
        """Count credentials by state, and what runs."""
        now = now_ms()
        states = self._states()
        words = [state_of(state, now) for _, state in states]
        requests, errors = self._desk.ledger.meter.totals()
        return {
            "credentials": {
                "total": len(states),
                "available": sum(state.is_usable(now) for _, state in states),
                "cooling": words.count("cooling"),
                "disabled": sum(bool(state.disabled_reason(now)) for _, state in states),
                "throttled": sum(is_throttled(state, now) for _, state in states),
            },
            "liveStreams": sum(state.in_flight for _, state in states),
            "requestsTotal": requests,
            "errorsTotal": errors,
        }

    def _states(self) -> list[tuple[Credential, State]]:
        return self._desk.gateway.pool.states()

    def _item(self, credential: Credential, state: State, current: int, now: int) -> Item:
        gateway = self._desk.gateway
        balance = self._balances.get(credential.id)
        return item(
            credential,
            state,
            gateway.store.entry(credential.id),
            now_ms=now,
            is_current=credential.id == current,
            is_renewing=gateway.refresher.is_renewing(credential.id),
            requests_last_minute=self._counts.get(credential.id, 0),
            fault=self._faults.get(credential.id),
            balance=balance.as_json() if balance else None,
        )

    async def _learn(self) -> None:
        """Read what is noted of credentials.

        A list that is asked for learns as well; what it has learned stays news to the watchers.
        """
        for note in await self._desk.notes(self._faults_ms):
            data = {"at": rfc3339(note.at_ms), **note.data}
            if self._faults.get(note.credential_id) != data:
                self._faults[note.credential_id] = data
                self._news.add(note.credential_id)
            # A note may be written a moment after its time: look back a little each time.
            self._faults_ms = max(self._faults_ms, note.at_ms - 60_000)
        loop_s = asyncio.get_running_loop().time()
        if loop_s - self._counts_at >= COUNTS_S:
            self._counts_at = loop_s
            minute_ago = now_ms() - 60_000
            counts = await self._desk.quietly(lambda c: reading.busy_credentials(c, minute_ago))
            before, self._counts = self._counts, counts or {}
            self._news |= {id for id, _ in before.items() ^ self._counts.items()}
            known, balances = self._balances, await self._desk.gateway.usage.known()
            self._news |= {id for id, new in balances.items() if known.get(id) != new}
            self._balances = balances

    # -- for watchers --------------------------------------------------------------------------

    async def watch(self) -> AsyncGenerator[Event, None]:
        """Yield a snapshot and then changes."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._watchers.add(queue)
        if self._task is None:
            self._marks = None
            self._task = asyncio.create_task(self._look_for_ever())
        try:
            items = await self.items()
            yield Event("snapshot", {"credentials": items, "overview": self.overview()})
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._watchers.discard(queue)
            if not self._watchers and self._task is not None:
                task, self._task = self._task, None  # who comes next begins anew
                task.cancel()

    async def _look_for_ever(self) -> None:
        overview: dict[str, Any] = {}
        while True:
            try:
                changed, removed = await self._look()
                now = self.overview()
                if changed or removed or now != overview:
                    data = {"credentials": changed, "removed": removed, "overview": now}
                    self._tell(Event("change", data))
                overview = now
            except Exception:
                _log.exception("the live state could not be told")
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> tuple[list[Item], list[int]]:
        """Return the items that differ from the last look, and who is gone."""
        before = self._marks
        await self._learn()
        told, self._news = self._news, set()
        states, now = self._states(), now_ms()
        current = self.current(states, now)
        gateway = self._desk.gateway
        marks: dict[int, tuple[Any, ...]] = {}
        changed: list[Item] = []
        for position, (credential, state) in enumerate(states):
            if position % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
            id = credential.id
            is_renewing = gateway.refresher.is_renewing(id)
            word = state_of(state, now, is_renewing)
            marks[id] = (credential, state, word, id == current, token_state(credential, now))
            if before is not None and (before.get(id) != marks[id] or id in told):
                changed.append(self._item(credential, state, current, now))
        removed = [] if before is None else sorted(before.keys() - marks.keys())
        self._marks = marks
        return changed, removed

    def _tell(self, event: Event) -> None:
        for queue in self._watchers:
            if queue.qsize() < MOST_WAITING:
                queue.put_nowait(event)
            elif queue.qsize() == MOST_WAITING:
                queue.put_nowait(None)
