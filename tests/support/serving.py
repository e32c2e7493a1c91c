"""An application under uvicorn with our protocol, on a test's own loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from kiroproxy.server.asgi import Limits, Protocol, ServerConfig

# As serve.py: no WebSockets, ASGI 3, and logs that are ours.
OPTIONS: dict[str, Any] = {
    "http": Protocol,
    "ws": "none",
    "interface": "asgi3",
    "log_config": None,
    "access_log": False,
    "timeout_graceful_shutdown": 1,
}


class Server(uvicorn.Server):
    """uvicorn's server without its waits of a tenth of a second, of which a test has two.

    It looks for the end ten times a second, and at the end gives connections another tenth.
    """

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Go the short way where nothing is open that could be given time."""
        for _ in range(3):  # clients that just closed: their ends have yet to be read
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        await self.lifespan.shutdown()


@contextlib.asynccontextmanager
async def serving(app: Any, limits: Limits, **options: Any) -> AsyncIterator[tuple[Server, int]]:
    """Yield the server, once it is up, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(ServerConfig(app, limits=limits, **(OPTIONS | options)))
        running = asyncio.create_task(server._serve([listener]))
        while not server.started:
            assert not running.done(), running.result()
            await asyncio.sleep(0.001)
        try:
            yield server, listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running
