"""Heads of the ordinary form: what is accepted means the same to a full parser; the rest is not."""

from typing import Any
from urllib.parse import urlsplit

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy._head import read_request

LINE = b"POST /v1/messages?beta=true HTTP/1.1\r\n"
FIELDS = (
    b"Host: api.example\r\nX-Api-Key: sk-1 2\r\nContent-Type: application/json\r\n"
    b"Accept:\t*/*\r\nConnection: keep-alive\r\nEmpty:\r\n"
)
BODY = b'{"model": "m"}'
LENGTH = b"Content-Length: 14\r\n"
WHOLE = LINE + FIELDS + LENGTH + b"\r\n" + BODY


class Oracle:
    """What llhttp makes of the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body, self.whole = b"", b"", 0
        self.fields: list[tuple[bytes, bytes]] = []
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(data)
        self.method = self._parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole += 1


def agree(data: bytes) -> bool:
    """Say whether a request is accepted; fails if llhttp would read it otherwise."""
    found: Any = read_request(data)
    if not isinstance(found, tuple):
        return False
    oracle = Oracle(data)
    assert (oracle.method, oracle.whole) == (b"POST", 1)
    assert found == (oracle.url, dict(oracle.fields), oracle.body)
    assert len(oracle.fields) == len(found[1])
    return True


def test_an_ordinary_request_is_read_as_llhttp_reads_it() -> None:
    assert agree(WHOLE)
    target, fields, body = read_request(WHOLE)  # type: ignore[misc]
    assert urlsplit(target.decode()).query == "beta=true"
    assert fields[b"x-api-key"] == b"sk-1 2"
    assert body == BODY


@pytest.mark.parametrize("missing", [1, 5, len(BODY)])
def test_a_whole_head_tells_how_much_of_the_body_is_missing(missing: int) -> None:
    assert read_request(WHOLE[:-missing]) == missing


@pytest.mark.parametrize("length", range(len(WHOLE) - len(BODY)))
def test_a_cut_head_is_not_read(length: int) -> None:
    assert read_request(WHOLE[:length]) is None


def test_what_follows_a_request_leaves_it_to_the_parser() -> None:
    assert read_request(WHOLE + b"\r\n") is None
    assert read_request(WHOLE + WHOLE) is None


@pytest.mark.parametrize(
    "extra",
    [
        b"Content-Length: 14\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"transfer-encoding : chunked\r\n",
        b"Transfer\x00Encoding: chunked\r\n",
        b"X: a\r\n Transfer-Encoding: chunked\r\n",
        b"X: a\nTransfer-Encoding: chunked\r\n",
        b"X: a\rTransfer-Encoding: chunked\r\n",
        b"X: a \r\n",
        b"X: \xc3\xa9\r\n",
        b"X: \x7f\r\n",
        b": x\r\n",
        b"No colon\r\n",
        b"Host: other\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\n",
        b"TE: trailers\r\n",
        b"Trailer: x\r\n",
        b"n" * 65 + b": x\r\n",
        b"".join(b"h%d: x\r\n" % number for number in range(65)),
        b"X: " + b"y" * 20_000 + b"\r\n",
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_what_could_be_read_in_two_ways_is_not_read(extra: bytes, is_first: bool) -> None:
    fields = extra + FIELDS + LENGTH if is_first else FIELDS + LENGTH + extra
    assert read_request(LINE + fields + b"\r\n" + BODY) is None


@pytest.mark.parametrize(
    "length",
    [b"", b"+14", b"-14", b"0x0e", b"14, 14", b"1 4", b"14;", b"1_4", b"00000000000000014"],
)
def test_a_length_is_digits_and_nothing_else(length: bytes) -> None:
    head = LINE + FIELDS + b"Content-Length: " + length + b"\r\n\r\n"
    assert read_request(head + BODY) is None


@pytest.mark.parametrize(
    "line",
    [
        b"GET /v1/messages HTTP/1.1\r\n",
        b"post /v1/messages HTTP/1.1\r\n",
        b"POST  /v1/messages HTTP/1.1\r\n",
        b"POST /v1/messages  HTTP/1.1\r\n",
        b"POST /v1/messages HTTP/1.0\r\n",
        b"POST /v1/messages HTTP/1.1 \r\n",
        b"POST /v1/messages HTTP/1.1\n",
        b"POST http://x/v1/messages HTTP/1.1\r\n",
        b"POST /v1/%6dessages HTTP/1.1\r\n",
        b"POST /v1/messages#f HTTP/1.1\r\n",
        b"POST /v1/m\tessages HTTP/1.1\r\n",
        b"POST * HTTP/1.1\r\n",
        b"\r\nPOST /v1/messages HTTP/1.1\r\n",
    ],
)
def test_an_unusual_request_line_is_not_read(line: bytes) -> None:
    assert read_request(line + FIELDS + LENGTH + b"\r\n" + BODY) is None


@given(
    st.integers(0, len(WHOLE)),
    st.integers(0, 3),
    st.one_of(
        st.binary(max_size=4),
        st.sampled_from(
            [b"\r\n", b"\n", b"\r", b"\r\n ", b": ", b"Transfer-Encoding: chunked\r\n"]
        ),
    ),
)
def test_a_damaged_request_is_read_as_llhttp_reads_it_or_not_at_all(
    at: int, cut: int, put: bytes
) -> None:
    agree(WHOLE[:at] + put + WHOLE[at + cut :])
