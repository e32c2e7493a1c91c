"""The request log, usage, and the overview: questions to the records, told as the page needs them.

Rules of this file: labels are the present ones; what was deleted since keeps its number.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from kiroproxy import __version__
from kiroproxy.accounts.expiry import parse_time, rfc3339
from kiroproxy.admin import schema as s
from kiroproxy.admin.desk import Desk, now_ms
from kiroproxy.admin.refusal import invalid, no_such
from kiroproxy.admin.routes import Answer, Call, Event, Events, Route
from kiroproxy.records import reading
from kiroproxy.records.recorder import DAY_MS, HOUR_MS, MINUTE_MS, Attempt

# window → its length, and that of a step of its chart
WINDOWS = {
    "1h": (HOUR_MS, MINUTE_MS),
    "24h": (DAY_MS, 30 * MINUTE_MS),
    "7d": (7 * DAY_MS, 2 * HOUR_MS),
    "30d": (30 * DAY_MS, DAY_MS),
}
FOLLOW_S = 0.5
MOST_FOLLOWED = 200  # requests a look; a burst beyond it comes with the next ones
OUTCOMES = ("ok", "error", "cancelled", "truncated")
CONFIG_KEY = "config.apiKey"


async def overview(call: Call) -> Answer:
    """Sum up a window, with what came before it."""
    desk = call.desk
    window = call.query.get("window", "24h")
    length, step = WINDOWS[window]
    until = now_ms()
    end = until - until % step + step
    start = end - length
    chart = reading.step(step, start)
    grouped, totals, previous, errors = await desk.database.read(
        lambda c: (
            reading.usage(c, chart, start, end),
            reading.usage(c, "0", start, end),
            reading.usage(c, "0", start - length, start),
            reading.requests(c, reading.Filter(outcome="error"), limit=10),
        )
    )
    empty = reading.bucket()
    live = desk.live.overview()
    return Answer(
        {
            "window": window,
            "version": __version__,
            "workers": desk.config.workers,
            "startedAt": rfc3339(desk.started_at_ms),
            "credentials": live["credentials"],
            "liveStreams": live["liveStreams"],
            "totals": totals.get(0, empty),
            "previous": previous.get(0, empty),
            "series": [
                {**grouped.get(place, empty), "at": rfc3339(start + place * step)}
                for place in range(length // step)
            ],
            "recentErrors": [_row(desk, row) for row in errors],
        }
    )


async def requests(call: Call) -> Answer:
    """List requests, the newest first."""
    desk, limit = call.desk, call.query.get("limit", 50)
    wanted, before = _filter(call), call.query.get("before")
    rows = await desk.database.read(
        lambda c: reading.requests(c, wanted, before=before, limit=limit + 1)
    )
    found, more = rows[:limit], len(rows) > limit
    cursor = str(found[-1]["n"]) if more else None
    return Answer({"requests": [_row(desk, row) for row in found], "nextCursor": cursor})


async def request(call: Call) -> Answer:
    """Show one request with its attempts."""
    desk, id = call.desk, call.path["name"]
    found = await desk.database.read(lambda c: reading.request(c, id))
    if found is None:
        raise no_such("request", id[:80])
    row, attempts = found
    return Answer({**_row(desk, row), "attempts": [_attempt(desk, each) for each in attempts]})


async def follow(call: Call) -> Events:
    """Tell requests as they finish."""
    wanted = _filter(call)
    newest = await call.desk.database.read(reading.newest)
    return Events(_followed(call.desk, wanted, newest), endless=True)


async def _followed(desk: Desk, wanted: reading.Filter, seen: int) -> AsyncGenerator[Event, None]:
    while True:
        await asyncio.sleep(FOLLOW_S)
        found = await desk.quietly(partial(_after, wanted, seen))
        if found is None:
            continue
        rows, seen = found
        for row in rows:
            yield Event("request", _row(desk, row))


def _after(
    wanted: reading.Filter, seen: int, connection: sqlite3.Connection
) -> tuple[list[reading.Row], int]:
    """Return what came after a number, and up to which one all was looked at.

    What does not match is not looked at again, and a file that was made anew counts from 1.
    """
    newest = reading.newest(connection)
    rows = reading.requests(connection, wanted, after=seen, limit=MOST_FOLLOWED)
    last = rows[-1]["n"] if rows else 0
    return rows, last if len(rows) == MOST_FOLLOWED else max(newest, last)


async def usage(call: Call) -> Answer:
    """Sum up usage by day, hour, model, credential or key."""
    desk, by = call.desk, call.query.get("by", "day")
    until = _time(call, "until") or now_ms() + 1
    since = _time(call, "since")
    if since is None:
        since = until - (2 * DAY_MS if by == "hour" else 30 * DAY_MS)
    found = await desk.database.read(lambda c: reading.usage(c, reading.GROUPS[by], since, until))
    rows = [{**bucket, **_label(desk, by, value)} for value, bucket in found.items()]
    rows.sort(key=lambda row: row["key"] if by in ("day", "hour") else -row["requests"])
    return Answer({"by": by, "rows": rows})


def _label(desk: Desk, by: str, value: Any) -> dict[str, Any]:
    if by in ("day", "hour"):
        time = rfc3339(value)
        return {"key": time, "label": time[:10] if by == "day" else time[:16]}
    if by == "credential":
        return {"key": str(value), "label": desk.label(value) or "–"}
    if by == "key":
        return {"key": str(value), "label": _key_name(desk, value or None)}
    return {"key": value, "label": value or "–"}


def _filter(call: Call) -> reading.Filter:
    query = call.query
    return reading.Filter(
        outcome=query.get("status"),
        model=query.get("model"),
        credential_id=query.get("credentialId"),
        key_id=query.get("keyId"),
        text=query.get("q"),
        since_ms=_time(call, "since"),
        until_ms=_time(call, "until"),
    )


def _time(call: Call, name: str) -> int | None:
    text = call.query.get(name)
    if not text:
        return None
    at_ms = parse_time(text)
    if at_ms is None:
        raise invalid("invalid_field", f"query.{name} is not a time",
                      'Write one like "2026-01-31T12:00:00Z"')  # fmt: skip
    return at_ms


def _row(desk: Desk, row: dict[str, Any]) -> dict[str, Any]:
    error = None
    if row["error_type"]:
        error = {"type": row["error_type"], "message": row["error_message"] or ""}
    return {
        "id": row["id"],
        "at": rfc3339(row["at"]),
        "path": row["path"],
        "model": row["model"],
        "kiroModel": row["kiro_model"] or None,
        "stream": bool(row["stream"]),
        "status": row["status"],
        "outcome": row["outcome"],
        "stopReason": row["stop_reason"],
        "error": error,
        "keyId": row["key_id"],
        "keyName": _key_name(desk, row["key_id"]),
        "credentialId": row["credential_id"],
        "credentialLabel": desk.label(row["credential_id"]),
        "inputTokens": row["input_tokens"],
        "outputTokens": row["output_tokens"],
        "cacheReadTokens": row["cache_read_tokens"],
        "credits": row["credits"],
        "firstTokenMs": row["first_token_ms"],
        "durationMs": row["duration_ms"],
        "attemptCount": row["attempt_count"],
        "userAgent": row["user_agent"],
        "clientAddress": row["client_address"],
        "requestBytes": row["request_bytes"],
    }


def _attempt(desk: Desk, attempt: Attempt) -> dict[str, Any]:
    error = None
    if attempt.error_type:
        error = {"type": attempt.error_type, "message": attempt.error_message}
    return {
        "credentialId": attempt.credential_id,
        "credentialLabel": desk.label(attempt.credential_id),
        "endpoint": attempt.endpoint,
        "at": rfc3339(attempt.at_ms),
        "status": attempt.status,
        "durationMs": attempt.duration_ms,
        "error": error,
    }


def _key_name(desk: Desk, id: int | None) -> str:
    if id is None:
        return CONFIG_KEY
    return desk.ledger.names.get(id, f"#{id}")


_PAIR = s.optional(s.record({"p50": s.optional(s.number()), "p95": s.optional(s.number())}))
_BUCKET = {
    "requests": s.whole(),
    "errors": s.whole(),
    "inputTokens": s.whole(),
    "outputTokens": s.whole(),
    "cacheReadTokens": s.whole(),
    "credits": s.number(),
    "latencyMs": _PAIR,
    "firstTokenMs": _PAIR,
}
_ROW = s.record(
    {"id": s.text(), "at": s.text(), "status": s.whole(), "outcome": s.one_of(*OUTCOMES)},
    *("id", "at", "status", "outcome"),
    open=True,
)
_OVERVIEW = s.record(
    {
        "window": s.one_of(*WINDOWS),
        "version": s.text(),
        "workers": s.whole(),
        "startedAt": s.text(),
        "credentials": s.record({}, "total", "available", open=True),
        "liveStreams": s.whole(),
        "totals": s.record(_BUCKET, *_BUCKET),
        "previous": s.record(_BUCKET, *_BUCKET),
        "series": s.array(s.record({**_BUCKET, "at": s.text()}, *_BUCKET, "at")),
        "recentErrors": s.array(_ROW),
    },
    *("window", "version", "workers", "credentials", "totals", "previous", "series"),
)
_LIST = s.record(
    {"requests": s.array(_ROW), "nextCursor": s.optional(s.text())}, "requests", "nextCursor"
)
_USAGE = s.record(
    {
        "by": s.one_of(*reading.GROUPS),
        "rows": s.array(s.record({**_BUCKET, "key": s.text(), "label": s.text()}, "key", "label")),
    },
    *("by", "rows"),
)
_FILTERS = {
    "status": s.one_of(*OUTCOMES),
    "model": s.text(200),
    "credentialId": s.whole(),
    "keyId": s.whole(description="0 = config.json's apiKey"),
    "q": s.text(200),
    "since": s.text(64),
    "until": s.text(64),
}
_PAGE = {"before": s.whole(), "limit": s.whole(1, 500)}
# fmt: off
ROUTES = (
    Route("GET", "/overview", overview, "Sum up a window of time", "overview", answer=_OVERVIEW,
          query={"window": s.one_of(*WINDOWS)}),
    Route("GET", "/requests", requests, "List requests", "requests", answer=_LIST,
          query=_FILTERS | _PAGE),
    Route("GET", "/requests/follow", follow, "Follow requests as they finish", "requests",
          query=_FILTERS, streams=True),
    Route("GET", "/requests/{name}", request, "Show one request with its attempts", "requests",
          answer=_ROW),
    Route("GET", "/usage", usage, "Sum up usage", "usage", answer=_USAGE,
          query={"by": s.one_of(*reading.GROUPS), "since": s.text(64), "until": s.text(64)}),
)
# fmt: on
