"""What the reference's users missed: editing, order, bulk with progress, import, export, tests."""

import asyncio
import errno
import json
import time

import pytest
from support import plain
from support.console import ADMIN_KEY, Console, events_of

from kiroproxy.errors import ConfigError
from kiroproxy.records import notes
from kiroproxy.simulator.script import Script, Silence, refuse
from kiroproxy.upstream.login import Tokens


async def test_any_field_is_changed_and_null_takes_it_away(desk: Console) -> None:
    body = {"email": "me@example.com", "proxyUrl": "http://user:secret@127.0.0.1:9", "rpm": 3}
    changed = await desk.send("PATCH", "/credentials/1", body)
    item = changed["credential"]
    assert (item["email"], item["rpm"], item["proxyUrl"]) == (
        *("me@example.com", 3), "http://127.0.0.1:9",
    )  # fmt: skip
    assert desk.stored[0]["proxyUrl"] == body["proxyUrl"]
    item = (await desk.send("PATCH", "/credentials/1", {"proxyUrl": None, "rpm": None}))[
        "credential"
    ]
    assert item["hasProxy"] is False and item["rpm"] is None
    assert "rpm" not in desk.stored[0]


async def test_another_refresh_token_ends_the_access_token_of_the_one_before(desk: Console) -> None:
    await desk.send("POST", "/credentials/1/refresh")
    assert desk.stored[0]["accessToken"]
    await desk.send("PATCH", "/credentials/1", {"refreshToken": "another-login-" + "x" * 200})
    assert not {"accessToken", "expiresAt"} & desk.stored[0].keys()


@pytest.mark.parametrize(
    "url", ["me:secret@host:1", "http//me:secret@host", "http://me:secret@[::1"]
)
async def test_a_proxy_that_is_badly_written_shows_no_password(desk: Console, url: str) -> None:
    assert await desk.refused("PATCH", "/credentials/1", {"proxyUrl": url}) == (
        400,
        "invalid_value",
    )
    entries = desk.stored
    entries[0]["proxyUrl"] = url
    (desk.folder / "credentials.json").write_text(json.dumps(entries))
    while not (found := await desk.get("/credentials"))["credentials"][0]["hasProxy"]:
        await asyncio.sleep(0.05)
    assert "secret" not in json.dumps(found)
    refused = await desk.admin.patch("/settings", json={"proxyUrl": url})
    assert refused.status_code == 400 and "secret" not in refused.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"id": 9}, "unknown_field"),
        ({"priority": "high"}, "invalid_field"),
        ({"region": "moon"}, "invalid_value"),
        ({"refreshToken": "cut..."}, "invalid_value"),
        ({"endpoint": "nonesuch"}, "invalid_value"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    desk: Console, body: object, code: str
) -> None:
    before = desk.stored
    assert await desk.refused("PATCH", "/credentials/1", body) == (400, code)
    assert desk.stored == before


async def test_another_credentials_token_is_not_taken(desk: Console) -> None:
    body = {"refreshToken": desk.stored[0]["refreshToken"]}
    assert await desk.refused("PATCH", "/credentials/2", body) == (400, "duplicate")


async def test_an_enabled_credential_is_deleted_by_force(desk: Console) -> None:
    await desk.send("DELETE", "/credentials/1?force=true")
    assert (await desk.get("/credentials"))["total"] == 2
    assert (await desk.ask()).status_code == 200


async def test_a_token_renewed_while_its_credential_is_deleted_is_no_loss(desk: Console) -> None:
    gateway = desk.app._gateway
    credential = gateway.pool.get(1)
    assert credential is not None
    await desk.send("DELETE", "/credentials/1?force=true")
    tokens = Tokens("aoaRenewed", credential.expires_at_ms or 0, "aorRenewed")
    renewed = await gateway.refresher._write_down(credential, tokens)
    assert renewed.access_token == "aoaRenewed"
    assert gateway.store.save_unsaved() and not gateway.store.is_unsaved(1)


async def test_a_token_in_memory_survives_a_deletion_that_fails(
    desk: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = desk.app._gateway.store
    with monkeypatch.context() as disk:
        disk.setattr(store._file, "write", full)
        for change in (store.update, lambda id, _: store.remove_many([id])):
            with pytest.raises(ConfigError):
                change(1, {"refreshToken": "aorRenewed"})
    assert store.is_unsaved(1)
    assert store.save_unsaved() and desk.stored[0]["refreshToken"] == "aorRenewed"


def full(data: bytes) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_an_order_becomes_priorities_with_one_write(desk: Console) -> None:
    await desk.send("POST", "/credentials/order", {"ids": [3, 1, 2]})
    assert {entry["id"]: entry["priority"] for entry in desk.stored} == {3: 0, 1: 1, 2: 2}
    body = {"ids": [1, 1]}
    assert await desk.refused("POST", "/credentials/order", body) == (400, "invalid_field")
    body = {"ids": [1, 99]}
    assert await desk.refused("POST", "/credentials/order", body) == (404, "no_such_credential")


@pytest.mark.parametrize(
    ("action", "more", "failed"),
    [
        ("disable", {}, [99]),
        ("enable", {}, [99]),
        ("priority", {"priority": 4}, [99]),
        ("refresh", {}, [3, 99]),  # an API key has nothing to renew
        ("verify", {}, [99]),
        ("reset", {}, [99]),
        ("balance", {}, [99]),
        ("delete", {}, [1, 2, 3, 99]),
        ("delete", {"force": True}, [99]),
    ],
)
async def test_a_bulk_action_tells_of_each_and_of_the_end(
    desk: Console, action: str, more: dict[str, object], failed: list[int]
) -> None:
    body = {"action": action, "ids": [1, 2, 3, 99], **more}
    *progress, (last, total) = await desk.events("POST", "/credentials/bulk", body)
    assert [data["done"] for _, data in progress] == [1, 2, 3, 4]
    assert {data["id"] for _, data in progress} == {1, 2, 3, 99}
    assert sorted(data["id"] for _, data in progress if not data["ok"]) == failed
    assert last == "done"
    assert total == {"total": 4, "ok": 4 - len(failed), "failed": len(failed)}


async def test_leaving_a_bulk_action_cancels_the_rest(desk: Console) -> None:
    desk.sim.enqueue(*[Script((Silence(),))] * 3, route="usage")
    body = {"action": "verify", "ids": [1, 2, 3]}
    async with desk.admin.stream("POST", "/credentials/bulk", json=body):
        await desk.sim.wait_for(3, "usage")
    # The connections that were waited on are closed, or the simulator would still hold them.
    while desk.app._running:
        await asyncio.sleep(0.01)


async def test_bulk_priority_needs_one(desk: Console) -> None:
    body = {"action": "priority", "ids": [1]}
    assert await desk.refused("POST", "/credentials/bulk", body) == (400, "missing_field")


async def test_an_export_is_an_import(desk: Console) -> None:
    body = {"key": ADMIN_KEY, "ids": [1, 2]}
    answer = await desk.admin.post("/credentials/export", json=body)
    assert answer.headers["content-disposition"].startswith("attachment")
    entries = answer.json()
    assert [entry["refreshToken"] for entry in entries] == [
        entry["refreshToken"] for entry in desk.stored[:2]
    ]
    look = await desk.send("POST", "/credentials/import", {"data": entries, "dryRun": True})
    assert [entry["duplicateOf"] for entry in look["entries"]] == [1, 2]
    await desk.send("DELETE", "/credentials/2?force=true")
    events = await desk.events("POST", "/credentials/import", {"data": json.dumps(entries)})
    assert [(data["index"], data["ok"], data["code"]) for _, data in events[:-1]] == [
        (0, False, "duplicate"),
        (1, True, None),
    ]
    kept = events[1][1]["credentialId"]
    assert (await desk.item(kept))["authMethod"] == "idc"


async def test_an_export_asks_for_the_key_again(desk: Console) -> None:
    refusal = await desk.refused("POST", "/credentials/export", {"key": "wrong"})
    assert refusal == (403, "wrong_key")


async def test_an_import_that_holds_no_login_is_refused(desk: Console) -> None:
    refusal = await desk.refused("POST", "/credentials/import", {"data": "[]"})
    assert refusal == (400, "invalid_value")


async def test_an_import_keeps_only_what_works(desk: Console) -> None:
    data = [{"refreshToken": "x" * 140, "email": "dead@example.com"}, {"refreshToken": "cut"}]
    events = await desk.events("POST", "/credentials/import", {"data": data})
    codes = {data["index"]: data["code"] for _, data in events[:-1]}
    assert codes == {0: "credential_dead", 1: "unusable"}
    assert len(desk.stored) == 3


async def test_defaults_of_an_import_are_for_what_an_entry_leaves_out(desk: Console) -> None:
    data = [{"refreshToken": "a" * 140}, {"refreshToken": "b" * 140, "region": "eu-west-1"}]
    body = {"data": data, "verify": False, "format": "kiroproxy"}
    defaults = {"priority": 8, "region": "us-west-2"}
    await desk.events("POST", "/credentials/import", body | {"defaults": defaults})
    assert [(entry["priority"], entry["region"]) for entry in desk.stored[3:]] == [
        (8, "us-west-2"),
        (8, "eu-west-1"),
    ]


async def test_verify_says_what_is_wrong_without_an_error(desk: Console) -> None:
    good = await desk.send("POST", "/credentials/1/verify")
    assert good["ok"] is True and good["subscriptionTitle"] == "KIRO FREE"
    desk.sim.enqueue(refuse(403, "AccessDeniedException", "No."), route="usage")
    bad = await desk.send("POST", "/credentials/1/verify")
    assert bad["ok"] is False and bad["message"]


async def test_the_models_of_a_credential_come_from_kiro_or_from_the_table(desk: Console) -> None:
    live = await desk.get("/credentials/1/models")
    assert live["source"] == "live"
    assert {"id", "publicId", "contextWindow", "rateMultiplier"} <= set(live["models"][0])
    desk.sim.enqueue(refuse(500, "InternalServerException", "Oops"), route="models")
    assert (await desk.get("/credentials/1/models"))["source"] == "built-in"


async def test_a_model_is_tested_through_one_credential_and_no_other(desk: Console) -> None:
    body = {"model": "claude-sonnet-4-5", "prompt": "Count to 3"}
    found = await desk.send("POST", "/credentials/3/test", body)
    assert found["ok"] is True and "1, 2, 3" in found["text"] and found["stopReason"] == "end_turn"
    asked = desk.sim.of("generate")[-1]
    assert asked.headers["authorization"] == f"Bearer {desk.stored[2]['kiroApiKey']}"
    assert [item["successCount"] for item in (await desk.get("/credentials"))["credentials"]] == [
        0
    ] * 3


async def test_a_failed_test_of_a_model_says_why(desk: Console) -> None:
    unknown = await desk.send("POST", "/credentials/1/test", {"model": "claude-nonesuch-9"})
    assert unknown["ok"] is False and unknown["error"]["type"] == "not_found_error"
    desk.sim.enqueue(refuse(403, "AccessDeniedException", "x", "TEMPORARILY_SUSPENDED"))
    locked = await desk.send("POST", "/credentials/1/test", {"model": "claude-sonnet-4-5"})
    assert locked["ok"] is False
    assert (await desk.item(1))["state"] == "ready"  # a test condemns nobody


async def test_the_last_fault_of_a_credential_is_shown(desk: Console) -> None:
    desk.sim.enqueue(refuse(429, "ThrottlingException", "Too many", retry_after_s=60))
    assert (await desk.ask()).status_code == 200
    await desk.logged(1)
    item = await desk.item(1)
    assert (item["state"], item["cooldownReason"]) == ("cooling", "rate")
    assert item["lastError"]["status"] == 429 and item["lastError"]["type"] == "Throttled"


async def test_the_live_stream_begins_with_everything_and_goes_on_with_changes(
    desk: Console,
) -> None:
    async with desk.admin.stream("GET", "/live") as answer:
        events = events_of(answer)
        name, snapshot = await anext(events)
        assert name == "snapshot" and len(snapshot["credentials"]) == 3
        await desk.send("POST", "/credentials/2/disabled", {"disabled": True})
        name, change = await until(events, lambda data: data["credentials"])
        assert name == "change"
        assert [item["id"] for item in change["credentials"]] == [2]
        assert change["overview"]["credentials"]["disabled"] == 1
        await desk.send("DELETE", "/credentials/2")
        _, change = await until(events, lambda data: data["removed"])
        assert change["removed"] == [2]


async def until(events: object, wanted: object) -> tuple[str, dict[str, object]]:
    async for name, data in events:  # type: ignore[attr-defined]
        if wanted(data):  # type: ignore[operator]
            return name, data
    raise AssertionError("the stream ended")


async def test_what_a_list_has_learned_is_news_to_who_watches(desk: Console) -> None:
    database = desk.app._ledger.database
    assert database is not None
    fault = (2, time.time_ns() // 1_000_000, {"status": 500, "type": "ServerFault"})
    async with desk.admin.stream("GET", "/live") as answer:
        events = events_of(answer)
        await anext(events)
        await database.write(lambda connection: notes.put(connection, "fault", *fault))
        assert (await desk.item(2))["lastError"]["status"] == 500
        await until(events, lambda data: any(each["lastError"] for each in data["credentials"]))


async def test_the_hub_rests_when_nobody_watches(desk: Console) -> None:
    live = desk.app._mount._desk.live  # type: ignore[union-attr]
    async with desk.admin.stream("GET", "/live") as answer:
        await anext(events_of(answer))
        assert live._task is not None
    while live._watchers or live._task is not None:
        await asyncio.sleep(0.01)
    async with desk.admin.stream("GET", "/live") as answer:  # and who comes later is told again
        events = events_of(answer)
        await anext(events)
        await desk.send("POST", "/credentials/2/disabled", {"disabled": True})
        _, change = await until(events, lambda data: data["credentials"])
        assert change["credentials"][0]["id"] == 2  # type: ignore[index]


async def test_a_login_is_started_confirmed_and_kept(desk: Console) -> None:
    desk.sim.token_state.devices.interval_s = 0.01
    started = await desk.send("POST", "/logins", {"method": "builder-id", "priority": 4}, 201)
    assert started["state"] == "pending" and started["userCode"]
    assert desk.sim.token_state.devices.decide(started["userCode"])
    while (state := await desk.get(f"/logins/{started['id']}"))["state"] == "pending":
        await asyncio.sleep(0.02)
    assert state["state"] == "done", state
    item = await desk.item(state["credentialId"])
    assert (item["authMethod"], item["priority"]) == ("idc", 4)
    assert (await desk.admin.get("/logins/none")).status_code == 404
    told = (await desk.get("/audit"))["entries"][0]
    assert (told["action"], told["target"], told["actor"]) == ("credential.add", "4", "key")


async def test_a_login_is_cancelled(desk: Console) -> None:
    started = await desk.send("POST", "/logins", {"method": "social", "provider": "github"}, 201)
    await desk.send("DELETE", f"/logins/{started['id']}", status=204)
    assert (await desk.get(f"/logins/{started['id']}"))["state"] == "cancelled"


async def test_a_login_needs_a_start_url_for_an_organisation(desk: Console) -> None:
    status, _ = await desk.refused("POST", "/logins", {"method": "idc"})
    assert status == 400


async def test_thousands_of_credentials_are_listed(desk: Console) -> None:
    entries = [{"refreshToken": f"{n:0140d}", "email": f"{n}@example.com"} for n in range(2000)]
    (desk.folder / "credentials.json").write_text(json.dumps(desk.stored + entries))
    async with plain.client(desk.url, headers={"x-api-key": ADMIN_KEY}) as client:
        while True:
            listed = (await client.get("/api/admin/credentials", timeout=20)).json()
            if listed["total"] == 2003:
                break
            await asyncio.sleep(0.1)
