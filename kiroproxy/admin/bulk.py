"""Many credentials at once: one stream of progress, ended by the client's leaving.

Rules of this file: what changes the file is written in portions, not once a credential; what
asks Kiro does so for a few at a time, for a crowd of refreshes from one address looks like abuse.
One that fails does not stop the others.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from kiroproxy.accounts import imports
from kiroproxy.accounts.credential import digest
from kiroproxy.accounts.imports import Candidate
from kiroproxy.admin import credentials
from kiroproxy.admin import schema as s
from kiroproxy.admin.desk import Desk
from kiroproxy.admin.refusal import Refusal, invalid, refusal_of
from kiroproxy.admin.routes import Answer, Call, Event, Events, Result, Route

ACTIONS = ("enable", "disable", "delete", "refresh", "verify", "reset", "balance", "priority")
PORTION = 1000  # a write reads and writes the whole file, however little changes
AT_ONCE = 4

Outcome = tuple[bool, str, str | None]  # ok, message, code


async def bulk(call: Call) -> Result:
    """Do one thing to many."""
    action, ids = call.body["action"], list(dict.fromkeys(int(id) for id in call.body["ids"]))
    if action == "priority" and call.body.get("priority") is None:
        raise invalid("missing_field", "body.priority is missing", "Add priority")
    call.target, call.detail = action, f"{len(ids)} credentials"
    if action in ("enable", "disable", "delete", "priority"):
        return Events(_by_portions(call.desk, action, ids, call.body))
    return Events(_by_asking(call.desk, action, ids))


async def _by_portions(
    desk: Desk, action: str, ids: list[int], body: dict[str, Any]
) -> AsyncGenerator[Event, None]:
    """Change the file, a portion with one write."""
    tally = Tally(len(ids))
    for start in range(0, len(ids), PORTION):
        portion = ids[start : start + PORTION]
        refused = {id: refusal for id in portion if (refusal := _refusal(desk, action, id, body))}
        good = [id for id in portion if id not in refused]
        outcome = await _outcome(lambda: _write(desk, action, good, body))  # noqa: B023
        for id in portion:
            told = refused.get(id)
            result = (False, told.message, told.code) if told else outcome
            yield tally.progress({"id": id}, result)
    yield tally.done()


def _refusal(desk: Desk, action: str, id: int, body: dict[str, Any]) -> Refusal | None:
    """Return why an action cannot be done to one."""
    try:
        desk.in_file(id)
    except Refusal as refusal:
        return refusal
    if action == "delete" and not body.get("force") and not credentials.is_disabled(desk, id):
        return invalid("not_disabled", "Only a disabled credential can be deleted")
    return None


async def _write(desk: Desk, action: str, ids: list[int], body: dict[str, Any]) -> None:
    if not ids:
        return
    if action == "delete":
        await desk.remove_many(ids)
    elif action == "priority":
        await desk.update_many({id: {"priority": int(body["priority"])} for id in ids})
    else:
        await credentials.switch(desk, ids, action == "disable")


async def _by_asking(desk: Desk, action: str, ids: list[int]) -> AsyncGenerator[Event, None]:
    """Ask Kiro for a few at a time; their results come as they are ready."""
    tally = Tally(len(ids))

    async def work(id: int) -> tuple[int, Outcome]:
        return id, await _outcome(lambda: _ask(desk, action, id))

    async for id, result in _spread(work, ids):
        yield tally.progress({"id": id}, result)
    yield tally.done()


async def _ask(desk: Desk, action: str, id: int) -> str | None:
    """Do it to one. Returns a message. Raises: Refusal, GatewayError, ConfigError."""
    if action == "refresh":
        await credentials.refresh_one(desk, id)
    elif action == "reset":
        await credentials.reset_one(desk, id)
    elif action == "balance":
        found = await desk.balance(id, refresh=True)
        return f"{found['remaining']:g} of {found['usageLimit']:g} left"
    else:
        found = await credentials.verify_one(desk, id)
        if not found["ok"]:
            raise Refusal("api_error", "not_verified", found["message"])
        return str(found["subscriptionTitle"] or found["message"])
    return None


async def _outcome(work: Callable[[], Awaitable[str | None]]) -> Outcome:
    try:
        return True, await work() or "done", None
    except Exception as fault:
        refusal = refusal_of(fault)
        if refusal is None:
            raise
        return False, refusal.message, refusal.code


async def _spread(
    work: Callable[[Any], Awaitable[Any]], items: list[Any]
) -> AsyncGenerator[Any, None]:
    """Run work on a few items at a time; leaving early cancels what runs."""
    waiting = iter(items)
    running: set[asyncio.Task[Any]] = set()
    try:
        while True:
            while len(running) < AT_ONCE and (item := next(waiting, None)) is not None:
                running.add(asyncio.ensure_future(work(item)))
            if not running:
                return
            finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Tally:
    """Counts what a stream of progress tells."""

    def __init__(self, total: int) -> None:
        self.total, self.ok, self.failed = total, 0, 0

    def progress(self, of: dict[str, Any], result: Outcome) -> Event:
        ok, message, code = result
        self.ok, self.failed = self.ok + ok, self.failed + (not ok)
        counted = {"done": self.ok + self.failed, "total": self.total}
        return Event("progress", {**counted, **of, "ok": ok, "message": message, "code": code})

    def done(self) -> Event:
        return Event("done", {"total": self.total, "ok": self.ok, "failed": self.failed})


# -- import --------------------------------------------------------------------------------


async def import_all(call: Call) -> Result:
    """Take in what other programs hold; or only say what there is."""
    desk, body = call.desk, call.body
    data = body["data"]
    found = await asyncio.to_thread(
        imports.read, data, desk.config, format=body.get("format") or "auto"
    )
    if body.get("dryRun"):
        call.route = _LOOK  # nothing changes
        present = await asyncio.to_thread(_present, desk)
        entries = [_told(each, present) for each in found.candidates]
        return Answer({"format": found.format, "entries": entries})
    call.target, call.detail = found.format, f"{len(found.candidates)} entries"
    return Events(_take_in(desk, list(found.candidates), body))


def _present(desk: Desk) -> dict[str, int]:
    """Return the hash of every login that is here, with its id."""
    everybody = (credential for credential, _ in desk.gateway.pool.states())
    return {digest(secret): each.id for each in everybody
            if (secret := each.refresh_token or each.kiro_api_key)}  # fmt: skip


def _told(candidate: Candidate, present: Mapping[str, int]) -> dict[str, Any]:
    fields = candidate.fields
    token, key = fields.get("refreshToken"), fields.get("kiroApiKey")
    return {
        "index": candidate.index,
        "email": fields.get("email"),
        "authMethod": fields.get("authMethod"),
        "label": candidate.label,
        "refreshTokenHash": digest(token) if isinstance(token, str) and token else None,
        "apiKeyHash": digest(key) if isinstance(key, str) and key else None,
        "duplicateOf": present.get(candidate.secret_hash),
        "problem": candidate.problem or None,
        "errored": candidate.errored,
    }


async def _take_in(
    desk: Desk, candidates: list[Candidate], body: dict[str, Any]
) -> AsyncGenerator[Event, None]:
    tally = Tally(len(candidates))
    verify = body.get("verify") is not False
    skip_errored = body.get("skipErrored") is not False
    present = await asyncio.to_thread(_present, desk)
    defaults = {k: v for k, v in (body.get("defaults") or {}).items() if v is not None}

    async def work(candidate: Candidate) -> tuple[Candidate, int | None, Outcome]:
        kept: list[int] = []

        async def keep() -> str | None:
            if candidate.problem:
                raise invalid("unusable", candidate.problem, "Correct it, or leave it out")
            if candidate.errored and skip_errored:
                raise invalid("errored", "The other program marks it as broken", "Try it alone")
            if (id := present.get(candidate.secret_hash)) is not None:
                raise invalid("duplicate", f"It is credential {id} already", "Nothing to do")
            made = await desk.enrolment.keep({**defaults, **candidate.fields}, verify=verify)
            kept.append(made.credential.id)
            return made.problem or made.subscription or None

        result = await _outcome(keep)
        return candidate, kept[0] if kept else None, result

    try:
        async for candidate, id, result in _spread(work, candidates):
            of = {"index": candidate.index, "id": id, "credentialId": id, "label": candidate.label}
            yield tally.progress(of, result)
    finally:
        await asyncio.shield(desk.reread())
    yield tally.done()


_BULK = s.record(
    {
        "action": s.one_of(*ACTIONS),
        "ids": credentials.IDS,
        "force": s.optional(s.flag()),
        "priority": s.optional(credentials.FIELDS["priority"]),
    },
    *("action", "ids"),
)
_DEFAULTS = {
    name: s.optional(credentials.FIELDS[name])
    for name in ("priority", "region", "authRegion", "apiRegion", "endpoint", "proxyUrl",
                 "proxyUsername", "proxyPassword", "maxConcurrency", "rpm")
}  # fmt: skip
_IMPORT = s.record(
    {
        "data": {"type": ["string", "object", "array"]},
        "format": s.optional(s.one_of("auto", *imports.FORMATS)),
        "verify": s.optional(s.flag()),
        "skipErrored": s.optional(s.flag()),
        "dryRun": s.optional(s.flag()),
        "defaults": s.optional(s.record(_DEFAULTS)),
    },
    "data",
)
MOST_IMPORT_BYTES = 32 * 1024 * 1024
# fmt: off
_LOOK = Route("POST", "/credentials/import", import_all, "", "")
ROUTES = (
    Route("POST", "/credentials/bulk", bulk, "Do one thing to many credentials",
          "credentials", "credential.bulk", body=_BULK, streams=True),
    Route("POST", "/credentials/import", import_all,
          "Import credentials of another program; with dryRun, only list them (JSON)",
          "credentials", "credential.import", body=_IMPORT, streams=True,
          most_body_bytes=MOST_IMPORT_BYTES),
)
# fmt: on
