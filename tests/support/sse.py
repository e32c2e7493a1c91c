"""Reading Anthropic's streams in tests."""

import json
from typing import Any


def parse(body: str) -> list[dict[str, Any]]:
    """Read SSE strictly: every frame is `event:` and `data:` of the same type."""
    assert body.endswith("\n\n"), "the stream ends inside a frame"
    events = []
    for block in body.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        events.append(value)
    return events


def text_of(events: list[dict[str, Any]]) -> str:
    deltas = (e["delta"] for e in events if e["type"] == "content_block_delta")
    return "".join(delta.get("text", "") for delta in deltas)


def stop_of(events: list[dict[str, Any]]) -> str | None:
    """Return the stop reason of a finished answer, None for one that was cut."""
    if events[-1]["type"] != "message_stop":
        return None
    return str(next(e for e in events if e["type"] == "message_delta")["delta"]["stop_reason"])
