"""A real server on a free port, and raw sockets to speak to it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

from kiroproxy.server.asgi import Limits, Protocol, ServerConfig


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


class Running:
    """An application under uvicorn, with our protocol, on this test's own loop."""

    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

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
    listener = socket.create_server(("127.0.0.1", 0))
    defaults: dict[str, Any] = {
        "http": Protocol,
        "ws": "none",
        "lifespan": "auto",
        "interface": "asgi3",
        "log_config": None,
        "access_log": False,
        "timeout_graceful_shutdown": 1,
    }
    server = uvicorn.Server(ServerConfig(app, limits=limits, **(defaults | options)))
    serving = asyncio.create_task(server._serve([listener]))
    while not server.started:
        assert not serving.done(), serving.result()
        await asyncio.sleep(0)
    try:
        yield Running(server, listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving
        listener.close()
