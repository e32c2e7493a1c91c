"""The request log, usage and overview: what clients did, found again and summed up."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from support.console import Console, console, events_of

from kiroproxy.admin import history
from kiroproxy.records import reading
from kiroproxy.simulator.script import Script, Start, Text, refuse

CUT = Script((Start(), Text("it breaks off")), cut="end")
SUSPENDED = refuse(403, "AccessDeniedException", "Suspended.", "TEMPORARILY_SUSPENDED")


async def test_a_request_is_logged_with_its_attempts(desk: Console) -> None:
    desk.sim.enqueue(SUSPENDED)
    assert (await desk.ask(stream=True)).status_code == 200
    (row,) = await desk.logged(1)
    assert (row["outcome"], row["status"], row["attemptCount"]) == ("ok", 200, 2)
    assert row["model"] == "claude-sonnet-4-5" and row["kiroModel"] == "claude-sonnet-4.5"
    assert row["stream"] is True and row["keyName"] == "config.apiKey"
    assert 0 <= row["firstTokenMs"] <= row["durationMs"]
    assert row["inputTokens"] > 0 and row["outputTokens"] > 0 and row["requestBytes"] > 50
    assert row["userAgent"].startswith("python-httpx") and row["clientAddress"] == "127.0.0.1"
    attempts = (await desk.get(f"/requests/{row['id']}"))["attempts"]
    assert [(each["credentialId"], each["status"]) for each in attempts] == [(1, 403), (2, 200)]
    assert attempts[0]["error"]["type"] == "Suspended" and attempts[1]["error"] is None
    assert attempts[0]["endpoint"] == "ide"


@pytest.mark.parametrize("stream", [True, False])
async def test_outcomes_are_told_apart(desk: Console, stream: bool) -> None:
    await desk.ask(stream=stream)
    await desk.ask(stream=stream, model="claude-nonesuch-9")
    desk.sim.enqueue(CUT)
    await desk.ask(stream=stream)
    rows = await desk.logged(3)
    assert [row["outcome"] for row in rows] == ["truncated", "error", "ok"]
    assert rows[1]["error"] == {"type": "NotFound", "message": "model: claude-nonesuch-9"}
    assert rows[1]["inputTokens"] == 0 and rows[1]["firstTokenMs"] is None


async def test_requests_are_filtered_and_paged(desk: Console) -> None:
    for number in range(6):
        await desk.ask(model="claude-haiku-4-5" if number % 2 else "claude-sonnet-4-5")
    await desk.ask(model="claude-nonesuch-9")
    await desk.logged(7)
    haiku = (await desk.get("/requests", model="claude-haiku-4-5"))["requests"]
    assert len(haiku) == 3
    assert len((await desk.get("/requests", status="error"))["requests"]) == 1
    assert len((await desk.get("/requests", q="NONESUCH"))["requests"]) == 1
    assert (await desk.get("/requests", credentialId=3))["requests"] == []
    assert len((await desk.get("/requests", keyId=0))["requests"]) == 7
    since = haiku[0]["at"]
    assert len((await desk.get("/requests", since=since))["requests"]) <= 2
    seen, cursor = [], None
    while True:
        page = await desk.get("/requests", limit=3, **({"before": cursor} if cursor else {}))
        seen += [row["id"] for row in page["requests"]]
        if (cursor := page["nextCursor"]) is None:
            break
    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=many", "status=fine", "since=yesterday", "before=-1", "credentialId=x"],
)
async def test_a_query_that_makes_no_sense_is_refused(desk: Console, query: str) -> None:
    assert await desk.refused("GET", f"/requests?{query}") == (400, "invalid_field")


async def test_an_unknown_request_is_not_found(desk: Console) -> None:
    assert await desk.refused("GET", "/requests/req_0") == (404, "no_such_request")


async def test_requests_are_followed_as_they_finish(desk: Console) -> None:
    await desk.ask()
    await desk.logged(1)
    async with desk.admin.stream("GET", "/requests/follow?model=claude-haiku-4-5") as stream:
        await desk.ask()
        await desk.ask(model="claude-haiku-4-5")
        name, row = await anext(events_of(stream))
    assert (name, row["model"]) == ("request", "claude-haiku-4-5")


async def test_what_was_followed_once_is_not_looked_at_again(desk: Console) -> None:
    await desk.ask()
    await desk.logged(1)
    database = desk.app._ledger.database
    assert database is not None
    nothing = reading.Filter(model="none-such")
    assert await database.read(partial(history._after, nothing, 0)) == ([], 1)
    assert await database.read(partial(history._after, nothing, 99)) == ([], 1)  # a new file


@pytest.mark.parametrize("by", ["day", "hour", "model", "credential", "key"])
async def test_usage_adds_up_by_whatever_it_is_grouped(desk: Console, by: str) -> None:
    for model in ("claude-haiku-4-5", "claude-sonnet-4-5"):
        await desk.ask(model=model)
    rows = await desk.logged(2)
    found = await desk.get("/usage", by=by)
    assert found["by"] == by
    assert sum(row["requests"] for row in found["rows"]) == 2
    total = sum(row["outputTokens"] for row in rows)
    assert sum(row["outputTokens"] for row in found["rows"]) == total
    assert all(row["label"] for row in found["rows"])


async def test_the_overview_sums_up_its_window(desk: Console) -> None:
    await desk.ask()
    await desk.ask(model="claude-nonesuch-9")
    await desk.logged(2)
    for window, steps in (("1h", 60), ("24h", 48), ("7d", 84), ("30d", 30)):
        found = await desk.get("/overview", window=window)
        assert len(found["series"]) == steps
        assert found["totals"]["requests"] == 2 == sum(step["requests"] for step in found["series"])
        assert found["totals"]["errors"] == 1 and found["previous"]["requests"] == 0
        assert found["totals"]["latencyMs"]["p50"] > 0
        assert found["recentErrors"][0]["model"] == "claude-nonesuch-9"
        assert found["credentials"]["total"] == 3


async def test_settings_tell_what_they_are_and_where_they_come_from(desk: Console) -> None:
    listed = {each["key"]: each for each in (await desk.get("/settings"))["settings"]}
    timeout = listed["firstByteTimeout"]
    assert (timeout["type"], timeout["unit"], timeout["max"]) == ("float", "s", 3600)
    assert listed["loadBalancingMode"]["choices"] == ["priority", "balanced"]
    assert listed["adminApiKey"]["value"] is None and listed["adminApiKey"]["isSet"] is True
    assert listed["upstream"]["editable"] is False and listed["upstream"]["source"] == "flag"


async def test_a_setting_is_changed_live_and_written(desk: Console) -> None:
    body = {"maxConcurrency": 4, "logLevel": "warning"}
    listed = (await desk.send("PATCH", "/settings", body))["settings"]
    found = {each["key"]: (each["value"], each["source"]) for each in listed}
    assert found["maxConcurrency"] == (4, "file")
    assert desk.app._gateway.config.max_concurrency == 4
    assert '"maxConcurrency": 4' in (desk.folder / "config.json").read_text()
    listed = (await desk.send("PATCH", "/settings", {"maxConcurrency": None, "logLevel": None}))[
        "settings"
    ]
    found = {each["key"]: (each["value"], each["source"]) for each in listed}
    assert found["maxConcurrency"] == (0, "default")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"nonesuch": 1}, "unknown_setting"),
        ({"apiKey": "x"}, "not_editable"),
        ({"recordsPath": "/tmp/elsewhere"}, "not_editable"),
        ({"upstream": {}}, "overridden"),
        ({"rpm": -1}, "invalid_value"),
        ({"rpm": 5, "logLevel": "loud"}, "invalid_value"),
        ({}, "missing_field"),
    ],
)
async def test_a_setting_that_cannot_be_is_refused_and_none_is_changed(
    desk: Console, body: object, code: str
) -> None:
    before = (desk.folder / "config.json").read_text()
    assert await desk.refused("PATCH", "/settings", body) == (400, code)
    assert (desk.folder / "config.json").read_text() == before
    assert desk.app._gateway.config.rpm == 0


async def test_the_log_of_a_busy_gateway_loses_nothing(desk: Console) -> None:
    await asyncio.gather(*(desk.ask(stream=bool(n % 2)) for n in range(40)))
    while (await desk.get("/overview", window="1h"))["totals"]["requests"] < 40:
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["/live", "/requests/follow"])
async def test_a_stream_without_an_end_holds_up_no_stop(tmp_path: Path, path: str) -> None:
    async with console(tmp_path, stop_s=60) as desk, desk.admin.stream("GET", path) as stream:
        text = stream.aiter_text()
        if path == "/live":
            await anext(text)
        desk.server.should_exit = True
        assert [chunk async for chunk in text if "event: error" in chunk] == []
