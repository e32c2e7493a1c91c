"""JSON with comments: what is read, and where it is said to stand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy import jsonc
from kiroproxy.errors import ConfigError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_any_json_is_read_as_it_is_and_repeats_no_key(value: object) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    assert jsonc.parse(text, "f") == value
    assert list(jsonc.repeated_keys(text)) == []


def test_a_key_is_found_inside_what_names_it() -> None:
    text = '{"b": 1, // "a": 0\n"a": {\n"b": 2}}'
    assert (jsonc.line_of(text, "b"), jsonc.line_of(text, "a", "b")) == (1, 3)
    assert jsonc.line_of(text, "missing") == 0


def test_only_the_same_object_repeats_a_key() -> None:
    text = '[{"a": {"a": 1}},\n{"a": "b", "b": ["a", {"a": 2}],\n"a": 3}]'
    assert list(jsonc.repeated_keys(text)) == [(3, "a")]


@pytest.mark.parametrize(
    ("text", "remedy"), [("", "empty"), ("{/* x */}", "//"), ('{"a": 1,}', "comma")]
)
def test_the_remedy_fits_the_fault(text: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        jsonc.parse(text, "f")
    assert remedy in caught.value.remedy


WRITTEN = """{
  // the key
  "apiKey": "k", // mine
  "port": 1,

  "upstream": {
    "apiUrl": "x" // "port": 9
  },
  "unheardOf": [1, 2] // last
}
"""


def test_a_replaced_value_leaves_every_other_byte_alone() -> None:
    assert jsonc.with_members(WRITTEN, {"port": 8080}) == WRITTEN.replace(
        '"port": 1', '"port": 8080'
    )


def test_an_added_member_comes_last_and_comments_stay_where_they_were() -> None:
    found = jsonc.with_members(WRITTEN, {"rpm": 5})
    assert found == WRITTEN.replace(
        '"unheardOf": [1, 2] // last\n', '"unheardOf": [1, 2], // last\n  "rpm": 5\n'
    )


def test_a_removed_member_takes_its_comma_and_its_line_with_it() -> None:
    assert jsonc.with_members(WRITTEN, {"port": None}) == WRITTEN.replace('  "port": 1,\n', "")
    last = jsonc.with_members(WRITTEN, {"unheardOf": None})
    assert last == WRITTEN.replace("},\n  ", "}\n  ").replace('"unheardOf": [1, 2] // ', "// ")


def test_an_object_as_a_value_is_indented_like_its_surroundings() -> None:
    found = jsonc.with_members(WRITTEN, {"upstream": {"oidcUrl": "y"}})
    assert '  "upstream": {\n    "oidcUrl": "y"\n  },\n' in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '{\n  "a": 1\n}\n'),
        ("{}", '{\n  "a": 1\n}'),
        ("{ // nothing\n}", '{ // nothing\n  "a": 1\n}'),
        ('{"b": 2}', '{"b": 2, "a": 1}'),
        ('\ufeff{\r\n\t"b": 2\r\n}\r\n', '\ufeff{\r\n\t"b": 2,\r\n\t"a": 1\r\n}\r\n'),
        ('{"a": 0, "a": 2}', '{"a": 0, "a": 1}'),
    ],
)
def test_any_shape_of_object_takes_a_member(text: str, expected: str) -> None:
    assert jsonc.with_members(text, {"a": 1}) == expected


KEYS = st.sampled_from(["a", "b", 'quo"te', "//", "{", "ключ"])
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


@given(OBJECTS, st.dictionaries(KEYS, VALUES, max_size=3), st.sampled_from([None, 1, 2]))
def test_an_edited_text_says_what_was_asked_and_nothing_else_changed(
    before: dict[str, object], changes: dict[str, object], indent: int | None
) -> None:
    text = json.dumps(before, indent=indent, ensure_ascii=False)
    expected = {k: v for k, v in (before | changes).items() if changes.get(k, 0) is not None}
    assert jsonc.parse(jsonc.with_members(text, changes), "f") == expected
