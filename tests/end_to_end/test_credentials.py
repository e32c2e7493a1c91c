"""Credentials through the whole gateway: refresh, write-back, failover, and what is told."""

import asyncio
import json
import os
import signal
import stat
from typing import Any

import pytest

from kiroproxy.simulator.script import Plain, Refuse, Script, Wait, answer, refuse
from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState

HELLO = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say hello"}],
}
EXPIRED = "2020-01-01T00:00:00Z"
MONTHLY = refuse(
    402, "ServiceQuotaExceededException", "You have reached the limit.", "MONTHLY_REQUEST_COUNT"
)
SUSPENDED = refuse(
    403, "AccessDeniedException", "Your account is temporarily suspended.", "TEMPORARILY_SUSPENDED"
)
SLOW_DOWN = refuse(
    429, "ThrottlingException", "Too many requests", "USER_REQUEST_RATE_EXCEEDED", retry_after_s=30
)


async def ask(gateway: Any, **more: Any) -> Any:
    async with gateway.client() as client:
        return await client.post("/v1/messages", json=HELLO | more)


def two_accounts() -> TokenState:
    tokens = TokenState()
    tokens.add_social()
    tokens.add_social()
    return tokens


def used(sim: Simulator) -> list[int]:
    """Return which account each generate call used, by its place in the token state."""
    order = {account.access_token: n for n, account in enumerate(sim.tokens.accounts)}
    calls = (call.headers["authorization"].split()[1] for call in sim.of("generate"))
    return [order[token] for token in calls]


@pytest.mark.parametrize("kind", ["social", "idc"])
@pytest.mark.parametrize("shape", ["object", "array"])
async def test_an_expired_token_is_refreshed_and_the_new_pair_is_on_disk(
    serve: Any, kind: str, shape: str
) -> None:
    tokens = TokenState()
    account = tokens.add_social() if kind == "social" else tokens.add_idc(profile_arn=ARN)
    async with Simulator(pace_s=0.0, tokens=tokens) as sim:
        entry = tokens.credential(account) | {"expiresAt": EXPIRED, "note": "mine"}
        gateway = await serve(sim, credentials=entry if shape == "object" else [entry])
        answers = await asyncio.gather(*(ask(gateway) for _ in range(10)))
        assert [answered.status_code for answered in answers] == [200] * 10
        assert account.rotations == 1 and tokens.refused == []
        saved = gateway.credentials if shape == "object" else gateway.credentials[0]
        assert saved["refreshToken"] == account.refresh_token
        assert saved["accessToken"] == account.access_token
        assert saved["note"] == "mine" and saved["expiresAt"] > "2026"
        assert stat.S_IMODE(os.stat(gateway.credentials_path).st_mode) == 0o600


ARN = "arn:aws:codewhisperer:us-east-1:111122223333:profile/ABCDEFGHIJKL"


async def test_a_token_kiro_no_longer_takes_is_refreshed_once(sim: Simulator, serve: Any) -> None:
    gateway = await serve(sim)
    sim.tokens.expire_all()
    answers = await asyncio.gather(*(ask(gateway) for _ in range(10)))
    assert {answered.status_code for answered in answers} == {200}
    assert sim.tokens.accounts[0].rotations == 1


async def test_an_api_key_is_used_as_it_is(serve: Any) -> None:
    tokens = TokenState()
    tokens.add_api_key()
    async with Simulator(pace_s=0.0, tokens=tokens) as sim:
        gateway = await serve(sim)
        assert (await ask(gateway)).status_code == 200
        call = sim.of("generate")[0]
        assert call.headers["tokentype"] == "API_KEY" and "profileArn" not in call.json


async def test_the_key_from_the_environment_is_never_written(serve: Any) -> None:
    tokens = TokenState()
    key = tokens.add_api_key().api_key
    async with Simulator(pace_s=0.0, tokens=tokens) as sim:
        gateway = await serve(sim, credentials=[], environ={"KIRO_API_KEY": key})
        assert (await ask(gateway)).status_code == 200
        assert key not in gateway.credentials_path.read_text() and key not in gateway.log


async def test_a_revoked_credential_is_disabled_at_once_and_the_next_one_answers(
    serve: Any,
) -> None:
    async with Simulator(pace_s=0.0, tokens=two_accounts()) as sim:
        first, second = sim.credentials()
        first |= {"expiresAt": EXPIRED, "refreshToken": "x" * 120, "priority": 0}
        gateway = await serve(sim, credentials=[first, second | {"priority": 1}])
        for _ in range(3):
            assert (await ask(gateway)).status_code == 200
        # Once for the requests, and perhaps once for the model list that the start asks for.
        assert used(sim) == [1, 1, 1] and sim.tokens.calls["refused"] in (1, 2)


async def test_a_transient_refresh_fault_does_not_disable(sim: Simulator, serve: Any) -> None:
    (entry,) = sim.credentials()
    gateway = await serve(sim, credentials=[entry | {"expiresAt": EXPIRED}])
    sim.enqueue(*[Script((Refuse(503),))] * 9, route="refresh")
    told = await ask(gateway)
    assert (told.status_code, told.json()["error"]["type"]) == (503, "api_error")
    assert int(told.headers["retry-after"]) >= 1
    sim.queues["refresh"].clear()
    for _ in range(40):
        answered = await ask(gateway)
        if answered.status_code == 200:
            break
        await asyncio.sleep(0.25)
    assert answered.status_code == 200, answered.text


@pytest.mark.parametrize(
    "fault", [MONTHLY, SUSPENDED, SLOW_DOWN], ids=["monthly limit", "suspended", "throttled"]
)
async def test_the_next_credential_answers_and_the_faulty_one_rests(
    serve: Any, fault: Script
) -> None:
    async with Simulator(pace_s=0.0, tokens=two_accounts()) as sim:
        first, second = sim.credentials()
        gateway = await serve(sim, credentials=[first | {"priority": 0}, second | {"priority": 1}])
        sim.enqueue(fault)
        for _ in range(3):
            assert (await ask(gateway)).status_code == 200
        assert used(sim) == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (MONTHLY, 402, "billing_error"),
        (SLOW_DOWN, 429, "rate_limit_error"),
        (refuse(429, "ThrottlingException", "busy", "INSUFFICIENT_MODEL_CAPACITY"), 529,
         "overloaded_error"),
        (refuse(500, "InternalServerException", "load", "MODEL_TEMPORARILY_UNAVAILABLE"), 529,
         "overloaded_error"),
    ],
)  # fmt: skip
async def test_the_only_credentials_fault_is_told_truthfully(
    sim: Simulator, serve: Any, fault: Script, status: int, kind: str
) -> None:
    gateway = await serve(sim)
    sim.enqueue(*[fault] * 9)
    answered = await ask(gateway)
    assert (answered.status_code, answered.json()["error"]["type"]) == (status, kind)


async def test_while_all_cool_down_the_answer_comes_at_once_with_retry_after(
    sim: Simulator, serve: Any
) -> None:
    gateway = await serve(sim)
    sim.enqueue(SLOW_DOWN)
    for _ in range(2):
        answered = await ask(gateway)
        assert answered.status_code == 429
        assert 1 <= int(answered.headers["retry-after"]) <= 30
    assert len(sim.of("generate")) == 1


async def test_no_more_than_nine_tries_over_many_credentials(serve: Any) -> None:
    tokens = TokenState()
    for _ in range(5):
        tokens.add_social()
    async with Simulator(pace_s=0.0, tokens=tokens) as sim:
        gateway = await serve(sim)
        sim.enqueue(*[Script((Refuse(500),))] * 20)
        assert (await ask(gateway)).status_code == 502
        places = used(sim)
        assert len(places) <= 9 and max(map(places.count, places)) <= 3


async def test_without_any_credential_it_refuses_to_start_and_says_why(
    sim: Simulator, serve: Any
) -> None:
    with pytest.raises(AssertionError):
        await serve(sim, credentials=[])


async def test_a_killed_gateway_leaves_a_whole_file(sim: Simulator, serve: Any) -> None:
    """Kill it right after the refresh was answered, five times over."""
    for _ in range(5):
        (entry,) = sim.credentials()
        refreshes = len(sim.of("refresh"))  # the first may be the start's own, for its model list
        gateway = await serve(sim, credentials=[entry | {"expiresAt": EXPIRED}])
        task = asyncio.create_task(ask(gateway))
        await sim.wait_for(refreshes + 1, "refresh")
        await gateway.stop(signal.SIGKILL)
        await asyncio.gather(task, return_exceptions=True)
        saved = json.loads(gateway.credentials_path.read_text())[0]
        assert saved["refreshToken"] in (
            entry["refreshToken"],
            sim.credentials()[0]["refreshToken"],
        )
        assert stat.S_IMODE(os.stat(gateway.credentials_path).st_mode) == 0o600


async def test_sigterm_lets_a_running_answer_finish(sim: Simulator, serve: Any) -> None:
    gateway = await serve(sim)
    sim.enqueue(answer("slow ", Wait(0.5), "but whole"))
    task = asyncio.create_task(ask(gateway))
    await sim.wait_for(1)
    assert await gateway.stop() == 0
    assert (await task).json()["content"][0]["text"] == "slow but whole"


async def test_no_secret_shows_in_the_log_even_at_debug(sim: Simulator, serve: Any) -> None:
    (entry,) = sim.credentials()
    gateway = await serve(
        sim, credentials=[entry | {"expiresAt": EXPIRED}], flags=("--log-level", "debug")
    )
    await ask(gateway)
    account = sim.tokens.accounts[0]
    secrets = [entry["refreshToken"], entry["accessToken"], gateway.key]
    secrets += [account.refresh_token, account.access_token]
    assert gateway.log and not [secret for secret in secrets if secret in gateway.log]


async def test_a_model_only_the_live_list_knows_is_served_from_the_first_request(
    sim: Simulator, serve: Any
) -> None:
    listing = {"models": [{"modelId": "claude-haiku-9.9"}], "defaultModel": {"modelId": "auto"}}
    sim.strict = False  # whose own list of models does not have it
    sim.enqueue(Script((Wait(0.5), Plain(body=json.dumps(listing)))), route="models")
    gateway = await serve(sim)
    answered = await ask(gateway, model="claude-haiku-9-9")
    assert answered.status_code == 200, answered.text
    assert sim.of("generate")[0].model_id == "claude-haiku-9.9"
