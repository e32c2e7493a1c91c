"""Written calls, found: at the start of a line, outside code, however the text was cut."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy._calls import OPENINGS, CallFinder

END = b"</invoke>"
CALL = b'<invoke name="f">\n<p>1</p>\n</invoke>'


def reader(held: bytes, final: bool) -> Any:
    """Take any invocation up to its end; refuse those of a tool called `no`."""
    if held.startswith(b'<invoke name="no"'):
        return False
    at = held.find(END)
    if at < 0:
        return None
    return at + len(END), [("f", held[: at + len(END)])]


def found(pieces: list[bytes]) -> list[Any]:
    """What comes out, with neighbouring texts joined."""
    finder, out = CallFinder(reader), []
    for piece in pieces:
        out += finder.feed(piece)
    out += finder.end()
    assert finder.held_bytes() == 0
    joined: list[Any] = []
    for part in out:
        if isinstance(part, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def cut(text: bytes, size: int) -> list[bytes]:
    whole = text.decode()
    return [whole[at : at + size].encode() for at in range(0, len(whole), size)]


ONE = [[("f", CALL)]]
CASES = {
    "alone": (CALL, ONE),
    "behind text": (b"Well.\n\n" + CALL, [b"Well.\n\n", *ONE]),
    "indented": (b"a\n  " + CALL, [b"a\n  ", *ONE]),
    "before text": (CALL + b"\n\nDone", [*ONE, b"Done"]),
    "twice": (CALL + b"\n" + CALL, [*ONE, *ONE]),
    "within a line": (b"see " + CALL, [b"see " + CALL]),
    "of no tool": (CALL.replace(b"f", b"no"), [CALL.replace(b"f", b"no")]),
    "never closed": (CALL[:-3] + b"\nand", [CALL[:-3] + b"\nand"]),
    "only begun": (b"a\n<inv", [b"a\n<inv"]),
    "begun in other markup": (b"<div>\n<input>\n<i>", [b"<div>\n<input>\n<i>"]),
    "in a fence": (b"```xml\n" + CALL + b"\n```\n", [b"```xml\n" + CALL + b"\n```\n"]),
    "in a fence of tildes": (b"~~~\n" + CALL, [b"~~~\n" + CALL]),
    "behind a fence": (b"```\nx\n```\n" + CALL, [b"```\nx\n```\n", *ONE]),
    "behind inline code": (b"```a```\n" + CALL, [b"```a```\n", *ONE]),
    "inside one of no tool": (
        b'<invoke name="no">\n' + CALL,
        [b'<invoke name="no">\n', *ONE],
    ),
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("case", CASES)
def test_a_call_is_found_where_it_counts(case: str, size: int) -> None:
    text, expected = CASES[case]
    assert found(cut(text, size)) == expected


def test_ordinary_text_is_not_held_back() -> None:
    finder = CallFinder(reader)
    assert finder.feed(b"a\n<p") == [b"a\n", b"<p"]
    assert finder.feed(b"\n[Cal") == [b"\n"] and finder.held_bytes() == 4
    assert finder.feed(b"m") == [b"[Calm"]


def test_every_opening_is_waited_for_byte_by_byte() -> None:
    for opening in OPENINGS:
        for size in range(1, len(opening)):
            finder = CallFinder(reader)
            assert finder.feed(opening[:size]) == []
            assert finder.end() == [opening[:size]]


def test_a_call_that_grows_without_end_becomes_text() -> None:
    finder, out = CallFinder(reader), b""
    for piece in [CALL[:20], *[b"x" * 65536] * 17]:
        out += b"".join(finder.feed(piece))
    assert out == CALL[:20] + b"x" * 65536 * 17


def test_a_long_call_is_read_a_bounded_number_of_times() -> None:
    reads: list[int] = []

    def never(held: bytes, final: bool) -> None:
        reads.append(len(held))

    finder = CallFinder(never)
    finder.feed(b"<invoke name='f'>")
    for _ in range(20_000):
        finder.feed(b"<b></b>")
    finder.end()
    assert len(reads) < 80


def test_a_reader_that_is_asked_too_often_is_asked_no_more() -> None:
    asked = 0

    def refuse(held: bytes, final: bool) -> bool:
        nonlocal asked
        asked += 1
        return False

    finder = CallFinder(refuse)
    text = b"<invoke name='f'>\n" * 3000
    assert b"".join(finder.feed(text) + finder.end()) == text
    assert asked == 1000


PIECES = st.sampled_from(
    [
        "\n",
        " ",
        "```",
        "~~~",
        "`",
        "x",
        "[Called ",
        "<",
        "é",
        CALL.decode(),
        "</invoke>",
        "<invoke ",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=24), st.integers(0, 2**32))
def test_cuts_change_nothing_and_no_byte_is_lost(words: list[str], seed: int) -> None:
    text = "".join(words)
    rng, pieces, at = random.Random(seed), [], 0
    while at < len(text):
        size = rng.randint(1, 9)
        pieces.append(text[at : at + size].encode())
        at += size
    whole = found([text.encode()])
    assert found(pieces) == whole
    spelled = b"".join(part if isinstance(part, bytes) else part[0][1] for part in whole)
    assert b"".join(spelled.split()) == b"".join(text.encode().split())
