"""What a client asked to be the end is the end: of the answer, and of the request to Kiro."""

import asyncio
import itertools
from typing import Any

import anthropic
import httpx
import pytest
from support.gateway import Gateway
from support.sse import parse

from kiroproxy.simulator.script import (
    Reasoning,
    Refuse,
    Script,
    Silence,
    Start,
    Step,
    Text,
    Tool,
    answer,
)
from kiroproxy.simulator.server import Simulator

HELLO = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "Say hello"}],
}
BASH = {"name": "Bash", "description": "Run", "input_schema": {"type": "object", "properties": {}}}
PAGE = "All work and no play makes a dull page. " * 100


async def ask(client: httpx.AsyncClient, streaming: bool, **more: Any) -> dict[str, Any]:
    """Return the message as a client has it, streamed or whole."""
    answered = await client.post("/v1/messages", json=HELLO | {"stream": streaming} | more)
    assert answered.status_code == 200, answered.text
    return folded(answered.text) if streaming else dict(answered.json())


def folded(body: str) -> dict[str, Any]:
    """Put a stream together, knowing nothing of the gateway's own folding."""
    events = parse(body)
    message = dict(events[0]["message"])
    assert events[-1]["type"] == "message_stop"
    for event in events:
        if event["type"] == "content_block_start":
            message["content"].append(event["content_block"])
        elif event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta":
            message["content"][-1]["text"] += event["delta"]["text"]
        elif event["type"] == "message_delta":
            message |= event["delta"] | {"usage": message["usage"] | event["usage"]}
    return message


def endless(*steps: Step) -> Script:
    """An answer that goes on for ever: only the gateway can end it."""
    return Script((Start(), *steps, Silence()))


async def closed(sim: Simulator, count: int = 1) -> None:
    """Wait until the request to Kiro is over; it must be the gateway that ended it."""
    seen = await sim.wait_for(count)
    await asyncio.wait_for(seen.finished.wait(), 5)
    assert seen.outcome == "left"


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_stop_sequence_ends_the_answer_and_the_request_to_kiro(
    sim: Simulator, client: httpx.AsyncClient, streaming: bool
) -> None:
    sim.enqueue(endless(Text("One </ans"), Text("wer> two", escape="html"), Text("three")))
    message = await ask(client, streaming, stop_sequences=["Human:", "</answer>"])
    assert message["content"] == [{"type": "text", "text": "One "}]
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "</answer>")
    assert message["usage"]["input_tokens"] > 0 and message["usage"]["output_tokens"] > 0
    await closed(sim)


async def test_a_sequence_is_found_across_frames_and_escapes(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    styles: list[dict[str, Any]] = [
        {"unit": "byte"},
        {"unit": "utf16", "escape": "html"},
        {"unit": "utf16", "escape": "ascii"},
    ]
    for style, size in itertools.product(styles, (1, 2, 3, 7)):
        sim.enqueue(answer(Text("Grüße <b>\n\n你好😀 und mehr", size=size, **style)))
        message = await ask(client, True, stop_sequences=["<b>\n\n你好😀"])
        assert message["content"] == [{"type": "text", "text": "Grüße "}], (style, size)
        assert message["stop_reason"] == "stop_sequence"


@pytest.mark.parametrize("streaming", [True, False])
async def test_thinking_and_arguments_are_not_searched(
    sim: Simulator, client: httpx.AsyncClient, streaming: bool
) -> None:
    call = Tool("Bash", '{"command": "echo STOP"}')
    sim.enqueue(answer(Reasoning("to STOP or not"), Text("I call."), call))
    message = await ask(
        client,
        streaming,
        stop_sequences=["STOP"],
        tools=[BASH],
        thinking={"type": "adaptive"},
        max_tokens=5000,
    )
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert (message["stop_reason"], message["stop_sequence"]) == ("tool_use", None)


async def test_no_sequences_are_fine_and_blank_ones_are_refused(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    for given in (None, []):
        sim.enqueue(answer("All of it."))
        message = await ask(client, True, stop_sequences=given)
        assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)
    for blank in ([""], ["\n"], ["END", "  "]):
        refused = await client.post("/v1/messages", json=HELLO | {"stop_sequences": blank})
        assert refused.status_code == 400
        assert refused.json()["error"] == {
            "type": "invalid_request_error",
            "message": "stop_sequences: each stop sequence must contain non-whitespace",
        }
    assert len(sim.of("generate")) == 2


async def test_a_word_that_is_all_one_token_allows_is_whole(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    for word in ("positive", "No", "B", "42", "是"):
        sim.enqueue(answer(Text(word, size=1)))
        message = await ask(client, True, max_tokens=1)
        assert message["content"] == [{"type": "text", "text": word}]
        assert message["stop_reason"] == "end_turn"


async def test_five_tokens_are_about_five(sim: Simulator, client: httpx.AsyncClient) -> None:
    sim.enqueue(endless(Text("One two three four five six seven eight nine ten", size=3)))
    message = await ask(client, True, max_tokens=5)
    assert message["stop_reason"] == "max_tokens"
    assert 5 <= len(message["content"][0]["text"].split()) <= 8
    await closed(sim)


async def test_a_probe_of_one_token_gets_no_page(sim: Simulator, client: httpx.AsyncClient) -> None:
    cases = itertools.product((True, False), (Text(PAGE), Text(PAGE, size=5)))
    for count, (streaming, said) in enumerate(cases, 1):
        sim.enqueue(endless(said))
        message = await ask(client, streaming, max_tokens=1)
        assert message["stop_reason"] == "max_tokens"
        assert 0 < len(message["content"][0]["text"]) < 16
        assert PAGE.startswith(message["content"][0]["text"])
        await closed(sim, count)


async def test_a_warm_up_without_tokens_gets_none(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    for count, streaming in enumerate((True, False), 1):
        sim.enqueue(endless(Text("Hello")))
        message = await ask(client, streaming, max_tokens=0)
        assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
        assert message["usage"]["output_tokens"] == 0
        await closed(sim, count)
    assert len(sim.of("generate")) == 2  # an empty answer was not taken for a failed try


async def test_an_answer_somewhat_longer_than_asked_for_is_left_alone(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    sim.enqueue(answer(PAGE))  # by the estimate 1143 tokens
    message = await ask(client, True, max_tokens=900)
    assert message["content"] == [{"type": "text", "text": PAGE}]
    assert message["stop_reason"] == "end_turn"


async def test_a_call_that_is_far_too_long_is_not_sent(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    call = Tool("Bash", '{"command": "' + PAGE + '"}', size=50, stop=False)
    sim.enqueue(endless(Text("I write."), call))
    message = await ask(client, True, max_tokens=50, tools=[BASH])
    assert message["content"] == [{"type": "text", "text": "I write."}]
    assert message["stop_reason"] == "max_tokens"
    await closed(sim)


async def test_a_retry_has_the_same_limits(sim: Simulator, client: httpx.AsyncClient) -> None:
    sim.enqueue(Script((Refuse(500),)), endless(Text("One STOP two")))
    message = await ask(client, True, stop_sequences=["STOP"])
    assert (message["content"][0]["text"], message["stop_reason"]) == ("One ", "stop_sequence")
    await closed(sim, 2)


async def test_a_connection_that_was_left_half_read_is_not_used_again(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    for count in range(1, 4):
        sim.enqueue(endless(Text("One STOP two")), answer("whole"))
        assert (await ask(client, True, stop_sequences=["STOP"]))["stop_reason"] == "stop_sequence"
        await closed(sim, 2 * count - 1)
        assert (await ask(client, True))["content"] == [{"type": "text", "text": "whole"}]
    assert {request.outcome for request in sim.of("generate")} == {"left", "done"}


async def test_the_official_client_is_told_the_sequence(sim: Simulator, gateway: Gateway) -> None:
    asked: dict[str, Any] = HELLO | {"stop_sequences": ["STOP"]}
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.key) as sdk:
        sim.enqueue(*[answer("One STOP two")] * 2)
        whole = await sdk.messages.create(**asked)
        async with sdk.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
    for message in (whole, streamed):
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "STOP")
        assert [block.text for block in message.content if block.type == "text"] == ["One "]
