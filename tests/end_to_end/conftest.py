"""A real gateway process in front of a simulator, and clients to talk to it."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.gateway import Gateway

from kiroproxy.simulator.server import Simulator

Serve = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    """A strict simulator with one social account; ordinary answers come without a pace."""
    async with Simulator(pace_s=0.0) as simulator:
        yield simulator


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start gateways: `await serve(sim, {config}, credentials=…, flags=…)`."""
    async with AsyncExitStack() as stack:
        count = 0

        async def start(
            simulator: Simulator,
            config: dict[str, Any] | None = None,
            *,
            credentials: Any = None,
            flags: tuple[str, ...] = (),
            environ: dict[str, str] | None = None,
        ) -> Gateway:
            nonlocal count
            count += 1
            folder = tmp_path / f"gateway-{count}"
            folder.mkdir()
            settings = {"upstream": simulator.upstream()} | (config or {})
            shown = simulator.credentials() if credentials is None else credentials
            gateway = Gateway(folder, settings, shown)
            # Before the start: one that hangs or fails must not outlive its test either.
            stack.push_async_callback(gateway.stop, signal.SIGKILL)
            await gateway.start(*flags, environ=environ)
            return gateway

        yield start


@pytest.fixture
async def gateway(sim: Simulator, serve: Serve) -> Gateway:
    """The ordinary gateway: one social credential, the simulator behind it."""
    return await serve(sim)


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client with the right key."""
    async with gateway.client() as made:
        yield made
