"""Signing in and out, the live stream, the audit log, and the API's account of itself."""

from collections.abc import AsyncGenerator
from typing import Any

from kiroproxy import __version__
from kiroproxy.accounts.expiry import rfc3339
from kiroproxy.admin import openapi
from kiroproxy.admin import schema as s
from kiroproxy.admin.routes import Answer, Call, Event, Events, Route
from kiroproxy.admin.session import LONG_S
from kiroproxy.records import reading


def _session(call: Call, ends_at_ms: int) -> dict[str, Any]:
    desk = call.desk
    return {
        "authenticated": True,
        "expiresAt": rfc3339(ends_at_ms) if ends_at_ms else None,
        "version": __version__,
        "workers": desk.config.workers,
        "startedAt": rfc3339(desk.started_at_ms),
    }


async def who(call: Call) -> Answer:
    """Say who is signed in."""
    return Answer(_session(call, call.ends_at_ms))


async def sign_in(call: Call) -> Answer:
    """Trade the admin key for a cookie."""
    keeper = call.desk.keeper
    keeper.check_page(call.request)
    keeper.check_key(call.request, call.body["key"])
    call.actor = "key"
    cookie, ends_at_ms = keeper.new_cookie(call.request, bool(call.body.get("remember")))
    return Answer(_session(call, ends_at_ms), 200, [(b"set-cookie", cookie)])


async def sign_out(call: Call) -> Answer:
    """Take the cookie away."""
    return Answer(None, 204, [(b"set-cookie", call.desk.keeper.no_cookie(call.request))])


async def live(call: Call) -> Events:
    """Tell every change of a credential's state."""
    return Events(_watched(call), endless=True)


async def _watched(call: Call) -> AsyncGenerator[Event, None]:
    async for event in call.desk.live.watch():
        yield event


async def audit(call: Call) -> Answer:
    """List changes, the newest first."""
    limit = call.query.get("limit", 50)
    before = call.query.get("before")
    rows = await call.desk.database.read(lambda c: reading.audit(c, before, limit))
    entries = [{**row, "at": rfc3339(row["at"])} for row in rows]
    more = len(rows) == limit and rows[-1]["id"] > 1
    return Answer({"entries": entries, "nextCursor": str(rows[-1]["id"]) if more else None})


async def document(call: Call) -> Answer:
    """Describe the API."""
    return Answer(openapi.document(call.table))


_SESSION = s.record(
    {
        "authenticated": s.flag(),
        "expiresAt": s.optional(s.text()),
        "version": s.text(),
        "workers": s.whole(),
        "startedAt": s.text(),
    },
    *("authenticated", "version", "workers", "startedAt"),
)
_AUDIT = s.record(
    {
        "entries": s.array(s.record({"id": s.whole(), "at": s.text()}, "id", "at", open=True)),
        "nextCursor": s.optional(s.text()),
    },
    *("entries", "nextCursor"),
)
_SIGN_IN = s.record({"key": s.text(1024), "remember": s.optional(s.flag())}, "key")
# fmt: off
ROUTES = (
    Route("GET", "/session", who, "Say who is signed in", "access", answer=_SESSION),
    Route("POST", "/session", sign_in, f"Sign in for 12 hours, or {LONG_S // 86400} days",
          "access", "session.open", body=_SIGN_IN, answer=_SESSION, open=True, errors=(429,)),
    Route("DELETE", "/session", sign_out, "Sign out", "access", status=204, open=True),
    Route("GET", "/live", live, "Follow the live state", "live", streams=True),
    Route("GET", "/audit", audit, "List changes", "audit", answer=_AUDIT,
          query={"before": s.whole(), "limit": s.whole(1, 500)}),
    Route("GET", "/openapi.json", document, "Describe this API", "access",
          answer=s.record({}, open=True)),
)
# fmt: on
