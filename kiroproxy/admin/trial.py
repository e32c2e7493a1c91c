"""Testing a model with one credential: a real request through it, and nothing through others.

Rules of this file: the answer goes to the operator and nowhere else; no fault found here counts
against the credential.
"""

import time
import uuid
from dataclasses import replace
from typing import Any

from kiroproxy import _answer
from kiroproxy.accounts.pool import Pool
from kiroproxy.admin import schema as s
from kiroproxy.admin.refusal import refusal_of
from kiroproxy.admin.routes import Answer, Call, Route
from kiroproxy.errors import GatewayError
from kiroproxy.protocol.request import Plan, convert
from kiroproxy.protocol.response import Fold
from kiroproxy.upstream.dispatch import Dispatcher
from kiroproxy.upstream.faults import classify_failure

PROMPT = "Reply with the single word: pong"
MOST_TOKENS = 512


async def test(call: Call) -> Answer:
    """Ask a model something through one credential."""
    desk = call.desk
    credential = desk.credential(call.id)
    call.detail = call.body["model"]
    begun_s = time.monotonic()
    found: dict[str, Any] = {"ok": True, "error": None, "firstTokenMs": None, "text": ""}
    found |= {"stopReason": None, "usage": None}
    try:
        body = {
            "model": call.body["model"],
            "max_tokens": MOST_TOKENS,
            "messages": [{"role": "user", "content": call.body.get("prompt") or PROMPT}],
        }
        plan = convert(body, catalogue=desk.gateway.catalogue, ids=lambda: str(uuid.uuid4()))
        gateway = desk.gateway
        dispatcher = Dispatcher(
            gateway.settings,
            Pool([replace(credential, disabled=False)]),
            gateway.refresher,
            gateway.connections,
            gateway.control,
        )
        found |= await _asked(dispatcher, plan, begun_s)
    except GatewayError as fault:
        refusal = refusal_of(fault)
        told = refusal.message if refusal else fault.message
        found |= {"ok": False, "error": {"type": fault.kind, "message": told}}
    return Answer({**found, "durationMs": round((time.monotonic() - begun_s) * 1000)})


async def _asked(dispatcher: Dispatcher, plan: Plan, begun_s: float) -> dict[str, Any]:
    """Have the plan answered, with as many tries as a client's request would get."""
    answer = _answer.Answer(plan, "msg_test")
    first_ms = None
    async with dispatcher.exchange(plan) as exchange:
        response = await exchange.open()
        fold = Fold()
        fold.feed(answer.start())
        while data := await response.chunk():
            fold.feed(answer.feed(data))
            if first_ms is None and answer.has_content:
                first_ms = round((time.monotonic() - begun_s) * 1000)
            if answer.failure is not None or answer.finished_early:
                break
        if answer.failure is None:
            fold.feed(answer.end())
        if answer.failure is not None:
            raise classify_failure(answer.failure)
        fold.feed(answer.finish())
        exchange.succeeded()
    message = fold.message()
    content = message["content"]
    assert isinstance(content, list), "a message's content is a list of blocks"
    text = "".join(block.get("text", "") for block in content)
    return {
        "text": text,
        "stopReason": message["stop_reason"],
        "usage": message["usage"],
        "firstTokenMs": first_ms,
    }


_ANSWER = s.record(
    {
        "ok": s.flag(),
        "text": {"type": "string"},
        "stopReason": s.optional(s.text()),
        "firstTokenMs": s.optional(s.whole()),
        "durationMs": s.whole(),
        "usage": s.optional(s.record({}, open=True)),
        "error": s.optional(s.record({"type": s.text(), "message": s.text()})),
    },
    *("ok", "text", "durationMs", "error"),
)
_BODY = s.record({"model": s.text(200, minLength=1), "prompt": s.optional(s.text(20_000))}, "model")
# fmt: off
ROUTES = (
    Route("POST", "/credentials/{id}/test", test, "Ask a model through one credential",
          "credentials", "credential.test", body=_BODY, answer=_ANSWER),
)
# fmt: on
