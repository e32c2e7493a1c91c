"""What a client sees when Kiro fails: nothing invented, nothing lost, nothing hidden."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from support.sse import parse, stop_of, text_of

from kiroproxy.simulator.script import (
    Damage,
    Drop,
    Error,
    Event,
    Hold,
    Plain,
    Refuse,
    Script,
    Silence,
    Start,
    Tail,
    Text,
    Throw,
    Tool,
    answer,
)
from kiroproxy.simulator.server import Simulator

HELLO = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say hello"}],
}
BASH = {"name": "Bash", "description": "Run", "input_schema": {"type": "object", "properties": {}}}


async def stream(client: httpx.AsyncClient, **more: Any) -> list[dict[str, Any]]:
    answered = await client.post("/v1/messages", json=HELLO | {"stream": True} | more)
    assert answered.status_code == 200, answered.text
    return parse(answered.text)


AFTER_CONTENT = {
    "an exception frame": (Throw("InternalServerException", "boom"),),
    "a throttling exception": (Throw("ThrottlingException", "slow down"),),
    "an error frame": (Error(),),
    "a reset": (Drop("reset"),),
    "a close in mid-body": (Drop("close"),),
    "a damaged frame": (Damage(), Text("lost")),
    "a damaged length": (Damage(offset=2), Text("lost")),
    "a payload that is not JSON": (Event("assistantResponseEvent", '{"content": oops'),),
    "an invalid state": (Event("invalidStateEvent", {"reason": "X", "message": "bad"}),),
}


@pytest.mark.parametrize("fault", AFTER_CONTENT)
async def test_after_content_a_fault_ends_in_an_error_event(
    sim: Simulator, client: httpx.AsyncClient, fault: str
) -> None:
    sim.enqueue(Script((Start(), Text("Hello "), Text("wor"), *AFTER_CONTENT[fault])))
    events = await stream(client)
    assert text_of(events) == "Hello wor"
    assert events[-1]["type"] == "error" and events[-1]["error"]["message"]
    assert events[-1]["request_id"].startswith("req_")
    assert not any(e["type"] in ("message_stop", "message_delta") for e in events)
    assert len(sim.of("generate")) == 1


# A throttled credential rests, and there is no other one here.
@pytest.mark.parametrize("fault", sorted(AFTER_CONTENT.keys() - {"a throttling exception"}))
async def test_without_streaming_a_fault_after_content_is_invisible(
    sim: Simulator, client: httpx.AsyncClient, fault: str
) -> None:
    broken = Script((Start(), Text("Hello wor"), *AFTER_CONTENT[fault]))
    sim.enqueue(broken, answer("Hello world"))
    answered = await client.post("/v1/messages", json=HELLO)
    assert answered.json()["content"] == [{"type": "text", "text": "Hello world"}]
    assert len(sim.of("generate")) == 2


async def test_without_streaming_a_fault_that_stays_is_an_error_status(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    sim.enqueue(*[Script((Start(), Text("Hello wor"), Drop("reset")))] * 3)
    answered = await client.post("/v1/messages", json=HELLO)
    assert answered.status_code == 502 and answered.json()["type"] == "error"
    assert "Hello wor" not in answered.text and len(sim.of("generate")) == 3


BEFORE_CONTENT = {
    "no head, reset": Script((Drop("reset"),)),
    "no head, close": Script((Drop("close"),)),
    "reset after the opening": Script((Start(), Drop("reset"))),
    "an exception first": Script((Start(), Throw("InternalServerException", "boom"))),
    "an error frame first": Script((Start(), Error())),
    "a damaged frame first": Script((Start(), Damage(), Text("lost"))),
    "an empty answer": answer(),
    "an empty body": Script((), cut_after=0, cut="end"),
    "a 200 that is JSON": Script(
        (Plain(body='{"__type": "InternalServerException", "message": "boom"}'),)
    ),
    "an HTML page": Script((Plain(502, "<html>bad gateway</html>", "text/html"),)),
    "a 500": Script((Refuse(500),)),
    "a 503": Script((Refuse(503, "ServiceUnavailableException", "later"),)),
}


@pytest.mark.parametrize("fault", BEFORE_CONTENT)
@pytest.mark.parametrize("streaming", [True, False])
async def test_before_content_a_fault_is_invisible(
    sim: Simulator, client: httpx.AsyncClient, fault: str, streaming: bool
) -> None:
    sim.enqueue(BEFORE_CONTENT[fault], answer("All is well."))
    if streaming:
        events = await stream(client)
        assert text_of(events) == "All is well." and stop_of(events) == "end_turn"
        assert [e["type"] for e in events].count("message_start") == 1
    else:
        answered = await client.post("/v1/messages", json=HELLO)
        assert answered.json()["content"] == [{"type": "text", "text": "All is well."}]
    assert len(sim.of("generate")) == 2


async def test_a_fault_that_stays_is_reported_after_three_tries_with_the_only_credential(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    sim.enqueue(*[Script((Refuse(500),))] * 4)
    answered = await client.post("/v1/messages", json=HELLO | {"stream": True})
    assert answered.status_code == 502 and answered.json()["error"]["type"] == "api_error"
    assert len(sim.of("generate")) == 3


async def test_an_answer_without_closing_events_is_a_length_stop(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    sim.enqueue(Script((Start(), Text("I was about to"))))
    events = await stream(client)
    assert (text_of(events), stop_of(events)) == ("I was about to", "max_tokens")


@pytest.mark.parametrize(
    "broken",
    [
        Tool("Bash", '{"command": "ls', size=4, stop=False),
        Tool("Bash", '{"command": "ls', size=4),
        Tool("Bash", "[1, 2]"),
    ],
    ids=["never stopped", "stopped with broken JSON", "not an object"],
)
async def test_a_broken_tool_call_is_never_sent(
    sim: Simulator, client: httpx.AsyncClient, broken: Tool
) -> None:
    sim.enqueue(answer("I will look.", broken))
    events = await stream(client, tools=[BASH])
    assert (text_of(events), stop_of(events)) == ("I will look.", "max_tokens")
    starts = [e["content_block"]["type"] for e in events if e["type"] == "content_block_start"]
    assert starts == ["text"]


async def test_whole_calls_beside_a_truncated_one_are_kept(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    whole = Tool("Bash", '{"command": "pwd"}')
    sim.enqueue(answer(whole, Tool("Bash", '{"command": "l', stop=False)))
    events = await stream(client, tools=[BASH])
    inputs = [
        e["delta"]["partial_json"]
        for e in events
        if e["type"] == "content_block_delta" and e["delta"]["type"] == "input_json_delta"
    ]
    assert json.loads("".join(inputs)) == {"command": "pwd"}
    assert stop_of(events) == "max_tokens"


async def test_a_call_without_arguments_has_an_empty_object(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    sim.enqueue(answer(Tool("Bash")))
    answered = await client.post("/v1/messages", json=HELLO | {"tools": [BASH]})
    (block,) = answered.json()["content"]
    assert (block["type"], block["input"]) == ("tool_use", {})
    assert answered.json()["stop_reason"] == "tool_use"


async def test_every_cut_of_the_body_is_reported(sim: Simulator, client: httpx.AsyncClient) -> None:
    """Cut a short answer all along its bytes; no cut may look finished."""
    body = answer("Hi ", Tool("Bash", '{"command": "true"}'), Tail(), chunk_sizes=(7,))
    sim.enqueue(body)
    await stream(client, tools=[BASH])
    whole = sim.of("generate")[-1].sent_bytes
    assert whole > 500
    for size in range(0, whole, 37):
        cut = Script(body.steps, chunk_sizes=(7,), cut_after=size, cut="reset")
        sim.enqueue(cut, answer("second try"))
        events = await stream(client, tools=[BASH])
        finished = stop_of(events)
        if finished is None:
            assert events[-1]["type"] == "error" and text_of(events) in "Hi "
        else:
            assert text_of(events) == "second try", size
        sim.queues["generate"].clear()


async def test_silence_before_content_times_out_and_is_tried_again(
    sim: Simulator, serve: Any
) -> None:
    gateway = await serve(sim, {"firstByteTimeout": 0.5})
    sim.enqueue(Script((Start(), Silence())), answer("awake"))
    async with gateway.client() as client:
        events = await stream(client)
    assert (text_of(events), stop_of(events)) == ("awake", "end_turn")


async def test_silence_inside_an_answer_is_an_error(sim: Simulator, serve: Any) -> None:
    gateway = await serve(sim, {"idleTimeout": 0.5})
    sim.enqueue(Script((Start(), Text("Well"), Silence())))
    async with gateway.client() as client:
        events = await stream(client)
    assert text_of(events) == "Well" and events[-1]["error"]["type"] == "timeout_error"


async def test_a_quiet_stream_gets_pings_and_starts_early(sim: Simulator, serve: Any) -> None:
    gateway = await serve(sim, {"pingInterval": 0.2, "earlyStart": 0.1})
    sim.enqueue(Script((Hold("head"), Start(), Text("ok"), Tail())))
    async with (
        gateway.client() as client,
        client.stream("POST", "/v1/messages", json=HELLO | {"stream": True}) as answered,
    ):
        lines = answered.aiter_lines()
        seen = [line async for line in take_events(lines, 4)]
        assert seen == ["message_start", "ping", "ping", "ping"]
        sim.release("head")
        rest = [line async for line in take_events(lines, 99)]
    assert rest[-1] == "message_stop"


async def take_events(lines: Any, count: int) -> Any:
    async for line in lines:
        if line.startswith("event: "):
            yield line.removeprefix("event: ")
            count -= 1
            if not count:
                return


async def test_an_error_after_an_early_start_is_an_event(sim: Simulator, serve: Any) -> None:
    gateway = await serve(sim, {"earlyStart": 0})
    sim.enqueue(Script((Refuse(400, "ValidationException", "Improperly formed request."),)))
    async with gateway.client() as client:
        events = await stream(client)
    assert [e["type"] for e in events] == ["message_start", "ping", "error"]
    assert events[-1]["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("phase", ["before the head", "before content", "in the answer"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_client_that_leaves_ends_the_request_to_kiro(
    sim: Simulator, serve: Any, phase: str, streaming: bool
) -> None:
    gateway = await serve(sim)
    sim.enqueue(
        {
            "before the head": Script((Silence(),)),
            "before content": Script((Start(), Silence())),
            "in the answer": Script((Start(), Text("some"), Silence())),
        }[phase]
    )
    async with gateway.client() as client:
        request = asyncio.create_task(
            client.post("/v1/messages", json=HELLO | {"stream": streaming})
        )
        seen = await sim.wait_for(1)
        request.cancel()
    await asyncio.wait_for(seen.finished.wait(), 5)
    assert seen.outcome == "left"
    async with gateway.client() as client:
        sim.enqueue(answer("next"))
        assert text_of(await stream(client)) == "next"


async def test_a_frame_cut_anywhere_reads_the_same(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    steps = (
        "Grüße 你好 😀 ",
        Text("é😀" * 5, size=1, unit="byte"),
        Tool("Bash", '{"a": "ü"}', size=2),
    )
    seen = set()
    for size in (1, 2, 3, 7, 10_000):
        sim.enqueue(answer(*steps, chunk_sizes=(size,)))
        events = await stream(client, tools=[BASH])
        deltas = [e["delta"] for e in events if e["type"] == "content_block_delta"]
        seen.add((text_of(events), "".join(d.get("partial_json", "") for d in deltas)))
    assert seen == {("Grüße 你好 😀 " + "é😀" * 5, '{"a": "ü"}')}


async def test_upstream_words_do_not_reach_the_client(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    secret = "account 123456789012 d-90670000.user"
    sim.enqueue(*[Script((Refuse(500, message=secret),))] * 3)
    answered = await client.post("/v1/messages", json=HELLO)
    assert secret not in answered.text and "123456789012" not in answered.text
