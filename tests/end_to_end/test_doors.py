"""Every generation of Kiro's API, for every kind of credential, against the strict simulator."""

from typing import Any

import pytest
from support.gateway import Gateway
from support.sse import parse, stop_of, text_of

from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState

ARN = "arn:aws:codewhisperer:eu-central-1:123456789012:profile/ABCDEFGHIJKL"
HELLO = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 100,
    "messages": [
        {"role": "user", "content": "Say hello"},
        {"role": "assistant", "content": 'He said {"origin":"AI_EDITOR"}'},
        {"role": "user", "content": "Again"},
    ],
}
SEARCH = {
    "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    "messages": [{"role": "user", "content": "Perform a web search for the query: otters"}],
}
SERVICES = {
    "ide": None,
    "cli": "AmazonCodeWhispererStreamingService.GenerateAssistantResponse",
    "kas": "KiroRuntimeService.GenerateAssistantResponse",
}


def everybody() -> TokenState:
    """Return one account of each kind."""
    tokens = TokenState()
    tokens.add_social()
    tokens.add_idc()  # a Builder ID, which has no profile
    tokens.add_idc(ARN, "Enterprise")
    tokens.add_api_key()
    return tokens


async def ask(gateway: Gateway, **changes: Any) -> Any:
    async with gateway.client() as client:
        return await client.post("/v1/messages", json=HELLO | changes)


@pytest.mark.parametrize("door", ["ide", "cli", "kas"])
async def test_every_kind_of_credential_is_served_through_every_door(serve: Any, door: str) -> None:
    async with Simulator(pace_s=0.0, tokens=everybody()) as sim:
        # Enterprise profiles are looked up, so the file does not name this one.
        shown = [{k: v for k, v in e.items() if v != ARN} for e in sim.credentials()]
        config = {
            "defaultEndpoint": door,
            "loadBalancingMode": "balanced",
            "upstream": sim.upstream(regional=True),
        }
        gateway = await serve(sim, config, credentials=shown)
        callers: set[str] = set()
        for turn in range(60):  # conversations keep to a credential: these are many
            told = [{"role": "user", "content": f"Say hello {turn}"}, *HELLO["messages"][1:]]
            answer = await ask(gateway, stream=True, messages=told)
            assert answer.status_code == 200, answer.text
            events = parse(answer.text)
            assert text_of(events) and stop_of(events) == "end_turn"
            served = [call for call in sim.of("generate") if call.status == 200]
            callers = {call.headers["authorization"] for call in served}
            if len(callers) == len(shown):
                break
        assert len(callers) == len(shown)
        targets = {call.headers.get("x-amz-target") for call in served}
        assert targets == {SERVICES[door]}
        # The older door asks for no profile, so it never learns of the other region.
        others = set() if door == "ide" else {"eu-central-1"}
        assert {call.region for call in served} == {"us-east-1"} | others


@pytest.mark.parametrize("door", ["ide", "cli", "kas"])
async def test_models_and_search_go_through_the_same_door(serve: Any, door: str) -> None:
    async with Simulator(pace_s=0.0) as sim:
        gateway = await serve(sim, {"defaultEndpoint": door})
        answer = await ask(gateway, **SEARCH)
        assert answer.status_code == 200
        (result,) = [b for b in answer.json()["content"] if b["type"] == "web_search_tool_result"]
        assert isinstance(result["content"], list) and result["content"]
        for route in ("models", "mcp"):
            call = sim.of(route)[0]
            assert call.status == 200, call.refusal
            assert ("x-amz-target" in call.headers) is (door != "ide")


async def test_an_account_that_one_door_refuses_is_served_by_another(serve: Any) -> None:
    async with Simulator(pace_s=0.0) as sim:
        sim.tokens.accounts[0].doors = ("kas",)
        gateway = await serve(sim)
        for _ in range(3):
            assert (await ask(gateway)).status_code == 200
        statuses = [call.status for call in sim.of("generate")]
        assert statuses == [403, 200, 200, 200]


async def test_a_credential_may_name_its_own_door(serve: Any) -> None:
    async with Simulator(pace_s=0.0) as sim:
        shown = [{**entry, "endpoint": "cli"} for entry in sim.credentials()]
        gateway = await serve(sim, credentials=shown)
        assert (await ask(gateway)).status_code == 200
        (call,) = sim.of("generate")
        assert call.headers["user-agent"].endswith("app/AmazonQ-For-CLI")
        assert call.current["origin"] == "KIRO_CLI"
        said = call.state["history"][1]["assistantResponseMessage"]["content"]
        assert said == 'He said {"origin":"AI_EDITOR"}'
