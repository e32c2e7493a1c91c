"""When is a round dropped, and when is a conclusion refused?"""

import dataclasses

import pytest

from benchmarks.compare.noise import CpuTimes, Quality, Watch, judge, verdict

QUIET = Quality(loop=1.05, steal=0.0, foreign=0.1, beside=0.1, load_average=0.5)


def test_a_quiet_round_is_kept() -> None:
    assert judge(QUIET, by_the_clock=True) == []
    assert judge(QUIET, by_the_clock=False) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loop": 1.31}, "fixed loop 1.31"),
        ({"steal": 0.06}, "6% of the CPU time stolen"),
        ({"beside": 0.3}, "others used 30% of the gateway's CPU"),
    ],
)
def test_noise_drops_a_round_and_says_why(change: dict[str, float], reason: str) -> None:
    reasons = judge(dataclasses.replace(QUIET, **change), by_the_clock=False)
    assert len(reasons) == 1
    assert reasons[0].startswith(reason)


def test_foreign_work_spoils_latency_before_it_spoils_cpu_time() -> None:
    busy = dataclasses.replace(QUIET, foreign=0.4)
    assert judge(busy, by_the_clock=False) == []
    assert judge(busy, by_the_clock=True) == ["others used 0.40 CPUs"]


def test_rounds_that_agree_allow_a_conclusion() -> None:
    assert verdict([1.1, 1.2, 1.3], dropped=1) == ""


def test_too_few_rounds_refuse_one() -> None:
    assert verdict([1.1, 1.2], dropped=3) == "2 rounds kept, 3 dropped; 3 are the least"


def test_mostly_dropped_rounds_refuse_one() -> None:
    assert verdict([1.1, 1.2, 1.3], dropped=7) == "7 of 10 rounds dropped"


def test_rounds_that_disagree_refuse_one() -> None:
    assert verdict([1.0, 1.2, 1.7], dropped=0) == "the rounds disagree: 1.00 to 1.70"


def test_cpu_times_of_all_cpus_are_the_first_line() -> None:
    times = CpuTimes.parse("cpu  100 20 30 4000 50 60 70 80 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    assert (times.busy_s, times.steal_s) == (1.5, 0.8)


def test_cpu_times_of_one_cpu_are_its_own() -> None:
    text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\ncpu10 5 1 0 1 1 1 1 200 0 0\n"
    assert CpuTimes.parse(text, "cpu10").steal_s == 2.0


def test_a_watch_reports_what_its_own_process_did_as_not_foreign() -> None:
    watch = Watch(0)
    watch.start()
    sum(number * number for number in range(300_000))
    noise = watch.stop(gateway_s=100.0)
    assert noise["foreign"] == noise["beside"] == 0.0
    assert noise["loop_s"] >= watch.best_loop_s > 0
