"""What Kiro lists for each credential: asked now and then, remembered, told to the pool.

Rules of this file: no request waits for a listing that is known, however old; one question at a
time for a credential, and few at once. What is listed for one account is not assumed of another.

Theory of operation. `look` asks for every enabled credential whose listing is unknown or over an
hour old; the old one answers meanwhile, and also when asking fails. Accounts of one plan are
listed the same, so equal listings are kept once. `rows` joins those of the credentials that may
serve; a model that several list differently is the one with the largest window, for windows grow
account by account and a prompt must not be refused that somebody can take.

Source: Kiro's ListAvailableModels, whose answer depends on plan, region and egress address.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson

from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.pool import Pool
from kiroproxy.errors import CredentialDead, GatewayError

log = logging.getLogger(__name__)

FRESH_MS = 3_600_000  # models come and go by the week
FAILED_MS = 60_000  # after a question that failed …
FAILED_AGAIN_MS = 600_000  # … and after another
PARALLEL = 4
GAP_S = 0.5  # between so many questions: thousands of accounts must not be a storm
FIRST = 16  # after so many, a name that nobody was listed is taken for unknown

Rows = list[dict[str, Any]]


@dataclass(slots=True)
class _Known:
    """What one account was listed. Units: ms since epoch, 0 = never."""

    owner: str  # machine id: it stays the same while an account's tokens rotate
    rows: Rows
    asked_ms: int = 0
    failures: int = 0  # in a row


class Listings:
    """The listings of one worker. Order: `aclose()` at the end.

    Shape: `call` asks Kiro for one credential's models; `on_news` is called when a listing came
    that no account had before.
    """

    def __init__(
        self,
        pool: Pool,
        call: Callable[[Credential], Awaitable[Rows]],
        now_ms: Callable[[], int],
        *,
        on_news: Callable[[], object] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pool, self._call, self._now_ms = pool, call, now_ms
        self._on_news, self._sleep = on_news, sleep
        self._known: dict[int, _Known] = {}
        self._shapes: dict[bytes, Rows] = {}  # equal listings once, by their JSON
        self._flights: dict[int, asyncio.Task[Rows]] = {}
        self._joined: tuple[frozenset[int], Rows] = (frozenset(), [])
        self.were_asked = asyncio.Event()  # the first credentials have answered, or failed to

    async def aclose(self) -> None:
        """End the questions that are under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def of(self, credential: Credential, *, anew: bool = False) -> Rows:
        """Return what a credential is listed: what is known, which is asked for anew if old.

        Raises: GatewayError — nothing is known, or `anew`, and Kiro could not be asked.
        """
        known = self._present(credential)
        if known and known.rows and not anew:
            if self._is_due(credential):
                self._flight(credential)
            return known.rows
        return await asyncio.shield(self._flight(credential))

    async def look(self) -> bool:
        """Ask for everything that is due. Returns whether every question was answered."""
        serving = self._pool.serving()
        self._forget_all_but(serving)
        due = [credential for credential in serving if self._is_due(credential)]
        done = True
        for start in range(0, len(due), PARALLEL):
            if start:
                await self._sleep(GAP_S)
            batch = [self._flight(credential) for credential in due[start : start + PARALLEL]]
            answers = await asyncio.gather(*batch, return_exceptions=True)
            done &= not any(isinstance(answer, BaseException) for answer in answers)
            if start + PARALLEL >= FIRST:
                self.were_asked.set()
        self.were_asked.set()
        return done

    def rows(self) -> Rows:
        """Join what the credentials that may serve are listed; the same list while it is so."""
        found: dict[int, Rows] = {}
        for credential in self._pool.serving():
            known = self._present(credential)
            if known and known.rows:
                found.setdefault(id(known.rows), known.rows)
        if self._joined[0] != frozenset(found):
            self._joined = frozenset(found), _joined(found.values())
        return self._joined[1]

    # -- one credential ----------------------------------------------------------------------

    def _present(self, credential: Credential) -> _Known | None:
        """Return what is known of the account that a credential is now."""
        known = self._known.get(credential.id)
        return known if known and known.owner == credential.machine_id else None

    def _is_due(self, credential: Credential) -> bool:
        known = self._present(credential)
        if known is None:
            return True
        wait_ms = FRESH_MS
        if known.failures:
            wait_ms = FAILED_MS if known.failures == 1 else FAILED_AGAIN_MS
        age_ms = self._now_ms() - known.asked_ms
        return age_ms < 0 or age_ms >= wait_ms  # < 0: the clock was set back

    def _forget_all_but(self, serving: list[Credential]) -> None:
        """Drop what is known of accounts that are gone, or have become others."""
        present = {credential.id: credential.machine_id for credential in serving}
        for credential_id, known in list(self._known.items()):
            is_gone = self._pool.get(credential_id) is None
            if is_gone or present.get(credential_id, known.owner) != known.owner:
                del self._known[credential_id]
                self._pool.entitlements.forget(credential_id)
        kept = {id(known.rows) for known in self._known.values()}
        self._shapes = {name: rows for name, rows in self._shapes.items() if id(rows) in kept}

    def _flight(self, credential: Credential) -> asyncio.Task[Rows]:
        task = self._flights.get(credential.id)
        if task is None:
            task = asyncio.create_task(self._ask(credential), name=f"models {credential.id}")
            self._flights[credential.id] = task
            task.add_done_callback(lambda done: self._landed(credential, done))
        return task

    def _landed(self, credential: Credential, task: asyncio.Task[Rows]) -> None:
        del self._flights[credential.id]
        if not task.cancelled() and isinstance(fault := task.exception(), GatewayError):
            self._failed(credential, fault)

    async def _ask(self, credential: Credential) -> Rows:
        rows = await self._call(credential)
        name = orjson.dumps(rows, option=orjson.OPT_SORT_KEYS)
        is_news = name not in self._shapes
        rows = self._shapes.setdefault(name, rows)
        self._known[credential.id] = _Known(credential.machine_id, rows, self._now_ms())
        ids = [row["modelId"] for row in rows if isinstance(row.get("modelId"), str)]
        self._pool.entitlements.learn(credential.id, ids)
        if is_news:
            self._on_news()
        return rows

    def _failed(self, credential: Credential, fault: GatewayError) -> None:
        """Keep the old listing, if any, and ask again later."""
        log.info(
            "credential %s: its models are not known: %s (%s)",
            credential.name,
            fault,
            fault.detail,
        )
        known = self._present(credential) or _Known(credential.machine_id, [])
        known.asked_ms, known.failures = self._now_ms(), known.failures + 1
        self._known[credential.id] = known
        if isinstance(fault, CredentialDead):
            self._pool.note(credential.id, fault, self._now_ms())


def _joined(listings: Any) -> Rows:
    """Name each model once, in the order of first mention."""
    found: dict[Any, dict[str, Any]] = {}
    for row in (row for rows in listings for row in rows):
        before = found.get(row.get("modelId"))
        if before is None or _window(row) > _window(before):
            found[row.get("modelId")] = row
    return list(found.values())


def _window(row: dict[str, Any]) -> float:
    limits = row.get("tokenLimits")
    window = limits.get("maxInputTokens") if isinstance(limits, dict) else None
    return window if isinstance(window, int | float) else 0
