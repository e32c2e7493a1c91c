"""The text estimator: classes of bytes, the two vocabularies, and what no text may do to it."""

import json
import statistics
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiroproxy.protocol.vocabulary import weigh

# A loaded machine is not a failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PROSE = (
    "The committee met twice in spring and decided, after a long discussion, that the bridge "
    "should be repaired before winter. Nobody expected the work to take four years. "
) * 5
PYTHON = '''
def merge_sorted(left: list[int], right: list[int]) -> list[int]:
    """Merge two sorted lists into one."""
    merged, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]
'''
JSON = '{"items":[{"id":10442,"state":"shipped","weight":12.5},{"id":10443,"state":"lost"}]}' * 4
CHINESE = "委员会在春天开了两次会，经过长时间的讨论，决定在冬天之前修好这座桥。" * 5
JAPANESE = "委員会は春に二度集まり、長い議論のあと、冬の前に橋を直すことに決めました。" * 5


# Counted by the tokenizer Anthropic published; benchmarks/tokens measures it on far more.
COUNTED = json.loads((Path(__file__).parents[1] / "data" / "vocabulary_counts.json").read_text())


def test_texts_weigh_about_what_the_published_vocabulary_says() -> None:
    errors = {
        text["name"]: abs(weigh(text["text"], dense=False) / text["tokens"] - 1) for text in COUNTED
    }
    assert statistics.median(errors.values()) < 0.05
    assert max(errors.values()) < 0.21, errors


def chars_per_token(text: str, *, dense: bool = False) -> float:
    return len(text) / weigh(text, dense=dense)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        (PROSE, 4.0, 5.2),  # measured on Claude 4.6: 4.33
        (PYTHON, 2.6, 4.0),
        (JSON, 2.0, 3.5),
        (CHINESE, 0.75, 1.3),
        (JAPANESE, 0.75, 1.3),
    ],
    ids=["prose", "python", "json", "chinese", "japanese"],
)
def test_characters_per_token_are_those_of_claude(text: str, low: float, high: float) -> None:
    assert low < chars_per_token(text) < high


def test_json_and_code_are_denser_than_prose() -> None:
    assert chars_per_token(JSON) < chars_per_token(PYTHON) < chars_per_token(PROSE)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [(PROSE, 1.20, 1.45), (PYTHON, 1.13, 1.39), (CHINESE, 1.0, 1.01), (JAPANESE, 1.0, 1.01)],
    ids=["prose", "python", "chinese", "japanese"],
)
def test_the_vocabulary_since_4_7_splits_latin_words_only(
    text: str, low: float, high: float
) -> None:
    assert low <= weigh(text, dense=True) / weigh(text, dense=False) <= high


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("Hi", 1), ("Hello, Claude", 3), ("You are a scientist", 4)]
)
def test_published_short_texts_are_exact(text: str, tokens: int) -> None:
    assert round(weigh(text, dense=False)) == tokens


@pytest.mark.parametrize(
    "more",
    ["word", "12345", "; ", "\n", "é", "я", "ไ", "→", "か", "字", "글", "Ａ", "🎉", " " * 64],
)
def test_every_kind_of_text_weighs_something(more: str) -> None:
    assert weigh("start " + more * 20, dense=False) >= weigh("start ", dense=False) + 1


@unhurried
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=200))
def test_no_text_breaks_the_estimate_or_weighs_less_than_nothing(text: str) -> None:
    weight = weigh(text, dense=True)
    assert 0 <= weight <= 4 * len(text) + 1


@unhurried
@given(st.text(max_size=100), st.text(max_size=100))
def test_weight_of_a_sum_is_the_sum_of_weights(left: str, right: str) -> None:
    # Only the seam may differ: this is what lets a request be weighed in one piece.
    apart = weigh(left, dense=False) + weigh(right, dense=False)
    assert abs(weigh(left + " " + right, dense=False) - apart) <= 1
