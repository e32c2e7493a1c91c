"""A real server on a free port, and raw sockets to speak to it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from support.plain import client
from support.serving import serving
from support.sse import judge
from support.sse import parse as events_of
from support.witness import judge_answers

from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.server.app import App, create
from kiroproxy.server.asgi import Limits
from kiroproxy.simulator.script import Plain, Script
from kiroproxy.simulator.server import Simulator


@dataclass
class Wire:
    """What came back on a raw connection, up to its end."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def parse(raw: bytes) -> Wire:
    if not raw:
        return Wire()
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Wire(int(first.split()[1]), headers, body)


class Recorder(asyncio.StreamReader):
    """A reader that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.record = bytearray()

    def feed_data(self, data: bytes) -> None:
        self.record += data
        super().feed_data(data)


class Running:
    """An application under uvicorn, with our protocol, on this test's own loop."""

    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.recorders: list[Recorder] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader = Recorder()
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", self.port)
        self.recorders.append(reader)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def judge(self) -> None:
        """Read the streams strictly that came whole on raw connections."""
        for recorder in self.recorders:
            if b"\r\ncontent-type: text/event-stream" in recorder.record[:1000]:
                judge_answers([b"POST"], bytes(recorder.record))

    async def raw(self, data: bytes) -> Wire:
        """Send bytes and return everything that comes back before the server closes."""
        reader, writer = await self.connect()
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        answer = await reader.read()
        writer.close()
        return parse(answer)


@pytest.fixture
async def run_app() -> AsyncIterator[Callable[..., Any]]:
    """Return `await run_app(app, limits=…, **uvicorn options) -> Running`."""
    stack = contextlib.AsyncExitStack()

    async def start(app: Any, *, limits: Limits | None = None, **options: Any) -> Running:
        return await stack.enter_async_context(running(app, limits or Limits(), options))

    async with stack:
        yield start


@contextlib.asynccontextmanager
async def running(app: Any, limits: Limits, options: dict[str, Any]) -> AsyncIterator[Running]:
    # As serve.py: a wrapped application has no short way.
    chosen = {"lifespan": "auto", "proxy_headers": False} | options
    async with serving(app, limits, **chosen) as (server, port):
        run = Running(server, port)
        yield run
    run.judge()


# -- the whole gateway against the simulator -------------------------------------------------

KEY = "sk-test-0123456789"
HELLO = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello!"}],
}


class Gateway(Running):
    """A running gateway, its simulator, and a client that has the key."""

    sim: Simulator
    client: httpx.AsyncClient
    app: App

    async def ask(self, **changes: Any) -> httpx.Response:
        return await self.client.post("/v1/messages", json=HELLO | changes)

    async def events(self, **changes: Any) -> list[tuple[str, dict[str, Any]]]:
        """Return a stream's events; fails if the stream does not end properly."""
        answer = await self.ask(stream=True, **changes)
        assert answer.status_code == 200, answer.text
        return sse(answer.content)


def sse(raw: bytes) -> list[tuple[str, dict[str, Any]]]:
    return [(event["type"], event) for event in events_of(raw)]


@pytest.fixture
async def run_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Any]]:
    """Return `await run_gateway(*scripts, limits=…, uvicorn={}, **settings) -> Gateway`."""
    stack = contextlib.AsyncExitStack()
    # How long a next try waits is what tests/upstream/test_dispatch.py looks at.
    monkeypatch.setattr("kiroproxy.upstream.dispatch._BACKOFF_FIRST_S", 0.01)

    async def start(
        *scripts: Script,
        limits: Limits | None = None,
        uvicorn_options: dict[str, Any] | None = None,
        accounts: int = 1,
        models: list[dict[str, Any]] | Script | None = None,
        **settings: Any,
    ) -> Gateway:
        sim = await stack.enter_async_context(Simulator(pace_s=0.0))
        for _ in range(accounts - 1):
            sim.token_state.add_social()
        sim.enqueue(*scripts)
        if models is not None:
            if not isinstance(models, Script):
                models = Script((Plain(200, json.dumps({"models": models})),))
            sim.enqueue(models, route="models")
        credentials = tmp_path / "credentials.json"
        credentials.write_text(json.dumps(sim.credentials()))
        credentials.chmod(0o600)
        urls = UpstreamUrls(sim.url, sim.url, sim.url, sim.url)
        base: dict[str, Any] = {"system_version": "darwin#24.6.0", "pool_idle_s": 5.0}
        config = Config(
            api_key=KEY,
            path=tmp_path / "config.json",
            credentials_path=credentials,
            upstream=urls,
            **(base | settings),
        )
        app = create(config)
        options = {"lifespan": "on", **(uvicorn_options or {})}
        found = await stack.enter_async_context(running(app, limits or Limits(), options))
        gateway = Gateway(found.server, found.port)
        gateway.recorders = found.recorders  # judged where `found` ends
        gateway.sim, gateway.app = sim, app
        gateway.client = await stack.enter_async_context(
            client(
                found.url,
                headers={"x-api-key": KEY},
                timeout=10,
                event_hooks={"response": [judge]},
            )
        )
        return gateway

    async with stack:
        yield start
