"""Usage, models, profiles and MCP search, over real sockets."""

import json

import pytest

from kiroproxy.simulator import Simulator, TokenState
from kiroproxy.simulator.catalogue import MODELS
from kiroproxy.simulator.tokens import SOCIAL_ARN


def bearer(account):
    if account.is_api_key:
        return {"authorization": f"Bearer {account.api_key}", "tokentype": "API_KEY"}
    return {"authorization": f"Bearer {account.access_token}"}


async def get(caller, sim, path, account=None, **headers):
    sent = {**bearer(account or sim.tokens.accounts[0]), **headers}
    return await caller.client.get(sim.url + path, headers=sent)


async def search(caller, sim, **told):
    body = {"id": "1", "jsonrpc": "2.0", "method": "tools/call", **told}
    headers = bearer(sim.tokens.accounts[0])
    return (await caller.client.post(f"{sim.url}/mcp", json=body, headers=headers)).json()


async def test_usage_tells_the_limits_and_the_mail_address_only_when_asked(caller):
    async with Simulator() as sim:
        path = "/getUsageLimits?origin=AI_EDITOR&resourceType=AGENTIC_REQUEST"
        told = (await get(caller, sim, path)).json()
        asked = (await get(caller, sim, f"{path}&isEmailRequired=true")).json()
        lower = await get(caller, sim, "/getusagelimits?origin=AI_EDITOR")
    (breakdown,) = told["usageBreakdownList"]
    assert (breakdown["resourceType"], breakdown["usageLimitWithPrecision"]) == ("CREDIT", 50.0)
    assert told["nextDateReset"] > sim.tokens.clock()
    assert "email" not in told["userInfo"] and "@" in asked["userInfo"]["email"]
    assert lower.status_code == 200


async def test_models_come_in_pages(caller):
    async with Simulator() as sim:
        seen, after = [], ""
        while after is not None:
            path = f"/ListAvailableModels?origin=AI_EDITOR&maxResults=7&nextToken={after}"
            page = (await get(caller, sim, path)).json()
            seen += [model["modelId"] for model in page["models"]]
            after = page["nextToken"]
    assert seen == list(MODELS)
    assert page["defaultModel"] == {"modelId": "auto"}


async def test_a_models_entry_holds_its_limits_and_schema(caller):
    async with Simulator() as sim:
        told = (await get(caller, sim, "/ListAvailableModels?origin=AI_EDITOR")).json()
    by_id = {model["modelId"]: model for model in told["models"]}
    opus, haiku = by_id["claude-opus-4.6"], by_id["claude-haiku-4.5"]
    assert opus["tokenLimits"] == {"maxInputTokens": 1_000_000, "maxOutputTokens": 64_000}
    effort = opus["additionalModelRequestFieldsSchema"]["properties"]["output_config"]
    assert effort["properties"]["effort"]["enum"] == ["low", "medium", "high", "max"]
    assert "additionalModelRequestFieldsSchema" not in haiku


@pytest.mark.parametrize("query", ["", "?maxResults=5", "?origin=X&maxResults=51"])
async def test_a_model_listing_needs_an_origin_and_a_possible_page_size(caller, query):
    async with Simulator() as sim:
        assert (await get(caller, sim, f"/ListAvailableModels{query}")).status_code == 400


@pytest.mark.parametrize(
    "path", ["/getUsageLimits?origin=AI_EDITOR", "/ListAvailableModels?origin=AI_EDITOR"]
)
async def test_every_operation_asks_who_calls(caller, path):
    async with Simulator() as sim:
        assert (await get(caller, sim, path, authorization="Bearer x")).status_code == 403
        foreign = SOCIAL_ARN.replace("EHGA", "XXXX")
        assert (await get(caller, sim, f"{path}&profileArn={foreign}")).status_code == 403
        assert (await get(caller, sim, f"{path}&profileArn={SOCIAL_ARN}")).status_code == 200


async def test_an_api_key_works_with_its_token_type_only(caller):
    tokens = TokenState()
    key = tokens.add_api_key()
    async with Simulator(tokens=tokens) as sim:
        path = "/getUsageLimits?origin=AI_EDITOR"
        assert (await get(caller, sim, path, key)).status_code == 200
        assert (await get(caller, sim, path, key, tokentype="SSO_OIDC")).status_code == 400
        tokens.expire(key.api_key)
        assert (await get(caller, sim, path, key)).status_code == 401


async def test_profiles_are_known_in_one_region_and_not_for_builder_ids(caller):
    tokens = TokenState()
    company = tokens.add_idc(profile_arn=SOCIAL_ARN, provider="Enterprise")
    builder = tokens.add_idc()
    async with Simulator(tokens=tokens) as sim:
        answers = []
        for region, account in (("us-east-1", company), ("eu-central-1", company), ("", builder)):
            url = f"{sim.url}/{region}/ListAvailableProfiles".replace("//List", "/List")
            answers.append(await caller.client.post(url, json={}, headers=bearer(account)))
    assert answers[0].json()["profiles"][0]["arn"] == SOCIAL_ARN
    assert answers[1].json() == {"profiles": []}
    assert answers[2].json()["message"].startswith("AWS Builder ID is not supported")


async def test_a_search_returns_results_that_say_they_are_made_up(caller):
    async with Simulator() as sim:
        params = {"name": "web_search", "arguments": {"query": "python"}}
        told = await search(caller, sim, params=params)
    (content,) = told["result"]["content"]
    found = json.loads(content["text"])
    assert (found["totalResults"], found["query"], found["error"]) == (3, "python", None)
    for result in found["results"]:
        assert "simulated" in result["title"] and "simulator" in result["snippet"]
        assert result["url"].startswith("https://example.com/")


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"params": {"name": "web_search", "arguments": {"query": "q" * 201}}}, -32602),
        ({"params": {"name": "web_search", "arguments": {}}}, -32602),
        ({"params": {"name": "other"}}, -32601),
        ({"method": "tools/sing"}, -32601),
    ],
)
async def test_a_wrong_search_is_a_json_rpc_error(caller, told, code):
    async with Simulator() as sim:
        assert (await search(caller, sim, **told))["error"]["code"] == code


async def test_the_search_tool_is_listed_and_the_envelope_is_checked(caller):
    async with Simulator() as sim:
        (tool,) = (await search(caller, sim, method="tools/list"))["result"]["tools"]
        assert tool["name"] == "web_search"
        assert (await search(caller, sim, jsonrpc="1.0"))["message"].startswith("Improperly")


async def test_control_operations_are_also_reached_by_target(caller):
    async with Simulator() as sim:
        headers = {
            **bearer(sim.tokens.accounts[0]),
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": "KiroControlPlaneBearerService.ListAvailableModels",
        }
        body = {"origin": "KIRO_CLI", "maxResults": 2}
        answer = await caller.client.post(f"{sim.url}/", json=body, headers=headers)
        assert answer.json()["message"] == "Invalid profileArn."
        body["profileArn"] = sim.tokens.accounts[0].profile_arn
        answer = await caller.client.post(f"{sim.url}/", json=body, headers=headers)
        assert len(answer.json()["models"]) == 2
        headers["x-amz-target"] = "KiroRuntimeService.ListAvailableModels"
        answer = await caller.client.post(f"{sim.url}/", json=body, headers=headers)
        assert answer.status_code == 404
        headers["x-amz-target"] = "AmazonS3.ListAvailableModels"
        answer = await caller.client.post(f"{sim.url}/", json=body, headers=headers)
        assert answer.status_code == 404
