"""Structured output judged: by the schema, in bounded work, and without leaving the process."""

import json
from typing import Any

import pytest

from kiroproxy.errors import RequestError
from kiroproxy.protocol.conformity import FAULTS_MAX, SCHEMAS_MAX, conformity

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "left": {"$ref": "#/$defs/node"},
                "right": {"$ref": "#/$defs/node"},
                "value": {"type": "integer"},
            },
        }
    },
    "$ref": "#/$defs/node",
}


def doubled(depth: int) -> dict[str, Any]:
    """A schema that applies 2^depth subschemas to one value."""
    names = {
        f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(depth)
    }  # fmt: skip
    return {"$defs": names | {f"d{depth}": {"type": "string"}}, "$ref": "#/$defs/d0"}


def chained(length: int) -> dict[str, Any]:
    names = {f"d{at}": {"$ref": f"#/$defs/d{at + 1}"} for at in range(length)}
    return {"$defs": names | {f"d{length}": {"type": "string"}}, "$ref": "#/$defs/d0"}


def nested(value: Any, depth: int) -> str:
    return '{"left":' * depth + json.dumps(value) + "}" * depth


@pytest.mark.parametrize(
    ("schema", "text", "faults"),
    [
        ({"type": "object"}, "{}", []),
        ({"type": "object"}, "{} {}", ["it is not one JSON value"]),
        ({"type": "object"}, "", ["it is not one JSON value"]),
        ({"type": "number"}, "NaN", ["it is not one JSON value"]),
        (
            {"required": ["a b"]},
            "{}",
            ["the value does not satisfy 'required' of 'a b'"],
        ),
        (TREE, nested({"value": 1}, 12), []),
        (TREE, nested({"value": "x"}, 2), ["/left/left/value does not satisfy 'type'"]),
        ({"pattern": "^[0-9]+$"}, '"a1"', ["the value does not satisfy 'pattern'"]),
        ({"pattern": "^(?=.*[0-9]).{3}$"}, '"ab1"', []),
        ({"properties": {"id": {"type": "string"}}}, '{"id": "x"}', []),
        ({"$id": "http://x.invalid/s", "type": "string"}, '"x"', []),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]},
            "[1]",
            ["/0 does not satisfy 'type'"],
        ),
        ({"default": {"$ref": "http://x.invalid"}, "enum": [{"$ref": 1}]}, '{"$ref": 1}', []),
        (doubled(10), "1", ["the value does not satisfy 'type'"] * FAULTS_MAX),
        (chained(50), '"x"', []),
    ],
)
def test_a_text_is_judged_by_the_schema(schema: Any, text: str, faults: list[str]) -> None:
    assert conformity(schema).faults(text) == faults


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "strin"}, "JSON schema is invalid"),
        ({"pattern": "("}, "JSON schema is invalid"),
        ({"$ref": "https://x.invalid/s.json"}, "a $ref must be '#' or '#/…'"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "a $ref must be"),
        ({"$ref": "#/$defs/a"}, "leads to nothing"),
        ({"$ref": "#/required/9", "required": ["a"]}, "leads to nothing"),
        ({"$defs": {"a": {"$id": "http://x.invalid/"}}}, "$id is not supported"),
        ({"items": {"$dynamicRef": "#a"}}, "$dynamicRef is not supported"),
        ({"$ref": "#"}, "refers to itself without end"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "refers to itself without end"),
        (chained(3000), "refers to itself without end"),
        ({"prefixItems": [{}] * SCHEMAS_MAX}, "more than"),
    ],
)
def test_a_schema_that_is_none_or_leads_away_is_refused(schema: Any, words: str) -> None:
    with pytest.raises(RequestError) as refused:
        conformity(schema)
    assert refused.value.message.startswith("output_config.format.schema: ")
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (doubled(40), "1"),
        (
            {"allOf": [{"properties": {"left": {"$ref": "#"}}}] * 2},
            nested(1, 40),
        ),
        ({"items": {"$ref": "#"}}, "[" * 500 + "]" * 500),
        ({"items": {"anyOf": [{"$ref": "#"}] * 3}}, "[" * 30 + "]" * 30),
    ],
    ids=["references", "recursion", "depth", "recursion through a list"],
)
def test_work_without_bound_is_not_begun(schema: Any, text: str) -> None:
    with pytest.raises(RequestError, match="too complex to validate"):
        conformity(schema).faults(text)


def test_a_pattern_cannot_backtrack_for_ever() -> None:
    judge = conformity({"pattern": "^(?=(a+)+$)(a|aa)+$"})
    assert judge.faults('"' + "a" * 5000 + '!"')


def test_a_fault_tells_the_place_and_not_the_value() -> None:
    judge = conformity({"additionalProperties": {"enum": ["a"]}})
    (fault,) = judge.faults('{"where": "a secret"}')
    assert fault == "/where does not satisfy 'enum'"


def test_the_same_schema_is_compiled_once() -> None:
    assert conformity({"type": "object"}) is conformity({"type": "object"})
