"""The ten routes of the reference, with its exact JSON: scripts written for it work unchanged."""

import json
import re

import pytest
from support.console import Console

from kiroproxy.simulator.script import refuse

ITEM = {
    "id": int, "priority": int, "disabled": bool, "failureCount": int, "isCurrent": bool,
    "expiresAt": str, "authMethod": str, "hasProfileArn": bool, "refreshTokenHash": str,
    "email": type(None), "successCount": int, "hasProxy": bool,
    "refreshFailureCount": int, "endpoint": str, "apiKeyHash": type(None),
    "maskedApiKey": type(None),
}  # fmt: skip


async def test_the_list_has_the_references_fields_and_types(desk: Console) -> None:
    listed = await desk.get("/credentials")
    assert {"total", "available", "currentId", "credentials"} == set(listed)
    assert (listed["total"], listed["available"], listed["currentId"]) == (3, 3, 1)
    first, _, key = listed["credentials"]
    assert {name: type(first[name]) for name in ITEM} == ITEM
    assert "proxyUrl" not in first and "disabledReason" not in first
    assert key["authMethod"] == "api_key" and re.fullmatch(r"ksk_\.\.\.\w{4}", key["maskedApiKey"])
    assert re.fullmatch(r"[0-9a-f]{64}", key["apiKeyHash"]) and key["refreshTokenHash"] is None


async def test_the_list_is_in_the_order_of_priority(desk: Console) -> None:
    await desk.send("POST", "/credentials/1/priority", {"priority": 9})
    listed = await desk.get("/credentials")
    assert [item["id"] for item in listed["credentials"]] == [2, 3, 1]
    assert listed["currentId"] == 2
    assert [entry["priority"] for entry in desk.stored] == [9, 1, 2]


async def test_a_credential_is_added_after_a_refresh_and_a_usage_query(desk: Console) -> None:
    account = desk.sim.token_state.add_social()
    body = {"refreshToken": account.refresh_token, "authMethod": "social", "groupId": "unknown"}
    made = await desk.send("POST", "/credentials", body)
    assert made["success"] is True and made["credentialId"] == 4
    assert made["email"] == "simulated@example.com"
    assert account.rotations == 1
    assert desk.stored[3]["refreshToken"] == account.refresh_token
    assert (await desk.item(4))["state"] == "ready"


async def test_an_api_key_is_added(desk: Console) -> None:
    account = desk.sim.token_state.add_api_key()
    body = {"kiroApiKey": account.api_key, "authMethod": "api_key", "priority": 5}
    made = await desk.send("POST", "/credentials", body)
    assert (await desk.item(made["credentialId"]))["priority"] == 5


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"refreshToken": "x" * 40}, "invalid_value"),
        ({"refreshToken": "x" * 140, "authMethod": "idc"}, "missing_field"),
        ({"refreshToken": "x" * 140}, "credential_dead"),
        ({"refreshToken": "x" * 140, "region": "moon"}, "invalid_value"),
        ({"refreshToken": 5}, "invalid_field"),
        ({"refreshToken": "x" * 140, "proxyUrl": "nowhere"}, "invalid_value"),
    ],
)
async def test_what_cannot_be_added_is_refused_and_leaves_nothing(
    desk: Console, body: object, code: str
) -> None:
    assert await desk.refused("POST", "/credentials", body) == (400, code)
    assert len(desk.stored) == 3
    assert (await desk.get("/credentials"))["total"] == 3


async def test_a_credential_that_is_here_is_not_added_again(desk: Console) -> None:
    token = desk.stored[0]["refreshToken"]
    body = {"refreshToken": token, "verify": False}
    assert await desk.refused("POST", "/credentials", body) == (400, "duplicate")


async def test_a_credential_may_be_added_without_asking_kiro(desk: Console) -> None:
    made = await desk.send("POST", "/credentials", {"refreshToken": "r" * 140, "verify": False})
    assert desk.sim.of("usage") == []
    assert (await desk.item(made["credentialId"]))["tokenState"] == "none"


async def test_only_a_disabled_credential_is_deleted(desk: Console) -> None:
    assert await desk.refused("DELETE", "/credentials/2") == (400, "not_disabled")
    await desk.send("POST", "/credentials/2/disabled", {"disabled": True})
    assert (await desk.send("DELETE", "/credentials/2"))["success"] is True
    assert await desk.refused("DELETE", "/credentials/2") == (404, "no_such_credential")
    assert [entry["id"] for entry in desk.stored] == [1, 3]


async def test_a_disabled_credential_is_not_asked_and_an_enabled_one_is(desk: Console) -> None:
    await desk.send("POST", "/credentials/1/disabled", {"disabled": True})
    item = await desk.item(1)
    assert (item["disabled"], item["disabledReason"]) == (True, "Manual")
    assert (await desk.ask()).status_code == 200
    assert (await desk.item(2))["successCount"] == 1
    await desk.send("POST", "/credentials/1/disabled", {"disabled": False})
    assert (await desk.item(1))["disabled"] is False
    assert (await desk.ask()).status_code == 200
    assert (await desk.item(1))["successCount"] == 1


async def test_reset_forgets_failures_and_enables(desk: Console) -> None:
    desk.sim.enqueue(refuse(403, "AccessDeniedException", "Suspended.", "TEMPORARILY_SUSPENDED"))
    assert (await desk.ask()).status_code == 200
    assert (await desk.item(1))["disabledReason"] == "Suspended"
    await desk.send("POST", "/credentials/1/reset")
    assert (await desk.item(1))["disabled"] is False


async def test_an_entry_that_cannot_be_used_is_not_reset(desk: Console) -> None:
    new = {"refreshToken": "aor" + "n" * 120, "authMethod": "idc", "clientId": "c"}
    (desk.folder / "credentials.json").write_text(json.dumps([*desk.stored, new]))
    while (await desk.get("/credentials"))["total"] != 4:
        pass
    item = await desk.item(4)
    assert item["state"] == "invalid"
    assert item["disabledReason"] == "InvalidConfig" and "clientSecret" in item["fault"]
    assert await desk.refused("POST", "/credentials/4/reset") == (400, "invalidconfig")


async def test_refresh_renews_a_token_at_once(desk: Console) -> None:
    before = (await desk.item(1))["refreshTokenHash"]
    assert (await desk.send("POST", "/credentials/1/refresh"))["success"] is True
    assert (await desk.item(1))["refreshTokenHash"] != before
    assert await desk.refused("POST", "/credentials/3/refresh") == (400, "no_token")


async def test_the_balance_adds_plan_and_trial_and_is_kept_for_a_while(desk: Console) -> None:
    first = await desk.get("/credentials/1/balance")
    assert {"id", "subscriptionTitle", "currentUsage", "usageLimit", "remaining",
            "usagePercentage", "nextResetAt"} <= set(first)  # fmt: skip
    assert (first["id"], first["usageLimit"]) == (1, 550.0)
    assert await desk.get("/credentials/1/balance") == first
    assert len(desk.sim.of("usage")) == 1
    await desk.get("/credentials/1/balance", refresh="true")
    assert len(desk.sim.of("usage")) == 2
    assert (await desk.item(1))["balance"]["usageLimit"] == 550.0


async def test_the_mode_is_read_changed_and_written(desk: Console) -> None:
    assert await desk.get("/config/load-balancing") == {"mode": "priority"}
    changed = await desk.send("PUT", "/config/load-balancing", {"mode": "balanced"})
    assert changed == {"mode": "balanced"}
    assert desk.app._gateway.pool.mode == "balanced"
    assert '"loadBalancingMode": "balanced"' in (desk.folder / "config.json").read_text()
    refusal = await desk.refused("PUT", "/config/load-balancing", {"mode": "other"})
    assert refusal == (400, "invalid_field")


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
async def test_both_key_styles_are_taken(desk: Console, header: str) -> None:
    from support.console import ADMIN_KEY

    value = ADMIN_KEY if header == "x-api-key" else f"Bearer {ADMIN_KEY}"
    answer = await desk.api.get("/api/admin/credentials", headers={header: value})
    assert answer.status_code == 200


async def test_errors_have_the_references_shape(desk: Console) -> None:
    answer = await desk.api.get("/api/admin/credentials")
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    gone = await desk.admin.post("/credentials/77/reset")
    assert (gone.status_code, gone.json()["error"]["type"]) == (404, "not_found")
    broken = await desk.admin.post(
        "/credentials", content=b"{", headers={"content-type": "application/json"}
    )
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")
