"""A script's steps, turned into frames and the pauses between them.

Rules of this file: no I/O and no clock; ids are derived from the conversation, so a script
renders the same bytes each time. Payloads look like Kiro's: compact JSON, `content` first.

Source: frames recorded from the runtime service.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count, zip_longest
from typing import Any, Final

import orjson

from kiroproxy.simulator import frames
from kiroproxy.simulator import script as s
from kiroproxy.simulator.signing import sign

Action = bytes | s.Head | s.Wait | s.Hold | s.Silence | s.Drop | s.Refuse | s.Plain


@dataclass(slots=True)
class Scene:
    """What a rendering needs to know of the request it answers."""

    model_id: str = "claude-sonnet-4.5"
    conversation_id: str = "simulated"
    turn: int = 0  # messages before this one: ids must differ from those of earlier turns
    rpc: bool = False
    serial: "count[int]" = field(default_factory=lambda: count(1))


def render(steps: tuple[s.Step, ...], scene: Scene) -> Iterator[Action]:
    """Yield frames as bytes, and every step that is not a frame as itself."""
    damage: s.Damage | None = None
    for step in steps:
        if isinstance(step, s.Damage):
            damage = step
            continue
        for action in _play(step, scene):
            if damage is not None and isinstance(action, bytes):
                yield _flip(action, damage)
                damage = None
            else:
                yield action


def render_body(steps: tuple[s.Step, ...], scene: Scene | None = None) -> bytes:
    """Join all frames of a script that has nothing but frames."""
    actions = render(steps, scene or Scene())
    return b"".join(action for action in actions if isinstance(action, bytes))


def _play(step: s.Step, scene: Scene) -> Iterator[Action]:  # a dispatch table
    match step:
        case s.Text():
            yield from _text(step, scene)
        case s.Reasoning():
            yield from _reasoning(step)
        case s.Redacted():
            yield frames.event("reasoningContentEvent", {"redactedContent": step.data})
        case s.Tool():
            yield from _tool(step, scene)
        case s.Interleaved():
            dealt = zip_longest(*(_tool(tool, scene) for tool in step.tools))
            yield from (frame for frame in chain.from_iterable(dealt) if frame is not None)
        case s.Event():
            raw = step.payload.encode() if isinstance(step.payload, str) else step.payload
            yield frames.event(step.name, raw)
        case s.Throw():
            told = {"message": step.message, **({"reason": step.reason} if step.reason else {})}
            yield frames.exception(step.name, told)
        case s.Error():
            yield frames.error(step.code, step.message)
        case s.Raw():
            yield step.data
        case s.Start():
            yield from _start(scene)
        case s.Tail():
            yield from _tail(step)
        case s.Damage():
            raise AssertionError("render() takes Damage itself")
        case _:
            yield step


def _flip(frame: bytes, damage: s.Damage) -> bytes:
    broken = bytearray(frame)
    broken[damage.offset] ^= damage.flip or 0x01
    return bytes(broken)


def _start(scene: Scene) -> Iterator[bytes]:
    if scene.rpc:
        yield frames.event("initial-response", {})
    ids = {"conversationId": scene.conversation_id, "utteranceId": f"utt-{next(scene.serial)}"}
    yield frames.event("messageMetadataEvent", ids)


def _text(step: s.Text, scene: Scene) -> Iterator[bytes]:
    after = b',"modelId":' + orjson.dumps(scene.model_id) + b"}"
    for piece in _pieces(step):
        yield frames.event("assistantResponseEvent", b'{"content":"' + piece + b'"' + after)


def _pieces(step: s.Text) -> Iterator[bytes]:
    """Yield the inside of a JSON string for each frame."""
    if step.pieces or not step.size:
        for piece in step.pieces or (step.text,):
            yield escaped(piece, step.escape)
    elif step.unit == "byte":
        raw = step.text.encode()
        for at in range(0, len(raw), step.size):
            yield _escape_bytes(raw[at : at + step.size])
    elif step.unit == "utf16":
        raw = step.text.encode("utf-16-be", "surrogatepass")
        for at in range(0, len(raw), 2 * step.size):
            unit = raw[at : at + 2 * step.size].decode("utf-16-be", "surrogatepass")
            yield escaped(unit, step.escape)
    else:
        for at in range(0, len(step.text), step.size):
            yield escaped(step.text[at : at + step.size], step.escape)


_ALWAYS: Final = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
_PATTERNS: Final = {
    "plain": _ALWAYS,
    "html": re.compile(r'["\\\x00-\x1f\ud800-\udfff<>&]'),
    "ascii": re.compile(r'["\\\x00-\x1f]|[^\x00-\x7f]'),
}
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: str, style: s.Escape = "plain") -> bytes:
    """Write the inside of a JSON string; a lone surrogate is always an escape."""
    return _PATTERNS[style].sub(_escape_match, text).encode()


def _escape_match(match: re.Match[str]) -> str:
    char = match[0]
    if char in _SHORT:
        return _SHORT[char]
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _escape_bytes(raw: bytes) -> bytes:
    """Escape what JSON must have escaped, and leave a cut character cut."""
    return re.sub(rb'["\\\x00-\x1f]', lambda match: escaped(match[0].decode("latin-1")), raw)


def _reasoning(step: s.Reasoning) -> Iterator[bytes]:
    signature = sign(step.text) if step.signature == "auto" else step.signature
    signed = [frames.event("reasoningContentEvent", {"signature": signature})] if signature else []
    if step.signature_first:
        yield from signed
    size = step.size or len(step.text) or 1
    for at in range(0, len(step.text), size):
        piece = escaped(step.text[at : at + size], step.escape)
        yield frames.event("reasoningContentEvent", b'{"text":"' + piece + b'"}')
    if not step.signature_first:
        yield from signed


def _tool(step: s.Tool, scene: Scene) -> Iterator[bytes]:
    base = {
        "name": step.name,
        "toolUseId": step.tool_use_id or _tool_use_id(scene),
    }
    yield _tool_frame(base)
    if step.input is not None and step.as_object:
        yield _tool_frame({"input": orjson.loads(step.input), **base})
    elif step.input is not None:
        size = step.size or len(step.input) or 1
        for at in range(0, len(step.input), size):
            yield _tool_frame({"input": step.input[at : at + size], **base})
    if step.stop:
        yield _tool_frame({**base, "stop": True})


def _tool_use_id(scene: Scene) -> str:
    seed = f"{scene.conversation_id}/{scene.turn}/{next(scene.serial)}"
    return f"tooluse_{hashlib.sha256(seed.encode()).hexdigest()[:22]}"


def _tool_frame(payload: dict[str, Any]) -> bytes:
    return frames.event("toolUseEvent", payload)


def _tail(step: s.Tail) -> Iterator[bytes]:
    if step.metadata:
        usage = {"tokenUsage": dict(step.token_usage)} if step.token_usage else {}
        yield frames.event("metadataEvent", {"stopReason": step.stop_reason, **usage})
    if step.context_percentage is not None:
        percentage = {"contextUsagePercentage": step.context_percentage}
        yield frames.event("contextUsageEvent", percentage)
    if step.credits is not None:
        metering = {"unit": "credit", "unitPlural": "credits", "usage": step.credits}
        yield frames.event("meteringEvent", metering)
