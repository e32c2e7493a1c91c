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
