"""Accounts whose plan runs out, or does not include the model: what a client and Kiro see of it."""

import asyncio
import json
from typing import Any

import pytest
from support.gateway import Gateway

from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import Account, TokenState

HELLO = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say hello"}],
}


def accounts(number: int) -> TokenState:
    tokens = TokenState()
    for _ in range(number):
        tokens.add_social()
    return tokens


def callers(sim: Simulator) -> list[Account | None]:
    sent = (call.headers["authorization"].removeprefix("Bearer ") for call in sim.of("generate"))
    return [sim.tokens.caller(token) for token in sent]


async def ask(gateway: Gateway, **changes: Any) -> Any:
    async with gateway.client() as client:
        return await client.post("/v1/messages", json=HELLO | changes)


async def test_a_402_without_a_date_asks_kiro_for_it_and_the_client_is_told(serve: Any) -> None:
    async with Simulator(pace_s=0.0, tokens=accounts(1)) as sim:
        account = sim.tokens.accounts[0]
        account.is_metered, account.used = True, 550
        gateway = await serve(sim)
        assert (await ask(gateway)).status_code == 402
        file = gateway.folder / "kiro_balance_cache.json"
        while not file.exists():
            await asyncio.sleep(0.02)
        reset_ms = json.loads(file.read_text())["1"]["next_reset_ms"]
        told = await ask(gateway)
        assert told.status_code == 402
        wait_s = reset_ms / 1000 - sim.tokens.clock()
        assert float(told.headers["retry-after"]) == pytest.approx(wait_s, abs=10)
        assert len(sim.of("generate")) == 1 and len(sim.of("usage")) == 1


async def test_an_exhausted_account_is_passed_by_without_a_word_to_the_client(serve: Any) -> None:
    async with Simulator(pace_s=0.0, tokens=accounts(2)) as sim:
        first, second = sim.tokens.accounts
        first.is_metered, first.used = True, 550
        gateway = await serve(sim)
        assert [(await ask(gateway)).status_code for _ in range(4)] == [200] * 4
        used = callers(sim)
        assert used.count(first) <= 1 and used[-3:] == [second] * 3
