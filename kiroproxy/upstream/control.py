"""Everything asked of Kiro that is not the stream: usage, models, profiles, tools, logins.

Rules of this file: httpx ends here — its exceptions become ours with `from`, its defaults
(headers, cookies, environment) stay out, for a call shows the identity of a credential and
nothing else. No body is logged: they hold tokens.

Theory of operation. One client for each proxy, the least recently used closed first; accounts
without a proxy share one. httpx looks at its spare connections only when asked for another, and
calls may be hours apart; so a client is closed once it was idle for the pool's time, else a
connection that Kiro ended would lie in CLOSE_WAIT until then. Cookies are refused: a shared
client would carry one account's to another. Answers are read up to a limit and judged by
`faults`.
"""

import asyncio
import importlib
import logging
import sys
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import orjson

from kiroproxy.accounts.credential import Credential, Proxy
from kiroproxy.config import Config, Source
from kiroproxy.errors import (
    ConnectFailed,
    ConnectionLost,
    ProtocolViolation,
    ProxyFailed,
    UpstreamTimeout,
)
from kiroproxy.upstream import endpoint, faults
from kiroproxy.upstream.endpoint import Target
from kiroproxy.upstream.tls import client_context

if TYPE_CHECKING:
    import httpx  # else in a thread, when first needed: a start must not wait 40 ms for it

log = logging.getLogger(__name__)

_MAX_CLIENTS = 64  # idle ones above it are closed; a client holds its own sockets
_SILENCE_S = 30.0  # the official SDKs' read timeout for these calls
_TOTAL_S = 60.0  # a trickling answer must not hold a waiting request for ever
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MAX_PAGES = 20  # of 50 models; a token that never ends must not either


class Answer(NamedTuple):
    """A whole answer. Shape: header names in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass(slots=True)
class _Client:
    http: "httpx.AsyncClient"
    users: int = 0
    expiry: asyncio.TimerHandle | None = None  # set while nobody uses it


class ControlPlane:
    """The calls. Order: `aclose()` at the end, or `async with`."""

    def __init__(
        self,
        config: Source,
        *,
        ids: Callable[[], str] = lambda: str(uuid.uuid4()),
        max_clients: int = _MAX_CLIENTS,
    ) -> None:
        self._source = config
        self._ids = ids
        self._max_clients = max_clients
        self._clients: OrderedDict[Proxy | None, _Client] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def _config(self) -> Config:
        return self._source.current

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; calls still running fail."""
        while self._clients:
            await self._forget(next(iter(self._clients))).aclose()
        await asyncio.gather(*self._closing)

    # -- Kiro's operations -----------------------------------------------------------------

    async def usage_limits(self, credential: Credential) -> dict[str, Any]:
        """Return quota and subscription. Raises: UpstreamError, as every call below."""
        target = endpoint.usage_limits(credential, self._config, invocation_id=self._ids())
        return await self.read_json(target, credential.proxy)

    async def list_models(self, credential: Credential) -> list[dict[str, Any]]:
        """Return every model the credential may use, all pages."""

        async def page(token: str) -> dict[str, Any]:
            target = endpoint.list_models(
                credential, self._config, invocation_id=self._ids(), next_token=token
            )
            return await self.read_json(target, credential.proxy)

        return [entry async for entry in _entries("models", page)]

    async def list_profiles(self, credential: Credential) -> list[dict[str, Any]]:
        """Return the profiles an enterprise login may act for, all pages."""

        async def page(token: str) -> dict[str, Any]:
            target = endpoint.list_profiles(credential, self._config, invocation_id=self._ids())
            payload = {"nextToken": token} if token else {}
            return await self.post_json(target, payload, credential.proxy)

        return [entry async for entry in _entries("profiles", page)]

    async def mcp(self, credential: Credential, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Send one JSON-RPC call to Kiro's built-in tools and return its answer."""
        config = self._config
        target = endpoint.mcp(credential, config, invocation_id=self._ids())
        told = endpoint.mcp_body(credential, config, payload)
        return await self.post_json(target, told, credential.proxy)

    # -- one call --------------------------------------------------------------------------

    async def read_json(self, target: Target, proxy: Proxy | None) -> dict[str, Any]:
        """Return the object of a 200 answer. Raises: UpstreamError for anything else."""
        return _object_of(await self.exchange(target, target.body, proxy))

    async def post_json(
        self, target: Target, payload: Mapping[str, Any], proxy: Proxy | None
    ) -> dict[str, Any]:
        """Send an object and return the one of a 200 answer. Raises: as `read_json`."""
        return _object_of(await self.exchange(target, orjson.dumps(payload), proxy))

    async def exchange(self, target: Target, body: bytes, proxy: Proxy | None) -> Answer:
        """Send one request and return its answer, whatever its status.

        Raises: ConnectFailed, ProxyFailed, ConnectionLost, UpstreamTimeout.
        """
        if "httpx" not in sys.modules:
            await asyncio.to_thread(importlib.import_module, "httpx")
        async with self._client(proxy) as http:
            with _mapped():
                async with asyncio.timeout(_TOTAL_S):
                    request = http.build_request(
                        target.method, target.url, headers=target.headers, content=body or None
                    )
                    return await _read(await http.send(request, stream=True))

    @asynccontextmanager
    async def _client(self, proxy: Proxy | None) -> AsyncIterator["httpx.AsyncClient"]:
        client = self._clients.get(proxy)
        if client is None:
            client = self._clients[proxy] = _Client(self._open(proxy))
        self._clients.move_to_end(proxy)
        client.users += 1
        if client.expiry:
            client.expiry.cancel()
        try:
            await self._close_spare()
            yield client.http
        finally:
            client.users -= 1
            if not client.users and self._clients.get(proxy) is client:
                loop = asyncio.get_running_loop()
                client.expiry = loop.call_later(self._config.pool_idle_s, self._expire, proxy)

    def _expire(self, proxy: Proxy | None) -> None:
        task = asyncio.create_task(self._forget(proxy).aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _forget(self, proxy: Proxy | None) -> "httpx.AsyncClient":
        """Return the client, to be closed; who calls from now on gets a new one."""
        client = self._clients.pop(proxy)
        if client.expiry:
            client.expiry.cancel()
        return client.http

    async def _close_spare(self) -> None:
        """Keep within the limit, but never under a running call."""
        idle = [proxy for proxy, client in self._clients.items() if not client.users]
        for proxy in idle[: max(len(self._clients) - self._max_clients, 0)]:
            await self._forget(proxy).aclose()

    def _open(self, proxy: Proxy | None) -> "httpx.AsyncClient":
        import http.cookiejar

        import httpx

        config, context = self._config, client_context(self._config.tls_backend)
        via = None
        if proxy:
            auth = (proxy.username, proxy.password) if proxy.username or proxy.password else None
            inner = context if proxy.scheme == "https" else None
            via = httpx.Proxy(proxy.url(with_auth=False), auth=auth, ssl_context=inner)
        nobody = http.cookiejar.DefaultCookiePolicy(allowed_domains=[])
        client = httpx.AsyncClient(
            verify=context,
            proxy=via,
            trust_env=False,  # HTTPS_PROXY of some shell is not the operator's decision here
            cookies=http.cookiejar.CookieJar(nobody),
            timeout=httpx.Timeout(_SILENCE_S, connect=config.connect_timeout_s),
            limits=httpx.Limits(max_keepalive_connections=8, keepalive_expiry=config.pool_idle_s),
        )
        for name in list(client.headers):
            del client.headers[name]  # python-httpx/0.28 is no Kiro IDE
        return client


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn httpx's failures into ours. Their texts name hosts, never tokens."""
    import httpx

    try:
        yield
    except httpx.ProxyError as fault:
        raise ProxyFailed("The proxy refused the connection", detail=str(fault)) from fault
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as fault:
        raise ConnectFailed("Kiro cannot be reached", detail=repr(fault)) from fault
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as fault:
        raise ConnectFailed("Kiro's address is not usable", detail=str(fault)) from fault
    except (httpx.TimeoutException, TimeoutError) as fault:
        raise UpstreamTimeout(
            "Kiro did not answer in time", setting="", detail=repr(fault)
        ) from fault
    except httpx.HTTPError as fault:
        raise ConnectionLost("The connection to Kiro broke", detail=repr(fault)) from fault


async def _read(response: "httpx.Response") -> Answer:
    parts: list[bytes] = []
    size = 0
    try:
        async for part in response.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > _MAX_ANSWER_BYTES:
                raise ProtocolViolation(
                    "Kiro's answer is too large", detail=f"over {_MAX_ANSWER_BYTES} bytes"
                )
    finally:
        await response.aclose()
    headers = {name.lower(): value for name, value in response.headers.raw}
    return Answer(response.status_code, headers, b"".join(parts))


def _object_of(answer: Answer) -> dict[str, Any]:
    if answer.status != 200:
        raise faults.classify(answer.status, answer.headers, answer.body)
    try:
        value = orjson.loads(answer.body)
    except orjson.JSONDecodeError as fault:
        raise ProtocolViolation("Kiro's answer is not JSON", detail=str(fault)) from None
    if not isinstance(value, dict):
        raise ProtocolViolation("Kiro's answer is not a JSON object")
    if "__type" in value:  # an exception that came with a 200
        raise faults.classify(answer.status, answer.headers, answer.body)
    return value


async def _entries(
    key: str, page: Callable[[str], Awaitable[dict[str, Any]]]
) -> AsyncIterator[dict[str, Any]]:
    """Yield the objects under `key` of every page."""
    token = ""
    for _ in range(_MAX_PAGES):
        answer = await page(token)
        found = answer.get(key)
        for entry in found if isinstance(found, list) else ():
            if isinstance(entry, dict):
                yield entry
        following = answer.get("nextToken")
        if not isinstance(following, str) or following in ("", token):
            return
        token = following
    log.warning("%s: stopped after %d pages", key, _MAX_PAGES)
