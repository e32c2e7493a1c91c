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
    R23 images are of a known format and are what they say
    R24 no document name twice in a message
    R25 the model exists
    R26 additionalModelRequestFields fit the model's own schema
    R27 the prompt fits the model's window

Source: Kiro's reasons (ValidationException) and the reports of some fifteen gateways.
"""

import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from kiroproxy.simulator.catalogue import DEFAULT_MODEL, MODELS, Model
from kiroproxy.simulator.refusals import Violation
from kiroproxy.simulator.shapes import IMAGE_FORMATS
from kiroproxy.simulator.signing import is_genuine

_HISTORY: Final = "conversationState.history"
_CURRENT: Final = "conversationState.currentMessage"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message with the path that leads to it."""

    role: str  # "user" | "assistant"
    message: dict[str, Any]
    where: str

    @property
    def context(self) -> dict[str, Any]:
        """The user turn's context, empty when it has none."""
        found: dict[str, Any] = self.message.get("userInputMessageContext", {})
        return found

    @property
    def uses(self) -> list[dict[str, Any]]:
        """Tool calls of an assistant turn."""
        return list(self.message.get("toolUses", []))

    @property
    def results(self) -> list[dict[str, Any]]:
        """Tool results of a user turn."""
        return list(self.context.get("toolResults", []))


@dataclass(frozen=True, slots=True)
class Conversation:
    """A body of the right shape, laid out as turns; the last one is currentMessage."""

    turns: list[Turn]
    tools: list[dict[str, Any]]
    model: Model | None
    fields: dict[str, Any] | None
    generation: str
    body: dict[str, Any]


def read(body: dict[str, Any], generation: str) -> Conversation:
    """Lay out a body whose shape has been checked."""
    state = body["conversationState"]
    turns = [_turn(entry, f"{_HISTORY}[{i}]") for i, entry in enumerate(state.get("history", []))]
    current = _turn(state["currentMessage"], _CURRENT)
    entries = current.context.get("tools", [])
    tools = [entry["toolSpecification"] for entry in entries if "toolSpecification" in entry]
    model = MODELS.get(current.message.get("modelId", DEFAULT_MODEL))
    fields = body.get("additionalModelRequestFields")
    return Conversation([*turns, current], tools, model, fields, generation, body)


def _turn(entry: dict[str, Any], where: str) -> Turn:
    if "userInputMessage" in entry:
        return Turn("user", entry["userInputMessage"], f"{where}.userInputMessage")
    name = "assistantResponseMessage"
    return Turn("assistant", entry[name], f"{where}.{name}")


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
    where = f"{_CURRENT}.userInputMessage.userInputMessageContext.tools"
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


_MAGIC: Final = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}


def images(talk: Conversation) -> Iterator[Violation]:
    """R23: the format is known, and the first bytes do not contradict it."""
    for turn in talk.turns:
        for index, image in enumerate(turn.message.get("images", [])):
            where = f"{turn.where}.images[{index}]"
            if image["format"] not in IMAGE_FORMATS:
                message = f"Unsupported image format: {image['format']}"
                yield Violation("R23", where, message, "IMAGE_FORMAT_UNSUPPORTED", message)
                continue
            head = binascii.a2b_base64(image["source"]["bytes"][:16])
            actual = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
            if actual and actual != image["format"]:
                message = f"Image is {actual} but its format says {image['format']}"
                yield Violation("R23", where, message, "IMAGE_MIME_MISMATCH", message)


def documents(talk: Conversation) -> Iterator[Violation]:
    """R24."""
    for turn in talk.turns:
        names = [document["name"] for document in turn.message.get("documents", [])]
        for index, name in enumerate(names):
            if name in names[:index]:
                message = f"Duplicate document name: {name}"
                yield Violation("R24", turn.where, message, "DOCUMENT_DUPLICATE_NAME", message)


def model(talk: Conversation) -> Iterator[Violation]:
    """R25."""
    if talk.model is None:
        asked = talk.turns[-1].message.get("modelId")
        message = "Invalid model ID. Please select a different model to continue."
        yield Violation("R25", f"{_CURRENT}.modelId", f"{asked!r}", "INVALID_MODEL_ID", message)


def request_fields(talk: Conversation) -> Iterator[Violation]:
    """R26: closed schemas, and effort only where thinking is adaptive."""
    if not talk.fields or talk.model is None:
        return
    schema, where = talk.model.fields_schema(), "additionalModelRequestFields"
    if schema is None:
        yield _bad_field(where, f"{talk.model.model_id} takes none")
        return
    yield from _fits(schema, talk.fields, where)
    thinking = talk.fields.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else "adaptive"
    if "output_config" in talk.fields and kind != "adaptive":
        yield _bad_field(f"{where}.output_config", f"with thinking.type {kind!r}")


def _bad_field(where: str, what: str) -> Violation:
    return Violation("R26", where, what, "REQUEST_BODY_INVALID", f"Invalid request body: {where}")


def _fits(schema: dict[str, Any], value: Any, where: str) -> Iterator[Violation]:
    """Check against the few JSON-Schema keywords the catalogue's schemas use."""
    kinds = {"object": dict, "string": str, "integer": int}
    kind = kinds[schema["type"]]
    if not isinstance(value, kind) or isinstance(value, bool):
        yield _bad_field(where, f"must be {schema['type']}")
        return
    if isinstance(value, dict):
        for name, member in value.items():
            if name not in schema["properties"]:
                yield _bad_field(f"{where}.{name}", "unknown member")
            else:
                yield from _fits(schema["properties"][name], member, f"{where}.{name}")
    elif "enum" in schema and value not in schema["enum"]:
        yield _bad_field(where, f"{value!r} is none of {schema['enum']}")
    elif "minimum" in schema and not schema["minimum"] <= value <= schema["maximum"]:
        yield _bad_field(where, f"{value} is outside {schema['minimum']}–{schema['maximum']}")


def size(talk: Conversation) -> Iterator[Violation]:
    """R27: tokens of the compact JSON; image bytes and signatures do not count."""
    if talk.model is None:
        return
    tokens = estimate_tokens(talk.body)
    if tokens > talk.model.max_input_tokens:
        what = f"about {tokens} tokens, {talk.model.max_input_tokens} allowed"
        reason, message = "CONTENT_LENGTH_EXCEEDS_THRESHOLD", "Input is too long."
        yield Violation("R27", "conversationState", what, reason, message)


def estimate_tokens(value: Any) -> int:
    """Estimate tokens as a byte-pair tokenizer would: 4 ASCII bytes, or one other character."""
    if isinstance(value, str):
        ascii_only = len(value) if value.isascii() else len(value.encode("ascii", "ignore"))
        return ascii_only // 4 + len(value) - ascii_only
    if isinstance(value, dict):
        skipped = ("bytes", "signature", "redactedContent")
        return sum(estimate_tokens(part) + 2 for key, part in value.items() if key not in skipped)
    return sum(map(estimate_tokens, value)) if isinstance(value, list) else 1


EVERY: Final[tuple[Callable[[Conversation], Iterator[Violation]], ...]] = (
    model,
    content,
    order,
    pairing,
    declarations,
    schemas,
    inputs,
    images,
    documents,
    signatures,
    request_fields,
    size,
)

__all__ = ["EVERY", "Conversation", "estimate_tokens", "read"]
