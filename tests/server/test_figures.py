"""/metrics and /ready of a whole gateway."""

import re
from typing import Any

import pytest

from kiroproxy.simulator.script import refuse

SLOW_DOWN = refuse(429, "ThrottlingException", "Too many", "USER_REQUEST_RATE_EXCEEDED")


async def figures(gateway: Any, **headers: str) -> dict[str, float]:
    """Return every series once nothing is under way: a client may be quicker than a count."""
    while True:
        answer = await gateway.client.get("/metrics", headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        pairs = (line.rpartition(" ") for line in answer.text.splitlines() if line[0] != "#")
        found = {name: float(value) for name, _, value in pairs}
        if not found["kiroproxy_requests_in_flight"]:
            return found


async def test_a_conversation_is_in_every_figure_it_belongs_to(run_gateway: Any) -> None:
    gateway = await run_gateway()
    before = await figures(gateway)
    assert (await gateway.ask()).status_code == 200
    await gateway.events()
    found = await figures(gateway)
    series = 'kiroproxy_requests_total{endpoint="messages",outcome="ok",status="200"}'
    assert found[series] == before.get(series, 0) + 2
    assert found['kiroproxy_upstream_attempts_total{error_type=""}'] == 2
    assert found["gen_ai_server_request_duration_seconds_count"] == 2
    assert found["gen_ai_server_time_to_first_token_seconds_count"] == 2
    assert found['gen_ai_client_token_usage_sum{gen_ai_token_type="output"}'] > 0
    assert found["kiroproxy_credits_total"] > 0
    assert found["kiroproxy_requests_in_flight"] == 0
    assert found['kiroproxy_credentials{state="ready"}'] == 1


async def test_a_refusal_is_counted_with_what_kiro_refused_it_for(run_gateway: Any) -> None:
    gateway = await run_gateway(SLOW_DOWN)
    assert (await gateway.ask()).status_code == 429
    found = await figures(gateway)
    series = 'kiroproxy_requests_total{endpoint="messages",outcome="error",status="429"}'
    assert found[series] == 1
    assert found['kiroproxy_upstream_attempts_total{error_type="Throttled"}'] == 1
    assert found['kiroproxy_credentials{state="cooling"}'] == 1


@pytest.mark.parametrize("headers", [{"x-api-key": "wrong"}, {"x-api-key": ""}])
async def test_figures_need_a_key(run_gateway: Any, headers: dict[str, str]) -> None:
    gateway = await run_gateway()
    answer = await gateway.client.get("/metrics", headers=headers)
    assert answer.status_code == 401 and "kiroproxy_" not in answer.text


async def test_the_admin_key_will_do_and_a_bearer_too(run_gateway: Any) -> None:
    gateway = await run_gateway(admin_api_key="an-admin-key-of-some-length")
    admin = {"authorization": "Bearer an-admin-key-of-some-length", "x-api-key": ""}
    assert await figures(gateway, **admin)


async def test_figures_name_no_account(run_gateway: Any) -> None:
    gateway = await run_gateway(accounts=2)
    await gateway.ask()
    text = (await gateway.client.get("/metrics")).text
    for account in gateway.sim.tokens.accounts:
        assert account.access_token not in text and account.profile_arn not in text
    assert not re.search(r"@|aoa|aor|sk-", text)


async def test_ready_tells_whether_a_request_could_be_served(run_gateway: Any) -> None:
    gateway = await run_gateway(SLOW_DOWN)
    answer = await gateway.client.get("/ready", headers={"x-api-key": ""})
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    await gateway.ask()
    answer = await gateway.client.get("/ready", headers={"x-api-key": ""})
    assert (answer.status_code, answer.json()["credentials"]) == (503, {"total": 1, "available": 0})
    assert (await gateway.client.get("/health")).status_code == 200
