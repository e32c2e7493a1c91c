"""What the admin API's routes work on: one worker's gateway, its ledger, and notes on credentials.

Rules of this file: no route's logic. What one worker learns of a credential by asking Kiro goes
into the file of records, where the others find it; without that file it stays in memory.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.expiry import rfc3339
from kiroproxy.admin.flows import Logins
from kiroproxy.admin.live import Live
from kiroproxy.admin.refusal import Refusal, no_such
from kiroproxy.admin.session import Gatekeeper
from kiroproxy.config import Config
from kiroproxy.records import notes
from kiroproxy.records.database import Database
from kiroproxy.server.gateway import Gateway
from kiroproxy.server.ledger import Ledger
from kiroproxy.upstream.enrolment import Enrolment

T = TypeVar("T")

BALANCE_MS = 300_000  # the reference's own


class Desk:
    """Order: after the gateway's and the ledger's start."""

    def __init__(
        self, gateway: Gateway, ledger: Ledger, keeper: Gatekeeper, document: bytes
    ) -> None:
        self.gateway, self.ledger, self.keeper = gateway, ledger, keeper
        self.document = document  # what the API says of itself
        self.live = Live(self)
        self.logins = Logins(self)
        self.started_at_ms = now_ms()
        self._balances: dict[int, tuple[int, dict[str, Any]]] = {}

    async def aclose(self) -> None:
        """End what runs by itself."""
        await self.live.aclose()
        await self.logins.aclose()

    @property
    def config(self) -> Config:
        return self.gateway.config

    @property
    def database(self) -> Database:
        """The file of records. Raises: Refusal — there is none."""
        if self.ledger.database is None:
            raise Refusal(
                "internal_error", "records_off", "Nothing is recorded: recordsPath is empty",
                "Set recordsPath in config.json and restart", status=503,
            )  # fmt: skip
        return self.ledger.database

    @property
    def enrolment(self) -> Enrolment:
        gateway = self.gateway
        return Enrolment(gateway.store, gateway.refresher, gateway.control)

    def credential(self, id: int) -> Credential:
        """Return a credential. Raises: Refusal."""
        found = self.gateway.pool.get(id)
        if found is None:
            raise no_such("credential", id)
        return found

    def label(self, id: int | None) -> str | None:
        """Return what a person calls a credential."""
        if id is None or id < 0:
            return None
        found = self.gateway.pool.get(id)
        if found is not None and found.email:
            return found.email
        return f"#{id}" if id else "KIRO_API_KEY"

    # -- changes to the file -------------------------------------------------------------------

    async def update(self, id: int, changes: dict[str, Any]) -> Credential:
        """Write fields of a credential and take them over. Raises: Refusal, ConfigError."""
        self.in_file(id)
        saved = await asyncio.to_thread(self.gateway.store.update, id, changes)
        self.gateway.pool.replace(saved)
        return saved

    async def update_many(self, changes: dict[int, dict[str, Any]]) -> list[Credential]:
        """Write fields of several credentials at once."""
        saved = await asyncio.to_thread(self.gateway.store.update_many, changes)
        self.gateway.pool.replace_many(saved)
        return saved

    async def remove_many(self, ids: list[int]) -> None:
        """Delete credentials, with one write."""
        await asyncio.to_thread(self.gateway.store.remove_many, ids)
        await self.reread()

    async def reread(self) -> None:
        """Take over what the file holds now, here and in the other workers."""
        gateway = self.gateway
        gateway.pool.sync(await asyncio.to_thread(gateway.store.load))

    def in_file(self, id: int) -> Credential:
        """Return a credential that can be changed. Raises: Refusal."""
        found = self.credential(id)
        if id == 0:
            raise Refusal(
                "invalid_request", "from_environment",
                "This credential comes from KIRO_API_KEY and is in no file",
                "Change the environment and restart, or add the key as a credential",
            )  # fmt: skip
        return found

    # -- what Kiro says of a credential --------------------------------------------------------

    async def balance(self, id: int, *, refresh: bool = False) -> dict[str, Any]:
        """Return what is left of a credential's plan, at most five minutes old."""
        credential = self.credential(id)
        known = self._balances.get(id)
        if not refresh and known and known[0] + BALANCE_MS > now_ms():
            return known[1]
        fresh = await self.gateway.refresher.fresh(credential)
        told = await self.gateway.control.usage_limits(fresh)
        found = {"id": id, **balance_of(told), "fetchedAt": rfc3339(now_ms())}
        self._balances[id] = (now_ms(), found)
        await self.keep_note("balance", id, found)
        if found["nextResetAt"]:
            self.gateway.pool.set_quota_reset(id, int(found["nextResetAt"] * 1000))
        return found

    async def keep_note(self, kind: str, id: int, data: dict[str, Any]) -> None:
        """Let the other workers know; without a file they ask by themselves."""
        if self.ledger.database is not None:
            at = now_ms()
            await self.quietly(lambda c: notes.put(c, kind, id, at, data), writes=True)

    async def notes(self, since_ms: int = 0) -> list[notes.Note]:
        """Return what is noted of credentials."""
        if self.ledger.database is None:
            mine = self._balances.items()
            return [notes.Note("balance", id, at, data) for id, (at, data) in mine]
        return await self.quietly(lambda c: notes.since(c, since_ms)) or []

    async def quietly(
        self, work: Callable[[sqlite3.Connection], T], *, writes: bool = False
    ) -> T | None:
        """Use the file of records where the answer can do without it. None: it failed."""
        database = self.ledger.database
        if database is None:
            return None
        try:
            return await (database.write(work) if writes else database.read(work))
        except (sqlite3.Error, OSError):
            return None


def balance_of(told: dict[str, Any]) -> dict[str, Any]:
    """Add up plan, running trial and running bonuses; missing parts count as nothing.

    Source: GetUsageLimits; the reference shows the same sum.
    """
    listed = told.get("usageBreakdownList")
    parts = [part for part in listed if isinstance(part, dict)] if isinstance(listed, list) else []
    base = next((part for part in parts if part.get("resourceType") == "CREDIT"), None)
    base = base or (parts[0] if parts else {})
    trial = base.get("freeTrialInfo")
    bonuses = base.get("bonuses")
    counted = [base]
    if isinstance(trial, dict) and trial.get("freeTrialStatus") == "ACTIVE":
        counted.append(trial)
    counted += [
        bonus
        for bonus in (bonuses if isinstance(bonuses, list) else ())
        if isinstance(bonus, dict) and bonus.get("status") == "ACTIVE"
    ]
    used = sum(_amount(part, "currentUsage") for part in counted)
    limit = sum(_amount(part, "usageLimit") for part in counted)
    subscription, overage = told.get("subscriptionInfo"), told.get("overageConfiguration")
    reset = told.get("nextDateReset") or base.get("nextDateReset")
    return {
        "subscriptionTitle": _member(subscription, "subscriptionTitle"),
        "currentUsage": used,
        "usageLimit": limit,
        "remaining": max(limit - used, 0.0),
        "usagePercentage": min(100.0 * used / limit, 100.0) if limit else 0.0,
        "nextResetAt": float(reset) if isinstance(reset, (int, float)) and reset > 0 else None,
        "overage": {
            "status": _member(overage, "overageStatus"),
            "used": _amount(base, "currentOverages"),
            "charges": _amount(base, "overageCharges"),
        },
    }


def now_ms() -> int:
    """Return the time as records count it."""
    return time.time_ns() // 1_000_000


def _amount(part: dict[str, Any], name: str) -> float:
    for key in (f"{name}WithPrecision", name):
        value = part.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
            return float(value)
    return 0.0


def _member(value: object, key: str) -> str | None:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) and found else None
