"""The care for credentials that nobody is asking for right now: fresh tokens, known balances.

Rules of this file: one worker of all, and one gateway of all on the same file, is on duty: who
holds the lock; the kernel frees it with its holder. One call at a time, with a gap between two,
whatever the clock says: after a suspend or a jump everything is due at once, and nothing must
become a storm. Requests never wait for this work.

Theory of operation. Each round looks at every credential. A token inside its advisory window is
renewed, by the same flight that a request would start, so the two cannot collide. A balance is
asked for when the last answer is older than `balanceInterval`, spread by a tenth of it; one
that is out for its quota is asked for each hour in any case, because that is how it heals early.
Where the lock cannot be made (a read-only folder) every worker does it for itself.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable

from kiroproxy.accounts.credential import Credential, digest
from kiroproxy.accounts.lock import FileLock
from kiroproxy.accounts.pool import Pool
from kiroproxy.config import Source
from kiroproxy.errors import CredentialDead, GatewayError
from kiroproxy.upstream.refresh import Refresher
from kiroproxy.upstream.usage import Usage

log = logging.getLogger(__name__)

ROUND_S = 10.0  # a fraction of the shortest advisory window in use
GAP_S = 0.5
BALANCES_AFTER_S = 30.0  # a start has better things to do, and tests of operators end before it
_EXHAUSTED_MS = 3_600_000  # between two looks at a plan that is used up
_FAILED_MS = 600_000  # after a question that failed


class Keeper:
    """Order: run() in a task of its own; cancelling it ends the duty.

    Units: clock in ms since epoch; `rng` gives numbers in [0, 1).
    """

    def __init__(
        self,
        pool: Pool,
        refresher: Refresher,
        usage: Usage,
        lock: FileLock,
        config: Source,
        now_ms: Callable[[], int],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._pool, self._refresher, self._usage = pool, refresher, usage
        self._lock, self._source = lock, config
        self._now_ms, self._sleep, self._rng = now_ms, sleep, rng
        self._not_before_ms: dict[int, int] = {}  # after a failed question, by credential
        self._is_on_duty = False

    async def run(self) -> None:
        """Take the duty when it is free, and do it until cancelled."""
        started_ms = self._now_ms()
        try:
            while True:
                await self._sleep(ROUND_S * (0.5 + self._rng() / 2))
                if await self._has_duty():
                    age_s = (self._now_ms() - started_ms) / 1000
                    await self.round(with_balances=age_s >= BALANCES_AFTER_S)
        finally:
            self._lock.release()

    async def round(self, *, with_balances: bool = True) -> None:
        """Do what is due, one after the other. A bug in one must not end the care for others."""
        try:
            async for work in self._due(with_balances):
                await work
                await self._sleep(GAP_S * (0.5 + self._rng()))
        except Exception:
            log.exception("the care for idle credentials failed")

    async def _has_duty(self) -> bool:
        if not self._is_on_duty:
            try:
                self._is_on_duty = await asyncio.to_thread(self._lock.try_acquire)
            except OSError as fault:
                log.debug("%s cannot be locked (%s): every worker cares", self._lock.path, fault)
                self._is_on_duty = True
        return self._is_on_duty

    async def _due(self, with_balances: bool) -> AsyncIterator[Awaitable[None]]:
        if self._source.current.refresh_ahead:
            for view in self._pool.snapshot(self._now_ms()):
                # Anew each time: a request may have renewed it during the round.
                credential = self._pool.get(view.credential.id)
                if credential and self._is_kept(credential) and self._refresher.is_due(credential):
                    yield self._renew(credential)
        if not with_balances:
            return
        known = await self._usage.known()
        for view in self._pool.snapshot(self._now_ms()):
            credential = view.credential
            balance = known.get(credential.id)
            asked_ms = balance.fetched_at_ms if balance else 0
            if self._is_kept(credential) and self._is_stale(credential, asked_ms):
                yield self._ask(credential)

    def _is_kept(self, credential: Credential) -> bool:
        """Say whether it may ever serve again without somebody's help."""
        return self._pool.is_enabled(credential.id)

    def _is_stale(self, credential: Credential, asked_ms: int) -> bool:
        now_ms, interval_ms = self._now_ms(), int(self._source.current.balance_interval_s * 1000)
        if now_ms < self._not_before_ms.get(credential.id, 0):
            return False
        if self._pool.is_exhausted(credential.id, now_ms):
            interval_ms = min(interval_ms or _EXHAUSTED_MS, _EXHAUSTED_MS)
        elif not interval_ms:
            return False
        spread = int(digest(f"balance {credential.id}")[:4], 16) / 0xFFFF / 10
        age_ms = now_ms - asked_ms
        return age_ms < 0 or age_ms >= interval_ms * (1 + spread)  # < 0: the clock was set back

    async def _renew(self, credential: Credential) -> None:
        try:
            await self._refresher.renew_ahead(credential)
        except CredentialDead as fault:
            self._pool.note(credential.id, fault, self._now_ms())
        except GatewayError:
            pass  # logged by the flight, which keeps quiet for a while

    async def _ask(self, credential: Credential) -> None:
        try:
            await self._usage.balance(credential, anew=True)
        except GatewayError as fault:
            self._not_before_ms[credential.id] = self._now_ms() + _FAILED_MS
            if isinstance(fault, CredentialDead):
                self._pool.note(credential.id, fault, self._now_ms())
