"""Client keys: what they may do, how they are refused, and that every limit holds."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.console import Console, console

from kiroproxy.simulator.script import Script, Silence, answer


async def make(desk: Console, **limits: Any) -> tuple[int, str]:
    made = await desk.send("POST", "/keys", {"name": "app", **limits}, 201)
    assert made["secret"].startswith(made["key"]["prefix"])
    return made["key"]["id"], made["secret"]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    told = answer.json()
    assert told["type"] == "error" and told["request_id"] == answer.headers["request-id"]
    return answer.status_code, told["error"]["type"]


async def test_a_key_serves_like_the_configs_own(desk: Console) -> None:
    _, secret = await make(desk)
    assert (await desk.ask(secret)).status_code == 200
    bearer = {"authorization": f"Bearer {secret}"}
    assert (await desk.api.get("/v1/models", headers=bearer)).status_code == 200
    assert (await desk.ask()).status_code == 200


async def test_a_key_is_shown_once_and_kept_as_a_digest(desk: Console) -> None:
    id, secret = await make(desk)
    listed = (await desk.get("/keys"))["keys"]
    assert [key["id"] for key in listed] == [id]
    assert secret not in str(listed)


async def test_a_deleted_a_disabled_and_an_expired_key_are_refused(desk: Console) -> None:
    id, secret = await make(desk)
    for change in ({"enabled": False}, {"enabled": True, "expiresAt": "2020-01-01T00:00:00Z"}):
        await desk.send("PATCH", f"/keys/{id}", change)
        assert refusal(await desk.ask(secret)) == (401, "authentication_error")
    await desk.send("PATCH", f"/keys/{id}", {"expiresAt": "2099-01-01T00:00:00Z"})
    assert (await desk.ask(secret)).status_code == 200
    await desk.send("DELETE", f"/keys/{id}", status=204)
    assert refusal(await desk.ask(secret)) == (401, "authentication_error")
    assert await desk.refused("DELETE", f"/keys/{id}") == (404, "no_such_key")


async def test_a_renewed_key_ends_the_old_text(desk: Console) -> None:
    id, secret = await make(desk)
    renewed = (await desk.send("POST", f"/keys/{id}/rotate"))["secret"]
    assert (await desk.ask(secret)).status_code == 401
    assert (await desk.ask(renewed)).status_code == 200


async def test_only_the_models_of_the_list_are_served(desk: Console) -> None:
    _, secret = await make(desk, models=["claude-haiku-*", "claude-sonnet-4.5"])
    assert (await desk.ask(secret, model="claude-sonnet-4-5")).status_code == 200
    assert (await desk.ask(secret, model="claude-haiku-4-5")).status_code == 200
    denied = await desk.ask(secret, model="claude-opus-4-5", stream=True)
    assert refusal(denied) == (403, "permission_error")
    assert len(desk.sim.of("generate")) == 2


async def test_requests_a_minute_are_limited(desk: Console) -> None:
    _, secret = await make(desk, rpm=2)
    answers = [await desk.ask(secret) for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 429]
    assert refusal(answers[2]) == (429, "rate_limit_error")
    assert 1 <= int(answers[2].headers["retry-after"]) <= 80
    headers = {"x-api-key": secret}  # counting is not limited: clients do it twenty times at once
    assert (await desk.api.get("/v1/models", headers=headers)).status_code == 200


async def test_requests_at_once_are_limited_and_leaving_frees_the_place(desk: Console) -> None:
    _id, secret = await make(desk, maxConcurrency=1)
    desk.sim.enqueue(Script((Silence(),)))
    first = asyncio.create_task(desk.ask(secret, stream=True))
    await desk.sim.wait_for(1)
    assert refusal(await desk.ask(secret)) == (429, "rate_limit_error")
    assert (await desk.get("/keys"))["keys"][0]["inFlight"] == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    while (await desk.get("/keys"))["keys"][0]["inFlight"]:
        await asyncio.sleep(0.01)
    assert (await desk.ask(secret)).status_code == 200


@pytest.mark.parametrize(
    ("limit", "status", "kind"),
    [
        ({"dailyTokens": 20}, 429, "rate_limit_error"),
        ({"monthlyTokens": 20}, 402, "billing_error"),
        ({"dailyCredits": 0.001}, 429, "rate_limit_error"),
        ({"monthlyCredits": 0.001}, 402, "billing_error"),
    ],
)
async def test_a_quota_is_refused_once_it_is_used_up(
    desk: Console, limit: dict[str, float], status: int, kind: str
) -> None:
    id, secret = await make(desk, **limit)
    assert (await desk.ask(secret)).status_code == 200
    assert refusal(await desk.ask(secret)) == (status, kind)
    await desk.send("PATCH", f"/keys/{id}", dict.fromkeys(limit))
    assert (await desk.ask(secret)).status_code == 200


async def test_a_daily_quota_says_when_it_begins_anew(desk: Console) -> None:
    _, secret = await make(desk, dailyTokens=1)
    await desk.ask(secret)
    told = int((await desk.ask(secret)).headers["retry-after"])
    assert abs(told - (86_400 - time.time() % 86_400)) < 5


async def test_quotas_outlive_a_restart(tmp_path: Path) -> None:
    async with console(tmp_path) as first:
        _, secret = await make(first, monthlyTokens=20)
        assert (await first.ask(secret)).status_code == 200
    async with console(tmp_path) as second:
        assert refusal(await second.ask(secret)) == (402, "billing_error")


async def test_keys_go_on_to_work_when_the_admin_api_is_switched_off(tmp_path: Path) -> None:
    async with console(tmp_path) as first:
        _, secret = await make(first)
    async with console(tmp_path, admin_api_key="") as second:
        assert (await second.ask(secret)).status_code == 200


async def test_a_request_that_kiro_never_answered_costs_nothing(desk: Console) -> None:
    _, secret = await make(desk, dailyTokens=5)
    assert (await desk.ask(secret, model="claude-nonesuch-9")).status_code == 404
    assert (await desk.ask(secret)).status_code == 200


async def test_an_answer_that_its_reader_left_is_counted(desk: Console) -> None:
    id, secret = await make(desk)
    desk.sim.enqueue(answer("some words that arrive ", Silence()))
    headers = {"x-api-key": secret}
    body = {"model": "claude-sonnet-4-5", "max_tokens": 99, "stream": True,
            "messages": [{"role": "user", "content": "Hello!"}]}  # fmt: skip
    async with desk.api.stream("POST", "/v1/messages", json=body, headers=headers) as stream:
        async for line in stream.aiter_lines():
            if "text_delta" in line:
                break
    (row,) = await desk.logged(1)
    assert row["outcome"] == "cancelled" and row["outputTokens"] > 0
    assert row["keyId"] == id and row["keyName"] == "app"
    usage = (await desk.get("/keys"))["keys"][0]["usage"]["today"]
    assert usage["tokens"] == row["inputTokens"] + row["outputTokens"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"name": ""}, "invalid_field"),
        ({"name": "  "}, "invalid_field"),
        ({"name": "a\nb"}, "invalid_field"),
        ({"name": "a", "rpm": 0}, "invalid_field"),
        ({"name": "a", "rpm": 5000}, "invalid_field"),
        ({"name": "a", "expiresAt": "soon"}, "invalid_field"),
        ({"name": "a", "colour": "red"}, "unknown_field"),
        ({"name": "a", "models": "claude"}, "invalid_field"),
    ],
)
async def test_a_key_that_cannot_be_made_is_refused(desk: Console, body: Any, code: str) -> None:
    assert await desk.refused("POST", "/keys", body) == (400, code)
    assert (await desk.get("/keys"))["keys"] == []
