"""The verdict on a soak: what is left after the last client, and what grew.

Rules of this file: numbers in, sentences out; an empty list is a pass.
"""

import statistics
from collections.abc import Sequence

from benchmarks.soak.facts import Facts
from benchmarks.soak.stage import ROWS

# What a client or its request brings, and takes along.
NOTHING_LEFT = ("clients", "upstream", "close_wait", "requests", "leases", "key_requests")
# A thread that was started for a first large body, and SQLite's file, are kept: bounded, not zero.
SPARE_FDS, SPARE_TASKS, SPARE_TIMERS = 4, 0, 2
SPARE_ROWS = 2000  # a batch of the recorder's


def left_behind(before: Facts, after: Facts, processes: int = 1) -> list[str]:
    """Tell what was not there before the clients came, once they have gone."""
    found = [f"{getattr(after, name)} {name} left" for name in NOTHING_LEFT if getattr(after, name)]
    spare = {"fds": SPARE_FDS, "tasks": SPARE_TASKS, "timers": SPARE_TIMERS}
    for name, more in spare.items():
        was, now = getattr(before, name), getattr(after, name)
        if now > was + more * processes:
            found.append(f"{now} {name} left, {was} before")
    if after.tasks > before.tasks:
        found.append(f"tasks more than before: {dict(after.names - before.names)}")
    return found


def growth_kib(readings: Sequence[Facts]) -> float | None:
    """Return how much more memory the last third has than the second. None: too few readings."""
    if len(readings) < 6:
        return None
    third = len(readings) // 3
    second, last = readings[third : 2 * third], readings[2 * third :]
    return _memory(last) - _memory(second)


def grown(readings: Sequence[Facts], bound_kib: float) -> list[str]:
    """Tell whether memory grew with the age of the process."""
    growth = growth_kib(readings)
    if growth is None or growth <= bound_kib:
        return []
    return [f"memory grew by {growth:,.0f} KiB in the last third, {bound_kib:,.0f} are allowed"]


def unbounded(after: Facts, workers: int) -> list[str]:
    """Tell whether the request log holds more than it was told to keep."""
    allowed = ROWS + (ROWS // 10 + SPARE_ROWS) * workers
    if after.rows <= allowed:
        return []
    return [f"{after.rows:,} rows in the request log, {allowed:,} are allowed"]


def _memory(readings: Sequence[Facts]) -> float:
    return statistics.median(each.memory_kib for each in readings)
