"""A listener in front of a gateway that sees what real clients are sent, and judges it.

Rules of this file: bytes pass unchanged and at once in both directions; the judging is done
afterwards, from the record. Answers are told apart by h11, which shares nothing with the gateway.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11
import httptools

from kiroproxy.simulator.server import Simulator
from support.gateway import Gateway
from support.sse import Reading, read, read_beginning


@dataclass
class _Record:
    """One connection: everything the client sent, everything it was sent."""

    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


class Witness:
    """Listens on `url` and passes everything to `port`.

    Order: `async with Witness(port) as witness`, then, when the clients are done, `readings()`.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._records: list[_Record] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> "Witness":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def readings(self) -> list[Reading]:
        """Read every stream that came to its end strictly; AssertionError for a bad one."""
        return [
            reading
            for record in self._records
            for reading in judge_answers(_methods(bytes(record.asked)), bytes(record.answered))
        ]

    async def _accept(self, down_in: asyncio.StreamReader, down_out: asyncio.StreamWriter) -> None:
        record = _Record()
        self._records.append(record)
        up_in, up_out = await asyncio.open_connection("127.0.0.1", self._port)
        ways = (_pass(down_in, up_out, record.asked), _pass(up_in, down_out, record.answered))
        for way in ways:
            task = asyncio.create_task(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray
) -> None:
    with contextlib.suppress(ConnectionError):
        try:
            while part := await reader.read(65536):
                record += part
                writer.write(part)
                await writer.drain()
        finally:
            writer.close()


def _methods(asked: bytes) -> list[bytes]:
    found: list[bytes] = []

    class Noting:
        def on_headers_complete(self) -> None:
            found.append(parser.get_method())

    parser = httptools.HttpRequestParser(Noting())
    parser.feed_data(asked)
    return found


def judge_answers(methods: list[bytes], answered: bytes) -> list[Reading]:
    """Read the event streams among a connection's answers strictly; return the whole ones."""
    return [read(body) for body in _streams(methods, answered)]


def _streams(methods: list[bytes], answered: bytes) -> Iterator[bytes]:
    """Yield the bodies of a connection's whole event streams."""
    for method in methods:
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("host", "witness")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(answered)
        kind, body = b"", bytearray()
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:  # the client left in the middle, or we were cut off
                if kind.startswith(b"text/event-stream"):
                    read_beginning(bytes(body))
                return
            if isinstance(event, h11.Response):
                kind = dict(event.headers).get(b"content-type", b"")
            elif isinstance(event, h11.Data):
                body += event.data
        if kind.startswith(b"text/event-stream"):
            yield bytes(body)
        answered = reader.trailing_data[0]


@contextlib.asynccontextmanager
async def witnessed(folder: Path, model: Any) -> AsyncIterator[tuple[Simulator, Gateway, Witness]]:
    """A model, a gateway in front of it, and a witness in front of the gateway."""
    async with Simulator(model) as simulator:
        gateway = Gateway(folder, {"upstream": simulator.upstream()}, simulator.credentials())
        await gateway.start()
        try:
            async with Witness(gateway.port) as witness:
                yield simulator, gateway, witness
        finally:
            await gateway.stop()
