"""`python -m benchmarks.soak`: clients that leave at random; exits 1 if anything stays behind.

    python -m benchmarks.soak --minutes 30
    python -m benchmarks.soak --minutes 10 --workers 2 --tls

Theory of operation. Every kind of request goes through once, all is let settle, and what the
gateway holds then is what it may hold at the end. Clients come at a low rate for the time asked
for, and are read about every minute. After the last has gone, everything they brought has to be
gone within `--settle` seconds: connections, leases, requests in flight, tasks, timers, files. And
the memory of the last third of the time may not be above that of the second.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.compare import machine, report
from benchmarks.compare.processes import ROOT
from benchmarks.soak import asks, judge
from benchmarks.soak.clients import Crowd
from benchmarks.soak.facts import Facts, Watched
from benchmarks.soak.stage import stand

RESULT = ROOT / "benchmarks" / "results" / "soak.json"
COLUMNS = (
    *("clients", "upstream", "close_wait", "requests", "leases", "key_requests", "tasks"),
    *("timers", "fds", "threads", "memory_kib", "objects", "entries", "rows", "records_bytes"),
    "error_lines",
)


@dataclass(slots=True)
class Soak:
    """One run: what was read, and what is wrong."""

    watched: Watched
    crowd: Crowd
    options: argparse.Namespace
    began_s: float = field(default_factory=time.monotonic)
    readings: list[Facts] = field(default_factory=list)

    async def run(self) -> tuple[Facts, Facts, list[str]]:
        """Do it all. Returns the readings before and after, and the faults."""
        await self._warm_up()
        before = await self._settled(None)
        print(" min  " + "".join(f"{name:>14}" for name in COLUMNS), flush=True)
        self._print(before)
        minutes, rate, most = self.options.minutes, self.options.rate, self.options.clients
        coming = asyncio.ensure_future(self.crowd.gather(minutes * 60, rate, most))
        while not coming.done():
            await asyncio.wait([coming], timeout=self.options.every)
            if not coming.done():
                self.readings.append(await self._read())
                self._print(self.readings[-1])
        await coming
        await self.crowd.gone()
        after = await self._settled(before)
        self._print(after)
        return before, after, self._faults(before, after)

    async def _warm_up(self) -> None:
        chance = random.Random(0)
        for asked in asks.every(chance) * 2:
            self.crowd.admit(asked, "stays", chance)
        await self.crowd.gone()

    async def _read(self) -> Facts:
        at_s = time.monotonic() - self.began_s
        return await asyncio.to_thread(self.watched.read, at_s)

    async def _settled(self, before: Facts | None) -> Facts:
        """Read until nothing is left, or no more patience is. The last reading."""
        deadline = time.monotonic() + self.options.settle
        while True:
            now = await self._read()
            left = judge.left_behind(before or now, now, self.options.workers)
            if not left or time.monotonic() > deadline:
                return now
            await asyncio.sleep(1)

    def _faults(self, before: Facts, after: Facts) -> list[str]:
        found = judge.left_behind(before, after, self.options.workers)
        allowed = self.options.growth * 1024 * self.options.workers
        found += judge.grown(self.readings, allowed)
        found += judge.unbounded(after, self.options.workers)
        found += [f"in the log: {line}" for line in self.watched.errors()[:10]]
        return found + self.crowd.wrong[:10]

    def _print(self, facts: Facts) -> None:
        told = "".join(f"{getattr(facts, name):>14,}" for name in COLUMNS)
        print(f"{facts.at_s / 60:5.1f} {told}", flush=True)


def main() -> int:
    """Run one soak and tell. Returns the exit code."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="kiroproxy-soak-") as folder:
        with stand(Path(folder), options.workers, options.tls) as stage:
            crowd = Crowd(stage.watched.port, stage.keys, options.seed)
            soak = Soak(stage.watched, crowd, options)
            before, after, faults = asyncio.run(soak.run())
        if options.keep_log:
            options.keep_log.write_bytes(Path(folder, "gateway.log").read_bytes())
    _tell(soak, before, after, faults)
    if options.store:
        _store(soak, before, after, faults)
    return 1 if faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=30.0, help="how long clients come (30)")
    add("--rate", type=float, default=6.0, help="clients a second (6)")
    add("--clients", type=int, default=150, help="clients at once at most (150)")
    add("--workers", type=int, default=1, help="worker processes of the gateway (1)")
    add("--tls", action="store_true", help="TLS towards the simulator")
    add("--every", type=float, default=60.0, help="seconds between two readings (60)")
    add("--settle", type=float, default=30.0, help="seconds until all has to be gone (30)")
    add("--growth", type=float, default=4.0, help="MiB a worker may grow in the last third (4)")
    add("--seed", type=int, default=1, help="of the chances (1)")
    add("--store", action="store_true", help="keep the numbers, and write benchmarks/README.md")
    add("--keep-log", type=Path, help="copy the gateway's log to this file")
    return parser.parse_args()


def _tell(soak: Soak, before: Facts, after: Facts, faults: list[str]) -> None:
    crowd = soak.crowd
    print(f"\n{crowd.came.total():,} clients: {_counts(crowd.came)}")
    print(f"asked: {_counts(crowd.kinds)}")
    print(f"whole answers and what else clients met: {_counts(crowd.answers)}")
    growth = judge.growth_kib(soak.readings)
    told = "too few readings" if growth is None else f"{growth:+,.0f} KiB"
    print(f"memory, last third against second: {told}")
    more = (after.kinds - before.kinds).most_common(8)
    print(f"objects more than before: {', '.join(f'{n:,} {kind}' for kind, n in more) or 'none'}")
    for fault in faults:
        print(f"LEFT OR WRONG: {fault}")
    print("verdict: " + ("NOT CLEAN" if faults else "clean"))


def _counts(counter: Any) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())


def _store(soak: Soak, before: Facts, after: Facts, faults: list[str]) -> None:
    """Keep the numbers for the page, of each way of running the latest, and write the page."""
    workers = soak.options.workers
    way = (
        f"{workers} worker{'s' * (workers > 1)}, {'TLS' if soak.options.tls else 'plain'} upstream"
    )
    about = machine.describe(f"python -m benchmarks.soak {' '.join(sys.argv[1:])}".strip())
    run = {
        "way": way,
        "date": about["date"],
        "commit": about["commit"],
        "minutes": soak.options.minutes,
        "clients": soak.crowd.came.total(),
        "growth_kib": judge.growth_kib(soak.readings),
        "before": _numbers(before),
        "after": _numbers(after),
        "readings": [_numbers(each) for each in soak.readings],
        "faults": faults,
    }
    old = json.loads(RESULT.read_text())["runs"] if RESULT.exists() else []
    runs = [*(each for each in old if each["way"] != way), run]
    RESULT.write_text(stored_text(about, sorted(runs, key=lambda each: str(each["way"]))))
    report.write(RESULT.parents[1])


def stored_text(about: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """Write the result file: a line for each run, so that a difference can be read."""
    lines = ",\n  ".join(json.dumps(each) for each in runs)
    head = json.dumps({"machine": about}, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{head},\n "runs": [\n  {lines}\n ]\n}}\n'


def _numbers(facts: Facts) -> dict[str, float]:
    told = asdict(facts)
    return {"at_s": round(facts.at_s)} | {name: told[name] for name in COLUMNS}


if __name__ == "__main__":
    sys.exit(main())
