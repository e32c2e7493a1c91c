"""The ASGI application: routes, the key check, one log line a request, start and stop.

Rules of this file: one dict lookup finds the handler; every way out of a request ends in
Anthropic's JSON or in a cut connection, never in a clean end that pretends success.

CORS: no header is ever sent. A key that a browser page may use is a key that any page may
use; whoever wants browsers in front puts a reverse proxy there that names its origins.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from kiroproxy._keys import KeyCheck
from kiroproxy.config import Config
from kiroproxy.errors import (
    GatewayError,
    InternalError,
    KiroproxyError,
    MethodNotAllowed,
    NotFound,
    forget_frames,
)
from kiroproxy.logs import REQUEST_ID, tell
from kiroproxy.server.express import Lane
from kiroproxy.server.figures import Figures
from kiroproxy.server.gateway import Gateway
from kiroproxy.server.info import Info
from kiroproxy.server.ledger import Ledger
from kiroproxy.server.messages import Messages
from kiroproxy.server.reply import send_empty, send_error, send_json
from kiroproxy.server.request import ClientGone, Message, Receive, Request, Scope, Send

_log = logging.getLogger(__name__)

Handler = Callable[[Request, Send], Awaitable[None]]

# At the end of the drain the last streams are told so; they get this long to pass it on.
FAREWELL_S = 2.0


class Route(NamedTuple):
    """Who answers; whether a key is asked for, the request is worth a log line, and counts."""

    handler: Handler
    guarded: bool = True
    logged: bool = True
    metered: bool = False  # against a client key's limits, and in the request log
    counted: str = "other"  # which of `metrics.ENDPOINTS`, where it is worth a log line


class Mount(Protocol):
    """Something else that answers under some paths, with its own checks and its own errors."""

    def owns(self, path: str) -> bool:
        """Say whether a path, without slashes around it, is its own."""

    async def start(self) -> None:
        """Begin. Order: after the gateway's own start."""

    async def serve(self, request: Request, send: Send) -> None:
        """Answer one request."""

    async def aclose(self) -> None:
        """End. Order: before the gateway's own end."""


MakeMount = Callable[[Config, Gateway, Ledger], Mount]


class App:
    """One worker's application. Order: the lifespan start before the first request."""

    def __init__(
        self, config: Config, gateway: Gateway, ledger: Ledger, mount: Mount | None = None
    ) -> None:
        self._gateway, self._ledger, self._mount = gateway, ledger, mount
        self._info, self._figures = Info(gateway), Figures(gateway)
        self._messages = Messages(gateway)
        self._lane = Lane(
            gateway,
            ledger,
            self._messages,
            _is_messages,
            ledger.admit,
            self._finish,
            _log_line,
            _log.isEnabledFor,
        )
        self._lane.keys = KeyCheck(config.api_key)
        self._running: set[asyncio.Task[None]] = set()
        self._routes = self._table()
        gateway.settings.on_change(self._change_key)

    def _table(self) -> dict[str, dict[str, Route]]:
        info = self._info
        health = Route(info.health, guarded=False, logged=False)
        probe = Route(_nothing, guarded=False, logged=False)
        return {
            "messages": {"POST": Route(self._messages.create, metered=True, counted="messages")},
            "messages/count_tokens": {"POST": Route(info.count_tokens, counted="count_tokens")},
            "models": {"GET": Route(info.models, counted="models")},
            "models/{id}": {"GET": Route(self._model, counted="models")},
            "health": {"GET": health},
            "ready": {"GET": Route(self._figures.ready, guarded=False, logged=False)},
            "metrics": {"GET": Route(self._figures.metrics, guarded=False, logged=False)},
            # What Claude Code sends besides: start-up probes and telemetry.
            "": {"GET": Route(_hello, guarded=False, logged=False), "HEAD": probe},
            "api/hello": {"GET": probe, "HEAD": probe},
            "api/event_logging/batch": {"POST": probe},
        }

    def _change_key(self, before: Config) -> None:
        if self._gateway.config.api_key != before.api_key:
            self._lane.keys = KeyCheck(self._gateway.config.api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            await self._serve(Request.of(scope, receive), send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            raise InternalError(f"no {scope['type']} is served here")

    # -- one request -------------------------------------------------------------------------

    async def _serve(self, request: Request, send: Send) -> None:
        token = REQUEST_ID.set(request.id)
        task = asyncio.current_task()
        assert task is not None, "an ASGI application runs in a task"
        self._running.add(task)
        answer = _Answer(send)
        if request.work is not None and request.work.started:
            answer.status = 200  # sent before there was a task
        logged, metered, counted = True, False, ""
        try:
            route = self._route(request)
            logged, metered = route.logged, route.metered
            if logged:
                counted = route.counted
                if request.work is None:  # else it was counted in before there was a task
                    self._gateway.metrics.began()
            if route.guarded and request.work is None:
                self._admit(request, metered)
            await route.handler(request, answer.send)
        except GatewayError as error:
            forget_frames(error)
            request.record.note(error)
            await _refuse(request, answer, error)
        except ClientGone:
            request.record.error = "client_closed"
        except asyncio.CancelledError:
            request.record.error = "cancelled"
            raise
        except Exception as error:
            _log.exception("internal error")
            request.record.error = f"internal:{type(error).__name__}"
            if answer.status:
                raise  # the server cuts the connection: the client must not see a clean end
            await send_error(answer.send, request, InternalError("Internal server error"))
        finally:
            self._running.discard(task)
            if metered:
                self._ledger.finish(request, answer.status)
            if counted:
                self._count(request, answer.status, counted)
            if logged or request.record.error:
                _log_line(request, answer.status)
            REQUEST_ID.reset(token)

    @property
    def express(self) -> Lane:
        """The way of requests that come whole and need no task."""
        return self._lane

    def _admit(self, request: Request, metered: bool) -> None:
        """Check the key. Raises: Unauthorized, KeyThrottled, KeyExhausted."""
        if not self._lane.keys.admits(request.headers):
            self._ledger.admit(request, metered)

    def _finish(self, request: Request, status: int) -> None:
        """Count a request out that no task served to its end."""
        self._ledger.finish(request, status)
        self._count(request, status, "messages")
        _log_line(request, status)

    def _count(self, request: Request, status: int, endpoint: str) -> None:
        """Put a finished request into the metrics."""
        record, metrics = request.record, self._gateway.metrics
        took_s = time.monotonic() - request.started_s
        metrics.ended(endpoint, record.outcome(status), status, took_s)
        if endpoint == "messages":
            first_s = record.first_token_s
            metrics.answered(record, first_s - request.started_s if first_s else 0.0)
            metrics.attempted(
                type(each.error).__name__ if each.error else "" for each in record.attempts
            )

    def _route(self, request: Request) -> Route:
        """Find the handler. Raises: NotFound, MethodNotAllowed."""
        path = normal_path(request.path)
        if self._mount is not None and self._mount.owns(path):
            return Route(self._mount.serve, guarded=False)
        methods = self._routes.get(path)
        if methods is None and path.startswith("models/"):
            methods = self._routes["models/{id}"]
        if methods is None:
            raise NotFound(f"Not found: {request.method} {request.path[:200]}")
        if request.method == "OPTIONS":
            allow = _allow(methods)
            return Route(lambda r, s: send_empty(s, r, [(b"allow", allow)]), False, False)
        route = methods.get(request.method)
        if route is None and request.method == "HEAD":
            route = methods.get("GET")  # the server leaves the body out
        if route is None:
            raise MethodNotAllowed(
                f"Method {request.method[:20]} is not allowed here", allow=_allow(methods).decode()
            )
        return route

    async def _model(self, request: Request, send: Send) -> None:
        model_id = normal_path(request.path).removeprefix("models/")
        await self._info.model(request, send, model_id)

    # -- start and stop ----------------------------------------------------------------------

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._gateway.start()
            self._lane.start()
            await self._ledger.start()
            if self._mount is not None:
                await self._mount.start()
        except (KiroproxyError, OSError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._running:
            await asyncio.wait(self._running, timeout=FAREWELL_S)
        if self._mount is not None:
            await self._mount.aclose()
        self._messages.close()
        await self._info.aclose()
        await self._ledger.aclose()
        await self._gateway.aclose()
        await send({"type": "lifespan.shutdown.complete"})


class _Answer:
    """Passes messages on and remembers the status, 0 while nothing was sent."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if not self.status:
            self.status = message["status"]
        await self._send(message)


def create(config: Config, page: str = "", mounted: MakeMount | None = None) -> App:
    """Build the application of one worker; nothing is opened before the lifespan start.

    Shape: `page` names the memory that several workers share, "" = there is one worker.
    """
    gateway, ledger = Gateway(config, page), Ledger(config, page)
    mount = mounted(config, gateway, ledger) if mounted else None
    return App(config, gateway, ledger, mount)


def normal_path(path: str) -> str:
    """Reduce every spelling of a path to the one in the table.

    Clients append `/v1/messages` or `/messages` to a base URL that may or may not end in
    `/v1`, so any number of leading `v1` means the same; `cc/` serves the same answers.
    """
    parts = [part for part in path.split("/") if part]
    start = 0
    while start < len(parts) and parts[start] in ("v1", "cc"):
        start += 1
    return "/".join(parts[start:])


def _is_messages(target: bytes) -> bool:
    """Tell whether a request target is that of the conversation endpoint."""
    return normal_path(target.partition(b"?")[0].decode("ascii")) == "messages"


def _allow(methods: dict[str, Route]) -> bytes:
    extra = ["HEAD"] if "GET" in methods and "HEAD" not in methods else []
    return ", ".join([*methods, *extra, "OPTIONS"]).encode("ascii")


async def _nothing(request: Request, send: Send) -> None:
    await send_empty(send, request)


async def _hello(request: Request, send: Send) -> None:
    await send_json(send, request, {"name": "kiroproxy", "status": "ok"})


async def _refuse(request: Request, answer: _Answer, error: GatewayError) -> None:
    if answer.status:
        raise InternalError("a refusal after the response started") from error
    await send_error(answer.send, request, error)


def _log_line(request: Request, status: int) -> None:
    record = request.record
    failed = status >= 500 or record.error.startswith("internal")
    level = logging.WARNING if failed else logging.INFO
    if not _log.isEnabledFor(level):
        return
    # An express request has no task whose context could tell its id.
    tell(_log, level, "request", request.told(status), request.id)
