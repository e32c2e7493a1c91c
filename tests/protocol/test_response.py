"""The events of an answer folded into the message that `stream: false` asks for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from kiroproxy._answer import Answer
from kiroproxy.protocol.response import Fold
from kiroproxy.simulator import frames

Reader = Callable[[bytes], Any]


def event(**data: Any) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def start(**usage: int) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    ends = {"stop_reason": None, "stop_sequence": None}
    return event(type="message_start", message=message | ends | {"usage": usage})


def block(index: int, opened: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    return (
        event(type="content_block_start", index=index, content_block=opened)
        + b"".join(event(type="content_block_delta", index=index, delta=each) for each in deltas)
        + event(type="content_block_stop", index=index)
    )


END = event(
    type="message_delta",
    delta={"stop_reason": "end_turn", "stop_sequence": None},
    usage={"output_tokens": 9},
) + event(type="message_stop")

STREAM = (
    start(input_tokens=5, output_tokens=1)
    + event(type="ping")
    + block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "h"},
        {"type": "thinking_delta", "thinking": "m\u4f60"},
        {"type": "signature_delta", "signature": "c2ln"},
    )
    + block(1, {"type": "redacted_thinking", "data": "eA=="})
    + block(
        2,
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "a\n\n"},
        {"type": "citations_delta", "citation": {"url": "u"}},
        {"type": "text_delta", "text": "\u2028b"},
    )
    + block(
        3,
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"a":'},
        {"type": "input_json_delta", "partial_json": "[1]}"},
    )
    + block(4, {"type": "tool_use", "id": "t2", "name": "g", "input": {}})
    + END
)

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "hm\u4f60", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eA=="},
        {"type": "text", "text": "a\n\n\u2028b", "citations": [{"url": "u"}]},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "stop_details": None,
    "usage": {"input_tokens": 5, "output_tokens": 9},
}


def written(fold: Fold) -> Any:
    """Return the message as its reader gets it."""
    return json.loads(orjson.dumps(fold.message()))


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_a_stream_in_pieces_of_any_size_is_one_message(size: int) -> None:
    fold = Fold()
    for at in range(0, len(STREAM), size):
        fold.feed(STREAM[at : at + size])
    assert written(fold) == MESSAGE


@pytest.mark.parametrize("value", ["9" * 30, "1.10", "1E5", "[" * 900 + "]" * 900])
def test_tool_arguments_are_written_as_they_came(value: str) -> None:
    fold = Fold()
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    pieces = [{"type": "input_json_delta", "partial_json": x} for x in ('{"a":', value + "}")]
    fold.feed(start() + block(0, call, *pieces) + END)
    assert b'"input":{"a":' + value.encode() + b"}" in orjson.dumps(fold.message())


def test_a_stream_without_its_end_is_no_message() -> None:
    fold = Fold()
    fold.feed(STREAM[: -len(END)])
    with pytest.raises(ValueError, match="no end"):
        fold.message()


def test_an_error_event_is_kept_and_ends_nothing() -> None:
    fold = Fold()
    error = {"type": "overloaded_error", "message": "m"}
    fold.feed(start() + event(type="error", error=error, request_id="req_1"))
    assert fold.error == error
    with pytest.raises(ValueError, match="no end"):
        fold.message()


@pytest.mark.parametrize("name", ["native-thinking", "tagged-thinking", "tools", "cut-tool"])
def test_the_message_is_what_a_streaming_client_puts_together(
    name: str, read_stream: Reader
) -> None:
    path = Path(__file__).parents[1] / "data" / "streams" / f"{name}.json"
    script = json.loads(path.read_text())

    class Plan:
        requested_model = "m"
        split_tags = script["options"].get("split_tags", False)
        drop_thinking = False
        tool_names = script["options"].get("tool_names", {})
        input_tokens = 5
        context_window = 200_000
        stop_sequences = ()
        max_tokens = 1024
        max_calls = None
        written_calls = None
        search_tool = ""

    answer = Answer(Plan(), "msg_1")
    out = answer.start()
    for kind, payload in script["frames"]:
        raw = payload.encode() if isinstance(payload, str) else payload
        out += answer.feed(frames.event(kind, raw))
    out += answer.end() + answer.finish()
    fold = Fold()
    fold.feed(out)
    assert written(fold) == read_stream(out).message | {"stop_details": None}
