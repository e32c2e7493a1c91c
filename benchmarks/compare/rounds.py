"""The rounds of a comparison: each question asked of each gateway in turn, raw results kept.

Rules of this file: nothing is judged here; a run that should not count is recorded like any other
and `report` drops it, so that the reason can be read in the results.
"""

import contextlib
import random
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compare import bodies
from benchmarks.compare.noise import Watch, judge, quality_of
from benchmarks.compare.processes import (
    STARTERS,
    Certificate,
    Gateway,
    Processes,
    StandIn,
    direct,
    load,
    start_stand_in,
    usage,
)
from benchmarks.compare.questions import Question

Say = Callable[[str], None]
Result = dict[str, Any]
WARM_UP = "--connections 20 --seconds 0.3 --ask 'mode=answer events=5'"
SETTLE_S = 6.0  # a saturated gateway needs this long to notice that its clients left


class Bench:
    """One session: a folder, a watch, and where to say what is going on."""

    def __init__(
        self, folder: Path, say: Say, rounds: int, rivals: tuple[Gateway, ...], watch: Watch
    ) -> None:
        self.folder, self.say, self.rounds, self.rivals = folder, say, rounds, rivals
        self.watch = watch
        self.repeats = 10 * rounds  # in the whole session, so that it ends in bounded time
        self.random = random.Random(1)  # the order changes from round to round, not from run to run
        self.certificate = Certificate.make(folder)

    def ask(
        self, questions: Iterable[Question], results: dict[str, list[Result]], port: int = 0
    ) -> None:
        """Ask all questions over plain and TLS upstreams; adds to `results`, by question."""
        questions = list(questions)
        for upstream in ("plain", "TLS"):
            asked = [question for question in questions if upstream in question.upstreams]
            if not asked:
                continue
            with Processes(self.folder) as processes:
                certificate = self.certificate if upstream == "TLS" else None
                stand_in = start_stand_in(processes, certificate, port)
                gateways = self._start(processes, stand_in, asked)
                for question in asked:
                    for result in self._ask(question, gateways, stand_in):
                        mine = results.setdefault(question.name, [])
                        mine.append({"upstream": upstream, **result})

    def _start(
        self, processes: Processes, stand_in: StandIn, asked: list[Question]
    ) -> dict[str, Gateway]:
        wanted = {name for question in asked for name in question.targets}
        found = {
            name: start(processes, stand_in) for name, start in STARTERS.items() if name in wanted
        }
        if "direct" in wanted and not stand_in.certificate:
            found["direct"] = direct(stand_in)
        return found | {rival.name: rival for rival in self.rivals}

    def _ask(
        self, question: Question, gateways: dict[str, Gateway], stand_in: StandIn
    ) -> Iterable[Result]:
        rivals = [rival.name for rival in self.rivals]
        names = [name for name in (*question.targets, *rivals) if name in gateways]
        for name in names:  # connections, caches, compiled paths
            load(gateways[name], shlex.split(WARM_UP))
        for number in range(min(self.rounds, question.most_rounds)):
            self.random.shuffle(names)
            for name in names:
                for result in self._until_quiet(question, gateways[name], stand_in):
                    self.say(f"{question.name:12} round {number + 1} {name}")
                    yield {"round": number, "target": name, **result}

    def _until_quiet(
        self, question: Question, gateway: Gateway, stand_in: StandIn
    ) -> Iterable[Result]:
        """Run once, and again if the machine was not quiet and repeats are left; keep both."""
        by_the_clock = any(number.by_the_clock for number in question.numbers)
        for _ in range(3):
            result = self._run(question, gateway, stand_in)
            yield result
            quality = quality_of(result["noise"], self.watch.best_loop_s)
            if not self.repeats or not judge(quality, by_the_clock=by_the_clock):
                return
            self.repeats -= 1

    def _run(self, question: Question, gateway: Gateway, stand_in: StandIn) -> Result:
        _settle(stand_in)
        self.watch.wait_for_quiet()
        options: list[str | Path] = [*shlex.split(question.options)]
        if gateway.api == "messages":
            options += shlex.split(question.messages_options)
        if question.body:
            options += ["--body", self._body(question.body)]
        pids = (gateway.pid, stand_in.pid)
        stand_in.reset()
        before, stats = [_cpu(usage(pid)) for pid in pids], stand_in.stats()
        self.watch.start()
        with self._beside(question, gateway):
            run = load(gateway, options)
        left_running = _settle(stand_in)  # a saturated gateway still works off what it has read
        spent = [_cpu(usage(pid)) - was for pid, was in zip(pids, before, strict=True)]
        noise = self.watch.stop(0 if gateway.name == "direct" else spent[0], spent[1])
        ended = stand_in.stats()
        return {
            "load": run,
            "stand_in": {
                "lateness_us": ended["lateness_us"],
                "cpu_s": ended["cpu_s"] - stats["cpu_s"],
                "left_running": left_running,
            },
            "noise": noise,
        }

    @contextlib.contextmanager
    def _beside(self, question: Question, gateway: Gateway) -> Iterator[None]:
        """Have the question's second client run meanwhile."""
        if not question.beside:
            yield
            return
        options = [*shlex.split(question.beside), "--body", self._body(question.beside_body)]
        with ThreadPoolExecutor(1) as aside:
            second = aside.submit(load, gateway, options)
            yield
            if not second.result()["answers"]:
                raise SystemExit(f"{gateway.name} answered none of the requests beside")

    def _body(self, name: str) -> Path:
        path = self.folder / name.replace(" ", "-")
        if not path.exists():
            script = "mode=answer events=1"
            is_large = name == bodies.IMAGES
            made = bodies.with_images if is_large else partial(bodies.for_load, bodies.SIZES[name])
            path.write_bytes(made(script))
        return path

    # -- memory and start-up have their own course ------------------------------------------

    def memory(self, sizes: Iterable[int], results: list[Result]) -> None:
        """Open silent streams on a fresh gateway and read its memory while they are open."""
        for upstream in ("plain", "TLS"):
            for size in sizes:
                for name in STARTERS:
                    if name == "httpx+Starlette" and size > 1000:
                        continue  # its connection pool takes minutes to open so many
                    results.append({"upstream": upstream, **self._memory(upstream, name, size)})
                    self.say(f"memory       {size} streams {name} {upstream}")

    def _memory(self, upstream: str, name: str, size: int) -> Result:
        spread = size / (200 if upstream == "TLS" else 400)  # handshakes cost 2 ms
        if name == "httpx+Starlette":
            spread *= 2  # its pool slows down with every connection
        end = spread + 1.5
        with Processes(self.folder) as processes:
            certificate = self.certificate if upstream == "TLS" else None
            stand_in = start_stand_in(processes, certificate)
            gateway = STARTERS[name](processes, stand_in)
            load(gateway, shlex.split(WARM_UP))
            course = f"--spread {spread} --to {end} --limit {end + 0.1}"
            options = f"--connections {size} {course} --ask 'mode=idle seconds={end + 20:.0f}'"
            run = load(gateway, shlex.split(options))
            shutil.rmtree(self.folder / f"nginx-{gateway.port}", ignore_errors=True)
        return {"target": name, "streams": size, "load": run}


def _settle(stand_in: StandIn) -> int:
    """Wait until no answer is open any more; how many still were at the end."""
    end = time.monotonic() + SETTLE_S
    while (open_now := int(stand_in.stats()["answering"])) and time.monotonic() < end:
        time.sleep(0.05)
    return open_now


def _cpu(found: dict[str, Any]) -> float:
    return float(found["cpu_s"])
