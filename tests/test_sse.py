"""Kiro's frames in, Anthropic's events out: scripted answers, random ones, and broken ones."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiroproxy._sse import STOP_REASONS, UNSIGNED_SIGNATURE, Failure, Translator
from kiroproxy.simulator import frames

STREAMS = {path.stem: path for path in sorted(Path(__file__).parent.glob("data/streams/*.json"))}
CLOSING = frames.event("metadataEvent", {"stopReason": "END_TURN"}) + frames.event(
    "meteringEvent", {"usage": 0.25, "unit": "credit"}
)
PLAIN: dict[str, Any] = {
    "message_id": "msg_1",
    "model": "claude-test",
    "split_tags": False,
    "drop_thinking": False,
    "tool_names": {},
}
Reader = Callable[[bytes], Any]


def text(literal: str | bytes, **members: object) -> bytes:
    """A text event; `literal` as bytes is the inside of the JSON string, as it stands."""
    if isinstance(literal, bytes):
        return frames.event("assistantResponseEvent", b'{"content":"' + literal + b'"}')
    return frames.event("assistantResponseEvent", {"content": literal} | members)


def reasoning(**members: object) -> bytes:
    return frames.event("reasoningContentEvent", members)


def tool(tool_id: str = "t1", name: str = "f", **members: object) -> bytes:
    return frames.event("toolUseEvent", {"toolUseId": tool_id, "name": name} | members)


def frame(name: str, payload: object) -> bytes:
    """A frame as the files in data/streams write it down."""
    if isinstance(payload, str):
        hexed = payload.startswith("hex:")
        body = bytes.fromhex(payload[4:]) if hexed else payload.encode()
    else:
        body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    kind, _, rest = name.partition(":")
    if kind == "exception":
        return frames.exception(rest, body)
    if kind == "error":
        headers = {":message-type": "error", ":error-code": rest, ":error-message": "m"}
        return frames.encode(headers, b"")
    return frames.event(name, body)


def scripted(name: str) -> tuple[dict[str, Any], bytes]:
    script = json.loads(STREAMS[name].read_text())
    return script, b"".join(frame(*entry) for entry in script["frames"])


def pieces(body: bytes, size: int) -> Iterable[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


def play(chunks: Iterable[bytes], **options: Any) -> tuple[Translator, bytes]:
    """Run a whole answer as the server does; a failure is told by abort."""
    machine = Translator(**(PLAIN | options))
    out = machine.start(10)
    for chunk in chunks:
        out += machine.feed(chunk)
        if machine.failure is not None:
            break
    else:
        out += machine.end()
    if machine.failure is not None:
        return machine, out + machine.abort("api_error", "broken", "req_1")
    return machine, out + machine.finish({"output_tokens": 7})


def failed(*events: bytes, **options: Any) -> Failure:
    """The failure of an answer that must not have an end."""
    machine, out = play([b"".join(events)], **options)
    assert machine.failure is not None and b"message_stop" not in out
    return machine.failure


# -- scripted answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
def test_a_scripted_answer_reads_as_written_down(name: str, read_stream: Reader) -> None:
    script, body = scripted(name)
    machine, out = play([body], **script["options"])
    reading = read_stream(out)
    assert reading.content == script["content"]
    if script["failure"]:
        assert machine.failure is not None and machine.failure.kind == script["failure"]
        assert reading.error is not None and not reading.complete
    else:
        assert machine.failure is None
        assert reading.message["stop_reason"] == script["stop_reason"] == machine.stop_reason


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("name", STREAMS)
def test_pieces_of_any_size_give_the_same_bytes(name: str, size: int) -> None:
    script, body = scripted(name)
    whole = play([body], **script["options"])[1]
    assert play(pieces(body, size), **script["options"])[1] == whole


@pytest.mark.parametrize("name", ["plain-text", "tagged-thinking", "cut-characters", "tools"])
def test_a_cut_at_any_byte_gives_the_same_bytes(name: str) -> None:
    script, body = scripted(name)
    whole = play([body], **script["options"])[1]
    for at in range(len(body) + 1):
        assert play([body[:at], body[at:]], **script["options"])[1] == whole


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_object_is_taken(kind: type, read_stream: Reader) -> None:
    assert read_stream(play([kind(text("hi") + CLOSING)])[1]).text() == "hi"


def test_the_first_events_are_message_start_and_ping(read_stream: Reader) -> None:
    machine = Translator(**PLAIN)
    out = machine.start(41)
    assert out.endswith(machine.ping())
    reading = read_stream(out + machine.abort("api_error", "m", "req_1"))
    assert reading.events == ["message_start", "ping", "error"]
    assert reading.message["usage"]["input_tokens"] == 41
    assert reading.message["id"] == "msg_1" and reading.message["model"] == "claude-test"


def test_plain_text_is_spliced_in_the_event_it_came_in() -> None:
    literal = b'\\"\\u4f60\\ud83d\\ude00\\/\xe4\xbd\xa0'
    machine = Translator(**PLAIN)
    machine.feed(text("first"))
    assert machine.feed(text(literal)) == (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"' + literal + b'"}}\n\n'
    )


def test_an_event_is_given_out_with_its_last_byte_and_not_before() -> None:
    machine = Translator(**PLAIN)
    body = text("now")
    assert machine.feed(body[:-1]) == b"" and not machine.has_content
    assert b'"text":"now"' in machine.feed(body[-1:]) and machine.has_content


def test_text_without_markup_is_not_delayed_by_tag_watching() -> None:
    machine = Translator(**(PLAIN | {"split_tags": True}))
    machine.feed(text("a"))
    assert b'"text":" b < c <thinking"' in machine.feed(text(" b < c <thinking"))
    assert machine.feed(text("\n<thinkin")).count(b"text_delta") == 1  # the newline alone
    assert b'"text":"<thinkin!"' in machine.feed(text("!"))


# -- thinking ------------------------------------------------------------------------------


def test_tagged_thinking_is_signed_recognisably(read_stream: Reader) -> None:
    out = play([text("<thinking>a</thinking>\n\nb") + CLOSING], split_tags=True)[1]
    assert read_stream(out).content[0]["signature"] == UNSIGNED_SIGNATURE


def test_the_last_signature_of_a_block_counts(read_stream: Reader) -> None:
    body = reasoning(text="a", signature="b2xk") + reasoning(signature="bmV3") + CLOSING
    assert read_stream(play([body])[1]).content[0]["signature"] == "bmV3"


def test_reasoning_events_turn_tag_watching_off(read_stream: Reader) -> None:
    body = text("<thinking>tagged") + reasoning(text="native") + text("<thinking>text") + CLOSING
    kinds = [
        (block["type"], block.get("text") or block["thinking"])
        for block in read_stream(play([body], split_tags=True)[1]).content
    ]
    assert kinds == [("thinking", "tagged"), ("thinking", "native"), ("text", "<thinking>text")]


def test_a_surrogate_pair_cut_between_reasoning_events_is_joined(read_stream: Reader) -> None:
    halves = [b'{"text":"\\ud83d"}', b'{"signature":"cw==","text":"\\ude00"}']
    body = b"".join(frames.event("reasoningContentEvent", half) for half in halves)
    assert read_stream(play([body + CLOSING])[1]).text("thinking") == "\U0001f600"


def test_half_a_character_at_the_end_of_reasoning_is_replaced(read_stream: Reader) -> None:
    body = frames.event("reasoningContentEvent", b'{"text":"a\\ud83d"}') + CLOSING
    assert read_stream(play([body])[1]).text("thinking") == "a\ufffd"


def test_dropped_tag_thinking_is_not_content_but_counts_as_output(read_stream: Reader) -> None:
    body = text("<thinking>four</thinking>\n\nxy") + CLOSING
    machine, out = play([body], split_tags=True, drop_thinking=True)
    assert read_stream(out).content == [{"type": "text", "text": "xy"}]
    assert machine.ascii_chars == 6


@pytest.mark.parametrize(
    ("texts", "thinking", "answer"),
    [
        ([" ", "<thinking>a"], "a", ""),
        (["\n", "\t", "x"], "", "\n\tx"),
        (["<thinking>a</thinking>\n", "b", "\nc"], "a", "b\nc"),
        (["<thinking>", "a", "\nb"], "a\nb", ""),
        (["```", "js", "\n<thinking>"], "", "```js\n<thinking>"),
        (["``", "js", "\n<thinking>a"], "a", "``js\n"),
        (["a", " ", "<thinking>"], "", "a <thinking>"),
        (["a\n", " ", "<thinking>b"], "b", "a\n "),
        (["<thinking>a", "b", "</thinking>", "\n", "c"], "ab", "c"),
    ],
)
def test_text_taken_past_the_splitter_is_not_forgotten(
    texts: list[str], thinking: str, answer: str, read_stream: Reader
) -> None:
    reading = read_stream(play([b"".join(map(text, texts)) + CLOSING], split_tags=True)[1])
    assert (reading.text("thinking"), reading.text()) == (thinking, answer)


def test_reasoning_releases_text_that_was_held_back(read_stream: Reader) -> None:
    body = text("a\n<thin") + reasoning(text="r") + text("king>") + CLOSING
    reading = read_stream(play([body], split_tags=True)[1])
    assert [block["type"] for block in reading.content] == ["text", "thinking", "text"]
    assert reading.text() == "a\n<thinking>"


def test_a_signature_is_used_once(read_stream: Reader) -> None:
    body = reasoning(text="a", signature="c2ln") + text("b") + reasoning(text="c") + CLOSING
    first, _, last = read_stream(play([body])[1]).content
    assert (first["signature"], last["signature"]) == ("c2ln", UNSIGNED_SIGNATURE)


def test_half_a_character_of_reasoning_stays_in_its_place(read_stream: Reader) -> None:
    half = frames.event("reasoningContentEvent", b'{"text":"\\ud83d"}')
    body = half + reasoning(text="x") + text("y") + CLOSING
    assert read_stream(play([body])[1]).text("thinking") == "\ufffdx"


# -- tools ---------------------------------------------------------------------------------


def test_large_arguments_come_in_deltas_that_do_not_cut_characters(read_stream: Reader) -> None:
    arguments = {"text": "\u4f60\U0001f600\n" * 9000}
    given = json.dumps(arguments, ensure_ascii=False)
    out = play([tool(input=given, stop=True) + CLOSING])[1]
    assert read_stream(out).content[0]["input"] == arguments
    assert out.count(b"input_json_delta") > 5
    assert max(map(len, out.split(b"\n"))) < 32768


@pytest.mark.parametrize(
    "events",
    [
        [tool(input="{}", stop=True), tool(input="{}")],
        [tool(input="{}", stop=True), tool(input={"a": 1})],
        [tool(), tool(name="g")],
        [tool(stop=True), tool(name="g", stop=True)],
        [tool(name="")],
        [tool(tool_id="")],
        [frames.event("toolUseEvent", {"name": "f"})],
        [frames.event("toolUseEvent", {"toolUseId": 7, "name": "f"})],
        [tool(input=[1])],
        [tool(input=1)],
        [tool(input={"a": 1}), tool(input="{}")],
    ],
)
def test_a_tool_call_that_breaks_the_rules_is_a_failure(events: list[bytes]) -> None:
    assert failed(text("before"), *events, CLOSING).kind == "protocol"


@pytest.mark.parametrize("again", [tool(stop=True), tool(input="", stop=True), tool(input=None)])
def test_a_repeated_stop_is_no_second_call(again: bytes, read_stream: Reader) -> None:
    reading = read_stream(play([tool(input="{}", stop=True) + again + CLOSING])[1])
    assert [block["type"] for block in reading.content] == ["tool_use"]


@pytest.mark.parametrize(
    "arguments",
    ['{"a":1', '{"a":1}}', "[1]", '"{}"', "null", '{"a":NaN}', '{"a":"\n"}', "{'a':1}", "}"],
)
def test_arguments_that_are_no_object_are_never_sent(arguments: str, read_stream: Reader) -> None:
    body = tool(input=arguments) + tool(stop=True) + tool("t2", "g", stop=True) + CLOSING
    reading = read_stream(play([body])[1])
    assert [block["id"] for block in reading.content] == ["t2"]
    assert reading.message["stop_reason"] == "max_tokens"


def test_a_damaged_snapshot_is_never_sent(read_stream: Reader) -> None:
    payload = b'{"toolUseId":"t1","name":"f","input":{"a":"\xff"},"stop":true}'
    reading = read_stream(play([frames.event("toolUseEvent", payload) + CLOSING])[1])
    assert reading.content == [] and reading.message["stop_reason"] == "max_tokens"


def test_half_a_surrogate_in_arguments_is_replaced(read_stream: Reader) -> None:
    body = tool(input='{"a":"\\ud83d"}', stop=True) + CLOSING
    assert read_stream(play([body])[1]).content[0]["input"] == {"a": "\ufffd"}


def test_an_empty_object_behind_fragments_is_no_snapshot(read_stream: Reader) -> None:
    body = tool(input='{"a":1}') + tool(input={}, stop=True) + CLOSING
    assert read_stream(play([body])[1]).content[0]["input"] == {"a": 1}


def test_a_tool_that_begins_closes_thinking(read_stream: Reader) -> None:
    body = text("<thinking>a</thinking>") + tool() + text("b") + tool(stop=True) + CLOSING
    reading = read_stream(play([body], split_tags=True)[1])
    assert (reading.text("thinking"), reading.text()) == ("a", "b")


@pytest.mark.parametrize("before", ["a", "```\ncode", "``"])
def test_the_text_behind_a_tool_begins_a_line(before: str, read_stream: Reader) -> None:
    body = text(before) + tool(stop=True) + text("<thinking>b") + CLOSING
    reading = read_stream(play([body], split_tags=True)[1])
    assert (reading.text(), reading.text("thinking")) == (before, "b")


def test_a_tool_ends_the_code_fence_before_it(read_stream: Reader) -> None:
    body = text("```\na") + tool(stop=True) + text("b\n<thinking>c") + CLOSING
    assert read_stream(play([body], split_tags=True)[1]).text("thinking") == "c"


def test_white_space_between_a_tool_and_a_tag_is_dropped(read_stream: Reader) -> None:
    body = text("a") + tool(stop=True) + text("\n") + text("<thinking>b") + CLOSING
    reading = read_stream(play([body], split_tags=True)[1])
    assert [block["type"] for block in reading.content] == ["text", "tool_use", "thinking"]


def test_an_unfinished_tool_is_not_sent_when_the_stream_breaks(read_stream: Reader) -> None:
    body = text("a") + tool(input='{"a":') + frames.exception("ThrottlingException", {})
    assert [block["type"] for block in read_stream(play([body])[1]).content] == ["text"]


# -- how it ends ---------------------------------------------------------------------------


@pytest.mark.parametrize("said", [*STOP_REASONS, "end_turn", "SOMETHING_NEW", "TOOL_USE"])
def test_upstreams_stop_reason_is_translated(said: str, read_stream: Reader) -> None:
    body = text("a") + frames.event("metadataEvent", {"stopReason": said})
    expected = STOP_REASONS.get(said.upper(), "end_turn")
    assert read_stream(play([body])[1]).message["stop_reason"] == expected


@pytest.mark.parametrize("said", ["END_TURN", "MAX_TOKENS", "TOOL_USE"])
def test_a_whole_tool_call_makes_it_tool_use(said: str) -> None:
    body = tool(stop=True) + frames.event("metadataEvent", {"stopReason": said})
    assert play([body])[0].stop_reason == "tool_use"


@pytest.mark.parametrize("witness", ["metadataEvent", "contextUsageEvent", "meteringEvent"])
def test_each_closing_event_is_a_witness_of_the_end(witness: str) -> None:
    assert play([text("a") + frames.event(witness, {})])[0].stop_reason == "end_turn"


@pytest.mark.parametrize("said", ["MAX_TOKENS", "CONTENT_FILTERED"])
def test_an_empty_answer_that_is_explained_is_an_answer(said: str, read_stream: Reader) -> None:
    body = frames.event("metadataEvent", {"stopReason": said})
    assert read_stream(play([body])[1]).content == []


@pytest.mark.parametrize("body", [b"", text(""), reasoning(text=""), CLOSING])
def test_nothing_at_all_is_a_failure(body: bytes) -> None:
    assert failed(body).kind == "empty"


def test_an_exception_carries_what_upstream_said() -> None:
    said = {"message": "slow down", "reason": "USER_RATE", "retryAfterMilliseconds": 1500}
    failure = failed(frames.exception("com.amazon.kiro#ThrottlingException:http://x", said))
    assert (failure.kind, failure.name) == ("exception", "ThrottlingException")
    assert (failure.message, failure.reason) == ("slow down", "USER_RATE")
    assert failure.retry_after_s == 1.5


@pytest.mark.parametrize("payload", [b"", b"oops \xff", b"[1]", b'{"message":7,"error":1}'])
def test_an_exception_without_readable_words_is_still_one(payload: bytes) -> None:
    assert failed(frames.exception("InternalServerException", payload)).kind == "exception"


def test_an_error_event_of_the_stream_union_is_an_exception() -> None:
    failure = failed(frames.event("error", {"message": "m", "reason": "r"}))
    assert (failure.kind, failure.name) == ("exception", "InternalServerException")
    assert failure.reason == "r"


def test_an_error_frame_carries_its_headers() -> None:
    failure = failed(frame("error:InternalFailure", ""))
    assert (failure.kind, failure.name, failure.message) == ("error", "InternalFailure", "m")


def test_length_exceeded_before_content_is_a_failure() -> None:
    assert failed(frames.exception("ContentLengthExceededException", {})).kind == "exception"


def test_length_exceeded_releases_text_that_was_held_back(read_stream: Reader) -> None:
    body = text("<thin") + frames.exception("ContentLengthExceededException", {})
    reading = read_stream(play([body], split_tags=True)[1])
    assert reading.text() == "<thin" and reading.message["stop_reason"] == "max_tokens"


def test_an_unknown_exception_or_message_type_differs() -> None:
    unknown = frames.encode({":message-type": "later", ":event-type": "x"}, b"{}")
    assert play([unknown + text("a") + CLOSING])[0].failure is None
    assert failed(text("a"), frames.exception("LaterException", {})).name == "LaterException"


@pytest.mark.parametrize(
    "name", ["assistantResponseEvent", "reasoningContentEvent", "toolUseEvent", "metadataEvent"]
)
@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"content":"a"', b'{"content":"\\x"}'])
def test_a_payload_that_is_no_json_object_is_a_failure(name: str, payload: bytes) -> None:
    assert failed(text("a"), frames.event(name, payload), CLOSING).kind == "protocol"


@pytest.mark.parametrize("name", ["citationEvent", "followupPromptEvent", "somethingNew", ""])
def test_an_event_that_is_not_ours_is_not_even_read(name: str, read_stream: Reader) -> None:
    assert read_stream(play([frames.event(name, b"{not json") + text("a") + CLOSING])[1]).complete


@pytest.mark.parametrize("model", [b"m\x01}", b"m\\}", b"m\xff}", b'm"', b'm" }x', b'm",}'])
def test_a_text_event_that_goes_wrong_behind_its_text_is_a_failure(model: bytes) -> None:
    payload = b'{"content":"a","modelId":"' + model
    assert failed(frames.event("assistantResponseEvent", payload)).kind == "protocol"


def test_text_of_the_wrong_type_is_a_failure_but_odd_accounting_is_not() -> None:
    assert failed(frames.event("assistantResponseEvent", {"content": 7})).kind == "protocol"
    odd = frames.event("meteringEvent", {"usage": "much"}) + frames.event(
        "metadataEvent", {"stopReason": 7, "tokenUsage": [], "requestId": None}
    )
    assert play([text("a") + odd])[0].failure is None


def test_nothing_is_taken_in_after_a_failure() -> None:
    machine = Translator(**PLAIN)
    machine.feed(text("a") + frames.exception("X", {}) + text("b"))
    assert machine.feed(text("c")) == machine.end() == b""
    with pytest.raises(RuntimeError):
        machine.finish({"output_tokens": 1})


def test_finish_refuses_an_answer_that_was_not_ended() -> None:
    machine = Translator(**PLAIN)
    machine.feed(text("a") + CLOSING)
    with pytest.raises(RuntimeError):
        machine.finish({"output_tokens": 1})


def test_abort_releases_text_that_was_held_back(read_stream: Reader) -> None:
    machine = Translator(**(PLAIN | {"split_tags": True}))
    out = machine.start(1) + machine.feed(text("a\n<think"))
    reading = read_stream(out + machine.abort("overloaded_error", "m", "req_1"))
    assert reading.text() == "a\n<think" and reading.open_block
    assert reading.error == {"type": "overloaded_error", "message": "m"}


def test_accounting_is_kept() -> None:
    machine, _ = play(
        [
            frames.event("messageMetadataEvent", {"conversationId": "c-1"}),
            text("ab\u4f60") + reasoning(text="cd\U0001f600") + tool(input='{"a":1}', stop=True),
            frames.event("metadataEvent", {"tokenUsage": {"outputTokens": 3}, "requestId": "r-1"}),
            frames.event("contextUsageEvent", {"contextUsagePercentage": 12.5}),
            frames.event("meteringEvent", {"usage": 0.5}) * 2,
        ]
    )
    assert (machine.ascii_chars, machine.other_chars) == (11, 2)
    assert machine.token_usage == {"outputTokens": 3}
    assert machine.context_usage_percent == 12.5
    assert machine.credits == 1.0
    assert (machine.conversation_id, machine.upstream_request_id) == ("c-1", "r-1")


def test_a_long_answer_leaves_nothing_behind() -> None:
    import tracemalloc

    machine = Translator(**(PLAIN | {"split_tags": True}))
    body = text("some words, ") + text("a < b\n") + reasoning(text="hm \u4f60")
    machine.feed(body)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(3000):
        machine.feed(body)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2000


# -- random answers ------------------------------------------------------------------------

PARTS = ["<thinking>", "</thinking>", "<", "\n", "\n\n", "```", "`", '"', "\\", "/", " ", "\r",
         "\u4f60\u597d", "\U0001f600", "\u2028", "\x00", "\x1f", "\x7f", "\ufffd"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PARTS) | st.text(max_size=4), max_size=8).map("".join)
VALUES = st.integers() | TEXTS | st.lists(TEXTS, max_size=2)


def literal(said: str, chance: random.Random) -> list[bytes]:
    """The units of a JSON string literal: every character in a random style, or all of them raw."""
    units = []
    raw_only = chance.random() < 0.5
    for character in said:
        style = 1.0 if raw_only else chance.random()
        if style < 0.3 or character in '"\\' or character < " ":
            raw = character.encode("utf-16-be")
            units += [b"\\u%04x" % int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2)]
        elif style < 0.4 and character == "/":
            units.append(b"\\/")
        else:
            units += [bytes([byte]) for byte in character.encode()]
    return units


def cut_events(units: list[bytes], chance: random.Random, key: str, name: str) -> Iterable[bytes]:
    """Text events whose borders fall anywhere, also within characters."""
    while units:
        size = chance.choice([1, 2, 3, 5, 8, 40])
        inside, units = b"".join(units[:size]), units[size:]
        shape = chance.choice([b'{"%b":"%b"}', b'{"%b":"%b"}', b' {"x":[1,"y"],"%b": "%b"} '])
        yield frames.event(name, shape % (key.encode(), inside))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parts=st.lists(st.tuples(st.booleans(), TEXTS), max_size=6), seed=st.integers(0, 2**32))
def test_random_text_and_reasoning_arrive_character_by_character(
    parts: list[tuple[bool, str]], seed: int, read_stream: Reader
) -> None:
    chance = random.Random(seed)
    body = b""
    for is_thinking, said in parts:
        name = "reasoningContentEvent" if is_thinking else "assistantResponseEvent"
        key = "text" if is_thinking else "content"
        body += b"".join(cut_events(literal(said, chance), chance, key, name))
    size = chance.choice([1, 7, 100, 10**6])
    machine, out = play(pieces(body + CLOSING, size))
    reading = read_stream(out)
    assert reading.text() == "".join(said for is_thinking, said in parts if not is_thinking)
    assert reading.text("thinking") == "".join(said for is_thinking, said in parts if is_thinking)
    said = "".join(said for _, said in parts)
    assert machine.ascii_chars == sum(character < "\x80" for character in said)
    assert machine.other_chars == len(said) - machine.ascii_chars


@settings(max_examples=200, deadline=None)
@given(said=TEXTS, seed=st.integers(0, 2**32))
def test_splitting_does_not_depend_on_events_or_escapes(
    said: str, seed: int, read_stream: Reader
) -> None:
    chance = random.Random(seed)
    whole, expected = play([text(said) + CLOSING], split_tags=True)
    name = "assistantResponseEvent"
    body = b"".join(cut_events(literal(said, chance), chance, "content", name))
    cut, out = play([body + CLOSING], split_tags=True)
    assert read_stream(out).message == read_stream(expected).message
    assert (cut.ascii_chars, cut.other_chars) == (whole.ascii_chars, whole.other_chars)


@settings(max_examples=200, deadline=None)
@given(
    arguments=st.dictionaries(TEXTS, VALUES, max_size=3),
    seed=st.integers(0, 2**32),
)
def test_random_arguments_arrive_whole(
    arguments: dict[str, Any], seed: int, read_stream: Reader
) -> None:
    chance = random.Random(seed)
    given_json = json.dumps(arguments, ensure_ascii=chance.random() < 0.5)
    units = literal(given_json, chance)
    body = b""
    while units:
        size = chance.choice([1, 3, 9, 100])
        inside, units = b"".join(units[:size]), units[size:]
        payload = b'{"toolUseId":"t1","name":"f","input":"%b"}' % inside
        body += frames.event("toolUseEvent", payload)
    reading = read_stream(play([body + tool(stop=True) + CLOSING])[1])
    assert reading.content[0]["input"] == arguments
    assert reading.message["stop_reason"] == "tool_use"


@settings(max_examples=300, deadline=None)
@given(literals=st.lists(st.binary(max_size=12), max_size=6))
def test_any_bytes_in_a_string_read_as_a_lenient_decoder_reads_them(
    literals: list[bytes], read_stream: Reader
) -> None:
    inside = [raw.replace(b'"', b"!").replace(b"\\", b"?") for raw in literals]
    machine, out = play([b"".join(map(text, inside)) + CLOSING])
    expected = b"".join(inside).decode("utf-8", "replace")
    if not expected:
        assert machine.failure is not None and machine.failure.kind == "empty"
    else:
        assert read_stream(out).text() == expected


# -- broken answers ------------------------------------------------------------------------

BROKEN = ["plain-text", "native-thinking", "tagged-thinking", "tools"]


def starts_of(body: bytes) -> list[int]:
    """Where the frames of a body begin, and where it ends."""
    starts = [0]
    while starts[-1] < len(body):
        starts.append(starts[-1] + int.from_bytes(body[starts[-1] : starts[-1] + 4]))
    return starts


def decided(said: str) -> str:
    """Text without the beginning of a tag that an abort had to give out as text."""
    for tag in ("<thinking>", "</thinking>"):
        for size in range(len(tag), 0, -1):
            if said.endswith(tag[:size]):
                return said[:-size].rstrip()
    return said


def judge_broken(machine: Translator, out: bytes, read_stream: Reader, whole: Any) -> None:
    """A broken answer is a beginning of the whole one, with an error in the place of its end."""
    reading = read_stream(out)
    assert machine.failure is not None and reading.error is not None and not reading.complete
    assert machine.has_content == bool(reading.content)
    for kind in ("text", "thinking"):
        assert whole.text(kind).startswith(decided(reading.text(kind)))
    tools = [block for block in whole.content if block["type"] == "tool_use"]
    sent = [block for block in reading.content if block["type"] == "tool_use"]
    assert sent == tools[: len(sent)]


@pytest.mark.parametrize("name", BROKEN)
def test_a_body_cut_at_any_byte_never_gets_an_invented_end(name: str, read_stream: Reader) -> None:
    script, body = scripted(name)
    borders = starts_of(body)
    witness = body.index(b"metadataEvent")
    for at in range(len(body)):
        machine, out = play([body[:at]], **script["options"])
        if at not in borders:
            assert machine.failure is not None and machine.failure.kind == "truncated"
        elif machine.failure is None:
            reading = read_stream(out)
            assert at > witness or reading.message["stop_reason"] == "max_tokens"
        else:
            assert machine.failure.kind == "empty" and not machine.has_content


@pytest.mark.parametrize("name", BROKEN)
def test_a_flipped_bit_anywhere_is_found(name: str, read_stream: Reader) -> None:
    script, body = scripted(name)
    whole = read_stream(play([body], **script["options"])[1])
    for at in range(len(body)):
        damaged = bytearray(body)
        damaged[at] ^= 1 << (at % 8)
        machine, out = play([bytes(damaged)], **script["options"])
        judge_broken(machine, out, read_stream, whole)
        assert machine.failure is not None and machine.failure.kind in ("frame", "truncated")


@pytest.mark.parametrize("name", BROKEN)
def test_an_exception_between_any_two_frames_ends_it(name: str, read_stream: Reader) -> None:
    script, body = scripted(name)
    whole = read_stream(play([body], **script["options"])[1])
    for at in starts_of(body):
        inserted = body[:at] + frames.exception("InternalServerException", {}) + body[at:]
        machine, out = play([inserted], **script["options"])
        judge_broken(machine, out, read_stream, whole)
        assert machine.failure is not None and machine.failure.kind == "exception"


def test_a_bad_frame_tells_the_numbers() -> None:
    body = bytearray(text("a"))
    body[-1] ^= 1
    failure = failed(bytes(body))
    assert (failure.kind, failure.name) == ("frame", "message-crc")
    assert failure.expected ^ failure.actual == 1


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=60), name=st.sampled_from([
    "assistantResponseEvent", "reasoningContentEvent", "toolUseEvent", "metadataEvent",
]))  # fmt: skip
def test_any_payload_is_either_read_or_refused(
    payload: bytes, name: str, read_stream: Reader
) -> None:
    machine, out = play([text("a") + frames.event(name, payload) + CLOSING], split_tags=True)
    reading = read_stream(out)
    assert reading.complete == (machine.failure is None)


# -- calls that the server performs ----------------------------------------------------------

RESULT = b'{"type":"web_search_tool_result","tool_use_id":"srvtoolu_a_b","content":[]}'


def search(tool_id: str = "tooluse_a-b") -> bytes:
    return tool(tool_id, "web_search", input='{"query":"owls"}', stop=True)


def test_a_call_of_the_servers_tool_is_told_as_such_and_given_out(read_stream: Reader) -> None:
    machine = Translator(**PLAIN, own_tool="web_search")
    out = machine.start(10) + machine.feed(text("Well.") + search() + CLOSING) + machine.end()
    assert machine.own_calls == [("srvtoolu_a_b", b'{"query":"owls"}')]
    assert machine.stop_reason == "end_turn"  # nothing is left for the client to do
    out += machine.insert(RESULT) + machine.release() + machine.finish({"output_tokens": 7})
    _, call, result = read_stream(out).content
    assert (call["type"], call["input"]) == ("server_tool_use", {"query": "owls"})
    assert result == json.loads(RESULT)


def test_the_clients_calls_wait_for_the_servers_results(read_stream: Reader) -> None:
    machine = Translator(**PLAIN, own_tool="web_search")
    calls = tool("t0", "f", stop=True) + search() + tool("t1", "g", stop=True)
    out = machine.start(10) + machine.feed(calls + CLOSING) + machine.end()
    assert b'"t0"' in out and b'"t1"' not in out
    out += machine.insert(RESULT) + machine.release() + machine.finish({"output_tokens": 7})
    reading = read_stream(out)
    kinds = [block["type"] for block in reading.content]
    assert kinds == ["tool_use", "server_tool_use", "web_search_tool_result", "tool_use"]
    assert reading.message["stop_reason"] == "tool_use"


def test_an_answer_goes_on_where_another_ended(read_stream: Reader) -> None:
    first = Translator(**PLAIN, own_tool="web_search")
    out = first.start(10) + first.feed(search() + CLOSING) + first.end() + first.insert(RESULT)
    second = Translator(**PLAIN, first_index=first.next_index)
    assert not second.has_content  # another try of it may follow
    out += second.feed(text("Found.") + CLOSING) + second.end()
    out += second.finish({"output_tokens": 7}, "pause_turn")
    reading = read_stream(out)
    assert reading.text() == "Found." and reading.message["stop_reason"] == "pause_turn"


def test_without_the_servers_tool_its_name_means_nothing(read_stream: Reader) -> None:
    machine, out = play([search() + CLOSING])
    assert machine.own_calls == []
    assert read_stream(out).content[0]["type"] == "tool_use"
