"""What the admin API's routes work on: one worker's gateway, its ledger, and notes on credentials.

Rules of this file: no route's logic.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kiroproxy.accounts.credential import Credential
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


class Desk:
    """Order: after the gateway's and the ledger's start."""

    def __init__(self, gateway: Gateway, ledger: Ledger, keeper: Gatekeeper) -> None:
        self.gateway, self.ledger, self.keeper = gateway, ledger, keeper
        self.live = Live(self)
        self.logins = Logins(self)
        self.started_at_ms = now_ms()

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
        found = await self.gateway.usage.balance(self.credential(id), anew=refresh)
        return {"id": id, **found.as_json()}

    async def notes(self, since_ms: int = 0) -> list[notes.Note]:
        """Return what is noted of credentials."""
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


def now_ms() -> int:
    """Return the time as records count it."""
    return time.time_ns() // 1_000_000
