"""Many clients at once, some of whom leave, and a Kiro of moods: everything comes back at the end.

Rules of this file: what happens is drawn from a seed; when, is the machine's. So nothing is said
of single answers (the streams are read strictly where the gateway ends), only of what is left.
"""

import asyncio
import contextlib
import json
import random
from typing import Any

import pytest

from kiroproxy.records import clientkeys
from kiroproxy.simulator.script import (
    Damage,
    Drop,
    Reasoning,
    Script,
    Start,
    Tail,
    Text,
    Throw,
    Tool,
    Wait,
    answer,
    refuse,
)  # fmt: skip

BODY = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello!"}],
    "stop_sequences": ["STOP"],
}
WAITS_S = (0.0, 0.002, 0.03, 0.15)
CLIENTS = 120


def mood(rng: random.Random) -> Script:
    wait, end = Wait(rng.choice(WAITS_S)), Drop(rng.choice(["reset", "close"]))
    scripts = (
        answer("one ", wait, "two"),
        answer(wait, Reasoning("hm"), "one", Tool("f", '{"a": 1}'), wait),
        answer("x" * 200_000, wait, "y"),
        answer("one STOP two", wait, "three"),
        Script((wait, *answer("late").steps)),
        Script((wait, end)),
        Script((Start(), wait, end)),
        Script((Start(), Text("cut"), wait, end)),
        Script((Start(), Text("a"), Throw())),
        Script((Start(), Text("a"), Damage(), Text("b"))),
        Script((Start(), Tail())),
        refuse(500, "InternalServerException", "no"),
        refuse(429, "ThrottlingException", "slow"),
        refuse(400, "ValidationException", "Improperly formed request"),
    )
    return rng.choice(scripts)


def request(rng: random.Random, key: bytes) -> bytes:
    body = json.dumps(BODY | {"stream": rng.random() < 0.6}).encode()
    head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (key, len(body)) + body


async def visit(gateway: Any, rng: random.Random, keys: list[bytes]) -> None:
    """Ask a few times on one connection, now and then in pieces or too early, and leave."""
    reader, writer = await gateway.connect()
    stay_s = rng.choice(WAITS_S) if rng.random() < 0.4 else 20
    with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        async with asyncio.timeout(stay_s):
            for _ in range(rng.randrange(1, 4)):
                raw = request(rng, rng.choice(keys))
                cut = rng.choice([len(raw), len(raw), rng.randrange(len(raw))])
                writer.write(raw[:cut])
                await asyncio.sleep(rng.choice(WAITS_S))
                writer.write(raw[cut:] + rng.choice([b"", b"", raw]))
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(rng.choice(WAITS_S))
    writer.transport.abort()


async def annoy(gateway: Any, rng: random.Random) -> None:
    """Take idle connections away, and requests from the way without a task."""
    connections, lane = gateway.app._gateway.connections, gateway.app.express
    while True:
        await asyncio.sleep(rng.choice(WAITS_S[1:]))
        for view in gateway.app._gateway.pool.snapshot():
            gateway.app._gateway.pool.reset(view.credential.id)
        if rng.random() < 0.4:
            for connection in [each for stack in connections._idle.values() for each in stack]:
                rng.choice([connection.close, connection.abort])()
        if rng.random() < 0.2:
            for express in [*lane.young, *lane.old]:
                express.hand_over()


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_everything_comes_back(
    run_gateway: Any, caplog: Any, seed: int
) -> None:
    rng = random.Random(seed)
    gateway = await run_gateway(
        accounts=3, admin_api_key="adm-0123456789", ping_interval_s=0.02 * seed, early_start_s=0.1
    )
    app = gateway.app
    ledger, pool, connections = app._ledger, app._gateway.pool, app._gateway.connections
    limits = {"name": "k", "max_concurrency": 20}
    key, secret = await ledger.database.write(lambda c: clientkeys.add(c, limits, 1))
    await ledger.keys_changed()
    keys = [b"sk-test-0123456789", secret.encode()]
    annoying = asyncio.create_task(annoy(gateway, rng))
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            gateway.sim.enqueue(mood(rng))
            clients.create_task(visit(gateway, rng, keys))
            await asyncio.sleep(rng.choice(WAITS_S[:2]))
    annoying.cancel()

    def left() -> list[int]:
        return [
            *(view.in_flight for view in pool.snapshot()),
            connections.open_count - connections.idle_count,
            ledger.meter.in_flight(ledger.meter.join(key.id)),
            int(app.express.is_busy),
            len(app._running),
        ]

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while any(left()):
                await asyncio.sleep(0.01)
    assert not any(left())
    assert "\nkiroproxy_requests_in_flight 0\n" in (await gateway.client.get("/metrics")).text
    assert not [each for each in caplog.records if each.name != "asyncio" and each.exc_info]
