"""The page that workers share: one slot for an id, exact counts, and what a death leaves."""

import contextlib
import fcntl
import mmap
import os
import random
import signal
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO

import pytest

from kiroproxy._ring import Ring, RingFull, page_size
from kiroproxy._roster import Roster

NOW = 1_767_225_600_000
PROBED = 2
CAPACITY, ROWS = 64, 16


def memory(capacity: int = CAPACITY, rows: int = ROWS) -> mmap.mmap:
    return mmap.mmap(-1, page_size(capacity, rows))  # shared with forked children


def ring_of(shared: mmap.mmap, pid: int) -> Ring:
    ring = Ring(shared)
    ring.claim(pid)
    return ring


def roster_of(ring: Ring, count: int, most: int = 0, rpm: int = 0) -> Roster:
    members = [(ring.join(id), 0, most, rpm) for id in range(count)]
    return Roster(ring, members, PROBED, 0)


def in_flight(ring: Ring, count: int) -> list[int]:
    return [ring.read(index)[0] for index in range(count)]


@pytest.fixture
def page() -> mmap.mmap:
    shared = memory()
    Ring(shared, CAPACITY, ROWS)
    return shared


# -- the page itself -----------------------------------------------------------------------


def test_memory_that_is_no_page_is_refused(page: mmap.mmap) -> None:
    with pytest.raises(ValueError, match="not a ring"):
        Ring(mmap.mmap(-1, 65_536))
    with pytest.raises(ValueError, match="too small"):
        Ring(bytearray(100))
    half = mmap.mmap(-1, 8192)
    half[:4096] = page[:4096]
    with pytest.raises(ValueError, match="missing"):
        Ring(half)


def test_memory_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(BufferError):
        Ring(bytes(65_536))


def test_two_workers_know_an_id_by_the_same_slot(page: mmap.mmap) -> None:
    one, other = ring_of(page, 1), ring_of(page, 2)
    assert [one.join(id) for id in (7, 0, 9)] == [0, 1, 2]
    assert [other.join(id) for id in (9, 0, 7, 8)] == [2, 1, 0, 3]
    assert one.join(8) == 3


def test_a_full_page_says_so() -> None:
    shared = memory(capacity=2)
    ring = Ring(shared, 2, ROWS)
    assert [ring.join(1), ring.join(2), ring.join(1)] == [0, 1, 0]
    with pytest.raises(RingFull, match="2 slots"):
        ring.join(3)


def test_a_slot_that_is_not_there_cannot_be_reached(page: mmap.mmap) -> None:
    ring = Ring(page)
    for reach in (ring.read, ring.reason, ring.count_refresh_failure, ring.generation):
        with pytest.raises(IndexError):
            reach(CAPACITY)
    with pytest.raises(IndexError):
        Roster(ring, [(CAPACITY, 0, 0, 0)], PROBED, 0)
    ring.claim(1)
    with pytest.raises(IndexError):
        ring.release(CAPACITY, False)


# -- workers -------------------------------------------------------------------------------


def test_more_workers_than_rows_are_refused(page: mmap.mmap) -> None:
    rings = [ring_of(page, pid) for pid in range(1, ROWS + 1)]
    with pytest.raises(RingFull, match="16 rows"):
        Ring(page).claim(99)
    rings[3].leave()
    Ring(page).claim(99)
    assert sorted(rings[0].workers()) == sorted({*range(1, ROWS + 1), 99} - {4})


def test_a_worker_that_leaves_takes_its_leases_along(page: mmap.mmap) -> None:
    one, other = ring_of(page, 1), ring_of(page, 2)
    rosters = [roster_of(ring, 3) for ring in (one, other)]
    for roster in rosters * 3:
        roster.take(NOW, "", False, ())
    assert sum(in_flight(one, 3)) == 6
    one.leave()
    assert sum(in_flight(other, 3)) == 3


def test_a_sweep_clears_the_dead_and_nobody_else(page: mmap.mmap) -> None:
    rings = [ring_of(page, pid) for pid in (11, 12, 13)]
    for ring in rings:
        assert roster_of(ring, 1).take(NOW, "", False, ()) == 0
    assert Ring(page).sweep(lambda pid: pid != 12, 1) == [12]
    assert in_flight(rings[0], 1) == [2]
    assert sorted(rings[0].workers()) == [11, 13]
    assert Ring(page).sweep(lambda pid: pid != 12, 1) == []


def test_a_sweep_that_died_is_finished_by_the_next(page: mmap.mmap) -> None:
    ring = ring_of(page, 11)
    roster_of(ring, 1).take(NOW, "", False, ())

    def dies(_: int) -> bool:
        return False

    rows_at = 4096
    page[rows_at : rows_at + 8] = struct.pack("=Q", 1 << 32 | 55)  # 55 began to clear it
    assert Ring(page).sweep(lambda pid: pid == 55, 1) == []
    assert Ring(page).sweep(dies, 1) == [55]
    assert in_flight(ring, 1) == [0] and ring.workers() == []


def test_a_pid_that_comes_back_does_not_inherit_leases(page: mmap.mmap) -> None:
    roster_of(ring_of(page, 11), 1).take(NOW, "", False, ())
    assert in_flight(ring_of(page, 11), 1) == [0]


def test_a_lease_returned_after_its_row_was_cleared_counts_for_nothing(page: mmap.mmap) -> None:
    ring, other = ring_of(page, 11), ring_of(page, 12)
    taken = roster_of(ring, 1).take(NOW, "", False, ())
    assert roster_of(other, 1).take(NOW, "", False, ()) == taken
    other.sweep(lambda pid: pid != 11, 12)
    ring.release(taken >> 1, False)
    assert in_flight(other, 1) == [1]


# -- what is said of a slot ----------------------------------------------------------------


def test_a_probe_belongs_to_one_worker_and_dies_with_it(page: mmap.mmap) -> None:
    one, other = ring_of(page, 1), ring_of(page, 2)
    rosters = [roster_of(ring, 1) for ring in (one, other)]
    one.disable(0, PROBED, NOW)
    assert [roster.take(NOW, "", False, ()) for roster in rosters] == [1, -1]
    other.sweep(lambda pid: pid != 1, 2)
    assert rosters[1].take(NOW, "", False, ()) == 1


def test_only_the_reason_that_is_healed_is_forgotten(page: mmap.mmap) -> None:
    ring = ring_of(page, 1)
    ring.join(1)
    ring.disable(0, 5, NOW)
    ring.heal(0, PROBED)
    ring.succeed(0, NOW, PROBED)
    assert ring.reason(0) == 5
    ring.heal(0, 5)
    assert ring.reason(0) == 0


def test_counts_stop_at_their_width_and_spill_into_nothing(page: mmap.mmap) -> None:
    ring = ring_of(page, 1)
    ring.join(1)
    for _ in range(70_000):
        ring.avoid(0, NOW, 1000, 30_000)
        ring.count_failure(0, NOW, 10_000, PROBED)
    state = ring.read(0)
    assert state[4] == 4095 and state[7] == 65_535  # failures, faults
    assert state[8] == NOW + 30_000 and state[11] == 0  # avoided until, reason


@pytest.mark.parametrize("ms", [-1, 0, 2**62, -(2**63)])
def test_a_time_no_clock_shows_does_no_harm(page: mmap.mmap, ms: int) -> None:
    ring = ring_of(page, 1)
    ring.join(1)
    ring.cool(0, ms)
    ring.exhaust(0, ms)
    ring.disable(0, 1, ms)
    state = ring.read(0)
    assert all(0 <= value < 2**48 for value in (state[9], state[10], state[12]))
    assert state[11] == 1


def test_what_one_worker_announces_the_others_see(page: mmap.mmap) -> None:
    one, other = ring_of(page, 1), ring_of(page, 2)
    one.join(1)
    other.join(1)
    before = other.changes, other.generation(0), other.edition
    one.announce(0)
    one.announce_edition()
    assert (other.changes, other.generation(0), other.edition) == tuple(n + 1 for n in before)


# -- with real processes -------------------------------------------------------------------


@contextlib.contextmanager
def child(work: Callable[[], None]) -> Iterator[int]:
    """Run something in a forked process; its exit code is 0 only if it came to its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    yield pid


def run_together(*works: Callable[[], None]) -> None:
    """Run each in a process of its own; they begin at the same moment."""
    gate, opener = os.pipe()

    def wait_for_the_gate(work: Callable[[], None]) -> None:
        os.close(opener)
        os.read(gate, 1)  # nobody writes: it ends when the last opener is closed
        work()

    pids = []
    for work in works:
        with child(lambda work=work: wait_for_the_gate(work)) as pid:
            pids.append(pid)
    os.close(opener)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids)
    os.close(gate)


class Witness:
    """How many are inside, counted under a kernel lock: nothing of it is ours to get wrong."""

    def __init__(self, file: IO[bytes], places: int) -> None:
        self.path, self.counts = file.name, memoryview(mmap.mmap(-1, 8 * places)).cast("q")

    def open(self) -> None:
        self.file = open(self.path, "rb")  # noqa: SIM115 - one description for each process

    def moves(self, place: int, by: int) -> int:
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.counts[place] += by
        inside = self.counts[place]
        fcntl.flock(self.file, fcntl.LOCK_UN)
        return inside


@pytest.mark.parametrize(("most", "credentials"), [(1, 1), (1, 3), (2, 2), (3, 1)])
def test_never_more_than_the_limit_are_inside(page: mmap.mmap, most: int, credentials: int) -> None:
    with tempfile.NamedTemporaryFile() as file:
        witness = Witness(file, credentials)
        got = memoryview(mmap.mmap(-1, 4096)).cast("q")

        def work(number: int) -> None:
            witness.open()
            ring = ring_of(page, os.getpid())
            roster = roster_of(ring, credentials, most=most)
            while got[number] < 5000:
                taken = roster.take(NOW, "", False, ())
                if taken < 0:
                    os.sched_yield()
                    continue
                assert witness.moves(taken >> 1, 1) <= most
                got[number] += 1
                witness.moves(taken >> 1, -1)
                ring.release(taken >> 1, False)

        run_together(*(lambda n=n: work(n) for n in range(4)))
        assert in_flight(Ring(page), credentials) == [0] * credentials


def test_a_place_is_never_refused_to_everybody(page: mmap.mmap) -> None:
    """Two want the one place and take turns: whoever is refused finds the other inside."""
    with tempfile.NamedTemporaryFile() as file:
        witness = Witness(file, 1)

        def work() -> None:
            witness.open()
            ring = ring_of(page, os.getpid())
            roster = roster_of(ring, 1, most=1)
            for _ in range(10_000):
                end = time.monotonic() + 20
                while (taken := roster.take(NOW, "", False, ())) < 0:
                    assert time.monotonic() < end, "refused for ever"
                    os.sched_yield()
                    os.sched_yield()
                assert witness.moves(0, 1) == 1
                witness.moves(0, -1)
                ring.release(taken >> 1, False)

        run_together(work, work)


def test_the_minutes_limit_is_kept_by_all_together(page: mmap.mmap) -> None:
    got = memoryview(mmap.mmap(-1, 4096)).cast("q")

    def work(number: int) -> None:
        ring = ring_of(page, os.getpid())
        roster = roster_of(ring, CAPACITY, rpm=255)
        while (taken := roster.take(NOW, "one and all", False, ())) >= 0:
            got[number] += 1
            ring.release(taken >> 1, False)

    run_together(*(lambda n=n: work(n) for n in range(4)))
    assert sum(got[:4]) == CAPACITY * 255


def test_no_count_is_lost_among_four_processes(page: mmap.mmap) -> None:
    rounds = 50_000

    def work() -> None:
        ring = ring_of(page, os.getpid())
        roster = roster_of(ring, 7)
        for _ in range(rounds):
            index = roster.take(NOW, "", False, ()) >> 1
            ring.succeed(index, NOW, PROBED)
            ring.release(index, False)

    run_together(*[work] * 4)
    ring = Ring(page)
    states = [ring.read(index) for index in range(7)]
    assert sum(state[3] for state in states) == 4 * rounds
    assert [state[0] for state in states] == [0] * 7
    assert max(state[1] for state in states) == 4 * rounds  # turns
    assert ring_of(page, 1).join(6) == 6


def test_four_processes_that_join_at_once_agree_on_every_slot(page: mmap.mmap) -> None:
    slots = memoryview(mmap.mmap(-1, 8 * 4 * CAPACITY)).cast("q")

    def work(number: int) -> None:
        ring = Ring(page)
        ids = list(range(CAPACITY))
        random.Random(number).shuffle(ids)
        for id in ids:
            slots[number * CAPACITY + id] = ring.join(id)

    run_together(*(lambda n=n: work(n) for n in range(4)))
    columns = [list(slots[n * CAPACITY : (n + 1) * CAPACITY]) for n in range(4)]
    assert columns[0] == columns[1] == columns[2] == columns[3]
    assert sorted(columns[0]) == list(range(CAPACITY))


@pytest.mark.timeout(120)  # three seconds on an idle machine
@pytest.mark.parametrize("seed", range(4))
def test_a_worker_killed_anywhere_leaves_nothing_behind(page: mmap.mmap, seed: int) -> None:
    """Kill one of three again and again; KIROPROXY_KILLS=1000000 for a long night."""
    kills = int(os.environ.get("KIROPROXY_KILLS", "1000")) // 4
    credentials, most = 5, 3
    moment = random.Random(seed)

    def work() -> None:
        ring = ring_of(page, os.getpid())
        roster = roster_of(ring, credentials, most=most)
        started.write(b".")
        os.nice(10)  # or he who kills hardly gets a turn
        now = NOW
        while True:
            now += 1
            held = [roster.take(now, "", False, ()) for _ in range(4)]
            for taken in held:
                if taken >= 0:
                    ring.count_failure(taken >> 1, now, 3, PROBED)
                    ring.throttle(taken >> 1, now, 0, 8, 300)
                    ring.succeed(taken >> 1, now, PROBED) if now % 5 == 0 else None
                    ring.release(taken >> 1, bool(taken & 1))

    reader, writer = os.pipe()
    started = os.fdopen(writer, "wb", buffering=0)
    ring = Ring(page)
    alive: list[int] = []
    try:
        for _ in range(kills):
            while len(alive) < 3:
                with child(work) as pid:
                    alive.append(pid)
                    os.read(reader, 1)
            victim = alive.pop(moment.randrange(3))
            end = time.perf_counter_ns() + moment.randrange(300_000)
            while time.perf_counter_ns() < end:  # sleep() would always wake at the same points
                pass
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            assert ring.sweep(lambda pid, dead=victim: pid != dead, os.getpid()) == [victim]
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(reader)
        started.close()
    assert sorted(ring.sweep(lambda pid: pid not in alive, os.getpid())) == sorted(alive)
    assert in_flight(ring, credentials) == [0] * credentials and ring.workers() == []
    mine = ring_of(page, os.getpid())
    roster = roster_of(mine, credentials, most=most)
    held = [roster.take(NOW * 2, "", False, ()) for _ in range(credentials * most)]
    disabled = [index for index in range(credentials) if mine.reason(index)]
    # Each is worth all its places again, or, if it failed too often, its one probe.
    expected = (credentials - len(disabled)) * most + len(disabled)
    assert sum(taken >= 0 for taken in held) == expected
