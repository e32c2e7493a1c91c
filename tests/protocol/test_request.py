"""Whole requests: captured clients, parameters, refusals, and any conversation at all."""

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiroproxy.errors import NotFound, RequestError
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.request import convert, parse_body
from kiroproxy.simulator.catalogue import MODELS

CAPTURES = Path(__file__).parent.parent / "data" / "captures"
ARN = "arn:aws:codewhisperer:us-east-1:638616132270:profile/AAAACCCCXXXX"
# Live listings may know more than the snapshot: this one has the model of one capture.
LIVE = Catalogue.from_live([*(model.entry() for model in MODELS.values()),
                            {"modelId": "claude-haiku-5.5"}])  # fmt: skip
HELLO = {"role": "user", "content": "hello"}


def captured():
    for path in sorted(CAPTURES.glob("*.json")):
        capture = json.loads(path.read_text())
        if isinstance(capture, dict) and capture["path"].partition("?")[0] == "/v1/messages":
            yield pytest.param(capture["body"], id=path.stem)


def plan_of(body, catalogue=Catalogue.BUILT_IN):
    return convert(body, catalogue=catalogue, ids=lambda: "00000000-0000-4000-8000-00000000000a")


def said(body):
    """Every text of a request that must reach the model."""
    system = body.get("system") or []
    for block in [{"text": system}] if isinstance(system, str) else system:
        text = block["text"]
        if not text.startswith("x-anthropic-billing-header"):
            yield text
    for message in body["messages"]:
        blocks = message["content"]
        for block in [{"text": blocks}] if isinstance(blocks, str) else blocks:
            yield block.get("text", "")
            inner = block.get("content", "")
            yield inner if isinstance(inner, str) else ""


# -- captured clients ----------------------------------------------------------------------


@pytest.mark.parametrize("body", list(captured()))
def test_a_captured_request_becomes_what_kiro_accepts(body, faults_of):
    if body.get("thread"):
        with pytest.raises(RequestError) as refusal:
            plan_of(body)
        assert refusal.value.error_code == "thread_unsupported_request"
        body = {key: value for key, value in body.items() if key != "thread"}
    if body["model"] == "my-custom-model":
        with pytest.raises(NotFound, match=r"^model: my-custom-model$"):
            plan_of(body, LIVE)
        body = {**body, "model": "claude-opus-5-5"}
    plan = plan_of(parse_body(orjson.dumps(body)), LIVE)
    wire = orjson.loads(plan.body(ARN))
    assert [fault for fault in faults_of(wire) if "claude-haiku-5.5" not in fault] == []
    assert wire["profileArn"] == ARN
    sent = "\n".join(strings(wire))
    assert [text for text in said(body) if text not in sent] == []
    assert "x-anthropic-billing-header" not in sent


def strings(value):
    if isinstance(value, str):
        yield value
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def test_every_messages_capture_is_among_them():
    assert len(list(captured())) > 70


def capture(name):
    return json.loads((CAPTURES / f"claude-code-{name}.json").read_text())["body"]


def test_parallel_results_of_claude_code_come_in_the_order_of_its_calls():
    body = capture("06-parallel-tools")
    state = orjson.loads(plan_of(body).body(None))["conversationState"]
    calls = state["history"][1]["assistantResponseMessage"]["toolUses"]
    context = state["currentMessage"]["userInputMessage"]["userInputMessageContext"]
    ids = [result["toolUseId"] for result in context["toolResults"]]
    completed = [block["tool_use_id"] for block in body["messages"][3]["content"]]
    assert ids == [call["toolUseId"] for call in calls]
    assert ids != completed


def test_tools_claude_code_searched_for_are_offered_and_its_placeholder_is_not():
    state = orjson.loads(plan_of(capture("08-toolsearch-tool-reference")).body(None))
    context = state["conversationState"]["currentMessage"]["userInputMessage"]
    names = [
        entry["toolSpecification"]["name"] for entry in context["userInputMessageContext"]["tools"]
    ]
    assert {"WebFetch", "CronList"} <= set(names)
    assert "DeferredToolPlaceholder" not in names


def test_a_conversation_keeps_its_beginning_from_turn_to_turn():
    first, second = (
        orjson.loads(plan_of(capture(name)).body(None))["conversationState"]
        for name in ("56-tui-first-turn", "57-tui-later-turn")
    )
    opening = first["currentMessage"]["userInputMessage"]["content"]
    assert second["history"][0]["userInputMessage"]["content"][:2000] == opening[:2000]


# -- the plan --------------------------------------------------------------------------------


def test_the_plan_tells_what_the_answer_needs(translate):
    plan = translate(
        HELLO, model="claude-opus-4-8[1m]", stream=True, stop_sequences=["END"], max_tokens=77
    ).plan
    assert (plan.requested_model, plan.model.id) == ("claude-opus-4-8[1m]", "claude-opus-4.8")
    assert (plan.stream, plan.stop_sequences, plan.max_tokens) == (True, ("END",), 77)
    assert plan.context_window == 1_000_000
    assert plan.input_tokens > 0


@pytest.mark.parametrize("stream", [False, None])
def test_without_stream_the_answer_comes_whole(translate, stream):
    assert translate(HELLO, stream=stream).plan.stream is False


@pytest.mark.parametrize("stream", [1, "true", "no", {"a": 1}])
def test_a_stream_that_is_no_boolean_is_refused(translate, stream):
    with pytest.raises(RequestError, match="stream: Input should be a valid boolean"):
        translate(HELLO, stream=stream)


def test_the_profile_arn_is_spliced_in_only_if_given(translate):
    plan = translate(HELLO).plan
    assert "profileArn" not in orjson.loads(plan.body(None))
    assert "profileArn" not in orjson.loads(plan.body(""))
    with_arn = orjson.loads(plan.body(ARN))
    assert with_arn.pop("profileArn") == ARN
    assert with_arn == orjson.loads(plan.body(None))


def test_a_plan_in_a_log_line_shows_no_prompt(translate):
    assert "hello" not in repr(translate(HELLO).plan)


def test_the_body_is_of_the_ide_generation(translate):
    wire = translate(HELLO)
    assert list(wire.body) == ["conversationState"]
    assert wire.state["chatTriggerType"] == "MANUAL"
    assert wire.state["agentTaskType"] == "vibe"
    assert wire.current["origin"] == "AI_EDITOR"
    assert "agentMode" not in wire.body
    assert "history" not in wire.state


def test_without_reasoning_is_the_same_request_less_its_reasoning(translate, faults_of):
    thinking = {"type": "thinking", "thinking": "Hmm.", "signature": "c2ln"}
    wire = translate(
        HELLO,
        {"role": "assistant", "content": [thinking, {"type": "text", "text": "hi"}]},
        {"role": "user", "content": "more"},
        model="claude-opus-4-8",
        tools=[{"name": "Read", "input_schema": {"type": "object"}}],
    )
    bare = wire.plan.without_reasoning()
    sent = orjson.loads(bare.body(None))
    assert faults_of(sent) == []
    assert "reasoningContent" not in bare.body(None).decode()
    expected = wire.body
    del expected["conversationState"]["history"][1]["assistantResponseMessage"]["reasoningContent"]
    assert sent == expected
    assert bare.without_reasoning() is None
    assert (bare.model, bare.input_tokens) == (wire.plan.model, wire.plan.input_tokens)


def test_without_reasoning_is_nothing_when_none_is_replayed(translate):
    assert translate(HELLO, model="claude-opus-4-8").plan.without_reasoning() is None


# -- the system prompt -------------------------------------------------------------------------


def test_the_system_prompt_stands_before_the_first_user_message_and_nowhere_else(translate):
    wire = translate(
        HELLO,
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "more"},
        system="S",
    )
    assert wire.history[0]["content"] == "S\n\nhello"
    assert len(wire.history) == 2
    assert wire.current["content"] == "more"


@pytest.mark.parametrize(
    ("system", "sent"),
    [
        (None, "hello"),
        ("", "hello"),
        ([], "hello"),
        ("Be kind.", "Be kind.\n\nhello"),
        ([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}], "A\n\nB\n\nhello"),
        ([{"type": "text", "text": "x-anthropic-billing-header: cc_version=2;"},
          {"type": "text", "text": "A"}], "A\n\nhello"),
        ("x-anthropic-billing-header: cc_version=2;\nA", "A\n\nhello"),
        ([{"type": "text", "text": "x-anthropic-billing-header: cc_version=2;"}], "hello"),
    ],
)  # fmt: skip
def test_a_system_prompt_is_joined_and_freed_of_the_billing_line(translate, system, sent):
    assert translate(HELLO, system=system).current["content"] == sent


def test_structured_output_is_asked_for_in_words(translate):
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    form = {"type": "json_schema", "schema": schema}
    for fields in ({"output_config": {"format": form}}, {"output_format": form}):
        content = translate(HELLO, **fields).current["content"]
        assert content.startswith("hello\n\nAnswer with one JSON value")
        assert orjson.dumps(schema).decode() in content


# -- what is accepted and what is refused --------------------------------------------------------


def test_parameters_kiro_has_no_word_for_are_accepted(translate):
    wire = translate(
        HELLO, temperature=0.5, top_p=0.9, top_k=4, service_tier="auto", container="c",
        speed="fast", cache_control={"type": "ephemeral"}, context_management={"edits": []},
        novelty={"a": [1]},
        mcp_servers=[{"type": "url", "url": "https://example.com/mcp", "name": "m"}],
    )  # fmt: skip
    assert wire.current["content"] == "hello"


def test_a_thread_is_refused_so_that_clients_resend_everything():
    with pytest.raises(RequestError) as refusal:
        plan_of({"model": "x", "thread": {"type": "continue", "previous_message_id": "msg_1"}})
    assert refusal.value.message == (
        "thread is not supported by this gateway; resend the full conversation."
    )
    assert refusal.value.error_code == "thread_unsupported_request"
    assert refusal.value.status == 400


GOOD = {"model": "claude-sonnet-4-6", "max_tokens": 10, "messages": [HELLO]}
NO_BLANK_SEQUENCE = "stop_sequences: each stop sequence must contain non-whitespace"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: Field required"),
        ({"model": 5}, "model: Input should be a valid string"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": "10"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": 1.5}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"messages": None}, "messages: Field required"),
        ({"messages": {}}, "messages: Input should be a valid list"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": ["hi"]}, "messages.0: Input should be a valid dictionary"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role: Field required"),
        ({"messages": [{"role": "user", "content": 5}]},
         "messages.0.content: Input should be a valid list"),
        ({"system": 5}, "system: Input should be a valid list"),
        ({"stop_sequences": "END"}, "stop_sequences: Input should be a valid list"),
        ({"stop_sequences": ["END", 1]}, "stop_sequences: Input should be a valid list"),
        ({"stop_sequences": ["END", ""]}, NO_BLANK_SEQUENCE),
        ({"stop_sequences": [" \t\n\u3000"]}, NO_BLANK_SEQUENCE),
        ({"stop_sequences": ["x" * 9000] * 2},
         "stop_sequences: Input should have at most 16384 characters in all"),
        ({"model": "claude-opus-9"}, "model: claude-opus-9"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused_in_anthropics_words(change, message):
    with pytest.raises(RequestError) as refusal:
        plan_of({**GOOD, **change})
    assert refusal.value.message == message


def test_max_tokens_may_be_zero_or_a_whole_float():
    assert plan_of({**GOOD, "max_tokens": 0}).max_tokens == 0
    assert plan_of({**GOOD, "max_tokens": 4096.0}).max_tokens == 4096


def test_a_prompt_far_beyond_the_window_is_refused_with_numbers():
    body = {**GOOD, "model": "claude-haiku-4-5"}
    body["messages"] = [{"role": "user", "content": "three little words " * 200_000}]
    with pytest.raises(RequestError, match=r"^prompt is too long: \d+ tokens > 200000 maximum$"):
        plan_of(body)


def test_a_prompt_slightly_over_the_estimate_is_left_to_kiro(monkeypatch):
    for estimate, refused in ((300_000, False), (300_001, True)):
        monkeypatch.setattr("kiroproxy.protocol.request.count_request", lambda body, n=estimate: n)
        body = {**GOOD, "model": "claude-haiku-4-5"}
        if refused:
            with pytest.raises(RequestError, match="300001 tokens > 200000 maximum"):
                plan_of(body)
        else:
            assert plan_of(body).input_tokens == estimate


# -- reading JSON ----------------------------------------------------------------------------------


def test_a_body_is_read():
    assert parse_body(b'{"a": "\\ud83d\\ude00"}') == {"a": "\N{GRINNING FACE}"}


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (rb'{"a":"x\ud83d"}', "x\ufffd"),
        (rb'{"a":"\ude00y"}', "\ufffdy"),
        (rb'{"a":"\ud83d\ude00\ud83d"}', "\N{GRINNING FACE}\ufffd"),
        (b'{"a":"tab\there"}', "tab\there"),
        (b'\xef\xbb\xbf{"a":"bom"}', "bom"),
        (rb'{"a":"nul\u0000byte"}', "nul\N{SYMBOL FOR NULL}byte"),
        (rb'{"a":"\\u0000"}', "\\u0000"),
    ],
)
def test_what_javascript_and_terminals_write_is_read(raw, read):
    assert parse_body(raw) == {"a": read}


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b'{"a":NaN}', b'{"a":1e400}', b"not json", b'{"a":"\xff"}', b"[" * 3000,
     b'{"a":"\\ud83d",}'],
)  # fmt: skip
def test_what_is_no_json_is_refused_with_its_position(raw):
    with pytest.raises(RequestError, match=r"not valid JSON: .*: line \d+ column \d+"):
        parse_body(raw)


@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"5", b"null"])
def test_a_body_that_is_no_object_is_refused(raw):
    with pytest.raises(RequestError, match="Input should be a valid dictionary"):
        parse_body(raw)


def test_lone_surrogates_reach_kiro_as_replacement_characters():
    broken = "cut \ud83d here"
    use = {"type": "tool_use", "id": "t1", "name": "Ba\ud83dsh", "input": {broken: broken}}
    body = {**GOOD, "system": broken, "messages": [
        {"role": "user", "content": broken},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1",
                                      "content": broken}]},
    ]}  # fmt: skip
    assert plan_of(body).body(None).decode().count("cut \ufffd here") == 5


@pytest.mark.parametrize("padding", ["", "\\u0000", "\\ud800"])
def test_long_integers_in_tool_inputs_keep_their_digits(padding):
    longs = [2**64 - 1, 2**64, -(2**63) - 1, 10**30 + 7, -(10**400)]
    written = "[" + ", ".join(map(str, longs)) + "]"
    raw = (
        '{"model": "claude-sonnet-4.5", "max_tokens": 9, "messages": ['
        '{"role": "user", "content": "go' + padding + '"}, {"role": "assistant", "content": ['
        '{"type": "tool_use", "id": "t1", "name": "f", "input": {"n": ' + written + "}},"
        '{"type": "tool_use", "id": "t2", "name": "f", "input": {"n": 18446744073709551616}}]},'
        '{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]}]}'
    )
    sent = plan_of(parse_body(raw.encode())).body(None)
    assert b'"input":{"n":' + written.replace(" ", "").encode() + b"}" in sent
    assert b'"n\\":18446744073709551616}' in sent  # the unanswered call, which becomes text


@pytest.mark.parametrize("place", ["content", "input", "schema"])
def test_nesting_deeper_than_json_writers_go_is_refused(place):
    deep = {"a": "end"}
    for _ in range(900):
        deep = {"a": deep}
    messages = {
        "content": [{"role": "user", "content": [{"type": "odd", "deep": deep}]}],
        "input": [HELLO, {"role": "assistant", "content": [
            {"type": "tool_use", "id": "t", "name": "B", "input": deep}]}],
        "schema": [HELLO],
    }[place]  # fmt: skip
    tools = [{"name": "B", "input_schema": {"properties": deep}}] if place == "schema" else []
    with pytest.raises(RequestError, match="nested too deeply"):
        plan_of({**GOOD, "messages": messages, "tools": tools})


# -- any conversation ------------------------------------------------------------------------------

WORDS = st.integers(0, 10**9).map(lambda number: f"words-{number:x}-end")
IDS = st.sampled_from(["t1", "t2", "t3", "bad id!", "x" * 80, ""])
NAMES = st.sampled_from(["Read", "read", "Bash", "mcp." + "z" * 70, "日本", "web_search", "_x"])
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSnc"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjcK"}


def block(kind, **members):
    return st.fixed_dictionaries({"type": st.just(kind), **members})


TEXT = block("text", text=WORDS | st.just(""))
SEARCH = block("search_result", source=WORDS, title=WORDS, content=st.lists(TEXT, max_size=2))
NOVEL = block("novelty", novel=WORDS)
REFERENCE = block("tool_reference", tool_name=NAMES)
DOCUMENT = block("document", source=st.just(PDF), title=WORDS, context=WORDS)
PLAIN_DOCUMENT = block("document", source=block("text", data=WORDS), title=WORDS)
SHOWN = TEXT | st.just(IMAGE) | SEARCH | NOVEL | REFERENCE | DOCUMENT | PLAIN_DOCUMENT
RESULT = block(
    "tool_result", tool_use_id=IDS, content=WORDS | st.none() | st.lists(SHOWN, max_size=3)
)
USE = block(
    "tool_use", id=IDS, name=NAMES, input=st.dictionaries(WORDS | st.just(""), WORDS, max_size=2)
)
SERVED = block(
    "server_tool_use", id=IDS, name=WORDS, input=st.dictionaries(WORDS, WORDS, max_size=1)
)
THOUGHT = block("thinking", thinking=st.just("Hmm."), signature=st.sampled_from(["", "c2ln"]))
CONTENT = {
    "user": WORDS | st.lists(SHOWN | RESULT, max_size=5),
    "assistant": WORDS | st.lists(TEXT | USE | SERVED | NOVEL | THOUGHT, max_size=4),
    "system": WORDS | st.lists(TEXT, max_size=2),
}
MESSAGE = st.sampled_from(["user", "user", "assistant", "assistant", "system"]).flatmap(
    lambda role: st.fixed_dictionaries({"role": st.just(role), "content": CONTENT[role]})
)
TOOL = st.fixed_dictionaries(
    {"name": NAMES, "description": WORDS | st.just(""), "input_schema": st.sampled_from(
        [{"type": "object"}, {"type": "array", "items": {}}, {"anyOf": [{"required": ["a"]}]},
         {"type": "object", "properties": None, "required": []}, None])},
    optional={"defer_loading": st.booleans()},
)  # fmt: skip
BODY = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["claude-opus-4-8", "haiku", "gpt-5.6-sol", "auto"]),
        "max_tokens": st.just(100),
        "messages": st.lists(MESSAGE, min_size=1, max_size=8),
    },
    optional={
        "system": WORDS | st.lists(TEXT, max_size=2),
        "tools": st.lists(TOOL, max_size=4),
        "tool_choice": st.sampled_from([{"type": "any"}, {"type": "none"}, {"type": "auto"}]),
        "thinking": st.sampled_from([{"type": "adaptive"}, {"type": "disabled"}]),
    },
)


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(BODY)
def test_any_conversation_is_refused_clearly_or_becomes_what_kiro_accepts(faults_of, body):
    try:
        plan = plan_of(body)
    except RequestError as refusal:
        assert "must have non-empty content" in refusal.message or (
            "non-empty" in refusal.message or "Too much media" in refusal.message
        )
        return
    wire = orjson.loads(plan.body(ARN))
    assert faults_of(wire) == []
    heard = "\n".join(strings(wire["conversationState"])) + plan.body(None).decode()
    texts = {text for text in every_word(body["messages"]) if text not in heard}
    assert texts == set()


def every_word(value):
    """Every generated word below a value, keys included."""
    if isinstance(value, str) and value.startswith("words-"):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from every_word(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from every_word(key)
            yield from every_word(item)


@given(st.lists(st.text(min_size=1, max_size=90), min_size=1, max_size=8, unique=True))
@settings(max_examples=100, deadline=None)
def test_tool_names_come_back_whatever_they_are(names):
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in names]
    plan = plan_of({**GOOD, "tools": tools})
    context = orjson.loads(plan.body(None))["conversationState"]["currentMessage"]
    declared = context["userInputMessage"]["userInputMessageContext"]["tools"]
    wire = [entry["toolSpecification"]["name"] for entry in declared]
    assert [plan.tool_names.get(name, name) for name in wire] == names


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "role", "content", "text", "source", "name", "id", "input", "x"]),
        inner | st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "user"]),
        max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["messages", "system", "tools", "tool_choice", "thinking", "metadata",
                     "output_config", "stop_sequences", "thread"]),
    JSON,
    st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]),
                                    "content": JSON}), max_size=3),
)  # fmt: skip
def test_nonsense_anywhere_is_never_more_than_a_refusal(member, nonsense, messages):
    body = {**GOOD, "messages": [HELLO, *messages], member: nonsense}
    try:
        plan_of(body).body(None)
    except RequestError as refusal:
        assert refusal.message


def test_a_byte_that_is_not_utf8_is_named_with_its_place() -> None:
    with pytest.raises(RequestError, match=r"not UTF-8 \(0xff\): line 2 column 11"):
        parse_body(b'{\n"model": "\xff"}')
