"""The short way of a short stream: no task, the same bytes, and a task as soon as one is needed."""

import asyncio
import gc
import json
import logging
import random
from typing import Any

import pytest

from kiroproxy.errors import ConnectFailed
from kiroproxy.server.asgi import Limits, Protocol
from kiroproxy.simulator.script import (
    Drop,
    Hold,
    Reasoning,
    Redacted,
    Script,
    Start,
    Text,
    Tool,
    Wait,
    answer,
    refuse,
)  # fmt: skip
from kiroproxy.upstream.connection import ConnectionPool

HEAD = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: sk-test-0123456789\r\n"
BODY = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1024,
    "stream": True,
    "messages": [{"role": "user", "content": "Hello!"}],
}


def request(**changes: Any) -> bytes:
    body = json.dumps(BODY | changes).encode()
    return HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def same_ids(gateway: Any, monkeypatch: Any) -> None:
    """Have every answer called msg_1."""
    gateway.app.express.new_message_id = lambda: "msg_1"
    monkeypatch.setattr("kiroproxy.server.messages.new_message_id", lambda: "msg_1")


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return head and body of one chunked answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return head, body


@pytest.fixture
async def warm(run_gateway: Any, monkeypatch: Any) -> Any:
    """Return `await warm(*scripts, **settings)`: a gateway that has an idle connection to Kiro.

    Its `tasks` counts the requests that a task served from then on.
    """

    async def start(*scripts: Any, **settings: Any) -> Any:
        gateway = await run_gateway(**settings)
        await gateway.ask(stream=True)
        gateway.sim.enqueue(*scripts)
        gateway.tasks = 0
        begin = Protocol._start_asgi_task

        def counted(self: Any, cycle: Any, app: Any) -> None:
            gateway.tasks += 1
            begin(self, cycle, app)

        monkeypatch.setattr(Protocol, "_start_asgi_task", counted)
        return gateway

    return start


async def test_a_short_stream_needs_no_task_and_one_write(warm: Any) -> None:
    gateway = await warm(answer("Hello ", "there."))
    reader, writer = await gateway.connect()
    writer.write(request())
    _, body = await read_answer(reader)
    assert b"Hello " in body and body.endswith(b'data: {"type":"message_stop"}\n\n')
    assert gateway.tasks == 0
    writer.close()


async def test_the_short_way_gives_the_bytes_of_the_long_one(warm: Any, monkeypatch: Any) -> None:
    script = answer("Hello 👋 ", "there")
    gateway = await warm(script, script)
    same_ids(gateway, monkeypatch)
    short = await gateway.ask(stream=True)
    assert gateway.tasks == 0
    gateway.app.express.body_max_bytes = 0
    long = await gateway.ask(stream=True)
    assert gateway.tasks == 1
    assert short.content == long.content
    told = [[(name, value) for name, value in each.headers.items() if name not in
             ("date", "request-id")] for each in (short, long)]  # fmt: skip
    assert told[0] == told[1]


async def test_a_whole_answer_needs_no_task_either(warm: Any, monkeypatch: Any) -> None:
    script = answer("Hello 👋 ", "there", Tool("f", '{"city": "Ulm"}'))
    gateway = await warm(script, script)
    same_ids(gateway, monkeypatch)
    short = await gateway.ask()
    assert gateway.tasks == 0
    gateway.app.express.body_max_bytes = 0
    long = await gateway.ask()
    assert gateway.tasks == 1
    assert short.content == long.content
    assert short.json()["stop_reason"] == "tool_use"
    assert list(short.headers) == list(long.headers)


def some_answer(seed: int) -> Script:
    """Return an answer of any content, its text in any escapes."""
    dice = random.Random(seed)
    steps: list[Any] = []
    for at in range(dice.randrange(1, 6)):
        text = "".join(dice.choices(["Hello ", "STOP", "你好", "👋", '"\\', "\n\n", "\x01"], k=6))
        escape = dice.choice(["plain", "html", "ascii"])
        steps.append(
            dice.choice(
                [
                    Text(text, size=dice.randrange(9), escape=escape),
                    Text(text, size=dice.randrange(9), escape=escape),
                    Reasoning(text, size=dice.randrange(9), escape=escape),
                    Redacted(),
                    Tool(f"f{at}", json.dumps({"a": text}), f"tool_{at}", size=dice.randrange(9)),
                    Tool(f"f{at}", None, f"tool_{at}"),
                ]
            )
        )
    return answer(*steps, "end")


def in_order(body: bytes) -> Any:
    """Return JSON with its members as lists: their order counts too."""
    return json.loads(body, object_pairs_hook=list)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stop_sequences": ["STOP"]},
        {"max_tokens": 8},
        {"max_tokens": 600, "stop_sequences": ["end"]},
        {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}},
    ],
)
async def test_a_whole_answer_is_the_message_that_its_events_fold_into(
    warm: Any, monkeypatch: Any, changes: dict[str, Any]
) -> None:
    gateway = await warm()
    same_ids(gateway, monkeypatch)
    lane = gateway.app.express
    short_max = lane.body_max_bytes
    lane.folded = None  # not needed for any of these
    for seed in range(15):
        script = some_answer(seed)
        gateway.sim.enqueue(script, script)
        lane.body_max_bytes, tasks = short_max, gateway.tasks
        short = await gateway.ask(**changes)
        early = short.json()["stop_reason"] in ("stop_sequence", "max_tokens")
        assert early or gateway.tasks == tasks
        lane.body_max_bytes, tasks = 0, gateway.tasks
        long = await gateway.ask(**changes)
        assert gateway.tasks == tasks + 1
        assert short.status_code == 200
        assert in_order(short.content) == in_order(long.content)
        assert list(short.headers) == list(long.headers)


async def test_the_bytes_of_a_whole_answer_are_those_of_its_message(
    warm: Any, monkeypatch: Any
) -> None:
    script = answer(
        Reasoning("So 👋", size=2), 'a "b" \\ c\n', "你好", Tool("f", '{"é": [1.10]}', "t")
    )
    gateway = await warm(script, script)
    same_ids(gateway, monkeypatch)
    thinking = {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    short = await gateway.ask(**thinking)
    assert gateway.tasks == 0
    gateway.app.express.body_max_bytes = 0
    assert short.content == (await gateway.ask(**thinking)).content
    assert [block["type"] for block in short.json()["content"]] == ["thinking", "text", "tool_use"]


async def test_a_whole_answer_that_takes_its_time_needs_no_task_either(warm: Any) -> None:
    gateway = await warm(answer("first ", Wait(0.5), "second"), ping_interval_s=0.1)
    assert (await gateway.ask()).json()["content"] == [{"type": "text", "text": "first second"}]
    assert gateway.tasks == 0


async def test_a_whole_answer_that_does_not_begin_is_awaited_by_a_task(warm: Any) -> None:
    gateway = await warm(answer(Hold(), "late"), ping_interval_s=0.1)
    asking = asyncio.create_task(gateway.ask())
    while not gateway.tasks:
        await asyncio.sleep(0.001)
    gateway.sim.release()
    assert (await asking).json()["content"] == [{"type": "text", "text": "late"}]


async def test_a_whole_answer_cut_after_content_is_tried_again(warm: Any) -> None:
    gateway = await warm(Script((Start(), Text("lost"), Drop())), answer("Hello"))
    assert (await gateway.ask()).json()["content"] == [{"type": "text", "text": "Hello"}]


async def test_a_connection_carries_one_request_after_the_other(warm: Any) -> None:
    gateway = await warm(*[answer(word) for word in ("one", "two", "three")])
    reader, writer = await gateway.connect()
    for word in (b"one", b"two", b"three"):
        writer.write(request())
        _, body = await read_answer(reader)
        assert word in body
    assert gateway.tasks == 0
    writer.close()


async def test_a_request_that_comes_too_early_waits_its_turn(warm: Any) -> None:
    gateway = await warm(answer("first", Hold()), answer("second"))
    reader, writer = await gateway.connect()
    writer.write(request())
    await gateway.sim.wait_for(2)
    writer.write(request())
    await writer.drain()
    gateway.sim.release()
    assert b"first" in (await read_answer(reader))[1]
    assert b"second" in (await read_answer(reader))[1]
    writer.close()


async def test_the_parser_goes_on_where_the_short_way_ended(warm: Any) -> None:
    gateway = await warm(answer("first"))
    reader, writer = await gateway.connect()
    writer.write(request())
    await read_answer(reader)
    writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" + request(stream=False))
    assert b"200" in await reader.readuntil(b"\r\n")
    await reader.readuntil(b'"end_turn"')
    writer.close()


async def test_head_and_body_may_come_one_after_the_other(warm: Any) -> None:
    gateway = await warm(answer("Hello"))
    reader, writer = await gateway.connect()
    whole = request()
    cut = whole.index(b"{")
    writer.write(whole[:cut])
    await writer.drain()
    await asyncio.sleep(0)
    writer.write(whole[cut:])
    assert b"Hello" in (await read_answer(reader))[1]
    assert gateway.tasks <= 1  # 0, unless this machine slept in between
    writer.close()


async def test_a_body_that_is_long_in_coming_is_awaited_by_a_task(warm: Any) -> None:
    gateway = await warm(answer("Hello"))
    reader, writer = await gateway.connect()
    whole = request()
    writer.write(whole[:-5])
    while not gateway.tasks:
        await asyncio.sleep(0.001)
    writer.write(whole[-5:])
    assert b"Hello" in (await read_answer(reader))[1]
    writer.close()


async def test_an_answer_that_takes_its_time_gets_its_pings(warm: Any) -> None:
    gateway = await warm(answer("first", Hold(), "second"), ping_interval_s=0.1)
    reader, writer = await gateway.connect()
    writer.write(request())
    await reader.readuntil(b'"first"')
    await reader.readuntil(b"event: ping")
    gateway.sim.release()
    rest = await reader.readuntil(b"0\r\n\r\n")
    assert b"second" in rest and b"message_stop" in rest
    assert gateway.tasks == 0
    writer.close()


async def test_an_answer_that_does_not_begin_is_awaited_by_a_task(warm: Any) -> None:
    gateway = await warm(answer(Hold(), "late"), ping_interval_s=0.1)
    reader, writer = await gateway.connect()
    writer.write(request())
    while not gateway.tasks:
        await asyncio.sleep(0.001)
    gateway.sim.release()
    assert b"late" in await reader.readuntil(b"0\r\n\r\n")
    writer.close()


async def test_a_refusal_is_tried_again_by_a_task(warm: Any) -> None:
    gateway = await warm(refuse(500, "InternalServerException", "no"), answer("Hello"))
    _, *events = await gateway.events()
    assert gateway.tasks == 1
    assert any("Hello" in json.dumps(event) for _, event in events)


async def test_an_answer_cut_before_content_is_tried_again(warm: Any) -> None:
    gateway = await warm(Script((Start(), Drop())), answer("Hello"))
    events = await gateway.events()
    assert [name for name, _ in events].count("message_start") == 1
    assert any("Hello" in json.dumps(event) for _, event in events)


async def counted(gateway: Any) -> int:
    """Return how many conversations the metrics say went well."""
    name = 'kiroproxy_requests_total{endpoint="messages",outcome="ok",status="200"} '
    told = (await gateway.client.get("/metrics")).text.partition(name)[2]
    return int(told.partition("\n")[0] or 0)


async def test_a_request_is_logged_and_counted_once(warm: Any, caplog: Any) -> None:
    gateway = await warm(answer("Hello"))
    caplog.set_level(logging.INFO, "kiroproxy.server")
    before, gateway.tasks = await counted(gateway), 0
    response = await gateway.ask(stream=True)
    assert gateway.tasks == 0
    (record,) = [each for each in caplog.records if each.getMessage() == "request"]
    assert record.request_id == response.headers["request-id"]
    assert record.fields["output_tokens"] > 0 and record.fields["tries"] == 1
    assert await counted(gateway) == before + 1


async def test_a_wrong_key_is_refused_as_ever(warm: Any) -> None:
    gateway = await warm()
    answered = await gateway.client.post(
        "/v1/messages", json=BODY, headers={"x-api-key": "sk-other-key"}
    )
    assert answered.status_code == 401
    assert answered.json()["error"]["type"] == "authentication_error"


async def test_draining_lets_a_request_end(warm: Any) -> None:
    gateway = await warm(answer("first", Hold(), "second"))
    reader, writer = await gateway.connect()
    writer.write(request())
    await reader.readuntil(b'"first"')
    assert gateway.tasks == 0
    gateway.server.should_exit = True
    while not gateway.tasks:
        await asyncio.sleep(0.001)
    gateway.sim.release()
    rest = await reader.read()
    assert b"second" in rest and b"message_stop" in rest
    writer.close()


async def test_a_connection_at_rest_is_closed_in_time(warm: Any) -> None:
    gateway = await warm(answer("Hello"), uvicorn_options={"timeout_keep_alive": 1})
    reader, writer = await gateway.connect()
    writer.write(request())
    await read_answer(reader)
    assert await reader.read() == b""
    writer.close()


async def test_a_stream_ends_with_its_client(warm: Any) -> None:
    gateway = await warm(answer(Text("first"), Hold()))
    reader, writer = await gateway.connect()
    writer.write(request())
    await reader.readuntil(b'"first"')
    writer.transport.abort()
    while gateway.app.express.is_busy:
        await asyncio.sleep(0.001)
    assert all(view.in_flight == 0 for view in gateway.app._gateway.pool.snapshot())


async def test_a_whole_answer_its_client_ended_waits_for_nothing_more(warm: Any) -> None:
    gateway = await warm(answer("one STOP two", Hold()))
    async with asyncio.timeout(10):
        told = (await gateway.ask(stop_sequences=["STOP"])).json()
    assert told["content"] == [{"type": "text", "text": "one "}]
    assert told["stop_reason"] == "stop_sequence"


async def test_content_that_came_without_a_task_keeps_the_time_limit(warm: Any) -> None:
    gateway = await warm(
        answer("first ", Wait(1.5), "second"), ping_interval_s=0.1, first_byte_timeout_s=1.0
    )
    told = (await gateway.ask()).json()
    assert told["content"] == [{"type": "text", "text": "first second"}]
    assert len(gateway.sim.of("generate")) == 2


async def test_a_connection_that_ends_as_it_is_taken_holds_nobody_up(
    warm: Any, monkeypatch: Any
) -> None:
    gateway = await warm(answer("Hello"), early_start_s=600.0, ping_interval_s=600.0)
    monkeypatch.setattr("kiroproxy.server.express.TICK_S", 600.0)
    take_idle = ConnectionPool.take_idle

    def late(self: ConnectionPool, key: Any) -> Any:
        for connection in [each for stack in self._idle.values() for each in stack]:
            connection.abort()
        return take_idle(self, key)

    monkeypatch.setattr(ConnectionPool, "take_idle", late)
    async with asyncio.timeout(10):
        _, *events = await gateway.events()
    assert any("Hello" in json.dumps(event) for _, event in events)


async def test_a_connection_that_must_be_opened_needs_no_task(warm: Any) -> None:
    gateway = await warm(answer("Hello"), answer("Hello"))
    for connection in list(gateway.app._gateway.connections._open):
        connection.close()
    _, *events = await gateway.events()
    assert any("Hello" in json.dumps(event) for _, event in events)
    assert gateway.tasks == 0


async def test_a_connection_that_cannot_be_opened_is_a_failed_try(
    warm: Any, monkeypatch: Any
) -> None:
    gateway = await warm()
    connections = gateway.app._gateway.connections
    for connection in list(connections._open):
        connection.close()
    tries = 0

    async def refused(*_: Any) -> Any:
        nonlocal tries
        tries += 1
        raise ConnectFailed("Kiro cannot be reached")

    monkeypatch.setattr(connections, "_connect", refused)
    told = await gateway.ask(stream=True)
    assert told.status_code == 502
    assert tries == 3
    assert gateway.tasks == 1
    assert gateway.app._gateway.pool.snapshot()[0].in_flight == 0


async def test_who_leaves_while_a_connection_is_opened_leaves_nothing(
    warm: Any, monkeypatch: Any
) -> None:
    gateway = await warm()
    connections = gateway.app._gateway.connections
    for connection in list(connections._open):
        connection.close()
    begun = asyncio.Event()

    async def slow(*_: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(connections, "_connect", slow)
    _, writer = await gateway.connect()
    writer.write(request())
    await begun.wait()
    writer.transport.abort()
    while gateway.app.express.is_busy:
        await asyncio.sleep(0.001)
    assert gateway.app._gateway.pool.snapshot()[0].in_flight == 0
    assert gateway.tasks == 0


async def test_opening_that_takes_its_time_is_gone_on_with_by_a_task(
    warm: Any, monkeypatch: Any
) -> None:
    gateway = await warm(answer("Hello"), ping_interval_s=0.1)
    connections = gateway.app._gateway.connections
    for connection in list(connections._open):
        connection.close()
    connect, may = connections._connect, asyncio.Event()

    async def slow(*told: Any) -> Any:
        await may.wait()
        return await connect(*told)

    monkeypatch.setattr(connections, "_connect", slow)
    asking = asyncio.create_task(gateway.ask())
    while not gateway.tasks:
        await asyncio.sleep(0.001)
    may.set()
    assert (await asking).json()["content"] == [{"type": "text", "text": "Hello"}]
    assert len(gateway.sim.of("generate")) == 2


async def test_a_new_connection_that_dies_unanswered_is_a_failed_try(warm: Any) -> None:
    gateway = await warm(Script((Drop(),)), answer("Hello"))
    for connection in list(gateway.app._gateway.connections._open):
        connection.close()
    assert (await gateway.ask()).json()["content"] == [{"type": "text", "text": "Hello"}]
    assert len(gateway.sim.of("generate")) == 3


async def test_a_long_conversation_is_planned_from_its_bytes(warm: Any) -> None:
    gateway = await warm(answer("Hello"))

    def nobody(raw: bytes, judged: Any) -> Any:
        raise AssertionError("it was read whole")

    gateway.app.express.read = nobody
    said = [{"role": role, "content": "word " * 200} for role in ("user", "assistant", "user")]
    reader, writer = await gateway.connect()
    writer.write(request(messages=said))
    assert b"Hello" in (await read_answer(reader))[1]
    assert gateway.tasks == 0
    writer.close()


async def test_who_leaves_with_a_request_waiting_leaves_no_error_in_the_log(
    warm: Any, caplog: Any
) -> None:
    gateway = await warm(answer(Hold(), "late"))
    _, writer = await gateway.connect()
    writer.write(request() + request())
    await gateway.sim.wait_for(2)
    writer.transport.abort()
    while gateway.server.server_state.tasks:
        await asyncio.sleep(0.001)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert len(gateway.sim.of("generate")) == 2


def with_head(more: bytes, target: bytes = b"/v1/messages") -> bytes:
    """Return an ordinary request with another target, or more headers."""
    return (
        request()
        .replace(b"/v1/messages", target, 1)
        .replace(b"host: x\r\n", b"host: x\r\n" + more, 1)
    )


async def test_a_target_that_no_parser_here_takes_is_refused(warm: Any) -> None:
    gateway = await warm(answer(Hold(), "late"), ping_interval_s=0.1)
    told = await gateway.raw(with_head(b"", b"/v1/messages?" + b"x" * 9000))
    assert told.status == 431
    assert len(gateway.sim.of("generate")) == 1


async def test_a_request_that_cannot_be_handed_over_gives_everything_back(warm: Any) -> None:
    gateway = await warm(
        answer(Hold(), "late"), limits=Limits(header_count=12), ping_interval_s=0.1
    )
    reader, writer = await gateway.connect()
    writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"}")
    writer.write(with_head(b"".join(b"x-%d: 1\r\n" % number for number in range(12))))
    await reader.read()
    assert gateway.app._gateway.pool.snapshot()[0].in_flight == 0
    assert gateway.app._gateway.connections.open_count == 0
    told = (await gateway.client.get("/metrics")).text
    assert "\nkiroproxy_requests_in_flight 0\n" in told
    writer.close()


async def test_what_began_without_a_task_has_the_time_it_had_in_all(warm: Any) -> None:
    gateway = await warm(answer("first", Hold()), answer("second", Hold()), total_timeout_s=0.3)
    told = await gateway.ask()
    assert told.status_code == 504
    assert len(gateway.sim.of("generate")) == 2


async def test_a_model_that_is_no_name_is_refused_however_deep_it_is(warm: Any) -> None:
    gateway = await warm()
    body = b'{"model":%b%b,"max_tokens":9,"messages":[]}' % (b"[" * 1010, b"]" * 1010)
    reader, writer = await gateway.connect()
    writer.write(HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body))
    assert b" 400 " in await reader.readuntil(b"\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("script", "changes", "leave_at"),
    [
        (answer("Hello"), {}, b"message_stop"),
        (answer("Hello"), {"stream": False}, b"end_turn"),
        (answer(Wait(0.1), "late"), {}, b"message_stop"),
        (answer("Hello"), {"tools": [], "system": "x" * 70_000}, b"message_stop"),
        (refuse(400, "ValidationException", "Improperly formed request"), {}, b"error"),
        (refuse(500, "InternalServerException", "no"), {}, b"message_stop"),
        (Script((Drop("close"),)), {}, b"message_stop"),
        (Script((Start(), Text("a"), Drop())), {}, b"event: error"),
        (answer("first", Hold()), {}, b"first"),
        (Script((Hold(),)), {}, b"message_start"),
    ],
    ids=[
        "stream",
        "whole",
        "handed-over",
        "long",
        "refused",
        "retried",
        "stale",
        "cut",
        "left",
        "left-early",
    ],
)
async def test_what_a_request_took_is_free_without_the_collector(
    warm: Any, script: Script, changes: dict[str, Any], leave_at: bytes
) -> None:
    gateway = await warm(script, accounts=2, ping_interval_s=0.05, early_start_s=0.1)
    others = len(gateway.server.server_state.connections)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        reader, writer = await gateway.connect()
        writer.write(request(**changes))
        await reader.readuntil(leave_at)
        writer.transport.abort()
        state = gateway.server.server_state
        while len(state.connections) > others or state.tasks:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)  # for the last task to be let go of
        gc.collect()
        kinds = {type(each) for each in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    ours = {kind for kind in kinds if kind.__module__.startswith("kiroproxy.")}
    assert not {kind for kind in ours if not kind.__module__.startswith("kiroproxy.simulator.")}
