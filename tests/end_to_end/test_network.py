"""Proxies and trust, through the whole gateway: refresh, usage and stream take the same way."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.peers import Serve, peers
from support.proxies import PASSWORD, USER, connect_proxy, socks_proxy

from kiroproxy.simulator.server import Simulator

HELLO = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say hello"}],
}
EXPIRED = "2020-01-01T00:00:00Z"
SCHEMES = ["http", "https", "socks5", "socks5h"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """Return the environment in which the private authority is trusted."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}


def context(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(made)
    return made


@pytest.fixture
async def start() -> AsyncIterator[Serve]:
    async with peers() as made:
        yield made


async def secure(authority: trustme.CA, name: str = "localhost") -> Simulator:
    """A simulator under the private authority, known as `localhost`."""
    simulator = Simulator(tls=context(authority, name), pace_s=0.0)
    await simulator.start()
    return simulator


def urls(simulator: Simulator) -> dict[str, str]:
    return {k: v.replace("127.0.0.1", "localhost") for k, v in simulator.upstream().items()}


async def ask(gateway: Any) -> Any:
    async with gateway.client() as client:
        return await client.post("/v1/messages", json=HELLO)


def expired(simulator: Simulator) -> list[dict[str, Any]]:
    return [entry | {"expiresAt": EXPIRED} for entry in simulator.credentials()]


@pytest.mark.parametrize("backend", ["rustls", "native-tls"])
async def test_a_private_authority_is_trusted_when_it_is_named(
    serve: Any, authority: trustme.CA, trusted: dict[str, str], backend: str
) -> None:
    simulator = await secure(authority)
    try:
        config = {"upstream": urls(simulator), "tlsBackend": backend}
        gateway = await serve(simulator, config, credentials=expired(simulator), environ=trusted)
        assert (await ask(gateway)).status_code == 200
        assert len(simulator.of("refresh")) == 1
    finally:
        await simulator.stop()


@pytest.mark.parametrize("backend", ["rustls", "native-tls"])
@pytest.mark.parametrize("fault", ["an unknown authority", "another name"])
async def test_a_host_that_cannot_prove_itself_gets_no_token(
    serve: Any, authority: trustme.CA, trusted: dict[str, str], backend: str, fault: str
) -> None:
    other_name = fault == "another name"
    simulator = await secure(authority, "elsewhere.example" if other_name else "localhost")
    try:
        config = {"upstream": urls(simulator), "tlsBackend": backend}
        gateway = await serve(simulator, config, environ=trusted if other_name else {})
        answered = await ask(gateway)
        assert answered.status_code in (502, 503, 504) and answered.json()["type"] == "error"
        assert simulator.requests == []
    finally:
        await simulator.stop()


@pytest.mark.parametrize("level", ["for all", "for one credential"])
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_everything_goes_through_the_proxy(
    serve: Any,
    start: Serve,
    authority: trustme.CA,
    trusted: dict[str, str],
    scheme: str,
    level: str,
) -> None:
    socks = scheme.startswith("socks")
    script = socks_proxy(True, in_pieces=False) if socks else connect_proxy(True)
    proxy = await start(script, tls=context(authority) if scheme == "https" else None)
    settings = {
        "proxyUrl": f"{scheme}://localhost:{proxy.port}",
        "proxyUsername": USER,
        "proxyPassword": PASSWORD,
    }
    simulator = await secure(authority)
    try:
        config: dict[str, Any] = {"upstream": urls(simulator)}
        entries = expired(simulator)
        if level == "for all":
            config |= settings
        else:
            entries = [entry | settings for entry in entries]
        gateway = await serve(simulator, config, credentials=entries, environ=trusted)
        assert (await ask(gateway)).status_code == 200, gateway.log
        assert len(simulator.of("refresh")) == 1
        # What the simulator saw came out of the proxy, connection by connection.
        assert proxy.accepted == simulator.connections >= 2
        assert PASSWORD not in gateway.log
    finally:
        await simulator.stop()


async def test_direct_passes_the_proxy_by(sim: Simulator, serve: Any, start: Serve) -> None:
    proxy = await start(connect_proxy(True))
    config = {"proxyUrl": f"http://localhost:{proxy.port}"}
    entries = [entry | {"proxyUrl": "direct"} for entry in sim.credentials()]
    gateway = await serve(sim, config, credentials=entries)
    assert (await ask(gateway)).status_code == 200
    assert proxy.accepted == 0


async def test_a_proxy_that_refuses_is_an_error_without_its_password(
    sim: Simulator, serve: Any, start: Serve
) -> None:
    proxy = await start(connect_proxy(True))
    config = {"proxyUrl": f"http://wrong:pass-word@localhost:{proxy.port}"}
    gateway = await serve(sim, config)
    answered = await ask(gateway)
    assert answered.status_code == 502 and sim.requests == []
    assert "pass-word" not in answered.text + gateway.log


async def test_connections_to_kiro_are_kept_and_used_again(sim: Simulator, serve: Any) -> None:
    gateway = await serve(sim)
    for _ in range(10):
        assert (await ask(gateway)).status_code == 200
    assert len({call.connection for call in sim.of("generate")}) == 1
