"""The way to a host: directly, or through an HTTP or SOCKS5 proxy, with or without TLS.

Rules of this file: one timeout covers everything up to the finished TLS handshake; whatever
goes wrong, also a cancellation, leaves no socket behind; the proxy's password never reaches
an exception's text. The proxies' own grammars belong to h11 and socksio, not to us.

Theory of operation. Direct connections are the event loop's `create_connection`. Through a
proxy a small handshake protocol speaks first. Then the transport is handed to the caller's
protocol, or to a TLS channel that carries it. An `https://` proxy is the same over the event
loop's TLS transport, which makes the target's TLS run inside the proxy's.
`socks5` resolves the name here, `socks5h` leaves that to the proxy.

Source: RFC 9110 §9.3.6 (CONNECT), RFC 1928 and 1929 (SOCKS5).
"""

import asyncio
import base64
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from kiroproxy.errors import ConnectFailed, ProxyFailed, UpstreamTimeout
from kiroproxy.upstream.secure import Secured, Security

if TYPE_CHECKING:
    from socksio import socks5

_CONNECT_HEAD_LIMIT = 16 * 1024  # h11 and nginx draw the line for a response head there


class ProxySettings(Protocol):
    """What a tunnel needs to know of a proxy; `accounts.credential.Proxy` is one."""

    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str: ...


P = TypeVar("P", bound=asyncio.BufferedProtocol)


async def open_tunnel(
    loop: asyncio.AbstractEventLoop,
    proxy: ProxySettings | None,
    host: str,
    port: int,
    security: Security | None,
    protocol_factory: Callable[[], P],
    timeout_s: float,
    *,
    proxy_context: ssl.SSLContext | None = None,
) -> P:
    """Connect to a host and hand the transport to a fresh protocol, which is returned.

    Shape: `security` None speaks plainly to the host; `proxy_context` verifies an `https://`
    proxy.
    Raises: ConnectFailed — DNS, TCP or TLS to the host; ProxyFailed — the proxy is away or
        says no; UpstreamTimeout — not done within `timeout_s`.
    """
    handshake: _Handshake | None = None
    try:
        async with asyncio.timeout(timeout_s):
            if proxy is None:
                return await _direct(loop, host, port, security, protocol_factory)
            handshake = await _reach_proxy(loop, proxy, proxy_context)
            return await _through(loop, proxy, handshake, host, port, security, protocol_factory)
    except TimeoutError as fault:
        within = f"no connection within connectTimeout ({timeout_s:g} s)"
        if proxy is not None and not (handshake and handshake.is_open):
            raise ProxyFailed(_AWAY, detail=f"{_address(proxy)}: {within}") from fault
        raise UpstreamTimeout(
            "Kiro could not be reached in time",
            setting="connectTimeout",
            detail=f"{host}:{port}: {within}",
        ) from fault


async def _direct(
    loop: asyncio.AbstractEventLoop,
    host: str,
    port: int,
    security: Security | None,
    protocol_factory: Callable[[], P],
) -> P:
    channel = security.channel(loop, host, port) if security is not None else None
    try:
        if channel is None:
            return (await loop.create_connection(protocol_factory, host, port))[1]
        await loop.create_connection(lambda: channel, host, port)
    except (OSError, UnicodeError) as fault:
        raise _connect_failed(host, port, fault) from fault
    except BaseException:
        if channel is not None:
            channel.abort()
        raise
    return await _carried(channel, host, port, protocol_factory)


async def _reach_proxy(
    loop: asyncio.AbstractEventLoop, proxy: ProxySettings, context: ssl.SSLContext | None
) -> "_Handshake":
    if proxy.scheme == "https" and context is None:
        raise ProxyFailed(_AWAY, detail=f"no TLS context for {_address(proxy)}")
    secure = proxy.scheme == "https"
    try:
        _, handshake = await loop.create_connection(
            _Handshake,
            proxy.host,
            proxy.port,
            ssl=context if secure else None,
            server_hostname=proxy.host if secure else None,
        )
    except (OSError, UnicodeError) as fault:
        raise ProxyFailed(_AWAY, detail=f"{_address(proxy)}: {_reason(fault)}") from fault
    return handshake


async def _through(
    loop: asyncio.AbstractEventLoop,
    proxy: ProxySettings,
    handshake: "_Handshake",
    host: str,
    port: int,
    security: Security | None,
    protocol_factory: Callable[[], P],
) -> P:
    try:
        if proxy.scheme in ("http", "https"):
            await _http_connect(proxy, handshake, host, port)
        else:
            await _socks_connect(loop, proxy, handshake, host, port)
        transport = handshake.release(proxy)
        if security is not None:
            channel = security.channel(loop, host, port)
            transport.set_protocol(channel)
            channel.connection_made(transport)
            return await _carried(channel, host, port, protocol_factory)
        protocol = protocol_factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return protocol
    except BaseException:
        handshake.transport.abort()
        raise


async def _carried(channel: Secured, host: str, port: int, protocol_factory: Callable[[], P]) -> P:
    """Wait for the handshake, then have the channel carry a fresh protocol."""
    try:
        await channel.shaken
    except (OSError, ValueError) as fault:  # ssl.SSLError is an OSError
        raise _connect_failed(host, port, fault) from fault
    except BaseException:
        channel.abort()
        raise
    protocol = protocol_factory()
    channel.carry(protocol)
    return protocol


async def _http_connect(
    proxy: ProxySettings, handshake: "_Handshake", host: str, port: int
) -> None:
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [("Host", authority)]
    if proxy.username or proxy.password:
        pair = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
        headers.append(("Proxy-Authorization", f"Basic {pair}"))
    import h11

    speaker = h11.Connection(h11.CLIENT, max_incomplete_event_size=_CONNECT_HEAD_LIMIT)
    request = speaker.send(h11.Request(method="CONNECT", target=authority, headers=headers))
    handshake.transport.write(request or b"")
    try:
        answer = speaker.next_event()
        while not isinstance(answer, h11.Response):
            if answer is h11.NEED_DATA:
                speaker.receive_data(await handshake.read_some())
            answer = speaker.next_event()
    except (h11.RemoteProtocolError, EOFError) as fault:
        raise ProxyFailed(_REFUSED, detail=f"{_address(proxy)}: {_reason(fault)}") from fault
    if answer.status_code == 407:
        raise ProxyFailed(_REFUSED, detail=f"{_address(proxy)} wants other credentials (407)")
    if not 200 <= answer.status_code < 300:
        raise ProxyFailed(
            _REFUSED, detail=f"{_address(proxy)} answered {answer.status_code} to CONNECT"
        )
    handshake.received[:0] = speaker.trailing_data[0]


async def _socks_connect(
    loop: asyncio.AbstractEventLoop,
    proxy: ProxySettings,
    handshake: "_Handshake",
    host: str,
    port: int,
) -> None:
    target = await _resolved(loop, host, port) if proxy.scheme == "socks5" else host
    import socksio
    from socksio import socks5

    speaker = socks5.SOCKS5Connection()
    try:
        await _socks_login(proxy, handshake, speaker)
        speaker.send(
            socks5.SOCKS5CommandRequest.from_address(socks5.SOCKS5Command.CONNECT, (target, port))
        )
        handshake.transport.write(speaker.data_to_send())
        # Whole messages only: socksio takes any piece for a malformed one.
        head = await handshake.read_exactly(4)
        if head[1:2] != socks5.SOCKS5ReplyCode.SUCCEEDED:
            raise ProxyFailed(
                _REFUSED, detail=f"{_address(proxy)} answered SOCKS code {head[1]} for {target}"
            )
        head += await handshake.read_exactly(1)
        rest = {1: 4, 3: head[4] + 1, 4: 16}.get(head[3], 1) - 1
        speaker.receive_data(head + await handshake.read_exactly(rest + 2))
    except (socksio.ProtocolError, socksio.SOCKSError, EOFError) as fault:
        raise ProxyFailed(_REFUSED, detail=f"{_address(proxy)}: {_reason(fault)}") from fault


async def _socks_login(
    proxy: ProxySettings, handshake: "_Handshake", speaker: "socks5.SOCKS5Connection"
) -> None:
    from socksio import socks5

    methods = [socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED]
    if proxy.username or proxy.password:
        methods.insert(0, socks5.SOCKS5AuthMethod.USERNAME_PASSWORD)
    speaker.send(socks5.SOCKS5AuthMethodsRequest(methods))
    handshake.transport.write(speaker.data_to_send())
    choice = speaker.receive_data(await handshake.read_exactly(2))
    assert isinstance(choice, socks5.SOCKS5AuthReply)  # its state machine allows nothing else
    if choice.method not in methods:
        raise ProxyFailed(_REFUSED, detail=f"{_address(proxy)} accepts no login of ours")
    if choice.method == socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED:
        return
    user, password = proxy.username.encode(), proxy.password.encode()
    if len(user) > 255 or len(password) > 255:
        raise ProxyFailed(_REFUSED, detail=f"{_address(proxy)}: credentials exceed 255 bytes")
    speaker.send(socks5.SOCKS5UsernamePasswordRequest(user, password))
    handshake.transport.write(speaker.data_to_send())
    reply = speaker.receive_data(await handshake.read_exactly(2))
    assert isinstance(reply, socks5.SOCKS5UsernamePasswordReply)
    if not reply.success:
        raise ProxyFailed(_REFUSED, detail=f"{_address(proxy)} refused user name or password")


async def _resolved(loop: asyncio.AbstractEventLoop, host: str, port: int) -> str:
    """Return one address of a host, IPv4 first: few SOCKS servers reach IPv6."""
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as fault:
        raise _connect_failed(host, port, fault) from fault
    addresses = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
    return str(ipaddress.ip_address(addresses[0][4][0]))


class _Handshake(asyncio.Protocol):
    """Reads what a proxy says before the tunnel is open."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.is_open = False  # the proxy has agreed, the bytes are the target's from now on
        self._ended = False
        self._more: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._wake()

    async def read_some(self) -> bytes:
        """Return what has come. Raises: EOFError — the proxy hung up."""
        while not self.received:
            await self._wait()
        data = bytes(self.received)
        self.received.clear()
        return data

    async def read_exactly(self, count: int) -> bytes:
        """Return `count` bytes. Raises: EOFError — the proxy hung up before them."""
        while len(self.received) < count:
            await self._wait()
        data = bytes(self.received[:count])
        del self.received[:count]
        return data

    def release(self, proxy: ProxySettings) -> asyncio.Transport:
        """Give the transport away. Raises: ProxyFailed — the tunnel is not a clean one."""
        # Both TLS and HTTP let the client speak first: bytes already here are the proxy's.
        if self.received or self._ended or self.transport.is_closing():
            raise ProxyFailed(_REFUSED, detail=f"{_address(proxy)} spoke inside the tunnel")
        self.is_open = True
        return self.transport

    async def _wait(self) -> None:
        if self._ended:
            raise EOFError("the proxy closed the connection")
        self._more = asyncio.get_running_loop().create_future()
        await self._more

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)


_AWAY = "the configured proxy cannot be reached"
_REFUSED = "the configured proxy refused the connection"


def _address(proxy: ProxySettings) -> str:
    return f"{proxy.scheme}://{proxy.host}:{proxy.port}"


def _connect_failed(host: str, port: int, fault: BaseException) -> ConnectFailed:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return ConnectFailed(
            "Kiro's certificate could not be verified",
            detail=f"{host}:{port}: {fault.verify_message}; add a private CA with SSL_CERT_FILE",
        )
    return ConnectFailed("Kiro cannot be reached", detail=f"{host}:{port}: {_reason(fault)}")


def _reason(fault: BaseException) -> str:
    return str(fault) or type(fault).__name__
