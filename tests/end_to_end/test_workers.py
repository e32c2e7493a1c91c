"""Several workers with one truth: what one learns of a credential, all of them go by.

A worker is singled out by stopping the others: a stopped process accepts no connection.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.gateway import Gateway

from kiroproxy.simulator.script import (
    Damage,
    Drop,
    Hold,
    Refuse,
    Script,
    Silence,
    Start,
    Text,
    answer,
    refuse,
)
from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState

HELLO = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say hello"}],
}
SUSPENDED = refuse(
    403, "AccessDeniedException", "Your account is temporarily suspended.", "TEMPORARILY_SUSPENDED"
)
SLOW_DOWN = refuse(
    429, "ThrottlingException", "Too many requests", "USER_REQUEST_RATE_EXCEEDED", retry_after_s=30
)


@pytest.fixture
async def two(sim: Simulator, serve: Any) -> AsyncIterator[Any]:
    """Start gateways of two workers; they end before their supervisor is killed."""
    started: list[Gateway] = []

    async def start(simulator: Simulator = sim, **more: Any) -> Gateway:
        gateway: Gateway = await serve(
            simulator, flags=("--workers", "2", "--log-level", "debug"), **more
        )
        started.append(gateway)
        while len(workers(gateway)) < 2:
            await asyncio.sleep(0.02)
        return gateway

    yield start
    for gateway in started:
        for pid in workers(gateway):
            os.kill(pid, signal.SIGCONT)
        await gateway.stop()


def workers(gateway: Gateway) -> list[int]:
    """Children that listen: those that run an event loop."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children")
    text = children.read_text() if children.exists() else ""
    return [pid for pid in map(int, text.split()) if "eventpoll" in "".join(links(pid))]


def links(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            yield str(entry.readlink())


async def ask(gateway: Gateway, worker: int) -> httpx.Response:
    """Ask one worker: the other one is stopped meanwhile."""
    others = [pid for pid in workers(gateway) if pid != worker]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        async with gateway.client() as client:
            return await client.post("/v1/messages", json=HELLO)
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("fault", "status"), [(SLOW_DOWN, 429), (SUSPENDED, 503)], ids=["cooling", "disabled"]
)
async def test_what_one_worker_learns_the_next_request_to_the_other_goes_by(
    sim: Simulator, two: Any, fault: Script, status: int
) -> None:
    gateway = await two()
    one, other = workers(gateway)
    sim.enqueue(fault)
    await ask(gateway, one)
    assert len(sim.of("generate")) == 1
    assert (await ask(gateway, other)).status_code == status
    assert len(sim.of("generate")) == 1  # it did not have to learn it again


async def test_a_token_one_worker_renewed_the_other_uses(sim: Simulator, two: Any) -> None:
    gateway = await two()
    one, other = workers(gateway)
    sim.tokens.expire_all()
    assert (await ask(gateway, one)).status_code == 200
    while "took over what another worker renewed" not in gateway.log:
        await asyncio.sleep(0.01)
    before = len(sim.of("generate"))
    assert (await ask(gateway, other)).status_code == 200
    assert len(sim.of("generate")) == before + 1  # not rejected first
    assert sim.tokens.accounts[0].rotations == 1


async def test_turns_are_taken_over_all_workers(two: Any) -> None:
    tokens = TokenState()
    for _ in range(2):
        tokens.add_social()
    async with Simulator(pace_s=0.0, tokens=tokens) as sim:
        gateway = await two(sim)
        one, other = workers(gateway)
        sim.enqueue(SUSPENDED)
        assert (await ask(gateway, one)).status_code == 200
        for worker in (other, one, other):
            assert (await ask(gateway, worker)).status_code == 200
        used = [call.headers["authorization"] for call in sim.of("generate")]
        assert len(used) == 5 and len(set(used[1:])) == 1 and used[0] != used[1]


async def test_a_killed_workers_place_is_free_again(sim: Simulator, two: Any) -> None:
    gateway = await two(config={"maxConcurrency": 1})
    one, other = workers(gateway)
    for worker in (one, other):  # each fetches the model list first, which takes the place
        while (await ask(gateway, worker)).status_code == 429:
            await asyncio.sleep(0.05)
    sim.enqueue(answer("never ends", Silence()))
    stuck = asyncio.create_task(ask(gateway, one))
    await sim.wait_for(len(sim.of("generate")) + 1)
    os.kill(other, signal.SIGCONT)
    full = await ask(gateway, other)
    assert full.status_code == 429 and int(full.headers["retry-after"]) >= 1
    os.kill(one, signal.SIGKILL)
    await asyncio.gather(stuck, return_exceptions=True)
    while (again := await ask(gateway, other)).status_code == 429:  # until that was noticed
        await asyncio.sleep(0.1)
    assert again.status_code == 200
    assert "its leases were taken back" in gateway.log


async def test_the_page_is_gone_after_the_end(two: Any) -> None:
    gateway = await two()
    maps = Path(f"/proc/{gateway.pid}/maps").read_text()
    (page,) = set(re.findall(r"/\S*/kiroproxy-\d+-\S+", maps))
    assert os.stat(page).st_mode & 0o777 == 0o600
    for worker in workers(gateway):
        assert page in Path(f"/proc/{worker}/maps").read_text()
    assert await gateway.stop() == 0
    assert not Path(page).exists()


async def test_an_edited_config_reaches_every_worker_and_no_running_stream(
    sim: Simulator, two: Any
) -> None:
    gateway = await two()
    sim.enqueue(answer("be", Hold(), "fore"))
    async with gateway.client() as client:
        running = asyncio.create_task(client.post("/v1/messages", json=HELLO))
        await sim.wait_for(1)
        path = gateway.folder / "config.json"
        path.write_text(path.read_text().replace("sk-end-to-end", "sk-from-now-on"))
        while gateway.log.count("settings taken over") < 2:
            await asyncio.sleep(0.02)
        sim.release()
        assert (await running).json()["content"][0]["text"] == "before"
    for worker in workers(gateway):
        assert (await ask(gateway, worker)).status_code == 401
    gateway.key = "sk-from-now-on"
    for worker in workers(gateway):
        assert (await ask(gateway, worker)).status_code == 200


OUTAGES = {
    "every answer a 500": Script((Refuse(500, "InternalServerException", "no"),)),
    "no capacity": refuse(503, "ServiceUnavailableException", "later"),
    "every connection reset": Script((Start(), Drop("reset"))),
    "streams that make no sense": Script((Start(), Damage(), Text("x"))),
}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_full_outage_costs_kiro_a_fifth_more_requests_at_most(
    two: Any, outage: str
) -> None:
    tokens = TokenState()
    for _ in range(3):
        tokens.add_social()
    asked = 300
    async with Simulator(lambda _: OUTAGES[outage], pace_s=0.0, tokens=tokens) as sim:
        gateway = await two(sim)
        gate = asyncio.Semaphore(40)

        async def one(client: httpx.AsyncClient) -> int:
            async with gate:
                return (await client.post("/v1/messages", json=HELLO)).status_code

        async with gateway.client() as client:
            statuses = await asyncio.gather(*(one(client) for _ in range(asked)))
        assert set(statuses) <= {500, 502, 503, 504, 529}
        attempts = len(sim.of("generate"))
        assert asked <= attempts <= asked * 1.2


async def test_any_worker_tells_the_figures_of_all(two: Any) -> None:
    async with Simulator(pace_s=0.0) as sim:
        gateway = await two(sim)
        one, other = workers(gateway)
        for worker in (one, other, one):
            assert (await ask(gateway, worker)).status_code == 200
        series = 'kiroproxy_requests_total{endpoint="messages",outcome="ok",status="200"} 3'
        async with gateway.client() as client:
            while "kiroproxy_requests_in_flight 0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.01)
            for _ in range(6):
                assert series in (await client.get("/metrics")).text
            os.kill(one, signal.SIGKILL)
            while one in workers(gateway) or len(workers(gateway)) < 2:
                await asyncio.sleep(0.02)
        async with gateway.client() as client:
            assert series in (await client.get("/metrics")).text


STAMPEDE = 1000
ASKED = json.dumps(HELLO).encode()


async def status_of(port: int, key: str, go: asyncio.Event) -> bytes:
    """Return the status line of one request on a connection of its own, sent at the signal.

    Bare bytes: a thousand requests of a real client would keep the machine busy, not the gateway.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await go.wait()
        writer.write(
            b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (key.encode(), len(ASKED), ASKED)
        )
        return (await reader.read()).split(b"\r\n", 1)[0]
    finally:
        writer.close()


@pytest.mark.timeout(60)  # four interpreters and a thousand connections on two cores
async def test_a_token_that_ends_under_a_thousand_requests_is_renewed_once(serve: Any) -> None:
    async with Simulator(answer("Hello")) as sim:
        gateway = await serve(sim, flags=("--workers", "4"))
        while len(workers(gateway)) < 4:
            await asyncio.sleep(0.05)
        sim.tokens.expire_all()
        go = asyncio.Event()
        asked = [
            asyncio.create_task(status_of(gateway.port, gateway.key, go)) for _ in range(STAMPEDE)
        ]
        await asyncio.sleep(0)  # all of them exist before the first is sent
        go.set()
        statuses = await asyncio.gather(*asked)
        assert set(statuses) == {b"HTTP/1.1 200 OK"}
        assert sim.tokens.accounts[0].rotations == 1
        assert sim.tokens.calls["refresh_social"] == 1
        assert sim.tokens.refused == []
