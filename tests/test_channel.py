"""TLS records in memory: what a channel hands on, when, and how it takes an end."""

import asyncio
import contextlib
import ssl

import pytest
import trustme

from kiroproxy._channel import READ_BYTES, Channel


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Server:
    """The other end: an SSLObject of the standard library, and the plain transport to it."""

    def __init__(
        self, authority: trustme.CA, version: ssl.TLSVersion, *, asks_later: bool = False
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if asks_later:
            authority.configure_trust(context)
            context.verify_mode, context.post_handshake_auth = ssl.CERT_OPTIONAL, True
        context.maximum_version = version
        authority.issue_cert("kiro.example").configure_cert(context)
        self.received, self.sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.received, self.sent, server_side=True)
        self.writes: list[int] = []
        self.reading = True
        self.state = "open"

    # what a channel asks of its transport
    def write(self, data: bytes) -> None:
        assert self.state == "open"
        self.writes.append(len(data))
        self.received.write(data)

    def is_closing(self) -> bool:
        return self.state != "open"

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


class Carried(asyncio.BufferedProtocol):
    """A protocol that keeps what it is told."""

    def __init__(self, room: int = 1 << 16) -> None:
        self.pieces: list[bytes] = []
        self.lost: list[Exception | None] = []
        self.after_piece = lambda: None
        self._buffer = memoryview(bytearray(room))

    def connection_made(self, transport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.pieces.append(bytes(self._buffer[:nbytes]))
        self.after_piece()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Link:
    """A channel and its server, shaken, and a way to move ciphertext between them."""

    def __init__(
        self,
        authority: trustme.CA,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        room: int = 1 << 16,
        *,
        asks_later: bool = False,
    ) -> None:
        self.server = Server(authority, version, asks_later=asks_later)
        self.carried = Carried(room)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.post_handshake_auth = asks_later
        authority.configure_trust(context)
        self.sessions: list[ssl.SSLSession] = []
        self.channel = Channel(
            asyncio.get_running_loop(),
            context,
            "kiro.example",
            memoryview(bytearray(READ_BYTES)),
            None,
            self.sessions.append,
        )
        self.channel.connection_made(self.server)
        while not self.channel.shaken.done():
            self.accept()
            self.read(self.server.sent.read())
        self.accept()
        self.channel.carry(self.carried)

    def accept(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.server.tls.do_handshake()

    def read(self, data: bytes, size: int = READ_BYTES) -> None:
        """Let ciphertext arrive, at most `size` a read."""
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self.channel.get_buffer(-1)[: len(piece)] = piece
            self.channel.buffer_updated(len(piece))

    def sealed(self, *texts: bytes) -> bytes:
        for text in texts:
            self.server.tls.write(text)
        return self.server.sent.read()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 7, READ_BYTES])
async def test_plaintext_arrives_whole_at_every_read_size(authority, version, size) -> None:
    link = Link(authority, version)
    texts = [b"a" * 10, b"b" * 3000, b"c"]
    link.read(link.sealed(*texts), size)
    assert b"".join(link.carried.pieces) == b"".join(texts)
    assert len(link.sessions) == 1


async def test_records_of_one_read_are_told_once(authority) -> None:
    link = Link(authority)
    link.read(link.sealed(*[b"event "] * 50))
    assert link.carried.pieces == [b"event " * 50]


async def test_more_than_the_buffer_holds_is_told_in_turn(authority) -> None:
    link = Link(authority, room=100)
    link.read(link.sealed(b"x" * 1000))
    assert [len(piece) for piece in link.carried.pieces] == [100] * 10


async def test_a_paused_channel_keeps_the_rest_until_it_is_resumed(authority) -> None:
    link = Link(authority, room=100)
    link.carried.after_piece = link.channel.pause_reading
    link.read(link.sealed(b"x" * 250))
    assert len(link.carried.pieces) == 1 and not link.server.reading
    for count in (2, 3):
        link.channel.resume_reading()
        await asyncio.sleep(0)
        assert len(link.carried.pieces) == count
    assert b"".join(link.carried.pieces) == b"x" * 250


@pytest.mark.parametrize("room", [100, 1 << 16])
async def test_a_record_behind_what_a_pause_kept_comes_with_it(authority, room) -> None:
    """The loop may read the next record before a resumed channel takes up what it kept."""
    link, texts = Link(authority, room=room), [b"a" * 50, b"b" * 150, b"c" * 50]
    link.read(link.sealed(texts[0]))
    link.carried.after_piece = link.channel.pause_reading
    link.read(link.sealed(texts[1]))
    link.channel.pause_reading()
    link.read(link.sealed(texts[2]))
    link.carried.after_piece = lambda: None
    link.channel.resume_reading()
    link.read(link.sealed(b"d" * 50))
    assert b"".join(link.carried.pieces) == b"".join(texts) + b"d" * 50


async def test_a_record_that_fills_the_buffer_to_the_last_byte_is_not_kept_back(authority) -> None:
    link = Link(authority, room=100)
    for size in (50, 100, 200, 201, 1):
        before = len(b"".join(link.carried.pieces))
        link.read(link.sealed(b"x" * size))
        assert len(b"".join(link.carried.pieces)) == before + size


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_record_cut_anywhere_comes_with_what_follows_it(authority, version) -> None:
    link = Link(authority, version)
    first = link.sealed(b"first!")
    link.read(first)
    for cut in range(1, len(first)):
        data = link.sealed(b"second", b"third")
        link.read(data[:cut])
        link.read(data[cut:])
        link.read(link.sealed(b"fourth"))
    rounds = len(first) - 1
    assert b"".join(link.carried.pieces) == b"first!" + b"secondthirdfourth" * rounds


async def test_a_record_that_only_asks_something_is_answered_at_once(authority) -> None:
    """One whole record that gives no plaintext: the server asks for a certificate after all."""
    link = Link(authority, asks_later=True)
    link.read(link.sealed(b"first"))
    before = len(link.server.writes)
    link.server.tls.verify_client_post_handshake()
    link.server.tls.do_handshake()
    link.read(link.server.sent.read())
    assert len(link.server.writes) > before
    link.read(link.sealed(b"second"))
    assert link.carried.pieces == [b"first", b"second"]


async def test_what_a_paused_channel_keeps_comes_before_the_end(authority) -> None:
    link = Link(authority, room=100)
    link.carried.after_piece = link.channel.pause_reading
    link.read(link.sealed(b"x" * 150))
    link.carried.after_piece = lambda: None
    link.channel.connection_lost(None)
    assert b"".join(link.carried.pieces) == b"x" * 150
    assert isinstance(link.carried.lost[0], ConnectionResetError)


async def test_an_end_without_close_notify_is_a_fault(authority) -> None:
    link = Link(authority)
    link.read(link.sealed(b"text"))
    link.channel.eof_received()
    link.channel.connection_lost(None)
    assert isinstance(link.carried.lost[0], ConnectionResetError)


async def test_close_notify_is_an_end_and_is_answered(authority) -> None:
    link = Link(authority)
    data = link.sealed(b"text")
    with pytest.raises(ssl.SSLWantReadError):
        link.server.tls.unwrap()
    link.read(data + link.server.sent.read())
    assert link.carried.pieces == [b"text"] and link.server.state == "closed"
    link.channel.connection_lost(None)
    assert link.carried.lost == [None]
    link.server.tls.unwrap()  # raises unless our close_notify came


async def test_a_record_that_was_changed_ends_the_connection(authority) -> None:
    link = Link(authority)
    data = bytearray(link.sealed(b"first") + link.sealed(b"second"))
    data[-1] ^= 1
    link.read(bytes(data))
    assert link.carried.pieces == [b"first"]
    assert link.server.state == "aborted"
    assert isinstance(link.carried.lost[0], ssl.SSLError)
    link.channel.connection_lost(None)
    assert len(link.carried.lost) == 1


async def test_bytes_that_are_no_record_end_the_connection(authority) -> None:
    link = Link(authority)
    link.read(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert link.server.state == "aborted" and len(link.carried.lost) == 1


async def test_what_is_written_arrives_in_one_write_and_in_order(authority) -> None:
    link, body = Link(authority), bytes(range(256)) * 400
    before = len(link.server.writes)
    link.channel.writelines((b"head", body, b""))
    assert len(link.server.writes) == before + 1
    received = b""
    while len(received) < 4 + len(body):
        received += link.server.tls.read(1 << 16)
    assert received == b"head" + body


async def test_nothing_is_written_after_a_close(authority) -> None:
    link = Link(authority)
    link.channel.close()
    count = len(link.server.writes)
    link.channel.write(b"late")
    link.channel.close()
    assert link.channel.is_closing() and len(link.server.writes) == count


async def test_a_host_of_another_name_is_told_why_and_never_carried(authority) -> None:
    server = Server(authority, ssl.TLSVersion.TLSv1_3)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    channel = Channel(
        asyncio.get_running_loop(), context, "other.example", memoryview(bytearray(READ_BYTES))
    )
    channel.connection_made(server)
    with pytest.raises(ssl.SSLWantReadError):
        server.tls.do_handshake()
    data = server.sent.read()
    channel.get_buffer(-1)[: len(data)] = data
    channel.buffer_updated(len(data))
    with pytest.raises(ssl.SSLCertVerificationError):
        await channel.shaken
    assert server.state == "closed"
    with pytest.raises(ssl.SSLError, match="alert"):
        server.tls.do_handshake()


async def test_the_first_bytes_put_nothing_on_the_wire(authority) -> None:
    """They make OpenSSL free a buffer by a write of nothing."""
    link = Link(authority)
    before = list(link.server.writes)
    link.read(link.sealed(b"first"))
    link.read(link.sealed(b"second"))
    assert link.server.writes == before and link.server.received.pending == 0
    link.channel.write(b"and back")
    assert link.server.tls.read(100) == b"and back"
