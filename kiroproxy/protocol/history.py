"""Turns as Kiro's messages: history entries and the current message.

Rules of this file: what comes out always obeys the structure Kiro checks:

    user, assistant, user, …, assistant | current user
    every toolUse is answered by exactly one toolResult in the next user turn, and vice versa
    toolResults stand in the order of their toolUses
    a turn has text unless it has results (user) or calls (assistant)

Calls and results are paired by adjacency, not across the whole conversation; what finds no
partner becomes text in its place.

Source: validation of GenerateAssistantResponse.
"""

from typing import Any

import orjson

from kiroproxy._json import read, write
from kiroproxy.protocol.attachments import Attachments
from kiroproxy.protocol.content import Piece, as_json
from kiroproxy.protocol.models import Model
from kiroproxy.protocol.tools import Toolbox
from kiroproxy.protocol.turns import AssistantTurn, Call, Result, Turn, UserTurn, Wire

ORIGIN = "AI_EDITOR"
NO_OUTPUT = "(no output)"
NO_TEXT = "(no text)"

# -- pairing ---------------------------------------------------------------------------------


def pair(found: list[Turn]) -> None:
    """Make every call's result follow it directly; what has no partner becomes text."""
    for index, turn in enumerate(found):
        if isinstance(turn, AssistantTurn):
            after = found[index + 1]  # a user's: turns alternate and end with one
            assert isinstance(after, UserTurn)
            _match(turn, after)
        elif index == 0:
            _loosen(turn, turn.results, [])


def _match(turn: AssistantTurn, after: UserTurn) -> None:
    answers: dict[str, Result] = {}
    for result in after.results:
        answers.setdefault(result.id, result)
    kept: dict[str, Call] = {}
    for call in turn.calls:
        if call.id in answers and call.id not in kept:
            kept[call.id] = call
        elif kept.get(call.id) != call:  # a repeat to the letter says nothing new
            turn.add_text(_unanswered(call))
    turn.calls = list(kept.values())
    chosen = [answers[call_id] for call_id in kept]
    taken = {id(result) for result in chosen}  # by identity: a duplicate equals its twin
    spare = [result for result in after.results if id(result) not in taken]
    _loosen(after, spare, chosen)


def _unanswered(call: Call) -> str:
    return f"(Called the tool {call.name} with {as_json(call.input)}; no result was recorded.)"


def _loosen(turn: UserTurn, spare: list[Result], kept: list[Result]) -> None:
    loose: list[Piece] = []
    for result in spare:
        state = "Failed result" if result.failed else "Result"
        loose += [f"({state} of the earlier tool call {result.id}:)", *result.parts]
    turn.results = kept
    turn.parts = loose + turn.parts


# -- turns to the wire -----------------------------------------------------------------------


class Writer:
    """Writes paired turns as Kiro's messages."""

    def __init__(self, toolbox: Toolbox, model: Model) -> None:
        self._toolbox = toolbox
        self._model = model
        self._document_names: set[str] = set()
        self._names: dict[str, str] = {}  # tool use id → client's tool name, of the last turn

    def assistant(self, turn: AssistantTurn) -> Wire:
        message: Wire = {"content": turn.text or ("" if turn.calls else NO_TEXT)}
        if turn.reasoning is not None:
            message["reasoningContent"] = turn.reasoning
        if turn.calls:
            message["toolUses"] = [
                {
                    "toolUseId": call.id,
                    "name": self._toolbox.use(call.name),
                    "input": _arguments(call.input),
                }
                for call in turn.calls
            ]
        self._names = {call.id: call.name for call in turn.calls}
        return {"assistantResponseMessage": message}

    def user(self, turn: UserTurn, *, before: str = "", after: str = "", current: bool) -> Wire:
        """Write a user turn between two more texts: the system prompt, and instructions."""
        attachments = Attachments(self._document_names, self._model, strict=current)
        parts = [part for result in turn.results for part in result.parts] + turn.parts
        attached = [part for part in parts if type(part) is not str]
        if attached:
            attachments.admit(attached)
        results = [self._result(result, attachments) for result in turn.results]
        said = attachments.render(turn.parts, "this message")
        texts = (before, attachments.legend if attached else "", said, after)
        message: Wire = {
            "content": "\n\n".join([text for text in texts if text]),
            "modelId": self._model.id,
            "origin": ORIGIN,
        }
        if attachments.images:
            message["images"] = attachments.images
        if attachments.documents:
            message["documents"] = attachments.documents
        if results:
            message["userInputMessageContext"] = {"toolResults": results}
        return {"userInputMessage": message}

    def _result(self, result: Result, attachments: Attachments) -> Wire:
        origin = f"the result of {self._names.get(result.id, 'a tool')}"
        text = attachments.render(result.parts, origin)
        return {
            "toolUseId": result.id,
            "content": [{"text": text or NO_OUTPUT}],
            "status": "error" if result.failed else "success",
        }


def continued(state: Wire, said: str, words: str) -> Wire:
    """Return a conversation's state after an answer of text, with `words` as the next message.

    Shape: an answer without text leaves no turn: the words then end the message it answered.
    """
    current = state["currentMessage"]["userInputMessage"]
    if not said.strip():
        joined = {**current, "content": f"{current['content']}\n\n{words}".strip()}
        return {**state, "currentMessage": {"userInputMessage": joined}}
    context = dict(current.get("userInputMessageContext", {}))
    tools = context.pop("tools", None)
    asked = {name: value for name, value in current.items() if name != "userInputMessageContext"}
    if context:
        asked["userInputMessageContext"] = context
    following: Wire = {"content": words, "modelId": current["modelId"], "origin": ORIGIN}
    if tools:
        following["userInputMessageContext"] = {"tools": tools}
    turns = [{"userInputMessage": asked}, {"assistantResponseMessage": {"content": said}}]
    return {
        **state,
        "history": [*state.get("history", ()), *turns],
        "currentMessage": {"userInputMessage": following},
    }


def _arguments(value: Any) -> Any:
    """Return tool input as the JSON object Kiro demands, without empty keys."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = read(value.encode("utf-8", "surrogatepass"))
        except orjson.JSONDecodeError:
            return {"input": value}
    if not isinstance(value, dict):
        return {"input": value}
    if "" not in value and all(type(item) is str for item in value.values()):
        return value
    encoded = write(value)
    # Inside a JSON string a quote is escaped, so this sequence can only be an empty key.
    return _keyed(value) if b'"":' in encoded else orjson.Fragment(encoded)


def _keyed(value: Any) -> Any:
    if isinstance(value, list):
        return [_keyed(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed: Wire = {}
    for key, item in value.items():
        name = key or "_"
        while not key and name in value:
            name += "_"
        renamed[name] = _keyed(item)
    return renamed
