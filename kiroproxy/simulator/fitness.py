"""What the model asked for must be able to take: its id, its request fields, its window, media.

Rules of this file: as in `rules`, which lists these rules with their numbers (R23 to R27).

Source: ListAvailableModels' schemas and limits; Kiro's IMAGE_ and DOCUMENT_ reasons.
"""

import binascii
from collections.abc import Iterator
from typing import Any, Final

from kiroproxy.simulator.conversation import CURRENT, Conversation
from kiroproxy.simulator.refusals import Violation
from kiroproxy.simulator.shapes import IMAGE_FORMATS

MAX_EDGE: Final = 8000
_MAGIC: Final = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}


def images(talk: Conversation) -> Iterator[Violation]:
    """R23: the format is known, the first bytes do not contradict it, the sides are in bounds."""
    for turn in talk.turns:
        for index, image in enumerate(turn.message.get("images", [])):
            where = f"{turn.where}.images[{index}]"
            if image["format"] not in IMAGE_FORMATS:
                message = f"Unsupported image format: {image['format']}"
                yield Violation("R23", where, message, "IMAGE_FORMAT_UNSUPPORTED", message)
                continue
            head = binascii.a2b_base64(image["source"]["bytes"][:32])
            actual = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
            if actual and actual != image["format"]:
                message = f"Image is {actual} but its format says {image['format']}"
                yield Violation("R23", where, message, "IMAGE_MIME_MISMATCH", message)
            edge = _edge(head)
            if edge > MAX_EDGE:
                message = f"Image dimension {edge} exceeds {MAX_EDGE}"
                yield Violation("R23", where, message, "IMAGE_DIMENSION_EXCEEDED", message)


def _edge(head: bytes) -> int:
    """Return the longer side of a PNG or GIF; 0 for what says it further behind."""
    if head.startswith(b"\x89PNG"):
        return max(int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big"))
    if head.startswith(b"GIF8"):
        return max(int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))
    return 0


def documents(talk: Conversation) -> Iterator[Violation]:
    """R24: the model takes documents at all, and every name stands once."""
    for turn in talk.turns:
        if turn.message.get("documents") and talk.model and not talk.model.images:
            message = f"{talk.model.model_id} does not support documents"
            yield Violation("R24", turn.where, message, "DOCUMENT_MODEL_NOT_SUPPORTED", message)
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
        yield Violation("R25", f"{CURRENT}.modelId", f"{asked!r}", "INVALID_MODEL_ID", message)


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
