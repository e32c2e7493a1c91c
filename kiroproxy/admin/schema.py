"""Shapes of bodies and parameters: JSON Schema that is published, and checked by its own words.

Rules of this file: `check` understands exactly the keywords that the builders here write, so
that what the API document says and what the API does cannot differ.

Source: JSON Schema 2020-12, as OpenAPI 3.1 uses it.
"""

import re
from collections.abc import Mapping
from typing import Any

from kiroproxy.admin.refusal import Refusal, invalid

Schema = Mapping[str, Any]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_MOST_ID = 2**53 - 1  # what every JSON reader holds exactly


def text(most: int = 8192, **more: Any) -> dict[str, Any]:
    """Describe a string."""
    return {"type": "string", "maxLength": most, **more}


def whole(least: int = 0, most: int = _MOST_ID, **more: Any) -> dict[str, Any]:
    """Describe a whole number."""
    return {"type": "integer", "minimum": least, "maximum": most, **more}


def number(least: float = 0, most: float = 1e15, **more: Any) -> dict[str, Any]:
    """Describe a number."""
    return {"type": "number", "minimum": least, "maximum": most, **more}


def flag(**more: Any) -> dict[str, Any]:
    """Describe true and false."""
    return {"type": "boolean", **more}


def one_of(*values: str, **more: Any) -> dict[str, Any]:
    """Describe a few words."""
    return {"type": "string", "enum": list(values), **more}


def array(items: Schema, most: int = 20_000, **more: Any) -> dict[str, Any]:
    """Describe a list."""
    return {"type": "array", "items": items, "maxItems": most, **more}


def record(
    properties: Mapping[str, Schema],
    *required: str,
    open: bool = False,
    least: int = 0,
) -> dict[str, Any]:
    """Describe an object; `open` ones may hold more than what is named."""
    found: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required:
        found["required"] = list(required)
    if not open:
        found["additionalProperties"] = False
    if least:
        found["minProperties"] = least
    return found


def optional(schema: Schema) -> dict[str, Any]:
    """Allow null as well."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    found = {**schema, "type": [*kinds, "null"]}
    if "enum" in found:
        found["enum"] = [*found["enum"], None]
    return found


def check(schema: Schema, value: Any, where: str = "body") -> None:
    """Compare a value with its shape. Raises: Refusal — names the place and what belongs there."""
    kinds = schema.get("type")
    if kinds is not None:
        allowed = [kinds] if isinstance(kinds, str) else kinds
        if not any(_is(value, kind) for kind in allowed):
            raise _wrong(where, "is of the wrong type", f"Write {' or '.join(allowed)}")
    if "enum" in schema and value not in schema["enum"]:
        choices = ", ".join(str(choice) for choice in schema["enum"])
        raise _wrong(where, "is not one of the choices", f"Write one of {choices}")
    if isinstance(value, str):
        _check_text(schema, value, where)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_number(schema, value, where)
    elif isinstance(value, list):
        _check_array(schema, value, where)
    elif isinstance(value, dict):
        _check_object(schema, value, where)


def _check_text(schema: Schema, value: str, where: str) -> None:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        least, most = schema.get("minLength", 0), schema.get("maxLength", "any")
        raise _wrong(where, f"has {len(value)} characters", f"Write {least} to {most}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise _wrong(where, "is not of the right form", f"It has to match {schema['pattern']}")


def _check_number(schema: Schema, value: float, where: str) -> None:
    low, high = schema.get("minimum", value), schema.get("maximum", value)
    if not low <= value <= high:
        raise _wrong(where, f"is {value:g}", f"Write {low:g} to {high:g}")


def _check_array(schema: Schema, value: list[Any], where: str) -> None:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        least, most = schema.get("minItems", 0), schema.get("maxItems", "any")
        raise _wrong(where, f"has {len(value)} items", f"Give {least} to {most}")
    for position, item in enumerate(value):
        check(schema.get("items", {}), item, f"{where}[{position}]")


def _check_object(schema: Schema, value: dict[str, Any], where: str) -> None:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            raise invalid("missing_field", f"{where}.{name} is missing", f"Add {name}")
    if len(value) < schema.get("minProperties", 0):
        raise invalid("missing_field", f"{where} names nothing", "Name at least one field")
    for name, member in value.items():
        if name in known:
            check(known[name], member, f"{where}.{name}")
        elif schema.get("additionalProperties") is False:
            raise invalid(
                "unknown_field",
                f"{where}.{name[:80]} is not known",
                f"Known are {', '.join(sorted(known)) or 'none'}",
            )
        elif isinstance(schema.get("additionalProperties"), Mapping):
            check(schema["additionalProperties"], member, f"{where}.{name[:80]}")


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()  # JSON knows one kind of number
    return isinstance(value, _TYPES[kind])


def _wrong(where: str, reason: str, remedy: str) -> Refusal:
    return invalid("invalid_field", f"{where} {reason}", remedy)
