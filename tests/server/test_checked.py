"""Demands on the answer, through real sockets: tool_choice and structured output."""

from collections.abc import Callable
from typing import Any

import pytest

from kiroproxy.simulator.script import (
    Drop,
    Hold,
    Reasoning,
    Redacted,
    Script,
    Start,
    Tail,
    Text,
    Throw,
    Tool,
    answer,
)

READ = {
    "name": "Read",
    "description": "Read a file",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}
BASH = {
    "name": "Bash",
    "description": "Run",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}},
}
ANY: dict[str, Any] = {"tools": [READ, BASH], "tool_choice": {"type": "any"}}
FORCED: dict[str, Any] = {"tools": [READ, BASH], "tool_choice": {"type": "tool", "name": "Read"}}
SINGLE: dict[str, Any] = {
    "tools": [READ, BASH],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
}
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "size": {"$ref": "#/$defs/size"}},
    "required": ["title"],
    "additionalProperties": False,
    "$defs": {"size": {"type": "integer", "maximum": 9}},
}
FORMAT = {"type": "json_schema", "schema": SCHEMA}
JSON = {"output_config": {"format": FORMAT}}
CALLED_BEFORE = [
    {"role": "user", "content": "Read a.txt"},
    {"role": "assistant", "content": [
        {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a.txt"}}]},
    {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "hello"}]},
]  # fmt: skip
NONE: dict[str, Any] = {
    "tools": [READ, BASH], "tool_choice": {"type": "none"}, "messages": CALLED_BEFORE,
}  # fmt: skip
CALL = Tool("Read", '{"path": "a.txt"}', "tooluse_1")


@pytest.fixture(params=["stream", "whole"])
def ask(request: Any, read_stream: Callable[[bytes], Any]) -> Callable[..., Any]:
    """Return `await ask(gateway, **changes) -> (content, stop_reason or error type, text)`."""

    async def asked(gateway: Any, **changes: Any) -> tuple[Any, str]:
        response = await gateway.ask(stream=request.param == "stream", **changes)
        if response.status_code != 200:
            return None, response.json()["error"]["message"]
        if request.param == "whole":
            message = response.json()
            return message["content"], message["stop_reason"]
        reading = read_stream(response.content)
        if reading.error:
            assert not reading.content, "something of a failed try was shown"
            return None, reading.error["message"]
        return reading.content, reading.message["stop_reason"]

    return asked


def tool_use(content: Any) -> list[tuple[str, Any]]:
    return [(block["name"], block["input"]) for block in content if block["type"] == "tool_use"]


def text(content: Any) -> str:
    return "".join(block["text"] for block in content if block["type"] == "text")


# -- tool_choice: any, tool --------------------------------------------------------------------


@pytest.mark.parametrize("demand", [ANY, FORCED], ids=["any", "tool"])
async def test_a_demanded_call_is_passed_on_with_what_stands_around_it(
    run_gateway: Any, ask: Any, demand: Any
) -> None:
    gateway = await run_gateway(answer(Reasoning("hm"), "Sure. ", CALL, "Wait."))
    content, stop = await ask(gateway, model="claude-opus-4-8", **demand)
    assert tool_use(content) == [("Read", {"path": "a.txt"})] and stop == "tool_use"
    assert text(content) == "Sure. Wait."
    assert len(gateway.sim.of("generate")) == 1


async def test_only_the_demanded_tool_is_offered(run_gateway: Any, ask: Any) -> None:
    gateway = await run_gateway(answer(CALL))
    await ask(gateway, **FORCED)
    (sent,) = gateway.sim.of("generate")
    assert list(sent.tools) == ["Read"]


@pytest.mark.parametrize("demand", [ANY, FORCED], ids=["any", "tool"])
async def test_an_answer_without_the_call_is_corrected_once_and_not_shown(
    run_gateway: Any, ask: Any, demand: Any
) -> None:
    gateway = await run_gateway(answer("I would rather talk."), answer(CALL))
    content, stop = await ask(gateway, **demand)
    assert content == [
        {"type": "tool_use", "id": "tooluse_1", "name": "Read", "input": {"path": "a.txt"}}
    ]
    assert stop == "tool_use"
    first, second = gateway.sim.of("generate")
    assert second.state["history"][-1]["assistantResponseMessage"] == {
        "content": "I would rather talk."
    }
    assert second.tools == first.tools
    assert "Call" in second.prompt and "Hello!" not in second.prompt


@pytest.mark.parametrize("demand", [ANY, FORCED], ids=["any", "tool"])
async def test_a_model_that_never_calls_becomes_a_truthful_error(
    run_gateway: Any, ask: Any, demand: Any
) -> None:
    gateway = await run_gateway(answer("No."), answer("Still no."), answer(CALL))
    content, message = await ask(gateway, **demand)
    assert content is None
    assert message.startswith("The model did not call ") and "tool_choice demands" in message
    assert len(gateway.sim.of("generate")) == 2


async def test_the_error_has_a_status_and_tells_clients_not_to_pay_again(run_gateway: Any) -> None:
    gateway = await run_gateway(answer("No."), answer("Still no."))
    response = await gateway.ask(stream=True, **FORCED)
    assert response.status_code == 502
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"] == {
        "type": "api_error",
        "message": "The model did not call the tool 'Read' that tool_choice demands, "
        "not even when asked a second time",
    }


async def test_a_call_of_another_tool_does_not_count(run_gateway: Any, ask: Any) -> None:
    other = Tool("Bash", '{"command": "ls"}', "tooluse_2")
    asked = FORCED | {"messages": [
        {"role": "user", "content": "ls"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": ""}]},
    ]}  # fmt: skip
    gateway = await run_gateway(answer("Look: ", other), answer(CALL))
    content, _ = await ask(gateway, **asked)
    assert tool_use(content) == [("Read", {"path": "a.txt"})] and text(content) == ""
    first, second = gateway.sim.of("generate")
    assert first.tool_results and not second.tool_results


async def test_an_answer_without_any_text_is_corrected_in_its_own_turn(
    run_gateway: Any, ask: Any
) -> None:
    gateway = await run_gateway(answer(Reasoning("hm")), answer(CALL))
    content, _ = await ask(gateway, model="claude-opus-4-8", **ANY)
    assert tool_use(content)
    first, second = gateway.sim.of("generate")
    assert second.prompt.startswith(first.prompt) and second.prompt != first.prompt


async def test_a_cut_answer_is_reported_as_cut(run_gateway: Any, ask: Any) -> None:
    gateway = await run_gateway(answer("I was about to", Tail(stop_reason="MAX_TOKENS")))
    content, stop = await ask(gateway, **ANY)
    assert (text(content), stop) == ("I was about to", "max_tokens")


async def test_a_refusal_stays_a_refusal(run_gateway: Any, ask: Any) -> None:
    gateway = await run_gateway(answer("I cannot.", Tail(stop_reason="CONTENT_FILTERED")))
    content, stop = await ask(gateway, **FORCED)
    assert (text(content), stop) == ("I cannot.", "refusal")


async def test_a_try_that_breaks_is_repeated_while_nothing_was_shown(
    run_gateway: Any, ask: Any
) -> None:
    broken = Script((Start(), Text("I will do"), Throw("InternalServerException", "boom")))
    gateway = await run_gateway(broken, answer("Now. ", CALL))
    content, _ = await ask(gateway, **ANY)
    assert text(content) == "Now. " and tool_use(content)


async def test_the_call_is_shown_before_the_answer_has_ended(
    run_gateway: Any, read_stream: Any
) -> None:
    gateway = await run_gateway(answer("Sure.", CALL, Hold("rest"), "More."))
    async with gateway.client.stream(
        "POST", "/v1/messages", json=BODY | ANY | {"stream": True}
    ) as response:
        seen = b""
        async for piece in response.aiter_bytes():
            seen += piece
            if b"a.txt" in seen:
                gateway.sim.release("rest")
    reading = read_stream(seen)
    assert [block["type"] for block in reading.content] == ["text", "tool_use", "text"]


@pytest.mark.parametrize("server", [{}, {"http": "httptools"}], ids=["outlet", "send"])
async def test_pings_go_on_while_an_answer_is_kept(
    run_gateway: Any, read_stream: Any, server: Any
) -> None:
    gateway = await run_gateway(
        answer("No.", Hold("more")),
        answer(CALL),
        early_start_s=0.01,
        ping_interval_s=0.01,
        uvicorn_options=server,
    )
    async with gateway.client.stream(
        "POST", "/v1/messages", json=BODY | ANY | {"stream": True}
    ) as response:
        seen = b""
        async for piece in response.aiter_bytes():
            seen += piece
            if b"content_block" not in seen and seen.count(b"event: ping") >= 3:
                gateway.sim.release("more")
    assert tool_use(read_stream(seen).content)


async def test_an_error_after_the_start_shows_nothing_of_what_was_kept(
    run_gateway: Any, read_stream: Any
) -> None:
    broken = Script((Start(), Text("I will"), Hold("more"), Drop("reset")))
    gateway = await run_gateway(broken, *[Script((Drop("reset"),))] * 9, early_start_s=0.01)
    async with gateway.client.stream(
        "POST", "/v1/messages", json=BODY | ANY | {"stream": True}
    ) as response:
        seen = b""
        async for piece in response.aiter_bytes():
            seen += piece
            if b"message_start" in seen:
                gateway.sim.release("more")
    reading = read_stream(seen)
    assert reading.error and reading.content == []


KEY = "sk-test-0123456789"
BODY = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello!"}],
}

# -- tool_choice: none, and one call at most -----------------------------------------------------


async def test_without_a_choice_no_tool_is_offered_but_those_of_the_history(
    run_gateway: Any, ask: Any
) -> None:
    gateway = await run_gateway(answer("It says hello."))
    content, stop = await ask(gateway, **NONE)
    assert (text(content), stop) == ("It says hello.", "end_turn")
    assert list(gateway.sim.of("generate")[0].tools) == ["Read"]


async def test_a_forbidden_call_behind_text_ends_the_answer(run_gateway: Any, ask: Any) -> None:
    gateway = await run_gateway(answer("It says hello.", CALL, "More"))
    content, stop = await ask(gateway, **NONE)
    assert content == [{"type": "text", "text": "It says hello."}] and stop == "end_turn"
    assert len(gateway.sim.of("generate")) == 1


@pytest.mark.parametrize("before", [(), (Reasoning("hm"),)], ids=["alone", "behind thinking"])
async def test_nothing_but_a_forbidden_call_is_corrected_once(
    run_gateway: Any, ask: Any, before: Any
) -> None:
    gateway = await run_gateway(answer(*before, CALL), answer("It says hello."))
    content, stop = await ask(gateway, model="claude-opus-4-8", **NONE)
    assert (text(content), stop) == ("It says hello.", "end_turn")
    assert gateway.sim.of("generate")[1].prompt.endswith("Answer in words.")


async def test_nothing_but_forbidden_calls_becomes_a_truthful_error(
    run_gateway: Any, ask: Any
) -> None:
    gateway = await run_gateway(answer(CALL), answer(CALL))
    content, message = await ask(gateway, **NONE)
    assert content is None and "no answer in words, only a call that tool_choice forbids" in message


async def test_of_parallel_calls_only_the_first_is_passed_on(run_gateway: Any, ask: Any) -> None:
    second = Tool("Bash", '{"command": "ls"}', "tooluse_2")
    gateway = await run_gateway(answer("Both: ", CALL, second, "done"))
    content, stop = await ask(gateway, **SINGLE)
    assert tool_use(content) == [("Read", {"path": "a.txt"})]
    assert text(content) == "Both: " and stop == "tool_use"


async def test_parallel_calls_are_passed_on_where_nobody_minds(run_gateway: Any, ask: Any) -> None:
    second = Tool("Bash", '{"command": "ls"}', "tooluse_2")
    gateway = await run_gateway(answer(CALL, second))
    content, _ = await ask(gateway, tools=[READ, BASH])
    assert [name for name, _ in tool_use(content)] == ["Read", "Bash"]


# -- structured output -------------------------------------------------------------------------

GOOD = '{"title": "Owls", "size": 3}'


@pytest.mark.parametrize("place", [JSON, {"output_format": FORMAT}], ids=["config", "older"])
async def test_valid_json_is_passed_on_as_it_came(run_gateway: Any, ask: Any, place: Any) -> None:
    gateway = await run_gateway(answer(Reasoning("hm"), GOOD[:9], GOOD[9:]))
    content, stop = await ask(gateway, model="claude-opus-4-8", **place)
    assert [block["type"] for block in content] == ["thinking", "text"]
    assert (text(content), stop) == (GOOD, "end_turn")


@pytest.mark.parametrize(
    "said",
    [f"```json\n{GOOD}\n```", f"\n```\n{GOOD}```\n", f"~~~~ json\n{GOOD}\n~~~~", f"  {GOOD}\n\n"],
)
async def test_a_fence_and_white_space_around_the_json_go(
    run_gateway: Any, ask: Any, said: str
) -> None:
    gateway = await run_gateway(answer(Reasoning("hm"), Redacted(), said))
    content, _ = await ask(gateway, model="claude-opus-4-8", **JSON)
    assert [block["type"] for block in content] == ["thinking", "redacted_thinking", "text"]
    assert content[0]["thinking"] == "hm" and content[0]["signature"]
    assert content[2]["text"] == GOOD
    assert len(gateway.sim.of("generate")) == 1


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("Here you are: " + GOOD, "it is not one JSON value"),
        ('{"size": 3}', "the value does not satisfy 'required' of 'title'"),
        ('{"title": "x", "size": 30}', "/size does not satisfy 'maximum'"),
        ('{"title": "x", "more": 1}', "the value does not satisfy 'additionalProperties'"),
        ("", "it is not one JSON value"),
    ],
)
async def test_an_invalid_answer_is_corrected_once(
    run_gateway: Any, ask: Any, said: str, fault: str
) -> None:
    gateway = await run_gateway(answer(Reasoning("hm"), said), answer(GOOD))
    content, _ = await ask(gateway, model="claude-opus-4-8", **JSON)
    assert content == [{"type": "text", "text": GOOD}]
    first, second = gateway.sim.of("generate")
    assert fault in second.prompt and "JSON schema: {" in first.prompt


async def test_an_answer_that_stays_invalid_becomes_a_truthful_error(
    run_gateway: Any, ask: Any
) -> None:
    gateway = await run_gateway(answer('{"title": "private"}}'), answer('{"title": 1}'))
    content, message = await ask(gateway, **JSON)
    assert content is None
    assert message.startswith("The model's answer does not validate against output_config.format")
    assert message.endswith("/title does not satisfy 'type'")


async def test_json_that_was_cut_is_reported_as_cut(run_gateway: Any, ask: Any) -> None:
    gateway = await run_gateway(answer("```json\n" + GOOD[:9], Tail(stop_reason="MAX_TOKENS")))
    content, stop = await ask(gateway, **JSON)
    assert (text(content), stop) == ("```json\n" + GOOD[:9], "max_tokens")


async def test_json_ended_by_a_stop_sequence_is_passed_on(run_gateway: Any, ask: Any) -> None:
    gateway = await run_gateway(answer(GOOD))
    content, stop = await ask(gateway, stop_sequences=["size"], **JSON)
    assert (text(content), stop) == ('{"title": "Owls", "', "stop_sequence")


async def test_a_tool_call_is_no_answer_yet_and_not_judged(run_gateway: Any, ask: Any) -> None:
    gateway = await run_gateway(answer("I read it first.", CALL))
    content, stop = await ask(gateway, tools=[READ], **JSON)
    assert text(content) == "I read it first." and stop == "tool_use"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "strin"}, "JSON schema is invalid"),
        ({"$ref": "http://127.0.0.1:1/x.json"}, "a $ref must be '#' or '#/…'"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "a $ref leads to nothing"),
    ],
)
async def test_a_schema_that_cannot_be_used_is_refused_before_kiro_is_asked(
    run_gateway: Any, ask: Any, schema: Any, words: str
) -> None:
    gateway = await run_gateway(answer(GOOD))
    asked = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    content, message = await ask(gateway, **asked)
    assert content is None and message.startswith("output_config.format.schema: ")
    assert words in message
    assert not gateway.sim.of("generate")


async def test_the_sdk_parses_a_checked_answer(run_gateway: Any) -> None:
    import anthropic
    import pydantic

    class Title(pydantic.BaseModel):
        title: str
        size: int

    gateway = await run_gateway(answer("```json\n" + GOOD + "\n```"))
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=KEY) as client:
        parsed = await client.messages.parse(
            model="claude-opus-4-8",
            max_tokens=100,
            messages=[{"role": "user", "content": "Name it"}],
            output_format=Title,
        )
    assert parsed.parsed_output == Title(title="Owls", size=3)
