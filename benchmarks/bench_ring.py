"""What does it cost to lease a credential and give it back, alone and among four processes?

Pool.acquire and Lease.release as a request calls them, with 10 and with 5,000 credentials of one
class, with and without a conversation to keep together; beside it the bare ring, without the
pool's objects. With four processes three others do the same all the time on the same page, which
with fewer cores than processes measures the scheduler too: compare the CPU columns.

Run: python -m pytest benchmarks/bench_ring.py --benchmark-only
     -o python_files='bench_*.py' -o python_functions='bench_*'
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kiroproxy._roster import Roster
from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.page import SharedPage, open_ring
from kiroproxy.accounts.pool import Pool

NOW_MS = 1_800_000_000_000
ROUNDS = 1000  # leases in one measured call
CONVERSATION = "6b1f0a52-3b67-5c0e-9c55-3f8d8a4c2d10"
SIZES = pytest.mark.parametrize("count", [10, 5000])


@pytest.fixture(params=[1, 4], ids=["1 process", "4 processes"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedPage]:
    """A page of its own; `busy` fills it with neighbours."""
    made = SharedPage(request.param, tmp_path)
    made.processes = request.param  # type: ignore[attr-defined]
    yield made
    made.close()


def pool_on(page: SharedPage, count: int) -> Pool:
    return Pool((Credential(id) for id in range(count)), "priority", open_ring(page.path))


def take_turns(pool: Pool, conversation: str) -> None:
    for _ in range(ROUNDS):
        pool.acquire(model_id="m", now_ms=NOW_MS, conversation=conversation).release()


def with_neighbours(
    page: SharedPage, work: Callable[[], object], run: Callable[[], object]
) -> None:
    pids = []
    for _ in range(page.processes - 1):  # type: ignore[attr-defined]
        pid = os.fork()
        if pid == 0:
            try:
                while True:
                    work()
            finally:
                os._exit(1)
        pids.append(pid)
    try:
        run()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def note_cpu(benchmark: BenchmarkFixture, measured: Callable[[], object]) -> None:
    began, calls = time.process_time_ns(), 200
    for _ in range(calls):
        measured()
    spent = (time.process_time_ns() - began) / (calls * ROUNDS)
    benchmark.extra_info["cpu_ns_per_lease"] = round(spent)


@SIZES
@pytest.mark.parametrize("conversation", ["", CONVERSATION], ids=["no key", "keyed"])
def bench_acquire_and_release(
    benchmark: BenchmarkFixture, page: SharedPage, count: int, conversation: str
) -> None:
    def neighbour() -> None:
        pool = pool_on(page, count)
        while True:
            take_turns(pool, conversation)

    def run() -> None:
        pool = pool_on(page, count)
        note_cpu(benchmark, lambda: take_turns(pool, conversation))
        benchmark(take_turns, pool, conversation)

    benchmark.extra_info["leases"] = ROUNDS
    with_neighbours(page, neighbour, run)


@SIZES
def bench_the_bare_ring(benchmark: BenchmarkFixture, page: SharedPage, count: int) -> None:
    def take(roster: Roster, release: Callable[[int, bool], None]) -> None:
        for _ in range(ROUNDS):
            release(roster.take(NOW_MS, "", False, ()) >> 1, False)

    def prepared() -> Callable[[], None]:
        ring = open_ring(page.path)
        roster = Roster(ring, [(ring.join(id), 0, 0, 0) for id in range(count)], 2, 0)
        return lambda: take(roster, ring.release)

    def neighbour() -> None:
        work = prepared()
        while True:
            work()

    def run() -> None:
        work = prepared()
        note_cpu(benchmark, work)
        benchmark(work)

    benchmark.extra_info["leases"] = ROUNDS
    with_neighbours(page, neighbour, run)
