"""The keep-alive connection pool of the streaming calls: a request in, an open answer out.

Rules of this file: a connection belongs to one answer or to the idle list, never to both; a
request is sent twice only if the first connection had been idle and closed without a single
byte of an answer. Nothing that failed, was cancelled, or was not read to its end is kept.

Theory of operation. Idle connections are stacks by origin and proxy: the youngest is taken
first, so that a lull lets the others expire. They go on reading while idle; a byte or an EOF
there drops them at once, which is what keeps CLOSE_WAIT empty. One timer serves all stacks.

Source: RFC 9112 §9.3; `wire` for the connection itself.
"""

import asyncio
import functools
import ssl
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from kiroproxy._line import Line
from kiroproxy._wire import Consumer
from kiroproxy.config import Source, Times
from kiroproxy.errors import ConnectionLost, InternalError, ProtocolViolation, forget_frames
from kiroproxy.upstream import tls
from kiroproxy.upstream.secure import Security
from kiroproxy.upstream.tunnel import ProxySettings, open_tunnel
from kiroproxy.upstream.wire import READ_BUFFER_BYTES, Connection, Limits


class Response:
    """An answer whose head has arrived.

    Shape: `headers` has lower-case names; a repeated header is joined with ", ".
    Units: `sent_at`, when its request was sent, in the loop's seconds.
    Order: close() exactly when done with it; more often does no harm.
    """

    __slots__ = ("_connection", "_release", "headers", "sent_at", "status")

    def __init__(self, connection: Line, release: Callable[[Line], None]) -> None:
        self.status = connection.status
        self.headers = connection.headers
        self.sent_at = connection.sent_at
        self._connection: Line | None = connection
        self._release = release

    async def chunk(self) -> bytes:
        """Return the next bytes of the body, b"" at its clean end.

        Raises: ConnectionLost — it ended before its end; UpstreamTimeout — it fell silent.
        """
        if self._connection is None:
            return b""
        data = await self._connection.next_bytes()
        if not data:
            self.close()
        return data

    async def pour(self, consumer: Consumer) -> None:
        """Give the rest of the body to a consumer, from the socket's buffer and at once.

        Shape: returns at the body's clean end, or earlier when the consumer is done.
        Raises: as chunk(); what the consumer raises.
        """
        if self._connection is None:
            return
        await self._connection.pour(consumer)
        if self._connection is not None and self._connection.is_reusable:
            self.close()

    async def read(self, limit: int = 1024 * 1024) -> bytes:
        """Return the whole rest of the body.

        Raises: as chunk(); ProtocolViolation — it is longer than `limit` bytes.
        """
        pieces, total = [], 0
        while piece := await self.chunk():
            total += len(piece)
            if total > limit:
                self.close()
                raise ProtocolViolation(
                    "Kiro's answer is too long", detail=f"over {limit} bytes, status {self.status}"
                )
            pieces.append(piece)
        return b"".join(pieces)

    @property
    def connection(self) -> Line | None:
        """What it arrives on; None once closed."""
        return self._connection

    def close(self) -> None:
        """Keep the connection if the body was read to its end, abort it otherwise."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._release(connection)


class Key(NamedTuple):
    """What two requests must share in order to share a connection."""

    scheme: str
    host: str
    port: int
    proxy: ProxySettings | None


class Form:
    """A request head that is sent again and again with another id and another body's length.

    Shape: `gap` is the text, once in one header's value, that each request replaces.
    Raises: InternalError — the URL is no http or https URL; a value would break out of its line.
    """

    __slots__ = ("key", "lines")

    def __init__(
        self,
        method: str,
        url: str,
        headers: list[tuple[bytes, bytes]],
        gap: bytes,
        proxy: ProxySettings | None,
    ) -> None:
        target = _split(url)
        self.key = _key(target, proxy)
        before, after = _lines(method, target, headers).split(gap)
        self.lines = before, after

    def head(self, filling: bytes, length: int) -> bytes:
        """Return the head of one request. `filling` is ours: an id, nothing a client wrote."""
        before, after = self.lines
        return b"%b%b%b\r\ncontent-length: %d\r\n\r\n" % (before, filling, after, length)


class Call:
    """A request on its way to an answer's head, by one connection or the next."""

    __slots__ = ("body", "connecting", "connection", "head", "is_fresh", "key", "times")

    def __init__(
        self,
        key: Key,
        head: bytes,
        body: bytes,
        times: Times,
        connection: Line | None = None,
        connecting: asyncio.Task[Connection] | None = None,
    ) -> None:
        self.key, self.head, self.body, self.times = key, head, body, times
        self.connection = connection  # the idle one it was written to
        self.connecting = connecting  # a new one for it is being opened
        self.is_fresh = False  # the connection was opened for it

    @classmethod
    def of(
        cls,
        method: str,
        url: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        proxy: ProxySettings | None,
        times: Times,
    ) -> "Call":
        """Put one together. Raises: InternalError — as Form."""
        target = _split(url)
        head = _head(method, target, headers, len(body))
        return cls(_key(target, proxy), head, body, times)

    def abort(self) -> None:
        """Give up; nobody waits for the answer."""
        if self.connecting is not None:
            abandon(self.connecting)
        if self.connection is not None:
            self.connection.abort()


def abandon(connecting: asyncio.Task[Connection]) -> None:
    """Have nothing left of a connection that is, or was just, opened for nobody."""
    if not connecting.cancel() and not connecting.cancelled() and connecting.exception() is None:
        connecting.result().abort()


class ConnectionPool:
    """Every connection of one event loop to Kiro's streaming hosts.

    Shape: `context` replaces the process's TLS context, for private roots.
    Order: aclose() once, at the end; requests after it are refused.
    """

    def __init__(self, config: Source, *, context: ssl.SSLContext | None = None) -> None:
        self._source = config
        self._context = context or tls.client_context(config.current.tls_backend)
        self._security = Security(self._context)
        self._limits: tuple[Times | None, Limits] = None, Limits(0, 0, 0)  # of the latest call
        self._buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self._idle: dict[Key, list[Line]] = {}
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_closed: asyncio.Event | None = None

    @property
    def open_count(self) -> int:
        """Connections that exist, idle ones included."""
        return len(self._open)

    @property
    def idle_count(self) -> int:
        """Connections that wait for a request."""
        return sum(map(len, self._idle.values()))

    async def request(
        self,
        method: str,
        url: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        *,
        proxy: ProxySettings | None = None,
        times: Times | None = None,
    ) -> Response:
        """Send a request and return its answer as soon as the head is there.

        Shape: without `times`, those of the present configuration hold.
        Raises: ConnectFailed, ProxyFailed — no connection; ConnectionLost, UpstreamTimeout —
            no head. A status that is not 200 is an answer like any other.
        """
        call = Call.of(method, url, headers, body, proxy, times or self._source.current.times)
        self.launch(call)
        return await self.answer(call)

    def take_idle(self, key: Key) -> Line | None:
        """Return a connection that waits for a request, None if there is none.

        Order: send() on it, then release() it, or have answer() or landed() take it over.
        """
        if self._all_closed is not None:
            raise InternalError("the gateway is shutting down")
        stack = self._idle.get(key)
        return stack.pop() if stack else None

    def launch(self, call: Call) -> bool:
        """Write a request to an idle connection, if there is one. Order: answer() afterwards."""
        call.connection = self.take_idle(call.key)
        if call.connection is None:
            return False
        call.connection.send(call.head, call.body, self.limits_of(call.times))
        return True

    def landed(self, connection: Line) -> Response:
        """Return the answer to a launched request whose head is there."""
        return Response(connection, self.release)

    async def answer(self, call: Call) -> Response:
        """Wait for a request's answer; connects where it was not launched, or in vain.

        Raises: as request().
        """
        idle = call.connection
        if idle is not None:
            try:
                return await self._head_of(idle)
            except ConnectionLost as lost:
                if idle.answered or call.is_fresh:
                    raise
                forget_frames(lost)
                # The peer's keep-alive ran out while we were writing: it saw no request.
        call.connection = await self._opened(call)
        call.connection.send(call.head, call.body, self.limits_of(call.times))
        return await self._head_of(call.connection)

    async def _opened(self, call: Call) -> Line:
        connecting, call.connecting = call.connecting, None
        if connecting is None:
            return await self._connect(call.key, call.times)
        try:
            return await connecting
        except BaseException:  # cancelled, it may be, as the task was done: nobody has the result
            abandon(connecting)
            raise

    def connect(self, key: Key, times: Times) -> asyncio.Task[Connection]:
        """Begin to open a connection for somebody without a task to wait in.

        Order: send() on it as soon as it is open, or abandon() it.
        Raises: through the task, ConnectFailed, ProxyFailed.
        """
        return asyncio.get_running_loop().create_task(self._connect(key, times))

    async def aclose(self) -> None:
        """Abort every connection and wait until the sockets are closed."""
        self._all_closed = self._all_closed or asyncio.Event()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self._open):
            connection.abort()
        if self._open:
            await self._all_closed.wait()

    async def _connect(self, key: Key, times: Times) -> Connection:
        made: list[Connection] = []

        def make() -> Connection:
            made.append(Connection(self, key, self._buffer))
            return made[-1]

        try:
            return await open_tunnel(
                asyncio.get_running_loop(),
                key.proxy,
                key.host,
                key.port,
                self._security if key.scheme == "https" else None,
                make,
                times.connect_timeout_s,
                proxy_context=self._context,
            )
        except BaseException:
            # Cancelled between connection_made and its own return, uvloop's create_connection
            # closes the transport and never calls connection_lost.
            for connection in made:
                connection.abort()
                self.lost(connection)
            raise

    def limits_of(self, times: Times) -> Limits:
        """Return what a connection is told of the times. Cost: a comparison, as a rule."""
        if self._limits[0] is not times:
            found = Limits(
                times.first_byte_timeout_s,
                times.idle_timeout_s,
                times.total_timeout_s,
                times.head_timeout_s,
            )
            self._limits = times, found
        return self._limits[1]

    async def _head_of(self, connection: Line) -> Response:
        try:
            await connection.head()
        except BaseException:  # cancellation above all: the answer has no reader any more
            connection.abort()
            raise
        return Response(connection, self.release)

    @property
    def _pool_idle_s(self) -> float:
        return self._source.current.pool_idle_s

    def made(self, connection: Connection) -> None:
        self._open.add(connection)
        if self._all_closed is not None:  # aclose() came while it was being opened
            connection.abort()

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        stack = self._idle.get(cast("Key", connection.key), [])
        if connection in stack:
            stack.remove(connection)
        if self._all_closed is not None and not self._open:
            self._all_closed.set()

    def release(self, connection: Line) -> None:
        """Keep a connection whose answer was read to its end; abort any other."""
        if not connection.is_reusable or not self._pool_idle_s or self._all_closed is not None:
            connection.abort()
            return
        connection.rest()
        stack = self._idle.get(connection.key)  # type: ignore[call-overload]
        if stack is None:
            stack = self._idle[cast("Key", connection.key)] = []
        stack.append(connection)
        if self._sweeper is None:
            self._sweep_at(connection.idle_since + self._pool_idle_s)

    def _sweep_at(self, when: float) -> None:
        self._sweeper = asyncio.get_running_loop().call_at(when, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long; the oldest stand first in each stack."""
        self._sweeper = None
        expired_since = asyncio.get_running_loop().time() - self._pool_idle_s
        for key, stack in list(self._idle.items()):
            young = bisect_right(stack, expired_since, key=lambda each: each.idle_since)
            for connection in stack[:young]:
                connection.close()
            del stack[:young]
            if not stack:
                del self._idle[key]
        if self._idle:
            oldest = min(stack[0].idle_since for stack in self._idle.values())
            self._sweep_at(oldest + self._pool_idle_s)


class _Target(NamedTuple):
    scheme: str
    host: str
    port: int
    authority: bytes  # value of the Host header
    path: bytes  # with query


@functools.lru_cache(maxsize=256)  # a few hosts times a few paths; regions make it dozens
def _split(url: str) -> _Target:
    parts = urlsplit(url)
    host = parts.hostname or ""
    default = {"http": 80, "https": 443}.get(parts.scheme)
    if default is None or not host:
        raise InternalError("an upstream URL is not http or https")
    port = parts.port or default
    authority = f"[{host}]" if ":" in host else host.encode("idna").decode()
    if port != default:
        authority += f":{port}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(parts.scheme, host, port, authority.encode(), path.encode("ascii"))


def _key(target: _Target, proxy: ProxySettings | None) -> Key:
    return Key(target.scheme, target.host, target.port, proxy)


def _head(
    method: str,
    target: _Target,
    headers: list[tuple[bytes, bytes]],
    length: int,
) -> bytes:
    """Build a request head. Raises: InternalError — a value would break out of its line."""
    head = _lines(method, target, headers)
    if length or method not in ("GET", "HEAD", "DELETE"):
        head += b"\r\ncontent-length: %d" % length
    return head + b"\r\n\r\n"


def _lines(method: str, target: _Target, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return a head without its length and end. Raises: as _head."""
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target.path), b"host: " + target.authority]
    lines += [b"%s: %s" % pair for pair in headers]
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
        raise InternalError("a header for Kiro holds a line break")
    return head
