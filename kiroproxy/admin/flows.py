"""Logins in progress: started by the page, watched here, seen from every worker.

Rules of this file: the device code and the client's secret stay in this process; what the other
workers and the page see is the public part, in the file of records.

Theory of operation. The worker that starts a login asks until the person has answered, and
keeps the credential itself, so that closing the page loses nothing. Its state is one row that
any worker reads; cancelling is a word in that row, which the owner sees before it asks again.
"""

import asyncio
import logging
import secrets
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from kiroproxy.accounts.expiry import rfc3339
from kiroproxy.accounts.proxy import parse_proxy
from kiroproxy.admin import schema as s
from kiroproxy.admin.refusal import Refusal, no_such, refusal_of
from kiroproxy.admin.routes import Answer, Call, Route
from kiroproxy.errors import UpstreamError
from kiroproxy.records import reading
from kiroproxy.server.gateway import now_ms
from kiroproxy.upstream import device
from kiroproxy.upstream.device import LoginEnded, Pending

if TYPE_CHECKING:
    from kiroproxy.admin.desk import Desk

_log = logging.getLogger(__name__)

KEPT_MS = 3_600_000  # how long a finished login can be asked for
MOST_PENDING = 20

State = dict[str, Any]


@dataclass(slots=True)
class _Running:
    state: State
    task: asyncio.Task[None]


class Logins:
    """One worker's logins, and the way to the others'."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk
        self._running: dict[str, _Running] = {}

    async def aclose(self) -> None:
        """Give up what is not finished."""
        tasks = [each.task for each in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def begin(self, pending: Pending, priority: int, by: tuple[str, str]) -> State:
        """Watch over a login that was started. Shape: `by` is (actor, address)."""
        id = secrets.token_hex(8)
        state: State = {
            "id": id,
            "method": pending.method,
            "state": "pending",
            "verificationUri": pending.verification_uri,
            "verificationUriComplete": pending.verification_uri_complete,
            "userCode": pending.user_code,
            "expiresAt": rfc3339(pending.expires_at_ms),
            "intervalMs": pending.interval_ms,
            "credentialId": None,
            "message": None,
        }
        await self._publish(state)
        task = asyncio.create_task(self._follow(state, pending, priority, by), name=f"login {id}")
        self._running[id] = _Running(state, task)
        return state

    def pending(self) -> int:
        """Return how many logins wait, in this worker."""
        return sum(not each.task.done() for each in self._running.values())

    async def state(self, id: str) -> State:
        """Return how a login stands. Raises: Refusal — unknown, or long over."""
        mine = self._running.get(id)
        found = mine.state if mine else await self._desk.quietly(lambda c: _read(c, id))
        if found is None:
            raise no_such("login", id)
        return found

    async def cancel(self, id: str) -> None:
        """End a login that still waits."""
        state = await self.state(id)
        if state["state"] != "pending":
            return
        mine = self._running.get(id)
        if mine is not None:
            mine.task.cancel()
        state = {**state, "state": "cancelled"}
        if mine is not None:
            mine.state = state
        await self._publish(state)

    async def _follow(
        self, state: State, pending: Pending, priority: int, by: tuple[str, str]
    ) -> None:
        """Ask until the person has answered, then keep the credential."""
        desk = self._desk
        try:
            fields = await self._tokens(state["id"], pending)
            if fields is None:
                return
            fields["priority"] = priority
            try:
                kept = await desk.enrolment.keep(fields, renew=False)
            finally:
                await desk.reread()
            entry = (now_ms(), *by, "credential.add", str(kept.credential.id), pending.method)
            await desk.quietly(lambda c: reading.add_audit(c, entry), writes=True)
            state |= {"state": "done", "credentialId": kept.credential.id}
            state["message"] = kept.problem or None
        except LoginEnded as ended:
            state |= {"state": ended.state, "message": ended.message}
        except Exception as fault:
            refusal = refusal_of(fault)
            if refusal is None:
                _log.exception("a login failed")
            state |= {"state": "failed", "message": refusal.message if refusal else "Failed"}
        await self._publish(state)

    async def _tokens(self, id: str, pending: Pending) -> dict[str, Any] | None:
        """Return the login's fields, None when another worker was told to cancel."""
        desk = self._desk
        while True:
            await asyncio.sleep(pending.interval_ms / 1000)
            row = await desk.quietly(lambda c: _read(c, id))
            if row is not None and row["state"] == "cancelled":
                self._running[id].state = row
                return None
            try:
                found = await device.poll(pending, desk.gateway.control, desk.config)
            except UpstreamError:
                continue  # a bad moment; the code's own end bounds this
            if isinstance(found, dict):
                return found
            pending = found

    async def _publish(self, state: State) -> None:
        at, told = now_ms(), orjson.dumps(state).decode()

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM logins WHERE at < ?", (at - KEPT_MS,))
            connection.execute(
                "INSERT OR REPLACE INTO logins VALUES (?, ?, ?)", (state["id"], at, told)
            )

        await self._desk.quietly(write, writes=True)


def _read(connection: sqlite3.Connection, id: str) -> State | None:
    row = connection.execute("SELECT state FROM logins WHERE id = ?", (id,)).fetchone()
    return orjson.loads(row[0]) if row else None


async def start(call: Call) -> Answer:
    """Begin a login: the answer says where the person has to go, and with which code."""
    desk, body = call.desk, call.body
    if desk.logins.pending() >= MOST_PENDING:
        raise Refusal("rate_limited", "too_many_logins", "Too many logins wait for an answer",
                      "Finish or cancel some", retry_after_s=60)  # fmt: skip
    config = desk.config
    pending = await device.start(
        body["method"],
        desk.gateway.control,
        config,
        start_url=body.get("startUrl") or "",
        region=body.get("region") or "",
        provider=body.get("provider") or "google",
        proxy=parse_proxy(config.proxy_url, config.proxy_username, config.proxy_password),
    )
    by = (call.actor, call.address)
    state = await desk.logins.begin(pending, int(body.get("priority") or 0), by)
    call.target, call.detail = state["id"], body["method"]
    return Answer(state, 201)


async def read(call: Call) -> Answer:
    """Say how a login stands."""
    return Answer(await call.desk.logins.state(call.path["name"]))


async def cancel(call: Call) -> Answer:
    """End a login that waits."""
    await call.desk.logins.cancel(call.path["name"])
    return Answer(None, 204)


LOGIN = s.record(
    {
        "id": s.text(),
        "method": s.one_of(*device.METHODS),
        "state": s.one_of("pending", "done", "failed", "expired", "cancelled"),
        "verificationUri": s.text(),
        "verificationUriComplete": s.text(),
        "userCode": s.text(),
        "expiresAt": s.text(),
        "intervalMs": s.whole(),
        "credentialId": s.optional(s.whole()),
        "message": s.optional(s.text()),
    },
    *("id", "method", "state", "verificationUri", "userCode", "expiresAt", "intervalMs"),
)
_BODY = s.record(
    {
        "method": s.one_of(*device.METHODS),
        "startUrl": s.optional(s.text(2048)),
        "region": s.optional(s.text(32)),
        "provider": s.optional(s.one_of(*device.PROVIDERS)),
        "priority": s.optional(s.whole(-1_000_000, 1_000_000)),
    },
    "method",
)
# fmt: off
ROUTES = (
    Route("POST", "/logins", start, "Begin a login in the browser", "logins", "login.start",
          body=_BODY, answer=LOGIN, status=201, errors=(429, 502)),
    Route("GET", "/logins/{name}", read, "Say how a login stands", "logins", answer=LOGIN),
    Route("DELETE", "/logins/{name}", cancel, "Cancel a login", "logins", "login.cancel",
          status=204),
)
# fmt: on
