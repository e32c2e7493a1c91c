"""The choice of a slot: the least used, the one a key leads to, and never above a limit."""

import mmap
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy._ring import Ring, page_size
from kiroproxy._roster import MAX_RPM, Roster

NOW = 1_767_225_600_000
PROBED, OTHER = 2, 1
SMALL, LARGE = 8, 300  # below and above the size up to which a class is looked at whole
SIZES = pytest.mark.parametrize("count", [SMALL, LARGE])


def ring_with(capacity: int = 512) -> Ring:
    ring = Ring(mmap.mmap(-1, page_size(capacity, 16)), capacity, 16)
    ring.claim(1)
    return ring


def roster_of(ring: Ring, *ids: int, most: int = 0, rpm: int = 0, priority: int = 0) -> Roster:
    members = [(ring.join(id), priority, most, rpm) for id in ids]
    return Roster(ring, members, PROBED, 300_000)


def take(roster: Roster, now_ms: int = NOW, key: str = "", exclude: set[int] = frozenset()) -> int:  # type: ignore[assignment]
    taken = roster.take(now_ms, key, False, exclude)
    return taken >> 1 if taken >= 0 else -1


def ask(ring: Ring, roster: Roster, key: str = "", now_ms: int = NOW) -> int:
    position = take(roster, now_ms, key)
    if position >= 0:
        ring.release(position, False)
    return position


# -- without a key -------------------------------------------------------------------------


@SIZES
def test_everybody_gets_a_turn_before_anybody_gets_two(count: int) -> None:
    ring = ring_with()
    roster = roster_of(ring, *range(count))
    assert sorted(ask(ring, roster) for _ in range(count)) == list(range(count))


@SIZES
def test_the_idle_are_asked_before_the_busy(count: int) -> None:
    ring = ring_with()
    roster = roster_of(ring, *range(count))
    held = [take(roster) for _ in range(count)]
    assert sorted(held) == list(range(count))
    ring.release(held[count // 2], False)
    sampled = {take(roster) for _ in range(count)}
    assert held[count // 2] in sampled


@given(st.lists(st.integers(0, 40), min_size=400, max_size=400))
def test_the_load_of_a_large_class_stays_even_however_long_requests_take(ages: list[int]) -> None:
    ring = ring_with()
    roster = roster_of(ring, *range(50))
    held: list[tuple[int, int]] = []
    for turn, age in enumerate(ages):
        for ends, position in [each for each in held if each[0] <= turn]:
            ring.release(position, False)
            held.remove((ends, position))
        held.append((turn + age, take(roster)))
    loads = [ring.read(index)[0] for index in range(50)]
    assert sum(loads) == len(held) and max(loads) <= 2


@SIZES
def test_the_only_usable_one_is_always_found(count: int) -> None:
    ring = ring_with()
    roster = roster_of(ring, *range(count))
    for index in range(count):
        if index != 5:
            ring.cool(index, NOW + 1)
    assert {ask(ring, roster) for _ in range(50)} == {5}
    assert {ask(ring, roster, "c") for _ in range(50)} == {5}
    assert ask(ring, roster, now_ms=NOW + 1) >= 0


@SIZES
def test_what_is_avoided_is_asked_when_nobody_else_is_left(count: int) -> None:
    ring = ring_with()
    roster = roster_of(ring, *range(count))
    for index in range(count):
        ring.disable(index, OTHER, NOW)
    ring.reset(3, 0)
    ring.avoid(3, NOW, 1000, 1000)
    assert {ask(ring, roster, key) for key in ("", "a", "b")} == {3}


@SIZES
def test_excluded_slots_are_not_asked_this_once(count: int) -> None:
    ring = ring_with()
    roster = roster_of(ring, *range(count))
    everybody = set(range(count))
    assert take(roster, exclude=everybody - {2}) == 2
    assert take(roster, exclude=everybody) == -1
    assert take(roster, key="k", exclude=everybody - {2, 4}) in (2, 4)
    assert take(roster) >= 0


def test_ids_that_are_no_members_may_be_excluded() -> None:
    ring = ring_with()
    ring.join(99)
    roster = roster_of(ring, 1)
    assert take(roster, exclude={0, 400, 2**31}) == 0


def test_an_empty_roster_offers_nobody() -> None:
    roster = roster_of(ring_with())
    assert len(roster) == 0
    assert take(roster) == take(roster, key="k") == -1


def test_who_has_no_row_gets_no_lease() -> None:
    shared = mmap.mmap(-1, page_size(8, 16))
    assert take(roster_of(Ring(shared, 8, 16), 1)) == -1


# -- with a key ----------------------------------------------------------------------------

KEYS = [f"conversation {n}" for n in range(2000)]


@SIZES
def test_a_key_leads_every_worker_to_the_same_slot(count: int) -> None:
    shared = mmap.mmap(-1, page_size(512, 16))
    rings = [Ring(shared, 512, 16), Ring(shared)]
    for pid, ring in enumerate(rings, 1):
        ring.claim(pid)
    one, other = (roster_of(ring, *range(count)) for ring in rings)
    for key in KEYS[:200]:
        assert ask(rings[0], one, key) == ask(rings[1], other, key)


@SIZES
def test_keys_are_spread_evenly(count: int) -> None:
    ring = ring_with()
    roster = roster_of(ring, *range(count))
    found = Counter(ask(ring, roster, key) for key in KEYS)
    mean = len(KEYS) / count
    assert max(found.values()) < mean + 6 * mean**0.5


@SIZES
def test_one_that_goes_or_comes_moves_only_its_own_keys(count: int) -> None:
    ring = ring_with()
    roster = roster_of(ring, *range(count))
    before = {key: ask(ring, roster, key) for key in KEYS}
    ring.cool(4, NOW + 1)
    during = {key: ask(ring, roster, key) for key in KEYS}
    moved = {key for key in KEYS if before[key] != during[key]}
    assert moved == {key for key in KEYS if before[key] == 4} != set()
    assert {key: ask(ring, roster, key, NOW + 1) for key in KEYS} == before
    larger = roster_of(ring, *range(count + 1))
    for key in KEYS:
        assert ask(ring, larger, key, NOW + 1) in (before[key], count)


def test_a_key_does_not_leave_the_best_class() -> None:
    ring = ring_with()
    members = [(ring.join(id), id // 2, 0, 0) for id in range(4)]
    roster = Roster(ring, members, PROBED, 0)
    assert {ask(ring, roster, key) for key in KEYS[:50]} == {0, 1}
    ring.cool(0, NOW + 1)
    ring.cool(1, NOW + 1)
    assert {ask(ring, roster, key) for key in KEYS[:50]} == {2, 3}
    assert {roster.take(NOW, key, True, ()) >> 1 for key in KEYS[:50]} == {2, 3}


# -- limits --------------------------------------------------------------------------------


@SIZES
@pytest.mark.parametrize("key", ["", "k"])
def test_a_full_credential_is_passed_over(count: int, key: str) -> None:
    ring = ring_with()
    roster = roster_of(ring, *range(count), most=2)
    held = [take(roster, key=key) for _ in range(2 * count)]
    assert Counter(held) == dict.fromkeys(range(count), 2)
    assert take(roster, key=key) == -1
    ring.release(3, False)
    assert take(roster, key=key) == 3


def test_a_full_credential_says_when_to_ask_again() -> None:
    ring = ring_with()
    roster = roster_of(ring, 1, most=1)
    assert take(roster) == 0
    assert roster.outlook(NOW, ())[:2] == (1, NOW + 1000)


def test_a_full_minute_says_when_the_next_request_fits() -> None:
    ring = ring_with()
    roster = roster_of(ring, 1, rpm=5)
    start = NOW - NOW % 12_000
    assert [ask(ring, roster, now_ms=start) for _ in range(6)] == [0] * 5 + [-1]
    _, again_ms, *_ = roster.outlook(start, ())
    assert 60_000 < again_ms - start <= 72_000
    assert ask(ring, roster, now_ms=again_ms - 1) == -1
    assert ask(ring, roster, now_ms=again_ms) == 0


@given(
    st.integers(1, MAX_RPM),
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 90)), min_size=1, max_size=40),
)
def test_no_sixty_seconds_see_more_than_the_limit(rpm: int, steps: list[tuple[int, int]]) -> None:
    ring = ring_with()
    roster = roster_of(ring, 1, rpm=rpm)
    now, sent = NOW, []
    for wait_ms, tries in steps:
        now += wait_ms
        sent += [now for _ in range(tries) if ask(ring, roster, now_ms=now) >= 0]
    for first in sent:
        assert sum(first <= at < first + 60_000 for at in sent) <= rpm
    # Nor is anything refused after a silent minute and the part of one that was not over.
    assert ask(ring, roster, now_ms=now + 72_000) == 0


@pytest.mark.parametrize("jump_ms", [-3_600_000, -30_000, -1, 3_600_000])
def test_a_clock_that_jumps_does_not_lock_a_credential_out(jump_ms: int) -> None:
    ring = ring_with()
    roster = roster_of(ring, 1, rpm=2)
    while ask(ring, roster) == 0:
        pass
    now = NOW + jump_ms
    assert ask(ring, roster, now_ms=now + 120_000) == 0


def test_a_refused_request_takes_nothing_from_the_minute() -> None:
    ring = ring_with()
    roster = roster_of(ring, 1, most=1, rpm=3)
    assert take(roster) == 0
    for _ in range(10):
        assert take(roster) == -1
    ring.release(0, False)
    assert [ask(ring, roster) for _ in range(3)] == [0, 0, -1]


# -- nobody left ---------------------------------------------------------------------------


def test_the_outlook_counts_what_is_untried_first() -> None:
    ring = ring_with()
    roster = roster_of(ring, 1, 2, 3)
    ring.cool(0, NOW + 10)
    ring.exhaust(1, NOW + 99)
    ring.disable(2, PROBED, NOW)
    assert roster.outlook(NOW, ()) == (2, NOW + 10, 0, 1 << PROBED, NOW + 300_000)
    assert roster.outlook(NOW, (0,)) == (1, -1, NOW + 99, 1 << PROBED, NOW + 300_000)
    assert roster.outlook(NOW, (0, 1))[:3] == (2, NOW + 10, 0)
