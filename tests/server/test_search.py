"""Conversations whose model may search the web: client, gateway, and the simulator as Kiro."""

import asyncio
import json
import logging
from typing import Any

import anthropic
import pytest

from kiroproxy.simulator.script import (
    Drop,
    Hold,
    Plain,
    Reasoning,
    Script,
    Start,
    Tail,
    Text,
    Throw,
    Tool,
    answer,
    refuse,
)

SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
READ = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {}}}}
TOOLS = [READ, SEARCH]
ALWAYS = {"type": "tool", "name": "web_search"}
HEAD = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: sk-test-0123456789\r\n"
BODY = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "What is new about owls?"}],
    "tools": TOOLS,
}


def searching(*queries: str, before: str = "") -> Script:
    calls = [Tool("web_search", json.dumps({"query": query}), size=4) for query in queries]
    return answer(*([before] if before else []), *calls)


def found(*urls: str) -> Script:
    """What Kiro's search returns; without a URL, nothing."""
    pages = [{"title": f"Page {url}", "url": url, "snippet": f"About {url}."} for url in urls]
    text = json.dumps({"results": pages})
    told = {"jsonrpc": "2.0", "id": "1", "result": {"content": [{"type": "text", "text": text}]}}
    return Script((Plain(200, json.dumps(told)),))


class Asked:
    """What Kiro was told in one call."""

    def __init__(self, request: Any) -> None:
        state = request.json["conversationState"]
        self.current = state["currentMessage"]["userInputMessage"]
        self.history = state.get("history", [])
        self.context = self.current.get("userInputMessageContext", {})

    @property
    def results(self) -> list[str]:
        return [part["content"][0]["text"] for part in self.context.get("toolResults", [])]


@pytest.fixture(params=["stream", "whole"])
def converse(request: Any, read_stream: Any) -> Any:
    """Ask as one kind of client does, and return the message it puts together."""

    async def ask(gateway: Any, **changes: Any) -> dict[str, Any]:
        answered = await gateway.ask(**(BODY | changes), stream=request.param == "stream")
        assert answered.status_code == 200, answered.text
        if request.param == "whole":
            return dict(answered.json())
        reading = read_stream(answered.content)
        assert reading.complete, reading.error
        return dict(reading.message)

    return ask


def kinds(message: dict[str, Any]) -> list[str]:
    return [block["type"] for block in message["content"]]


# -- the loop --------------------------------------------------------------------------------


async def test_the_model_searches_and_goes_on_in_the_same_answer(
    run_gateway: Any, converse: Any
) -> None:
    gateway = await run_gateway(searching("owls 2026", before="Let me see."), answer("Owls fly."))
    message = await converse(gateway)
    assert kinds(message) == ["text", "server_tool_use", "web_search_tool_result", "text"]
    _, call, result, said = message["content"]
    assert (call["name"], call["input"]) == ("web_search", {"query": "owls 2026"})
    assert result["tool_use_id"] == call["id"]
    assert [page["url"] for page in result["content"]]
    assert (said["text"], message["stop_reason"]) == ("Owls fly.", "end_turn")
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 1}
    (mcp,) = gateway.sim.of("mcp")
    assert mcp.json["params"]["arguments"] == {"query": "owls 2026"}


async def test_the_model_reads_what_the_client_is_told(run_gateway: Any, converse: Any) -> None:
    gateway = await run_gateway(searching("owls", before="Let me see."), answer("Yes."))
    message = await converse(gateway)
    asked = Asked(gateway.sim.of("generate")[1])
    (text,) = asked.results
    page = message["content"][2]["content"][0]
    assert page["url"] in text and page["title"] in text and page["encrypted_content"] in text
    said = asked.history[-1]["assistantResponseMessage"]
    assert said["content"] == "Let me see."
    assert [use["input"] for use in said["toolUses"]] == [{"query": "owls"}]
    assert asked.current["content"] == ""  # nothing is put into the user's mouth


async def test_usage_is_that_of_all_calls(run_gateway: Any, converse: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "kiroproxy.server")
    first, second = (
        {"uncachedInputTokens": n, "outputTokens": n // 10, "cacheReadInputTokens": n // 5}
        for n in (100, 250)
    )
    gateway = await run_gateway(
        answer(Tool("web_search", '{"query":"a"}'), Tail(token_usage=first)),
        answer("Done.", Tail(token_usage=second)),
    )
    usage = (await converse(gateway))["usage"]
    counted = usage["input_tokens"], usage["output_tokens"], usage["cache_read_input_tokens"]
    assert counted == (350, 35, 70)
    (line,) = [r.fields for r in caplog.records if r.getMessage() == "request"]
    assert (line["input_tokens"], line["output_tokens"], line["searches"]) == (350, 35, 1)
    assert (line["credits"], line["tries"]) == (0.04, 3)


async def test_searches_of_one_turn_are_told_in_its_order(run_gateway: Any, converse: Any) -> None:
    gateway = await run_gateway(searching("one", "two"), answer("Both."))
    gateway.sim.enqueue(found("https://a.example"), found("https://b.example"), route="mcp")
    message = await converse(gateway)
    first, second, *results, _ = message["content"]
    assert [result["tool_use_id"] for result in results] == [first["id"], second["id"]]
    assert len(Asked(gateway.sim.of("generate")[1]).results) == 2


async def test_the_clients_own_calls_follow_the_results_and_end_the_answer(
    run_gateway: Any, converse: Any
) -> None:
    calls = Tool("web_search", '{"query":"owls"}'), Tool("Read", '{"path":"a"}', "tooluse_read")
    gateway = await run_gateway(answer(*calls), answer("Thanks."))
    message = await converse(gateway)
    assert kinds(message) == ["server_tool_use", "web_search_tool_result", "tool_use"]
    assert message["stop_reason"] == "tool_use"
    assert len(gateway.sim.of("generate")) == 1
    read = {"type": "tool_result", "tool_use_id": "tooluse_read", "content": "owl.txt"}
    turns = [
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": [read]},
    ]
    later = await converse(gateway, messages=BODY["messages"] + turns)
    assert later["content"] == [{"type": "text", "text": "Thanks."}]
    asked = Asked(gateway.sim.of("generate")[1])
    assert asked.results == ["owl.txt"]
    assert "https://example.com/simulated" in json.dumps(asked.history)


async def test_an_answer_without_a_search_is_an_ordinary_one(
    run_gateway: Any, converse: Any
) -> None:
    gateway = await run_gateway(answer("Owls.", Tool("Read", '{"path":"a"}')))
    message = await converse(gateway)
    assert kinds(message) == ["text", "tool_use"] and message["stop_reason"] == "tool_use"
    assert "server_tool_use" not in message["usage"]


async def test_a_single_question_with_nothing_but_a_search_is_searched_for_at_once(
    run_gateway: Any, converse: Any
) -> None:
    gateway = await run_gateway(answer("They are fine."))
    message = await converse(gateway, tools=[SEARCH])
    assert kinds(message) == ["server_tool_use", "web_search_tool_result", "text"]
    call, result, said = message["content"]
    assert call["input"] == {"query": "What is new about owls?"}
    assert result["tool_use_id"] == call["id"] and result["content"]
    assert said["text"] == "They are fine."
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 1}
    (asked,) = map(Asked, gateway.sim.of("generate"))
    assert result["content"][0]["url"] in asked.results[0], "the model reads what was found"


async def test_the_model_may_search_on_within_max_uses(run_gateway: Any, converse: Any) -> None:
    gateway = await run_gateway(searching("owls 2026"), searching("more"), answer("Enough."))
    message = await converse(gateway, tools=[SEARCH | {"max_uses": 2}])
    assert kinds(message) == ["server_tool_use", "web_search_tool_result"] * 3 + ["text"]
    *_, refused, _ = message["content"]
    assert refused["content"]["error_code"] == "max_uses_exceeded"
    assert len({block["id"] for block in message["content"] if "id" in block}) == 3
    assert len(gateway.sim.of("mcp")) == 2


async def test_a_search_for_the_question_that_fails_leaves_the_model_to_answer(
    run_gateway: Any, converse: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("kiroproxy.server.lookup.PAUSE_S", 0.0)
    gateway = await run_gateway(answer("Without a search."))
    fault = refuse(429, "ThrottlingException", "slow down")
    gateway.sim.enqueue(fault, fault, fault, route="mcp")
    message = await converse(gateway, tools=[SEARCH])
    assert kinds(message) == ["server_tool_use", "web_search_tool_result", "text"]
    assert message["content"][1]["content"]["type"] == "web_search_tool_result_error"


async def test_a_broken_first_answer_behind_the_question_s_search_is_tried_again(
    run_gateway: Any, converse: Any
) -> None:
    gateway = await run_gateway(Script((Start(), Drop())), answer("There."))
    message = await converse(gateway, tools=[SEARCH])
    assert kinds(message) == ["server_tool_use", "web_search_tool_result", "text"]
    assert len(gateway.sim.of("mcp")) == 1


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."},
         {"role": "user", "content": "What is new about owls?"}],
        [{"role": "user", "content": "owls " * 300}],
    ],
    ids=["a conversation", "a long text"],
)  # fmt: skip
async def test_elsewhere_the_first_search_is_the_model_s_to_make(
    run_gateway: Any, converse: Any, messages: Any
) -> None:
    gateway = await run_gateway(searching("owls"), answer("They are fine."))
    message = await converse(gateway, tools=[SEARCH], messages=messages)
    assert kinds(message) == ["server_tool_use", "web_search_tool_result", "text"]
    assert message["content"][0]["input"] == {"query": "owls"}
    assert len(gateway.sim.of("mcp")) == 1


async def test_a_demanded_search_is_demanded_once(run_gateway: Any, converse: Any) -> None:
    gateway = await run_gateway(searching("owls"), answer("Found."))
    await converse(gateway, tool_choice=ALWAYS)
    first, second = map(Asked, gateway.sim.of("generate"))
    assert "calling the tool web_search" in first.current["content"]
    assert second.current["content"] == ""


async def test_a_demanded_search_that_is_not_made_is_asked_for_again(
    run_gateway: Any, converse: Any
) -> None:
    gateway = await run_gateway(answer("I know that."), searching("owls"), answer("Found."))
    message = await converse(gateway, tool_choice=ALWAYS)
    assert kinds(message) == ["server_tool_use", "web_search_tool_result", "text"]
    assert message["content"][-1]["text"] == "Found."


async def test_what_was_found_can_be_asked_for_as_json(run_gateway: Any, converse: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    gateway = await run_gateway(searching("owls"), answer("Seven."), answer('{"n": 7}'))
    message = await converse(gateway, output_config=wanted)
    assert message["content"][-1] == {"type": "text", "text": '{"n": 7}'}
    assert len(gateway.sim.of("generate")) == 3


async def test_signed_thinking_goes_back_with_the_call(run_gateway: Any, converse: Any) -> None:
    call = Tool("web_search", '{"query":"owls"}')
    gateway = await run_gateway(answer(Reasoning("Owls? Look."), call), answer("Found."))
    message = await converse(
        gateway, model="claude-opus-4-8", thinking={"type": "adaptive", "display": "summarized"}
    )
    assert kinds(message)[0] == "thinking" and message["content"][-1]["text"] == "Found."
    said = Asked(gateway.sim.of("generate")[1]).history[-1]["assistantResponseMessage"]
    assert said["reasoningContent"]["reasoningText"]["text"] == "Owls? Look."


# -- bounds ----------------------------------------------------------------------------------


async def test_beyond_max_uses_model_and_client_are_told(run_gateway: Any, converse: Any) -> None:
    gateway = await run_gateway(searching("one"), searching("two"), answer("Enough."))
    message = await converse(gateway, tools=[READ, SEARCH | {"max_uses": 1}])
    result = message["content"][3]["content"]
    error = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    assert (result, message["content"][-1]["text"]) == (error, "Enough.")
    assert "max_uses_exceeded" in Asked(gateway.sim.of("generate")[2]).results[0]
    assert len(gateway.sim.of("mcp")) == 1
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 1}


async def test_a_model_that_searches_on_and_on_is_paused(run_gateway: Any, converse: Any) -> None:
    gateway = await run_gateway(*[searching(f"owl {n}") for n in range(10)], answer("At last."))
    message = await converse(gateway, tools=[SEARCH | {"max_uses": None}])
    assert (message["stop_reason"], len(gateway.sim.of("generate"))) == ("pause_turn", 10)
    assert kinds(message)[-1] == "web_search_tool_result"
    paused = [*BODY["messages"], {"role": "assistant", "content": message["content"]}]
    resumed = await converse(gateway, messages=paused)
    assert resumed["content"] == [{"type": "text", "text": "At last."}]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (json.dumps({"query": "owl " * 60}), "query_too_long"),
        ("{}", "invalid_tool_input"),
        ('{"query": 5}', "invalid_tool_input"),
    ],
    ids=["long", "none", "number"],
)
async def test_a_query_that_is_none_is_told_without_asking_kiro(
    run_gateway: Any, converse: Any, arguments: str, code: str
) -> None:
    gateway = await run_gateway(answer(Tool("web_search", arguments)), answer("Sorry."))
    message = await converse(gateway)
    assert message["content"][1]["content"]["error_code"] == code
    assert gateway.sim.of("mcp") == []


@pytest.mark.parametrize(
    "terms", [{"allowed_domains": ["owls.example"]}, {"blocked_domains": ["cats.example"]}]
)
async def test_domain_lists_hold_for_client_and_model(
    run_gateway: Any, converse: Any, terms: Any
) -> None:
    gateway = await run_gateway(searching("pets"), answer("Owls."))
    gateway.sim.enqueue(found("https://cats.example/1", "https://owls.example/1"), route="mcp")
    message = await converse(gateway, tools=[READ, SEARCH | terms])
    assert [page["url"] for page in message["content"][1]["content"]] == ["https://owls.example/1"]
    assert "cats" not in Asked(gateway.sim.of("generate")[1]).results[0]


async def test_what_is_left_of_max_tokens_bounds_the_next_call(
    run_gateway: Any, converse: Any
) -> None:
    spent = {"uncachedInputTokens": 10, "outputTokens": 90}
    gateway = await run_gateway(
        answer(Tool("web_search", '{"query":"a"}'), Tail(token_usage=spent)),
        answer(Text("word " * 400, size=50)),
    )
    message = await converse(gateway, max_tokens=100)
    assert message["stop_reason"] == "max_tokens"
    assert len(message["content"][-1]["text"]) < 400


# -- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (refuse(429, "ThrottlingException", "slow down"), "too_many_requests"),
        (refuse(500, "InternalServerException", "on fire"), "unavailable"),
        (Script((Plain(200, '{"jsonrpc":"2.0","error":{"code":-32603}}'),)), "unavailable"),
        (Script((Drop("reset"),)), "unavailable"),
    ],
    ids=["429", "500", "rpc", "reset"],
)
async def test_a_search_that_fails_is_told_and_the_model_goes_on(
    run_gateway: Any, converse: Any, fault: Script, code: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr("kiroproxy.server.lookup.PAUSE_S", 0.0)
    second = answer("I could not look it up.")
    gateway = await run_gateway(searching("owls"), second)
    gateway.sim.enqueue(fault, fault, fault, route="mcp")
    message = await converse(gateway)
    assert message["content"][1]["content"]["error_code"] == code
    assert message["content"][-1]["text"] == "I could not look it up."
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 0}
    assert "Web search failed" in Asked(gateway.sim.of("generate")[1]).results[0]


async def test_a_passing_fault_of_a_search_is_not_seen(
    run_gateway: Any, converse: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("kiroproxy.server.lookup.PAUSE_S", 0.0)
    gateway = await run_gateway(searching("owls"), answer("Found."))
    gateway.sim.enqueue(refuse(500, "InternalServerException", "on fire"), route="mcp")
    message = await converse(gateway)
    assert message["content"][1]["content"][0]["url"]
    assert len(gateway.sim.of("mcp")) == 2


async def test_a_stale_token_is_renewed_for_a_search(run_gateway: Any, converse: Any) -> None:
    gateway = await run_gateway(searching("owls"), answer("Found."))
    stale = refuse(
        403, "AccessDeniedException", "The bearer token included in the request is invalid"
    )
    gateway.sim.enqueue(stale, route="mcp")
    message = await converse(gateway)
    assert message["content"][1]["content"][0]["url"]
    assert len(gateway.sim.of("refresh")) == 1


@pytest.mark.parametrize("fault", [Script((Start(), Throw())), Script((Start(),))])
async def test_a_later_call_that_fails_before_content_is_tried_again(
    run_gateway: Any, converse: Any, fault: Script
) -> None:
    gateway = await run_gateway(searching("owls", before="Well."), fault, answer("Found."))
    message = await converse(gateway)
    assert kinds(message) == ["text", "server_tool_use", "web_search_tool_result", "text"]
    assert (message["content"][-1]["text"], len(gateway.sim.of("mcp"))) == ("Found.", 1)


async def test_a_whole_answer_that_breaks_behind_a_search_keeps_what_was_found(
    run_gateway: Any,
) -> None:
    broken = Script((Start(), Text("Broken"), Drop("reset")))
    gateway = await run_gateway(searching("owls", before="Well."), broken, answer("Found."))
    message = (await gateway.ask(**BODY)).json()
    texts = [block.get("text") for block in message["content"]]
    assert texts == ["Well.", None, None, "Found."]


async def test_a_stream_that_breaks_behind_a_search_ends_in_an_error(
    run_gateway: Any, read_stream: Any
) -> None:
    broken = Script((Start(), Text("Broken"), Throw()))
    gateway = await run_gateway(searching("owls"), broken)
    reading = read_stream((await gateway.ask(**BODY, stream=True)).content)
    assert reading.error and not reading.complete
    assert reading.text() == "Broken"


async def test_a_cut_call_is_no_search(run_gateway: Any, converse: Any) -> None:
    cut = Tool("web_search", '{"query":"ow', stop=False)
    gateway = await run_gateway(answer("Well.", cut))
    message = await converse(gateway)
    assert (kinds(message), message["stop_reason"]) == (["text"], "max_tokens")


# -- while it searches -----------------------------------------------------------------------


async def open_stream(gateway: Any) -> tuple[Any, Any]:
    body = json.dumps(BODY | {"stream": True})
    reader, writer = await gateway.connect()
    writer.write(f"{HEAD}content-length: {len(body)}\r\n\r\n{body}".encode())
    return reader, writer


async def test_a_long_search_is_pinged_and_trips_no_limit(run_gateway: Any) -> None:
    gateway = await run_gateway(
        searching("owls"),
        answer("Found."),
        first_byte_timeout_s=0.5,
        idle_timeout_s=0.5,
        early_start_s=0.01,
        ping_interval_s=0.1,
    )
    gateway.sim.enqueue(Script((Hold(), *found("https://a.example").steps)), route="mcp")
    reader, writer = await open_stream(gateway)
    await reader.readuntil(b'"server_tool_use"')
    for _ in range(7):  # longer than either limit
        await reader.readuntil(b"event: ping")
    gateway.sim.release()
    rest = await reader.readuntil(b"message_stop")
    assert b"https://a.example" in rest and b'"Found."' in rest and b"event: error" not in rest
    writer.close()


async def test_leaving_during_a_search_ends_it(run_gateway: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "kiroproxy.server")
    gateway = await run_gateway(searching("owls"))
    gateway.sim.enqueue(Script((Hold(),)), route="mcp")
    _, writer = await open_stream(gateway)
    request = await gateway.sim.wait_for(1, "mcp")
    writer.transport.abort()
    await request.finished.wait()
    while gateway.server.server_state.tasks:
        await asyncio.sleep(0.001)
    assert request.outcome == "left"
    (line,) = [r.fields for r in caplog.records if r.getMessage() == "request"]
    assert line["error"] == "client_closed"
    assert len(gateway.sim.of("generate")) == 1


async def test_a_search_uses_the_conversations_credential(run_gateway: Any) -> None:
    gateway = await run_gateway(searching("one"), searching("two"), answer("Found."), accounts=5)
    await gateway.ask(**BODY)
    asked = [*gateway.sim.of("generate"), *gateway.sim.of("mcp")]
    assert len(asked) == 5
    assert len({request.headers["authorization"] for request in asked}) == 1


# -- clients ---------------------------------------------------------------------------------


async def test_the_sdk_takes_the_answer_and_sends_it_back(run_gateway: Any) -> None:
    gateway = await run_gateway(searching("owls"), answer("They fly."), answer("At night."))
    client = anthropic.AsyncAnthropic(api_key="sk-test-0123456789", base_url=gateway.url)
    body = BODY | {"model": "claude-sonnet-4-6"}  # the SDK warns of older ones
    async with client.messages.stream(**body) as stream:
        message = await stream.get_final_message()
    assert message.usage.server_tool_use.web_search_requests == 1
    assert message.content[1].content[0].title
    turns = [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "When?"},
    ]
    later = await client.messages.create(**body | {"messages": BODY["messages"] + turns})
    assert later.content[0].text == "At night."
    asked = Asked(gateway.sim.of("generate")[2])
    roles = [next(iter(entry)) for entry in asked.history]
    assert roles == ["userInputMessage", "assistantResponseMessage"] * 2
    # What the model had read, in the very words: its prompt cache depends on it.
    before = Asked(gateway.sim.of("generate")[1])
    read = asked.history[2]["userInputMessage"]["userInputMessageContext"]["toolResults"]
    assert read == before.context["toolResults"]
    await client.close()
