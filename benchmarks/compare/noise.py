"""How quiet the machine was while a round ran, and whether its numbers may be used.

Rules of this file: `judge` and `verdict` are pure; only `Watch` reads clocks and /proc.

Theory of operation. A loop of fixed work (about 10 ms) runs before and after each round on the
gateway's CPU. Its fastest run in the whole session is the machine at its best; a loop that took
1.3 times as long says that the CPU was shared or slowed, and the round is dropped. Steal and the
CPU that foreign processes took come from /proc/stat. CPU-time ratios survive foreign work better
than latencies do, so they have separate limits.
"""

import os
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
LOOP_LIMIT = 1.3  # × the fastest loop of the session
STEAL_LIMIT = 0.05  # of both CPUs' time
# Contention adds the same microseconds to every wake-up, which flatters the dearer gateway: nginx
# went from 9 to 15 µs an event beside one and a half busy CPUs.
FOREIGN_LIMIT = 0.25  # of the gateway's CPU, used by others: for CPU-time ratios
FOREIGN_LIMIT_LATENCY = 0.25  # CPUs, of all: for anything timed by the clock
LEAST_ROUNDS = 3
SPREAD_LIMIT = 1.6  # largest over smallest ratio of the kept rounds


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """One line of /proc/stat, all CPUs or one. Units: seconds."""

    busy_s: float  # user + nice + system; interrupts belong to nobody
    steal_s: float

    @classmethod
    def parse(cls, text: str, name: str = "cpu") -> "CpuTimes":
        """Parse the line of /proc/stat that has this name."""
        line = next(line for line in text.splitlines() if line.split()[0] == name)
        fields = [int(field) for field in line.split()[1:9]]
        return cls((fields[0] + fields[1] + fields[2]) * TICK_S, fields[7] * TICK_S)


@dataclass(frozen=True, slots=True)
class Quality:
    """What is known about the machine during one run."""

    loop: float  # slower of the two loops over the fastest of the session
    steal: float  # share of all CPU time
    foreign: float  # CPUs that others used
    beside: float  # share of the gateway's CPU that others used
    load_average: float


def judge(quality: Quality, *, by_the_clock: bool) -> list[str]:
    """Name the reasons to drop a run; none: it is kept."""
    reasons = []
    if quality.loop > LOOP_LIMIT:
        reasons.append(f"fixed loop {quality.loop:.2f} times its best")
    if quality.steal > STEAL_LIMIT:
        reasons.append(f"{quality.steal:.0%} of the CPU time stolen")
    if quality.beside > FOREIGN_LIMIT:
        reasons.append(f"others used {quality.beside:.0%} of the gateway's CPU")
    elif by_the_clock and quality.foreign > FOREIGN_LIMIT_LATENCY:
        reasons.append(f"others used {quality.foreign:.2f} CPUs")
    return reasons


def verdict(ratios: Sequence[float], dropped: int, least: int = LEAST_ROUNDS) -> str:
    """Say why no conclusion may be drawn from these rounds; "" = it may."""
    if len(ratios) < least:
        return f"{len(ratios)} rounds kept, {dropped} dropped; {least} are the least"
    if dropped > 2 * len(ratios):
        return f"{dropped} of {dropped + len(ratios)} rounds dropped"
    if min(ratios) <= 0 or max(ratios) / min(ratios) > SPREAD_LIMIT:
        return f"the rounds disagree: {min(ratios):.2f} to {max(ratios):.2f}"
    return ""


def fixed_work() -> int:
    """Work that never changes: about 10 ms on the machine this was written on."""
    total = 0
    for number in range(130_000):
        total = (total * 31 + number) & 0xFFFFFFFF
    return total


class Watch:
    """Brackets runs with measurements of the machine.

    Order: `start()`, the run, `stop()`; `settle()` once all runs are over, because only then
    is the fastest loop known.
    """

    def __init__(self, cpu: int, patience_s: float = 0) -> None:
        self._cpu, self._patience_s = cpu, patience_s
        self.best_loop_s = min(self._loop() for _ in range(10))

    def wait_for_quiet(self) -> None:
        """Wait while others use the gateway's CPU, as long as the session's patience lasts."""
        while self._patience_s > 0:
            start, (_, before) = time.monotonic(), self._read()
            quick = self._loop() <= LOOP_LIMIT * self.best_loop_s
            time.sleep(0.3)  # the share of others is only known over some time
            busy_s = self._read()[1].busy_s - before.busy_s
            if quick and busy_s - 3 * self.best_loop_s <= FOREIGN_LIMIT * 0.3:
                return
            time.sleep(0.7)
            self._patience_s -= time.monotonic() - start

    def start(self) -> None:
        self._loop_s = self._loop()
        self._times, self._clock = self._read(), time.monotonic()
        self._own_s = _children_cpu()

    def stop(self, gateway_s: float, others_s: float = 0.0) -> dict[str, float]:
        """End the bracket.

        Shape: `gateway_s` is the CPU time of what runs on the gateway's CPU, `others_s` that of
        other measured processes which are not our children.
        """
        (every, gateways), wall_s = self._read(), time.monotonic() - self._clock
        own_s = _children_cpu() - self._own_s + gateway_s + others_s
        loop_s = max(self._loop_s, self._loop())
        was_every, was_gateways = self._times
        cpus = os.cpu_count() or 1
        return {
            "loop_s": loop_s,
            "steal": (every.steal_s - was_every.steal_s) / (wall_s * cpus),
            "foreign": max(every.busy_s - was_every.busy_s - own_s, 0.0) / wall_s,
            "beside": max(gateways.busy_s - was_gateways.busy_s - gateway_s, 0.0) / wall_s,
            "load_average": os.getloadavg()[0],
        }

    def _read(self) -> tuple[CpuTimes, CpuTimes]:
        """All CPUs together, and the gateway's."""
        text = Path("/proc/stat").read_text()
        return CpuTimes.parse(text), CpuTimes.parse(text, f"cpu{self._cpu}")

    def _loop(self) -> float:
        """Median of three, on the gateway's CPU."""
        home = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self._cpu})
        try:
            taken = statistics.median(_timed() for _ in range(3))
        finally:
            os.sched_setaffinity(0, home)
        self.best_loop_s = min(getattr(self, "best_loop_s", taken), taken)
        return taken


def quality_of(noise: dict[str, float], best_loop_s: float) -> Quality:
    """Make a `Quality` of what `Watch.stop` returned."""
    return Quality(
        loop=noise["loop_s"] / best_loop_s,
        steal=noise["steal"],
        foreign=noise["foreign"],
        beside=noise["beside"],
        load_average=noise["load_average"],
    )


def _timed() -> float:
    start = time.perf_counter()
    fixed_work()
    return time.perf_counter() - start


def _children_cpu() -> float:
    mine, theirs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, -1))
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime
