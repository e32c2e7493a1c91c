"""JSON string literals by the byte, judged by the standard library."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy._text import Decoder, member, mended


def decode(*literals: bytes) -> str:
    decoder = Decoder()
    return (b"".join(map(decoder.feed, literals)) + decoder.end()).decode()


@pytest.mark.parametrize(
    ("literals", "expected"),
    [
        ([rb"\"\\\/\b\f\n\r\t\u0041"], '"\\/\b\f\n\r\tA'),
        ([rb"\uD83d", rb"\uDe00"], "\U0001f600"),
        ([rb"\ud83d\ude00"], "\U0001f600"),
        ([rb"\ud83d", b"", rb"\ude00"], "\U0001f600"),
        ([rb"\ud83d", b"x"], "\ufffdx"),
        ([rb"\ud83d\ud83d\ude00"], "\ufffd\U0001f600"),
        ([rb"\ude00\ud83d"], "\ufffd\ufffd"),
        ([rb"\ud83d", b"\xe4\xbd\xa0"], "\ufffd\u4f60"),
        ([b"\xe4", b"\xbd", b"\xa0"], "\u4f60"),
        ([b"\xe4\xbd", rb"\u00a0"], "\ufffd\u00a0"),
        ([b"\xe4\xbd", b"\xe4\xbd\xa0"], "\ufffd\u4f60"),
        ([b"\xf0\x9f\x98"], "\ufffd"),
        ([b"\xed\xa0\x80"], "\ufffd\ufffd\ufffd"),
        ([b"\xf4\x90\x80\x80"], "\ufffd" * 4),
        ([b"\xc0\x80"], "\ufffd\ufffd"),
        ([b"\x00\x1f\x7f"], "\x00\x1f\x7f"),
    ],
)
def test_a_literal_is_decoded(literals: list[bytes], expected: str) -> None:
    assert decode(*literals) == expected


@pytest.mark.parametrize("broken", [b"\\", rb"\u12", rb"\u12g4", rb"\x41", b'a"b', rb"\u"])
def test_what_is_no_literal_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError):
        decode(broken)


@settings(max_examples=400, deadline=None)
@given(text=st.text(), ascii_only=st.booleans(), at=st.integers(0, 200))
def test_a_written_literal_reads_back_at_any_cut_between_escapes(
    text: str, ascii_only: bool, at: int
) -> None:
    literal = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
    try:
        assert decode(literal[:at], literal[at:]) == text
    except ValueError:
        assert b"\\" in literal[max(at - 5, 0) : at]  # the cut is within an escape


@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(st.binary(max_size=6), max_size=5))
def test_damaged_utf8_is_replaced_as_python_replaces_it(pieces: list[bytes]) -> None:
    pieces = [piece.replace(b'"', b"'").replace(b"\\", b"/") for piece in pieces]
    assert decode(*pieces) == b"".join(pieces).decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"a":"\x01\n"}', b'{"a":"  "}'),
        (b'{"a":"\xff\xe4\xbd\xa0\xe4"}', b'{"a":"?\xe4\xbd\xa0?"}'),
        (rb'{"a":"\ud83d\ude00\ud83d\\\udc00"}', rb'{"a":"\ud83d\ude00\ufffd\\\ufffd"}'),
        (b'{"a":1,\xff}\x01', b'{"a":1,\xff}\x01'),
        (b'{"a\x02":"\\"\x03"}', b'{"a ":"\\" "}'),
        (b'{"a":"\\', b'{"a":"\\'),
        (b"", b""),
    ],
)
def test_only_strings_are_mended(payload: bytes, expected: bytes) -> None:
    assert mended(payload) == expected


@settings(max_examples=400, deadline=None)
@given(payload=st.binary(max_size=80))
def test_a_mended_copy_has_the_same_length(payload: bytes) -> None:
    assert len(mended(b'{"a":"' + payload)) == len(payload) + 6


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(value=st.dictionaries(st.text("abc", max_size=2), VALUES), indent=st.sampled_from([None, 1]))
def test_a_member_is_found_as_it_was_sent(value: dict[str, object], indent: int | None) -> None:
    payload = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    for key in ("", "a", "b", "ab", "missing"):
        found = member(payload, key.encode())
        assert (found is None) == (key not in value)
        if found is not None:
            assert json.loads(found) == value[key] and found == found.strip()


def test_the_last_of_equal_members_counts() -> None:
    assert member(b'{"a":1,"b":{"a":2},"a":[3]}', b"a") == b"[3]"


@settings(max_examples=400, deadline=None)
@given(payload=st.binary(max_size=40))
def test_looking_for_a_member_of_nonsense_stays_in_bounds(payload: bytes) -> None:
    member(payload, b"a")
    member(b'{"a":' + payload, b"a")
