"""The routes of one credential: the reference's ten with their exact JSON, and what they lacked.

Rules of this file: what a credential is and when it is kept is decided in `accounts` and
`upstream.enrolment`; here are shapes and words.

Source: the reference's admin API; its clients have to work unchanged, so its routes take
unknown fields in silence as it does.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from kiroproxy.accounts.credential import Credential, parse
from kiroproxy.accounts.slot import INVALID_CONFIG
from kiroproxy.admin import schema as s
from kiroproxy.admin.desk import Desk, now_ms
from kiroproxy.admin.items import ITEM
from kiroproxy.admin.refusal import Refusal, invalid, no_such, refusal_of
from kiroproxy.admin.routes import Answer, Call, Route
from kiroproxy.config import MAX_CREDITS
from kiroproxy.errors import ConfigError, GatewayError
from kiroproxy.upstream.enrolment import Kept

TAG = "credentials"
_MAX_LIMIT = 1_000_000

DONE = s.record({"success": s.flag(), "message": s.text()}, "success", "message")
_SECRET = s.text(16_384)
# Every field of credentials.json that may be written, by its name there.
FIELDS: Mapping[str, s.Schema] = {
    "refreshToken": _SECRET,
    "accessToken": _SECRET,
    "kiroApiKey": s.text(1024),
    "authMethod": s.text(20),
    "clientId": s.text(4096),
    "clientSecret": _SECRET,
    "profileArn": s.text(512),
    "expiresAt": s.text(64),
    "priority": s.whole(-1_000_000, 1_000_000),
    "region": s.text(32),
    "authRegion": s.text(32),
    "apiRegion": s.text(32),
    "machineId": s.text(128),
    "email": s.text(320),
    "proxyUrl": s.text(2048),
    "proxyUsername": s.text(512),
    "proxyPassword": s.text(512),
    "endpoint": s.text(32),
    "maxConcurrency": s.whole(0, _MAX_LIMIT),
    "rpm": s.whole(0, _MAX_LIMIT),
    "minRemainingCredits": s.number(0, MAX_CREDITS),
    "minRemainingPercent": s.number(0, 100),
    "disabled": s.flag(),
}
_OPTIONAL = {name: s.optional(shape) for name, shape in FIELDS.items()}
BALANCE = s.record(
    {
        "id": s.whole(),
        "subscriptionTitle": s.optional(s.text()),
        "currentUsage": s.number(),
        "usageLimit": s.number(),
        "remaining": s.number(),
        "usagePercentage": s.number(0, 100),
        "nextResetAt": s.optional(s.number()),
        "fetchedAt": s.text(),
        "overageRemaining": s.number(),
    },
    *("id", "subscriptionTitle", "currentUsage", "usageLimit", "remaining", "usagePercentage"),
    "nextResetAt",
)


def done(message: str, **more: Any) -> Answer:
    """Return the reference's answer to a change."""
    return Answer({"success": True, "message": message, **more})


async def list_all(call: Call) -> Answer:
    """List every credential."""
    live = call.desk.live
    items = sorted(await live.items(), key=lambda item: (item["priority"], item["id"]))
    current = next((item["id"] for item in items if item["isCurrent"]), 0)
    available = call.desk.gateway.credential_counts()[1]
    return Answer(
        {
            "total": len(items),
            "available": available,
            "currentId": current,
            "credentials": items,
        }
    )


async def add(call: Call) -> Answer:
    """Add one, proven by a refresh and a usage query unless told otherwise."""
    fields = {name: call.body[name] for name in FIELDS if call.body.get(name) not in (None, "")}
    if not fields.get("refreshToken") and not fields.get("kiroApiKey"):
        raise invalid(
            "missing_field", "refreshToken or kiroApiKey is missing",
            "Log in to Kiro and copy the refresh token, or create an API key",
        )  # fmt: skip
    _check_method(fields)
    kept = await keep(call.desk, fields, verify=call.body.get("verify") is not False)
    call.target = str(kept.credential.id)
    message = kept.problem or "The credential was added"
    more = {"email": kept.email} if kept.email else {}
    return done(message, credentialId=kept.credential.id, **more)


def _check_method(fields: Mapping[str, Any]) -> None:
    """Refuse a method that does not fit; the reference's default is social."""
    method = str(fields.get("authMethod", "")).lower()
    if method in ("idc", "builder-id", "iam") and not (
        fields.get("clientId") and fields.get("clientSecret")
    ):
        raise invalid(
            "missing_field", "authMethod idc needs clientId and clientSecret",
            "Copy them from ~/.aws/sso/cache/<clientIdHash>.json",
        )  # fmt: skip


async def keep(desk: Desk, fields: Mapping[str, Any], *, verify: bool) -> Kept:
    """Take one in and let every worker know. Raises: ConfigError, GatewayError."""
    try:
        return await desk.enrolment.keep(fields, verify=verify)
    finally:
        await desk.reread()


async def change(call: Call) -> Answer:
    """Change any field of one; null takes it away."""
    desk, changes = call.desk, dict(call.body)
    credential = desk.in_file(call.id)
    entry = {k: v for k, v in {**desk.gateway.store.entry(call.id), **changes}.items()
             if v is not None}  # fmt: skip
    parsed = parse(entry, desk.config, id=call.id)
    fault = next((each for each in parsed.faults if each.key in changes), None)
    if fault is not None:
        raise fault
    _check_duplicate(desk, call.id, changes)
    if changes.get("disabled") is False:
        changes["disabled"] = None
    if "refreshToken" in changes and changes["refreshToken"] != credential.refresh_token:
        # Another login: what the former one was given would go on to be used until it expires.
        changes = {"accessToken": None, "expiresAt": None, **changes}
    await desk.update(call.id, changes)
    if "disabled" in changes and not changes["disabled"] and not credential.fault:
        desk.gateway.pool.reset(call.id)
    call.detail = ", ".join(sorted(call.body))
    item = await desk.live.one(call.id)
    return done("The credential was changed", credential=item)


def _check_duplicate(desk: Desk, id: int, changes: Mapping[str, Any]) -> None:
    """Refuse a secret that another credential holds: two owners would rotate it away."""
    for key, held in (("refreshToken", "refresh_token"), ("kiroApiKey", "kiro_api_key")):
        wanted = str(changes.get(key) or "").strip()
        for other, _ in desk.gateway.pool.states() if wanted else ():
            if other.id != id and getattr(other, held) == wanted:
                raise invalid("duplicate", f"Credential {other.id} has this {key} already",
                              "Edit that one, or delete it first")  # fmt: skip


async def remove(call: Call) -> Answer:
    """Delete one that is disabled; any with `force`."""
    desk = call.desk
    desk.in_file(call.id)
    if not call.query.get("force") and not is_disabled(desk, call.id):
        raise invalid("not_disabled", "Only a disabled credential can be deleted",
                      "Disable it first, or delete with ?force=true")  # fmt: skip
    await desk.remove_many([call.id])
    return done(f"Credential {call.id} was deleted")


def is_disabled(desk: Desk, id: int) -> bool:
    """Say whether a credential is out for longer than a moment."""
    state = desk.gateway.pool.state(id)
    return state is not None and bool(state.disabled_reason(now_ms()))


async def set_disabled(call: Call) -> Answer:
    """Switch one on or off."""
    disabled = call.body["disabled"]
    await switch(call.desk, [call.id], disabled)
    call.detail = f"disabled={str(disabled).lower()}"
    return done(f"Credential {call.id} is {'disabled' if disabled else 'enabled'}")


async def switch(desk: Desk, ids: list[int], disabled: bool) -> None:
    """Switch credentials on or off, with one write; who is switched on begins anew."""
    for id in ids:
        desk.in_file(id)
    await desk.update_many({id: {"disabled": True if disabled else None} for id in ids})
    for id in ids if not disabled else ():
        desk.gateway.pool.reset(id)


async def set_priority(call: Call) -> Answer:
    """Give one another priority; smaller is asked first."""
    await call.desk.update(call.id, {"priority": int(call.body["priority"])})
    call.detail = f"priority={call.body['priority']}"
    return done(f"Credential {call.id} has priority {call.body['priority']}")


async def order(call: Call) -> Answer:
    """Give credentials the priorities 0, 1, 2… in the order they are named, with one write."""
    ids = [int(id) for id in call.body["ids"]]
    if len(set(ids)) < len(ids):
        raise invalid("invalid_field", "body.ids names a credential twice", "Name each once")
    for id in ids:
        call.desk.in_file(id)
    await call.desk.update_many({id: {"priority": place} for place, id in enumerate(ids)})
    call.detail = f"{len(ids)} credentials"
    return done(f"{len(ids)} credentials were put in order")


async def reset(call: Call) -> Answer:
    """Forget the faults of one and enable it."""
    await reset_one(call.desk, call.id)
    return done(f"The faults of credential {call.id} are forgotten")


async def reset_one(desk: Desk, id: int) -> None:
    """Forget the faults of a credential. Raises: Refusal — its entry cannot be used."""
    credential = desk.credential(id)
    if credential.fault:
        raise invalid(INVALID_CONFIG.lower(), f"Its entry cannot be used: {credential.fault}",
                      "Correct the entry: it is enabled then")  # fmt: skip
    if credential.disabled:
        await desk.update(id, {"disabled": None})
    desk.gateway.pool.reset(id)


async def refresh(call: Call) -> Answer:
    """Renew the token of one now."""
    await refresh_one(call.desk, call.id)
    return done(f"The token of credential {call.id} was renewed")


async def refresh_one(desk: Desk, id: int) -> None:
    """Renew a credential's token. Raises: Refusal, GatewayError."""
    credential = desk.credential(id)
    if credential.auth_method == "api_key":
        raise invalid("no_token", "An API key has no token to renew", "Nothing has to be done")
    await desk.gateway.refresher.fresh(credential, force=True)


async def balance(call: Call) -> Answer:
    """Say what is left of the plan of one."""
    return Answer(await call.desk.balance(call.id, refresh=bool(call.query.get("refresh"))))


async def verify(call: Call) -> Answer:
    """Ask Kiro whether one works."""
    return Answer(await verify_one(call.desk, call.id))


async def verify_one(desk: Desk, id: int) -> dict[str, Any]:
    """Prove a credential by a fresh token and a usage query. Raises: Refusal — no such one."""
    credential = desk.credential(id)
    begun_s = time.monotonic()
    email = subscription = None
    message = "The credential works"
    ok = True
    try:
        fresh = await desk.gateway.refresher.fresh(credential)
        proof = await desk.enrolment.prove(fresh)
        email, subscription = proof.email or None, proof.subscription or None
    except (GatewayError, ConfigError) as fault:
        refusal = refusal_of(fault)
        ok, message = False, refusal.message if refusal else "It failed"
    return {
        "ok": ok,
        "message": message,
        "email": email or credential.email or None,
        "subscriptionTitle": subscription,
        "durationMs": round((time.monotonic() - begun_s) * 1000),
    }


async def models(call: Call) -> Answer:
    """List the models that one may use."""
    desk = call.desk
    credential = desk.credential(call.id)
    try:
        fresh = await desk.gateway.refresher.fresh(credential)
        listed = await desk.gateway.control.list_models(fresh)
    except GatewayError:
        listed = []
    if listed:
        return Answer({"source": "live", "models": [_live_model(each) for each in listed]})
    known = [
        {
            "id": model.id,
            "publicId": model.public_id,
            "displayName": model.display_name,
            "contextWindow": model.context_window,
            "maxOutputTokens": model.max_output_tokens,
            "rateMultiplier": None,
        }
        for model in desk.gateway.catalogue.models
    ]
    return Answer({"source": "built-in", "models": known})


def _live_model(row: Mapping[str, Any]) -> dict[str, Any]:
    id = str(row.get("modelId", ""))
    limits = row.get("tokenLimits")
    limits = limits if isinstance(limits, dict) else {}
    return {
        "id": id,
        "publicId": id.replace(".", "-") if id.startswith("claude-") else id,
        "displayName": row.get("modelName") or id,
        "contextWindow": limits.get("maxInputTokens"),
        "maxOutputTokens": limits.get("maxOutputTokens"),
        "rateMultiplier": row.get("rateMultiplier"),
    }


def credential_ids(desk: Desk, ids: list[int] | None) -> list[Credential]:
    """Return the credentials of ids, all where none are named. Raises: Refusal."""
    everybody = {credential.id: credential for credential, _ in desk.gateway.pool.states()}
    if ids is None:
        return list(everybody.values())
    for id in ids:
        if id not in everybody:
            raise no_such("credential", id)
    return [everybody[id] for id in ids]


async def export(call: Call) -> Answer:
    """Give out credentials with their secrets, to who presents the admin key again."""
    desk = call.desk
    await asyncio.to_thread(desk.keeper.warm_up)
    try:
        desk.keeper.check_key(call.request, call.body["key"])
    except Refusal as refusal:
        if refusal.status == 401:  # signed in all the same: the page must not sign out for it
            refusal.status = 403
        raise
    wanted = credential_ids(desk, call.body.get("ids"))
    entries = [dict(desk.gateway.store.entry(each.id)) for each in wanted if each.id]
    call.detail = f"{len(entries)} credentials"
    headers = [(b"content-disposition", b'attachment; filename="credentials.json"')]
    return Answer(entries, 200, headers)


_LIST = s.record(
    {
        "total": s.whole(),
        "available": s.whole(),
        "currentId": s.whole(),
        "credentials": s.array(ITEM),
    },
    *("total", "available", "currentId", "credentials"),
)
_VERDICT = s.record(
    {
        "ok": s.flag(),
        "message": s.text(),
        "email": s.optional(s.text()),
        "subscriptionTitle": s.optional(s.text()),
        "durationMs": s.whole(),
    },
    *("ok", "message", "durationMs"),
)
_MODELS = s.record(
    {"source": s.one_of("live", "built-in"), "models": s.array(s.record({}, "id", open=True))},
    *("source", "models"),
)
IDS = s.array(s.whole(), minItems=1)
# fmt: off
ROUTES = (
    Route("GET", "/credentials", list_all, "List the credentials", TAG, answer=_LIST),
    Route("POST", "/credentials", add, "Add a credential", TAG, "credential.add",
          body=s.record({**_OPTIONAL, "verify": s.optional(s.flag())}, open=True),
          answer=s.record({**DONE["properties"], "credentialId": s.whole(), "email": s.text()},
                          "success", "message", "credentialId"), errors=(502,)),
    Route("POST", "/credentials/order", order, "Put credentials in order", TAG,
          "credential.order", body=s.record({"ids": IDS}, "ids"), answer=DONE,
          errors=(404,)),
    Route("POST", "/credentials/export", export, "Export credentials with their secrets", TAG,
          "credential.export", body=s.record({"ids": s.optional(IDS), "key": s.text()}, "key"),
          answer=s.array(s.record({}, open=True)), errors=(404,)),
    Route("PATCH", "/credentials/{id}", change, "Change fields of a credential", TAG,
          "credential.change", body=s.record(_OPTIONAL, least=1),
          answer=s.record({**DONE["properties"], "credential": ITEM}, "success", "credential")),
    Route("DELETE", "/credentials/{id}", remove, "Delete a credential", TAG,
          "credential.delete", query={"force": s.flag()}, answer=DONE),
    Route("POST", "/credentials/{id}/disabled", set_disabled, "Switch a credential on or off",
          TAG, "credential.disabled", body=s.record({"disabled": s.flag()}, "disabled", open=True),
          answer=DONE),
    Route("POST", "/credentials/{id}/priority", set_priority, "Give a credential a priority",
          TAG, "credential.priority",
          body=s.record({"priority": FIELDS["priority"]}, "priority", open=True), answer=DONE),
    Route("POST", "/credentials/{id}/reset", reset, "Forget a credential's faults", TAG,
          "credential.reset", answer=DONE),
    Route("POST", "/credentials/{id}/refresh", refresh, "Renew a credential's token", TAG,
          "credential.refresh", answer=DONE, errors=(502,)),
    Route("GET", "/credentials/{id}/balance", balance, "Say what is left of a plan", TAG,
          query={"refresh": s.flag()}, answer=BALANCE, errors=(502,)),
    Route("POST", "/credentials/{id}/verify", verify, "Ask Kiro whether a credential works", TAG,
          "credential.verify", answer=_VERDICT),
    Route("GET", "/credentials/{id}/models", models, "List the models a credential may use", TAG,
          answer=_MODELS),
)
# fmt: on
