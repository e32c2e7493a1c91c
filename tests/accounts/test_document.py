"""The text of credentials.json: ids, forms, and everything that is not ours."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.accounts.document import Document
from kiroproxy.errors import ConfigError


def document(value: Any) -> Document:
    return Document(json.dumps(value), "c.json")


def ids(found: Document) -> list[Any]:
    return [entry["id"] for _, entry in found.objects()]


def test_missing_ids_follow_the_highest_one() -> None:
    assert ids(document([{}, {"id": 7}, {}])) == [8, 7, 9]


def test_the_first_of_two_equal_ids_keeps_it_and_the_repair_is_told() -> None:
    found = document([{"id": 3, "n": 1}, {"id": 3, "n": 2}])
    assert ids(found) == [3, 4]
    assert found.is_changed
    assert "credential 2" in str(found.repairs[0])


@pytest.mark.parametrize("id", [0, -1, True, "x", 1.5, [], {}, "²"])
def test_what_is_no_id_is_replaced(id: Any) -> None:
    found = document([{"id": id}])
    assert ids(found) == [1]
    assert len(found.repairs) == 1


def test_an_id_in_quotes_is_that_id() -> None:
    assert ids(document([{"id": "5"}, {}])) == [5, 6]


@given(st.lists(st.dictionaries(st.sampled_from(["id", "x"]), st.integers(-3, 5) | st.text())))
def test_ids_are_unique_and_the_same_at_every_reading(entries: list[dict[str, Any]]) -> None:
    first, second = document(entries), document(entries)
    assert ids(first) == ids(second)
    assert len(set(ids(first))) == len(ids(first))
    assert ids(Document(first.dump().decode(), "c.json")) == ids(first)


@pytest.mark.parametrize("text", ["", " \n", "{}", "[]", "\ufeff[]", "// nothing yet\n[]"])
def test_nothing_configured_has_many_forms(text: str) -> None:
    assert Document(text, "c.json").entries == []


def test_a_lone_object_is_written_as_one() -> None:
    found = Document('{"id": 1, "b": 1, "a": "é"}', "c.json")
    assert found.dump().decode() == '{\n  "id": 1,\n  "b": 1,\n  "a": "é"\n}\n'


def test_what_is_no_object_stays_in_its_place() -> None:
    found = document([1, {"id": 2}, "x", None])
    assert json.loads(found.dump()) == [1, {"id": 2}, "x", None]


def test_a_second_credential_turns_a_lone_object_into_an_array() -> None:
    found = document({"id": 4})
    assert found.add({"a": 1}) == 5
    assert json.loads(found.dump()) == [{"id": 4}, {"a": 1, "id": 5}]


def test_removing_the_last_one_leaves_an_empty_array() -> None:
    found = document({"id": 4})
    found.remove(4)
    assert json.loads(found.dump()) == []


def test_a_lone_surrogate_in_a_foreign_field_can_be_written() -> None:
    found = Document('[{"id": 1, "x": "\\ud800"}]', "c.json")
    assert json.loads(found.dump())[0]["x"] == "\ud800"


@pytest.mark.parametrize(("text", "line"), [('[\n{"a" 1}]', 2), ("[\n\n{]", 3), ("5", 1)])
def test_a_broken_file_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        Document(text, "c.json")
    assert (caught.value.file, caught.value.line) == ("c.json", line)


def test_a_fault_names_line_entry_and_id() -> None:
    text = '// mine\n[\n  {"refreshToken": "a"},\n  {\n    "id": 9,\n    "refreshToken": "b" }\n]'
    fault = Document(text, "c.json").fault(1, "refreshToken", "is wrong", "Fix it")
    assert str(fault) == "c.json:6: credential 2 (id 9): refreshToken: is wrong. Fix it"


def test_a_fault_in_a_lone_object_has_its_line_too() -> None:
    assert Document('{\n"a": 1,\n"proxyUrl": "x"}', "c").fault(0, "proxyUrl", "", "").line == 3
