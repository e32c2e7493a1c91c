"""Writing past a client's transport: the order of bytes, slow, lost and closed clients."""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import trustme
import uvloop

from kiroproxy._pump import Outlet

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
MUCH = b"m" * (8 << 20)  # more than a socket takes from a peer that does not read


class Server(asyncio.Protocol):
    """The gateway's end of one connection, as the server's protocol class keeps its outlet."""

    def __init__(self) -> None:
        self.given: list[int] = []  # what went through the transport's write
        self.made = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.pauses = 0
        self.tells = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.outlet = Outlet(self._write)
        self.outlet.bypass(self.transport)
        self.made.set()

    def _write(self, data: bytes) -> None:
        self.given.append(len(data))
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.pauses += 1
        self.outlet.pause()

    def resume_writing(self) -> None:
        self.outlet.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.tells:
            self.outlet.close()
        self.lost.set_result(exc)


Case = Callable[[Server, socket.socket], Awaitable[None]]


@pytest.fixture(params=[(loop, family) for loop in LOOPS for family in ("tcp", "unix")])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Case], None]:
    """Run a case on a connection of each kind, under each event loop."""
    name, family = request.param

    async def both(case: Case) -> None:
        loop, server = asyncio.get_running_loop(), Server()
        client = socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET)
        if family == "unix":
            path = str(tmp_path / "socket")
            listener = await loop.create_unix_server(lambda: server, path)
            address: object = path
        else:
            listener = await loop.create_server(lambda: server, "127.0.0.1", 0)
            address = listener.sockets[0].getsockname()
        client.setblocking(False)
        with client:
            await loop.sock_connect(client, address)
            await server.made.wait()
            await case(server, client)
            server.transport.abort()
            await server.lost
        listener.close()

    def run(case: Case) -> None:
        with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
            runner.run(both(case))

    return run


async def receive(client: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = await asyncio.get_running_loop().sock_recv(client, 1 << 20)
        assert piece, "the connection ended"
        received += piece
    return bytes(received)


def chunk(events: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(events), events)


def test_an_idle_transport_is_written_past(serve) -> None:
    async def case(server: Server, client: socket.socket) -> None:
        for size in (1, 15, 16, 255, 256, 4096):
            server.outlet.write(b"e" * size, 1.0)
            assert await receive(client, len(chunk(b"e" * size))) == chunk(b"e" * size)
        assert server.given == []

    serve(case)


def test_bytes_keep_their_order_whoever_writes_them(serve) -> None:
    """A head and an end by the transport, events between them, to a client that reads late."""

    async def case(server: Server, client: socket.socket) -> None:
        expected = b""
        for turn in range(3):
            server.transport.write(b"head %d" % turn)
            server.outlet.write(b"first", 1.0)
            server.outlet.send(MUCH, 1.0)  # of which the kernel takes a part
            server.outlet.write(b"second", 1.0)
            server.transport.write(b"end")
            server.outlet.write(b"third", 1.0)
            sent = [b"head %d" % turn, chunk(b"first"), MUCH, chunk(b"second"), b"end"]
            expected += b"".join(sent) + chunk(b"third")
        assert server.pauses == 1 and server.outlet.paused
        assert server.given and server.given[0] < len(MUCH)
        assert await receive(client, len(expected)) == expected
        await asyncio.sleep(0)
        while server.outlet.paused:
            await asyncio.sleep(0)
        before = len(server.given)
        server.outlet.write(b"again", 1.0)
        assert await receive(client, len(chunk(b"again"))) == chunk(b"again")
        assert len(server.given) == before

    serve(case)


def test_a_client_that_resets_is_told_as_lost(serve) -> None:
    async def case(server: Server, client: socket.socket) -> None:
        server.transport.pause_reading()  # so that only writing can find out
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        while not server.outlet.closed:
            server.outlet.write(b"event", 1.0)
            await asyncio.sleep(0)
        assert isinstance(await server.lost, OSError)
        server.outlet.write(b"late", 1.0)

    serve(case)


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("way", ["close", "abort"])
def test_nothing_is_sent_once_the_transport_is_closing(serve, way: str, tells: bool) -> None:
    """Also when nobody told the outlet, and when its number is another socket's by then."""

    async def case(server: Server, client: socket.socket) -> None:
        number, server.tells = server.transport.get_extra_info("socket").fileno(), tells
        getattr(server.transport, way)()
        server.outlet.write(b"late", 1.0)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.get_running_loop().sock_recv(client, 100) == b""
        await server.lost
        for _ in range(3):  # turns of the loop in which the socket is closed
            await asyncio.sleep(0)
        here, there = socket.socketpair()
        with here, there:
            taken = here.fileno() != number
            if taken:
                with pytest.raises(OSError):
                    os.fstat(number)
                os.dup2(here.fileno(), number)
            server.outlet.write(b"later", 1.0)
            there.setblocking(False)
            with pytest.raises(BlockingIOError):
                there.recv(100)
            if taken:
                os.close(number)

    serve(case)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_behind_tls_gets_nothing_in_the_clear(loop: str) -> None:
    authority = trustme.CA()
    ours, theirs = (
        ssl.SSLContext(kind) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
    )
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)

    async def case() -> None:
        server = Server()
        listener = await asyncio.get_running_loop().create_server(
            lambda: server, "127.0.0.1", 0, ssl=ours
        )
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=theirs, server_hostname="localhost"
        )
        await server.made.wait()
        server.outlet.write(b"event", 1.0)
        assert await reader.readexactly(10) == chunk(b"event")
        assert server.given == [10]
        writer.close()
        await server.lost
        listener.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(case())
