"""One browser for all tests of the page, and gateways to look at."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
from playwright.async_api import Browser
from support.browser import chromium
from support.gateway import Gateway

from kiroproxy.simulator.script import answer, refuse
from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState

ADMIN_KEY = "sk-admin-0123456789abcdef"
HELLO = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello!"}],
}
SLOW_DOWN = refuse(
    429, "ThrottlingException", "Too many requests", "USER_REQUEST_RATE_EXCEEDED", retry_after_s=900
)
MONTHLY = refuse(
    402, "ServiceQuotaExceededException", "You have reached the limit.", "MONTHLY_REQUEST_COUNT"
)


@dataclass
class Place:
    """A gateway with its admin API, and the simulator behind it."""

    gateway: Gateway
    sim: Simulator

    @property
    def url(self) -> str:
        return self.gateway.url

    @property
    def config(self) -> dict[str, Any]:
        held: dict[str, Any] = json.loads((self.gateway.folder / "config.json").read_text())
        return held

    async def ask(self, key: str = "", **more: Any) -> httpx.Response:
        """Send a request as a client."""
        async with self.gateway.client() as client:
            headers = {"x-api-key": key or self.gateway.key}
            return await client.post("/v1/messages", json=HELLO | more, headers=headers)

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        async with self.gateway.client() as client:
            headers = {"x-api-key": ADMIN_KEY}
            told = await client.request(method, f"/api/admin{path}", json=body, headers=headers)
            assert told.is_success, told.text
            return told.json() if told.content else None


Open = Callable[..., Awaitable[Place]]


@asynccontextmanager
async def places(folder: Path) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def start(
            credentials: Any = None, *, tokens: TokenState | None = None, **config: Any
        ) -> Place:
            tokens = tokens or four_accounts()
            sim = await stack.enter_async_context(Simulator(pace_s=0.0, tokens=tokens))
            shown = named(sim.credentials()) if credentials is None else credentials
            settings = {"upstream": sim.upstream(), "adminApiKey": ADMIN_KEY} | config
            gateway = Gateway(folder, settings, shown)
            stack.push_async_callback(gateway.stop, signal.SIGKILL)
            await gateway.start()
            return Place(gateway, sim)

        yield start


def four_accounts() -> TokenState:
    tokens = TokenState()
    for add in (tokens.add_social, tokens.add_idc, tokens.add_api_key, tokens.add_social):
        add()
    return tokens


def named(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("mara@example.com", "devon@example.com", "build@example.com", "wei@example.com")
    return [
        entry | {"id": n, "priority": n, "email": names[n - 1]}
        for n, entry in enumerate(entries, start=1)
    ]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def start(tmp_path: Path) -> AsyncIterator[Open]:
    """Start a gateway for one test: `await start(credentials, setting=value)`."""
    async with places(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def furnished(tmp_path_factory: Any) -> AsyncIterator[Place]:
    """A gateway with a credential in every state, requests of every outcome, keys and changes."""
    async with places(tmp_path_factory.mktemp("furnished")) as start:
        tokens = TokenState()
        for _ in range(3):
            tokens.add_social()
        entries = named([tokens.credential(account) for account in tokens.accounts])
        entries += [
            entries[2] | {"id": 4, "refreshToken": "aor-other", "disabled": True, "email": None},
            {"id": 5, "authMethod": "social", "email": "incomplete@example.com"},
        ]
        place = await start(entries, tokens=tokens, balanceInterval=0)
        await furnish(place)
        yield place


async def furnish(place: Place) -> None:
    place.sim.enqueue(SLOW_DOWN, answer("Hello."), MONTHLY, answer("Hello again."))
    for _ in range(2):
        assert (await place.ask()).status_code == 200
    assert (await place.ask(model="claude-nonesuch-9")).status_code == 404
    await place.admin("GET", "/credentials/3/balance?refresh=true")
    for fields in (
        {"name": "Laptop", "dailyTokens": 50_000, "rpm": 60},
        {"name": "Workshop", "models": ["claude-haiku-4-5"], "enabled": False},
    ):
        await place.admin("POST", "/keys", fields)
    await place.admin("PATCH", "/settings", {"pingInterval": 12})
    async with asyncio.timeout(10):  # the log is written in batches
        while len((await place.admin("GET", "/requests"))["requests"]) < 3:
            await asyncio.sleep(0.05)
