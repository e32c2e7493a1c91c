"""Tool calls that a model wrote out as text, understood.

Rules of this file: a call counts only if it names a tool the request offers, is complete, and its
arguments are what the tool's schema asks for; everything else stays text. Values are passed on
as they were written: nothing is trimmed but the newlines around a value on lines of its own.

Theory of operation. `_calls` finds where a call may begin and end, and asks `read`, which walks
the text once. `_Unfinished` says that the end of the text was reached inside a call: more may
come; `_NoCall` that no continuation can make it one.

Source: the forms listed in `_calls`; JSON Schema for the arguments.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Literal

import orjson

Tools = dict[str, tuple[str, dict[str, Any]]]  # wire or client's name → client's, schema
Call = tuple[str, bytes]

_TAG_MAX = 300  # characters of a tag; an open `<` with more behind it is something else
_P = r"(?:antml" r":|minimax:|｜DSML｜)?"
_WRAPPER = re.compile(rf"<{_P}(?:function_calls|tool_calls?)>\s*")
_WRAPPER_END = re.compile(rf"</{_P}(?:function_calls|tool_calls?)>")
_INVOKE = re.compile(rf"<{_P}invoke\s+name\s*=\s*(['\"])([^'\"<>]+)\1\s*>\s*")
_INVOKE_END = re.compile(rf"</{_P}invoke>\s*")
_PARAMETER = re.compile(rf"<{_P}parameter\s+name\s*=\s*(['\"])([^'\"<>]+)\1([^<>]*)>")
# A value may hold such a tag itself: it ends where the call goes on behind it.
_PARAMETER_END = re.compile(rf"</{_P}parameter>\s*(?=<{_P}parameter\s|</{_P}invoke>)")
_OBJECT = re.compile(r"<(tool_use|tool_call)>\s*(\{|$)")
_CALLED = re.compile(
    r"\[Called (?:the )?(?:tool )?`?([\w.:/-]{1,200})`? with (?:args|arguments|input)?:?\s*(?=\{)"
)
_CALLED_END = re.compile(r"\s*\]")
_JSON = json.JSONDecoder()
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


class _Unfinished(Exception):
    """The text ends within the call."""


class _NoCall(Exception):
    """It is not a call of an offered tool."""


class WrittenCalls:
    """The calls of one request's tools. `tools` is asked once, when the first may have come."""

    def __init__(self, tools: Callable[[], Tools]) -> None:
        self._find = tools
        self._tools: Tools | None = None

    def read(self, held: bytes, final: bool) -> tuple[int, list[Call]] | Literal[False] | None:
        """Understand what stands at the beginning of a text.

        Shape: None — more is needed; False — no call; else the bytes it takes, and its calls by
        the client's names. `final`: nothing will follow.
        """
        if self._tools is None:
            self._tools = self._find()
        text = held.decode()
        whole: list[Call] = []
        try:
            end = self._read(text, whole, final)
        except (_NoCall, RecursionError):  # so deep that reading it again was too deep
            return False
        except _Unfinished:
            return False if final else None
        return len(text[:end].encode()), whole

    def _read(self, text: str, whole: list[Call], final: bool) -> int:
        if text.startswith("["):
            return self._called(text, whole)
        if (at := _OBJECT.match(text)) is not None:
            return self._object(text, at, whole)
        wrapper = _WRAPPER.match(text)
        end = wrapper.end() if wrapper else 0
        while True:
            if final and whole and not text[end:].strip():
                return len(text)  # a wrapper that nobody closed around calls that are whole
            end = self._invoke(text, end, whole)
            if wrapper is None:
                return end
            if (closed := _WRAPPER_END.match(text, end)) is not None:
                return closed.end()

    # -- tags ------------------------------------------------------------------------------

    def _invoke(self, text: str, at: int, whole: list[Call]) -> int:
        head = _tag(_INVOKE, text, at)
        name, schema = self._tool(head[2])
        known = schema.get("properties")
        kinds = known if isinstance(known, dict) else {}
        end, members = head.end(), {}
        while (closed := _INVOKE_END.match(text, end)) is None:
            head = _tag(_PARAMETER, text, end)
            value_end = _PARAMETER_END.search(text, head.end())
            if value_end is None:
                raise _Unfinished
            value = _unlined(text[head.end() : value_end.start()])
            members[head[2]] = _encoded(value, kinds.get(head[2]), head[3])
            end = value_end.end()
        arguments = b",".join(orjson.dumps(key) + b":" + value for key, value in members.items())
        whole.append((name, _checked(b"{" + arguments + b"}", schema)))
        return closed.end()

    # -- JSON ------------------------------------------------------------------------------

    def _called(self, text: str, whole: list[Call]) -> int:
        head = _CALLED.match(text)
        if head is None:
            if len(text) >= _TAG_MAX or any(mark in text for mark in "]{\n"):
                raise _NoCall
            raise _Unfinished
        name, schema = self._tool(head[1])
        end = _object_end(text, head.end())
        closed = _CALLED_END.match(text, end)
        if closed is None:
            raise _NoCall if text[end:].strip() else _Unfinished
        whole.append((name, _checked(text[head.end() : end].encode(), schema)))
        return closed.end()

    def _object(self, text: str, head: re.Match[str], whole: list[Call]) -> int:
        if not head[2]:
            raise _Unfinished
        start = head.start(2)
        end = _object_end(text, start)
        closing = f"</{head[1]}>"
        rest = text[end:].lstrip()
        if not rest.startswith(closing):
            raise _Unfinished if closing.startswith(rest) else _NoCall
        found = json.loads(text[start:end])
        name, schema = self._tool(found.get("name"))
        given = [found[key] for key in ("input", "arguments", "parameters", "args") if key in found]
        if len(given) != 1 or not isinstance(given[0], dict):
            raise _NoCall
        whole.append((name, _checked(json.dumps(given[0]).encode(), schema)))
        return len(text) - len(rest) + len(closing)

    def _tool(self, name: Any) -> tuple[str, dict[str, Any]]:
        assert self._tools is not None, "read() has asked for them"
        if not isinstance(name, str) or name not in self._tools:
            raise _NoCall
        return self._tools[name]


def _tag(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    found = pattern.match(text, at)
    if found is not None:
        return found
    rest = text[at : at + _TAG_MAX]
    if ">" in rest or len(rest) == _TAG_MAX or (rest and not rest.startswith("<")):
        raise _NoCall
    raise _Unfinished


def _object_end(text: str, at: int) -> int:
    """Return where the JSON object that begins at `at` ends."""
    if not text.startswith("{", at):
        raise _NoCall if text[at:] else _Unfinished
    try:
        return _JSON.raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        raise _Unfinished from None  # or broken: then its end will never come


def _unlined(value: str) -> str:
    """Return a value that stands on lines of its own without the newlines that make it so."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == "\n" else value


def _encoded(value: str, schema: Any, attributes: str) -> bytes:
    """Return a parameter's value as JSON: the schema tells whether it is text."""
    kinds = schema.get("type") if isinstance(schema, dict) else None
    kinds = kinds if isinstance(kinds, list) else [kinds]
    is_text = "string" in kinds or (kinds == [None] and not value.lstrip().startswith(("{", "[")))
    if 'string="' in attributes:  # one dialect says so itself
        is_text = 'string="true"' in attributes
    if is_text:
        return orjson.dumps(value)
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        raise _NoCall from None
    return value.strip().encode()


def _checked(arguments: bytes, schema: dict[str, Any]) -> bytes:
    """Return arguments that have what the schema requires, of the kinds it names."""
    try:
        orjson.loads(arguments)  # as the client will read it
        found = json.loads(arguments)  # keeps an integer one, however large
    except (ValueError, RecursionError):
        raise _NoCall from None
    known = schema.get("properties")
    known = known if isinstance(known, dict) else {}
    required = schema.get("required")
    if any(name not in found for name in (required if isinstance(required, list) else ())):
        raise _NoCall
    if schema.get("additionalProperties") is False and not found.keys() <= known.keys():
        raise _NoCall
    if not all(_fits(value, known.get(name)) for name, value in found.items()):
        raise _NoCall
    return arguments


def _fits(value: Any, schema: Any) -> bool:
    kinds = schema.get("type") if isinstance(schema, dict) else None
    kinds = kinds if isinstance(kinds, list) else [kinds]
    tests = [_TYPES[kind] for kind in kinds if isinstance(kind, str) and kind in _TYPES]
    return not tests or any(test(value) for test in tests)
