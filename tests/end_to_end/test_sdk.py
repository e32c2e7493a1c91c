"""The official Python SDK, unmodified, through the whole gateway."""

import base64
import json
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from support.witness import Witness

from kiroproxy.simulator.script import Interleaved, Reasoning, Tail, Tool, answer, refuse
from kiroproxy.simulator.server import Simulator

MODEL = "claude-sonnet-4-6"
QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Get the current weather in a given location",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}


@pytest.fixture
async def sdk(gateway: Any) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with (
        Witness(gateway.port) as witness,
        anthropic.AsyncAnthropic(
            base_url=witness.url, api_key=gateway.key, max_retries=0, timeout=20
        ) as made,
    ):
        yield made
    witness.readings()


async def test_create_answers_with_text_and_usage(
    sim: Simulator, sdk: anthropic.AsyncAnthropic
) -> None:
    sim.enqueue(answer("It is ", "sunny, 23 °C. 🌤️"))
    message = await sdk.messages.create(model=MODEL, max_tokens=100, messages=QUESTION)
    assert [block.text for block in message.content] == ["It is sunny, 23 °C. 🌤️"]
    assert (message.stop_reason, message.model, message.role) == ("end_turn", MODEL, "assistant")
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message.id.startswith("msg_") and message._request_id.startswith("req_")


async def test_stream_delivers_the_text_in_pieces(
    sim: Simulator, sdk: anthropic.AsyncAnthropic
) -> None:
    sim.enqueue(answer("Bon", "jour, ", "ça va ?"))
    async with sdk.messages.stream(model=MODEL, max_tokens=100, messages=QUESTION) as stream:
        pieces = [piece async for piece in stream.text_stream]
        message = await stream.get_final_message()
    assert "".join(pieces) == "Bonjour, ça va ?" and len(pieces) >= 2
    assert message.stop_reason == "end_turn" and message.usage.output_tokens > 0


@pytest.mark.parametrize("stream", [True, False])
async def test_parallel_tool_calls_arrive_whole_and_their_results_go_back(
    sim: Simulator, sdk: anthropic.AsyncAnthropic, stream: bool
) -> None:
    calls = tuple(
        Tool("get_weather", json.dumps({"location": city}), size=3) for city in ("Paris", "Oslo")
    )
    sim.enqueue(answer("Let me look.", Interleaved(calls)), answer("Both are fine."))
    arguments: dict[str, Any] = {"model": MODEL, "max_tokens": 200, "tools": [WEATHER]}
    first = await ask(sdk, stream, messages=QUESTION, **arguments)
    uses = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert [use.input for use in uses] == [{"location": "Paris"}, {"location": "Oslo"}]
    results = [
        {"type": "tool_result", "tool_use_id": use.id, "content": f"fine in {use.input}"}
        for use in reversed(uses)  # clients report in order of completion
    ]
    turns = [
        *QUESTION,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    last = await ask(sdk, stream, messages=turns, **arguments)
    assert last.content[0].text == "Both are fine." and last.stop_reason == "end_turn"
    sent = sim.of("generate")[1].tool_results
    assert [result["toolUseId"] for result in sent] == [use.id for use in uses]


async def ask(sdk: anthropic.AsyncAnthropic, stream: bool, **arguments: Any) -> Any:
    if not stream:
        return await sdk.messages.create(**arguments)
    async with sdk.messages.stream(**arguments) as events:
        return await events.get_final_message()


async def test_thinking_comes_back_with_its_signature_and_is_accepted_on_replay(
    sim: Simulator, sdk: anthropic.AsyncAnthropic
) -> None:
    sim.enqueue(answer(Reasoning("Simple arithmetic."), "4"), answer("Still 4."))
    ask_for: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
    }
    turn = [{"role": "user", "content": "2+2?"}]
    async with sdk.messages.stream(messages=turn, **ask_for) as stream:
        first = await stream.get_final_message()
    assert [block.type for block in first.content] == ["thinking", "text"]
    assert first.content[0].thinking == "Simple arithmetic." and first.content[0].signature
    turns = [
        *turn,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "Sure?"},
    ]
    second = await sdk.messages.create(messages=turns, **ask_for)
    assert second.content[0].text == "Still 4."
    replayed = sim.of("generate")[1].state["history"][1]["assistantResponseMessage"]
    assert replayed["reasoningContent"]["reasoningText"]["signature"] == first.content[0].signature


async def test_an_image_reaches_kiro(sim: Simulator, sdk: anthropic.AsyncAnthropic) -> None:
    sim.enqueue(answer("A red square."))
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    await sdk.messages.create(
        model=MODEL, max_tokens=10, messages=[{"role": "user", "content": content}]
    )
    (image,) = sim.of("generate")[0].current["images"]
    assert image["format"] == "png" and base64.b64decode(image["source"]["bytes"]) == png()


def png() -> bytes:
    """A red 8 × 8 square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = (b"\0" + b"\xff\0\0" * 8) * 8
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


async def test_count_tokens_counts_tools_and_system(sdk: anthropic.AsyncAnthropic) -> None:
    plain = await sdk.messages.count_tokens(model=MODEL, messages=QUESTION)
    more = await sdk.messages.count_tokens(
        model=MODEL, messages=QUESTION, system="You are a scientist", tools=[WEATHER]
    )
    assert 5 <= plain.input_tokens <= 25 and more.input_tokens > plain.input_tokens + 100


async def test_models_are_listed_page_by_page_and_each_can_be_fetched(
    sdk: anthropic.AsyncAnthropic,
) -> None:
    listed = [model async for model in sdk.models.list(limit=2)]
    assert len({model.id for model in listed}) == len(listed) > 4
    assert any(model.id.startswith("claude-") for model in listed)
    one = await sdk.models.retrieve(listed[-1].id)
    assert (one.id, one.display_name) == (listed[-1].id, listed[-1].display_name)


async def test_an_unknown_model_is_not_found(sdk: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model: nonsense-9"):
        await sdk.messages.create(model="nonsense-9", max_tokens=1, messages=QUESTION)


async def test_a_wrong_key_is_an_authentication_error(gateway: Any) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=gateway.url, api_key="wrong", max_retries=0
    ) as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.messages.create(model=MODEL, max_tokens=1, messages=QUESTION)


async def test_auth_token_works_like_the_api_key(sim: Simulator, gateway: Any) -> None:
    sim.enqueue(answer("hello"))
    async with anthropic.AsyncAnthropic(
        base_url=gateway.url, api_key=None, auth_token=gateway.key, max_retries=0
    ) as bearer:
        message = await bearer.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
    assert message.content[0].text == "hello"


async def test_a_refused_request_is_a_bad_request_and_is_tried_once(
    sim: Simulator, sdk: anthropic.AsyncAnthropic
) -> None:
    sim.enqueue(refuse(400, "ValidationException", "Improperly formed request."))
    with pytest.raises(anthropic.BadRequestError) as caught:
        await sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    assert len(sim.of("generate")) == 1


async def test_a_prompt_that_is_too_long_says_so_in_the_words_clients_know(
    sim: Simulator, sdk: anthropic.AsyncAnthropic
) -> None:
    reason = "CONTENT_LENGTH_EXCEEDS_THRESHOLD"
    sim.enqueue(refuse(400, "ValidationException", "Input is too long.", reason))
    with pytest.raises(
        anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ max"
    ):
        await sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)


async def test_the_tool_runner_goes_on_after_threads_are_refused(
    sim: Simulator, sdk: anthropic.AsyncAnthropic
) -> None:
    @anthropic.beta_async_tool
    async def get_weather(location: str) -> str:
        """Get the weather.

        Args:
            location: a city
        """
        return f"sunny in {location}"

    sim.enqueue(answer(Tool("get_weather", '{"location": "Rome"}')), answer("Sunny in Rome."))
    runner = sdk.beta.messages.tool_runner(
        model=MODEL, max_tokens=500, tools=[get_weather], messages=QUESTION
    )
    final = await runner.until_done()
    assert final.content[0].text == "Sunny in Rome."
    assert "sunny in Rome" in str(sim.of("generate")[-1].tool_results)


async def test_a_length_stop_is_passed_on(sim: Simulator, sdk: anthropic.AsyncAnthropic) -> None:
    sim.enqueue(answer("It was a dark and", Tail(stop_reason="MAX_TOKENS")))
    message = await sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
    assert message.stop_reason == "max_tokens"
