"""One HTTP/1.1 connection: requests in, answers out, or broken off in chosen ways.

Rules of this file: HTTP only; what is answered is decided by whoever is given as `serve`. One
request is answered at a time, later ones on the same connection wait their turn. When the caller
leaves, the answer under way is cancelled and the request says so.

Source: RFC 9112; httptools' callbacks.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import httptools

RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST


@dataclass(slots=True)
class Message:
    """A request as it came: header names in lower case, the last of equals wins."""

    method: str = ""
    target: bytes = b""
    raw_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    keep_alive: bool = True

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name."""
        return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in self.raw_headers}


Serve = Callable[[Message, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """Server side of one connection; the parser's callbacks are its `on_*` methods."""

    def __init__(self, serve: Serve, register: Callable[["Connection", bool], None]) -> None:
        self._serve, self._register = serve, register
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._waiting: asyncio.Queue[Message] = asyncio.Queue()
        self._message = Message()
        self._parts: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._chunked = False
        self.head_sent = False
        self.body_bytes = 0

    # --- asyncio ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        # Nothing may linger in our buffer: a step is done when its bytes are with the kernel.
        # Not 0: asyncio's TLS transport then pauses and resumes with every second write.
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._writable.set()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._register(self, True)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            self._transport.close()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._writable.set()
        if self._task:
            self._task.cancel()
        self._register(self, False)

    # --- httptools -------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._message, self._parts = Message(), []

    def on_url(self, url: bytes) -> None:
        self._message.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._message.raw_headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._message.method = self._parser.get_method().decode()
        self._message.body = b"".join(self._parts)
        self._message.keep_alive = bool(self._parser.should_keep_alive())
        self._waiting.put_nowait(self._message)

    # --- answering -------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            message = await self._waiting.get()
            self.head_sent, self.body_bytes = False, 0
            try:
                await self._serve(message, self)
            except Exception as error:  # a script that cannot be played must not look like silence
                told = {"message": "the simulator's script failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(told)
                self._transport.abort()
                return
            if not message.keep_alive:
                self._transport.close()
                return

    async def send_head(
        self, status: int, headers: Iterable[tuple[str, str]], length: int | None = None
    ) -> None:
        """Send the status line and headers; without a length the body is chunked."""
        self._chunked = length is None
        frame = ("transfer-encoding", "chunked") if length is None else ("content-length", length)
        lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
        lines += [f"{name}: {value}" for name, value in [*headers, frame]]
        if not self._parser.should_keep_alive():
            lines.append("connection: close")
        self.head_sent = True
        await self._write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def send_body(self, data: bytes) -> None:
        """Send body bytes, as one chunk if the body is chunked."""
        self.body_bytes += len(data)
        if data and self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if data:
            await self._write(data)

    async def finish(self) -> None:
        """End a chunked body properly."""
        if self._chunked:
            await self._write(b"0\r\n\r\n")

    async def reset(self) -> None:
        """Break off with RST, after everything sent has reached the kernel."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()
        await asyncio.Event().wait()  # connection_lost cancels this

    async def close(self) -> None:
        """Break off with FIN, whatever the body still owed."""
        self._transport.close()
        await asyncio.Event().wait()

    def abort(self) -> asyncio.Task[None] | None:
        """Drop the connection at shutdown; the returned task is ending."""
        self._transport.abort()
        if self._task:
            self._task.cancel()
        return self._task

    async def _write(self, data: bytes) -> None:
        self._transport.write(data)
        await self._writable.wait()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
