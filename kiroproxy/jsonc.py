"""JSON with `//` comments: reading it, saying on which line something stands, editing it in place.

Rules of this file: no I/O; a text keeps its positions whatever is done to it, so that a line
number is the one an editor shows. An edit touches the members it was asked for: comments,
blanks, order and everything else stay byte for byte.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

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
    except RecursionError:
        raise ConfigError("is nested too deeply", file=file) from None
    except ValueError:  # a whole number of thousands of digits
        raise ConfigError("holds a number that is too long", file=file) from None


def _remedy(text: str, fault: json.JSONDecodeError) -> str:
    if not text.strip("\ufeff \t\r\n"):
        return "The file is empty: write { ... }, or copy an example"
    if text.removeprefix("\ufeff")[fault.pos : fault.pos + 2] == "/*":
        return "Comments start with //"
    return "Look for a missing or a spare comma, or a missing quote, on this line or the one before"


def without_comments(text: str) -> str:
    """Blank out `//` comments outside strings; every other character keeps its position."""
    if "//" not in text:
        return text.removeprefix("\ufeff")  # thousands of credentials are megabytes
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
    if not plain.strip() or not _repeats(plain):
        return  # as a rule, and the parser knows in a tenth of the time
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


def _repeats(plain: str) -> bool:
    found = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        made = dict(pairs)
        found |= len(made) < len(pairs)
        return made

    json.loads(plain, object_pairs_hook=look)
    return found


def type_name(value: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    names |= {list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), type(value).__name__)


# -- editing -------------------------------------------------------------------------------


class _Member(NamedTuple):
    """Where a member of the outer object stands: its key's first quote, its value's two ends."""

    key: str
    at: int
    start: int
    end: int


def with_members(text: str, changes: Mapping[str, Any]) -> str:
    """Return an object's text with members replaced, added or, where the value is None, removed.

    Order: after `parse_object`; an empty text counts as an empty object.
    """
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix("\ufeff")
    if not text.strip():
        text = "{\n}\n"
    for key, value in changes.items():
        text = _without(text, key) if value is None else _with(text, key, value)
    return mark + text


def _with(text: str, key: str, value: Any) -> str:
    plain = without_comments(text)
    members = list(_members(plain))
    indent = _indent(text, members)
    written = json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict) else None)
    written = written.replace("\n", f"{_newline(text)}{indent}")
    for member in reversed(members):  # of repeated keys the last one counts
        if member.key == key:
            return text[: member.start] + written + text[member.end :]
    return _appended(text, plain, members, f"{json.dumps(key)}: {written}")


def _appended(text: str, plain: str, members: list[_Member], member: str) -> str:
    close = plain.rindex("}")
    after = members[-1].end if members else plain.index("{") + 1
    comma = "," if members else ""
    if members and "\n" not in text[plain.index("{") : close]:
        return f"{text[:after]}, {member}{text[after:]}"
    # What stands between the last value and the end, a comment perhaps, stays before the new one.
    between = text[after:close].rstrip()
    newline = _newline(text)
    line = f"{newline}{_indent(text, members)}{member}{newline}"
    return text[:after] + comma + between + line + text[close:]


def _without(text: str, key: str) -> str:
    while True:
        plain = without_comments(text)
        members = list(_members(plain))
        place = next((n for n, member in enumerate(members) if member.key == key), None)
        if place is None:
            return text
        at, _, end = members[place][1:]
        following = _skip(plain, end)
        if plain[following] == ",":
            text = text[:at] + text[end:following] + text[following + 1 :]
        else:
            text = text[:at] + text[end:]
            if place:
                comma = plain.index(",", members[place - 1].end)
                text, at = text[:comma] + text[comma + 1 :], at - 1
        text = text[:at] + text[at:].lstrip(" \t")
        start, newline = text.rfind("\n", 0, at) + 1, text.find("\n", at) + 1
        if start and newline and not text[start:newline].strip():  # nothing is left on its line
            text = text[:start] + text[newline:]


def _members(plain: str) -> Iterator[_Member]:
    decoder = json.JSONDecoder()
    at = _skip(plain, plain.index("{") + 1)
    while plain[at] != "}":
        key, end = decoder.raw_decode(plain, at)
        start = _skip(plain, plain.index(":", end) + 1)
        _, end = decoder.raw_decode(plain, start)
        yield _Member(key, at, start, end)
        at = _skip(plain, end)
        if plain[at] == ",":
            at = _skip(plain, at + 1)


def _skip(plain: str, at: int) -> int:
    while plain[at] in " \t\r\n":
        at += 1
    return at


def _indent(text: str, members: list[_Member]) -> str:
    """Return what stands before the first member, if it begins its line."""
    if members:
        line = text[text.rfind("\n", 0, members[0].at) + 1 : members[0].at]
        if line and not line.strip():
            return line
    return "  "


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
