"""What Kiro refuses although every member has its right shape.

Rules of this file: pure; a rule is a generator of violations over one `Conversation`. Where
reports about Kiro disagree, the stricter one is taken if a careful caller can satisfy both.

    R1  a user turn without toolResults, and an assistant turn without toolUses, needs content
    R2  history begins with a user turn                                  (not "kas")
    R3  user and assistant turns alternate                               (not "kas")
    R4  history ends with an assistant turn: currentMessage is a user's  (not "kas")
    R5  toolResults answer exactly the toolUses of the assistant turn before them
    R6  no toolUseId twice among the results, or the uses, of one turn
    R7  every tool used in history is declared in currentMessage
    R8  no tool is declared twice
    R9  a tool's schema has "type": "object" and no combinator at its top
    R10 no null in a schema where a keyword's value is expected
    R11 no empty `required` in a schema
    R14 a tool description is not blank
    R15 no empty key in a tool's input
    R16 tool-use ids: the pattern is shape S6
    R18 replayed reasoning carries the signature that was issued for exactly its text
    R19 only currentMessage declares tools
    R23 images are of a known format, are what they say, and have at most 8000 pixels a side
    R24 no document name twice in a message, and none for a model of text alone
    R25 the model exists
    R26 additionalModelRequestFields fit the model's own schema
    R27 the prompt fits the model's window

R20 (region of the ARN) is `validation`'s A3, R21 (lone surrogates) is shape S8, R17 (refusals that
pass on a second try) is for scripts. R12, R13 and R22 name what some gateways avoid and Kiro was
seen to take: additionalProperties, other schema keywords, a client tool called web_search.

Source: Kiro's reasons (ValidationException) and the reports of some fifteen gateways.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from kiroproxy.simulator import fitness
from kiroproxy.simulator.conversation import CURRENT, Conversation, Turn
from kiroproxy.simulator.refusals import Violation
from kiroproxy.simulator.signing import is_genuine


def content(talk: Conversation) -> Iterator[Violation]:
    """R1."""
    for turn in talk.turns:
        excuse = turn.results if turn.role == "user" else turn.uses
        if not turn.message["content"] and not excuse:
            yield Violation("R1", f"{turn.where}.content", "is empty")


def order(talk: Conversation) -> Iterator[Violation]:
    """R2, R3, R4: the newest generation takes turns in any order."""
    if talk.generation == "kas":
        return
    if talk.turns[0].role != "user":
        yield Violation("R2", talk.turns[0].where, "history begins with an assistant turn")
    for before, turn in zip(talk.turns, talk.turns[1:], strict=False):
        if before.role == turn.role:
            rule = "R4" if turn is talk.turns[-1] else "R3"
            yield Violation(rule, turn.where, f"follows another {turn.role} turn")


def pairing(talk: Conversation) -> Iterator[Violation]:
    """R5 and R6."""
    asked: list[str] = []
    for turn in talk.turns:
        calls = turn.uses if turn.role == "assistant" else turn.results
        ids = [call["toolUseId"] for call in calls]
        if len(set(ids)) < len(ids):
            yield Violation("R6", turn.where, "a toolUseId is there twice")
        if turn.role == "assistant":
            if asked:
                yield _mismatch(turn, f"calls {asked} were never answered")
            asked = ids
            continue
        if set(ids) != set(asked):
            yield _mismatch(turn, f"results {sorted(set(ids))} for calls {sorted(set(asked))}")
        asked = []


def _mismatch(turn: Turn, what: str) -> Violation:
    message = "Each toolUse block must be followed by its toolResult block."
    return Violation("R5", turn.where, what, "TOOL_USE_RESULT_MISMATCH", message)


def declarations(talk: Conversation) -> Iterator[Violation]:
    """R7, R8, R14, R19."""
    names = [tool["name"] for tool in talk.tools]
    where = f"{CURRENT}.userInputMessage.userInputMessageContext.tools"
    for index, tool in enumerate(talk.tools):
        if tool["name"] in names[:index]:
            message = f"Tool name is duplicated: {tool['name']}"
            yield Violation("R8", where, f"{tool['name']} twice", "TOOL_DUPLICATE", message)
        if not tool.get("description", "-").strip():
            yield Violation("R14", f"{where}[{index}]", f"{tool['name']} has a blank description")
    used = {use["name"]: turn.where for turn in talk.turns for use in turn.uses}
    for name in used.keys() - set(names):
        message = "Tools used in the conversation must be defined in the tool configuration."
        yield Violation("R7", used[name], f"{name} is not declared", "TOOL_CONFIG_MISSING", message)
    for turn in talk.turns[:-1]:
        if "tools" in turn.context:
            yield Violation("R19", turn.where, "history declares tools")


def schemas(talk: Conversation) -> Iterator[Violation]:
    """R9, R10, R11 for every declared tool."""
    for tool in talk.tools:
        schema, where = tool["inputSchema"]["json"], f"tool {tool['name']}"
        if schema.get("type") != "object":
            message = (
                f"tools.{tool['name']}.input_schema.type: must be one of the following: object"
            )
            what = f"type is {schema.get('type')!r}"
            yield Violation("R9", where, what, "TOOL_SCHEMA_INVALID", message)
        for word in ("oneOf", "anyOf", "allOf"):
            if word in schema:
                message = f"tools.{tool['name']}.input_schema: {word} is not allowed at the top"
                yield Violation("R9", where, f"{word} at the top", "TOOL_SCHEMA_INVALID", message)
        yield from _keywords(schema, where)


_FREE: Final = frozenset({"default", "const", "enum", "examples", "example"})
_NAMED: Final = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
)


def _keywords(schema: Any, where: str) -> Iterator[Violation]:
    """Walk a schema by its keywords, so that a property called "required" is not one."""
    if isinstance(schema, list):
        for index, part in enumerate(schema):
            yield from _keywords(part, f"{where}[{index}]")
    if not isinstance(schema, dict):
        return
    for word, value in schema.items():
        place = f"{where}.{word}"
        if word in _FREE:
            continue
        if value is None:
            yield Violation("R10", place, "is null")
        elif word == "required" and value == []:
            yield Violation("R11", place, "is empty; leave it out")
        elif word in _NAMED and isinstance(value, dict):
            for name, part in value.items():
                if part is None:
                    yield Violation("R10", f"{place}.{name}", "is null")
                yield from _keywords(part, f"{place}.{name}")
        else:
            yield from _keywords(value, place)


def inputs(talk: Conversation) -> Iterator[Violation]:
    """R15."""
    for turn in talk.turns:
        for use in turn.uses:
            if _has_empty_key(use["input"]):
                yield Violation("R15", turn.where, f"input of {use['name']} has an empty key")


def _has_empty_key(value: Any) -> bool:
    if isinstance(value, dict):
        return "" in value or any(_has_empty_key(part) for part in value.values())
    return isinstance(value, list) and any(_has_empty_key(part) for part in value)


def signatures(talk: Conversation) -> Iterator[Violation]:
    """R18: some signature is there; GPT's are not looked at."""
    for where, replayed in _replayed(talk):
        if not replayed.get("signature"):
            yield _bad_signature(where, "no signature")


def genuineness(talk: Conversation) -> Iterator[Violation]:
    """R18: the signature is this service's own. Not in EVERY, as no body made by hand has one."""
    for where, replayed in _replayed(talk):
        if not is_genuine(replayed["signature"], replayed["text"]):
            yield _bad_signature(where, "the signature is foreign, or of another text")


def _replayed(talk: Conversation) -> Iterator[tuple[str, dict[str, Any]]]:
    if talk.model and talk.model.family == "gpt":
        return
    for turn in talk.turns:
        text = turn.message.get("reasoningContent", {}).get("reasoningText")
        if text is not None:
            yield turn.where, text


def _bad_signature(where: str, what: str) -> Violation:
    message = "Invalid `signature` in `thinking` block"
    return Violation("R18", where, what, "THINKING_SIGNATURE_INVALID", message)


EVERY: Final[tuple[Callable[[Conversation], Iterator[Violation]], ...]] = (
    fitness.model,
    content,
    order,
    pairing,
    declarations,
    schemas,
    inputs,
    fitness.images,
    fitness.documents,
    signatures,
    fitness.request_fields,
    fitness.size,
)
