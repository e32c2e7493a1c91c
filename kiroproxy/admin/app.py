"""The admin API as one mount of the server's application: dispatch, guard, errors, audit.

Rules of this file: no route's logic. Every answer to a call is JSON in one shape or a stream of
events; every change that succeeded is one line in the audit log; what a handler raises is
told by `refusal`, and a bug as nothing but its having happened.

Source: ARCHITECTURE.md, "The admin API".
"""

import asyncio
import contextlib
import logging
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncGenerator
from urllib.parse import parse_qsl

import orjson

from kiroproxy.admin import page, table
from kiroproxy.admin.desk import Desk, now_ms
from kiroproxy.admin.refusal import Refusal, invalid, refusal_of
from kiroproxy.admin.routes import Answer, Call, Event, Events, Result, read_query
from kiroproxy.admin.schema import check
from kiroproxy.admin.session import Gatekeeper, address_of
from kiroproxy.config import Config
from kiroproxy.records import reading
from kiroproxy.server.app import normal_path
from kiroproxy.server.gateway import Gateway
from kiroproxy.server.ledger import Ledger
from kiroproxy.server.request import ClientGone, Request, Send
from kiroproxy.server.sink import STREAM_HEADERS, Watch

_log = logging.getLogger(__name__)

BASE = "api/admin"
HEARTBEAT_S = 15.0
_SAFETY = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Admin:
    """One worker's. Order: start() → serve() in any number → aclose()."""

    def __init__(self, config: Config, gateway: Gateway, ledger: Ledger) -> None:
        self._key = config.admin_api_key
        self._gateway, self._ledger = gateway, ledger
        self._pages = page.Pages()
        self._routes = table.ROUTES

    def owns(self, path: str) -> bool:
        """Say whether a path is the admin API's or the page's; without an admin key none is."""
        if not self._key:
            return False
        return path in (BASE, "admin") or path.startswith((f"{BASE}/", "admin/"))

    async def start(self) -> None:
        """Begin."""
        if self._key:
            keeper = Gatekeeper(self._key, self._ledger.meter)
            self._desk = Desk(self._gateway, self._ledger, keeper)

    async def aclose(self) -> None:
        """End what runs by itself: the live hub, and logins that nobody will see the end of."""
        if self._key:
            await self._desk.aclose()

    async def serve(self, request: Request, send: Send) -> None:
        """Answer one request."""
        path = normal_path(request.path)
        if not path.startswith(BASE):
            await self._pages.serve(request, send, path.removeprefix("admin").strip("/"))
            return
        try:
            call = self._call(request, path.removeprefix(BASE).strip("/"))
            await self._guard(call)
            result = await self._run(call)
        except (ClientGone, asyncio.CancelledError):
            raise
        except Exception as fault:
            refusal = refusal_of(fault)
            if refusal is None:
                _log.exception("internal error")
                refusal = Refusal("internal_error", "internal_error", "Internal server error",
                                  "See the log of the gateway")  # fmt: skip
            request.record.error = refusal.code
            await self._refuse(request, send, refusal)
            return
        if isinstance(result, Events):
            await self._stream(request, send, result)
        else:
            await _send(request, send, result)

    # -- one call ----------------------------------------------------------------------------

    def _call(self, request: Request, path: str) -> Call:
        """Find the route. Raises: Refusal."""
        allowed: list[str] = []
        for route in self._routes:
            found = _match(route.segments, path.split("/"))
            if found is None:
                continue
            if route.method == request.method:
                return Call(
                    *(self._desk, request, route, found, {}),
                    address=address_of(request),
                    table=self._routes,
                )
            allowed.append(route.method)
        if allowed:
            raise Refusal("invalid_request", "method_not_allowed", "This path has other methods",
                          status=405, allow=", ".join(dict.fromkeys(allowed)))  # fmt: skip
        raise Refusal("not_found", "no_such_route", f"There is no /{BASE}/{path[:100]}",
                      f"The routes are listed in /{BASE}/openapi.json")  # fmt: skip

    async def _guard(self, call: Call) -> None:
        """Let in who may; then read and check what they sent. Raises: Refusal."""
        if not call.route.open:
            keeper = self._desk.keeper
            if keeper.is_cold and b"cookie" in call.request.headers:
                await asyncio.to_thread(keeper.warm_up)
            call.actor, call.ends_at_ms = keeper.identify(call.request)
        pairs = dict(parse_qsl(call.request.query.decode("latin-1"), keep_blank_values=True))
        call.query = read_query(call.route.query, pairs)
        for name, value in call.query.items():
            check(call.route.query[name], value, f"query.{name}")
        if call.route.body is not None:
            call.body = await self._body(call)

    async def _body(self, call: Call) -> object:
        config = self._gateway.config
        raw = await call.request.body(call.route.most_body_bytes, config.receive_timeout_s)
        if not raw and not call.route.body_required:
            raw = b"{}"
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as fault:
            raise invalid(
                "invalid_json", f"The body is not JSON: {fault.msg} (character {fault.pos})",
                "Send one JSON object, as UTF-8",
            ) from None  # fmt: skip
        assert call.route.body is not None, "only routes with a body come here"
        check(call.route.body, body)
        return body

    async def _run(self, call: Call) -> Result:
        result = await call.route.handler(call)
        if call.route.action:
            await self._audit(call)
        return result

    async def _audit(self, call: Call) -> None:
        target = call.target or call.path.get("id") or call.path.get("name") or ""
        entry = (now_ms(), call.actor, call.address, call.route.action, target, call.detail[:1000])
        fields = {"actor": call.actor, "address": call.address, "action": call.route.action}
        _log.info("admin", extra={"fields": fields | {"target": target, "detail": call.detail}})
        await self._desk.quietly(lambda c: reading.add_audit(c, entry), writes=True)

    async def _refuse(self, request: Request, send: Send, refusal: Refusal) -> None:
        headers = []
        if refusal.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % refusal.retry_after_s))
        if refusal.allow:
            headers.append((b"allow", refusal.allow.encode()))
        answer = Answer(refusal.body(), refusal.status, headers)
        if refusal.status != 413:
            await _send(request, send, answer)
            return
        headers.append((b"connection", b"close"))
        await _send(request, send, answer, more=True)
        await request.discard()  # who is still writing would not read the refusal otherwise
        await send({"type": "http.response.body", "body": b""})

    # -- a stream ----------------------------------------------------------------------------

    async def _stream(self, request: Request, send: Send, events: Events) -> None:
        """Send events as they come; a comment every 15 s keeps proxies from closing."""
        headers = [*STREAM_HEADERS, *_SAFETY[1:], (b"request-id", request.id.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        stopping = asyncio.Event()
        if events.endless and request.on_stop is not None:
            request.on_stop(stopping.set)
        async with Watch(request) as watch:
            async with contextlib.aclosing(_texts(events.source, stopping)) as texts:
                async for text in texts:
                    await send({"type": "http.response.body", "body": text, "more_body": True})
            watch.over = True
            await send({"type": "http.response.body", "body": b""})


async def _texts(
    source: AsyncGenerator[Event, None], stopping: asyncio.Event
) -> AsyncGenerator[bytes, None]:
    """Yield events as they come, and a comment after each quiet while, until one says stop."""
    stop = asyncio.ensure_future(stopping.wait())
    upcoming: asyncio.Task[Event | None] | None = None
    try:
        while not stopping.is_set():
            upcoming = upcoming or asyncio.ensure_future(_next(source))
            await asyncio.wait({upcoming, stop}, timeout=HEARTBEAT_S, return_when=FIRST_COMPLETED)
            if upcoming.done():
                event, upcoming = upcoming.result(), None
                if event is None:
                    return
                yield _written(event)
            elif not stopping.is_set():
                yield b": still here\n\n"
    finally:
        tasks = [stop] if upcoming is None else [stop, upcoming]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await source.aclose()


async def _next(source: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(source, None)


def _written(event: Event) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.name.encode(), orjson.dumps(event.data))


async def _send(request: Request, send: Send, answer: Answer, *, more: bool = False) -> None:
    body = answer.payload
    if body is None:
        body = b""
    elif not isinstance(body, bytes):
        body = orjson.dumps(body)
    headers = [*_SAFETY, (b"request-id", request.id.encode("ascii")), *answer.headers]
    if answer.status != 204:
        headers += [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(body)),
        ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more})


def _match(pattern: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    """Return the path's parameters, None if it is another path. {id} takes digits only."""
    if len(pattern) != len(parts):
        return None
    found: dict[str, str] = {}
    for expected, part in zip(pattern, parts, strict=True):
        if not expected.startswith("{"):
            if expected != part:
                return None
        elif expected == "{id}" and not (part.isascii() and part.isdigit() and len(part) < 16):
            return None
        else:
            found[expected[1:-1]] = part
    return found
