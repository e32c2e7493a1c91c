"""What does it cost to choose a credential and give it back, with few and with thousands?

One acquire, one report of success, one release, in both modes of balancing; and the hard case in
which all but one credential are cooling down.

Run: make micro
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.pool import Pool
from kiroproxy.errors import Throttled

NOW_MS = 1_800_000_000_000
MODEL = "claude-sonnet-4.5"


def pool_of(count: int, mode: str) -> Pool:
    made = [Credential(id=number, priority=number % 3) for number in range(1, count + 1)]
    return Pool(made, mode)


def take_turn(pool: Pool) -> int:
    lease = pool.acquire(model_id=MODEL, now_ms=NOW_MS)
    pool.report(lease, None, NOW_MS)
    lease.release()
    return lease.credential.id


@pytest.mark.parametrize("count", [1, 10, 100, 5000])
@pytest.mark.parametrize("mode", ["priority", "balanced"])
def bench_turn(benchmark: BenchmarkFixture, mode: str, count: int) -> None:
    benchmark.group = f"acquire, report, release; {mode}"
    assert benchmark(take_turn, pool_of(count, mode)) >= 1


@pytest.mark.parametrize("count", [10, 5000])
def bench_turn_when_all_but_one_cool_down(benchmark: BenchmarkFixture, count: int) -> None:
    benchmark.group = "acquire, report, release; all but one throttled"
    pool = pool_of(count, "balanced")
    for _ in range(count - 1):
        lease = pool.acquire(model_id=MODEL, now_ms=NOW_MS)
        pool.report(lease, Throttled("slow down", retry_after_s=3600), NOW_MS)
        lease.release()
    assert benchmark(take_turn, pool) >= 1
