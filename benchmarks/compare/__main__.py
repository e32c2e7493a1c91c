"""The command: `python -m benchmarks.compare [--full | --short] [--only NAMES] [--rival FILE]`.

Runs the questions, stores raw results in benchmarks/results/<question>.json and writes
benchmarks/README.md from all that is stored there. `--report` only writes.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.compare import machine, report, startup
from benchmarks.compare.noise import Watch
from benchmarks.compare.processes import BUILD, GATEWAY_CPU, LOAD_CPU, Gateway, nginx_program
from benchmarks.compare.questions import QUESTIONS
from benchmarks.compare.rounds import Bench

FOLDER = Path(__file__).parents[1]
RESULTS = FOLDER / "results"
NAMES = (*(question.name for question in QUESTIONS), "memory", "startup")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # what was started is stopped too
    options = read_options()
    if options.micro:
        store_micro(options.micro)
    if not (options.report or options.micro):
        refuse_if_impossible()
        with tempfile.TemporaryDirectory(prefix="kiroproxy-bench-") as folder:
            measure(options, Path(folder))
    print(report.write(FOLDER))
    return 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each question (5)")
    parser.add_argument("--short", action="store_true", help="3 rounds, 100 and 500 streams")
    parser.add_argument("--full", action="store_true", help="9 rounds, memory of 5,000 streams")
    parser.add_argument(
        "--patience", type=float, default=120, help="seconds to wait in all for quiet (120)"
    )
    parser.add_argument("--nice", type=int, default=0, help="for all measured programs, e.g. -10")
    parser.add_argument("--only", help="comma-separated: " + ", ".join(NAMES))
    parser.add_argument("--rival", type=Path, action="append", default=[], help="see rivals.md")
    parser.add_argument("--stand-in-port", type=int, default=0, help="fixed, for a rival")
    parser.add_argument("--report", action="store_true", help="only write README.md again")
    parser.add_argument("--micro", type=Path, help="store this pytest-benchmark JSON")
    options = parser.parse_args()
    options.rounds = 3 if options.short else 9 if options.full else options.rounds
    options.names = options.only.split(",") if options.only else list(NAMES)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no such question: {', '.join(sorted(unknown))}")
    return options


def refuse_if_impossible() -> None:
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("two CPUs are needed: one for the gateway, one for the load")
    if not (BUILD / "kiro").exists():
        raise SystemExit("the load programs are not built: make load")
    if not nginx_program():
        raise SystemExit("nginx is the yardstick and is missing: apt-get install nginx-light")


def measure(options: argparse.Namespace, folder: Path) -> None:
    # The client inherits this; what measures must not run on the gateway's CPU.
    os.sched_setaffinity(0, {LOAD_CPU})
    set_priority(options.nice)
    started = time.monotonic()
    rivals = tuple(read_rival(path) for path in options.rival)

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", file=sys.stderr, flush=True)

    watch = Watch(GATEWAY_CPU, options.patience)
    bench = Bench(folder, say, options.rounds, rivals, watch)
    found: dict[str, list[dict[str, Any]]] = {}
    asked = [question for question in QUESTIONS if question.name in options.names]
    try:
        if "startup" in options.names:
            found["startup"] = startup.measure(folder, watch, options.rounds)
            say("startup")
        if "memory" in options.names:
            sizes = (100, 500, 5000) if options.full else (100, 500)
            bench.memory(sizes, found.setdefault("memory", []))
        bench.ask(asked, found, options.stand_in_port)
    finally:  # interrupted: the report says itself where rounds are missing
        for name, runs in found.items():
            store(name, {"best_loop_s": watch.best_loop_s, "runs": runs})


def set_priority(nice: int) -> None:
    """Set the priority of this process and all it starts.

    With autogroups a nice value counts only within a session; the session has one of its own.
    """
    group = Path("/proc/self/autogroup")
    os.nice(nice)
    if nice and group.exists():
        group.write_text(str(nice))


def store(name: str, content: dict[str, Any]) -> None:
    """Write one result file: a line per run, so that a difference can be read."""
    arguments = " ".join(sys.argv[1:])
    head = {"machine": machine.describe(f"python -m benchmarks.compare {arguments}".strip())}
    runs = content.pop("runs", None)
    text = json.dumps(head | content, indent=1, ensure_ascii=False)
    if runs is not None:
        lines = ",\n  ".join(json.dumps(run) for run in runs)
        text = text.rstrip("\n}") + f',\n "runs": [\n  {lines}\n ]\n}}'
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def store_micro(path: Path) -> None:
    """Keep of pytest-benchmark's output what the report shows."""
    found = [
        {
            "group": each["group"] or Path(each["fullname"].split("::")[0]).stem,
            "name": each["name"].removeprefix("bench_"),
            "median_s": each["stats"]["median"],
            "iqr_s": each["stats"]["iqr"],
            "rounds": each["stats"]["rounds"],
        }
        for each in json.loads(path.read_text())["benchmarks"]
    ]
    store("micro", {"benchmarks": found})


def read_rival(path: Path) -> Gateway:
    """Read one gateway that somebody else started; the file's form is in rivals.md."""
    given = json.loads(path.read_text())
    host, _, port = given.pop("address").partition(":")
    return Gateway(host=host, port=int(port), **given)


if __name__ == "__main__":
    sys.exit(main())
