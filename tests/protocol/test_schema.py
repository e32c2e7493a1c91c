"""Tool schemas: one test for each thing Kiro refuses, and what must survive."""

import orjson
import pytest

from kiroproxy.protocol.schema import repair, repaired

STRING = {"type": "string"}


def test_a_good_schema_is_left_alone():
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]},
            "b": {"type": "array", "items": {"const": 3}, "maxItems": 9},
        },
        "required": ["a"],
        "additionalProperties": False,
    }
    assert repair(schema) == schema


@pytest.mark.parametrize("missing", [None, {}, "text", [], {"type": None}, {"type": "object"}])
def test_a_missing_schema_becomes_an_object_without_properties(missing):
    assert repair(missing) == {"type": "object", "properties": {}}


@pytest.mark.parametrize("keyword", ["required", "properties", "description", "default", "enum"])
def test_a_null_keyword_is_left_out(keyword):
    assert repair({"type": "object", keyword: None}) == {"type": "object", "properties": {}}


def test_nulls_are_left_out_at_any_depth():
    schema = {
        "properties": {
            "a": {"type": "object", "required": None, "properties": None},
            "gone": None,
            "b": {"items": {"anyOf": [{"default": None}, None]}},
        }
    }
    assert repair(schema)["properties"] == {
        "a": {"type": "object"},
        "b": {"items": {"anyOf": [{}]}},
    }


def test_a_null_that_means_something_stays():
    schema = {"properties": {"a": {"const": None}, "b": {"enum": ["x", None]}}}
    assert repair(schema)["properties"] == {"a": {"type": "null"}, "b": {"enum": ["x", None]}}


def test_an_empty_or_malformed_required_is_left_out():
    for value in ([], "a", {}, [5]):
        inner = repair({"properties": {"a": {"type": "object", "required": value}}})
        assert inner["properties"]["a"] == {"type": "object"}
        assert "required" not in repair({"type": "object", "required": value})


def test_a_property_called_like_a_keyword_is_a_property():
    properties = {"required": {"type": "boolean"}, "properties": STRING, "enum": STRING}
    assert repair({"properties": properties})["properties"] == properties


def test_a_list_of_types_becomes_object():
    assert repair({"type": ["object", "null"], "properties": {"a": STRING}})["type"] == "object"


@pytest.mark.parametrize(
    ("root", "name"), [({"type": "array", "items": STRING}, "items"), (STRING, "value")]
)
def test_a_root_that_is_no_object_is_wrapped_in_one(root, name):
    assert repair(root) == {"type": "object", "properties": {name: root}, "required": [name]}


def test_definitions_stay_at_the_root_when_it_is_wrapped():
    found = repair({"type": "array", "items": {"$ref": "#/$defs/T"}, "$defs": {"T": STRING}})
    assert found["$defs"] == {"T": STRING}
    assert found["properties"]["items"] == {"type": "array", "items": {"$ref": "#/$defs/T"}}


@pytest.mark.parametrize("word", ["oneOf", "anyOf"])
def test_alternatives_at_the_root_become_one_object_with_what_all_require(word):
    first = {"type": "object", "properties": {"op": {"const": "a"}, "x": STRING},
             "required": ["op", "x"]}  # fmt: skip
    second = {"type": "object", "properties": {"op": {"const": "b"}, "y": STRING},
              "required": ["op"]}  # fmt: skip
    assert repair({word: [first, second]}) == {
        "type": "object",
        "properties": {"op": {"const": "a"}, "x": STRING, "y": STRING},
        "required": ["op"],
    }


def test_parts_at_the_root_add_up():
    parts = [{"properties": {name: STRING}, "required": [name]} for name in "ab"]
    found = repair({"properties": {"c": STRING}, "required": ["c"], "allOf": parts})
    assert found == {
        "type": "object",
        "properties": {"c": STRING, "a": STRING, "b": STRING},
        "required": ["c", "a", "b"],
    }


def test_an_alternative_that_is_no_object_is_passed_over():
    found = repair({"anyOf": [{"type": "null"}, {"type": "object", "properties": {"a": STRING}}]})
    assert found == {"type": "object", "properties": {"a": STRING}}


def test_a_reference_at_the_root_is_followed():
    definitions = {"T": {"type": "object", "properties": {"a": STRING}}, "U": {"$ref": "#/$defs/T"}}
    for root in ({"$ref": "#/$defs/T"}, {"anyOf": [{"$ref": "#/$defs/T"}, {"type": "null"}]}):
        found = repair({**root, "$defs": definitions})
        assert found["properties"] == {"a": STRING}
        assert found["$defs"] == definitions


def test_nested_combinators_at_the_root_are_all_folded():
    inner = {"oneOf": [{"properties": {"a": STRING}}, {"properties": {"b": STRING}}]}
    found = repair({"allOf": [inner, {"properties": {"c": STRING}}]})
    assert sorted(found["properties"]) == ["a", "b", "c"]
    assert not {"allOf", "oneOf", "anyOf"} & found.keys()


@pytest.mark.parametrize(
    "odd", [{"anyOf": 5}, {"properties": [1]}, {"anyOf": [True]}, {"items": [None, STRING]},
            {"properties": {"a": True}}, {"$ref": "#/nowhere"}, {"$ref": 5},
            {"required": {"a": 1}}],
)  # fmt: skip
def test_nonsense_yields_an_object_schema_and_never_an_error(odd):
    found = repair(odd)
    assert found["type"] == "object"
    assert isinstance(found["properties"], dict)


def test_the_repaired_schema_is_the_same_from_memory():
    schema = {"type": "object", "properties": {"a": None}}
    assert (
        orjson.dumps(repaired(schema))
        == orjson.dumps(repaired(schema))
        == (b'{"type":"object","properties":{}}')
    )
