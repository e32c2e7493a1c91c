"""The simulator itself: listens, sorts requests to their routes, keeps the record.

Rules of this file: a request is refused (`validation`) before a script is spent on it. A script
comes from the route's queue, else from the `script` callable, else from a magic word in the
prompt (`magic`), else it is the ordinary answer of `demo`.
"""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final
from uuid import uuid4

import orjson

from kiroproxy.simulator import admin, control, demo, magic
from kiroproxy.simulator.connection import Connection, Message
from kiroproxy.simulator.refusals import IMPROPER, Refusal
from kiroproxy.simulator.request import Request, read
from kiroproxy.simulator.script import Script
from kiroproxy.simulator.stage import Performance, send, send_refusal
from kiroproxy.simulator.tokens import TokenState
from kiroproxy.simulator.validation import check_request

Chooser = Callable[[Request], Script | None]
_UNKNOWN: Final = Refusal(404, "UnknownOperationException", "The requested operation is not known.")


class Simulator:
    """A stand-in for Kiro on one port: inference, management, auth and MCP.

    Shape: `script` is one Script for every generate call, several to be used in turn, or a
    callable from Request to Script (None = the ordinary answer). `strict=False` takes any body from
    anyone.
    Units: `pace_s` is the time between two frames of an ordinary answer.
    Order: `async with Simulator(...) as sim`, then `sim.url`, `sim.credentials()`.
    """

    def __init__(
        self,
        script: Script | Iterable[Script] | Chooser | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        tokens: TokenState | None = None,
        strict: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        pace_s: float | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self.queues: defaultdict[str, deque[Script]] = defaultdict(deque)
        self.strict, self.host, self.port = strict, host, port
        # Without a script this is the demo, whose readers want to see it flow.
        self.pace_s = (demo.PACE_S if script is None else 0.0) if pace_s is None else pace_s
        self.connections = 0
        self._tls = tls
        self._choose: Chooser | None = None
        self._server: asyncio.Server | None = None
        self._open: dict[Connection, int] = {}
        self._holds: dict[str, asyncio.Event] = {}
        self._arrived = asyncio.Condition()
        self.tokens = tokens or TokenState()
        if tokens is None:
            self.tokens.add_social()
        self._set_script(script)

    def _set_script(self, script: Script | Iterable[Script] | Chooser | None) -> None:
        if isinstance(script, Script):
            fixed = script
            self._choose = lambda _: fixed
        elif callable(script):
            self._choose = script
        elif script is not None:
            self.enqueue(*script)

    @property
    def token_state(self) -> TokenState:
        """Accounts, tokens and the log of refreshes; the same as `tokens`."""
        return self.tokens

    # --- for tests -------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def upstream(self, *, regional: bool = False) -> dict[str, str]:
        """Return the `upstream` object of config.json; regional URLs carry the region."""
        base = f"{self.url}/{{region}}" if regional else self.url
        names = ("apiUrl", "managementUrl", "socialAuthUrl", "oidcUrl")
        return dict.fromkeys(names, base)

    def credentials(self) -> list[dict[str, Any]]:
        """Return credentials.json entries of all accounts."""
        return self.tokens.credentials()

    def enqueue(self, *scripts: Script, route: str = "generate") -> None:
        """Line up scripts for the next requests of a route, before anything else."""
        self.queues[route].extend(scripts)

    def of(self, route: str) -> list[Request]:
        """Return the requests of one route so far."""
        return [request for request in self.requests if request.route == route]

    async def wait_for(self, count: int, route: str = "generate") -> Request:
        """Wait until a route has had `count` requests; return the last of them."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.of(route)) >= count)
        return self.of(route)[count - 1]

    def release(self, name: str = "hold") -> None:
        """Let every answer go on that waits at Hold(name), and those that come to it later."""
        self._hold(name).set()

    def _hold(self, name: str) -> asyncio.Event:
        return self._holds.setdefault(name, asyncio.Event())

    def drop_connections(self) -> None:
        """Break every open connection, idle ones included."""
        for connection in list(self._open):
            connection.abort()

    # --- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; port 0 becomes the free one that was picked."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._serve, self._register), self.host, self.port, ssl=self._tls
        )
        self.host, self.port = self._server.sockets[0].getsockname()[:2]
        self.tokens.devices.url = self.url

    async def stop(self) -> None:
        """Stop listening and break what is still open."""
        if self._server is None:
            return
        self._server.close()
        tasks = [connection.abort() for connection in list(self._open)]
        await asyncio.gather(*(task for task in tasks if task), return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> "Simulator":
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _register(self, connection: Connection, is_open: bool) -> None:
        if is_open:
            self.connections += 1
            self._open[connection] = self.connections
        else:
            self._open.pop(connection, None)

    # --- answering -------------------------------------------------------------------------

    async def _serve(self, message: Message, connection: Connection) -> None:
        if message.target.startswith(admin.PREFIX):
            await admin.serve(self, message, connection)
            return
        request = read(message, len(self.requests) + 1, self._open.get(connection, 0))
        self.requests.append(request)
        self.tokens.calls[request.route or "unknown"] += 1
        async with self._arrived:
            self._arrived.notify_all()
        try:
            await self._answer(request, connection)
            request.outcome = "done"
        finally:  # a cancelled answer: we broke it off, or the caller left
            request.outcome = request.outcome or "left"
            request.sent_bytes = connection.body_bytes
            request.finished.set()

    async def _answer(self, request: Request, connection: Connection) -> None:
        if request.route == "generate":
            refusal, script = self._check(request), None
        else:
            refusal, script = None, self._next(request.route)
        if refusal is None and request.route == "generate":
            script = self._script_for(request)
        if script is not None:
            await Performance(script, request, connection, self._hold).play()
            return
        await self._plain(request, connection, refusal)

    async def _plain(
        self, request: Request, connection: Connection, refusal: Refusal | None
    ) -> None:
        answer: Any = refusal
        if refusal is None:
            make = control.ANSWERS.get(request.route)
            answer = make(request, self.tokens) if make else _UNKNOWN
        if isinstance(answer, Refusal):
            request.refusal = answer
            await send_refusal(connection, request, answer)
            return
        kind = "application/x-amz-json-1.0" if request.is_rpc else "application/json"
        headers = [("content-type", kind), ("x-amzn-requestid", str(uuid4()))]
        await send(connection, request, 200, headers, orjson.dumps(answer))

    def _check(self, request: Request) -> Refusal | None:
        if not isinstance(request.json, dict):
            reason = "REQUEST_BODY_INVALID_JSON"
            return Refusal(400, "ValidationException", IMPROPER, reason, rule="not a JSON object")
        if not self.strict:
            return None
        return check_request(request.json, request.headers, self.tokens, request.region)

    def _next(self, route: str) -> Script | None:
        queue = self.queues[route]
        return queue.popleft() if queue else None

    def _script_for(self, request: Request) -> Script:
        chosen = self._next("generate")
        if chosen is None and self._choose is not None:
            chosen = self._choose(request)
        return chosen or magic.find(request) or demo.answer_to(request, self.pace_s)
