"""Requests through real proxies to a TLS host under a private authority."""

import asyncio
import base64
import socket
import ssl

import pytest
from support.proxies import PASSWORD, USER, connect_proxy, socks_proxy

from kiroproxy.accounts.proxy import Proxy
from kiroproxy.config import Config
from kiroproxy.errors import ConnectFailed, ProxyFailed
from kiroproxy.upstream.connection import ConnectionPool

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def hello(peer, reader, writer) -> None:
    while True:
        await peer.request(reader)
        writer.write(OK)


@pytest.fixture
async def pool(client_tls):
    made = ConnectionPool(Config(connect_timeout_s=5, first_byte_timeout_s=5), context=client_tls)
    yield made
    await made.aclose()


def through(scheme: str, peer, password: str = "", host: str = "localhost") -> Proxy:
    return Proxy(scheme, host, peer.port, USER if password else "", password)


async def ask(pool, host, proxy) -> bytes:
    response = await pool.request("POST", host.url, [], b"{}", proxy=proxy)
    return await response.read()


async def assert_refused(pool, host, proxy) -> str:
    """Expect ProxyFailed that tells which proxy and keeps its password; nothing left open."""
    with pytest.raises(ProxyFailed) as caught:
        await ask(pool, host, proxy)
    fault = caught.value
    assert f"{proxy.scheme}://{proxy.host}:{proxy.port}" in fault.detail
    for text in (str(fault), repr(fault), fault.detail, repr(fault.__cause__)):
        assert PASSWORD not in text
        assert base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() not in text
    assert host.accepted == 0
    return fault.detail


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("auth", [False, True], ids=["open", "auth"])
@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
async def test_bytes_arrive_through_every_kind_of_proxy(
    serve, pool, server_tls, scheme, auth, secure
):
    host = await serve(hello, tls=server_tls if secure else None)
    script = socks_proxy(auth) if scheme.startswith("socks") else connect_proxy(auth)
    peer = await serve(script, tls=server_tls if scheme == "https" else None)
    proxy = through(scheme, peer, PASSWORD if auth else "")
    for _ in range(3):
        assert await ask(pool, host, proxy) == b"ok"
    assert (peer.accepted, host.accepted, pool.idle_count) == (1, 1, 1)


async def test_connection_through_a_proxy_is_not_used_without_it(serve, pool, server_tls):
    host, peer = await serve(hello, tls=server_tls), await serve(connect_proxy())
    await ask(pool, host, through("http", peer))
    await ask(pool, host, None)
    await ask(pool, host, through("http", peer, "other"))
    assert (peer.accepted, host.accepted) == (2, 3)


async def test_socks5_resolves_here_and_socks5h_there(serve, pool, server_tls):
    host, peer = await serve(hello, tls=server_tls), await serve(socks_proxy())
    await ask(pool, host, through("socks5", peer))
    await ask(pool, host, through("socks5h", peer))
    (kind, address), remote = peer.requests
    assert (kind, socket.inet_ntoa(address)) == (b"\x01", "127.0.0.1")
    assert remote == (b"\x03", b"localhost")


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
async def test_wrong_password_is_the_proxys_refusal(serve, pool, server_tls, scheme):
    host = await serve(hello, tls=server_tls)
    script = socks_proxy(True) if scheme.startswith("socks") else connect_proxy(True)
    peer = await serve(script, tls=server_tls if scheme == "https" else None)
    proxy = Proxy(scheme, "localhost", peer.port, "somebody", PASSWORD)
    await assert_refused(pool, host, proxy)
    assert pool.open_count == 0


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
async def test_dead_proxy_is_a_proxy_failure(serve, pool, scheme):
    host = await serve(hello)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await assert_refused(pool, host, Proxy(scheme, "127.0.0.1", port, USER, PASSWORD))


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
async def test_proxy_that_hangs_up_or_says_nothing_is_a_proxy_failure(serve, client_tls, scheme):
    async def hangs_up(peer, reader, writer) -> None:
        await reader.read(1)

    async def says_nothing(peer, reader, writer) -> None:
        await reader.read()

    impatient = ConnectionPool(Config(connect_timeout_s=0.2), context=client_tls)
    host = await serve(hello)
    for script in (hangs_up, says_nothing):
        peer = await serve(script)
        await assert_refused(impatient, host, through(scheme, peer, PASSWORD))
        while peer.open:
            await asyncio.sleep(0.001)
    await impatient.aclose()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nno!", "502"),
        (b"HTTP/1.1 200 Established\r\n\r\nsurprise", "spoke inside"),
        (b"HTTP/1.1 200 Established\r\nx: " + b"y" * 100_000, "too long"),
        (b"\x05\x00\x00 what\r\n\r\n", "illegal"),
    ],
    ids=["502", "early bytes", "long head", "not http"],
)
async def test_unfit_answer_to_connect_is_a_proxy_failure(serve, pool, answer, told):
    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        writer.write(answer)
        await reader.read()

    host, peer = await serve(hello), await serve(script)
    detail = await assert_refused(pool, host, through("http", peer))
    assert told in detail.lower()
    while peer.open:
        await asyncio.sleep(0.001)


async def test_socks_refusal_names_its_code(serve, pool):
    host, peer = await serve(hello), await serve(socks_proxy(code=5))
    assert "code 5" in await assert_refused(pool, host, through("socks5h", peer))


async def test_socks_proxy_that_wants_a_login_is_not_given_none(serve, pool):
    host, peer = await serve(hello), await serve(socks_proxy(auth=True))
    assert "no login" in await assert_refused(pool, host, through("socks5h", peer))


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
async def test_proxy_cannot_stand_in_for_the_host(serve, server_tls, authority, scheme):
    """The tunnel's far end is verified as strictly as a direct one."""
    host = await serve(hello, tls=server_tls)
    script = socks_proxy() if scheme.startswith("socks") else connect_proxy()
    peer = await serve(script, tls=server_tls if scheme == "https" else None)
    context = ssl.create_default_context()
    if scheme == "https":
        authority.configure_trust(context)
        url = f"https://127.0.0.1:{host.port}"  # a name the certificate does not have
    else:
        url = host.url
    doubting = ConnectionPool(Config(connect_timeout_s=5, first_byte_timeout_s=5), context=context)
    with pytest.raises(ConnectFailed) as caught:
        await doubting.request("POST", url, [], b"", proxy=through(scheme, peer))
    assert not isinstance(caught.value, ProxyFailed)
    assert "certificate" in caught.value.message
    await doubting.aclose()
    while peer.open or host.open:
        await asyncio.sleep(0.001)


async def test_untrusted_https_proxy_is_a_proxy_failure(serve, server_tls):
    host, peer = await serve(hello), await serve(connect_proxy(), tls=server_tls)
    doubting = ConnectionPool(
        Config(connect_timeout_s=5, first_byte_timeout_s=5), context=ssl.create_default_context()
    )
    await assert_refused(doubting, host, through("https", peer))
    assert peer.requests == []
    await doubting.aclose()


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
async def test_cancelled_opening_leaves_no_socket(serve, pool, server_tls, scheme):
    async def stalls(peer, reader, writer) -> None:
        await reader.read(1)
        peer.asked.set()
        await reader.read()

    host = await serve(hello, tls=server_tls)
    peer = await serve(stalls, tls=server_tls if scheme == "https" else None)
    task = asyncio.create_task(ask(pool, host, through(scheme, peer)))
    await peer.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while peer.open:
        await asyncio.sleep(0.001)
    assert pool.open_count == 0
