"""Sequences found in text that comes in pieces: the first one, exactly; nothing held in vain."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy._stops import Stops


def expected(text: str, sequences: tuple[str, ...]) -> tuple[str, str | None]:
    """What a search over the whole text finds: the earliest start, of those the shortest."""
    found = [(text.find(word), len(word.encode()), word) for word in sequences if word in text]
    if not found:
        return text, None
    start, _, word = min(found)
    return text[:start], word


def watched(pieces: list[str], sequences: tuple[str, ...]) -> tuple[str, str | None]:
    stops, out = Stops(sequences), b""
    for piece in pieces:
        out += stops.feed(piece.encode())
        if stops.found is not None:
            return out.decode(), stops.found
    out += stops.end()
    return out.decode(), stops.found


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


CASES = [
    ("a STOP b", ("STOP",), "a ", "STOP"),
    ("a STO", ("STOP",), "a STO", None),
    ("SSTOP", ("STOP",), "S", "STOP"),
    ("ababac", ("abac",), "ab", "abac"),
    ("aab", ("aab", "ab"), "", "aab"),
    ("ENDING", ("ENDING", "END"), "", "END"),
    ("ENDING", ("END", "ENDING"), "", "END"),
    ("xabcd", ("bc", "abcd"), "x", "abcd"),  # the earlier start, though "bc" is complete first
    ("xabce", ("bc", "abcd"), "xa", "bc"),
    ("xabc", ("bc", "abcd"), "xa", "bc"),
    ("xabcabcd", ("bc", "abcabcx"), "xa", "bc"),
    ("\n\nHuman:", ("\n\nHuman:", "Human:"), "", "\n\nHuman:"),
    ("say 你好吗", ("好吗",), "say 你", "好吗"),
    ("é è", ("è",), "é ", "è"),  # the same lead byte
    ("\U0001f600\U0001f601", ("\U0001f601",), "\U0001f600", "\U0001f601"),
    ("aaaa", ("aa", "aa"), "", "aa"),
    ("", ("x",), "", None),
    ("nul\0end", ("\0e",), "nul", "\0e"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(("text", "sequences", "free", "found"), CASES)
def test_the_first_sequence_is_found_however_the_text_is_cut(
    text: str, sequences: tuple[str, ...], free: str, found: str | None, size: int
) -> None:
    assert expected(text, sequences) == (free, found)
    assert watched(cut(text, size), sequences) == (free, found)


WORDS = st.text("ab\né你😀", min_size=1, max_size=5)


@settings(max_examples=500, deadline=None)
@given(
    pieces=st.lists(st.text("ab\né你😀", max_size=4), max_size=12),
    sequences=st.lists(WORDS, min_size=1, max_size=4).map(tuple),
)
def test_any_pieces_give_what_a_search_over_the_whole_finds(
    pieces: list[str], sequences: tuple[str, ...]
) -> None:
    assert watched(pieces, sequences) == expected("".join(pieces), sequences)


@settings(max_examples=300, deadline=None)
@given(text=st.text("ab\né", max_size=12), sequences=st.lists(WORDS, min_size=1).map(tuple))
def test_only_the_beginning_of_a_sequence_is_held(text: str, sequences: tuple[str, ...]) -> None:
    stops = Stops(sequences)
    for at, character in enumerate(text):
        stops.feed(character.encode())
        if stops.found is not None:
            return
        said = text[: at + 1]
        begun = (
            n for n in range(len(said), 0, -1) if any(w.startswith(said[-n:]) for w in sequences)
        )
        assert stops.held_bytes() == len(said[len(said) - next(begun, 0) :].encode())


def test_text_is_released_as_soon_as_it_cannot_match() -> None:
    stops = Stops(("</answer>",))
    assert stops.feed(b"1 < 2 </ans") == b"1 < 2 "
    assert stops.feed(b"!") == b"</ans!"
    assert stops.held_bytes() == 0 and stops.found is None


@pytest.mark.parametrize("sequences", [(), ("",), ("a", "")])
def test_a_sequence_of_nothing_is_refused(sequences: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="at least one character"):
        Stops(sequences)


def test_half_a_surrogate_pair_in_a_sequence_matches_nothing() -> None:
    stops = Stops(("\ud83d", "x"))
    assert stops.feed("\ud7ff\U0001f600".encode()) == "\ud7ff\U0001f600".encode()
    assert stops.feed(b"x") == b"" and stops.found == "x"


def test_many_sequences_and_a_text_made_to_hurt_take_one_pass() -> None:
    stops = Stops(tuple("a" * size + "b" for size in range(1, 2000)))
    assert len(stops.feed(b"a" * 1_000_000)) == 1_000_000 - 1999
    assert stops.feed(b"b") == b"" and len(stops.found or "") == 2000
