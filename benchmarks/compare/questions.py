"""What is asked of each gateway: the load, and the numbers that answer.

Rules of this file: data only. A new question is a new row; report and runner follow from it.

Theory of operation. A number taken from CPU time (`by_the_clock=False`) survives foreign work on
the machine; a number taken from the clock does not, and is kept only from quiet rounds. Conclusions
are ratios to nginx within one round; `floor` numbers have the direct connection's subtracted first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Run = dict[str, Any]  # what the client printed
REFERENCE = "nginx"


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a run; smaller is better."""

    name: str
    title: str
    unit: str
    of: Callable[[Run], float]
    by_the_clock: bool = False
    floor: bool = False  # subtract what a direct connection shows


@dataclass(frozen=True, slots=True)
class Question:
    """One load and what is read from it. `targets` beyond all gateways: "direct"."""

    name: str
    title: str
    options: str  # of the load client, as in a shell
    numbers: tuple[Number, ...]
    targets: tuple[str, ...] = ("kiroproxy", "nginx", "httpx+Starlette")
    upstreams: tuple[str, ...] = ("plain", "TLS")
    messages_options: str = ""  # more of them, for gateways that speak the Messages API
    offered_events_s: float = 0  # 0: as many as the gateway takes
    most_rounds: int = 99
    body: str = ""  # a body from `bodies`
    beside: str = ""  # options of a second client, which runs meanwhile and is not measured …
    beside_body: str = ""  # … and what it sends
    notes: str = field(default="")


def _us_per_event(run: Run) -> float:
    return float(run["gateway"]["cpu_us_per_event"])


def _us_per_answer(run: Run) -> float:
    return float(run["gateway"]["cpu_us_per_answer"])


def _percentile(histogram: str, which: str) -> Callable[[Run], float]:
    return lambda run: float(run[histogram][which])


PER_EVENT = Number("cpu_us_per_event", "CPU per event", "µs", _us_per_event)
PER_ANSWER = Number("cpu_us_per_answer", "CPU per request", "µs", _us_per_answer)
FIRST_P50 = Number(
    "first_p50", "added to the first event, p50", "µs", _percentile("first_event_us", "p50"),
    by_the_clock=True, floor=True,
)  # fmt: skip
FIRST_P99 = Number(
    "first_p99", "added to the first event, p99", "µs", _percentile("first_event_us", "p99"),
    by_the_clock=True, floor=True,
)  # fmt: skip
EVENT_P50 = Number(
    "event_p50", "added to each event, p50", "µs", _percentile("latency_us", "p50"),
    by_the_clock=True, floor=True,
)  # fmt: skip
EVENT_P99 = Number(
    "event_p99", "added to each event, p99", "µs", _percentile("latency_us", "p99"),
    by_the_clock=True, floor=True,
)  # fmt: skip
GAP_P99 = Number(
    "gap_p99", "gap between events, p99", "µs", _percentile("gap_us", "p99"), by_the_clock=True
)
GAP_MAX = Number(
    "gap_max", "longest gap between events", "µs", _percentile("gap_us", "max"), by_the_clock=True
)
ANSWER_P50 = Number(
    "answer_p50", "whole answer, p50", "µs", _percentile("answer_us", "p50"), by_the_clock=True
)

QUESTIONS = (
    Question(
        "paced",
        "200 streams, 50 events a second each, one write per event",
        "--connections 200 --spread 0.4 --pace 50 --from 0.7 --to 2.9 --limit 5"
        " --ask 'mode=paced events=155 rate=50'",
        (PER_EVENT,),
        offered_events_s=10_000,
    ),
    Question(
        "coalesced",
        "100 streams, 16 KiB of events in one write every 100 ms",
        "--connections 100 --spread 0.4 --from 0.6 --to 2.3 --limit 4"
        " --ask 'mode=coalesced events=2400'",
        (PER_EVENT,),
    ),
    Question(
        "short",
        "short requests without streaming, 10 connections, each as fast as it can",
        "--connections 10 --seconds 1.8 --from 0.3 --to 1.7 --ask 'mode=answer events=1'",
        (PER_ANSWER,),
        messages_options="--no-stream",
    ),
    Question(
        "short-stream",
        "short streamed requests, 10 connections, each as fast as it can",
        "--connections 10 --seconds 1.8 --from 0.3 --to 1.7 --ask 'mode=answer events=1'",
        (PER_ANSWER,),
    ),
    Question(
        "large",
        "requests of 400 kB, 2 connections, each as fast as it can",
        "--connections 2 --seconds 1.8 --from 0.3 --to 1.7",
        (PER_ANSWER, ANSWER_P50),
        upstreams=("plain",),
        body="400 kB",
        notes="nginx forwards the bytes unread; kiroproxy parses, validates, converts and counts.",
    ),
    Question(
        "latency",
        "100 requests a second, open loop, 10 events 5 ms apart in each answer",
        "--connections 64 --rate 100 --seconds 2.6 --from 0.3 --to 2.5"
        " --ask 'mode=paced events=10 rate=200'",
        (FIRST_P50, FIRST_P99, EVENT_P50, EVENT_P99),
        targets=("kiroproxy", "nginx", "httpx+Starlette", "direct"),
        upstreams=("plain",),
    ),
    Question(
        "stalls",
        "512 streams, 50 events a second each; a stall is a gap of 200 ms",
        "--connections 512 --spread 1 --pace 50 --from 1.5 --to 4.5 --limit 7"
        " --ask 'mode=paced events=230 rate=50'",
        (PER_EVENT, GAP_P99),
        upstreams=("plain",),
        offered_events_s=25_600,
        most_rounds=3,
    ),
    Question(
        "stalls-beside",
        "20 streams, 100 events a second each, while bodies of 20 MB with images arrive",
        "--connections 20 --spread 0.2 --pace 100 --from 0.7 --to 3.5 --limit 5"
        " --ask 'mode=paced events=380 rate=100'",
        (GAP_P99, GAP_MAX),
        upstreams=("plain",),
        offered_events_s=2_000,
        beside="--connections 1 --rate 3 --seconds 3 --from 0 --to 3",
        beside_body="20 MB of images",
        notes="The pace itself is a gap of 10 ms; a stall of the gateway comes on top of it.",
    ),
)
