"""JSON with `//` comments: reading it, and saying on which line something stands.

Rules of this file: no I/O; a text keeps its positions whatever is done to it, so that a line
number is the one an editor shows.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from kiroproxy.errors import ConfigError

_STRING_OR_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*')
_KEY_OR_BRACKET = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|[{}\[\]]')


def parse_object(text: str, file: str) -> dict[str, Any]:
    """Parse one JSON object. Raises: ConfigError."""
    value = parse(text, file)
    if not isinstance(value, dict):
        raise ConfigError(
            f"holds {type_name(value)}, not an object", file=file, line=1, remedy="Write { ... }"
        )
    return value


def parse(text: str, file: str) -> Any:
    """Parse any JSON value. Raises: ConfigError."""
    try:
        return json.loads(without_comments(text))
    except json.JSONDecodeError as fault:
        raise ConfigError(
            f"is not JSON: {fault.msg} at column {fault.colno}",
            file=file,
            line=fault.lineno,
            remedy=_remedy(text, fault),
        ) from None


def _remedy(text: str, fault: json.JSONDecodeError) -> str:
    if not text.strip("\ufeff \t\r\n"):
        return "The file is empty: write { ... }, or copy an example"
    if text.removeprefix("\ufeff")[fault.pos : fault.pos + 2] == "/*":
        return "Comments start with //"
    return "Look for a missing or a spare comma, or a missing quote, on this line or the one before"


def without_comments(text: str) -> str:
    """Blank out `//` comments outside strings; every other character keeps its position."""
    return _STRING_OR_COMMENT.sub(
        lambda found: found[1] if found[1] else " " * len(found[0]), text.removeprefix("\ufeff")
    )


def line_of(text: str, *keys: str) -> int:
    """Return the line a key stands on, 0 when it cannot be told.

    Shape: several keys are a path, each inside what the one before it names.
    """
    plain, at = without_comments(text), -1
    for key in keys:
        found = re.compile(rf'"{re.escape(key)}"\s*:').search(plain, at + 1)
        if found is None:
            break
        at = found.start()
    return plain.count("\n", 0, at) + 1 if at >= 0 else 0


def repeated_keys(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, key) of keys that one object holds again: parsers keep the last silently.

    Order: after `parse`, which has made sure that the text is JSON.
    """
    plain = without_comments(text)
    open_objects: list[set[str]] = []
    for found in _KEY_OR_BRACKET.finditer(plain):
        if found[0] in ("{", "["):
            open_objects.append(set())
        elif found[0] in ("}", "]"):
            open_objects.pop()
        elif found[2]:
            if found[1] in open_objects[-1]:
                yield plain.count("\n", 0, found.start()) + 1, found[1]
            open_objects[-1].add(found[1])


def type_name(value: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    names |= {list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), type(value).__name__)
