"""Content blocks read back from our own events: what `Fold` makes of them, or nothing at all."""

import json
import random
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from kiroproxy._answer import Answer
from kiroproxy._whole import blocks_of
from kiroproxy.protocol.response import Fold
from kiroproxy.server.express import Lane
from kiroproxy.simulator import frames

PLAN: dict[str, Any] = {
    "requested_model": "m",
    "split_tags": False,
    "drop_thinking": False,
    "tool_names": {},
    "input_tokens": 5,
    "context_window": 200_000,
    "stop_sequences": (),
    "max_tokens": 4096,
    "max_calls": None,
    "written_calls": None,
    "search_tool": "",
}
# Without U+0008 and U+000C, which `_text` and orjson escape differently.
TEXTS = (
    "Hello", " there", "", "你好", "👋", 'a "quote"', "back\\slash", "\n\n", "\t\r\n", "\x00\x1b",
    "</thinking>", "{}}}", '"}}\n\n', "\u2028", "\x7f", "/", 'event: x\n\ndata: {"a":1}',
)  # fmt: skip
ARGUMENTS = (
    "{}", "", '{"a": 1.10, "b": [1E5, -0]}', '{"text": "a\\n\\"b\\" \\\\ \\u00e9 你 👋"}',
    '{\n\t"k":\r\n null}', '{"long": "%s"}' % ("é👋x\\n" * 3000),
)  # fmt: skip


def frame(kind: str, ascii_only: bool = False, **members: Any) -> bytes:
    return frames.event(kind, json.dumps(members, ensure_ascii=ascii_only).encode())


def said(seed: int, ascii_only: bool) -> list[bytes]:
    """Return frames of Kiro's, of all kinds of content in any order."""
    dice = random.Random(seed)
    sent = []
    for at in range(dice.randrange(1, 12)):
        kind = dice.choice("tttrrsxu")
        text = dice.choice(TEXTS)
        if kind == "t":
            sent.append(frame("assistantResponseEvent", ascii_only, content=text))
        elif kind == "r":
            sent.append(frame("reasoningContentEvent", ascii_only, text=text))
        elif kind == "s":
            sent.append(frame("reasoningContentEvent", signature=f"sig{at}=="))
        elif kind == "x":
            sent.append(frame("reasoningContentEvent", redactedContent="cmVk"))
        else:
            call = {"toolUseId": f'id"{at}', "name": f"f👋{at}"}
            piece = {"input": dice.choice(ARGUMENTS)}
            sent.append(frame("toolUseEvent", ascii_only, **call, **piece))
            sent.append(frame("toolUseEvent", **call, stop=True))
    return [*sent, frame("assistantResponseEvent", content="."), frame("meteringEvent", usage=0.1)]


def events_of(sent: list[bytes], **changes: Any) -> tuple[bytes, bytes]:
    """Return the content's events, and the message's content as `Fold` has it."""
    answer = Answer(SimpleNamespace(**PLAN | changes), "msg_1")
    fold = Fold()
    fold.feed(answer.start())
    events = b"".join(map(answer.feed, sent)) + answer.end()
    fold.feed(events + answer.finish())
    return events, orjson.dumps(fold.message()["content"])


@pytest.mark.parametrize("seed", range(150))
def test_blocks_are_what_the_events_fold_into(seed: int) -> None:
    events, folded = events_of(said(seed, False), drop_thinking=seed % 5 == 0)
    blocks = blocks_of(events)
    assert blocks is not None
    assert b"[" + blocks + b"]" == folded


@pytest.mark.parametrize("seed", range(50))
def test_escapes_of_any_kind_stand_for_the_same_text(seed: int) -> None:
    events, folded = events_of(said(seed, True))
    assert json.loads(b"[" + (blocks_of(events) or b"") + b"]") == json.loads(folded)


@pytest.mark.parametrize("limits", [{"stop_sequences": ("there",)}, {"max_tokens": 3}])
@pytest.mark.parametrize("seed", range(10))
def test_an_answer_that_its_limits_ended_is_read_as_well(seed: int, limits: dict[str, Any]) -> None:
    events, folded = events_of(said(seed, False), **limits)
    assert json.loads(b"[" + (blocks_of(events) or b"") + b"]") == json.loads(folded)


def test_no_events_are_no_blocks() -> None:
    assert blocks_of(b"") == b""


def test_only_whole_blocks_are_read() -> None:
    for seed in range(10):
        events, _ = events_of([each for each in said(seed, False) if len(each) < 1000])
        stops = {at for at in range(len(events) + 1) if _ends_a_block(events[:at])}
        read = {at for at in range(len(events) + 1) if blocks_of(events[:at]) is not None}
        assert read == stops


def _ends_a_block(events: bytes) -> bool:
    last = events.removesuffix(b"\n\n").rpartition(b"\n\n")[2]
    is_stop = events.endswith(b"\n\n") and last.startswith(b"event: content_block_stop")
    return not events or is_stop


TEXT = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"x"}}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
)


@pytest.mark.parametrize(
    ("ours", "other"),
    [
        (b'"index":0}', b'"index":1}'),
        (b'"index":0,"delta"', b'"index":1,"delta"'),
        (b'"index":0,"content_block"', b'"index":1,"content_block"'),
        (b'"text":""', b'"text":"y"'),
        (b'"text_delta"', b'"thinking_delta"'),
        (b'"x"}}', b'"x" }}'),
        (b'"x"}}\n\n', b'"x"}}\n'),
        (b"event: content_block_stop", b"event: ping"),
        (b'"text_delta","text"', b'"input_json_delta","partial_json"'),
        (b"event: content_block_delta", b"event: message_delta"),
    ],
)
def test_events_of_another_form_are_not_for_here(ours: bytes, other: bytes) -> None:
    assert blocks_of(TEXT) == b'{"type":"text","text":"x"}'
    assert ours in TEXT
    assert blocks_of(TEXT.replace(ours, other)) is None


@pytest.mark.parametrize("escape", [b"\\u0041", b"\\b", b"\\/", b"\\"])
def test_arguments_that_are_escaped_otherwise_are_not_for_here(escape: bytes) -> None:
    call = TEXT.replace(b'{"type":"text","text":""}', b'{"type":"tool_use","id":"","input":{}}')
    call = call.replace(b'"text_delta","text"', b'"input_json_delta","partial_json"')
    assert blocks_of(call.replace(b'"x"', b'"{\\"a\\":1}"')) == (
        b'{"type":"tool_use","id":"","input":{"a":1}}'
    )
    assert blocks_of(call.replace(b'"x"', b'"' + escape + b'"')) is None


def test_what_is_not_for_here_is_folded_event_by_event() -> None:
    plan = SimpleNamespace(**PLAN)
    answer = Answer(plan, "msg_1", first_index=1)
    events = answer.feed(frame("assistantResponseEvent", content="Hello")) + answer.end()
    assert blocks_of(events) is None
    lane: Any = None
    express: Any = SimpleNamespace(answer=answer, plan=plan)
    message = json.loads(Lane.folded(lane, express, events + answer.finish()))
    assert message["content"] == [{"type": "text", "text": "Hello"}]
    assert message["usage"] == answer.usage()
