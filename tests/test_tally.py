"""What `_tally` counts, against the same counts written with regular expressions."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiroproxy._tally import SCRIPT_NAMES, Weights, tally, tally_portable

# A loaded machine is not a failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ASCII_COUNTS = 11
PATTERNS = (
    r"[A-Za-z]+",
    r"[a-z]{16}",
    r"(?<=[a-z])[A-Z]",
    r"[A-Z]{2}",
    r"[0-9]",
    r"[0-9]+",
    r"[!-/:-@\[-`{-\x7f\x00-\x08\x0e-\x1f]",
    r"[!-/:-@\[-`{-\x7f\x00-\x08\x0e-\x1f]{2}",
    r"\n",
    r"[ \t\v\f\r]{64}",
    r"(?<=[^ \t\v\f\r\n])[ \t\v\f\r]{2,}",
)
# Pieces whose lengths make runs begin and end at every place of a turn of 64 characters.
PIECES = (
    "a",
    "bcdefghijklmnopq",
    "A",
    "BCD",
    "7",
    ".",
    "...",
    "\n",
    " ",
    " " * 31,
    "\t",
    "é",
    "字",
)
MIXED = st.lists(st.sampled_from(PIECES), max_size=120).map("".join)


def counted(text: str) -> tuple[int, ...]:
    return tuple(len(re.findall(pattern, text)) for pattern in PATTERNS)


@unhurried
@given(st.one_of(MIXED, st.text(max_size=300)))
def test_counts_are_those_of_regular_expressions(text: str) -> None:
    assert tally([text])[:ASCII_COUNTS] == counted(text)


@unhurried
@given(MIXED)
def test_utf8_counts_like_the_text_it_is(text: str) -> None:
    assert tally([text.encode()]) == tally([text])


@unhurried
@given(MIXED)
def test_a_cpu_without_population_count_counts_the_same(text: str) -> None:
    raw = text.encode("ascii", "replace")
    assert tally_portable(raw) == tally([raw])[:ASCII_COUNTS]


@unhurried
@given(MIXED, MIXED)
def test_texts_together_count_like_each_alone(one: str, other: str) -> None:
    apart = zip(tally([one]), tally([other]), strict=True)
    assert tally([one, other]) == tuple(map(sum, apart))


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 127, 128, 129, 70_000])
@pytest.mark.parametrize("character", ["a", "A", "7", ".", " ", "\n", "é", "字", "🎉"])
def test_a_run_of_any_length_is_counted_whole(character: str, size: int) -> None:
    assert tally([character * size])[:ASCII_COUNTS] == counted(character * size)


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("é", "latin"), ("\u0080", "latin"), ("ſ", "latin"), ("я", "cyrillic"), ("λ", "greek"),
        ("א", "greek"), ("ไ", "indic"), ("→", "symbols"), ("\ue000", "symbols"), ("か", "kana"),
        ("字", "han"), ("글", "hangul"), ("\ud83d", "hangul"), ("Ａ", "fullwidth"), ("🎉", "emoji"),
    ],
)  # fmt: skip
def test_other_characters_are_told_apart_by_script(character: str, script: str) -> None:
    # The second makes Python store the first in two bytes, the third in four.
    for beside in ("", "字", "🎉"):
        scripts = dict(zip(SCRIPT_NAMES, tally([character, beside])[ASCII_COUNTS:], strict=True))
        alone = dict(zip(SCRIPT_NAMES, tally([beside])[ASCII_COUNTS:], strict=True))
        joined = tally([character + beside])[ASCII_COUNTS:]
        assert scripts[script] == alone[script] + 1
        assert joined == tuple(scripts.values())


def test_bytes_that_no_character_begins_with_are_in_no_script() -> None:
    assert tally([b"\x80\xbf\xc0\xc1\xf8\xff"]) == (0,) * (ASCII_COUNTS + len(SCRIPT_NAMES))


WORDS, REST = (1.01, 4.0, 1.13, 0.45), (0.37, 0.52, 1.2, -1.85, 0.86, 1.0, 0.74)
SCRIPTS = (2.1, 0.58, 1.34, 0.75, 0.98, 0.9, 1.37, 2.2, 3.0, 1.2)


def added(weights: tuple[float, ...], counts: tuple[int, ...]) -> float:
    """Add one after the other; `sum` of later Pythons keeps more digits."""
    total = 0.0
    for weight, count in zip(weights, counts, strict=True):
        total += weight * count
    return total


@unhurried
@given(st.lists(st.one_of(MIXED, st.text(max_size=300)), max_size=4), st.sampled_from([1.0, 1.42]))
def test_a_weight_is_to_the_last_bit_what_the_counts_add_up_to(
    texts: list[str | bytes], factor: float
) -> None:
    counts = tally(texts)
    words = added(WORDS, counts[:4]) + SCRIPTS[0] * counts[ASCII_COUNTS]
    rest = added(REST, counts[4:ASCII_COUNTS]) + added(SCRIPTS[1:], counts[ASCII_COUNTS + 1 :])
    assert Weights(WORDS, REST, SCRIPTS, factor).weigh(texts) == words * factor + rest


def test_weights_know_how_many_they_are_and_what_is_text() -> None:
    with pytest.raises(ValueError, match="one weight"):
        Weights(WORDS[:3], REST, SCRIPTS, 1.0)
    with pytest.raises(TypeError, match="str or bytes"):
        Weights(WORDS, REST, SCRIPTS, 1.0).weigh([7])  # type: ignore[list-item]
