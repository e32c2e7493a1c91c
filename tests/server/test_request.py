"""Reading a request's body: limits on size, time and kind, whatever the client claims."""

import asyncio
import gzip
import zlib
from typing import Any

import pytest

from kiroproxy.errors import PayloadTooLarge, RequestError, RequestTimeout, UnsupportedMedia
from kiroproxy.server.request import JOINED_BYTES, ClientGone, Request

JSON = (b"content-type", b"application/json")


def request_of(*parts: bytes | None, headers: tuple[tuple[bytes, bytes], ...] = (JSON,)) -> Request:
    """A request whose body arrives in these parts; None = the client leaves."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": index < len(parts) - 1}
        if part is not None
        else {"type": "http.disconnect"}
        for index, part in enumerate(parts)
    ]

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    scope = {"type": "http", "method": "POST", "path": "/v1/messages", "headers": list(headers)}
    return Request(scope, receive)


async def test_a_body_is_joined_from_its_parts() -> None:
    assert await request_of(b'{"a"', b": 1", b"}").body(1024, 1) == b'{"a": 1}'


async def test_a_long_body_is_put_together_as_it_comes() -> None:
    parts = [bytes([65 + number]) * (JOINED_BYTES // 2 + 1) for number in range(4)]
    for count in (1, 2, 3, 4):
        assert await request_of(*parts[:count]).body(2**23, 1) == b"".join(parts[:count])
    assert await request_of(b"x" * JOINED_BYTES * 2).body(2**23, 1) == b"x" * JOINED_BYTES * 2


async def test_repeated_headers_are_joined() -> None:
    request = request_of(b"", headers=((b"anthropic-beta", b"a"), (b"anthropic-beta", b"b")))
    assert request.text(b"anthropic-beta") == "a, b"


async def test_a_declared_length_over_the_limit_is_refused_without_reading() -> None:
    request = request_of(headers=(JSON, (b"content-length", b"2000")))  # receive() would hang
    with pytest.raises(PayloadTooLarge):
        await request.body(1024, 1)


async def test_a_chunked_body_is_refused_as_soon_as_it_passes_the_limit() -> None:
    request = request_of(b"a" * 1024, b"b", b"never read")
    with pytest.raises(PayloadTooLarge):
        await request.body(1024, 1)
    assert (await request.receive())["body"] == b"never read"


async def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    assert len(await request_of(b"a" * 1024).body(1024, 1)) == 1024


async def test_a_body_that_stops_arriving_is_a_timeout() -> None:
    request = request_of(b"part", b"")
    await request.receive()
    await request.receive()
    with pytest.raises(RequestTimeout):
        await request.body(1024, 0.01)


async def test_a_client_that_leaves_while_uploading_is_gone() -> None:
    with pytest.raises(ClientGone):
        await request_of(b"part", None).body(1024, 1)


@pytest.mark.parametrize("kind", [b"application/json", b"application/json; charset=utf-8", b""])
async def test_json_by_its_header_or_no_header_at_all_is_accepted(kind: bytes) -> None:
    headers = ((b"content-type", kind),) if kind else ()
    assert await request_of(b"{}", headers=headers).body(1024, 1) == b"{}"


@pytest.mark.parametrize("kind", [b"text/plain", b"multipart/form-data; boundary=x"])
async def test_another_content_type_is_refused(kind: bytes) -> None:
    with pytest.raises(UnsupportedMedia):
        await request_of(b"{}", headers=((b"content-type", kind),)).body(1024, 1)


@pytest.mark.parametrize(
    ("encoding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)]
)
async def test_a_compressed_body_is_inflated(encoding: bytes, compress: Any) -> None:
    body = compress(b'{"a": 1}')
    request = request_of(body, headers=(JSON, (b"content-encoding", encoding)))
    assert await request.body(1024, 1) == b'{"a": 1}'


async def test_an_unknown_content_encoding_is_refused() -> None:
    with pytest.raises(UnsupportedMedia):
        await request_of(b"x", headers=(JSON, (b"content-encoding", b"br"))).body(1024, 1)


async def test_a_decompression_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 60_000
    request = request_of(bomb, headers=(JSON, (b"content-encoding", b"gzip")))
    with pytest.raises(PayloadTooLarge):
        await request.body(100_000, 5)


@pytest.mark.parametrize("damage", [lambda body: body[:-9], lambda body: b"x" + body])
async def test_a_damaged_compressed_body_is_a_400(damage: Any) -> None:
    body = damage(gzip.compress(b'{"a": 1}'))
    request = request_of(body, headers=(JSON, (b"content-encoding", b"gzip")))
    with pytest.raises(RequestError) as caught:
        await request.body(1024, 1)
    assert caught.value.status == 400
