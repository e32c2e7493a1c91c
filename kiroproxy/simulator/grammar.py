"""Kinds of shape a request body is described with, and the check of a value against one.

Rules of this file: it knows JSON and nothing of Kiro. A structure refuses members it does not
know and members that are null. Documents are free inside, but every string in them must be valid
Unicode.

    S1 required member missing          S5 length or count out of range
    S2 member unknown                   S6 pattern or enumeration not met
    S3 member null                      S7 union without exactly one member
    S4 wrong JSON type                  S8 string that is not valid Unicode (lone surrogate)
    S9 bytes that are not base64
"""

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kiroproxy.simulator.refusals import Violation

TEN_MILLION: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Text:
    """A string of limited length, matching a pattern or one of a set."""

    least: int = 0
    most: int = TEN_MILLION
    pattern: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blob:
    """Base64 text; `reason` is what Kiro calls an oversized one."""

    most: int = TEN_MILLION
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, slots=True)
class Number:
    """An integer in a range."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Document:
    """Any JSON object; every string in it must still be valid Unicode."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array of one shape."""

    item: "Shape"
    most: int = 1 << 30
    least: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Struct:
    """An object with known members."""

    members: "Mapping[str, Shape]"
    required: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Union:
    """An object holding exactly one of several members."""

    members: "Mapping[str, Shape]"


Shape = Text | Blob | Flag | Number | Document | ListOf | Struct | Union


def check(shape: Shape, value: Any, where: str) -> Iterator[Violation]:
    """Yield what is wrong with `value`, outermost first."""
    match shape:
        case Text():
            yield from _check_text(shape, value, where)
        case Blob():
            yield from _check_blob(shape, value, where)
        case Flag():
            yield from _wrong_type(isinstance(value, bool), "a boolean", value, where)
        case Number():
            yield from _check_number(shape, value, where)
        case Document():
            yield from _check_document(value, where)
        case ListOf():
            yield from _check_list(shape, value, where)
        case Struct() | Union():
            yield from _check_members(shape, value, where)


def _wrong_type(is_right: bool, wanted: str, value: Any, where: str) -> Iterator[Violation]:
    if not is_right:
        yield Violation("S4", where, f"must be {wanted}, is {type(value).__name__}")


def _check_text(shape: Text, value: Any, where: str) -> Iterator[Violation]:
    if not isinstance(value, str):
        yield from _wrong_type(False, "a string", value, where)
        return
    yield from _check_unicode(value, where)
    if not shape.least <= len(value) <= shape.most:
        yield Violation("S5", where, f"{len(value)} characters, {shape.least}–{shape.most} allowed")
    elif shape.choices and value not in shape.choices:
        yield Violation("S6", where, f"{value!r} is none of {', '.join(shape.choices)}")
    elif shape.pattern and not re.fullmatch(shape.pattern, value):
        yield Violation("S6", where, f"{value!r} does not match {shape.pattern}")


def _check_unicode(value: str, where: str) -> Iterator[Violation]:
    try:
        value.encode()
    except UnicodeEncodeError as broken:
        yield Violation("S8", where, f"lone surrogate at character {broken.start}")


def _check_blob(shape: Blob, value: Any, where: str) -> Iterator[Violation]:
    if not isinstance(value, str):
        yield from _wrong_type(False, "base64 text", value, where)
        return
    try:
        size = len(binascii.a2b_base64(value.encode(), strict_mode=True))
    except ValueError as broken:
        yield Violation("S9", where, f"not base64: {broken}")
        return
    if not 1 <= size <= shape.most:
        reason = shape.reason if size else None
        yield Violation("S5", where, f"{size} bytes, 1–{shape.most} allowed", reason)


def _check_number(shape: Number, value: Any, where: str) -> Iterator[Violation]:
    if not isinstance(value, int) or isinstance(value, bool):
        yield from _wrong_type(False, "an integer", value, where)
    elif not shape.least <= value <= shape.most:
        yield Violation("S5", where, f"{value} is outside {shape.least}–{shape.most}")


def _check_document(value: Any, where: str) -> Iterator[Violation]:
    if not isinstance(value, dict):
        yield from _wrong_type(False, "an object", value, where)
        return
    for text in _strings(value):
        yield from _check_unicode(text, where)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from _strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from _strings(member)


def _check_list(shape: ListOf, value: Any, where: str) -> Iterator[Violation]:
    if not isinstance(value, list):
        yield from _wrong_type(False, "an array", value, where)
        return
    if not shape.least <= len(value) <= shape.most:
        yield Violation("S5", where, f"{len(value)} entries, {shape.most} allowed", shape.reason)
    for index, item in enumerate(value):
        yield from check(shape.item, item, f"{where}[{index}]")


def _check_members(shape: Struct | Union, value: Any, where: str) -> Iterator[Violation]:
    if not isinstance(value, dict):
        yield from _wrong_type(False, "an object", value, where)
        return
    known = [name for name in value if name in shape.members]
    if isinstance(shape, Union) and len(known) != 1:
        yield Violation("S7", where, f"holds {known or 'none'} of {', '.join(shape.members)}")
    if isinstance(shape, Struct):
        for name in sorted(shape.required - value.keys()):
            yield Violation("S1", f"{where}.{name}", "is required")
    for name, member in value.items():
        place = f"{where}.{name}"
        if name not in shape.members:
            yield Violation("S2", place, "is no member of this structure")
        elif member is None:
            yield Violation("S3", place, "is null; leave it out")
        else:
            yield from check(shape.members[name], member, place)
