"""How long `--version` takes, and how long from the command to the first answered request.

The yardstick is `python -c pass` and, for readiness, the plain Python proxy: both start the same
interpreter from the same disk.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.compare.noise import Watch
from benchmarks.compare.processes import (
    GATEWAY_CPU,
    ROOT,
    STARTERS,
    Processes,
    StandIn,
    start_stand_in,
)


def measure(folder: Path, watch: Watch, rounds: int) -> list[dict[str, Any]]:
    """Return one result per round and thing started, in seconds of the clock."""
    results = []
    with Processes(folder) as processes:
        stand_in = start_stand_in(processes, None)
        ways: dict[str, Callable[[], float]] = {
            "python -c pass": lambda: _command("-c", "pass"),
            "kiroproxy --version": lambda: _command("-m", "kiroproxy", "--version"),
            "kiroproxy ready": lambda: _ready("kiroproxy", folder, stand_in),
            "nginx ready": lambda: _ready("nginx", folder, stand_in),
            "httpx+Starlette ready": lambda: _ready("httpx+Starlette", folder, stand_in),
        }
        for number in range(rounds):
            for name, way in ways.items():
                watch.start()
                taken_s = way()
                noise = watch.stop(taken_s)  # alone on its CPU nearly all the time
                results.append(
                    {"round": number, "target": name, "seconds": taken_s, "noise": noise}
                )
    return results


def _command(*arguments: str) -> float:
    command = ["taskset", "-c", str(GATEWAY_CPU), sys.executable, *arguments]
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def _ready(name: str, folder: Path, stand_in: StandIn) -> float:
    """Until a whole answer came through, not until the port is open."""
    with Processes(folder) as processes:
        start = time.perf_counter()
        gateway = STARTERS[name](processes, stand_in)
        path = "/v1/messages" if gateway.api == "messages" else "/generateAssistantResponse"
        text = "Go on. [[load mode=answer events=1]]"
        body = {
            "model": "claude-sonnet-4-5",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": text}],
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{gateway.port}{path}",
            json.dumps(body).encode(),
            {"content-type": "application/json", "x-api-key": gateway.key},
        )
        while True:
            try:
                urllib.request.urlopen(request, timeout=10).read()
                return time.perf_counter() - start
            except urllib.error.URLError:
                if time.perf_counter() - start > 20:
                    raise
