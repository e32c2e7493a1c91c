"""Tool input schemas made acceptable to Kiro.

Rules of this file: repair only what Kiro refuses. Keywords it takes stay as they are, because
they are what tells the model how to call the tool. What is refused, as TOOL_SCHEMA_INVALID or
"Improperly formed request": a root that is not an object, combinators at the root, null where
a value belongs, an empty `required`.

Theory of operation: clients send the same tools with every request, so a repaired schema is
kept as JSON bytes under the JSON bytes it came from; a hit costs one serialisation.
"""

from functools import lru_cache
from typing import Any, TypeAlias

import orjson

Schema: TypeAlias = dict[str, Any]

_COMBINATORS = ("allOf", "anyOf", "oneOf")
# Keywords by what their value is, to tell a keyword `required` from a property of that name.
_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_VALUES = frozenset({"default", "const", "enum", "example", "examples"})


def repaired(schema: Any) -> orjson.Fragment:
    """Return the schema as JSON that Kiro accepts.

    Cost: one serialisation for a schema seen before.
    """
    return orjson.Fragment(_repaired(orjson.dumps(schema)))


@lru_cache(maxsize=1024)  # some 30 tools a client, a few KB each: a few MB at worst
def _repaired(schema: bytes) -> bytes:
    return orjson.dumps(repair(orjson.loads(schema)))


def repair(schema: Any) -> Schema:
    """Make one tool's input schema an object schema without nulls and root combinators."""
    root = _clean(schema) if isinstance(schema, dict) else {}
    root = _dereferenced(root, root)
    if _describes_other_than_object(root):
        definitions: Schema = {
            key: root.pop(key) for key in ("$defs", "definitions") if key in root
        }
        name = "items" if root.get("type") == "array" else "value"
        return {"type": "object", "properties": {name: root}, "required": [name], **definitions}
    for word in _COMBINATORS:
        if word in root:
            root = _absorb(root, root.pop(word), every=word == "allOf")
    return {**root, "type": "object", "properties": root.get("properties", {})}


def _describes_other_than_object(root: Schema) -> bool:
    kinds = root.get("type")
    if kinds is None or "properties" in root:
        return False
    return "object" not in (kinds if isinstance(kinds, list) else [kinds])


def _dereferenced(node: Schema, root: Schema) -> Schema:
    """Follow a local `$ref` once; anything deeper stays for the model to read."""
    path = node.get("$ref")
    if not isinstance(path, str) or not path.startswith("#/"):
        return node
    target: Any = root
    for step in path[2:].split("/"):
        target = target.get(step) if isinstance(target, dict) else None
    if not isinstance(target, dict):
        return node
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def _absorb(root: Schema, variants: Any, *, every: bool) -> Schema:
    """Fold alternatives into one object: all their properties, and what all of them require.

    Every call that fits one alternative fits the result; the first one wins a name.
    """
    parts = [_dereferenced(part, root) for part in variants if isinstance(part, dict)]
    parts = [_flattened(part, root) for part in parts if not _describes_other_than_object(part)]
    properties = dict(root.get("properties", {}))
    for part in parts:
        for name, value in part.get("properties", {}).items():
            properties.setdefault(name, value)
    demands = [part.get("required", []) for part in parts]
    common = [
        name
        for name in dict.fromkeys(name for names in demands for name in names)
        if every or all(name in names for names in demands)
    ]
    required = list(dict.fromkeys([*root.get("required", []), *common]))
    merged = {**root, "properties": properties}
    for part in parts:  # titles, descriptions, definitions: whatever the root does not say
        for key, value in part.items():
            merged.setdefault(key, value)
    merged.pop("required", None)
    return {**merged, "required": required} if required else merged


def _flattened(part: Schema, root: Schema) -> Schema:
    for word in _COMBINATORS:
        if word in part:
            part = {**part}
            part = _absorb(part, part.pop(word), every=word == "allOf")
    return part


# -- nulls -----------------------------------------------------------------------------------


def _clean(node: Any) -> Any:
    """Drop null keywords and malformed `required`/`properties`, at every depth."""
    if not isinstance(node, dict):
        return node
    cleaned: Schema = {}
    for key, value in node.items():
        if key == "const" and value is None:
            cleaned["type"] = "null"  # the only null that means something
        elif value is not None:
            _keep(cleaned, key, value)
    return cleaned


def _keep(cleaned: Schema, key: str, value: Any) -> None:
    if key == "required":
        names = [name for name in value if isinstance(name, str)] if _is_list(value) else []
        if names:
            cleaned[key] = names
    elif key in _MAPS:
        if isinstance(value, dict):
            cleaned[key] = {name: _clean(item) for name, item in value.items() if item is not None}
    elif key in _LISTS:
        parts = [_clean(item) for item in value if item is not None] if _is_list(value) else []
        if parts:
            cleaned[key] = parts
    elif key in _VALUES:
        cleaned[key] = value
    elif _is_list(value):
        cleaned[key] = [_clean(item) for item in value if item is not None]
    else:
        cleaned[key] = _clean(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
