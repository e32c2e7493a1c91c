"""TLS to a host over our own channel: who is refused, how it ends, what is resumed."""

import asyncio
import datetime
import ssl
from dataclasses import replace

import pytest
import trustme

from kiroproxy.config import Config
from kiroproxy.errors import ConnectFailed
from kiroproxy.upstream import secure
from kiroproxy.upstream.connection import ConnectionPool
from kiroproxy.upstream.secure import Security

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CONFIG = Config(connect_timeout_s=5, first_byte_timeout_s=5, idle_timeout_s=5)


def server_context(authority: trustme.CA, name: str = "localhost", **more) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(name, **more).configure_cert(context)
    return context


@pytest.fixture
async def pool(client_tls):
    made = ConnectionPool(CONFIG, context=client_tls)
    yield made
    await made.aclose()


class Host:
    """A script that answers, and keeps what TLS agreed on."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.agreed: list[tuple[str | None, str | None, bool]] = []

    async def __call__(self, peer, reader, writer) -> None:
        tls = writer.get_extra_info("ssl_object")
        self.agreed.append((tls.version(), tls.selected_alpn_protocol(), tls.session_reused))
        while True:
            await peer.request(reader)
            writer.write(self.answer)


async def ask(pool: ConnectionPool, peer, body: bytes = b"{}") -> bytes:
    return await (await pool.request("POST", peer.url, [], body)).read()


async def until(fact) -> None:
    while not fact():
        await asyncio.sleep(0.001)


PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize("fault", ["untrusted", "expired", "another name", "self-signed name"])
async def test_a_host_that_cannot_prove_itself_is_refused(serve, pool, authority, fault):
    host = Host()
    tls = {
        "untrusted": lambda: server_context(trustme.CA()),
        "expired": lambda: server_context(
            authority, not_before=PAST, not_after=PAST + datetime.timedelta(days=1)
        ),
        "another name": lambda: server_context(authority, "localhost.example"),
        "self-signed name": lambda: server_context(trustme.CA(), "another.example"),
    }[fault]()
    peer = await serve(host, tls=tls)
    with pytest.raises(ConnectFailed) as caught:
        await ask(pool, peer)
    assert "certificate" in caught.value.message
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    await until(lambda: not peer.open)
    assert peer.requests == [] and pool.open_count == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_agree_on_http_1_and_resume(serve, pool, authority, version):
    host = Host(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    tls = server_context(authority)
    tls.maximum_version = version
    peer = await serve(host, tls=tls)
    for _ in range(3):
        assert await ask(pool, peer) == b"ok"
    assert [alpn for _, alpn, _ in host.agreed] == ["http/1.1"] * 3
    assert [name for name, _, _ in host.agreed] == [version.name.replace("_", ".")] * 3
    assert [resumed for _, _, resumed in host.agreed] == [False, True, True]


async def test_a_fresh_session_is_offered_again_before_another_is_looked_at(
    serve, pool, authority, monkeypatch
):
    looked_at = []
    monkeypatch.setattr(Security, "_keep", lambda *_: looked_at.append(_))
    host = Host(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    peer = await serve(host, tls=server_context(authority))
    await ask(pool, peer)
    assert len(looked_at) == 1
    monkeypatch.undo()
    for _ in range(3):
        await ask(pool, peer)
    assert len(pool._security._sessions) == 1
    kept = dict(pool._security._sessions)
    await ask(pool, peer)
    assert pool._security._sessions == kept
    monkeypatch.setattr(secure, "_SESSION_FRESH_S", 0.0)
    await ask(pool, peer)
    assert pool._security._sessions != kept
    assert [resumed for _, _, resumed in host.agreed] == [False, False, True, True, True, True]


async def test_an_old_version_is_refused(serve, authority, client_tls):
    tls = server_context(authority)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    modern = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    modern.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.configure_trust(modern)
    pool = ConnectionPool(CONFIG, context=modern)
    with pytest.raises(ConnectFailed):
        await ask(pool, await serve(Host(), tls=tls))
    await pool.aclose()


async def test_a_peer_that_speaks_no_tls_is_a_connect_failure(serve, pool):
    async def script(peer, reader, writer) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    peer = await serve(script)
    peer.scheme = "https"
    with pytest.raises(ConnectFailed):
        await ask(pool, peer)
    await until(lambda: not peer.open)


async def test_a_peer_that_hangs_up_in_the_handshake_is_a_connect_failure(serve, pool):
    async def script(peer, reader, writer) -> None:
        await reader.read(1)

    peer = await serve(script)
    peer.scheme = "https"
    with pytest.raises(ConnectFailed):
        await ask(pool, peer)


async def test_our_close_notify_says_that_no_more_requests_come(serve, client_tls, server_tls):
    ends = []

    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        writer.write(OK)
        try:
            ends.append(await reader.read())
        except OSError as fault:
            ends.append(fault)

    pool = ConnectionPool(replace(CONFIG, pool_idle_s=0.02), context=client_tls)
    assert await ask(pool, await serve(script, tls=server_tls)) == b"ok"
    await until(lambda: ends)
    assert ends == [b""]
    await pool.aclose()
