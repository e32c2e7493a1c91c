"""What talks to a scripted peer: the peers themselves and a private authority."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme
import uvloop
from support.peers import Serve, peers

# Transports differ between the loops, most of all under TLS: what speaks to them runs on both.
_ON_BOTH_LOOPS = ("test_connection", "test_secure", "test_tunnel")


def pytest_asyncio_loop_factories(config, item):
    if item.path.stem in _ON_BOTH_LOOPS:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a peer: `await serve(script)`, or with `tls=` a server context."""
    async with peers() as start:
        yield start


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Return a private certificate authority, trusted by nobody yet."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return a server context for `localhost` under the private authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return a client context that trusts the private authority alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    authority.configure_trust(context)
    return context
