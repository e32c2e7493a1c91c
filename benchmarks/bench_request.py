"""How long does one request hold the event loop before it can be sent?

Parsing, conversion (which counts tokens), and the splice of a profile ARN, for requests that
Claude Code really sent and for its sessions grown to 50 and 400 kB. Parsing and writing the same
JSON with nothing in between is what the long way cannot fall below. The quick way is measured
with texts that differ from one request to the next, with tools that it has seen and with new ones.

Run: make micro
"""

import itertools
import json
from pathlib import Path

import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.compare.bodies import SIZES, session
from kiroproxy.protocol import ordinary
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.offers import Offers
from kiroproxy.protocol.request import convert, parse_body

CAPTURES = Path(__file__).parent.parent / "tests" / "data" / "captures"
REAL = ("claude-code-01-plain", "claude-code-06-parallel-tools", "claude-code-18-long-cjk-emoji")
CATALOGUE = Catalogue.BUILT_IN
PROFILE = "arn:aws:codewhisperer:us-east-1:699475941385:profile/EHGA3GRVQMUK"


def raw(name: str) -> bytes:
    if name in SIZES:
        return orjson.dumps(session(SIZES[name]))
    return orjson.dumps(json.loads((CAPTURES / f"{name}.json").read_text())["body"])


def convert_raw(body: bytes) -> int:
    plan = convert(parse_body(body), catalogue=CATALOGUE, ids=lambda: "id")
    return len(plan.body(PROFILE))


def parse_and_write(body: bytes) -> int:
    return len(orjson.dumps(orjson.loads(body)))


@pytest.mark.parametrize("name", [*REAL, *SIZES])
@pytest.mark.parametrize("way", [convert_raw, parse_and_write], ids=["convert", "orjson only"])
def bench_request(benchmark: BenchmarkFixture, way: type[int], name: str) -> None:
    body = raw(name)
    benchmark.group = f"request {name.removeprefix('claude-code-')} ({len(body):,} bytes)"
    assert benchmark(way, body) > len(body) // 4


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("knows", [True, False], ids=["tools known", "tools new"])
def bench_ordinary_request(benchmark: BenchmarkFixture, knows: bool, name: str) -> None:
    messages, mark, rest = raw(name).rpartition(b'"system":')
    bodies = itertools.cycle(
        [messages.replace(b"import", b"imp%03d" % number) + mark + rest for number in range(20)]
    )
    known = Offers()

    def plan() -> int:
        offers = known if knows else Offers()
        found = ordinary.plan(next(bodies), catalogue=CATALOGUE, ids=lambda: "id", offers=offers)
        assert found is not None
        return len(found[0].body(PROFILE))

    benchmark.group = f"request {name}, read and written without objects for its messages"
    assert benchmark(plan) > 10_000


@pytest.mark.parametrize("name", SIZES)
def bench_splice_of_a_retry(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = f"another credential's profile, request of {name}"
    plan = convert(parse_body(raw(name)), catalogue=CATALOGUE, ids=lambda: "id")
    assert len(benchmark(plan.body, PROFILE)) > 1000
