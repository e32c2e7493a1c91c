"""Client keys: made, limited, renewed and deleted; every worker knows within a moment.

Rules of this file: a key's text is in the answer to its making and renewing, and nowhere else.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from kiroproxy._meter import MAX_RPM, Meter, MeterFull
from kiroproxy.accounts.expiry import parse_time, rfc3339
from kiroproxy.admin import schema as s
from kiroproxy.admin.desk import Desk, now_ms
from kiroproxy.admin.refusal import Refusal, invalid, no_such
from kiroproxy.admin.routes import Answer, Call, Route
from kiroproxy.records import clientkeys, reading
from kiroproxy.records.clientkeys import ClientKey
from kiroproxy.records.recorder import DAY_MS
from kiroproxy.server.ledger import month_start_ms

# The API's name → the column's.
_COLUMNS = {
    "name": "name",
    "enabled": "enabled",
    "models": "models",
    "maxConcurrency": "max_concurrency",
    "rpm": "rpm",
    "dailyTokens": "daily_tokens",
    "monthlyTokens": "monthly_tokens",
    "dailyCredits": "daily_credits",
    "monthlyCredits": "monthly_credits",
}
_NOTHING = (0, 0, 0.0)


async def read(call: Call) -> Answer:
    """List the keys with what they have used."""
    return Answer({"keys": await _told(call.desk)})


async def make(call: Call) -> Answer:
    """Make a key. Its text is in this answer and cannot be asked for again."""
    desk, fields = call.desk, _fields(call.body)
    desk.database  # noqa: B018 - refuses where there is none
    if len(desk.ledger.keys) >= desk.ledger.meter.capacity:
        raise Refusal("invalid_request", "too_many_keys", "There are too many keys",
                      "Delete some, and restart")  # fmt: skip
    key, secret = await desk.database.write(lambda c: clientkeys.add(c, fields, now_ms()))
    await desk.ledger.keys_changed()
    call.target, call.detail = str(key.id), key.name
    return Answer({"key": await _one(desk, key.id), "secret": secret}, 201)


async def change(call: Call) -> Answer:
    """Change a key; null takes a limit away."""
    desk, fields = call.desk, _fields(call.body)
    found = await desk.database.write(lambda c: clientkeys.update(c, call.id, fields))
    if found is None:
        raise no_such("key", call.id)
    await desk.ledger.keys_changed()
    call.detail = ", ".join(sorted(call.body))
    return Answer(await _one(desk, call.id))


async def renew(call: Call) -> Answer:
    """Give a key a new text; the old one ends at once."""
    desk = call.desk
    found = await desk.database.write(lambda c: clientkeys.rotate(c, call.id))
    if found is None:
        raise no_such("key", call.id)
    await desk.ledger.keys_changed()
    return Answer({"key": await _one(desk, call.id), "secret": found[1]})


async def remove(call: Call) -> Answer:
    """Delete a key; requests that run go on to their end."""
    if not await call.desk.database.write(lambda c: clientkeys.remove(c, call.id)):
        raise no_such("key", call.id)
    await call.desk.ledger.keys_changed()
    return Answer(None, 204)


def _fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given, by column. Raises: Refusal."""
    fields = {column: body[name] for name, column in _COLUMNS.items() if name in body}
    if not str(fields.get("name", "-")).strip():
        raise invalid("invalid_field", "body.name is blank", "Give the key a name")
    if "expiresAt" in body:
        fields["expires_at_ms"] = _time(body["expiresAt"])
    return fields


def _time(value: str | None) -> int | None:
    if value is None:
        return None
    at_ms = parse_time(value)
    if at_ms is None:
        raise invalid("invalid_field", "body.expiresAt is not a time",
                      'Write one like "2026-12-31T00:00:00Z", or null')  # fmt: skip
    return at_ms


async def _one(desk: Desk, id: int) -> dict[str, Any]:
    return next(key for key in await _told(desk) if key["id"] == id)


async def _told(desk: Desk) -> list[dict[str, Any]]:
    now = now_ms()
    keys, today, month, last = await asyncio.shield(
        desk.database.read(
            lambda c: (
                clientkeys.all_keys(c),
                reading.key_usage(c, now // DAY_MS * DAY_MS),
                reading.key_usage(c, month_start_ms(now)),
                reading.last_uses(c),
            )
        )
    )
    meter = desk.ledger.meter
    return [
        {
            **_shown(key),
            "inFlight": _in_flight(meter, key.id),
            "usage": {
                "today": _used(today.get(key.id, _NOTHING)),
                "month": _used(month.get(key.id, _NOTHING)),
            },
            "lastUsedAt": rfc3339(last[key.id]) if key.id in last else None,
        }
        for key in keys
    ]


def _in_flight(meter: Meter, id: int) -> int:
    try:
        return meter.in_flight(meter.join(id))
    except MeterFull:  # its requests are refused, and the list still has to be shown
        return 0


def _shown(key: ClientKey) -> dict[str, Any]:
    read: Callable[[str], Any] = lambda column: getattr(key, column)  # noqa: E731
    return {
        "id": key.id,
        **{name: read(column) for name, column in _COLUMNS.items()},
        "models": list(key.models),
        "prefix": key.prefix,
        "createdAt": rfc3339(key.created_at_ms),
        "expiresAt": None if key.expires_at_ms is None else rfc3339(key.expires_at_ms),
    }


def _used(used: tuple[int, int, float]) -> dict[str, Any]:
    requests, tokens, credits = used
    return {"requests": requests, "tokens": tokens, "credits": round(credits, 6)}


_TOKENS = s.optional(s.whole(0, 10**12))
_CREDITS = s.optional(s.number(0, 10**8))
_LIMITS: dict[str, s.Schema] = {
    "expiresAt": s.optional(s.text(64)),
    "enabled": s.flag(),
    "models": s.array(s.text(100, minLength=1), 200),
    "maxConcurrency": s.optional(s.whole(1, 100_000)),
    "rpm": s.optional(s.whole(1, MAX_RPM)),
    "dailyTokens": _TOKENS,
    "monthlyTokens": _TOKENS,
    "dailyCredits": _CREDITS,
    "monthlyCredits": _CREDITS,
}
_NAME = s.text(100, minLength=1, pattern=r"^[^\x00-\x1f\x7f]+$")
_USED = s.record({"requests": s.whole(), "tokens": s.whole(), "credits": s.number()})
KEY = s.record(
    {
        "id": s.whole(),
        "name": _NAME,
        "prefix": s.text(),
        "createdAt": s.text(),
        **_LIMITS,
        "inFlight": s.whole(),
        "usage": s.record({"today": _USED, "month": _USED}),
        "lastUsedAt": s.optional(s.text()),
    },
    *("id", "name", "prefix", "createdAt", "enabled", "models", "usage"),
)
_MADE = s.record({"key": KEY, "secret": s.text()}, "key", "secret")
# fmt: off
ROUTES = (
    Route("GET", "/keys", read, "List the client keys", "keys",
          answer=s.record({"keys": s.array(KEY)}, "keys")),
    Route("POST", "/keys", make, "Make a client key", "keys", "key.make",
          body=s.record({"name": _NAME, **_LIMITS}, "name"), answer=_MADE, status=201),
    Route("PATCH", "/keys/{id}", change, "Change a client key", "keys", "key.change",
          body=s.record({"name": _NAME, **_LIMITS}, least=1), answer=KEY),
    Route("DELETE", "/keys/{id}", remove, "Delete a client key", "keys", "key.delete",
          status=204),
    Route("POST", "/keys/{id}/rotate", renew, "Give a client key a new text", "keys",
          "key.rotate", answer=_MADE),
)
# fmt: on
