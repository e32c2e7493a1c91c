"""HTTP clients for servers of a test, which all speak without TLS."""

import ssl
from typing import Any

import httpx

# One for all, and it trusts nobody. Each client of httpx would else read the certificates of all
# public authorities for itself, which takes longer than most tests.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def client(base_url: str = "", **options: Any) -> httpx.AsyncClient:
    """Make a client that asks these servers alone, whatever proxies the environment names."""
    return httpx.AsyncClient(base_url=base_url, verify=NO_TLS, trust_env=False, **options)
