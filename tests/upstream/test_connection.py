"""Requests over kept connections, and every way in which the other side can misbehave."""

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from kiroproxy._pump import Outlet, Pump
from kiroproxy._sse import Translator
from kiroproxy._wire import Consumer
from kiroproxy.config import Config
from kiroproxy.errors import (
    ConnectFailed,
    ConnectionLost,
    InternalError,
    ProtocolViolation,
    UpstreamTimeout,
)
from kiroproxy.simulator.frames import event
from kiroproxy.upstream.connection import Call, ConnectionPool, Response

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CONFIG = Config(connect_timeout_s=5, first_byte_timeout_s=5, idle_timeout_s=5)
HOUR = 3600.0


@pytest.fixture
async def connections(client_tls) -> AsyncIterator:
    """Make pools with changed settings; every one must close to nothing."""
    made: list[ConnectionPool] = []

    def make(**changes) -> ConnectionPool:
        made.append(ConnectionPool(replace(CONFIG, **changes), context=client_tls))
        return made[-1]

    yield make
    for pool in made:
        await pool.aclose()
        assert pool.open_count == 0


async def post(pool: ConnectionPool, peer, body: bytes = b"{}") -> Response:
    return await pool.request("POST", peer.url + "/x?y=1", [(b"a", b"b")], body)


def answering(*answers: bytes, then_close: bool = False):
    """Script: one answer a request, the last one for ever."""

    async def script(peer, reader, writer) -> None:
        for position in range(1_000_000):
            await peer.request(reader)
            writer.write(answers[min(position, len(answers) - 1)])
            await writer.drain()
            if then_close:
                return

    return script


def reset(writer) -> None:
    """Close so that the peer sees RST, not FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def until(fact) -> None:
    """Let the loop turn until a fact holds; the test's own timeout bounds it."""
    while not fact():
        await asyncio.sleep(0.001)


# -- the plain way ---------------------------------------------------------------------------


async def test_request_arrives_whole_and_the_answer_comes_back(serve, connections):
    peer = await serve(answering(OK))
    response = await post(connections(), peer, b'{"a":1}')
    assert (response.status, await response.read()) == (200, b"ok")
    head, body = peer.requests[0]
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /x?y=1 HTTP/1.1"
    assert {b"host: localhost:%d" % peer.port, b"a: b", b"content-length: 7"} <= set(lines)
    assert body == b'{"a":1}'


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (CHUNKED + b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\ntrailer: z\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope", b"nope"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
    ids=["length", "chunked", "close", "refusal", "interim", "nothing"],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
async def test_every_framing_gives_the_body_at_every_chunk_size(
    serve, connections, answer, body, size
):
    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        for start in range(0, len(answer), size):
            writer.write(answer[start : start + size])
            await asyncio.sleep(0)

    response = await post(connections(), await serve(script))
    assert await response.read() == body


async def test_headers_are_lower_case_and_repeated_ones_joined(serve, connections):
    peer = await serve(
        answering(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n")
    )
    response = await post(connections(), peer)
    assert response.headers == {b"x-a": b"1, 2", b"content-length": b"0"}


async def test_large_request_body_arrives_whole(serve, connections):
    body = bytes(range(256)) * 40_000  # 10 MB, far over any socket buffer
    peer = await serve(answering(OK))
    await (await post(connections(), peer, body)).read()
    assert peer.requests[0][1] == body


@pytest.mark.parametrize("size", [10, 3 * 1024 * 1024])
async def test_request_that_was_sent_is_not_kept_while_its_answer_runs(serve, connections, size):
    peer, pool = await serve(answering(CHUNKED)), connections()
    body = bytes(size)
    known = sys.getrefcount(body)
    response = await post(pool, peer, body)
    await until(lambda: sys.getrefcount(body) == known)
    response.close()


async def test_header_value_with_a_line_break_is_refused(serve, connections):
    peer = await serve(answering(OK))
    with pytest.raises(InternalError):
        await connections().request("POST", peer.url, [(b"a", b"b\r\nc: d")], b"")
    assert peer.accepted == 0


# -- pouring ---------------------------------------------------------------------------------


class Client:
    """What a pump writes to."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.outlet = Outlet(self.writes.append)

    def pump(self) -> Pump:
        translator = Translator(
            message_id="m", model="m", split_tags=False, drop_thinking=False, tool_names={}
        )
        return Pump(translator, self.outlet, None)


def chunk(content: str) -> bytes:
    frame = event("assistantResponseEvent", {"content": content})
    return b"%x\r\n%b\r\n" % (len(frame), frame)


async def test_poured_answer_leaves_its_connection_for_the_next(serve, connections):
    peer = await serve(answering(CHUNKED + chunk("a") + chunk("b") + b"0\r\n\r\n"))
    pool = connections()
    for _ in range(3):
        client, response = Client(), await post(pool, peer)
        await response.pour(client.pump())
        response.close()
        assert b'"a"' in client.writes[0] and b'"b"' in client.writes[-1]
    assert (peer.accepted, pool.idle_count) == (1, 1)


async def test_poured_answer_that_is_cut_gives_what_came_and_then_raises(serve, connections):
    peer = await serve(answering(CHUNKED + chunk("a"), then_close=True))
    client, response = Client(), await post(connections(), peer)
    with pytest.raises(ConnectionLost):
        await response.pour(client.pump())
    assert b'"a"' in client.writes[0]


async def test_silence_in_a_poured_answer_breaks_the_idle_limit(serve, connections):
    peer = await serve(answering(CHUNKED + chunk("a")))
    response = await post(connections(idle_timeout_s=0.05), peer)
    with pytest.raises(UpstreamTimeout) as caught:
        await response.pour(Client().pump())
    assert caught.value.setting == "idleTimeout"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nconte"])
async def test_a_head_may_have_a_limit_of_its_own(serve, connections, answer):
    peer = await serve(answering(answer))
    with pytest.raises(UpstreamTimeout) as caught:
        await post(connections(first_byte_timeout_s=HOUR, head_timeout_s=0.05), peer)
    assert caught.value.setting == "headTimeout"


async def test_the_limit_of_the_head_ends_with_it(serve, connections):
    peer = await serve(answering(CHUNKED))
    limits = {"first_byte_timeout_s": 0.3, "head_timeout_s": 0.2}
    response = await post(connections(**limits), peer)
    with pytest.raises(UpstreamTimeout) as caught:
        await response.chunk()
    assert caught.value.setting == "firstByteTimeout"


async def test_what_a_consumer_raises_comes_out_of_the_pouring(serve, connections):
    go_on = asyncio.Event()

    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        writer.write(CHUNKED)
        await go_on.wait()
        writer.write(b"1\r\na\r\n")
        await reader.read()

    pool = connections()
    response = await post(pool, await serve(script))
    pouring = asyncio.create_task(response.pour(Consumer()))  # which cannot consume
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(NotImplementedError):
        await pouring
    response.close()
    await until(lambda: pool.open_count == 0)


async def test_cancelled_pouring_closes_the_socket(serve, connections):
    peer, pool = await serve(answering(CHUNKED + chunk("a"))), connections()
    client, response = Client(), await post(pool, peer)
    pouring = asyncio.create_task(response.pour(client.pump()))
    await until(lambda: client.writes)
    pouring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pouring
    response.close()
    await until(lambda: pool.open_count == 0 and peer.open == 0)


# -- reuse -----------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
async def test_answers_read_to_the_end_share_one_connection(serve, connections, server_tls, secure):
    peer = await serve(
        answering(OK, CHUNKED + b"1\r\na\r\n0\r\n\r\n"), tls=server_tls if secure else None
    )
    pool = connections()
    for _ in range(5):
        response = await post(pool, peer)
        while await response.chunk():
            pass
        response.close()
    assert (peer.accepted, pool.idle_count, pool.open_count) == (1, 1, 1)


async def test_youngest_idle_connection_is_taken_first(serve, connections):
    async def script(peer, reader, writer) -> None:
        number = b"%d" % peer.accepted
        while True:
            await peer.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + number)

    peer, pool = await serve(script), connections()
    first, second = await post(pool, peer), await post(pool, peer)
    assert (await first.read(), await second.read()) == (b"1", b"2")
    for _ in range(3):
        assert await (await post(pool, peer)).read() == b"2"


async def test_connection_of_an_unread_answer_is_aborted(serve, connections):
    peer, pool = await serve(answering(CHUNKED + b"3\r\nabc\r\n")), connections()
    response = await post(pool, peer)
    assert await response.chunk() == b"abc"
    response.close()
    response.close()
    await until(lambda: peer.open == 0)
    await until(lambda: pool.open_count == 0)
    assert pool.idle_count == 0


async def test_closing_connection_header_is_obeyed(serve, connections):
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    peer, pool = await serve(answering(answer)), connections()
    assert await (await post(pool, peer)).read() == b"ok"
    assert pool.idle_count == 0
    await until(lambda: pool.open_count == 0)


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\n", b"garbage", b"0\r\n\r\n"])
async def test_bytes_behind_an_answer_end_its_connection_not_the_answer(serve, connections, extra):
    peer, pool = await serve(answering(OK + extra)), connections()
    for count in (1, 2):
        assert await (await post(pool, peer)).read() == b"ok"
        await until(lambda: pool.open_count == 0)
        assert peer.accepted == count


@pytest.mark.parametrize("way", ["eof", "half", "reset", "bytes"])
async def test_idle_connection_that_stirs_is_dropped_at_once(serve, connections, way):
    stir = asyncio.Event()

    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        writer.write(OK)
        await stir.wait()
        if way == "reset":
            reset(writer)
        elif way == "bytes":
            writer.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        elif way == "half":
            writer.write_eof()
        if way != "eof":
            await reader.read()  # until our side is closed too: no CLOSE_WAIT

    peer, pool = await serve(script), connections()
    await (await post(pool, peer)).read()
    assert pool.idle_count == 1
    stir.set()
    await until(lambda: pool.open_count == 0 and peer.open == 0)
    assert pool.idle_count == 0


@pytest.mark.parametrize("way", ["eof", "reset"])
async def test_connection_found_stale_is_replaced_once_and_unnoticed(serve, connections, way):
    async def script(peer, reader, writer) -> None:
        number = peer.accepted
        await peer.request(reader)
        writer.write(OK)
        await peer.request(reader)
        if number == 1:  # the second request on the first connection meets a dead end
            return reset(writer) if way == "reset" else None
        writer.write(OK)
        return None

    peer, pool = await serve(script), connections()
    await (await post(pool, peer)).read()
    assert await (await post(pool, peer, b"second")).read() == b"ok"
    assert peer.accepted == 2
    assert [body for _, body in peer.requests] == [b"{}", b"second", b"second"]


async def test_fresh_connection_that_dies_is_not_tried_again(serve, connections):
    async def script(peer, reader, writer) -> None:
        await peer.request(reader)

    peer, pool = await serve(script), connections()
    with pytest.raises(ConnectionLost):
        await post(pool, peer)
    assert len(peer.requests) == 1


async def test_reused_connection_that_dies_inside_the_head_is_not_tried_again(serve, connections):
    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        writer.write(OK)
        await peer.request(reader)
        writer.write(b"HTTP/1.1 200 O")

    peer, pool = await serve(script), connections()
    await (await post(pool, peer)).read()
    with pytest.raises(ConnectionLost):
        await post(pool, peer)
    assert (peer.accepted, len(peer.requests)) == (1, 2)


async def test_connection_opened_as_its_request_is_given_up_is_closed(serve, connections):
    peer, pool = await serve(answering(OK)), connections()
    call = Call.of("POST", peer.url + "/", [], b"{}", None, CONFIG.times)
    call.connecting = pool.connect(call.key, CONFIG.times)
    asking = asyncio.create_task(pool.answer(call))
    call.connecting.add_done_callback(lambda _: asking.cancel())  # before it wakes who waits
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    await until(lambda: pool.open_count == 0)


async def test_idle_connections_expire(serve, connections):
    peer, pool = await serve(answering(OK)), connections(pool_idle_s=0.05)
    both = [await post(pool, peer), await post(pool, peer)]
    for response in both:
        await response.read()
    assert pool.idle_count == 2
    await until(lambda: pool.open_count == 0 and peer.open == 0)


async def test_connection_whose_upload_was_cut_short_by_the_answer_is_not_reused(
    serve, connections
):
    async def script(peer, reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await done.wait()

    done = asyncio.Event()
    peer, pool = await serve(script), connections()
    response = await post(pool, peer, b"x" * 32 * 1024 * 1024)
    assert (response.status, await response.read()) == (413, b"no")
    assert pool.idle_count == 0
    done.set()


async def test_pool_without_idle_time_keeps_nothing(serve, connections):
    peer, pool = await serve(answering(OK)), connections(pool_idle_s=0)
    await (await post(pool, peer)).read()
    assert pool.idle_count == 0


# -- faults ----------------------------------------------------------------------------------


async def test_refused_connection_is_a_connect_failure(connections):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConnectFailed) as caught:
        await connections().request("POST", url, [], b"")
    assert "127.0.0.1" in caught.value.detail


async def test_untrusted_certificate_is_a_connect_failure_that_names_the_remedy(serve, server_tls):
    peer, pool = await serve(answering(OK), tls=server_tls), ConnectionPool(CONFIG)
    with pytest.raises(ConnectFailed) as caught:
        await post(pool, peer)
    assert "SSL_CERT_FILE" in caught.value.detail
    await pool.aclose()
    assert pool.open_count == 0


TRUNCATED = {
    "in the head": b"HTTP/1.1 200 OK\r\nconte",
    "in a length body": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
    "in a chunk size": CHUNKED + b"3\r\nabc\r\n1",
    "in a chunk": CHUNKED + b"ff\r\nabc",
    "between chunks": CHUNKED + b"3\r\nabc\r\n",
    "before the last line": CHUNKED + b"3\r\nabc\r\n0\r\n",
}


@pytest.mark.parametrize("answer", TRUNCATED.values(), ids=TRUNCATED.keys())
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_answer_cut_short_is_a_lost_connection_never_an_end(
    serve, connections, server_tls, answer, secure
):
    peer = await serve(answering(answer, then_close=True), tls=server_tls if secure else None)
    pool = connections()
    with pytest.raises(ConnectionLost):
        response = await post(pool, peer)
        while await response.chunk():
            pass
    await until(lambda: pool.open_count == 0)


async def test_every_cut_of_a_chunked_answer_is_noticed(serve, connections):
    whole = CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        writer.write(whole[: peer.accepted])

    peer, pool = await serve(script), connections()
    for _ in range(len(whole) - 1):
        with pytest.raises(ConnectionLost):
            await (await post(pool, peer)).read()
    assert await (await post(pool, peer)).read() == b"abcde"


async def test_bytes_before_a_cut_are_handed_out_first(serve, connections):
    peer = await serve(answering(CHUNKED + b"3\r\nabc\r\n", then_close=True))
    response = await post(connections(), peer)
    assert await response.chunk() == b"abc"
    with pytest.raises(ConnectionLost) as caught:
        await response.chunk()
    assert "3 body bytes" in caught.value.detail


async def test_reset_in_the_body_is_a_lost_connection_even_without_framing(serve, connections):
    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await writer.drain()
        await read.wait()
        reset(writer)

    read = asyncio.Event()
    response = await post(connections(), await serve(script))
    assert await response.chunk() == b"abc"
    read.set()
    with pytest.raises(ConnectionLost):
        await response.chunk()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        CHUNKED + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxyz",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
    ids=["ssh", "chunk-size", "both-framings", "upgrade", "endless-head"],
)
async def test_bytes_that_are_not_an_answer_end_the_connection(serve, connections, answer):
    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        writer.write(answer)
        await reader.read()

    peer, pool = await serve(script), connections()
    with pytest.raises(ConnectionLost) as caught:
        response = await post(pool, peer)
        while await response.chunk():
            pass
    assert "not HTTP" in caught.value.detail
    await until(lambda: pool.open_count == 0 and peer.open == 0)


async def test_body_over_the_limit_is_refused_and_its_connection_aborted(serve, connections):
    peer = await serve(answering(b"HTTP/1.1 500 No\r\ncontent-length: 50\r\n\r\n" + b"x" * 50))
    pool = connections()
    with pytest.raises(ProtocolViolation):
        await (await post(pool, peer)).read(limit=49)
    assert await (await post(pool, peer)).read(limit=50) == b"x" * 50
    await until(lambda: pool.open_count == 1)


# -- time ------------------------------------------------------------------------------------

SILENCES = {
    "no head": (b"", "firstByteTimeout"),
    "half a head": (b"HTTP/1.1 200 OK\r\nconte", "firstByteTimeout"),
    "no body": (CHUNKED, "firstByteTimeout"),
    "half a body": (CHUNKED + b"3\r\nabc\r\n", "idleTimeout"),
}


@pytest.mark.parametrize(("answer", "setting"), SILENCES.values(), ids=SILENCES.keys())
async def test_silence_is_named_after_the_setting_it_broke(serve, connections, answer, setting):
    limits = {"first_byte_timeout_s": HOUR, "idle_timeout_s": HOUR}
    limits["first_byte_timeout_s" if setting == "firstByteTimeout" else "idle_timeout_s"] = 0.05
    peer = await serve(answering(answer))
    pool = connections(**limits)
    with pytest.raises(UpstreamTimeout) as caught:
        response = await post(pool, peer)
        while await response.chunk():
            pass
    assert caught.value.setting == setting
    await until(lambda: pool.open_count == 0 and peer.open == 0)


async def test_total_time_ends_an_answer_that_never_falls_silent(serve, connections):
    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        writer.write(CHUNKED)
        while True:
            writer.write(b"1\r\na\r\n")
            await writer.drain()
            await asyncio.sleep(0.005)

    pool = connections(total_timeout_s=0.1)
    response = await post(pool, await serve(script))
    with pytest.raises(UpstreamTimeout) as caught:
        while await response.chunk():
            pass
    assert caught.value.setting == "totalTimeout"


async def test_silence_while_the_reader_is_behind_is_not_the_peers(serve, connections):
    go_on = asyncio.Event()

    async def script(peer, reader, writer) -> None:
        await peer.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200001\r\n\r\n" + b"x" * 200_000)
        await go_on.wait()
        writer.write(b"y")

    pool = connections(idle_timeout_s=0.05)
    response = await post(pool, await serve(script))
    await asyncio.sleep(0.2)  # several idle timeouts long nobody reads
    go_on.set()
    body = await response.read()
    assert (len(body), body[-1:]) == (200_001, b"y")


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_long_upload_that_makes_progress_is_no_silence(
    serve, connections, server_tls, secure
):
    size = 24 * 1024 * 1024

    async def script(peer, reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(24):
            await reader.readexactly(size // 24)
            await asyncio.sleep(0.05)
        writer.write(OK)

    # A small buffer there: a large one would empty for long before we could send again.
    peer = await serve(script, tls=server_tls if secure else None, receive_buffer=256 * 1024)
    pool = connections(first_byte_timeout_s=0.6)  # half of what the upload takes at least
    assert await (await post(pool, peer, b"x" * size)).read() == b"ok"


async def test_unreachable_peer_is_given_up_after_the_connect_timeout(serve, connections):
    async def script(peer, reader, writer) -> None:
        await reader.read()  # accepts, and never answers the TLS hello

    peer, pool = await serve(script), connections(connect_timeout_s=0.05)
    peer.scheme = "https"
    with pytest.raises(UpstreamTimeout) as caught:
        await post(pool, peer)
    assert caught.value.setting == "connectTimeout"
    await until(lambda: peer.open == 0)


# -- flow control, cancellation, the end -----------------------------------------------------


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_slow_reader_stops_the_peer_and_loses_nothing(serve, connections, server_tls, secure):
    total, sent = 64 * 1024 * 1024, 0

    async def script(peer, reader, writer) -> None:
        nonlocal sent
        await peer.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(bytes([sent // 65536 % 256]) * 65536)
            await writer.drain()
            sent += 65536
        await reader.read()

    pool = connections()
    response = await post(pool, await serve(script, tls=server_tls if secure else None))
    first, seen, quiet = await response.chunk(), -1, 0
    while quiet < 20:  # until the peer has made no progress for twenty turns of the loop
        quiet = quiet + 1 if sent == seen else 0
        seen = sent
        await asyncio.sleep(0.005)
    assert sent < total // 2
    assert max(c.queued_bytes for c in pool._open) < 1024 * 1024
    count = len(first)
    while piece := await response.chunk():
        assert piece[0] == count // 65536 % 256
        count += len(piece)
    assert count == total
    assert pool.idle_count == 1


@pytest.mark.parametrize(
    "answer", [b"", CHUNKED, CHUNKED + b"3\r\nabc\r\n"], ids=["head", "first byte", "body"]
)
async def test_cancellation_closes_the_socket_in_every_phase(serve, connections, answer):
    peer = await serve(answering(answer))
    pool = connections(first_byte_timeout_s=HOUR, idle_timeout_s=HOUR)

    async def ask() -> None:
        response = await post(pool, peer)
        with contextlib.closing(response):
            while await response.chunk():
                pass

    task = asyncio.create_task(ask())
    await peer.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: pool.open_count == 0 and peer.open == 0)


async def test_two_hundred_cancelled_requests_leave_no_socket(serve, connections, server_tls):
    peer = await serve(answering(CHUNKED), tls=server_tls)
    pool = connections(first_byte_timeout_s=HOUR, idle_timeout_s=HOUR)
    tasks = [asyncio.create_task(post(pool, peer)) for _ in range(200)]
    for turn, task in enumerate(tasks):
        task.cancel()
        if turn % 10 == 0:
            await asyncio.sleep(0.001)  # so that some are connecting, some asking, some answered
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, Response):
            answer.close()
    await until(lambda: pool.open_count == 0 and peer.open == 0)


async def test_closing_the_pool_wakes_a_waiting_reader(serve, connections):
    peer, pool = await serve(answering(CHUNKED)), connections()
    response = await post(pool, peer)
    waiting = asyncio.create_task(response.chunk())
    await asyncio.sleep(0)
    await pool.aclose()
    with pytest.raises(ConnectionLost):
        await waiting
    with pytest.raises(InternalError):
        await post(pool, peer)
    await until(lambda: peer.open == 0)


async def test_small_writes_leave_at_once(serve, connections):
    peer, pool = await serve(answering(OK)), connections()
    await (await post(pool, peer)).read()
    (connection,) = pool._open
    sock = connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_cancelled_while_it_is_being_made_a_connection_is_forgotten(
    serve, connections, monkeypatch
):
    """uvloop closes such a transport without a word to its protocol; closing must not wait."""
    peer = await serve(answering(OK))
    pool = connections()
    made = pool.made

    def cancel_then(connection) -> None:
        made(connection)
        task.cancel()

    monkeypatch.setattr(pool, "made", cancel_then)
    task = asyncio.create_task(post(pool, peer))
    await asyncio.wait({task})
    assert task.cancelled()
    await until(lambda: pool.open_count == 0)
