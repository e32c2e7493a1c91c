"""Points in time: every form that was seen in a credential file, and none that crashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.accounts.expiry import parse_time, rfc3339

NEW_YEAR_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00z",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00.000000000Z",
        "2026-01-01T08:00:00+08:00",
        "2025-12-31T19:00:00.000-0500",
        "2026-01-01 00:00:00",
        " 2026-01-01T00:00:00Z ",
        "20260101T000000Z",
        1_767_225_600,
        1_767_225_600.0,
        1_767_225_600_000,
        "1767225600",
        "1767225600000",
        "1.7672256E9",
    ],
)
def test_every_known_form_of_one_moment_is_that_moment(value: object) -> None:
    assert parse_time(value) == NEW_YEAR_MS


def test_fractions_are_kept_to_the_millisecond() -> None:
    assert parse_time("2026-01-01T00:00:00.123456789Z") == NEW_YEAR_MS + 123


@pytest.mark.parametrize(
    "value",
    ["", "soon", "NaN", "inf", float("nan"), float("inf"), True, None, [], {}, -1, "-5",
     "2026-13-01T00:00:00Z", "9999-12-31T23:59:59-10:00", 10**30, "1e400"],
)  # fmt: skip
def test_what_is_no_time_is_none(value: object) -> None:
    assert parse_time(value) is None


@given(st.integers(0, 253_402_300_799_000))
def test_what_is_written_is_read_back(at_ms: int) -> None:
    assert parse_time(rfc3339(at_ms)) == at_ms


@given(st.one_of(st.text(), st.floats(), st.integers()))
def test_nothing_raises(value: object) -> None:
    found = parse_time(value)
    assert found is None or found >= 0
