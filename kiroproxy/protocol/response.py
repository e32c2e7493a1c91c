"""The events of one answer folded into one message, for `stream: false`.

Rules of this file: it reads Anthropic's events and nothing else, so a whole answer is by
construction what a streaming client would have put together. A tool's arguments are spliced in
as they came, unread: no number is rounded, no nesting is too deep to write again.

Source: Anthropic's streaming grammar and message object.
"""

from typing import Any

import orjson

_SEPARATOR = b"\n\n"


def block_events(content: list[dict[str, Any]]) -> bytes:
    """Return the events of whole blocks of thinking and text, numbered from 0."""
    return b"".join(_events_of(index, block) for index, block in enumerate(content))


def _events_of(index: int, block: dict[str, Any]) -> bytes:
    kind = block["type"]
    empty = {"type": kind, kind: ""} if kind in ("text", "thinking") else block
    if kind == "thinking":
        empty["signature"] = ""
    events = [("content_block_start", {"content_block": empty})]
    if empty is not block and block[kind]:
        delta = {"type": f"{kind}_delta", kind: block[kind]}
        events.append(("content_block_delta", {"delta": delta}))
    if kind == "thinking":
        delta = {"type": "signature_delta", "signature": block["signature"]}
        events.append(("content_block_delta", {"delta": delta}))
    events.append(("content_block_stop", {}))
    return b"".join(
        b"event: %b\ndata: %b\n\n"
        % (name.encode(), orjson.dumps({"type": name, "index": index, **more}))
        for name, more in events
    )


class Fold:
    """Put a message together.

    Shape: bytes of an event stream, cut anywhere → one message.
    Order: feed…, then message() once the stream has ended with message_stop.
    """

    __slots__ = (
        *("_block", "_buffer", "_inputs", "_json", "_member", "_message", "_said", "_stopped"),
        "error",
    )

    def __init__(self) -> None:
        self._buffer = b""
        self._message: dict[str, Any] = {}
        self._block: dict[str, Any] = {}
        self._json: list[str] = []  # pieces of the open block's input
        self._said: list[str] = []  # pieces of its text, to be joined once: there are thousands
        self._member = ""  # which they make up
        self._inputs: dict[int, str] = {}  # whole ones by index
        self._stopped = False
        self.error: dict[str, Any] | None = None  # the `error` of an error event

    def feed(self, sse: bytes) -> None:
        """Take events in; the part of one that is not complete waits."""
        *events, self._buffer = (self._buffer + sse).split(_SEPARATOR)
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(b"data:"):
                    self._take(orjson.loads(line[5:]))

    def message(self) -> dict[str, Any]:
        """Return the message, for orjson: arguments that came in pieces are a Fragment.

        Raises: ValueError — the stream did not end.
        """
        if not self._stopped:
            raise ValueError("the answer has no end: it must not be shown as whole")
        return self._message

    def content(self) -> list[dict[str, Any]]:
        """Return the blocks so far, their arguments read. Order: while no block is open."""
        blocks: list[dict[str, Any]] = self._message["content"]
        return [
            block | {"input": orjson.loads(self._inputs[index])} if index in self._inputs else block
            for index, block in enumerate(blocks)
        ]

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "content_block_delta":
            self._grow(event["delta"])
        elif kind == "content_block_start":
            self._block = event["content_block"]
            self._json, self._said = [], []
            self._message["content"].append(self._block)
        elif kind == "content_block_stop":
            if self._said:
                self._block[self._member] += "".join(self._said)
            if self._json:
                whole = self._inputs[len(self._message["content"]) - 1] = "".join(self._json)
                self._block["input"] = orjson.Fragment(whole)
        elif kind == "message_start":
            self._message = {"stop_details": None} | event["message"]
        elif kind == "message_delta":
            self._message |= event["delta"]
            self._message["usage"] |= event["usage"]
        elif kind == "message_stop":
            self._stopped = True
        elif kind == "error":
            self.error = event["error"]

    def _grow(self, delta: dict[str, Any]) -> None:
        kind = delta["type"]
        if kind == "input_json_delta":
            if delta["partial_json"]:
                self._json.append(delta["partial_json"])
        elif kind == "citations_delta":
            self._block.setdefault("citations", []).append(delta["citation"])
        elif kind == "signature_delta":
            self._block["signature"] = delta["signature"]
        else:  # text_delta, thinking_delta: the member is named as its type says
            self._member = kind.removesuffix("_delta")
            self._said.append(delta[self._member])
