"""Counters of several workers in one memory, and the text a Prometheus reads."""

import mmap
import os
import re
from bisect import bisect_left
from collections.abc import Sequence
from random import Random

import pytest

from kiroproxy import errors, metrics
from kiroproxy._request import Record
from kiroproxy.metrics import Gauge, Metrics, render

LINE = re.compile(r'(\w+)(\{(?:\w+="(?:[^"\\\n]|\\.)*",?)*\})? (-?\d+(?:\.\d+)?(?:e-?\d+)?)')


def told(**changes: object) -> Record:
    made = Record()
    for name, value in ({"stop_reason": "end_turn"} | changes).items():
        setattr(made, name, value)
    return made


def memory(rows: int = 4) -> mmap.mmap:
    return mmap.mmap(-1, metrics.page_size(rows))


def one() -> Metrics:
    made = Metrics(memory())
    made.claim(0)
    return made


def parsed(text: bytes) -> dict[str, float]:
    """Read the text as strictly as its format is: every family is headed, once, before it."""
    families: dict[str, str] = {}
    found: dict[str, float] = {}
    for line in text.decode().removesuffix("\n").split("\n"):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in families, f"{name} is headed twice"
            families[name] = kind
        elif not line.startswith("# HELP "):
            match = LINE.fullmatch(line)
            assert match, line
            name = re.sub(r"_(bucket|sum|count)$", "", match[1])
            assert families.keys() & {match[1], name}, f"{line} has no head"
            assert f"{match[1]}{match[2] or ''}" not in found, f"{line} is there twice"
            found[f"{match[1]}{match[2] or ''}"] = float(match[3])
    return found


def read(made: Metrics, *gauges: Gauge) -> dict[str, float]:
    return parsed(render(made.totals(lambda pid: True), gauges))


def test_what_several_workers_count_adds_up() -> None:
    shared = memory()
    workers = [Metrics(shared) for _ in range(3)]
    for row, worker in enumerate(workers):
        worker.claim(row)
        worker.began()
        worker.ended("messages", "ok", 200, 1.0)
        worker.began()
    found = read(workers[1])
    series = 'kiroproxy_requests_total{endpoint="messages",outcome="ok",status="200"}'
    assert found[series] == 3
    assert found["kiroproxy_requests_in_flight"] == 3


def test_the_row_of_a_dead_worker_keeps_its_totals_and_forgets_its_flights() -> None:
    shared = memory()
    one, other = Metrics(shared), Metrics(shared)
    one.claim(0)
    one.began()
    one.refreshed("renewed")
    other.claim(1)
    found = parsed(render(other.totals(lambda pid: False), ()))
    assert found["kiroproxy_requests_in_flight"] == 0
    assert found['kiroproxy_token_refreshes_total{outcome="renewed"}'] == 1
    other.claim(0)
    assert read(other)["kiroproxy_requests_in_flight"] == 0


def test_a_histogram_counts_each_value_into_its_bucket_and_all_above() -> None:
    made = one()
    for seconds in (0.01, 0.011, 3.0, 10_000.0):
        made.began()
        made.ended("messages", "ok", 200, seconds)
    found = read(made)
    name = "gen_ai_server_request_duration_seconds"
    buckets = [
        found[f'{name}_bucket{{le="{bound}"}}'] for bound in ("0.01", "0.02", "5.12", "+Inf")
    ]
    assert buckets == [1, 2, 3, 4]
    assert found[f"{name}_count"] == 4
    assert found[f"{name}_sum"] == pytest.approx(10_003.021)


def test_tokens_and_credits_of_answers_are_counted_and_of_refusals_are_not() -> None:
    made = one()
    made.answered(told(input_tokens=1000, output_tokens=5, cache_read_tokens=7, credits=0.3), 0.5)
    made.answered(told(input_tokens=9, stop_reason=""), 0.0)
    found = read(made)
    tokens = "gen_ai_client_token_usage_sum"
    assert found[f'{tokens}{{gen_ai_token_type="input"}}'] == 1000
    assert found[f'{tokens}{{gen_ai_token_type="output"}}'] == 5
    assert found["kiroproxy_credits_total"] == 0.3
    assert found["gen_ai_server_time_to_first_token_seconds_count"] == 1


def test_every_upstream_error_has_a_series_of_its_own() -> None:
    found, left = set(), [errors.UpstreamError]
    while left:
        kinds = left.pop().__subclasses__()
        found |= {kind.__name__ for kind in kinds if kind.__module__ == "kiroproxy.errors"}
        left += kinds
    assert found <= set(metrics.FAULTS)
    made = one()
    made.attempted(["", "Throttled", "NeverHeardOf"])
    read_back = read(made)
    for fault in ("", "Throttled", "Other"):
        assert read_back[f'kiroproxy_upstream_attempts_total{{error_type="{fault}"}}'] == 1


def test_a_status_nobody_expects_is_counted_as_other() -> None:
    made = one()
    made.began()
    made.ended("other", "error", 418, 0.1)
    assert 'status="other"' in str(read(made))


def test_labels_are_escaped() -> None:
    gauge = Gauge("g", "G.", {(("a", 'x"\\\n'),): 1.5})
    assert read(one(), gauge)['g{a="x\\"\\\\\\n"}'] == 1.5


def test_a_worker_that_left_counts_for_the_others_still() -> None:
    shared = memory()
    one, other = Metrics(shared), Metrics(shared)
    one.claim(0)
    one.refreshed("dead")
    one.leave()
    other.claim(1)
    found = parsed(render(other.totals({os.getpid()}.__contains__), ()))
    assert found['kiroproxy_token_refreshes_total{outcome="dead"}'] == 1


def reference(name: str, bounds: Sequence[float], values: list[float]) -> dict[str, float]:
    """What a histogram's buckets and sum are, by Python's own search and rounding."""
    found: dict[str, float] = {f"{name}_count": len(values)}
    for at, bound in enumerate(bounds):
        told = str(int(bound)) if bound == int(bound) else repr(bound)
        found[f'{name}_bucket{{le="{told}"}}'] = sum(bisect_left(bounds, v) <= at for v in values)
    return found | {f"{name}_sum": sum(round(value * 1_000_000) for value in values) / 1_000_000}


def test_a_row_counts_as_python_does() -> None:
    random, made = Random(7), one()
    durations = [random.choice((bound, bound * random.random())) for bound in metrics.DURATIONS * 9]
    firsts = [random.choice((bound, bound * random.random())) for bound in metrics.FIRST_TOKENS * 9]
    for seconds in durations:
        made.began()
        made.ended("messages", "ok", 200, seconds)
    for seconds in firsts:
        made.answered(told(), seconds)
    expected = reference("gen_ai_server_request_duration_seconds", metrics.DURATIONS, durations)
    expected |= reference("gen_ai_server_time_to_first_token_seconds", metrics.FIRST_TOKENS, firsts)
    found = read(made)
    assert {name: found[name] for name in expected} == expected
    assert found["kiroproxy_requests_in_flight"] == 0


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("error", ["", "search:unavailable", "client_closed", "Throttled"])
@pytest.mark.parametrize("first_s", [0.0, 0.3])
def test_an_ordinary_end_in_one_step_counts_as_its_three_steps(
    cut: bool, error: str, first_s: float
) -> None:
    short, long = one(), one()
    end = told(
        cut=cut, error=error, input_tokens=70, output_tokens=5, cache_read_tokens=3, credits=0.07
    )
    for made in (short, long):
        made.began()
    short.finished(end, 1.5, first_s)
    long.ended("messages", end.outcome(200), 200, 1.5)
    long.answered(end, first_s)
    long.attempted([""])
    assert read(short) == read(long)


def test_numbers_nobody_can_have_meant_count_as_nothing() -> None:
    made = one()
    made.answered(told(credits=float("inf")), 1e300)
    found = read(made)
    assert found["kiroproxy_credits_total"] == 0
    assert found["gen_ai_server_time_to_first_token_seconds_sum"] == 0
    assert found["gen_ai_server_time_to_first_token_seconds_count"] == 1


def test_nothing_is_counted_without_a_row() -> None:
    made = Metrics(memory())
    with pytest.raises(ValueError, match="no row"):
        made.began()
    made.claim(3)
    made.began()
    made.leave()
    with pytest.raises(ValueError, match="no row"):
        made.finished(told(), 1.0, 1.0)


@pytest.mark.parametrize("row", [-1, 4])
def test_a_row_beyond_the_memory_is_not_taken(row: int) -> None:
    with pytest.raises(IndexError):
        Metrics(memory(4)).claim(row)
