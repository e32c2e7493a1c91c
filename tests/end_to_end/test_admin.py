"""The admin API of a gateway of several workers: whichever answers, all of them know."""

import asyncio
import os
import signal
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import plain
from support.console import events_of
from support.gateway import Gateway

from kiroproxy.simulator.script import Script, Silence
from kiroproxy.simulator.server import Simulator

ADMIN_KEY = "sk-admin-end-to-end"
HELLO = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say hello"}],
}
TIMES = 16  # new connections: as good as certain that both workers are met


@pytest.fixture
async def two(sim: Simulator, serve: Any) -> AsyncIterator[Gateway]:
    sim.token_state.add_idc()
    gateway: Gateway = await serve(sim, {"adminApiKey": ADMIN_KEY}, flags=("--workers", "2"))
    yield gateway
    await gateway.stop()


async def send(gateway: Gateway, method: str, path: str, body: Any = None) -> httpx.Response:
    """Send one call on a connection of its own: any worker may take it."""
    headers = {"x-api-key": ADMIN_KEY}
    async with plain.client(gateway.url, timeout=20) as client:
        return await client.request(method, f"/api/admin{path}", json=body, headers=headers)


async def ask(gateway: Gateway, key: str, **changes: Any) -> httpx.Response:
    async with plain.client(gateway.url, timeout=20) as client:
        return await client.post("/v1/messages", json=HELLO | changes, headers={"x-api-key": key})


async def settled(check: Any) -> None:
    """Wait until a check holds many times, in whichever worker it ends up.

    At once: one after the other they might all go to the worker that is the first to wake.
    """
    while not all(await asyncio.gather(*(check() for _ in range(TIMES)))):
        await asyncio.sleep(0.01)


async def test_a_change_of_a_credential_reaches_every_worker(two: Gateway) -> None:
    await send(two, "POST", "/credentials/1/disabled", {"disabled": True})

    async def is_known() -> bool:
        items = (await send(two, "GET", "/credentials")).json()["credentials"]
        return [item["disabled"] for item in items] == [True, False]

    await settled(is_known)
    await send(two, "DELETE", "/credentials/1")

    async def is_gone() -> bool:
        return bool((await send(two, "GET", "/credentials")).json()["total"] == 1)

    await settled(is_gone)


async def test_a_changed_setting_reaches_every_worker(two: Gateway) -> None:
    await send(two, "PUT", "/config/load-balancing", {"mode": "balanced"})

    async def is_known() -> bool:
        return bool((await send(two, "GET", "/config/load-balancing")).json()["mode"] == "balanced")

    await settled(is_known)


async def test_a_new_key_is_known_and_a_deleted_one_forgotten_everywhere(two: Gateway) -> None:
    made = (await send(two, "POST", "/keys", {"name": "app"})).json()

    async def serves() -> bool:
        return (await ask(two, made["secret"])).status_code == 200

    await settled(serves)
    await send(two, "DELETE", f"/keys/{made['key']['id']}")

    async def is_refused() -> bool:
        return (await ask(two, made["secret"])).status_code == 401

    await settled(is_refused)


async def ask_known(gateway: Gateway, key: str, **changes: Any) -> httpx.Response:
    """Ask with a new key, until it meets a worker that knows it."""
    while (answer := await ask(gateway, key, **changes)).status_code == 401:
        await asyncio.sleep(0.01)
    return answer


async def test_a_rate_is_kept_over_all_workers(two: Gateway) -> None:
    made = (await send(two, "POST", "/keys", {"name": "app", "rpm": 10})).json()
    answers = await asyncio.gather(*(ask_known(two, made["secret"]) for _ in range(30)))
    codes = [answer.status_code for answer in answers]
    assert codes.count(200) == 10 and codes.count(429) == 20


async def test_a_killed_worker_leaves_no_place_taken(sim: Simulator, two: Gateway) -> None:
    made = (await send(two, "POST", "/keys", {"name": "app", "maxConcurrency": 3})).json()
    sim.enqueue(*[Script((Silence(),))] * 3)
    held = [asyncio.create_task(ask_known(two, made["secret"], stream=True)) for _ in range(3)]
    await sim.wait_for(3)
    assert (await ask_known(two, made["secret"])).status_code == 429
    for pid in workers(two):
        os.kill(pid, signal.SIGKILL)
    await asyncio.gather(*held, return_exceptions=True)
    while True:
        try:
            if (await ask(two, made["secret"])).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.05)


def workers(gateway: Gateway) -> list[int]:
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text()
    return [
        pid
        for pid in map(int, children.split())
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


async def test_guessing_is_counted_over_all_workers(two: Gateway) -> None:
    async with plain.client(two.url) as client:
        codes = []
        for _ in range(12):
            headers = {"x-api-key": "guess", "connection": "close"}
            codes.append((await client.get("/api/admin/session", headers=headers)).status_code)
    assert codes == [401] * 5 + [429] * 7


async def test_a_session_counts_in_every_worker(two: Gateway) -> None:
    cookie = (await send(two, "POST", "/session", {"key": ADMIN_KEY})).headers["set-cookie"]
    for _ in range(TIMES):
        async with plain.client(two.url) as client:
            headers = {"cookie": cookie.partition(";")[0]}
            assert (await client.get("/api/admin/session", headers=headers)).status_code == 200


async def test_one_log_holds_what_all_workers_served(two: Gateway) -> None:
    await asyncio.gather(*(ask(two, two.key) for _ in range(20)))
    while len((await send(two, "GET", "/requests")).json()["requests"]) < 20:
        await asyncio.sleep(0.05)
    for path in two.folder.glob("kiroproxy.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    overview = (await send(two, "GET", "/overview?window=1h")).json()
    assert overview["totals"]["requests"] == 20 and overview["workers"] == 2


async def test_the_live_stream_tells_of_requests_in_the_other_worker(two: Gateway) -> None:
    headers = {"x-api-key": ADMIN_KEY}
    async with (
        plain.client(two.url, headers=headers) as client,
        client.stream("GET", "/api/admin/live") as answer,
    ):
        events = events_of(answer)
        await anext(events)
        for _ in range(TIMES):
            assert (await ask(two, two.key)).status_code == 200
        async for _, data in events:
            if any(item["successCount"] == TIMES for item in data["credentials"]):
                return


async def test_a_stop_writes_what_was_still_queued(two: Gateway) -> None:
    await asyncio.gather(*(ask(two, two.key) for _ in range(8)))
    assert await two.stop() == 0
    with sqlite3.connect(two.folder / "kiroproxy.db") as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (8,)
    connection.close()


async def test_a_login_is_seen_and_cancelled_in_every_worker(two: Gateway) -> None:
    started = (await send(two, "POST", "/logins", {"method": "builder-id"})).json()
    for _ in range(TIMES):
        state = (await send(two, "GET", f"/logins/{started['id']}")).json()
        assert state["state"] == "pending" and state["userCode"] == started["userCode"]
    assert (await send(two, "DELETE", f"/logins/{started['id']}")).status_code == 204

    async def is_cancelled() -> bool:
        state = (await send(two, "GET", f"/logins/{started['id']}")).json()
        return bool(state["state"] == "cancelled")

    await settled(is_cancelled)
