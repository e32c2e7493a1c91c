"""What is left of each credential's plan: asked of Kiro, remembered, and acted upon.

Rules of this file: one question at a time for a credential, however many want to know; an answer
is in the shared file before anybody acts on it. No mail address is kept.

Theory of operation. An answer is good for five minutes to who wants to look at it. Each answer
also decides whether the credential is used: one whose credits are spent, or fewer than the
operator wants to keep, is out until its reset date; one that is out and has credits again gets
one request that proves it. A 402 asks by itself, because it seldom says until when: if credits
are left in spite of it, the credential waits an hour before it may prove itself.

Source: GetUsageLimits; `accounts.balance` reads it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from kiroproxy.accounts.balance import Balance, read
from kiroproxy.accounts.balance_file import BalanceFile
from kiroproxy.accounts.credential import Credential, digest
from kiroproxy.accounts.pool import Pool
from kiroproxy.errors import GatewayError
from kiroproxy.upstream.control import ControlPlane

log = logging.getLogger(__name__)

FRESH_MS = 300_000  # how long the family's gateways show an answer before they ask again
_REFUSED_QUIET_MS = 60_000  # between two questions that 402s cause


class Usage:
    """Shape: `ready` returns a credential as a call sends it. Order: `aclose()` at the end."""

    def __init__(
        self,
        pool: Pool,
        ready: Callable[[Credential], Awaitable[Credential]],
        control: ControlPlane,
        file: BalanceFile,
        now_ms: Callable[[], int],
    ) -> None:
        self._pool, self._ready, self._control = pool, ready, control
        self._file, self._now_ms = file, now_ms
        self._flights: dict[int, asyncio.Task[Balance]] = {}
        self._asked_after_refusal: dict[int, int] = {}

    async def known(self) -> dict[int, Balance]:
        """Return the latest answer for each credential of the file, of whatever age."""
        found = await asyncio.to_thread(self._file.read)
        present = ((id, balance, self._pool.get(id)) for id, balance in found.items())
        return {id: b for id, b, now in present if now and b.owner == _owner(now)}

    async def balance(self, credential: Credential, *, anew: bool = False) -> Balance:
        """Return what is left of a plan; an answer of the last minutes will do unless `anew`.

        Raises: GatewayError — Kiro could not be asked, or refused.
        """
        found = (await self.known()).get(credential.id)
        if found and not anew and 0 <= self._now_ms() - found.fetched_at_ms < FRESH_MS:
            return found
        return await asyncio.shield(self._flight(credential, after_refusal=False))

    async def apply_known(self) -> None:
        """Act on what was known before this start, as if Kiro had just said it."""
        now_ms = self._now_ms()
        for id, balance in (await self.known()).items():
            if balance.next_reset_ms > now_ms:
                self._settle(id, balance, after_refusal=False)

    def ask_after_refusal(self, credential: Credential) -> None:
        """Find out in the background until when a credential is out; its 402 did not say."""
        now_ms = self._now_ms()
        if now_ms - self._asked_after_refusal.get(credential.id, -(2**62)) < _REFUSED_QUIET_MS:
            return
        self._asked_after_refusal[credential.id] = now_ms
        self._flight(credential, after_refusal=True)

    async def aclose(self) -> None:
        """End the questions that are under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _flight(self, credential: Credential, *, after_refusal: bool) -> asyncio.Task[Balance]:
        id = credential.id
        task = self._flights.get(id)
        if task is None:
            task = asyncio.create_task(self._ask(credential, after_refusal), name=f"usage {id}")
            self._flights[id] = task
            task.add_done_callback(lambda done: self._landed(credential, done))
        return task

    def _landed(self, credential: Credential, task: asyncio.Task[Balance]) -> None:
        del self._flights[credential.id]
        if not task.cancelled() and isinstance(fault := task.exception(), GatewayError):
            log.info(
                "credential %s: its usage is not known: %s (%s)",
                credential.name,
                fault,
                fault.detail,
            )

    async def _ask(self, credential: Credential, after_refusal: bool) -> Balance:
        told = await self._control.usage_limits(await self._ready(credential))
        balance = replace(read(told, self._now_ms()), owner=_owner(credential))
        await asyncio.to_thread(self._file.put, credential.id, balance)
        self._settle(credential.id, balance, after_refusal)
        return balance

    def _settle(self, id: int, balance: Balance, after_refusal: bool) -> None:
        was_out = self._pool.is_exhausted(id, self._now_ms())
        is_out = self._pool.settle(id, balance, self._now_ms(), after_refusal=after_refusal)
        if is_out and not was_out:
            log.warning(
                "credential #%d rests until its plan begins anew: %g credits are left",
                id,
                balance.remaining,
            )
        elif was_out and not is_out:
            log.info("credential #%d has credits again: one request is to prove it", id)


def _owner(credential: Credential) -> str:
    """Name an account by what stays the same while its tokens rotate."""
    return digest(f"balance of {credential.machine_id}")[:16]
