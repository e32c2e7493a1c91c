"""The guard: keys, cookies, foreign pages, lockouts, secrets; and the page's files."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import plain
from support.console import ADMIN_KEY, KEY, Console, console

from kiroproxy.admin.page import Pages
from kiroproxy.admin.session import address_of
from kiroproxy.admin.table import ROUTES
from kiroproxy.server.request import Message, Request
from kiroproxy.simulator.script import refuse


@pytest.fixture
async def browser(desk: Console) -> Any:
    """A client with a session cookie and no key."""
    async with plain.client(desk.url) as client:
        answer = await client.post("/api/admin/session", json={"key": ADMIN_KEY})
        assert answer.status_code == 200, answer.text
        yield client


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_but_signing_in_and_out_asks_for_a_key(desk: Console, route: Any) -> None:
    path = route.path.replace("{id}", "1").replace("{name}", "x")
    answer = await desk.api.request(route.method, f"/api/admin{path}", json={})
    if route.open:
        assert answer.status_code in (204, 400)
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "sign_in_required")


async def test_a_clients_key_is_no_admin_key(desk: Console) -> None:
    answer = await desk.api.get("/api/admin/credentials", headers={"x-api-key": KEY})
    assert answer.status_code == 401
    assert (await desk.ask(ADMIN_KEY)).status_code == 401


async def test_a_session_reads_and_changes_from_its_own_page(
    desk: Console, browser: httpx.AsyncClient
) -> None:
    assert (await browser.get("/api/admin/session")).json()["authenticated"] is True
    headers = {"origin": desk.url, "sec-fetch-site": "same-origin"}
    answer = await browser.post("/api/admin/credentials/1/reset", headers=headers)
    assert answer.status_code == 200
    entries = (await browser.get("/api/admin/audit")).json()["entries"]
    assert [(entry["actor"], entry["action"]) for entry in entries] == [
        ("session", "credential.reset"),
        ("key", "session.open"),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://sub.example"},
    ],
)
async def test_a_foreign_page_changes_nothing_with_a_session(
    browser: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await browser.post("/api/admin/credentials/1/reset", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")


async def test_no_answer_invites_foreign_pages(desk: Console) -> None:
    headers = {"origin": "https://evil.example", "x-api-key": ADMIN_KEY}
    for method in ("GET", "OPTIONS"):
        answer = await desk.api.request(method, "/api/admin/credentials", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_the_cookie_is_for_the_server_only(desk: Console) -> None:
    body = {"key": ADMIN_KEY, "remember": True}
    secure = {"x-forwarded-proto": "https"}
    answer = await desk.api.post("/api/admin/session", json=body, headers=secure)
    parts = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/", "Max-Age=2592000"} <= set(parts)
    assert ADMIN_KEY not in answer.headers["set-cookie"]


@pytest.mark.parametrize("at", [0, 5, 15, -1])
async def test_a_cookie_that_was_changed_is_none(browser: httpx.AsyncClient, at: int) -> None:
    value = browser.cookies["kiroproxy_session"]
    other = "A" if value[at] != "A" else "B"
    forged = value[:at] + other + (value[at + 1 :] if at != -1 else "")
    answer = await browser.get(
        "/api/admin/session", headers={"cookie": f"kiroproxy_session={forged}"}
    )
    # The last character holds spare bits of base64: it is compared as text, so it counts too.
    assert answer.status_code == 401


async def test_a_session_outlives_a_restart_and_not_another_key(tmp_path: Path) -> None:
    async with console(tmp_path) as first:
        answer = await first.api.post("/api/admin/session", json={"key": ADMIN_KEY})
        cookie = answer.headers["set-cookie"].partition(";")[0]
    for key, status in ((ADMIN_KEY, 200), ("another-admin-key", 401)):
        async with console(tmp_path, admin_api_key=key) as again:
            answer = await again.api.get("/api/admin/session", headers={"cookie": cookie})
            assert answer.status_code == status


async def test_an_address_that_guesses_is_locked_out_and_sessions_are_not(
    desk: Console, browser: httpx.AsyncClient
) -> None:
    for _ in range(5):
        answer = await desk.api.get("/api/admin/session", headers={"x-api-key": "guess"})
        assert answer.status_code == 401
    for key in ("guess", ADMIN_KEY):  # the right one as well, or guessing would go on
        answer = await desk.api.get("/api/admin/session", headers={"x-api-key": key})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "locked_out")
        assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert (await desk.api.post("/api/admin/session", json={"key": ADMIN_KEY})).status_code == 429
    assert (await browser.get("/api/admin/session")).status_code == 200
    elsewhere = {"x-api-key": ADMIN_KEY, "x-forwarded-for": "203.0.113.9"}
    assert (await desk.api.get("/api/admin/session", headers=elsewhere)).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}]
)
async def test_a_foreign_pages_guesses_lock_nobody_out(
    desk: Console, headers: dict[str, str]
) -> None:
    for _ in range(6):
        answer = await desk.api.post("/api/admin/session", json={"key": "guess"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")
    assert (await desk.api.post("/api/admin/session", json={"key": ADMIN_KEY})).status_code == 200


def test_ipv4_clients_of_a_listener_for_both_kinds_are_told_apart() -> None:
    request = Request({"method": "GET", "path": "/", "headers": []}, nobody)
    found = set()
    for peer in ("::ffff:192.0.2.1", "::ffff:192.0.2.2", "2001:db8::1", "2001:db8::2"):
        request.client = (peer, 1)
        found.add(address_of(request))
    assert found == {"192.0.2.1", "192.0.2.2", "2001:db8::"}
    request.client = ("::ffff:127.0.0.1", 1)  # a proxy on this machine, by way of `::`
    request.headers[b"x-forwarded-for"] = b"203.0.113.9"
    assert address_of(request) == "203.0.113.9"


async def nobody() -> Message:
    raise AssertionError("nothing is read")


async def test_a_right_key_forgives_the_wrong_ones_before_it(desk: Console) -> None:
    for _ in range(3):
        for key, status in (("guess", 401), ("guess", 401), (ADMIN_KEY, 200)):
            answer = await desk.api.get("/api/admin/session", headers={"x-api-key": key})
            assert answer.status_code == status


async def test_signing_out_takes_the_cookie_away(browser: httpx.AsyncClient) -> None:
    assert (await browser.delete("/api/admin/session")).status_code == 204
    assert (await browser.get("/api/admin/session")).status_code == 401


async def test_without_an_admin_key_there_is_no_admin_api(tmp_path: Path) -> None:
    async with console(tmp_path, admin_api_key="") as closed:
        for path in ("/api/admin/credentials", "/admin", "/admin/assets/x.js"):
            assert (await closed.api.get(path)).status_code == 404
        assert not (tmp_path / "kiroproxy.db").exists()


async def test_no_answer_and_no_file_of_records_holds_a_secret(desk: Console) -> None:
    """Every route that reads, after traffic and changes; export is the one that is meant to."""
    made = await desk.send("POST", "/keys", {"name": "app"}, 201)
    proxy = {"proxyUrl": "http://user:Pr0xyS3cret@127.0.0.1:1", "priority": 9}
    await desk.send("PATCH", "/credentials/2", proxy)
    prompt = "the prompt that nobody may keep"
    desk.sim.enqueue(refuse(400, "ValidationException", f"bad: {prompt}"))
    await desk.ask(made["secret"], messages=[{"role": "user", "content": prompt}])
    assert (await desk.ask(made["secret"])).status_code == 200
    rows = await desk.logged(2)
    secrets = [ADMIN_KEY, KEY, made["secret"], "Pr0xyS3cret", prompt]
    for entry in desk.stored:
        secrets += [entry[name] for name in ("accessToken", "refreshToken", "clientSecret",
                                             "kiroApiKey") if name in entry]  # fmt: skip
    told = []
    for route in ROUTES:
        if route.method == "GET" and not route.streams:
            path = route.path.replace("{id}", "2").replace("{name}", rows[0]["id"])
            told.append((await desk.admin.get(path)).text)
    for action in ("verify", "reset", "test"):
        body = {"model": "claude-sonnet-4-5"} if action == "test" else None
        told.append((await desk.admin.post(f"/credentials/3/{action}", json=body)).text)
    told.append((await desk.admin.get("/keys")).text)
    async with desk.admin.stream("GET", "/live") as answer:
        told.append(await anext(answer.aiter_text()))
    kept = (desk.folder / "kiroproxy.db").read_bytes()
    kept += (desk.folder / "kiroproxy.db-wal").read_bytes()
    for secret in secrets:
        assert not [text for text in told if secret in text], secret[:12]
        assert secret.encode() not in kept, secret[:12]


async def test_every_change_is_in_the_audit_log_without_its_secrets(desk: Console) -> None:
    await desk.send("PATCH", "/credentials/1", {"refreshToken": "s" * 140, "email": "a@b.c"})
    await desk.send("PATCH", "/settings", {"rpm": 7, "proxyPassword": "hidden"})
    await desk.refused("PATCH", "/settings", {"rpm": "many"})
    entries = (await desk.get("/audit"))["entries"]
    assert [(entry["action"], entry["target"], entry["detail"]) for entry in entries] == [
        ("settings.change", "", "rpm=7, proxyPassword"),
        ("credential.change", "1", "email, refreshToken"),
    ]
    assert entries[0]["address"] == "127.0.0.1" and entries[0]["actor"] == "key"


async def test_the_audit_log_has_pages(desk: Console) -> None:
    for _ in range(5):
        await desk.send("POST", "/credentials/1/reset")
    first = await desk.get("/audit", limit=3)
    second = await desk.get("/audit", limit=3, before=first["nextCursor"])
    ids = [entry["id"] for entry in first["entries"] + second["entries"]]
    assert ids == [5, 4, 3, 2, 1] and second["nextCursor"] is None


async def test_a_body_that_is_too_large_is_refused(desk: Console) -> None:
    answer = await desk.admin.post("/keys", json={"name": "x" * 1_100_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


async def test_a_disk_that_is_lost_stops_no_client(desk: Console) -> None:
    made = await desk.send("POST", "/keys", {"name": "app"}, 201)
    await desk.logged(0)
    path = desk.folder / "kiroproxy.db"
    for each in desk.folder.glob("kiroproxy.db*"):
        each.unlink()
    path.mkdir()
    assert (await desk.ask()).status_code == 200
    assert (await desk.ask(made["secret"])).status_code == 200
    status, code = await desk.refused("GET", "/requests")
    assert (status, code) == (503, "records_unavailable")
    assert (await desk.get("/credentials"))["total"] == 3
    path.rmdir()
    while not (await desk.admin.get("/requests")).json().get("requests"):
        await asyncio.sleep(0.05)  # what was asked meanwhile is written late, not lost


async def test_a_file_of_records_that_is_none_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kiroproxy.db").write_bytes(b"something else" * 100)
    async with console(tmp_path) as desk:
        assert (await desk.ask()).status_code == 200
        assert (await desk.refused("GET", "/keys"))[0] == 503
    assert (tmp_path / "kiroproxy.db").read_bytes() == b"something else" * 100
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(tmp_path / "kiroproxy.db").execute("SELECT * FROM requests")


async def test_keys_work_again_once_the_file_of_records_can_be_read(tmp_path: Path) -> None:
    async with console(tmp_path) as first:
        secret = (await first.send("POST", "/keys", {"name": "app"}, 201))["secret"]
    path, away = tmp_path / "kiroproxy.db", tmp_path / "away"
    path.rename(away)
    path.mkdir()
    async with console(tmp_path) as desk:
        assert (await desk.ask(secret)).status_code == 401
        path.rmdir()
        away.rename(path)
        while (await desk.ask(secret)).status_code == 401:
            await asyncio.sleep(0.05)


# -- the page --------------------------------------------------------------------------------


async def test_without_a_build_the_page_says_how_to_make_one(desk: Console) -> None:
    desk.app._mount._pages = Pages(desk.folder / "nowhere")  # type: ignore[union-attr]
    answer = await desk.api.get("/admin")
    assert answer.status_code == 200 and "make ui" in answer.text


async def test_the_built_page_is_sent_with_a_strict_policy(desk: Console) -> None:
    root = desk.folder / "static"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html>" + "<p>page</p>" * 50)
    (root / "assets" / "app-1a2b.js").write_text("export {}\n" * 100)
    (desk.folder / "secret.txt").write_text("hidden")
    desk.app._mount._pages = Pages(root)  # type: ignore[union-attr]
    for path in ("/admin", "/admin/", "/admin/credentials/3"):
        answer = await desk.api.get(path)
        assert answer.text.startswith("<!doctype html>"), path
        assert answer.headers["cache-control"] == "no-cache"
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    asset = await desk.api.get("/admin/assets/app-1a2b.js")
    assert asset.headers["content-type"].startswith("text/javascript")
    assert "immutable" in asset.headers["cache-control"]
    assert asset.headers["content-encoding"] == "gzip" and asset.text.startswith("export")
    assert (await desk.api.get("/admin/assets/gone.js")).status_code == 404
    for sly in (
        "/admin/../secret.txt",
        "/admin/%2e%2e/secret.txt",
        "/admin/assets/..%2f..%2fsecret.txt",
    ):
        assert "hidden" not in (await desk.api.get(sly)).text
    assert (await desk.api.post("/admin")).status_code == 405
