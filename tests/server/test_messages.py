"""POST /v1/messages from end to end: client, gateway, and the simulator as Kiro."""

import asyncio
import functools
import gc
import json
import logging
from dataclasses import replace
from typing import Any

import anthropic
import pytest

from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.request import Plan, convert
from kiroproxy.simulator.script import (
    Drop,
    Head,
    Hold,
    Plain,
    Raw,
    Reasoning,
    Script,
    Silence,
    Start,
    Text,
    Throw,
    Tool,
    Wait,
    answer,
    refuse,
)

HEAD = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: sk-test-0123456789\r\n"
BODY = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello!"}],
}
SEARCH = {
    "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
    "messages": [
        {"role": "user", "content": "Perform a web search for the query: owls of Iceland"}
    ],
}
HELD = Script((Hold(), Plain(200, '{"models": []}')))
BROKEN = refuse(500, "InternalServerException", "account 1234 is on fire")


@pytest.fixture(params=["express", "outlet", "send"])
def run_gateway(run_gateway: Any, request: Any) -> Any:
    """Run each test without a task where that can be, with one, and without an outlet."""
    if request.param == "send":  # uvicorn's own protocol has none to offer
        return functools.partial(run_gateway, uvicorn_options={"http": "httptools"})
    return functools.partial(warmed, run_gateway) if request.param == "express" else run_gateway


async def warmed(run_gateway: Any, *scripts: Script, **settings: Any) -> Any:
    """Leave the gateway an idle connection to Kiro and a known token: what needs no task."""
    gateway = await run_gateway(**settings)
    await gateway.ask(stream=True)
    gateway.sim.enqueue(*scripts)
    gateway.sim.requests[:] = [each for each in gateway.sim.requests if each.route != "generate"]
    return gateway


def names(events: list[Any]) -> list[str]:
    return [name for name, _ in events]


def text_of(events: list[Any]) -> str:
    return "".join(data["delta"].get("text", "") for _, data in events if "delta" in data)


async def open_stream(gateway: Any, **changes: Any) -> tuple[Any, Any]:
    """Ask on a raw connection, so that leaving is really leaving."""
    body = json.dumps(BODY | {"stream": True} | changes)
    reader, writer = await gateway.connect()
    writer.write(f"{HEAD}content-length: {len(body)}\r\n\r\n{body}".encode())
    return reader, writer


async def settled(gateway: Any) -> None:
    """Wait until no request is being served."""
    while gateway.server.server_state.tasks or gateway.app.express.is_busy:
        await asyncio.sleep(0.001)


def line(caplog: Any) -> dict[str, Any]:
    (record,) = [r for r in caplog.records if r.getMessage() == "request"]
    fields: dict[str, Any] = record.fields
    return fields


# -- answers ---------------------------------------------------------------------------------


async def test_a_stream_has_the_events_of_the_api_in_their_order(run_gateway: Any) -> None:
    gateway = await run_gateway(answer("Hello ", "there."))
    response = await gateway.ask(stream=True)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["request-id"].startswith("req_")
    events = await gateway.events()
    assert names(events)[:3] == ["message_start", "ping", "content_block_start"]
    assert names(events)[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[0][1]["message"]["model"] == BODY["model"]
    assert events[-2][1]["usage"]["output_tokens"] > 0


async def test_both_ways_to_the_client_carry_the_same_bytes(
    run_gateway: Any, monkeypatch: Any
) -> None:
    script = answer(Reasoning("thinking"), "Hello 👋 ", "there", Tool("f", '{"city": "Ulm"}'))
    gateway = await run_gateway(script, script, script)
    gateway.app.express.new_message_id = lambda: "msg_1"
    monkeypatch.setattr("kiroproxy.server.messages.new_message_id", lambda: "msg_1")
    through_outlet = await gateway.ask(stream=True)
    monkeypatch.setattr("kiroproxy.server.asgi.OUTLET", "nobody.looks.for.this")
    through_send = await gateway.ask(stream=True)
    assert through_outlet.content == through_send.content
    assert through_outlet.headers.items() - through_send.headers.items() <= {
        ("request-id", through_outlet.headers["request-id"]),
        ("date", through_outlet.headers["date"]),
    }


async def test_stream_and_whole_say_the_same(run_gateway: Any) -> None:
    script = answer(
        Reasoning("thinking about it"), "Hello 👋 there", Tool("get_weather", '{"city": "Ulm"}')
    )
    tools = [{"name": "get_weather", "input_schema": {"type": "object"}}]
    gateway = await run_gateway(script, script)
    client = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="sk-test-0123456789")
    asked = BODY | {"model": "claude-opus-4-8", "tools": tools}
    async with client.messages.stream(**asked) as stream:
        streamed = await stream.get_final_message()
    whole = await client.messages.create(**asked)
    await client.close()
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    assert streamed.content[2].input == {"city": "Ulm"}
    same = {"content", "stop_reason", "stop_sequence", "role", "model", "type"}
    dumps = [
        {key: value for key, value in message.model_dump().items() if key in same}
        for message in (streamed, whole)
    ]
    for dump in dumps:
        dump["content"] = [
            {key: value for key, value in block.items() if value is not None and key != "id"}
            for block in dump["content"]
        ]
    assert dumps[0] == dumps[1]
    assert whole.stop_reason == "tool_use"


async def test_a_whole_answer_is_json_with_its_length(run_gateway: Any) -> None:
    gateway = await run_gateway(answer("Hi."))
    response = await gateway.ask()
    assert response.headers["content-type"] == "application/json"
    message = response.json()
    assert message["content"] == [{"type": "text", "text": "Hi."}]
    assert message["id"].startswith("msg_") and message["stop_reason"] == "end_turn"


async def test_events_are_passed_on_while_kiro_still_writes(run_gateway: Any) -> None:
    script = answer("first", Hold(), "second")
    gateway = await run_gateway(script)
    reader, writer = await open_stream(gateway)
    await reader.readuntil(b'"first"')  # would hang if anything were collected
    gateway.sim.release()
    await reader.readuntil(b"message_stop")
    writer.close()


async def test_a_running_answer_does_not_keep_the_prompt(run_gateway: Any) -> None:
    gateway = await run_gateway(answer("first", Hold(), "second"))
    long = [{"role": "user", "content": "a" * 400_000}]
    reader, writer = await open_stream(gateway, messages=long)
    await reader.readuntil(b'"first"')
    # The simulator, in this process too, keeps what it was sent: that is apart from the plans.
    plans = [
        each for each in gc.get_objects() if isinstance(each, Plan) and each.input_tokens > 1e4
    ]
    assert plans and all(len(plan._open) == 0 for plan in plans)
    gateway.sim.release()
    await reader.readuntil(b"message_stop")
    writer.close()


async def test_a_long_session_reaches_kiro_as_it_would_by_the_long_way(run_gateway: Any) -> None:
    session: list[dict[str, Any]] = [{"role": "user", "content": "Look around."}]
    for turn in range(60):
        call = {
            "type": "tool_use",
            "id": f"toolu_{turn}",
            "name": "odd name!",
            "input": {"n": turn},
        }
        result = {"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": "é \n" * 700}
        session += [
            {"role": "assistant", "content": [{"type": "text", "text": "So:"}, call]},
            {"role": "user", "content": [result]},
        ]
    tools = [{"name": "odd name!", "input_schema": {"type": "object", "properties": {}}}]
    gateway = await run_gateway(answer("done"))
    response = await gateway.ask(messages=session, tools=tools)
    assert response.status_code == 200, response.text
    state = gateway.sim.requests[-1].json["conversationState"]
    plan = convert(
        BODY | {"messages": session, "tools": tools},
        catalogue=Catalogue.BUILT_IN,
        ids=lambda: "unused",
    )
    wanted = json.loads(plan.body(None))["conversationState"]
    assert state == wanted


async def test_the_response_starts_when_kiro_accepts(run_gateway: Any) -> None:
    gateway = await run_gateway(Script((Head(), Hold(), *answer("Hi.").steps)))
    reader, writer = await open_stream(gateway)
    await reader.readuntil(b"event: ping")
    gateway.sim.release()
    await reader.readuntil(b"message_stop")
    writer.close()


async def test_a_late_answer_is_announced_early_and_pinged(run_gateway: Any) -> None:
    gateway = await run_gateway(
        Script((Hold(), *answer("Hi.").steps)), early_start_s=0.01, ping_interval_s=0.02
    )
    reader, writer = await open_stream(gateway)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    for _ in range(4):  # the one after message_start, and three of the quiet
        await reader.readuntil(b"event: ping")
    gateway.sim.release()
    rest = await reader.readuntil(b"message_stop")
    assert b"message_start" not in rest
    writer.close()


async def test_pings_begin_before_the_request_is_translated(run_gateway: Any) -> None:
    gateway = await run_gateway(models=HELD, early_start_s=0.01, ping_interval_s=0.02)
    reader, writer = await open_stream(gateway, model="claude-owl-7")  # Kiro's list may know it
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    start = await reader.readuntil(b"event: ping")
    assert b'"model":"claude-owl-7"' in start
    for _ in range(3):
        await reader.readuntil(b"event: ping")
    gateway.sim.release()
    rest = await reader.readuntil(b"\r\n0\r\n")
    assert b"event: error" in rest and b"model: claude-owl-7" in rest
    assert b"message_start" not in rest and b"message_stop" not in rest
    writer.close()


async def test_leaving_before_the_request_is_translated_ends_it(
    run_gateway: Any, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    gateway = await run_gateway(models=HELD)
    caplog.clear()
    _, writer = await open_stream(gateway, model="claude-owl-7")
    while not gateway.server.server_state.tasks:
        await asyncio.sleep(0.001)
    writer.transport.abort()
    await settled(gateway)
    assert line(caplog)["error"] == "client_closed"
    gateway.sim.release()


# -- failures before content -----------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        BROKEN,
        Script((Start(), Throw())),
        Script((Start(), Drop("reset"))),
        Script((Start(), Drop("close"))),
        Script((Head(), Raw(b"\0" * 64))),
        Script((Start(),)),
        refuse(429, "ThrottlingException", "slow down"),
    ],
    ids=["500", "exception", "reset", "cut", "garbage", "empty", "429"],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_try_that_fails_before_content_is_invisible(
    run_gateway: Any, fault: Script, stream: bool, caplog: Any
) -> None:
    gateway = await run_gateway(fault, answer("all is well"), accounts=2)
    caplog.set_level(logging.INFO, "kiroproxy.server")
    response = await gateway.ask(stream=stream)
    assert response.status_code == 200
    assert response.text.count("all is well") == 1
    if stream:
        found = await_events(response)
        assert names(found).count("message_start") == 1
        assert "error" not in names(found)
        assert names(found)[-1] == "message_stop"
    assert line(caplog)["tries"] == 2


def await_events(response: Any) -> list[tuple[str, dict[str, Any]]]:
    frames = response.text.removesuffix("\n\n").split("\n\n")
    pairs = (frame.split("\n") for frame in frames)
    return [(name[7:], json.loads(data[6:])) for name, data in pairs]


async def test_kiros_refusal_has_its_real_status_and_not_its_words(
    run_gateway: Any, caplog: Any
) -> None:
    fault = refuse(400, "ValidationException", "account 1234: Improperly formed request.")
    gateway = await run_gateway(*[fault] * 9)
    caplog.set_level(logging.INFO, "kiroproxy.server")
    for stream in (True, False):
        response = await gateway.ask(stream=stream)
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"
        assert "1234" not in response.text
    assert "1234" in caplog.text or any("1234" in str(r.__dict__) for r in caplog.records)


async def test_throttling_everywhere_is_a_429_with_retry_after(run_gateway: Any) -> None:
    fault = refuse(429, "ThrottlingException", "slow down", None)
    gateway = await run_gateway(*[fault] * 9)
    response = await gateway.ask()
    assert response.status_code == 429
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert int(response.headers["retry-after"]) >= 1


async def test_after_an_early_start_the_failure_is_an_error_event(run_gateway: Any) -> None:
    fault = Script((Hold(), *refuse(400, "ValidationException", "no").steps))
    gateway = await run_gateway(fault, early_start_s=0.01)
    reader, writer = await open_stream(gateway)
    await reader.readuntil(b"event: ping")
    gateway.sim.release()
    rest = await reader.readuntil(b"0\r\n\r\n")
    assert b"event: error" in rest and b"invalid_request_error" in rest
    assert b"message_stop" not in rest
    writer.close()


async def test_no_content_in_time_is_another_try(run_gateway: Any, caplog: Any) -> None:
    gateway = await run_gateway(
        Script((Start(), Silence())), answer("second"), accounts=2, first_byte_timeout_s=0.4
    )
    caplog.set_level(logging.INFO, "kiroproxy.server")
    response = await gateway.ask(stream=True)
    assert response.text.count("second") == 1
    assert line(caplog)["tries"] == 2


async def test_a_model_has_times_of_its_own(run_gateway: Any) -> None:
    gateway = await run_gateway(
        Script((Start(), Silence())),
        answer("second"),
        accounts=2,
        timeouts={"claude-sonnet-4-5": {"firstByteTimeout": 0.4}, "glm-5": {"idleTimeout": 0.1}},
    )
    assert text_of(await gateway.events()) == "second"
    gateway.sim.enqueue(Script((Start(), Text("half"), Silence())))
    answered = await gateway.ask(model="glm-5", stream=True)
    assert b"event: error" in answered.content and b"timeout_error" in answered.content


async def test_the_limit_to_the_first_content_ends_with_it(run_gateway: Any) -> None:
    script = answer("first", Wait(0.6), "second")
    gateway = await run_gateway(script, answer("never"), first_byte_timeout_s=0.4)
    assert text_of(await gateway.events()) == "firstsecond"


async def test_an_answer_that_never_comes_is_a_504_at_last(run_gateway: Any) -> None:
    gateway = await run_gateway(*[Script((Silence(),))] * 9, total_timeout_s=0.1)
    response = await gateway.ask()
    assert response.status_code == 504
    assert response.json()["error"]["type"] == "timeout_error"


async def test_what_came_within_the_total_time_is_counted(run_gateway: Any, caplog: Any) -> None:
    gateway = await run_gateway(answer("some words", Hold()), total_timeout_s=1.0)
    caplog.set_level(logging.INFO, "kiroproxy.server")
    caplog.clear()
    told = await gateway.ask(stream=True)
    assert b"some words" in told.content and b"timeout_error" in told.content
    assert line(caplog)["output_tokens"] > 0


async def test_no_credential_is_a_503_that_says_what_to_do(run_gateway: Any) -> None:
    gateway = await run_gateway()
    gateway.app._gateway.pool.sync([])
    response = await gateway.ask(stream=True)
    assert response.status_code == 503
    assert "credential" in response.json()["error"]["message"]


# -- failures after content ------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Throw(), Drop("reset"), Drop("close"), Raw(b"\0" * 64)],
    ids=["exception", "reset", "cut", "garbage"],
)
async def test_a_failure_after_content_is_an_error_event_and_no_end(
    run_gateway: Any, fault: Any, caplog: Any
) -> None:
    gateway = await run_gateway(Script((Start(), Text("half an ans"), fault)), answer("never"))
    caplog.set_level(logging.INFO, "kiroproxy.server")
    response = await gateway.ask(stream=True)
    events = await_events(response)
    assert text_of(events) == "half an ans"
    assert names(events)[-1] == "error"
    assert events[-1][1]["request_id"] == response.headers["request-id"]
    assert not {"message_stop", "message_delta"} & set(names(events))
    assert len(gateway.sim.of("generate")) == 1
    assert line(caplog)["error"]


async def test_the_same_failure_of_a_whole_answer_is_an_error_status(run_gateway: Any) -> None:
    gateway = await run_gateway(*[Script((Start(), Text("half an ans"), Drop("close")))] * 3)
    response = await gateway.ask()
    assert response.status_code == 502
    assert response.json()["error"]["type"] == "api_error"
    assert len(gateway.sim.of("generate")) == 3  # unseen, so it could be tried again


async def test_a_bug_in_the_middle_cuts_the_connection(run_gateway: Any, monkeypatch: Any) -> None:
    gateway = await run_gateway(answer("first", Hold(), "second"))
    reader, writer = await open_stream(
        gateway, tools=[{"name": "f", "input_schema": {"type": "object"}}]
    )
    await reader.readuntil(b'"first"')

    def bug(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("kiroproxy.server.relay.note_end", bug)
    gateway.app.express.learn = bug
    gateway.sim.release()
    rest = await reader.read()
    assert b"event: error" in rest
    assert b"message_stop" not in rest
    assert not rest.endswith(b"0\r\n\r\n")  # the chunked body has no end: the client notices
    writer.close()


# -- clients that leave ----------------------------------------------------------------------


async def assert_left(gateway: Any, writer: Any, caplog: Any) -> None:
    writer.transport.abort()
    await settled(gateway)
    assert line(caplog)["error"] == "client_closed"
    assert all(view.in_flight == 0 for view in gateway.app._gateway.pool.snapshot())


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_before_the_first_byte_ends_the_request_to_kiro(
    run_gateway: Any, caplog: Any, stream: bool
) -> None:
    gateway = await run_gateway(Script((Silence(),)))
    caplog.set_level(logging.INFO, "kiroproxy.server")
    _, writer = await open_stream(gateway, stream=stream)
    request = await gateway.sim.wait_for(1)
    await assert_left(gateway, writer, caplog)
    await request.finished.wait()
    assert request.outcome == "left"


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_in_the_middle_ends_the_request_to_kiro(
    run_gateway: Any, caplog: Any, stream: bool
) -> None:
    gateway = await run_gateway(Script((Start(), Text("first"), Silence())))
    caplog.set_level(logging.INFO, "kiroproxy.server")
    reader, writer = await open_stream(gateway, stream=stream)
    request = await gateway.sim.wait_for(1)
    if stream:
        await reader.readuntil(b'"first"')
    await assert_left(gateway, writer, caplog)
    await request.finished.wait()
    assert request.outcome == "left"


async def test_leaving_behind_a_long_request_ends_the_request_to_kiro(
    run_gateway: Any, caplog: Any
) -> None:
    gateway = await run_gateway(Script((Silence(),)))
    caplog.set_level(logging.INFO, "kiroproxy.server")
    long = [{"role": "user", "content": "a" * 400_000}]  # the server stops reading in between
    _, writer = await open_stream(gateway, messages=long)
    request = await gateway.sim.wait_for(1)
    await assert_left(gateway, writer, caplog)
    await request.finished.wait()


async def test_leaving_while_connecting_ends_it(run_gateway: Any, caplog: Any) -> None:
    # A listener that never accepts: with a full backlog, connecting just waits.
    gateway = await run_gateway()
    caplog.set_level(logging.INFO, "kiroproxy.server")
    started = asyncio.Event()

    async def never(*_: Any, **__: Any) -> Any:
        started.set()
        await asyncio.Event().wait()

    connections = gateway.app._gateway.connections
    connections.take_idle, connections._connect = lambda key: None, never
    _, writer = await open_stream(gateway)
    await started.wait()
    await assert_left(gateway, writer, caplog)


async def test_leaving_while_the_token_is_renewed_ends_it(run_gateway: Any, caplog: Any) -> None:
    gateway = await run_gateway()
    caplog.set_level(logging.INFO, "kiroproxy.server")
    started = asyncio.Event()

    async def never(*_: Any, **__: Any) -> Any:
        started.set()
        await asyncio.Event().wait()

    refresher = gateway.app._gateway.refresher
    refresher.fresh_until_ms, refresher.fresh = lambda credential: 0, never
    pool = gateway.app._gateway.pool
    pool.replace(replace(pool.serving()[0]))  # other values: the token is looked at again
    _, writer = await open_stream(gateway)
    await started.wait()
    await assert_left(gateway, writer, caplog)


async def test_a_slow_client_stops_the_reading_from_kiro(run_gateway: Any) -> None:
    text = "a" * 4000
    gateway = await run_gateway(Script((Start(), *[Text(text)] * 20_000)))  # 80 MB
    reader, writer = await open_stream(gateway, max_tokens=100_000_000)
    await reader.readuntil(b"message_start")
    request = await gateway.sim.wait_for(1)
    sent = -1
    while sent != (now := max(kiro.body_bytes for kiro in gateway.sim._open)):
        sent = now
        await asyncio.sleep(0.3)
    assert 0 < sent < 40_000_000  # what sockets on the way hold, not the whole answer
    assert request.outcome == ""
    writer.transport.abort()
    await settled(gateway)


# -- the end of the process ------------------------------------------------------------------


async def test_a_running_answer_survives_the_stop_of_the_server(run_gateway: Any) -> None:
    gateway = await run_gateway(answer("first", Hold(), "second"))
    reader, writer = await open_stream(gateway)
    await reader.readuntil(b'"first"')
    gateway.server.should_exit = True
    while gateway.server.servers[0].is_serving():
        await asyncio.sleep(0.01)
    gateway.sim.release()
    rest = await reader.read()
    assert b"second" in rest and b"message_stop" in rest and rest.endswith(b"0\r\n\r\n")
    writer.close()


async def test_an_answer_beyond_the_drain_time_ends_in_an_error_event(run_gateway: Any) -> None:
    gateway = await run_gateway(Script((Start(), Text("first"), Silence())))
    reader, writer = await open_stream(gateway)
    await reader.readuntil(b'"first"')
    gateway.server.should_exit = True  # the test server drains for one second
    rest = await reader.read()
    assert b"overloaded_error" in rest and b"message_stop" not in rest
    writer.close()


# -- web search ------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
async def test_a_web_search_is_performed_through_kiro(run_gateway: Any, stream: bool) -> None:
    gateway = await run_gateway()
    response = await gateway.ask(stream=stream, **SEARCH)
    assert response.status_code == 200
    if stream:
        events = await_events(response)
        assert names(events).count("message_start") == 1
        assert names(events)[-1] == "message_stop"
        kinds = [d["content_block"]["type"] for n, d in events if n == "content_block_start"]
    else:
        kinds = [block["type"] for block in response.json()["content"]]
    assert kinds == ["server_tool_use", "web_search_tool_result", "text"]
    assert len(gateway.sim.of("mcp")) == 1
    assert gateway.sim.of("generate") == []


async def test_a_search_that_fails_says_so(run_gateway: Any) -> None:
    gateway = await run_gateway()
    gateway.sim.enqueue(*[BROKEN] * 3, route="mcp")
    message = (await gateway.ask(**SEARCH)).json()
    result = message["content"][1]["content"]
    assert result["type"] == "web_search_tool_result_error"
    assert all(view.in_flight == 0 for view in gateway.app._gateway.pool.snapshot())
