"""Raw runs turned into numbers with a spread, and the reasons why some may not be used.

Rules of this file: pure; everything is decided from the stored results, so a report can be made
again from them, and tests feed it by hand.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.compare.noise import judge, quality_of, verdict
from benchmarks.compare.questions import REFERENCE, Number, Question

Result = dict[str, Any]
STAND_IN_LATE_US = 10_000  # half the pace of the usual stream
SATURATED = 0.9  # of the events offered


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and range over rounds."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1], len(found)) if found else None


@dataclass(slots=True)
class Row:
    """One number of one gateway over one kind of upstream."""

    upstream: str
    target: str
    value: Spread | None
    ratio: Spread | None
    refusal: str  # why no conclusion may be drawn; "" = it may
    dropped: int
    remarks: list[str] = field(default_factory=list)


def rows(
    question: Question, number: Number, results: list[Result], best_loop_s: float
) -> list[Row]:
    """Judge one number of one question for every gateway and upstream it was asked of."""
    found = []
    for upstream in dict.fromkeys(result["upstream"] for result in results):
        runs = [result for result in results if result["upstream"] == upstream]
        kept = [run for run in runs if not faults(number, run, best_loop_s)]
        values = {target: _values(number, kept, target) for target in _targets(runs)}
        if number.floor:
            values = _above(values.pop("direct", {}), values)
        for target in values:
            mine = [run for run in runs if run["target"] == target]
            found.append(_row(question, upstream, target, values, mine))
    return found


def faults(number: Number, run: Result, best_loop_s: float) -> list[str]:
    """Why this run does not count for this number."""
    reasons = judge(quality_of(run["noise"], best_loop_s), by_the_clock=number.by_the_clock)
    if number.by_the_clock and is_harness_bound(run):
        reasons.append("harness-bound")
    return reasons


def is_harness_bound(run: Result) -> bool:
    late = run["stand_in"]["lateness_us"]["p99"] > STAND_IN_LATE_US
    return bool(run["load"]["harness_bound"]) or late


def is_saturated(question: Question, run: Result) -> bool:
    offered = question.offered_events_s * run["load"]["window_s"]
    return bool(offered) and run["load"]["events"] < SATURATED * offered


def unsound(run: Result) -> str:
    """What went wrong with the answers themselves; "" = every one was whole."""
    counts = {name: run["load"][name] for name in ("bad_answers", "lost_events", "unexpected_end")}
    counts["streams left running"] = run["stand_in"]["left_running"]
    return ", ".join(f"{name.replace('_', ' ')}: {n}" for name, n in counts.items() if n)


def _targets(runs: list[Result]) -> list[str]:
    order = ["kiroproxy", "nginx", "httpx+Starlette"]
    names = {run["target"] for run in runs}
    return [name for name in order if name in names] + sorted(names - set(order))


def _values(number: Number, runs: list[Result], target: str) -> dict[int, float]:
    """By round; a run in which nothing was counted has no value."""
    mine = {run["round"]: number.of(run["load"]) for run in runs if run["target"] == target}
    return {at: value for at, value in mine.items() if value > 0}


def _above(
    floor: dict[int, float], values: dict[str, dict[int, float]]
) -> dict[str, dict[int, float]]:
    return {
        target: {at: max(value - floor[at], 0.0) for at, value in mine.items() if at in floor}
        for target, mine in values.items()
    }


def _row(
    question: Question,
    upstream: str,
    target: str,
    values: dict[str, dict[int, float]],
    runs: list[Result],
) -> Row:
    mine, reference = values[target], values.get(REFERENCE, {})
    ratios = [mine[at] / reference[at] for at in mine if reference.get(at, 0) > 0]
    dropped = len(runs) - len(mine)
    wrong = sorted({unsound(run) for run in runs if not is_saturated(question, run)} - {""})
    refusal = "" if target == REFERENCE else verdict(ratios, dropped)
    if wrong:
        refusal = "the answers were not whole"
    return Row(
        upstream,
        target,
        Spread.of(mine.values()),
        Spread.of(ratios) if target != REFERENCE else None,
        refusal,
        dropped,
        wrong + _remarks(question, runs),
    )


def _remarks(question: Question, runs: list[Result]) -> list[str]:
    remarks = []
    if full := [run["load"] for run in runs if is_saturated(question, run)]:
        best = max(load["events"] / load["window_s"] for load in full)
        offered = f"{question.offered_events_s:,.0f} events/s"
        rounds = "" if len(full) == len(runs) else f" in {len(full)} of {len(runs)} rounds"
        remarks.append(f"saturated{rounds}: {best:,.0f} of {offered}")
    if any(is_harness_bound(run) for run in runs):
        remarks.append("harness-bound in some rounds")
    if stalls := sum(run["load"]["stalls"] for run in runs):
        remarks.append(f"{stalls:,} stalls in {len(runs)} rounds")
    return remarks
