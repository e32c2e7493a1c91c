"""Instruction counts: read, compared, and a change shown."""

from typing import Any

import pytest

from benchmarks.instructions import PATHS, compare, read_summary

NAMES = list(PATHS)[:2]


def before(**counts: float) -> dict[str, Any]:
    named = dict(zip(NAMES, counts.values(), strict=True))
    stored = {name: {"instructions": count, "per": "event"} for name, count in named.items()}
    return {"machine": {"python": "3.11.7"}, "counts": stored}


def test_the_summary_line_is_the_count() -> None:
    assert read_summary("desc: I\nevents: Ir \nfn=(1) f\n3 17\nsummary: 123456\n") == 123456


def test_output_without_a_summary_is_an_error() -> None:
    with pytest.raises(ValueError, match="no summary"):
        read_summary("desc: I\n")


def test_only_a_change_beyond_two_per_cent_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    now = dict(zip(NAMES, (101.9, 102.1), strict=True))
    assert compare(before(a=100, b=100), now, "3.11.7") == [NAMES[1]]
    assert capsys.readouterr().out.count("<-- moved") == 1


def test_a_gain_is_a_change_too() -> None:
    assert compare(before(a=100, b=100), {NAMES[0]: 90.0}, "3.11.7") == [NAMES[0]]


def test_counts_of_another_python_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(before(a=100, b=100), {NAMES[0]: 200.0}, "3.12.1") == []
    assert "not compared" in capsys.readouterr().out
