"""Factors learnt from Kiro's counts: slow to believe, hard to mislead, bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.protocol.corrections import (
    ENOUGH,
    HEARD,
    HIGHEST,
    LEAST_TOKENS,
    LOWEST,
    MODELS,
    Corrections,
)

MODEL = "claude-sonnet-4.5"


def after(*ratios: float, estimated: int = 10_000) -> Corrections:
    """Corrections that heard one answer for each ratio of Kiro's count to ours."""
    found = Corrections()
    for ratio in ratios:
        found.hear(MODEL, estimated, round(estimated * ratio))
    return found


def test_a_factor_is_the_median_of_what_was_heard() -> None:
    found = after(1.1, 1.2, 1.3, 1.2, 1.4)
    assert found.factor(MODEL) == 1.2
    assert found.correct(MODEL, 1000) == 1200
    assert found.factors() == {MODEL: 1.2}


def test_a_few_answers_change_nothing() -> None:
    assert after(*[1.3] * (ENOUGH - 1)).factors() == {}


def test_a_model_says_nothing_of_another() -> None:
    assert after(*[1.3] * ENOUGH).factor("claude-opus-4.8") == 1.0


def test_single_wrong_counts_do_not_show() -> None:
    assert after(*[1.1] * 6, 2.4, 0.5, 1.1).factor(MODEL) == 1.1


def test_a_window_that_is_not_what_we_think_is_not_believed() -> None:
    assert after(*[5.0] * 50, *[0.2] * 50).factors() == {}


def test_short_requests_are_mostly_what_kiro_adds() -> None:
    assert after(*[1.4] * 9, estimated=LEAST_TOKENS - 1).factors() == {}


@pytest.mark.parametrize(("ratio", "factor"), [(2.4, HIGHEST), (0.5, LOWEST)])
def test_a_factor_is_bounded(ratio: float, factor: float) -> None:
    assert after(*[ratio] * ENOUGH).factor(MODEL) == factor


def test_old_answers_are_forgotten() -> None:
    assert after(*[1.4] * 99, *[0.9] * (HEARD // 2 + 1)).factor(MODEL) == 0.9


def test_it_tells_when_the_factor_changes() -> None:
    found = after(*[1.2] * (ENOUGH - 1))
    assert found.hear(MODEL, 10_000, 12_000)
    assert not found.hear(MODEL, 10_000, 12_000)


def test_no_more_models_are_kept_than_there_are() -> None:
    found = Corrections()
    for number in range(MODELS + 9):
        for _ in range(ENOUGH):
            found.hear(f"model-{number}", 10_000, 11_000)
    assert len(found.factors()) == MODELS


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=60))
def test_no_counts_lead_out_of_bounds(counts: list[tuple[int, int]]) -> None:
    found = Corrections()
    for estimated, counted in counts:
        found.hear(MODEL, estimated, counted)
    assert LOWEST <= found.factor(MODEL) <= HIGHEST
