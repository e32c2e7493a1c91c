"""Fetching by URL: nothing a client can write reaches a host that is not on the internet.

The canary is a server on this machine which counts whoever connects, TLS or not. A control shows
that it would be reached if the guard let go, so that the corpus is able to fail.
"""

import asyncio
import ipaddress
import itertools
import socket
import ssl

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from support.peers import Peer, Serve

from kiroproxy.config import Config
from kiroproxy.upstream import fetch
from kiroproxy.upstream.fetch import Fetched, Fetcher, Unfetchable, is_allowed, is_own, is_public

NAME = "files.kiroproxy-tests.net"
UNREACHABLE = "Unable to download the file. Please verify the URL and try again."

# -- addresses ---------------------------------------------------------------------------------

PRIVATE_4 = [
    "127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "0.0.0.0", "0.0.0.1", "0.255.255.255",
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255",
    "169.254.0.1", "169.254.169.254", "169.254.170.2", "169.254.169.123", "169.254.169.253",
    "100.64.0.1", "100.100.100.200", "100.127.255.255", "192.0.0.1", "192.0.0.192", "192.0.0.170",
    "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "192.88.99.1",
    "192.31.196.1", "192.52.193.1", "192.175.48.1", "168.63.129.16", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255",
]  # fmt: skip
PRIVATE_6 = [
    "::", "::1", "::2", "fe80::1", "fe80::1%lo", "febf::1", "fec0::1", "fc00::1", "fd00::1",
    "fd00:ec2::254", "fd20:ce::254", "ff02::1", "ff05::2", "100::1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2001::1", "2001:0:7f00:1::1", "2001:10::1",
    "2001:20::1", "2001:2::1", "2001:db8::1", "2002:7f00:1::1", "2002:a9fe:a9fe::", "3fff::1",
    "5f00::1", "4000::1", "::7f00:1", "::ffff:0:7f00:1", "2620:4f:8000::1", "2001:1::1",
]  # fmt: skip
MAPPED = [f"::ffff:{address}" for address in PRIVATE_4]
TRANSLATED = [f"64:ff9b::{address}" for address in PRIVATE_4]
SIX_TO_FOUR = [
    str(ipaddress.IPv6Address((0x2002 << 112) | int(ipaddress.IPv4Address(address)) << 80))
    for address in PRIVATE_4
]
PRIVATE = PRIVATE_4 + PRIVATE_6 + MAPPED + TRANSLATED + SIX_TO_FOUR
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1",
    "126.255.255.255", "128.0.0.1", "172.15.255.255", "172.32.0.1", "192.167.255.255",
    "169.253.255.255", "169.255.0.1", "192.169.0.1", "198.17.255.255", "198.20.0.1",
    "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::5", "2001:4860:4860::8888",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_for_special_purposes_is_not_public(address: str) -> None:
    assert not is_public(address)
    assert not is_allowed(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_nothing_is_public_that_the_registries_say_is_not(address: ipaddress.IPv4Address) -> None:
    if not address.is_global or address.is_multicast:
        assert not is_public(str(address))


@given(st.text(max_size=40))
def test_what_is_no_address_is_not_public(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        assert not is_public(text)


def test_this_machines_own_addresses_are_known() -> None:
    assert is_own("127.0.0.1")
    assert not is_own("203.0.113.9")


# -- the corpus --------------------------------------------------------------------------------

# Where a name of the attacker's leads; everything else is resolved as this machine does it.
TRAPS = {f"trap{number}.attacker-tests.net": [address] for number, address in enumerate(PRIVATE)}
TRAPS["mixed.attacker-tests.net"] = ["93.184.216.34", "127.0.0.1"]
TRAPS["mixed6.attacker-tests.net"] = ["2606:4700::1111", "::1"]
TRAPS["nothing.attacker-tests.net"] = []

HOSTS = [
    # an address, as browsers, inet_aton and curl read it
    "127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.0.0.01", "0127.0.0.1", "0177.0.0.1",
    "0177.0.0.01", "00000177.0.0.1", "0x7f.0.0.1", "0x7f.0x0.0x0.0x1", "0X7F.1", "0x7f000001",
    "0x7F000001", "0x000000007f000001", "2130706433", "2130706433.", "017700000001", "0", "0.0.0.0",
    "0x0", "00", "127.0.0.1.0x", "127.0.0.0x1", "127.127", "127.0.0.256", "4294967295", "1",
    "0xa9fea9fe", "2852039166", "169.254.43518", "169.16689662", "0251.0376.0251.0376",
    "025177524776", "169.254.169.254", "0xA9.0xFE.0xA9.0xFE", "192.168.1", "0xc0a80001",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]", "[fd00:ec2::254]",
    "[::1%25lo]", "[v1.fe80::a]", "[::1", "::1",
    # other letters for digits and dots
    "１２７.０.０.１", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "①②⑦.⓪.⓪.①", "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "१२७.०.०.१",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "loc\u00adalhost", "localho\u017ft", "l\u200bocalhost", "lоcalhost",
    # names of this machine and this network
    "localhost", "LOCALHOST", "LocalHost.", "localhost.localdomain", "localhost6", "ip6-localhost",
    "ip6-loopback", "loopback", "broadcasthost", "a.localhost", "a.b.localhost.", "kubernetes",
    "kubernetes.default.svc", "metadata", "metadata.google.internal", "instance-data",
    "instance-data.ec2.internal", "host.docker.internal", "gateway.docker.internal", "router.lan",
    "printer.local", "nas.home", "fritz.box.home.arpa", "vault.corp", "wiki.intranet", "db.private",
    "1.0.0.127.in-addr.arpa", "x.onion", "a.test", "a.example", "a.invalid", "a.alt",
    # not a host at all
    "", ".", "..", "-", "a", "a..net", ".a.net", "a-.net", "-a.net", "a.net..", "a_.b.c_",
    "%31.net",
    "127.0.0.1%00.a.net", "a.net%2f@localhost", "a" * 64 + ".net", "a." * 130 + "net", "*.a.net",
]  # fmt: skip
# Whole URLs that readers disagree about. {port} is the canary's.
URLS = [
    "http://127.0.0.1:{port}/", "http://localhost:{port}/", "HTTP://localhost:{port}/",
    "ftp://localhost:{port}/", "file:///etc/passwd", "file://localhost/etc/passwd",
    "gopher://localhost:{port}/_x",
    "dict://localhost:{port}/", "ldap://localhost:{port}/", "ws://localhost:{port}/",
    "javascript:alert(1)",
    "data:text/html,x", "jar:https://localhost:{port}/!/", "view-source:https://localhost:{port}/",
    "//localhost:{port}/", "localhost:{port}", "/etc/passwd", "", "https:", "https:/", "https://",
    "https:/localhost:{port}/", "https:localhost:{port}/", "https:///localhost:{port}/",
    "https:////localhost/",
    "https:\\\\localhost:{port}\\", "https://\\localhost:{port}/", "\\\\localhost\\share",
    "https://localhost:{port}\\@a.net/",
    "https://a.net@localhost:{port}/", "https://a.net:x@localhost:{port}/",
    "https://a.net%40localhost:{port}/",
    "https://a.net#@localhost:{port}/", "https://a.net?@localhost:{port}/",
    "https://localhost:{port}#@a.net/",
    "https://a.net\\@localhost:{port}/", "https://a.net:443@localhost:{port}/",
    "https://@localhost:{port}/",
    "https://localhost:{port}:443/", "https://localhost:443:{port}/",
    "https://localhost:+{port}/", "https://localhost: {port}/",
    "https://localhost:0x1/", "https://localhost:/", "https://localhost:99999999/",
    "https://[localhost]:{port}/",
    "https://[::1]:{port}/", "https://[::ffff:127.0.0.1]:{port}/", "https://[::1]@a.net:{port}/",
    "https://[::1]a.net:{port}/",
    " https://localhost:{port}/", "https://localhost:{port}/ ", "\thttps://localhost:{port}/",
    "https://local\thost:{port}/",
    "https://localhost\r\n:{port}/", "https://localhost:{port}/\r\nX-A: b",
    "ht\ntps://localhost:{port}/", "https://localhost\x00.a.net:{port}/",
    "https://localhost%00.a.net:{port}/", "https://localhost%0d%0a:{port}/",
    "https://%6c%6f%63%61%6c%68%6f%73%74:{port}/",
    "https://trap0.attacker-tests.net:{port}/", "https://trap0.attacker-tests.net.:{port}/",
    "HTTPS://TRAP0.ATTACKER-TESTS.NET:{port}/",
    "https://trap0.attacker-tests.net:{port}?x", "https://trap0.attacker-tests.net:{port}#x",
    "https://trap0.attacker-tests.net:22/",
    "https://trap0.attacker-tests.net:80/", "https://trap0.attacker-tests.net:0/",
    "https://trap0.attacker-tests.net:6379/",
    "https://trap0.attacker-tests.net:00443/",
]  # fmt: skip
CORPUS = [
    *(f"https://{host}{port}/latest/meta-data" for host in HOSTS for port in ("", ":{port}")),
    *(f"https://{name}:{{port}}/" for name in TRAPS),
    *URLS,
]


async def hostile_resolve(host: str, port: int) -> list[str]:
    """A resolver in the attacker's hands for the attacker's names, this machine's for others."""
    if host in TRAPS:
        return TRAPS[host]
    return [str(e[4][0]) for e in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


async def answer_a_file(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
    await peer.request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 6\r\n\r\nsecret")
    await writer.drain()


def test_the_corpus_is_large() -> None:
    assert len(set(CORPUS)) >= 450


async def listen(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def test_no_payload_of_the_corpus_reaches_this_machine(
    serve: Serve, client_tls: ssl.SSLContext
) -> None:
    canary = await serve(listen)
    ports = frozenset({443, canary.port})  # so that the port alone refuses none of them
    fetcher = Fetcher(Config(), resolve=hostile_resolve, ports=ports, context=client_tls)
    for payload in CORPUS:
        with pytest.raises(Unfetchable) as refused:
            await fetcher.get(payload.format(port=canary.port), 1000)
        assert "127.0.0.1" not in refused.value.message, "tells what a name resolves to"
    assert canary.accepted == 0


async def test_the_canary_would_be_reached_if_the_guard_let_go(
    serve: Serve, client_tls: ssl.SSLContext
) -> None:
    canary = await serve(listen)

    async def anything(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    fetcher = Fetcher(
        Config(),
        resolve=anything,
        is_allowed=lambda _: True,
        ports=frozenset({canary.port}),
        context=client_tls,
    )
    with pytest.raises(Unfetchable):  # it does not speak TLS
        await fetcher.get(f"https://trap0.attacker-tests.net:{canary.port}/", 1000)
    assert canary.accepted == 1


@given(st.text(alphabet="localhost127.0x:[]@/\\#?%\t ２e", max_size=30))
def test_no_mixture_of_hostile_letters_becomes_a_private_name(text: str) -> None:
    try:
        place = fetch.place_of(f"https://{text}", frozenset({443}))
    except Unfetchable:
        return
    assert not place.host.endswith("localhost")
    with pytest.raises(ValueError, match="does not appear to be"):
        ipaddress.ip_address(place.host)
    with pytest.raises(OSError):  # no spelling of an address either
        socket.inet_aton(place.host)


async def test_only_the_usual_port_is_asked_by_default() -> None:
    async def public(host: str, port: int) -> list[str]:
        pytest.fail("resolved")

    with pytest.raises(Unfetchable, match="Unable to download"):
        await Fetcher(Config(), resolve=public).get("https://a.kiroproxy-tests.net:8443/", 1000)


async def test_nothing_is_fetched_around_the_operators_proxy() -> None:
    fetcher = Fetcher(Config(proxy_url="http://127.0.0.1:9"))
    with pytest.raises(Unfetchable, match="through its proxy"):
        await fetcher.get("https://a.kiroproxy-tests.net/", 1000)


async def test_an_operator_who_says_direct_has_no_proxy() -> None:
    fetcher = Fetcher(Config(proxy_url="direct"), resolve=hostile_resolve)
    with pytest.raises(Unfetchable, match="Unable to download"):
        await fetcher.get("https://trap0.attacker-tests.net/", 1000)


# -- what is fetched ---------------------------------------------------------------------------


class Site:
    """A server under a public name, and a fetcher that is told it is public."""

    def __init__(self, peer: Peer, context: ssl.SSLContext) -> None:
        self.peer, self.resolved = peer, itertools.count()
        self.fetcher = Fetcher(
            Config(),
            resolve=self._resolve,
            is_allowed=lambda address: address == "127.0.0.1",
            ports=frozenset({peer.port}),
            context=context,
        )

    async def _resolve(self, host: str, port: int) -> list[str]:
        next(self.resolved)
        if host == NAME:
            return ["127.0.0.1"]
        return TRAPS.get(host, ["127.0.0.2"])

    def url(self, path: str = "/a.png") -> str:
        return f"https://{NAME}:{self.peer.port}{path}"

    async def get(self, path: str = "/a.png", limit: int = 1000) -> Fetched:
        return await self.fetcher.get(self.url(path), limit)

    async def fault(self, path: str = "/a.png") -> Unfetchable:
        with pytest.raises(Unfetchable) as refused:
            await self.get(path)
        return refused.value


@pytest.fixture
def site(serve: Serve, authority: trustme.CA, client_tls: ssl.SSLContext):
    """Return `await site(answer bytes by path)`."""

    async def start(**answers: str) -> Site:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(NAME).configure_cert(context)

        async def script(
            peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            head, _ = await peer.request(reader)
            path = head.split()[1].decode().partition("?")[0].strip("/")
            answer = answers[path].format(port=peer.port, name=NAME)
            writer.write(answer.replace("\n", "\r\n").encode())
            await writer.drain()

        return Site(await serve(script, tls=context), client_tls)

    return start


FILE = "HTTP/1.1 200 OK\nContent-Type: Image/PNG; x=y\nContent-Length: 3\n\nabc"


def moved(location: str) -> str:
    return f"HTTP/1.1 302 Found\nLocation: {location}\nContent-Length: 0\n\n"


async def test_a_public_file_comes_with_its_type(site) -> None:
    found = await site(**{"a.png": FILE})
    assert await found.get() == Fetched("image/png", b"abc")


async def test_the_server_sees_its_name_and_nothing_of_ours(site) -> None:
    found = await site(**{"a.png": FILE})
    await found.get("/a.png?q=%20x#fragment")
    head = found.peer.requests[0][0].decode().lower().split("\r\n")
    assert head[0] == "get /a.png?q=%20x http/1.1"
    assert f"host: {NAME}:{found.peer.port}" in head
    names = {line.partition(":")[0] for line in head[1:] if line}
    assert names == {"host", "accept", "accept-encoding", "user-agent", "connection"}


async def test_a_name_is_resolved_once_for_each_request(site) -> None:
    found = await site(**{"a.png": FILE})
    await found.get()
    assert next(found.resolved) == 1, "a second answer could be another address"


async def test_a_certificate_of_another_name_is_refused(
    serve: Serve, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    peer = await serve(answer_a_file, tls=server_tls)
    fault = await Site(peer, client_tls).fault()
    assert fault.message == UNREACHABLE
    assert "certificate" in fault.detail.lower()


async def test_three_redirects_are_followed_and_a_fourth_is_not(site) -> None:
    chain = {
        "a.png": moved("/1"),
        "1": moved("2"),
        "2": moved("https://{name}:{port}/3"),
        "3": FILE,
    }
    found = await site(**chain)
    assert (await found.get()).data == b"abc"
    longer = await site(**chain | {"3": moved("/4"), "4": FILE})
    assert "redirects" in (await longer.fault()).detail


@pytest.mark.parametrize(
    "target",
    [
        "http://{name}:{port}/b", "//127.0.0.1:{port}/b", "https://127.0.0.1:{port}/b",
        "https://localhost:{port}/b", "https://[::1]:{port}/b", "https://{name}/b",
        "https://trap0.attacker-tests.net:{port}/b", "https://mixed.attacker-tests.net:{port}/b",
        "https://2130706433:{port}/b", "file:///etc/passwd", "https://{name}@127.0.0.1:{port}/b",
        "https://other.attacker-tests.net:{port}/b", "\\\\127.0.0.1:{port}\\b",
    ],
)  # fmt: skip
async def test_a_redirect_gets_every_check_again(site, target: str) -> None:
    # Nobody listens for `other`, whose address is not allowed: 127.0.0.2 is this server too.
    found = await site(**{"a.png": moved(target), "b": FILE})
    fault = await found.fault()
    assert fault.message in (UNREACHABLE, "Only HTTPS URLs are supported.")
    assert found.peer.accepted == 1


@pytest.mark.parametrize(
    "status", ["204 No Content", "206 Partial", "304 Same", "404 No", "500 Oh"]
)
async def test_anything_but_a_whole_file_is_none(site, status: str) -> None:
    found = await site(**{"a.png": f"HTTP/1.1 {status}\nContent-Length: 0\n\n"})
    assert (await found.fault()).message == UNREACHABLE


@pytest.mark.parametrize(
    "answer",
    [
        "HTTP/1.1 200 OK\nContent-Length: 1001\n\n",
        "HTTP/1.1 200 OK\nContent-Length: 99999999999999\n\n",
        f"HTTP/1.1 200 OK\nConnection: close\n\n{'x' * 1001}",
        f"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3e9\n{'x' * 1001}\n0\n\n",
    ],
)
async def test_a_file_larger_than_allowed_is_refused(site, answer: str) -> None:
    found = await site(**{"a.png": answer})
    assert (await found.fault()).message == "The file exceeds the maximum of 1000 bytes"


async def test_a_packed_answer_is_never_unpacked(site) -> None:
    answer = "HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 3\n\nabc"
    assert "encoding" in (await (await site(**{"a.png": answer})).fault()).detail


@pytest.mark.parametrize(
    "answer", ["", "nonsense\n\n", "HTTP/1.1 200 OK\nContent-Length: 9\n\nabc"]
)
async def test_a_broken_answer_is_no_file(site, answer: str) -> None:
    assert (await (await site(**{"a.png": answer})).fault()).message == UNREACHABLE


async def test_a_server_that_says_nothing_is_given_up(
    serve: Serve,
    authority: trustme.CA,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch, "TOTAL_S", 0.2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)

    async def silent(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        await asyncio.Event().wait()

    fault = await Site(await serve(silent, tls=context), client_tls).fault()
    assert (fault.message, "Timeout" in fault.detail) == (UNREACHABLE, True)
