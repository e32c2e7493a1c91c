"""Whether a text is JSON that validates against the schema of `output_config.format`.

Rules of this file: no network and no unbounded work, whoever wrote the schema: only references
within it are followed, patterns run on an engine that cannot backtrack without end, and the work
is bounded before it is begun. What a client is told of a fault is its place and its keyword,
never the value.

Theory of operation. A validator's work can grow exponentially in the depth of the references of
a schema, and for a recursive one in the depth of the value. `_Costs` counts, for a value of a
given depth, how many subschemas can come to be applied on one way from its root; that times the
value's parts bounds the work. A schema that applies itself to the very same value is refused: it
says nothing, and bounds nothing.

Source: JSON Schema 2020-12 core §7-§11; the jsonschema-rs library for the validation itself.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

import orjson

from kiroproxy.errors import RequestError

WHERE = "output_config.format.schema"
COST_MAX = 5_000_000  # subschemas applied; about a fifth of a second
DEPTH_MAX = 100  # of the value, and of schemas applied to one part of it: the walk is recursive
SCHEMAS_MAX = 5_000  # objects in a schema; compiling takes about 0.1 ms each
BACKTRACK_MAX = 100_000
FAULTS_MAX = 5
_KEPT = 64  # compiled schemas a worker; clients repeat theirs

_ONE = ("not", "if", "then", "else")  # applied to the same value
_SEVERAL = ("allOf", "anyOf", "oneOf")
_NAMED = ("dependentSchemas", "dependencies")
_ONE_BELOW = (  # applied to its parts
    *("items", "additionalItems", "contains", "additionalProperties", "unevaluatedItems"),
    *("unevaluatedProperties", "propertyNames"),
)
_SEVERAL_BELOW = ("prefixItems", "items")
_FOREIGN = ("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor")
_VALUES = ("const", "enum", "default", "examples")  # what stands there is no schema


class Conformity:
    """One schema, ready to judge texts.

    Raises: RequestError — the schema is no schema, or refers to something outside itself.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        import jsonschema_rs  # here: 6 MB that only structured output needs

        _check(schema)
        self._costs = _Costs(schema)
        self._costs.of(1)
        old = re.search(r"draft-0[67]", str(schema.get("$schema")))
        kind = jsonschema_rs.Draft7Validator if old else jsonschema_rs.Draft202012Validator
        options = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACK_MAX)
        try:
            self._validator = kind(schema, offline=True, pattern_options=options)
        except ValueError as error:
            raise RequestError(f"{WHERE}: JSON schema is invalid") from error

    def faults(self, text: str) -> list[str]:
        """Say what is wrong with a text; nothing if it will do.

        Raises: RequestError — schema and value together are more work than is done here.
        """
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return ["it is not one JSON value"]
        depth, parts = _measure(value)
        if depth > DEPTH_MAX or self._costs.of(depth) * parts > COST_MAX:
            raise RequestError(f"{WHERE}: the schema is too complex to validate this answer")
        found = []
        for error in self._validator.iter_errors(value):
            found.append(_described(error))
            if len(found) == FAULTS_MAX:
                break
        return found


_known: OrderedDict[bytes, Conformity] = OrderedDict()


def conformity(schema: dict[str, Any]) -> Conformity:
    """Return the judge of a schema, from a few that are kept. Raises: as Conformity."""
    try:
        key = sha256(orjson.dumps(schema)).digest()
    except orjson.JSONEncodeError:
        return Conformity(schema)
    found = _known.pop(key, None) or Conformity(schema)
    _known[key] = found
    if len(_known) > _KEPT:
        _known.popitem(last=False)
    return found


def _described(error: Any) -> str:
    place = "".join(f"/{part}" for part in error.instance_path) or "the value"
    keyword = next((str(part) for part in reversed(error.schema_path) if isinstance(part, str)), "")
    missing = getattr(error.kind, "property", None)  # of "required": a name of the schema's
    what = f"'{keyword[:100]}'" + (f" of '{missing[:100]}'" if isinstance(missing, str) else "")
    return f"{place[:200]} does not satisfy {what}"


def _measure(value: Any) -> tuple[int, int]:
    """Return (depth, number of parts); iterative, for a text may be as deep as it likes."""
    deepest = parts = 0
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        parts += 1
        deepest = max(deepest, depth)
        if isinstance(part, dict):
            waiting.extend((item, depth + 1) for item in part.values())
        elif isinstance(part, list):
            waiting.extend((item, depth + 1) for item in part)
    return deepest, parts


# -- bounding the work -------------------------------------------------------------------------


def _check(schema: dict[str, Any]) -> None:
    """Look at every subschema once. Raises: RequestError — it holds what is not followed here."""
    waiting: list[Any] = [schema]
    count = 0
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            count += 1
            for word in _FOREIGN if part is schema else ("$id", *_FOREIGN):
                if isinstance(part.get(word), str):
                    raise RequestError(f"{WHERE}: {word} is not supported")
            if isinstance(part.get("$ref"), str):
                _referred(schema, part["$ref"])
            waiting.extend(item for name, item in part.items() if name not in _VALUES)
    if count > SCHEMAS_MAX:
        raise RequestError(f"{WHERE}: the schema has more than {SCHEMAS_MAX} parts")


def _referred(schema: dict[str, Any], reference: str) -> Any:
    """Return what a reference within the schema leads to."""
    if reference != "#" and not reference.startswith("#/"):
        raise RequestError(f"{WHERE}: a $ref must be '#' or '#/…', for only those are followed")
    found: Any = schema
    for part in reference.split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name)
        else:
            found = found[int(name)] if _is_index(found, name) else None
    if not isinstance(found, (dict, bool)):
        raise RequestError(f"{WHERE}: a $ref leads to nothing")
    return found


def _is_index(value: Any, name: str) -> bool:
    digits = name.isascii() and name.isdigit() and len(name) < 6
    return isinstance(value, list) and digits and int(name) < len(value)


class _Costs:
    """How many subschemas are applied to a value at most, by its depth."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._known: dict[tuple[int, int], int] = {}

    def of(self, depth: int) -> int:
        """Return the bound. Raises: RequestError — there is none."""
        try:
            return self._of(self._schema, depth, frozenset())
        except RecursionError:
            raise RequestError(f"{WHERE}: the schema is nested too deeply") from None

    def _of(self, schema: Any, depth: int, above: frozenset[int]) -> int:
        if not isinstance(schema, dict) or depth < 0:
            return 0
        key = (id(schema), depth)
        if key not in self._known:
            if id(schema) in above or len(above) > DEPTH_MAX:
                raise RequestError(f"{WHERE}: the schema refers to itself without end")
            here = above | {id(schema)}
            total = 1
            for part in self._beside(schema):
                total += self._of(part, depth, here)
            for parts in _below(schema):  # each list holds what different parts get
                total += max((self._of(p, depth - 1, frozenset()) for p in parts), default=0)
            self._known[key] = min(total, COST_MAX + 1)
        return self._known[key]

    def _beside(self, schema: dict[str, Any]) -> Iterator[Any]:
        """Yield the subschemas that are applied to the same value."""
        if isinstance(schema.get("$ref"), str):
            yield _referred(self._schema, schema["$ref"])
        for word in _ONE:
            yield schema.get(word)
        for word in _SEVERAL:
            yield from _listed(schema.get(word))
        for word in _NAMED:
            yield from _members(schema.get(word))


def _below(schema: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield subschemas applied to the value's parts; of each list, one to a part."""
    yield list(_members(schema.get("properties")))
    for word in _SEVERAL_BELOW:
        yield _listed(schema.get(word))
    for word in _ONE_BELOW:
        yield [schema.get(word)]
    for part in _members(schema.get("patternProperties")):
        yield [part]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _members(value: Any) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else ())
