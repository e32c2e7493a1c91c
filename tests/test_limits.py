"""Answers that end where the client asked: at a sequence, or in length; and where they do not."""

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiroproxy._sse import Translator
from kiroproxy.simulator import frames

CLOSING = frames.event("metadataEvent", {"stopReason": "END_TURN"})
FIXED: dict[str, Any] = {
    "message_id": "msg_1",
    "model": "claude-test",
    "split_tags": False,
    "drop_thinking": False,
    "tool_names": {},
}
Reader = Callable[[bytes], Any]


def text(said: str | bytes) -> bytes:
    """A text event; bytes are the inside of its JSON string, as it stands."""
    if isinstance(said, bytes):
        return frames.event("assistantResponseEvent", b'{"content":"' + said + b'"}')
    return frames.event("assistantResponseEvent", {"content": said})


def reasoning(**members: object) -> bytes:
    return frames.event("reasoningContentEvent", members)


def tool(tool_id: str = "t1", **members: object) -> bytes:
    return frames.event("toolUseEvent", {"toolUseId": tool_id, "name": "f"} | members)


def pieces(body: bytes, size: int) -> Iterable[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


def play(chunks: Iterable[bytes], **options: Any) -> tuple[Translator, bytes]:
    """Run a whole answer as its owner does: a failure is told, an early end is not waited for."""
    machine = Translator(**(FIXED | options))
    out = machine.start(10)
    for chunk in chunks:
        out += machine.feed(chunk)
        if machine.failure is not None or machine.finished_early:
            break
    if machine.failure is None:
        out += machine.end()
    if machine.failure is not None:
        return machine, out + machine.abort("api_error", "broken", "req_1")
    return machine, out + machine.finish({"output_tokens": 7})


def kinds(reading: Any) -> list[tuple[str, str]]:
    """What the client was shown: (kind, content) of each block."""
    return [
        (block["type"], block.get("text") or block.get("thinking") or block.get("id", ""))
        for block in reading.content
    ]


def ends(reading: Any) -> tuple[str, str | None]:
    return reading.message["stop_reason"], reading.message["stop_sequence"]


# -- sequences -----------------------------------------------------------------------------

STOPPED = {
    "within an event": [text("one STOP two")],
    "across events": [text("one S"), text("T"), text("OP two")],
    "an escaped angle bracket": [text(b"one \\u003c"), text("/a> two")],
    "a raw angle bracket": [text("one <"), text("/a> two")],
    "an escaped newline": [text(b"one \\n\\n"), text("Human: two")],
    "a newline as \\u000a": [text(b"one \\u000A"), text(b"\\u000aHuman: two")],
    "a surrogate pair in one event": [text(b"one \\ud83d\\ude00 two")],
    "a surrogate pair cut between events": [text(b"one \\ud83d"), text(b"\\ude00 two")],
    "a character cut between events": [text(b"one \xf0\x9f"), text(b"\x98\x80 two")],
    "a raw character": [text("one \U0001f600 two")],
    "another JSON style": [
        frames.event("assistantResponseEvent", b' {"modelId": "m", "content": "one ST"} '),
        text("OP two"),
    ],
}
WORDS = ("STOP", "</a>", "\n\nHuman:", "\U0001f600")


@pytest.mark.parametrize("name", STOPPED)
@pytest.mark.parametrize("split_tags", [False, True])
def test_a_sequence_ends_the_text_wherever_its_bytes_are_cut(
    name: str, split_tags: bool, read_stream: Reader
) -> None:
    body = b"".join(STOPPED[name]) + CLOSING
    options = {"stop_sequences": WORDS, "split_tags": split_tags}
    machine, whole = play([body], **options)
    reading = read_stream(whole)
    assert kinds(reading) == [("text", "one ")]
    assert ends(reading)[0] == "stop_sequence" == machine.stop_reason
    assert ends(reading)[1] in WORDS
    for size in (1, 2, 3, 7):
        assert play(pieces(body, size), **options)[1] == whole
    for at in range(len(body) + 1):
        assert play([body[:at], body[at:]], **options)[1] == whole


def test_nothing_is_taken_in_after_a_sequence(read_stream: Reader) -> None:
    machine = Translator(**FIXED, stop_sequences=("STOP",))
    out = machine.start(1) + machine.feed(text("aSTOPb") + tool(input="{}", stop=True))
    assert machine.finished_early and machine.failure is None
    assert machine.feed(text("c")) == machine.feed(b"no frame at all") == b""
    out += machine.end()
    assert machine.end() == b"" and machine.failure is None
    out += machine.finish({"output_tokens": 1})
    assert kinds(read_stream(out)) == [("text", "a")]


def test_an_answer_that_begins_with_a_sequence_has_no_content(read_stream: Reader) -> None:
    machine, out = play([text("ST"), text("OP and on")], stop_sequences=("STOP",))
    reading = read_stream(out)
    assert reading.content == [] and ends(reading) == ("stop_sequence", "STOP")
    assert not machine.has_content


@pytest.mark.parametrize(
    ("sequences", "said", "shown", "which"),
    [
        (("ENDING", "END"), "x ENDING", "x ", "END"),
        (("Human:", "\n\nHuman:"), "x\n\nHuman:", "x", "\n\nHuman:"),
        (("b", "a"), "xab", "x", "a"),
        (("bc", "abcd"), "xabcd", "x", "abcd"),
    ],
)
def test_the_earliest_start_wins_then_the_first_that_is_complete(
    sequences: tuple[str, ...], said: str, shown: str, which: str, read_stream: Reader
) -> None:
    for events in ([said], list(said)):
        body = b"".join(map(text, events)) + CLOSING
        reading = read_stream(play([body], stop_sequences=sequences)[1])
        assert (reading.text(), ends(reading)) == (shown, ("stop_sequence", which))


def test_a_complete_sequence_waits_for_an_earlier_one_until_the_end(read_stream: Reader) -> None:
    body = text("xab") + text("c") + CLOSING
    reading = read_stream(play([body], stop_sequences=("bc", "abcd"))[1])
    assert (reading.text(), ends(reading)) == ("xa", ("stop_sequence", "bc"))


def test_only_the_beginning_of_a_sequence_is_held_and_not_for_long() -> None:
    machine = Translator(**FIXED, stop_sequences=("</answer>",))
    assert b'"text":"a < b"' in machine.feed(text("a < b"))
    assert b'"text":"c "' in machine.feed(text("c </ans"))
    assert b'"text":"</ans!"' in machine.feed(text("!"))
    assert machine.feed(text("<")) == b""


def test_held_text_is_given_out_at_the_end(read_stream: Reader) -> None:
    reading = read_stream(play([text("a STO") + CLOSING], stop_sequences=("STOP",))[1])
    assert (reading.text(), ends(reading)) == ("a STO", ("end_turn", None))


def test_held_text_is_given_out_by_a_failure(read_stream: Reader) -> None:
    body = text("a STO") + frames.exception("ThrottlingException", {})
    reading = read_stream(play([body], stop_sequences=("STOP",))[1])
    assert reading.text() == "a STO" and reading.error is not None


def test_held_text_is_content_when_the_length_is_exceeded(read_stream: Reader) -> None:
    body = text("STO") + frames.exception("ContentLengthExceededException", {})
    reading = read_stream(play([body], stop_sequences=("STOP",))[1])
    assert (reading.text(), ends(reading)) == ("STO", ("max_tokens", None))


ELSEWHERE = {
    "thinking": (reasoning(text="a STOP b"), [("thinking", "a STOP b")]),
    "thinking cut in two": (
        reasoning(text="ST") + reasoning(text="OP", signature="c2ln"), [("thinking", "STOP")],
    ),
    "arguments": (tool(input='{"a":"STOP"}', stop=True), [("tool_use", "t1")]),
    "text, thinking, text": (
        text("ST") + reasoning(text="x") + text("OP"),
        [("text", "ST"), ("thinking", "x"), ("text", "OP")],
    ),
    "text, redacted thinking, text": (
        text("ST") + reasoning(redactedContent="eA==") + text("OP"),
        [("text", "ST"), ("redacted_thinking", ""), ("text", "OP")],
    ),
    "text, signature, text": (
        text("ST") + reasoning(signature="c2ln") + text("OP"),
        [("text", "ST"), ("thinking", ""), ("text", "OP")],
    ),
    "text, tool, text": (
        text("ST") + tool(input="{}", stop=True) + text("OP"),
        [("text", "ST"), ("tool_use", "t1"), ("text", "OP")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_sequence_is_one_only_within_one_text(name: str, read_stream: Reader) -> None:
    body, shown = ELSEWHERE[name]
    reading = read_stream(play([body + CLOSING], stop_sequences=("STOP",))[1])
    assert kinds(reading) == shown
    assert reading.message["stop_reason"] in ("end_turn", "tool_use")


def test_thinking_that_is_not_shown_parts_no_text(read_stream: Reader) -> None:
    body = text("a ST") + reasoning(text="x", signature="c2ln") + text("OP b") + CLOSING
    options = {"stop_sequences": ("STOP",), "drop_thinking": True}
    reading = read_stream(play([body], **options)[1])
    assert (kinds(reading), ends(reading)) == ([("text", "a ")], ("stop_sequence", "STOP"))


def test_tagged_thinking_is_not_searched_and_the_answer_behind_it_is(read_stream: Reader) -> None:
    body = text("<thinking>a STOP b</thinking>\n\nc STOP d") + CLOSING
    reading = read_stream(play([body], stop_sequences=("STOP",), split_tags=True)[1])
    assert kinds(reading) == [("thinking", "a STOP b"), ("text", "c ")]


def test_whole_calls_before_the_sequence_stay_and_a_begun_one_is_not_sent(
    read_stream: Reader,
) -> None:
    body = tool(input="{}", stop=True) + tool("t2", input='{"a":') + text("b STOP")
    reading = read_stream(play([body], stop_sequences=("STOP",))[1])
    assert kinds(reading) == [("tool_use", "t1"), ("text", "b ")]
    assert ends(reading) == ("stop_sequence", "STOP")


def test_no_sequences_take_the_way_of_none() -> None:
    machines = [Translator(**FIXED), Translator(**FIXED, stop_sequences=())]
    literal = b'a\\u003cb \\"\xe4\xbd\xa0'
    assert len({machine.feed(text(literal)) for machine in machines}) == 1


def test_text_no_sequence_can_lie_in_is_still_spliced() -> None:
    machine = Translator(**FIXED, stop_sequences=("STOP",))
    machine.feed(text("first"))
    assert b'"text":"a/b \xe4\xbd\xa0 SO"' in machine.feed(text(b"a/b \xe4\xbd\xa0 SO"))


# -- length --------------------------------------------------------------------------------

ROOM = {"room": (100, 10, 25)}  # ten ASCII characters, or four others


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        (["0123456789"], "0123456789"),
        (["0123456789", ""], "0123456789"),
    ],
)
def test_an_answer_that_fits_ends_by_itself(
    events: list[str], shown: str, read_stream: Reader
) -> None:
    reading = read_stream(play([b"".join(map(text, events)) + CLOSING], **ROOM)[1])
    assert (reading.text(), ends(reading)) == (shown, ("end_turn", None))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("0123456789x", "0123456789"),
        ("你好你好你", "你好你好"),
        ("ab你好你1234", "ab你好你"),
        ('"\\\n\t"\\\n\t"\\\n\t', '"\\\n\t"\\\n\t"\\'),
        ("\U0001f600" * 5, "\U0001f600" * 4),
    ],
)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_an_answer_that_does_not_fit_is_cut_between_characters(
    said: str, shown: str, ascii_only: bool, read_stream: Reader
) -> None:
    inside = json.dumps(said, ensure_ascii=ascii_only)[1:-1].encode()
    body = text(inside) + text("more") + CLOSING
    machine, whole = play([body], **ROOM)
    assert machine.finished_early and machine.failure is None
    assert (read_stream(whole).text(), ends(read_stream(whole))) == (shown, ("max_tokens", None))
    for size in (1, 2, 3, 7):
        assert play(pieces(body, size), **ROOM)[1] == whole
    for at in range(len(body) + 1):
        assert play([body[:at], body[at:]], **ROOM)[1] == whole


@pytest.mark.parametrize("drop", [False, True])
def test_thinking_counts_also_when_it_is_not_shown(drop: bool, read_stream: Reader) -> None:
    body = reasoning(text="01234567") + text("abcdef") + CLOSING
    reading = read_stream(play([body], drop_thinking=drop, **ROOM)[1])
    assert reading.text() == "ab" and ends(reading)[0] == "max_tokens"


def test_thinking_is_cut_too_and_signed(read_stream: Reader) -> None:
    body = reasoning(text="0123456789abc", signature="c2ln") + text("never")
    reading = read_stream(play([body], **ROOM)[1])
    assert kinds(reading) == [("thinking", "0123456789")] and reading.content[0]["signature"]


def test_a_call_that_fits_is_sent_and_one_that_does_not_is_not(read_stream: Reader) -> None:
    body = tool(input='{"a":1}', stop=True) + tool("t2", input='{"b":2}', stop=True)
    reading = read_stream(play([body + CLOSING], **ROOM)[1])
    assert (kinds(reading), ends(reading)) == ([("tool_use", "t1")], ("max_tokens", None))


@pytest.mark.parametrize("arguments", ['{"a":"0123456789"}', {"a": "0123456789"}])
def test_a_call_is_given_up_as_soon_as_it_is_too_long(
    arguments: object, read_stream: Reader
) -> None:
    machine = Translator(**FIXED, **ROOM)
    out = machine.start(1) + machine.feed(text("a") + tool(input=arguments))
    if isinstance(arguments, str):
        assert machine.finished_early
    out += machine.feed(tool(stop=True)) + machine.end() + machine.finish({"output_tokens": 1})
    assert (kinds(read_stream(out)), machine.stop_reason) == ([("text", "a")], "max_tokens")


def test_growing_snapshots_of_arguments_are_counted_once(read_stream: Reader) -> None:
    body = tool(input={"a": 1}) + tool(input={"a": 12}) + tool(input={"a": 123}, stop=True)
    assert kinds(read_stream(play([body + CLOSING], **ROOM)[1])) == [("tool_use", "t1")]


def test_text_the_splitter_holds_is_not_lost_to_a_call_that_is_too_long(
    read_stream: Reader,
) -> None:
    body = tool() + text("a\n<thin") + tool(input='{"a":"0123456789"}')
    reading = read_stream(play([body], split_tags=True, **ROOM)[1])
    assert kinds(reading) == [("text", "a\n<thin")]


@pytest.mark.parametrize(
    "first",
    [
        text("Hello"),
        reasoning(text="Hm"),
        reasoning(redactedContent="eA=="),
        reasoning(signature="c2ln"),
        tool(stop=True),
        tool(input={"a": 1}, stop=True),
    ],
)
def test_no_room_at_all_ends_before_any_content(first: bytes, read_stream: Reader) -> None:
    machine, out = play([text("") + reasoning(text="") + first + text("x")], room=(0, 10, 25))
    reading = read_stream(out)
    assert (reading.content, ends(reading)) == ([], ("max_tokens", None))
    assert machine.finished_early and not machine.has_content


def test_a_sequence_within_the_room_comes_first(read_stream: Reader) -> None:
    reading = read_stream(play([text("01234STOP, and on")], stop_sequences=("STOP",), **ROOM)[1])
    assert (reading.text(), ends(reading)) == ("01234", ("stop_sequence", "STOP"))


def test_a_sequence_cut_by_the_length_is_text(read_stream: Reader) -> None:
    reading = read_stream(play([text("01234567STOP")], stop_sequences=("STOP",), **ROOM)[1])
    assert (reading.text(), ends(reading)) == ("01234567ST", ("max_tokens", None))


# -- random answers ------------------------------------------------------------------------

PARTS = st.lists(
    st.tuples(
        st.sampled_from(["text", "thinking", "tool"]),
        st.text('ab\n<\\"é你\U0001f600', max_size=6),
    ),
    max_size=8,
)


def escaped(said: str, chance: random.Random) -> bytes:
    return json.dumps(said, ensure_ascii=chance.random() < 0.5)[1:-1].encode()


def body_of(parts: list[tuple[str, str]], chance: random.Random) -> bytes:
    body = b""
    for number, (kind, said) in enumerate(parts):
        if kind == "tool":
            body += tool(f"t{number}", input=json.dumps({"a": said}, ensure_ascii=False), stop=True)
        elif kind == "thinking":
            inside = b'{"text":"' + escaped(said, chance) + b'"}'
            body += frames.event("reasoningContentEvent", inside)
        else:
            body += text(escaped(said, chance))
    return body + CLOSING


def cost(said: str) -> int:
    return sum(10 if character < "\x80" else 25 for character in said)


def expected(
    parts: list[tuple[str, str]], sequences: tuple[str, ...], room: int
) -> tuple[list[tuple[str, str]], str]:
    """What a client should be shown: (kind, content) of each block, and why it ended."""
    blocks: list[tuple[str, str]] = []
    for kind, said in parts:
        if kind == "tool":
            said = json.dumps({"a": said}, ensure_ascii=False)
        if kind != "tool" and blocks and blocks[-1][0] == kind:
            blocks[-1] = (kind, blocks[-1][1] + said)
        elif said:
            blocks.append((kind, said))
    shown: list[tuple[str, str]] = []
    for kind, said in blocks:
        fits = said
        while cost(fits) > room:
            fits = fits[:-1]
        room -= cost(fits)
        found = [(fits.find(word), len(word)) for word in sequences if word in fits]
        if kind == "text" and found:
            return [*shown, (kind, fits[: min(found)[0]])], "stop_sequence"
        if fits != said:
            return [*shown, *([(kind, fits)] if kind != "tool" else [])], "max_tokens"
        shown.append((kind, said))
    return shown, "tool_use" if any(kind == "tool" for kind, _ in blocks) else "end_turn"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=PARTS,
    sequences=st.lists(st.text('ab\n<\\"é你', min_size=1, max_size=3), max_size=3).map(tuple),
    room=st.integers(0, 600),
    seed=st.integers(0, 2**32),
)
def test_random_answers_end_where_a_slow_reader_would_end_them(
    parts: list[tuple[str, str]],
    sequences: tuple[str, ...],
    room: int,
    seed: int,
    read_stream: Reader,
) -> None:
    chance = random.Random(seed)
    shown, reason = expected(parts, sequences, room)
    chunks = pieces(body_of(parts, chance), chance.choice([1, 2, 3, 7, 10**6]))
    machine, out = play(chunks, stop_sequences=sequences, room=(room, 10, 25))
    if machine.failure is not None:
        assert machine.failure.kind == "empty" and shown == [] and reason == "end_turn"
        return
    reading = read_stream(out)
    seen = [
        (kind.removesuffix("_use"), said if kind != "tool_use" else json.dumps(
            block["input"], ensure_ascii=False))
        for (kind, said), block in zip(kinds(reading), reading.content, strict=True)
    ]  # fmt: skip
    assert seen == [(kind, said) for kind, said in shown if said]
    assert reading.message["stop_reason"] == machine.stop_reason == reason
    assert machine.finished_early == (reason in ("stop_sequence", "max_tokens"))


def test_a_long_answer_under_limits_leaves_nothing_behind() -> None:
    import tracemalloc

    machine = Translator(**FIXED, stop_sequences=("</answer>",), room=(10**12, 10, 29))
    body = text("some </ans") + text("wers, a < b\n") + reasoning(text="hm 你")
    machine.feed(body)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(3000):
        machine.feed(body)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2000


# -- short answers, weighed as they are -----------------------------------------------------------


def words(limit: int) -> Callable[[bytes], tuple[int, int]]:
    """A measure that takes as many words as `limit`."""

    def measure(spent: bytes) -> tuple[int, int]:
        ends = [at for at, byte in enumerate(spent) if byte == 0x20]
        fits = len(spent) if len(ends) < limit else ends[limit - 1]
        return fits, 0

    return measure


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("split_tags", [False, True])
def test_a_measured_answer_ends_where_the_measure_says(
    size: int, split_tags: bool, read_stream: Reader
) -> None:
    said = "One twö 三 four \\ five six"
    body = b"".join(text(said[at : at + 3]) for at in range(0, len(said), 3))
    machine, out = play(pieces(body, size), measure=words(3), split_tags=split_tags)
    assert read_stream(out).text() == "One twö 三"
    assert machine.stop_reason == "max_tokens" and machine.finished_early


def test_thinking_and_arguments_are_measured_with_the_text(read_stream: Reader) -> None:
    events = [reasoning(text="a b "), text("c d "), tool(input='{"e": 1}', stop=True)]
    for limit, shown in ((1, ["a"]), (3, ["a b ", "c"]), (4, ["a b ", "c d"]), (9, None)):
        machine, out = play(events, measure=words(limit))
        found = [said for kind, said in kinds(read_stream(out))]
        assert found == (shown or ["a b ", "c d ", "t1"])
        assert machine.finished_early == (shown is not None)


def test_a_measure_is_asked_again_only_when_it_may_be_reached(read_stream: Reader) -> None:
    asked: list[bytes] = []

    def measure(spent: bytes) -> tuple[int, int]:
        asked.append(spent)
        return len(spent), 10

    play([text("abcd")] * 6, measure=measure)
    assert [len(spent) for spent in asked] == [4, 16]
