"""The page of client keys' counters: limits that hold, quotas that begin anew, lockouts."""

import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kiroproxy._meter import MAX_RPM, Meter, MeterFull, page_size
from kiroproxy.accounts.page import SharedPage, open_meter

NOW = 1_800_000_000_000
FREE, FIRST_MS, CAP_MS, MEMORY_MS = 3, 1_000, 60_000, 3_600_000


@pytest.fixture
def meter() -> Meter:
    made = Meter(mmap.mmap(-1, page_size(8, 16)), 8, 16)
    made.claim(os.getpid())
    return made


def test_no_more_requests_are_in_flight_than_a_key_may_have(meter: Meter) -> None:
    slot = meter.join(7)
    assert [meter.admit(slot, NOW, 2, 0) for _ in range(3)] == [0, 0, -1]
    meter.release(slot)
    assert meter.in_flight(slot) == 1
    assert meter.admit(slot, NOW, 2, 0) == 0


def test_no_sixty_seconds_see_more_requests_than_the_limit(meter: Meter) -> None:
    slot = meter.join(7)
    admitted = [at for at in range(0, 300_000, 500) if meter.admit(slot, NOW + at, 0, 10) == 0]
    for start in admitted:
        assert sum(start <= at < start + 60_000 for at in admitted) <= 10
    assert len(admitted) >= 30  # and the limit is not kept by refusing everybody


def test_a_full_minute_says_when_there_will_be_room(meter: Meter) -> None:
    slot = meter.join(7)
    assert meter.admit(slot, NOW, 0, 1) == 0
    again_ms = meter.admit(slot, NOW, 0, 1)
    assert NOW < again_ms <= NOW + 80_000
    assert meter.admit(slot, again_ms - 1, 0, 1) > 0
    assert meter.admit(slot, again_ms, 0, 1) == 0


def test_a_refused_request_takes_no_place(meter: Meter) -> None:
    slot = meter.join(7)
    meter.admit(slot, NOW, 0, 1)
    meter.admit(slot, NOW, 0, 1)
    assert meter.in_flight(slot) == 1


def test_the_largest_rate_can_be_kept(meter: Meter) -> None:
    slot = meter.join(7)
    assert all(meter.admit(slot, NOW, 0, MAX_RPM) == 0 for _ in range(MAX_RPM))
    assert meter.admit(slot, NOW, 0, MAX_RPM) > NOW


def test_a_quota_begins_anew_with_its_period(meter: Meter) -> None:
    slot = meter.join(7)
    meter.add(slot, 0, 20_000, 5)
    meter.add(slot, 0, 20_000, 7)
    assert meter.used(slot, 0, 20_000) == 12
    assert meter.used(slot, 0, 20_001) == 0
    meter.add(slot, 0, 20_001, 1)
    assert meter.used(slot, 0, 20_001) == 1


def test_what_was_used_before_the_run_is_put_in_once(meter: Meter) -> None:
    slot = meter.join(7)
    meter.seed(slot, 1, 24_000, 40)
    meter.add(slot, 1, 24_000, 2)
    meter.seed(slot, 1, 24_000, 40)  # a worker that was started again
    assert meter.used(slot, 1, 24_000) == 42


def test_more_keys_than_slots_are_told() -> None:
    meter = Meter(mmap.mmap(-1, page_size(2, 16)), 2, 16)
    meter.join(1)
    meter.join(2)
    with pytest.raises(MeterFull):
        meter.join(3)


def test_an_address_is_locked_out_after_its_free_failures_and_longer_each_time(
    meter: Meter,
) -> None:
    locked = [meter.failed(99, NOW, FREE, FIRST_MS, CAP_MS, MEMORY_MS) for _ in range(5)]
    assert locked == [0, 0, NOW + 1_000, NOW + 2_000, NOW + 4_000]
    assert meter.locked_until(99, NOW + 3_999, FREE) == NOW + 4_000
    assert meter.locked_until(99, NOW + 4_000, FREE) == 0
    assert meter.locked_until(98, NOW, FREE) == 0


def test_an_address_that_was_quiet_begins_anew(meter: Meter) -> None:
    for _ in range(4):
        meter.failed(99, NOW, FREE, FIRST_MS, CAP_MS, MEMORY_MS)
    later = NOW + MEMORY_MS + 60_000
    assert meter.failed(99, later, FREE, FIRST_MS, CAP_MS, MEMORY_MS) == 0


def test_a_forgiven_address_begins_anew(meter: Meter) -> None:
    for _ in range(3):
        meter.failed(99, NOW, FREE, FIRST_MS, CAP_MS, MEMORY_MS)
    meter.forgive(99)
    assert meter.locked_until(99, NOW, FREE) == 0


def test_more_addresses_than_places_never_fail(meter: Meter) -> None:
    for address in range(1, 5_000):
        meter.failed(address, NOW + address, FREE, FIRST_MS, CAP_MS, MEMORY_MS)
    for _ in range(3):
        locked = meter.failed(10_000, NOW + 9_000, FREE, FIRST_MS, CAP_MS, MEMORY_MS)
    assert locked == NOW + 10_000


WORKER = """
import sys
from kiroproxy.accounts.page import open_meter
meter = open_meter(sys.argv[1], 2)
slot = meter.join(7)
meter.announce(3)
print(sum(meter.admit(slot, 1_800_000_000_000, 5, 0) == 0 for _ in range(5)), flush=True)
sys.stdin.read()
"""


def test_a_killed_worker_leaves_no_request_in_flight(tmp_path: Path) -> None:
    page = SharedPage(2, tmp_path)
    meter = open_meter(page.path, 2)
    slot = meter.join(7)
    command = [sys.executable, "-c", WORKER, page.path]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None and worker.stdin is not None
    assert worker.stdout.readline() == "5\n"
    assert meter.admit(slot, NOW, 5, 0) == -1
    assert meter.edition(3) == 1
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    page.sweep()
    assert meter.in_flight(slot) == 0
    meter.leave()
    page.close()


COUNTER = """
import sys
from kiroproxy.accounts.page import open_meter
meter = open_meter(sys.argv[1], 4)
slot = meter.join(int(sys.argv[2]))
most = 0
for turn in range(20_000):
    meter.add(slot, 0, 20_000, 1)
    if meter.admit(slot, 1_800_000_000_000 + 120_000 * turn, 3, 0) == 0:
        most = max(most, meter.in_flight(slot))
        meter.release(slot)
meter.leave()
print(most)
"""


def test_counts_of_several_processes_add_up(tmp_path: Path) -> None:
    page = SharedPage(4, tmp_path)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTER, page.path, "7"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    seen = [int(worker.communicate()[0]) for worker in workers]
    slot = page.meter.join(7)
    assert page.meter.used(slot, 0, 20_000) == 80_000
    assert page.meter.in_flight(slot) == 0
    assert max(seen) <= 4  # a request that is about to be refused counts for a moment
    page.close()
