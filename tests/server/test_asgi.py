"""Our HTTP/1.1 protocol: limits, deadlines, and refusals no application gets to see."""

import asyncio
import socket
import struct
from typing import Any

import pytest

from kiroproxy.server.asgi import Limits

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer without looking at the body."""
    if scope["type"] != "http":
        return
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """Wait for the client to leave."""
    if scope["type"] == "http":
        while (await receive())["type"] != "http.disconnect":
            pass


def assert_refusal(wire: Any, status: int, kind: str) -> None:
    assert wire.status == status
    assert wire.headers["content-type"] == "application/json"
    assert wire.headers["connection"] == "close"
    assert wire.json["type"] == "error"
    assert wire.json["error"]["type"] == kind
    assert wire.json["request_id"] == wire.headers["request-id"]
    assert wire.headers["request-id"].startswith("req_")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"CONNECT other:443 HTTP/1.1\r\nhost: other\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client at a plain port
    ],
    ids=["text", "header", "length", "two-lengths", "smuggling", "connect", "tls"],
)
async def test_bytes_that_are_not_http_get_a_400_in_anthropics_shape(
    run_app: Any, data: bytes
) -> None:
    running = await run_app(hello)
    assert_refusal(await running.raw(data), 400, "invalid_request_error")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + (b"a: " + b"b" * 4000 + b"\r\n") * 9 + b"\r\n",
        b"GET / HTTP/1.1\r\na: " + b"b" * 50_000,
        b"GET / HTTP/1.1\r\n" + b"b" * 50_000,
    ],
    ids=["line", "count", "sum", "endless-value", "endless-name"],
)
async def test_a_head_over_the_limit_is_a_431(run_app: Any, head: bytes) -> None:
    running = await run_app(hello)
    assert_refusal(await running.raw(head), 431, "invalid_request_error")


async def test_a_head_just_under_the_limits_is_served(run_app: Any) -> None:
    running = await run_app(hello)
    head = b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\n" + b"a: b\r\n" * 98
    wire = await running.raw(head + b"connection: close\r\nhost: x\r\n\r\n")
    assert (wire.status, wire.body) == (200, b"hello")


async def test_the_head_limit_starts_again_with_each_request(run_app: Any) -> None:
    running = await run_app(hello)
    request = b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"b" * 20_000 + b"\r\n\r\n"
    reader, writer = await running.connect()
    for _ in range(5):  # 100 KB of heads on one connection, each within the limit
        writer.write(request)
        assert b" 200 " in await reader.readline()
        await reader.readuntil(b"hello")
    writer.close()


async def test_a_client_that_resets_leaves_no_timer(run_app: Any) -> None:
    running = await run_app(hello, timeout_keep_alive=75)
    reader, writer = await running.connect()
    writer.write(GET)
    await reader.readuntil(b"hello")
    (protocol,) = running.server.server_state.connections
    assert protocol.timeout_keep_alive_task is not None
    reset = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    writer.transport.abort()
    while running.server.server_state.connections:
        await asyncio.sleep(0)
    assert protocol.timeout_keep_alive_task is None


async def test_a_trickled_head_is_refused_at_the_deadline(run_app: Any) -> None:
    running = await run_app(hello, limits=Limits(head_timeout_s=0.2))
    reader, writer = await running.connect()
    answer = asyncio.create_task(reader.read())
    for byte in GET[:-1] * 100:
        if answer.done() or writer.is_closing():
            break
        writer.write(bytes([byte]))
        await asyncio.wait({answer}, timeout=0.02)  # each byte is progress: it must not help
    raw = await answer
    assert raw.startswith(b"HTTP/1.1 408 ") and b'"timeout_error"' in raw
    writer.close()


async def test_a_connection_that_asks_nothing_is_closed_without_a_word(run_app: Any) -> None:
    running = await run_app(hello, limits=Limits(head_timeout_s=0.1))
    assert (await running.raw(b"")).status == 0


async def test_blank_lines_do_not_keep_a_finished_connection_open(run_app: Any) -> None:
    running = await run_app(hello, limits=Limits(head_timeout_s=0.1))
    reader, writer = await running.connect()
    writer.write(GET)
    await reader.readuntil(b"hello")
    writer.write(b"\r\n")  # ends uvicorn's own keep-alive timer
    assert b" 408 " in await reader.readline()
    writer.close()


async def test_a_body_nobody_reads_has_a_deadline_too(run_app: Any) -> None:
    running = await run_app(hello, limits=Limits(body_timeout_s=0.1))
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\npart"
    wire = await running.raw(head)
    assert (wire.status, wire.body) == (200, b"hello")  # raw() returned: the server closed


async def test_a_body_the_application_waits_for_is_refused_at_the_deadline(run_app: Any) -> None:
    running = await run_app(silent, limits=Limits(body_timeout_s=0.1))
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\npart"
    assert_refusal(await running.raw(head), 408, "timeout_error")


async def test_garbage_behind_a_request_does_not_disturb_its_answer(run_app: Any) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            asked.set()
            await go_on.wait()
            await hello(scope, receive, send)

    running = await run_app(slow)
    reader, writer = await running.connect()
    writer.write(GET)
    await asked.wait()
    writer.write(b"garbage\r\n\r\n")
    await writer.drain()
    # A second connection that is served shows that the first one's bytes were read.
    other = asyncio.create_task(running.raw(b"nonsense\r\n\r\n"))
    assert (await other).status == 400
    go_on.set()
    raw = await reader.read()
    assert raw.count(b"HTTP/1.1") == 1
    assert raw.startswith(b"HTTP/1.1 200") and raw.endswith(b"hello")
    writer.close()


OFFER = b"connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"


async def test_an_offered_upgrade_is_declined_by_answering_in_http_1_1(run_app: Any) -> None:
    running = await run_app(hello)
    reader, writer = await running.connect()
    for _ in range(2):  # the connection goes on
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n" + OFFER + b"\r\n")
        head = await reader.readuntil(b"hello")
        assert head.startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize("cut", [0, 10, 60, 200])
async def test_the_body_behind_an_offered_upgrade_is_read(run_app: Any, cut: int) -> None:
    running = await run_app(echo)
    head = b"POST / HTTP/1.1\r\nhost: x\r\n" + OFFER + b"content-length: 5\r\n\r\n"
    reader, writer = await running.connect()
    whole = head + b"owls!"
    writer.write(whole[:cut])
    await writer.drain()
    writer.write(whole[cut:])
    assert (await reader.readuntil(b"owls!")).startswith(b"HTTP/1.1 200")
    chunked = head.replace(b"content-length: 5", b"transfer-encoding: chunked")
    writer.write(chunked + b"5\r\nbarn \r\n4\r\nowls\r\n0\r\n\r\n" + GET)
    await reader.readuntil(b"barn owls")
    assert b" 200 " in await reader.readline()  # nothing was left over for the one behind
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\nhost: x\r\nhost: y\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
        b"GET / HTTP/1.1\r\n" + OFFER + b"\r\n",
    ],
    ids=["none", "two", "two in 1.0", "none in a post", "none and an upgrade"],
)
async def test_a_request_names_exactly_one_host(run_app: Any, head: bytes) -> None:
    assert_refusal(await (await run_app(hello)).raw(head), 400, "invalid_request_error")


async def test_http_1_0_needs_no_host(run_app: Any) -> None:
    assert (await (await run_app(hello)).raw(b"GET / HTTP/1.0\r\n\r\n")).status == 200


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_endless_chunk_extensions_are_refused(run_app: Any) -> None:
    running = await run_app(echo, limits=Limits(body_timeout_s=10))
    wire = await running.raw(CHUNKED + b"1;" + b"x" * 1_000_000)  # more than one read
    assert_refusal(wire, 400, "invalid_request_error")


async def test_a_body_of_the_smallest_chunks_is_read(run_app: Any) -> None:
    running = await run_app(echo)
    reader, writer = await running.connect()
    writer.write(CHUNKED)
    while not running.server.server_state.tasks:
        await asyncio.sleep(0)
    writer.write(b"1;e=1\r\na\r\n" * 20_000 + b"0\r\n\r\n")
    assert b" 200 " in await reader.readline()
    await reader.readuntil(b"a" * 20_000)
    writer.close()


async def test_small_writes_are_not_held_back(run_app: Any) -> None:
    running = await run_app(silent)
    _, writer = await running.connect()
    writer.write(GET)
    while not running.server.server_state.tasks:
        await asyncio.sleep(0)
    (connection,) = running.server.server_state.connections
    sock = connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()


async def echo_headers(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body, then answer with the headers the application was given."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    body = b"\n".join(name + b"=" + value for name, value in scope["headers"])
    headers = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def test_a_trailer_is_not_a_header(run_app: Any) -> None:
    running = await run_app(echo_headers)
    head = b"POST / HTTP/1.1\r\nhost: x\r\nx-api-key: mine\r\ntransfer-encoding: chunked\r\n\r\n"
    wire = await running.raw(head + b"2\r\nhi\r\n0\r\nx-api-key: other\r\n\r\n")
    assert wire.status == 200
    assert b"mine" in wire.body and b"other" not in wire.body


async def test_after_a_refusal_the_application_has_no_word(run_app: Any, caplog: Any) -> None:
    """Its answer would follow ours on a connection that is already half closed."""
    refused, answered = asyncio.Event(), asyncio.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await refused.wait()
        try:
            await hello(scope, receive, send)
        finally:
            answered.set()

    running = await run_app(late)
    reader, writer = await running.connect()
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head + b"nonsense\r\n")
    assert b" 400 " in await reader.read()  # up to the server's half of the end
    refused.set()
    await answered.wait()
    await asyncio.sleep(0)  # uvicorn logs what came out of the application
    writer.close()
    assert "Exception in ASGI application" not in caplog.text
