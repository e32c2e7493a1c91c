"""Scripted peers on 127.0.0.1: a test says byte for byte what the other side does."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Peer:
    """A server whose every connection runs the test's script."""

    port: int = 0
    scheme: str = "http"
    accepted: int = 0
    open: int = 0
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)  # (head, body)
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    async def request(self, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        """Read one request whole."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = await reader.readexactly(length)
        self.requests.append((head, body))
        self.asked.set()
        return head, body


Script = Callable[[Peer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., Awaitable[Peer]]


@contextlib.asynccontextmanager
async def peers() -> AsyncIterator[Serve]:
    """Start scripted peers: `await start(script)`, or with `tls=` a server context."""
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[None]] = set()

    async def start(
        script: Script, tls: ssl.SSLContext | None = None, receive_buffer: int = 0
    ) -> Peer:
        peer = Peer(scheme="https" if tls else "http")

        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            peer.accepted += 1
            peer.open += 1
            peer.connected.set()
            try:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await script(peer, reader, writer)
            finally:
                peer.open -= 1
                tasks.discard(task)
                writer.close()

        server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        if receive_buffer:  # inherited by what it accepts
            server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer.port = server.sockets[0].getsockname()[1]
        return peer

    yield start
    for server in servers:
        server.close()
    for task in list(tasks):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
