"""A gateway with the admin API on this test's own loop, its simulator, and clients with keys."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from kiroproxy.admin.app import Admin
from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.server.app import App, create
from kiroproxy.server.asgi import Limits
from kiroproxy.simulator.server import Simulator
from support.plain import client
from support.serving import serving

KEY = "sk-client-0123456789"
ADMIN_KEY = "sk-admin-0123456789abcdef"
HELLO = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello!"}],
}


class Console:
    """The running gateway. Shape: `admin` has the admin key, `api` no key at all."""

    server: uvicorn.Server

    def __init__(self, url: str, folder: Path, sim: Simulator, app: App) -> None:
        self.url, self.folder, self.sim, self.app = url, folder, sim, app
        self.admin = self._client(f"{url}/api/admin", {"x-api-key": ADMIN_KEY})
        self.api = self._client(url, {})

    @staticmethod
    def _client(base: str, headers: dict[str, str]) -> httpx.AsyncClient:
        return client(base, headers=headers, timeout=10)

    async def ask(self, key: str = KEY, **changes: Any) -> httpx.Response:
        """Send a conversation as a client."""
        return await self.api.post("/v1/messages", json=HELLO | changes, headers={"x-api-key": key})

    async def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of a 200."""
        answer = await self.admin.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def send(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Return the JSON of an answer that has to have a status."""
        answer = await self.admin.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Return the status and the code of a refusal."""
        answer = await self.admin.request(method, path, json=body)
        told = answer.json()["error"]
        assert set(told) == {"type", "message", "code", "remedy"}
        return answer.status_code, told["code"]

    async def events(self, method: str, path: str, body: Any = None) -> list[tuple[str, Any]]:
        """Return all events of a stream that ends."""
        async with self.admin.stream(method, path, json=body) as answer:
            assert answer.status_code == 200, await answer.aread()
            return [event async for event in events_of(answer)]

    async def item(self, id: int) -> dict[str, Any]:
        """Return one credential as the list shows it."""
        listed = await self.get("/credentials")
        return next(item for item in listed["credentials"] if item["id"] == id)

    async def logged(self, count: int) -> list[dict[str, Any]]:
        """Return the request log once it holds as many requests."""
        while len(rows := (await self.get("/requests"))["requests"]) < count:
            await asyncio.sleep(0.02)
        return list(rows)

    @property
    def stored(self) -> list[dict[str, Any]]:
        """What credentials.json holds."""
        found: list[dict[str, Any]] = json.loads((self.folder / "credentials.json").read_text())
        return found


async def events_of(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """Yield (name, data) of a stream."""
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


@contextlib.asynccontextmanager
async def console(
    folder: Path, *, accounts: int = 3, stop_s: int = 1, **settings: Any
) -> AsyncIterator[Console]:
    """Run a gateway with social, Builder ID and API key accounts, in turn."""
    async with contextlib.AsyncExitStack() as stack:
        sim = await stack.enter_async_context(Simulator(pace_s=0.0))
        tokens = sim.token_state
        for number in range(1, accounts):
            (tokens.add_social, tokens.add_idc, tokens.add_api_key)[number % 3]()
        entries = [entry | {"priority": place} for place, entry in enumerate(sim.credentials())]
        credentials = folder / "credentials.json"
        credentials.write_text(json.dumps(entries[:accounts]))
        credentials.chmod(0o600)
        path = folder / "config.json"
        path.write_text(json.dumps({"apiKey": KEY, "adminApiKey": ADMIN_KEY}))
        urls = UpstreamUrls(sim.url, sim.url, sim.url, sim.url)
        chosen: dict[str, Any] = {"credentials_path": credentials, "upstream": urls}
        chosen |= {"system_version": "darwin#24.6.0", "pool_idle_s": 5.0}
        keys = {"api_key": KEY, "admin_api_key": ADMIN_KEY}
        config = Config(**(keys | {"path": path, "flags": chosen} | chosen | settings))
        app = create(config, mounted=Admin)
        server, port = await stack.enter_async_context(
            serving(app, Limits(), lifespan="on", timeout_graceful_shutdown=stop_s)
        )
        found = Console(f"http://127.0.0.1:{port}", folder, sim, app)
        found.server = server
        try:
            yield found
        finally:
            await found.admin.aclose()
            await found.api.aclose()
