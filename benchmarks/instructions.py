"""How many instructions does each hot path execute, and did a change move that by more than 2 %?

Counts do not depend on how busy the machine is, so they can gate a change where times cannot.

Theory of operation. Each piece of work runs in its own interpreter under `valgrind
--tool=cachegrind`, once 2n times and once n times; the difference over n is its cost without the
interpreter's start and without what only a first call does (imports, compiled expressions). Hash
seed and garbage collection are fixed. What still depends on the machine is the interpreter, the
compiler and the vector instructions valgrind lets the CRC use: counts of another Python are not
compared.

Run: make instructions     (or python -m benchmarks.instructions [--store] [--check])
"""

import argparse
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
STORED = ROOT / "benchmarks" / "results" / "instructions.json"
TOLERANCE = 0.02
Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class HotPath:
    """A hot path. `make` prepares everything and returns one round of the work."""

    make: Callable[[], Work]
    per: str  # what one unit is
    units: int  # of them in a round
    rounds: int


def codec(way: str) -> Work:
    from benchmarks.bench_codec import chunks_of
    from kiroproxy._codec import FrameParser

    chunks = chunks_of(way)
    return lambda: sum(map(FrameParser().count, chunks))


def translator(way: str, *, split_tags: bool = False, hard: bool = False) -> Work:
    from benchmarks.bench_sse import WORDS, chunks_of, translate

    chunks = chunks_of(way, ['<"\\\n>' * 4] if hard else WORDS)
    return lambda: translate(chunks, split_tags=split_tags)


def splitter() -> Work:
    from benchmarks.bench_thinking import THINKING, split

    return lambda: split(THINKING)


def conversion(name: str) -> Work:
    from benchmarks.bench_request import convert_raw, raw

    body = raw(name)
    return lambda: convert_raw(body)


def pool(count: int) -> Work:
    from benchmarks.bench_pool import pool_of, take_turn

    made = pool_of(count, "balanced")
    return lambda: take_turn(made)


PATHS = {
    "codec, an event a read": HotPath(lambda: codec("event"), "event", 2000, 5),
    "codec, 16 KiB a read": HotPath(lambda: codec("16 KiB"), "event", 2000, 5),
    "events to SSE, an event a read": HotPath(lambda: translator("event"), "event", 2000, 5),
    "events to SSE, 16 KiB a read": HotPath(lambda: translator("16 KiB"), "event", 2000, 5),
    "events to SSE, watching for tags": HotPath(
        lambda: translator("event", split_tags=True), "event", 2000, 5
    ),
    "events to SSE, all of it decoded": HotPath(
        lambda: translator("event", split_tags=True, hard=True), "event", 2000, 5
    ),
    "splitter": HotPath(splitter, "piece", 2002, 5),
    "request of 50 kB": HotPath(lambda: conversion("50 kB"), "request", 1, 5),
    "choice of 10 credentials": HotPath(lambda: pool(10), "turn", 1, 500),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions")
    parser.add_argument("--store", action="store_true", help="make these the numbers to compare")
    parser.add_argument("--check", action="store_true", help="exit 1 if one moved by over 2 %%")
    parser.add_argument("--run", nargs=2, metavar=("NAME", "ROUNDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        return run(options.run[0], int(options.run[1]))
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is missing: apt-get install valgrind")
    counts = {name: measure(name, path) for name, path in PATHS.items()}
    before = json.loads(STORED.read_text()) if STORED.exists() else {}
    moved = compare(before, counts, platform.python_version())
    if options.store or not before:
        store(counts)
    return 1 if moved and options.check else 0


def run(name: str, rounds: int) -> int:
    """Do the work, under valgrind; nothing else may differ between two numbers of rounds."""
    work = PATHS[name].make()
    gc.disable()
    for _ in range(rounds):
        work()
    return 0


def measure(name: str, path: HotPath) -> float:
    """Return instructions per unit."""
    # Once without counting: whoever comes first would also pay for compiling modules to bytecode.
    subprocess.run(command_of(name, 1), cwd=ROOT, env=environment(), check=True)
    total, start = count(name, 2 * path.rounds), count(name, path.rounds)
    return (total - start) / (path.rounds * path.units)


def command_of(name: str, rounds: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.instructions", "--run", name, str(rounds)]


def count(name: str, rounds: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "cachegrind.out"
        command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "-q"]
        command += [f"--cachegrind-out-file={out}", *command_of(name, rounds)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return read_summary(out.read_text())


def environment() -> dict[str, str]:
    """Return the same environment for everyone: its size moves the stack, and a few counts."""
    return {"PYTHONHASHSEED": "0", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


def read_summary(text: str) -> int:
    """Take the number of instructions from cachegrind's output file."""
    found = re.search(r"^summary: (\d+)", text, re.MULTILINE)
    if not found:
        raise ValueError("cachegrind wrote no summary")
    return int(found[1])


def compare(before: dict[str, object], counts: dict[str, float], python: str) -> list[str]:
    """Print every count beside the stored one; returns the names that moved too far."""
    stored = before.get("counts", {})
    machine = before.get("machine", {})
    assert isinstance(stored, dict) and isinstance(machine, dict)
    known = machine.get("python") == python
    if before and not known:
        print(f"stored by Python {machine.get('python')}, this is {python}: not compared")
    moved = []
    for name, now in counts.items():
        then = stored.get(name, {}).get("instructions") if known else None
        change = now / then - 1 if then else 0.0
        note = f"{change:+.1%} of {then:,.0f}" if then else "new"
        if abs(change) > TOLERANCE:
            moved.append(name)
            note += "   <-- moved"
        print(f"{now:12,.0f}  per {PATHS[name].per:8} {name:36} {note}")
    return moved


def store(counts: dict[str, float]) -> None:
    from benchmarks.compare import machine

    content = {
        "machine": machine.describe("make instructions"),
        "counts": {
            name: {"instructions": round(counted), "per": PATHS[name].per}
            for name, counted in counts.items()
        },
    }
    STORED.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
