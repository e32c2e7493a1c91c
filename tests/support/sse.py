"""What several test files need: a strict reader of Anthropic streams.

Rules of this file: the reader shares nothing with the code it judges. It takes the grammar from
the API's documentation, parses JSON with the standard library, and forgives nothing that any
known client would trip over. Whatever stream a test makes is read here: whole, or as far as its
client stayed.

Source: Anthropic's streaming documentation; the faults that break SDKs and Claude Code.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

START = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
DELTAS = {
    "text": {"text_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
    "redacted_thinking": set(),
    "web_search_tool_result": set(),
}
CALLS = {"tool_use": "", "server_tool_use": "srvtoolu_"}  # and how their ids begin
SEARCH_FAULTS = {
    "invalid_tool_input", "unavailable", "max_uses_exceeded", "too_many_requests",
    "query_too_long", "request_too_large",
}  # fmt: skip
STOP_REASONS = {
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal",
    "model_context_window_exceeded", "pause_turn",
}  # fmt: skip


@dataclass
class Reading:
    """What a client makes of a stream."""

    message: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    complete: bool = False  # message_stop was seen
    open_block: bool = False
    events: list[str] = field(default_factory=list)

    @property
    def content(self) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = self.message["content"]
        return content

    def text(self, kind: str = "text") -> str:
        """Everything of one kind, joined over its blocks."""
        return "".join(block[kind] for block in self.content if block["type"] == kind)


class StrictReader:
    """Reads one stream; AssertionError at the first thing that is not in the grammar."""

    def __init__(self) -> None:
        self.reading = Reading()
        self._block: dict[str, Any] | None = None
        self._json = ""
        self._deltas: list[str] = []
        self._ended = False  # message_delta was seen

    def read(self, sse: bytes) -> Reading:
        assert sse.endswith(b"\n\n"), "the last event is not terminated"
        self.follow(sse)
        assert self.reading.complete or self.reading.error, "a clean end in the middle"
        return self.reading

    def follow(self, sse: bytes) -> None:
        """Read whole events, of which more may have followed."""
        for event in sse.decode("utf-8").removesuffix("\n\n").split("\n\n"):
            name_line, data_line = event.split("\n")
            assert name_line.startswith("event: ") and data_line.startswith("data: ")
            name = name_line.removeprefix("event: ")
            data = json.loads(data_line.removeprefix("data: "))
            json.dumps(data, ensure_ascii=False).encode()  # no half of a surrogate pair
            assert data["type"] == name, "event name and data.type differ"
            assert not (self.reading.complete or self.reading.error), f"{name} after the end"
            self.reading.events.append(name)
            getattr(self, f"_{name}")(data)
        self.reading.open_block = self._block is not None

    def _message_start(self, data: dict[str, Any]) -> None:
        assert self.reading.events == ["message_start"], "message_start is not first, or twice"
        message = data["message"]
        assert message["id"] and message["model"] and message["content"] == []
        assert (message["type"], message["role"]) == ("message", "assistant")
        assert message["stop_reason"] is None and message["stop_sequence"] is None
        assert {"input_tokens", "output_tokens"} <= message["usage"].keys()
        assert message["usage"]["cache_creation_input_tokens"] == 0
        assert message["usage"]["cache_read_input_tokens"] == 0
        self.reading.message = message

    def _ping(self, data: dict[str, Any]) -> None:
        assert self.reading.message, "ping before message_start"
        assert data == {"type": "ping"}

    def _content_block_start(self, data: dict[str, Any]) -> None:
        assert self.reading.message and not self._ended
        assert self._block is None, "a block opens while another is open"
        assert data["index"] == len(self.reading.content), "index out of order"
        self._block = block = data["content_block"]
        kind = block["type"]
        if kind in START:
            assert block == START[kind]
        elif kind in CALLS:
            assert block.keys() == {"type", "id", "name", "input"} and block["input"] == {}
            assert block["id"].startswith(CALLS[kind]) and block["id"] and block["name"]
            assert block["id"] not in self._ids("id"), "two calls of one id"
        elif kind == "web_search_tool_result":
            self._search_result(block)
        else:
            assert kind == "redacted_thinking" and block.keys() == {"type", "data"}
            assert block["data"]
        self.reading.content.append(block)
        self._json, self._deltas = "", []

    def _ids(self, member: str) -> list[str]:
        return [block[member] for block in self.reading.content if member in block]

    def _search_result(self, block: dict[str, Any]) -> None:
        assert block.keys() == {"type", "tool_use_id", "content"}
        assert block["tool_use_id"] in self._ids("id"), "a result without its call"
        assert block["tool_use_id"] not in self._ids("tool_use_id"), "two results of one call"
        found = block["content"]
        if isinstance(found, dict):
            assert found.keys() == {"type", "error_code"}
            assert found["type"] == "web_search_tool_result_error"
            assert found["error_code"] in SEARCH_FAULTS
            return
        for page in found:
            assert page.keys() == {"type", "url", "title", "encrypted_content", "page_age"}
            assert page["type"] == "web_search_result" and page["url"]

    def _content_block_delta(self, data: dict[str, Any]) -> None:
        assert self._block is not None, "a delta without a block"
        assert data["index"] == len(self.reading.content) - 1
        delta, kind = data["delta"], data["delta"]["type"]
        assert kind in DELTAS[self._block["type"]], f"{kind} in {self._block['type']}"
        assert "signature_delta" not in self._deltas, "something follows the signature"
        self._deltas.append(kind)
        if kind == "input_json_delta":
            self._json += delta["partial_json"]
        elif kind == "signature_delta":
            assert delta["signature"]
            self._block["signature"] = delta["signature"]
        else:
            member = kind.removesuffix("_delta")
            assert delta[member], "an empty delta"
            self._block[member] += delta[member]

    def _content_block_stop(self, data: dict[str, Any]) -> None:
        assert self._block is not None and data["index"] == len(self.reading.content) - 1
        kind = self._block["type"]
        if kind in CALLS:
            self._block["input"] = json.loads(self._json or "{}")
            assert isinstance(self._block["input"], dict), "arguments are no object"
        elif kind == "thinking":
            assert self._deltas[-1:] == ["signature_delta"], "a thinking block without signature"
        elif kind == "text":
            assert self._block["text"], "an empty text block"
        self._block = None

    def _message_delta(self, data: dict[str, Any]) -> None:
        assert self._block is None, "message_delta while a block is open"
        assert not self._ended, "two message_delta"
        self._ended = True
        kinds = [block["type"] for block in self.reading.content]
        searches = kinds.count("server_tool_use")
        assert kinds.count("web_search_tool_result") == searches, "a search without a result"
        assert data["delta"]["stop_reason"] in STOP_REASONS
        by_sequence = data["delta"]["stop_reason"] == "stop_sequence"
        assert bool(data["delta"]["stop_sequence"]) == by_sequence
        assert data["usage"]["output_tokens"] >= 0
        calls = {block["type"] for block in self.reading.content}
        if data["delta"]["stop_reason"] == "tool_use":
            assert "tool_use" in calls, "a stop for a call there is none of"
        self.reading.message |= data["delta"]
        self.reading.message["usage"] |= data["usage"]

    def _message_stop(self, data: dict[str, Any]) -> None:
        assert self._ended and data == {"type": "message_stop"}
        self.reading.complete = True

    def _error(self, data: dict[str, Any]) -> None:
        assert data.keys() == {"type", "error", "request_id"}
        assert data["error"].keys() == {"type", "message"}
        assert not self._ended, "an error behind the end"
        assert self._block is None or self._block["type"] not in CALLS, "half a tool call"
        self.reading.error = data["error"]


def read(sse: bytes | str) -> Reading:
    """Read one whole stream; AssertionError at the first thing no client should have to bear."""
    return StrictReader().read(sse.encode() if isinstance(sse, str) else sse)


def read_beginning(sse: bytes | str) -> None:
    """Read as strictly what came of a stream that was left, or cut, on the way."""
    data = sse.encode() if isinstance(sse, str) else sse
    whole, border, _ = data.rpartition(b"\n\n")
    if border:
        StrictReader().follow(whole)


class _Judged(httpx.AsyncByteStream):
    """A response body that is read strictly too, once it has ended or was left."""

    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self._body = body
        self._seen = bytearray()
        self._has_ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            self._seen += part
            yield part
        self._has_ended = True
        read(bytes(self._seen))

    async def aclose(self) -> None:
        await self._body.aclose()
        if not self._has_ended:
            read_beginning(bytes(self._seen))


async def judge(response: httpx.Response) -> None:
    """Judge a response's stream as it is read: `AsyncClient(event_hooks={"response": [judge]})`.

    One that its reader leaves early, or that breaks, is judged as far as it came.
    """
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Judged(response.stream)


def parse(sse: bytes | str) -> list[dict[str, Any]]:
    """Return the events of one whole stream, which has been read strictly."""
    read(sse)
    text = sse if isinstance(sse, str) else sse.decode()
    frames = text.removesuffix("\n\n").split("\n\n")
    return [json.loads(frame.partition("\ndata: ")[2]) for frame in frames]


def text_of(events: list[dict[str, Any]]) -> str:
    deltas = (e["delta"] for e in events if e["type"] == "content_block_delta")
    return "".join(delta.get("text", "") for delta in deltas)


def stop_of(events: list[dict[str, Any]]) -> str | None:
    """Return the stop reason of a finished answer, None for one that was cut."""
    if events[-1]["type"] != "message_stop":
        return None
    return str(next(e for e in events if e["type"] == "message_delta")["delta"]["stop_reason"])
