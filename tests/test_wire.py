"""HTTP/1.1 answers taken apart: judged by h11, at every cut, and by bytes that are no answer."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy._wire import Malformed, Phase, Wire

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Transport:
    """A transport whose reading can be paused."""

    def __init__(self) -> None:
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False


class Recorder(Wire):
    """A wire that notes what it is told."""

    def __new__(cls) -> "Recorder":
        return super().__new__(cls, lambda: 0.0, memoryview(bytearray(1 << 17)))

    def __init__(self) -> None:
        self.told: list[str] = []
        self.fault: Exception | None = None
        self._transport = Transport()
        self.begin()

    def read(self, data: bytes, size: int = 1 << 17) -> "Recorder":
        """Let bytes arrive, `size` a read."""
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self.get_buffer(-1)[: len(piece)] = piece
            self.buffer_updated(len(piece))
        return self

    def ended(self) -> None:
        self.told.append("ended")

    def began(self) -> None:
        self.told.append("began")

    def broken(self, fault: Exception) -> None:
        self.fault = fault
        self.phase = Phase.CLOSED


def by_h11(raw: bytes) -> bytes:
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(raw)
    body = b""
    while type(event := reader.next_event()) is not h11.EndOfMessage:
        body += event.data if isinstance(event, h11.Data) else b""
    return body


pieces = st.lists(
    st.tuples(st.binary(min_size=1, max_size=300), st.sampled_from([b"", b";a", b";a=b;c", b" "])),
    max_size=8,
)


@given(pieces, st.booleans(), st.booleans(), st.integers(1, 40))
def test_a_chunked_body_is_what_h11_makes_of_it(chunks, capital, trailer, size) -> None:
    form = b"%X%b\r\n%b\r\n" if capital else b"%x%b\r\n%b\r\n"
    raw = CHUNKED + b"".join(form % (len(data), end, data) for data, end in chunks)
    raw += b"0\r\n" + (b"a: b\r\nc: d\r\n" if trailer else b"") + b"\r\n"
    wire = Recorder().read(raw, size)
    assert wire.fault is None and wire.keep_alive
    assert wire.take_queue() == by_h11(raw) == b"".join(data for data, _ in chunks)
    assert wire.told == ["began", "ended"] if chunks else ["ended"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 17])
@pytest.mark.parametrize(
    "coding",
    [
        b"g\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x3\r\nabc",
        b"3\nabc",
        b"3\r\r\nabc",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n",
        b"3;x\nabc",
        b"3;" + b"x" * 20_000,
        b"0\r\na: b\n\r\n",
        b"0\r\n\n",
        b"0\r\n\rx",
        b"0\r\n" + b"a: b\r\n" * 4000,
        b"1000000000000000\r\n",
    ],
    ids=lambda coding: repr(coding[:14]),
)
def test_a_coding_that_is_none_is_malformed_and_no_end(coding, size) -> None:
    wire = Recorder().read(CHUNKED + coding, size)
    assert isinstance(wire.fault, Malformed) and not wire.keep_alive
    assert "ended" not in wire.told


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n", True),
        (b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n", True),
        (b"HTTP/1.1 103 Hints\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n", True),
    ],
    ids=["1.1", "close", "1.0", "1.0-kept", "blank-first", "interim"],
)
def test_a_head_says_whether_its_connection_lives_on(head, reusable) -> None:
    wire = Recorder().read(head + b"x", 1)
    assert (wire.status, wire.take_queue(), wire.phase) == (200, b"x", Phase.DONE)
    assert wire.keep_alive is reusable
    assert b"x" not in wire.headers


def test_interim_answers_without_end_are_malformed() -> None:
    wire = Recorder().read(b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, 4096)
    assert isinstance(wire.fault, Malformed)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_some_answers_have_no_body_whatever_their_head_says(status) -> None:
    wire = Recorder().read(b"HTTP/1.1 %b\r\ncontent-length: 5\r\n\r\n" % status)
    assert wire.phase == Phase.DONE and wire.body_bytes == 0


def test_a_body_without_a_measure_ends_with_its_connection() -> None:
    wire = Recorder().read(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert wire.is_delimited_by_close and not wire.keep_alive
    assert (wire.phase, wire.take_queue()) == (Phase.BODY, b"abc")


def test_a_long_queue_pauses_the_socket_until_it_is_taken() -> None:
    wire = Recorder().read(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 64_000)
    assert wire._transport.reading and not wire.paused
    wire.read(b"x" * 64_000)
    assert not wire._transport.reading and wire.paused
    wire.take_queue()
    assert wire._transport.reading and not wire.paused


def test_a_long_queue_of_a_whole_answer_pauses_nothing() -> None:
    wire = Recorder().read(b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n" + b"x" * 90_000)
    assert wire._transport.reading and wire.phase == Phase.DONE


def test_a_wire_begins_again_where_the_last_answer_left_nothing_behind() -> None:
    wire = Recorder().read(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")
    wire.begin()
    assert (wire.status, wire.headers, wire.queued_bytes, wire.body_bytes) == (0, {}, 0, 0)
    wire.read(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nde")
    assert (wire.take_queue(), wire.phase) == (b"de", Phase.DONE)
