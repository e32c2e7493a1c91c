"""The quick reader and writer of JSON, with orjson as judge and oracle."""

import json
import threading
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiroproxy._json import LongInteger, read, write, write_open

# A loaded machine is not a failure.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
LEFT = object()  # what the reader leaves to the other one
WRITERS = (
    orjson.dumps,
    lambda value: json.dumps(value).encode(),
    lambda value: json.dumps(value, ensure_ascii=False, indent=1).encode(),
)
TEXT = st.lists(
    st.sampled_from(
        ["a", "é", "字", "🎉", '"', "\\", "\n", "\x01", "/", "\x7f", "plain words " * 3]
    )
).map("".join)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), TEXT,
        st.integers(-(2**63), 2**64 - 1), st.text(st.characters(exclude_characters="\0")),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXT, inner)),
    max_leaves=20,
)  # fmt: skip
# What may stand anywhere in damaged JSON.
BYTES = b'"\\{}[]:,0e-.+\x00\x1f\x80\xc3\xed\xff tfnu1/'


def mine(raw: Any) -> Any:
    return read(raw, lambda _raw: LEFT)


def same(one: Any, other: Any) -> bool:
    return bool(one == other) and repr(one) == repr(other)  # True is 1, and -0.0 is 0.0


@unhurried
@given(VALUES, st.sampled_from(WRITERS))
def test_json_reads_as_orjson_reads_it(value: Any, write: Any) -> None:
    raw = write(value)
    assert same(mine(raw), orjson.loads(raw))


@settings(unhurried, max_examples=300)
@given(VALUES, st.sampled_from(WRITERS), st.data())
def test_what_it_accepts_of_damaged_json_orjson_reads_the_same(
    value: Any, write: Any, data: st.DataObject
) -> None:
    raw = bytearray(write(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        raw[at : at + data.draw(st.integers(0, 2))] = bytes(
            data.draw(st.lists(st.sampled_from(BYTES), max_size=2))
        )
    found = mine(bytes(raw))
    assert found is LEFT or same(found, orjson.loads(raw))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 70_000, 300_000])
@pytest.mark.parametrize("end", ["", "\n", "é", "字", "🎉", '\\"'])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_string_of_any_length_is_whole(size: int, end: str, ascii_only: bool) -> None:
    value = {"a": ["x" * size + end, end + "y" * size]}
    assert mine(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize("before", [0, 20, 20_000])
@pytest.mark.parametrize(
    "fault",
    [
        b"\n", b"\x1f", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\\x", b"\\u00g0",
        b"\\ud83d", b"\\ude00", b"\\ud83d\\n", b"\\u0000", b"\\u12",
    ],
)  # fmt: skip
def test_a_faulty_string_is_left_to_the_judge_however_long(before: int, fault: bytes) -> None:
    assert mine(b'{"data":"' + b"A" * before + fault + b'"}') is LEFT
    assert mine(b'["' + b"A" * before + fault) is LEFT


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" ", b"{", b"[", b'"', b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b"[1,]",
        b"[1 2]", b"{1:2}", b"nul", b"trues", b"01", b"-", b"1.", b".5", b"1e", b"+1", b"NaN",
        b"{} {}", b"[]]", b"\xef\xbb\xbf{}", b"[\x0b1]", b"{,}", b"[" * 600 + b"]" * 600,
    ],
)  # fmt: skip
def test_what_is_no_json_or_very_deep_is_left_to_the_judge(raw: bytes) -> None:
    assert mine(raw) is LEFT


def test_the_judge_gets_the_whole_text_and_the_last_word() -> None:
    assert read(b"[1,", lambda raw: ("judged", raw)) == ("judged", b"[1,")
    with pytest.raises(orjson.JSONDecodeError):
        read(b"[1,")


def test_names_that_look_alike_stay_apart() -> None:
    # Each pair has one place in the table of known names.
    pairs = {"Aa": 1, "BB": 2, "AaAa": 3, "BBBB": 4, "AaBB": 5, "": 6, "n" * 40: 7, "n" * 41: 8}
    raw = orjson.dumps(pairs)
    assert [mine(raw), mine(raw)] == [pairs, pairs]


def test_any_object_with_the_bytes_is_read() -> None:
    raw = b' {"a": [1, -2, 3.5e2, "\\u00e9"]} '
    assert mine(bytearray(raw)) == mine(memoryview(raw)) == {"a": [1, -2, 350.0, "é"]}


def test_threads_that_read_one_body_at_once_each_get_all_of_it() -> None:
    raw = orjson.dumps({"data": "QUJD" * 500_000, "text": 'a "quoted" word\n' * 100_000})
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(mine(raw))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [orjson.loads(raw)] * 4


# -- writing -------------------------------------------------------------------------------


@unhurried
@given(VALUES)
def test_json_is_written_as_orjson_writes_it(value: Any) -> None:
    assert write(value) == orjson.dumps(value)
    assert write_open({"a": value}) == orjson.dumps({"a": value})[:-1]


@pytest.mark.parametrize(
    "size", [0, 1, 15, 16, 17, 16_384, 16_385, 65_535, 65_536, 65_537, 300_000]
)
@pytest.mark.parametrize("character", ["a", '"', "\n", "\x1f", "\x7f", "é", "🎉"])
def test_a_string_of_any_length_is_written_whole(character: str, size: int) -> None:
    assert write({"a": [character * size]}) == orjson.dumps({"a": [character * size]})


def test_json_that_is_ready_is_put_in_as_it_is() -> None:
    assert write({"a": orjson.Fragment(b'{"b": 1}')}) == b'{"a":{"b": 1}}'


def nested(levels: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


def refusal(write: Any, value: Any) -> str:
    with pytest.raises(orjson.JSONEncodeError) as caught:
        write(value)
    return str(caught.value)


@pytest.mark.parametrize("kind", [list, dict])
def test_depth_is_refused_where_orjson_refuses_it(kind: type) -> None:
    assert write(nested(254, kind)) == orjson.dumps(nested(254, kind))
    assert refusal(write, nested(255, kind)) == refusal(orjson.dumps, nested(255, kind))


@pytest.mark.parametrize("value", [{1: 2}, [{"a": object()}], ["\ud800"], {"\ud800": 1}, 2**64])
def test_what_is_not_json_is_refused_as_orjson_refuses_it(value: Any) -> None:
    assert refusal(write, value) == refusal(orjson.dumps, value)


def test_integers_keep_their_digits_and_are_written_back() -> None:
    for digits in (str(2**63), str(2**64 - 1), str(-(2**63))):
        assert type(read(digits.encode())) is int and read(digits.encode()) == int(digits)
    for digits in (str(2**64), str(-(2**63) - 1), "1" * 400):
        found = read(f'{{"n": {digits}}}'.encode())
        assert isinstance(found["n"], LongInteger) and found["n"] == float(digits)
        assert write(found) == f'{{"n":{digits}}}'.encode()


@pytest.mark.parametrize("text", ["0" * 30, "-0" + "1" * 30, "--" + "1" * 30, "1" * 30 + "-"])
def test_what_only_resembles_a_long_integer_is_refused(text: str) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        read(text.encode())
