"""Files that a client names by URL, fetched without becoming its way into this network.

Rules of this file: https to port 443 of a named host and nothing else; a name is resolved once,
every address it has must be public, and the connection goes to the address that was checked, with
the name only in the TLS handshake and the Host header. A redirect is a new URL and gets every
check again. No cookie, no credential and no environment variable goes out; never through a
proxy, for a proxy resolves names by itself, or stands where our checks mean nothing.

Theory of operation. Hosts written as numbers are refused as such, so no spelling of an address
(decimal, octal, IPv6 with an IPv4 inside) has to be understood; what a name resolves to comes
back as an address, and there the table below decides. Only 2000::/3 is public IPv6, so that
mapped, translated and local addresses are outside it already. What the client is told does not
say whether a name was unknown, private or silent: it would be a map of the network.

Source: IANA's special-purpose registries for IPv4 and IPv6; the clouds' metadata addresses.
"""

import asyncio
import re
import socket
import ssl
import string
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin

from kiroproxy.accounts.proxy import parse_proxy
from kiroproxy.config import Source
from kiroproxy.upstream.tls import client_context

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 3
TOTAL_S = 20.0  # for all of it, redirects and body included
SILENCE_S = 10.0
_REDIRECTS = (301, 302, 303, 307, 308)

_UNREACHABLE = "Unable to download the file. Please verify the URL and try again."
_NOT_HTTPS = "Only HTTPS URLs are supported."

_URL = re.compile(r"https://(?P<host>[^/?#:@\\\[\]]+)(?::(?P<port>\d{1,5}))?(?P<rest>[/?#].*)?")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
# A top-level domain begins with a letter and a number does not: this is where 127.1, 0x7f.1 and
# 2130706433 end. One label alone is a name of the local network.
_NAME = re.compile(
    r"(?=.{4,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])"
)
# Names that mean this machine or this network wherever they are asked (RFC 6761, 6762, 8375, and
# what ICANN keeps from ever being delegated).
_LOCAL_DOMAINS = (
    "localhost", "localdomain", "local", "internal", "intranet", "private", "lan", "home", "corp",
    "home.arpa", "test", "example", "invalid", "onion", "alt", "in-addr.arpa", "ip6.arpa",
)  # fmt: skip

_NOT_PUBLIC_4 = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata is in it
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host: public by number, inside by routing
            "169.254.0.0/16",  # link-local; most clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_PUBLIC_6 = ip_network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    map(
        ip_network,
        (
            "2001::/23",  # Teredo, ORCHID, benchmarks: an IPv4 address may be inside
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address is inside
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Unfetchable(Exception):
    """Why there is no file. Shape: `message` is for the client, `detail` for the log alone."""

    def __init__(self, message: str, detail: str) -> None:
        super().__init__(message)
        self.message, self.detail = message, detail


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole file and what its server calls it. Shape: media type in lower case, bare."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A URL that may be asked for, in its parts."""

    host: str
    port: int
    target: str  # path and query, as on the request line


def is_public(address: str) -> bool:
    """Tell whether an address belongs to the internet at large."""
    try:
        ip = ip_address(address)
    except ValueError:  # with a zone, or no address at all
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_4)
    if ip.scope_id or ip not in _PUBLIC_6:
        return False
    return not any(ip in network for network in _NOT_PUBLIC_6)


def is_own(address: str) -> bool:
    """Tell whether an address is one of this machine's: it would lead past its firewall."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 443))  # sends nothing; it only picks the way out
        except OSError:  # no way there: connecting will say so
            return False
        return ip_address(probe.getsockname()[0]) == ip_address(address)


def is_allowed(address: str) -> bool:
    """Tell whether a connection may go to an address."""
    return is_public(address) and not is_own(address)


async def resolve(host: str, port: int) -> list[str]:
    """Return every address of a name. Raises: OSError — it has none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def place_of(url: str, ports: frozenset[int]) -> Place:
    """Take a URL apart. Raises: Unfetchable — anything but a plain https URL of a public name."""
    if _UNPRINTABLE.search(url):
        raise Unfetchable(_UNREACHABLE, "control characters, spaces or backslashes in the URL")
    scheme, colon, rest = url.partition(":")
    if colon and scheme.lower() != "https":
        raise Unfetchable(_NOT_HTTPS, f"scheme {scheme[:20]!r}")
    found = _URL.fullmatch(f"{scheme.lower()}:{rest}")
    if found is None:
        raise Unfetchable(_UNREACHABLE, "not of the form https://host/path")
    host, port = found["host"].lower().removesuffix("."), int(found["port"] or 443)
    if not _NAME.fullmatch(host):
        raise Unfetchable(_UNREACHABLE, f"{host[:80]!r} is not a public host name")
    if any(host == domain or host.endswith(f".{domain}") for domain in _LOCAL_DOMAINS):
        raise Unfetchable(_UNREACHABLE, f"{host!r} is a name of the local network")
    if port not in ports:
        raise Unfetchable(_UNREACHABLE, f"port {port}")
    target = (found["rest"] or "/").partition("#")[0]
    target = target if target.startswith("/") else f"/{target}"
    # Letters beyond ASCII are sent as browsers do; what is encoded already stays as it is.
    return Place(host, port, quote(target, safe=string.punctuation))


class Fetcher:
    """Downloads. One connection for each request: none is ever shared between names."""

    def __init__(
        self,
        config: Source,
        *,
        resolve: Resolve = resolve,
        is_allowed: Callable[[str], bool] = is_allowed,
        ports: frozenset[int] = frozenset({443}),
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._source = config
        self._resolve, self._is_allowed, self._ports = resolve, is_allowed, ports
        self._context = context

    async def get(self, url: str, limit_bytes: int) -> Fetched:
        """Download a file. Raises: Unfetchable — for every reason there can be."""
        if parse_proxy(self._source.current.proxy_url) is not None:
            raise Unfetchable(
                "This gateway does not fetch URLs through its proxy; send the file as base64",
                "proxyUrl is set",
            )
        import httpx

        try:
            async with asyncio.timeout(TOTAL_S):
                return await self._follow(url, limit_bytes)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as fault:
            # TimeoutError and ssl.SSLError are OSErrors.
            raise Unfetchable(_UNREACHABLE, repr(fault)) from fault

    async def _follow(self, url: str, limit_bytes: int) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._ask(place_of(url, self._ports), limit_bytes)
            if isinstance(answer, Fetched):
                return answer
            url = urljoin(url, answer)
        raise Unfetchable(_UNREACHABLE, f"more than {MAX_REDIRECTS} redirects")

    async def _ask(self, place: Place, limit_bytes: int) -> Fetched | str:
        """Ask once: a file, or where it went."""
        import httpx

        address = await self._address(place)
        shown = f"[{address}]" if ":" in address else address
        host = place.host if place.port == 443 else f"{place.host}:{place.port}"
        async with httpx.AsyncClient(
            verify=self._context or client_context(self._source.current.tls_backend),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(SILENCE_S, connect=self._source.current.connect_timeout_s),
        ) as http:
            request = http.build_request(
                "GET",
                f"https://{shown}:{place.port}{place.target}",
                # The certificate is checked against this name, as it was for the client.
                extensions={"sni_hostname": place.host},
                headers={
                    "host": host,
                    "accept": "*/*",
                    "accept-encoding": "identity",  # what is small packed may be huge unpacked
                    "user-agent": "kiroproxy",
                },
            )
            response = await http.send(request, stream=True)
            try:
                return await _read(response, limit_bytes)
            finally:
                await response.aclose()

    async def _address(self, place: Place) -> str:
        """Resolve a name once. All its addresses must do: a mixed answer is a trap."""
        addresses = await self._resolve(place.host, place.port)
        refused = [address for address in addresses if not self._is_allowed(address)]
        if refused or not addresses:
            raise Unfetchable(_UNREACHABLE, f"{place.host} resolves to {refused or 'nothing'}")
        return addresses[0]


async def _read(response: "httpx.Response", limit_bytes: int) -> Fetched | str:
    if response.status_code in _REDIRECTS:
        return str(response.headers.get("location", ""))
    if response.status_code != 200:
        raise Unfetchable(_UNREACHABLE, f"HTTP {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise Unfetchable(_UNREACHABLE, "a content encoding that was not asked for")
    declared = response.headers.get("content-length", "")
    too_large = Unfetchable(
        f"The file exceeds the maximum of {limit_bytes} bytes", f"more than {limit_bytes} bytes"
    )
    if re.fullmatch(r"[0-9]{1,18}", declared) and int(declared) > limit_bytes:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > limit_bytes:
            raise too_large
        parts.append(part)
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Fetched(media_type, b"".join(parts))
