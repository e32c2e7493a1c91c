"""Scripts: what the simulator does with one request, as plain data.

A `Script` is a list of steps played in order. `answer(...)` makes the ordinary kind, with Kiro's
opening frame and its closing tail; a bare `Script` plays exactly its steps, which is how streams
that break off are written.

Rules of this file: data only, and its JSON form: `{"steps": [{"do": "text", "text": "hi"}]}`,
a step being its class name in lower case plus its fields. Nothing here sends a byte.

Source: streams recorded by gateways' authors; the frames they saw go wrong.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

Escape = Literal["plain", "html", "ascii"]
Unit = Literal["char", "utf16", "byte"]


@dataclass(frozen=True, slots=True)
class Text:
    """Say text: `pieces` as they are, or `text` cut every `size` units (0 = in one piece).

    Units: "byte" and "utf16" may cut a character in two, so that neither frame is whole text.
    escape: "html" writes < > & as \\u003c…, "ascii" everything above 127 as \\uXXXX.
    """

    text: str = ""
    size: int = 0
    pieces: tuple[str, ...] = ()
    unit: Unit = "char"
    escape: Escape = "plain"


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Think: text frames, then a frame with a signature ("auto" = a genuine one, "" = none)."""

    text: str = ""
    size: int = 0
    signature: str = "auto"
    signature_first: bool = False
    escape: Escape = "plain"


@dataclass(frozen=True, slots=True)
class Redacted:
    """Think behind closed doors: base64 only."""

    data: str = "cmVkYWN0ZWQ="


@dataclass(frozen=True, slots=True)
class Tool:
    """Call a tool: a frame with the name, `input` cut every `size` characters, a stop frame.

    Shape: `input` is the JSON text itself, so that it may be broken; None = no input key in any
    frame, which is how a call without arguments comes. `as_object` sends it parsed, in one frame.
    `stop=False` leaves the call unfinished.
    """

    name: str
    input: str | None = None
    tool_use_id: str = ""
    size: int = 0
    stop: bool = True
    as_object: bool = False


@dataclass(frozen=True, slots=True)
class Interleaved:
    """Call several tools at once, their frames dealt out in turn."""

    tools: tuple[Tool, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Send one event frame as given; `payload` may be raw text that is not JSON."""

    name: str
    payload: Mapping[str, Any] | str = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Throw:
    """Send an exception frame."""

    name: str = "InternalServerException"
    message: str = "Encountered an unexpected error when processing the request."
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Error:
    """Send an error frame: headers only."""

    code: str = "InternalServerError"
    message: str = "internal error"


@dataclass(frozen=True, slots=True)
class Raw:
    """Send bytes that need not be a frame; in JSON, base64."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Flip one byte of the next frame; a negative offset counts from its end."""

    offset: int = -1
    flip: int = 0x01


@dataclass(frozen=True, slots=True)
class Head:
    """Send the response head now, before there is a frame."""


@dataclass(frozen=True, slots=True)
class Start:
    """Send the opening: messageMetadataEvent, after initial-response where targets are used."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Send the closing frames in Kiro's order; None or False leaves one out."""

    metadata: bool = True
    stop_reason: str = "END_TURN"
    token_usage: Mapping[str, Any] | None = None
    context_percentage: float | None = 1.5
    credits: float | None = 0.02


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for a while: before the head if it is the first step, else between frames."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Do nothing until the test calls `Simulator.release(name)`."""

    name: str = "hold"


@dataclass(frozen=True, slots=True)
class Silence:
    """Never go on; the connection stays open until the caller leaves."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Break the connection here: "reset" sends RST, "close" FIN without the last chunk."""

    how: Literal["reset", "close"] = "reset"


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with an error status in Kiro's form; only as the last step before any frame."""

    status: int = 500
    kind: str = "InternalServerException"
    message: str = "Encountered an unexpected error when processing the request, please try again."
    reason: str | None = None
    retry_after_s: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plain:
    """Answer anything at all: an HTML page, a 200 that is JSON; only before any frame."""

    status: int = 200
    body: str = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Step = (
    Text | Reasoning | Redacted | Tool | Interleaved | Event | Throw | Error | Raw | Damage | Head
    | Start | Tail | Wait | Hold | Silence | Drop | Refuse | Plain
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script:
    """Steps, and how their bytes are laid on the wire.

    Units: `cut_after` counts body bytes, after which `cut` happens ("end" = a clean end of body);
    `chunk_sizes` are body bytes a write, used in turn, regardless of frame borders.
    """

    steps: tuple[Step, ...] = ()
    pace_s: float = 0.0
    chunk_sizes: tuple[int, ...] = ()
    cut_after: int | None = None
    cut: Literal["reset", "close", "end"] = "reset"


def answer(*steps: Step | str, **options: Any) -> Script:
    """Make a whole, ordinary answer: opening, steps (a str is Text), tail.

    Shape: options are Script's. A Tail among the steps replaces the ordinary one.
    """
    made = tuple(Text(step) if isinstance(step, str) else step for step in steps)
    tail = () if any(isinstance(step, Tail) for step in made) else (Tail(),)
    return Script((Start(), *made, *tail), **options)


def refuse(status: int, kind: str, message: str, reason: str | None = None, **more: Any) -> Script:
    """Make an answer that is only an error."""
    return Script((Refuse(status, kind, message, reason, **more),))


KINDS: Final = {kind.__name__.lower(): kind for kind in Step.__args__}


class BadScript(ValueError):
    """JSON that is no script."""


def from_json(value: Any) -> Script:
    """Read a script from parsed JSON.

    Raises: BadScript — naming the step or member that is wrong.
    """
    if not isinstance(value, dict):
        raise BadScript("a script is an object with `steps`")
    options = {name: member for name, member in value.items() if name != "steps"}
    known = {part.name for part in fields(Script)}
    if unknown := options.keys() - known - {"answer"}:
        raise BadScript(f"unknown script members {sorted(unknown)}")
    whole = bool(options.pop("answer", False))
    options = {name: _frozen(member) for name, member in options.items()}
    steps = tuple(_step(step) for step in value.get("steps", []))
    return answer(*steps, **options) if whole else Script(steps, **options)


def _step(value: Any) -> Step:
    if isinstance(value, str):
        return Text(value)
    if not isinstance(value, dict) or value.get("do") not in KINDS:
        raise BadScript(f"a step is a string or has `do`, one of {', '.join(KINDS)}: {value!r}")
    kind = KINDS[value["do"]]
    members = {name: _frozen(member) for name, member in value.items() if name != "do"}
    if unknown := members.keys() - {part.name for part in fields(kind)}:
        raise BadScript(f"{value['do']} has no {sorted(unknown)}")
    if kind is Raw:
        members["data"] = base64.b64decode(str(members.get("data", "")))
    if kind is Interleaved:
        members["tools"] = tuple(Tool(**tool) for tool in members.get("tools", ()))
    try:
        made: Step = kind(**members)
    except TypeError as error:
        raise BadScript(f"{value['do']}: {error}") from error
    return made


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
