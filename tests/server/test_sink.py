"""The client's side of a stream: starts early, pings when it is quiet, notices who leaves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kiroproxy.server.request import ClientGone, Request
from kiroproxy.server.sink import Sink, Watch

Send = Callable[[Any], Awaitable[None]]


class Client:
    """An ASGI client that can stop reading."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.got_more = asyncio.Event()
        self.waiting = 0

    async def send(self, message: dict[str, Any]) -> None:
        self.waiting += 1
        await self.reads.wait()
        self.waiting -= 1
        self.messages.append(message)
        self.got_more.set()

    async def until(self, count: int) -> None:
        while len(self.messages) < count:
            self.got_more.clear()
            await self.got_more.wait()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


def sink_for(client: Client, early_s: float = 60, ping_s: float = 60) -> Sink:
    return Sink(
        client.send,
        "req_1",
        opening=lambda: b"<start>",
        ping=lambda: b"<ping>",
        early_start_s=early_s,
        ping_interval_s=ping_s,
    )


async def test_the_opening_goes_out_once_and_before_everything_else() -> None:
    client = Client()
    sink = sink_for(client)
    await sink.start()
    await sink.start()
    await sink.write(b"<a>")
    await sink.finish(b"<end>")
    assert client.body == b"<start><a><end>"
    assert client.messages[0]["status"] == 200
    assert [message.get("more_body") for message in client.messages] == [None, True, True, False]


async def test_a_stream_that_was_never_started_is_whole_in_one_go() -> None:
    client = Client()
    await sink_for(client).finish(b"<end>")
    assert client.body == b"<start><end>"


async def test_an_answer_that_takes_long_is_started_without_it_and_then_pinged() -> None:
    client = Client()
    sink = sink_for(client, early_s=0.01, ping_s=0.01)
    sink.arm()
    await client.until(4)
    await sink.close()
    assert client.messages[0]["type"] == "http.response.start"
    assert client.body.startswith(b"<start><ping><ping>")


async def test_no_ping_follows_a_close() -> None:
    client = Client()
    sink = sink_for(client, early_s=0.01, ping_s=0.01)
    sink.arm()
    await client.until(2)
    await sink.close()
    count = len(client.messages)
    await asyncio.sleep(0.05)
    assert len(client.messages) == count


async def test_a_write_waits_for_a_ping_that_is_being_written() -> None:
    client = Client()
    sink = sink_for(client, early_s=0.01, ping_s=60)
    client.reads.clear()
    sink.arm()
    while not client.waiting:  # the early start hangs in send()
        await asyncio.sleep(0.001)
    writing = asyncio.create_task(sink.write(b"<a>"))
    await asyncio.sleep(0)
    assert client.waiting == 1
    client.reads.set()
    await writing
    await sink.close()
    assert client.body == b"<start><a>"


async def test_a_client_that_does_not_read_gets_no_pings_piled_up() -> None:
    client = Client()
    sink = sink_for(client, early_s=60, ping_s=0.01)
    await sink.start()
    client.reads.clear()
    sink._early_start_s = 0.01
    sink.arm()
    writing = asyncio.create_task(sink.write(b"<a>"))
    await asyncio.sleep(0.06)
    assert client.waiting == 1
    client.reads.set()
    await writing
    await sink.close()
    assert client.body == b"<start><a>"


async def test_a_send_that_fails_means_that_the_client_is_gone() -> None:
    async def broken(message: Any) -> None:
        raise ConnectionResetError

    sink = Sink(broken, "r", opening=bytes, ping=bytes, early_start_s=60, ping_interval_s=60)
    with pytest.raises(ClientGone):
        await sink.write(b"<a>")


def leaving(event: asyncio.Event) -> Request:
    async def receive() -> dict[str, Any]:
        await event.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)


async def test_leaving_cancels_what_is_being_waited_for() -> None:
    left, cleaned = asyncio.Event(), False
    asyncio.get_running_loop().call_later(0.01, left.set)
    with pytest.raises(ClientGone):
        async with Watch(leaving(left)):
            try:
                await asyncio.Event().wait()
            finally:
                cleaned = True
    assert cleaned
    task = asyncio.current_task()
    assert task is not None and not task.cancelling()  # the next await is not cancelled
    await asyncio.sleep(0)


async def test_leaving_after_the_last_event_is_no_news() -> None:
    left = asyncio.Event()
    async with Watch(leaving(left)) as watch:
        watch.over = True
        left.set()
        await asyncio.sleep(0.01)
    assert not watch.gone


async def test_a_cancellation_from_elsewhere_stays_a_cancellation() -> None:
    async def serve() -> None:
        async with Watch(leaving(asyncio.Event())):
            await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
