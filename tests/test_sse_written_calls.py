"""Calls written as text, in a whole answer: found by every path text may take, and only once."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy._sse import Translator
from kiroproxy.simulator import frames

CLOSING = frames.event("metadataEvent", {"stopReason": "END_TURN"})
CALL = '<invoke name="f">{"a": 1}</invoke>'
Reader = Callable[[bytes], Any]


def read_calls(held: bytes, final: bool) -> Any:
    at = held.find(b"</invoke>")
    if at < 0:
        return None
    return at + 9, [("f", held[held.index(b">") + 1 : at])]


def play(*events: bytes, **options: Any) -> tuple[Translator, bytes]:
    machine = Translator(
        message_id="msg_1",
        model="claude-test",
        split_tags=options.pop("split_tags", False),
        drop_thinking=False,
        tool_names={},
        **({"read_calls": read_calls} | options),
    )
    out = machine.start(10)
    for event in (*events, CLOSING):
        out += machine.feed(event)
    return machine, out + machine.end() + machine.finish({"output_tokens": 7})


def text(content: str, ascii_only: bool = False) -> bytes:
    payload = json.dumps({"content": content}, separators=(",", ":"), ensure_ascii=ascii_only)
    return frames.event("assistantResponseEvent", payload.replace("<", "\\u003c").encode()
                        if ascii_only else payload.encode())  # fmt: skip


def tool(tool_id: str, arguments: str) -> bytes:
    fields = {"toolUseId": tool_id, "name": "f", "input": arguments, "stop": True}
    return frames.event("toolUseEvent", fields)


def blocks(content: list[dict[str, Any]]) -> list[Any]:
    return [block.get("text") or block.get("thinking") or block["input"] for block in content]


@pytest.mark.parametrize("split_tags", [False, True])
@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_a_written_call_becomes_a_real_one(
    read_stream: Reader, size: int, ascii_only: bool, split_tags: bool
) -> None:
    said = f"I look.\n\n{CALL}\n\nAnd {CALL} is text."
    pieces = [text(said[at : at + size], ascii_only) for at in range(0, len(said), size)]
    machine, out = play(*pieces, split_tags=split_tags)
    content = read_stream(out).content
    assert blocks(content) == ["I look.\n\n", {"a": 1}, f"And {CALL} is text."]
    assert content[1]["id"] == "toolu_100" and content[1]["name"] == "f"
    assert machine.stop_reason == "tool_use" and machine.called == ["f"]


def test_a_call_behind_thinking_is_found_and_one_within_is_not(read_stream: Reader) -> None:
    said = text(f"<thinking>\n{CALL}\n</thinking>\n\n{CALL}")
    content = read_stream(play(said, split_tags=True)[1]).content
    assert blocks(content) == [f"{CALL}\n", {"a": 1}]


def test_what_is_held_is_written_before_what_follows_it(read_stream: Reader) -> None:
    thought = frames.event("reasoningContentEvent", {"text": "hm"})
    content = read_stream(play(text("<invoke "), thought, text("<tool"))[1]).content
    assert blocks(content) == ["<invoke ", "hm", "<tool"]


def test_a_call_that_is_also_made_is_made_once(read_stream: Reader) -> None:
    machine, out = play(text(CALL), tool("t1", '{"a":1}'), tool("t2", '{"a":1}'))
    assert [block["id"] for block in read_stream(out).content] == ["toolu_100", "t2"]
    assert machine.stop_reason == "tool_use"


def test_a_call_that_was_made_before_is_told_as_text(read_stream: Reader) -> None:
    content = read_stream(play(tool("t1", '{"a":1}'), text(CALL))[1]).content
    assert blocks(content) == [{"a": 1}, CALL]


def test_one_call_at_most_counts_written_ones(read_stream: Reader) -> None:
    other = CALL.replace("1", "2")
    for events in ([text(f"{CALL}\n{other}")], [text(CALL), tool("t1", '{"a":2}')]):
        machine, out = play(*events, max_calls=1)
        assert blocks(read_stream(out).content) == [{"a": 1}]
        assert machine.stop_reason == "tool_use" and machine.finished_early


def test_a_written_call_that_does_not_fit_is_not_sent(read_stream: Reader) -> None:
    machine, out = play(text("ok\n"), text(CALL), room=(10, 1, 1))
    assert blocks(read_stream(out).content) == ["ok\n"]
    assert machine.stop_reason == "max_tokens" and machine.called == []


def test_a_stop_sequence_within_a_call_is_not_looked_for(read_stream: Reader) -> None:
    content = read_stream(play(text(f"{CALL}\n a: no"), stop_sequences=("a",))[1]).content
    assert blocks(content) == [{"a": 1}]


def test_plain_text_is_still_spliced_beside_a_finder() -> None:
    machine, literal = Translator(
        message_id="msg_1", model="m", split_tags=False, drop_thinking=False, tool_names={},
        read_calls=read_calls,
    ), b'x \\"y\\"\\n\\t\\\\n'  # fmt: skip
    for _ in range(2):
        out = machine.feed(
            frames.event("assistantResponseEvent", b'{"content":"' + literal + b'"}')
        )
        assert b'"text":"' + literal + b'"' in out
    assert b"text_delta" in machine.feed(text("a < b [c] `d`"))  # not at the start of a line


WORDS = st.sampled_from(
    ["\n", " ", "\t", "\\", "n", '"', "```", "~~~", "x", "[", "<", "é", "😀", CALL, "</invoke>"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=24), st.booleans(), st.integers(0, 2**32))
def test_every_path_and_cut_says_the_same(words: list[str], split: bool, seed: int) -> None:
    said = "a" + "".join(words)
    rng, pieces, at = random.Random(seed), [], 0
    while at < len(said):
        size = rng.randint(1, 12)
        pieces.append(text(said[at : at + size], rng.random() < 0.3))
        at += size

    def read(out: bytes) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for line in out.decode().splitlines():
            delta = json.loads(line[6:]).get("delta", {}) if line.startswith("data: ") else {}
            kind = delta.get("type", "")
            if kind in ("text_delta", "input_json_delta"):
                said = delta.get("text", "") + delta.get("partial_json", "")
                if found and found[-1][0] == kind == "text_delta":
                    said = found.pop()[1] + said
                found.append((kind, said))
        return found

    whole = read(play(text(said), split_tags=split)[1])
    assert read(play(*pieces, split_tags=split)[1]) == whole
