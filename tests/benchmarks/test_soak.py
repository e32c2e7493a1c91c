"""The soak: does it see what a client leaves behind, and nothing where nothing is?"""

import asyncio
import json
import random
import socket
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak import asks, judge
from benchmarks.soak.__main__ import stored_text
from benchmarks.soak.clients import Crowd
from benchmarks.soak.facts import Facts
from benchmarks.soak.stage import ROWS, Stage, stand

QUIET = Facts(
    at_s=0, clients=0, upstream=0, close_wait=0, fds=30, threads=4, memory_kib=40_000, requests=0,
    leases=0, key_requests=0, tasks=5, timers=3, objects=1, entries=1, rows=0, records_bytes=0,
    error_lines=0, names=Counter(keeper=5), kinds=Counter(),
)  # fmt: skip
QUICK = ("stays", "in the upload", "before the head", "mid-stream", "half-closes")


def test_a_gateway_as_it_was_before_passes() -> None:
    assert judge.left_behind(QUIET, QUIET) == []


@pytest.mark.parametrize("name", [*judge.NOTHING_LEFT, "tasks"])
def test_one_of_anything_that_a_client_brings_is_a_leak(name: str) -> None:
    after = replace(QUIET, **{name: getattr(QUIET, name) + 1})
    assert any(name in fault for fault in judge.left_behind(QUIET, after))


@pytest.mark.parametrize("name", ["fds", "timers"])
def test_what_is_kept_for_good_may_be_a_few_more_but_not_many(name: str) -> None:
    was = getattr(QUIET, name)
    assert judge.left_behind(QUIET, replace(QUIET, **{name: was + 2})) == []
    assert judge.left_behind(QUIET, replace(QUIET, **{name: was + 9})) != []


@pytest.mark.parametrize(("kib_a_reading", "is_leak"), [(0, False), (100, False), (3000, True)])
def test_memory_that_goes_on_growing_is_a_leak(kib_a_reading: int, is_leak: bool) -> None:
    readings = [replace(QUIET, memory_kib=40_000 + at * kib_a_reading) for at in range(9)]
    assert bool(judge.grown(readings, bound_kib=4096)) is is_leak


def test_memory_that_grew_at_first_only_is_none() -> None:
    readings = [replace(QUIET, memory_kib=min(80_000, 40_000 + at * 20_000)) for at in range(9)]
    assert judge.grown(readings, bound_kib=4096) == []


def test_a_request_log_above_its_limit_is_told() -> None:
    assert judge.unbounded(replace(QUIET, rows=ROWS + 50), 1) == []
    assert judge.unbounded(replace(QUIET, rows=10 * ROWS), 1) != []


def test_what_is_stored_can_be_read_again() -> None:
    about, runs = {"commit": "abc", "packages": {"uvicorn": "1"}}, [{"way": "a"}, {"way": "b"}]
    assert json.loads(stored_text(about, runs)) == {"machine": about, "runs": runs}


def settled(stage: Stage, before: Facts) -> list[str]:
    """Return what is left when it does not get less any more."""
    deadline = time.monotonic() + 15
    while left := judge.left_behind(before, stage.watched.read(0)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return left


def test_a_client_that_stays_is_seen_and_one_that_left_is_not(tmp_path: Path) -> None:
    with stand(tmp_path, workers=1, tls=False) as stage:
        before = stage.watched.read(0)
        crowd = Crowd(stage.watched.port, stage.keys)
        with socket.create_connection(("127.0.0.1", stage.watched.port)) as client:
            client.sendall(request(crowd))
            assert client.recv(100).startswith(b"HTTP/1.1 200")  # from then on it has a lease
            left = judge.left_behind(before, stage.watched.read(0))
        told = " ".join(left)
        assert all(f"1 {name} left" in told for name in ("clients", "requests", "leases")), told
        asyncio.run(quick_ones(crowd))
        assert settled(stage, before) == []
        assert crowd.came.total() == 2 * len(QUICK) and not crowd.wrong
        assert stage.watched.errors() == []


def request(crowd: Crowd) -> bytes:
    body = asks.chat(random.Random(1), numbers=300)
    head = f"POST {body.path} HTTP/1.1\r\nhost: a\r\nx-api-key: {crowd.keys[1]}\r\n"
    return f"{head}content-length: {len(body.body)}\r\n\r\n".encode() + body.body


async def quick_ones(crowd: Crowd) -> None:
    """Let clients come to a short answer and go."""
    chance = random.Random(2)
    for manner in QUICK * 2:
        crowd.admit(asks.chat(chance, numbers=20), manner, chance)
    await crowd.gone()
