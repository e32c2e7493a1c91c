"""Turns: a client's messages folded into what user and model said in turn.

Rules of this file: order is the client's and text is never lost. Neighbours of one role merge;
mid-conversation system messages count as the user's, wrapped and in their place, because
moving them to the front would change the prompt's beginning with every turn and empty Kiro's
prompt cache; turns that hold nothing vanish. The first and the last turn are the user's.

Source: Anthropic's message rules; Claude Code's own folding of system messages.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from kiroproxy._sse import UNSIGNED_SIGNATURE
from kiroproxy.errors import RequestError
from kiroproxy.protocol.content import Piece, block_pieces, pieces
from kiroproxy.protocol.searching import NAME as SEARCH
from kiroproxy.protocol.tools import wire_id

Wire: TypeAlias = dict[str, Any]

# The least that stands where Kiro demands a turn and the client sent none.
OPENING = "(The conversation starts with the assistant.)"
RESUMPTION = "Continue your last message exactly where it ends, without repeating any of it."


@dataclass(slots=True)
class Call:
    """One tool_use of an assistant turn."""

    id: str
    name: str
    input: Any


@dataclass(slots=True)
class Result:
    """One tool_result of a user turn."""

    id: str
    parts: list[Piece]
    failed: bool


@dataclass(slots=True)
class UserTurn:
    """What the user, the client's tools and mid-conversation system messages said."""

    results: list[Result] = field(default_factory=list)
    parts: list[Piece] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.results and not self.parts


@dataclass(slots=True)
class AssistantTurn:
    """What the model said, called and thought."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    reasoning: Wire | None = None

    @property
    def is_empty(self) -> bool:
        return not self.text and not self.calls and self.reasoning is None

    def add_text(self, text: str, *, apart: bool = True) -> None:
        gap = "\n\n" if apart and self.text and text else ""
        self.text += gap + text


Turn: TypeAlias = UserTurn | AssistantTurn


# -- messages to turns -----------------------------------------------------------------------


def fold(messages: list[Wire], *, keep_reasoning: bool, searches: bool = False) -> list[Turn]:
    """Fold messages into alternating turns, the first and the last a user's.

    Shape: `searches` = the model has a web search to call, so that earlier ones are calls of it
    and their results turns of their own; else both are only text.
    Raises: RequestError — a message or block without the shape Anthropic demands; nothing to
    answer.
    """
    found: list[Turn] = []
    for index, message in enumerate(messages):
        path = f"messages.{index}.content"
        if message["role"] == "assistant":
            for turn in _assistant_turns(message.get("content"), path, keep_reasoning, searches):
                _append(found, turn)
        elif message["role"] in ("system", "developer"):
            _append(found, _system_turn(message.get("content"), path))
        else:
            _append(found, _user_turn(message.get("content"), path))
    if not found:
        raise RequestError("messages: text content blocks must be non-empty")
    if isinstance(found[0], AssistantTurn):
        found.insert(0, UserTurn(parts=[OPENING]))
    if isinstance(found[-1], AssistantTurn):
        if messages[-1]["role"] != "assistant":
            raise RequestError(
                f"messages.{len(messages) - 1}: all messages must have non-empty content "
                "except for the optional final assistant message"
            )
        found.append(UserTurn(parts=[RESUMPTION]))
    return found


def _append(found: list[Turn], turn: Turn) -> None:
    if turn.is_empty:
        return
    last = found[-1] if found else None
    if isinstance(last, UserTurn) and isinstance(turn, UserTurn):
        last.results += turn.results
        last.parts += turn.parts
    elif isinstance(last, AssistantTurn) and isinstance(turn, AssistantTurn):
        last.add_text(turn.text)
        last.calls += turn.calls
        last.reasoning = turn.reasoning or last.reasoning
    else:
        found.append(turn)


def _blocks(content: Any, path: str) -> list[Any]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise RequestError(f"{path}: Input should be a valid list")
    return content


def _user_turn(content: Any, path: str) -> UserTurn:
    turn = UserTurn()
    for index, block in enumerate(_blocks(content, path)):
        where = f"{path}.{index}"
        if isinstance(block, dict) and block.get("type") == "tool_result":
            turn.results.append(
                Result(
                    wire_id(block.get("tool_use_id")),
                    pieces(block.get("content"), f"{where}.tool_result.content"),
                    bool(block.get("is_error")),
                )
            )
        else:
            turn.parts += block_pieces(block, where)
    return turn


def _system_turn(content: Any, path: str) -> UserTurn:
    """Wrap a mid-conversation system message the way Claude Code itself folds one."""
    parts: list[Piece] = []
    for index, block in enumerate(_blocks(content, path)):
        parts += block_pieces(block, f"{path}.{index}")
    if not parts:
        return UserTurn()
    text = "\n".join(part for part in parts if isinstance(part, str))
    others = [part for part in parts if not isinstance(part, str)]
    if not text.startswith("<system-reminder>"):
        text = f"<system-reminder>\n{text}\n</system-reminder>"
    return UserTurn(parts=[text, *others])


def _assistant_turns(
    content: Any, path: str, keep_reasoning: bool, searches: bool
) -> Iterator[Turn]:
    """Cut an answer behind the results of each search in it, where the model was asked again."""
    said: list[Any] = []
    found = UserTurn()
    asked: set[str] = set()
    first = 0
    for index, block in enumerate(_blocks(content, path)):
        kind = block.get("type") if searches and isinstance(block, dict) else ""
        if kind == "web_search_tool_result" and block.get("tool_use_id") in asked:
            found.results.append(_search_result(block, f"{path}.{index}"))
            continue
        if found.results:
            yield _assistant_turn(said, path, keep_reasoning, asked, first)
            yield found
            said, found, asked, first = [], UserTurn(), set(), index
        if kind == "server_tool_use" and block.get("name") == SEARCH:
            asked.add(str(block.get("id")))
        said.append(block)
    yield _assistant_turn(said, path, keep_reasoning, asked, first)
    yield found


def _search_result(block: Wire, path: str) -> Result:
    failed = not isinstance(block.get("content"), list)
    return Result(wire_id(block.get("tool_use_id")), block_pieces(block, path), failed)


def _assistant_turn(
    blocks: list[Any], path: str, keep_reasoning: bool, asked: set[str], first: int
) -> AssistantTurn:
    """Read what was said in one go. Shape: `first` is the place of the first block."""
    turn = AssistantTurn()
    after_text = False  # neighbouring text blocks are one text, cut at its citations
    for index, block in enumerate(blocks, first):
        kind = block.get("type") if isinstance(block, dict) else ""
        if kind == "tool_use" or (kind == "server_tool_use" and block.get("id") in asked):
            name = block.get("name")
            turn.calls.append(
                Call(wire_id(block.get("id")), str(name or "unknown"), block.get("input"))
            )
        elif kind in ("thinking", "redacted_thinking"):
            if keep_reasoning:
                turn.reasoning = _replayable(block) or turn.reasoning
        else:
            for part in _said(block, f"{path}.{index}"):
                turn.add_text(part, apart=not (after_text and kind == "text"))
        after_text = kind == "text"
    return turn


def _said(block: Any, path: str) -> Iterator[str]:
    for part in block_pieces(block, path):
        if not isinstance(part, str):
            raise RequestError(
                f"{path}: Input tag '{block['type']}' found using 'type' does not match any of "
                "the expected tags for assistant content"
            )
        yield part


_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def _is_base64(data: str) -> bool:
    return bool(data) and _BASE64.fullmatch(data) is not None


def _replayable(block: Wire) -> Wire | None:
    """Return the reasoning Kiro would accept back, if any: only what Kiro itself signed."""
    if block["type"] == "redacted_thinking":
        data = block.get("data")
        return {"redactedContent": data} if isinstance(data, str) and _is_base64(data) else None
    text, signature = block.get("thinking"), block.get("signature")
    if not isinstance(signature, str) or not signature or signature == UNSIGNED_SIGNATURE:
        return None
    return {
        "reasoningText": {"text": text if isinstance(text, str) else "", "signature": signature}
    }
