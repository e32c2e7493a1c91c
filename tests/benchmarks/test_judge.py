"""Raw runs → numbers, spreads, refusals."""

from typing import Any

from benchmarks.compare import judge
from benchmarks.compare.questions import QUESTIONS, Question

PACED = QUESTIONS[0]
LATENCY = next(question for question in QUESTIONS if question.name == "latency")
QUIET = {"loop_s": 0.0101, "steal": 0.0, "foreign": 0.1, "beside": 0.0, "load_average": 0.5}


def run(round: int, target: str, value: float, **changes: Any) -> dict[str, Any]:
    load = {
        "gateway": {"cpu_us_per_event": value, "cpu_us_per_answer": value},
        "first_event_us": {"p50": value, "p99": value},
        "latency_us": {"p50": value, "p99": value},
        "window_s": 2.0,
        "events": 20_000,
        "harness_bound": False,
        "stalls": 0,
        **dict.fromkeys(("bad_answers", "lost_events", "unexpected_end"), 0),
    }
    stand_in = {"lateness_us": {"p99": 100}, "left_running": 0}
    noise = dict(QUIET)
    for name, change in changes.items():
        next(part for part in (load, stand_in, noise) if name in part)[name] = change
    return {"upstream": "plain", "round": round, "target": target, "load": load,
            "stand_in": stand_in, "noise": noise}  # fmt: skip


def row_of(results: list[dict[str, Any]], question: Question = PACED) -> judge.Row:
    rows = judge.rows(question, question.numbers[0], results, best_loop_s=0.01)
    return next(row for row in rows if row.target == "kiroproxy")


def rounds(*pairs: tuple[float, float]) -> list[dict[str, Any]]:
    """Runs of kiroproxy and nginx, a pair a round."""
    return [
        run(number, target, value)
        for number, pair in enumerate(pairs)
        for target, value in zip(("kiroproxy", "nginx"), pair, strict=True)
    ]


def test_the_ratio_is_taken_within_each_round() -> None:
    row = row_of(rounds((10, 10), (30, 20), (48, 40)))
    assert row.ratio is not None
    assert (row.ratio.median, row.ratio.low, row.ratio.high) == (1.2, 1.0, 1.5)
    assert row.refusal == ""


def test_a_noisy_run_takes_its_round_out_of_the_ratio() -> None:
    results = rounds((10, 10), (10, 10), (10, 10))
    results[1]["noise"]["loop_s"] = 0.02  # nginx in the first round
    row = row_of(results)
    assert row.ratio is not None and row.ratio.count == 2
    assert "3 are the least" in row.refusal


def test_a_repeated_run_replaces_the_dropped_one_and_both_are_counted() -> None:
    results = rounds((10, 10), (10, 10), (10, 10))
    results[0]["noise"]["loop_s"] = 0.02
    row = row_of([*results, run(0, "kiroproxy", 12)])
    assert row.ratio is not None and row.ratio.high == 1.2
    assert (row.ratio.count, row.dropped, row.refusal) == (3, 1, "")


def test_lost_events_forbid_a_conclusion() -> None:
    results = [*rounds(*([(10, 10)] * 3)), run(3, "kiroproxy", 10, lost_events=2)]
    row = row_of(results)
    assert row.refusal == "the answers were not whole"
    assert "lost events: 2" in row.remarks


def test_a_stream_left_running_forbids_a_conclusion() -> None:
    results = [*rounds(*([(10, 10)] * 3)), run(3, "kiroproxy", 10, left_running=1)]
    assert row_of(results).refusal == "the answers were not whole"


def test_a_saturated_gateway_is_named() -> None:
    results = [run(0, "kiroproxy", 300, events=6_000), run(0, "nginx", 30)]
    assert "saturated: 3,000 of 10,000 events/s" in row_of(results).remarks
    again = [*results, run(1, "kiroproxy", 30)]
    assert "saturated in 1 of 2 rounds: 3,000 of 10,000 events/s" in row_of(again).remarks


def test_a_late_stand_in_spoils_latency_but_not_cpu_time() -> None:
    late = run(0, "kiroproxy", 10, lateness_us={"p99": 20_000})
    assert judge.faults(PACED.numbers[0], late, 0.01) == []
    assert judge.faults(LATENCY.numbers[0], late, 0.01) == ["harness-bound"]


def test_latency_is_what_the_gateway_adds_to_a_direct_connection() -> None:
    results = rounds((300, 200), (310, 200), (290, 200))
    results += [run(number, "direct", 100) for number in range(3)]
    row = row_of(results, LATENCY)
    assert row.value is not None and row.ratio is not None
    assert (row.value.median, row.ratio.median) == (200, 2.0)


def test_a_run_that_counted_nothing_is_no_value() -> None:
    row = row_of([run(0, "kiroproxy", 0), run(0, "nginx", 10)])
    assert row.value is None
