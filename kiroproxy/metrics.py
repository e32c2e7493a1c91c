"""Counters of all workers in shared memory, and their text for Prometheus.

Rules of this file: a worker writes its own row only, so no operation is atomic and none is lost;
who reads adds the rows up. A number is one aligned word: a reader sees it before or after, never
in between. No label holds what a client or an account chose: the set of series is fixed.

Theory of operation. A row is an array of 64-bit integers whose places are the module's tables. A
row outlives its worker: the next one goes on counting in it, so that totals never fall; only what
is in flight is forgotten with the process, whose pid stands in front. Times are counted in
microseconds and credits in millionths, for whole numbers add up exactly.

Source: Prometheus's text format 0.0.4; OpenTelemetry's GenAI semantic conventions for the names and
the buckets that begin with `gen_ai`.
"""

import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kiroproxy._counters import Row

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

ENDPOINTS = ("messages", "count_tokens", "models", "other")
OUTCOMES = ("ok", "error", "cancelled", "truncated")
STATUSES = (
    *(0, 200, 204, 400, 401, 402, 403, 404, 405, 408, 413, 415, 429),
    *(500, 502, 503, 504, 529, -1),
)  # 0: the client left before an answer; -1, the last: any other
# Classes of `errors.UpstreamError`; what is not here is counted as "Other".
FAULTS = (
    *("", "ConnectFailed", "ProxyFailed", "ConnectionLost", "UpstreamTimeout", "BadFrame"),
    *("ProtocolViolation", "EmptyAnswer", "Throttled", "Overloaded", "ServerFault"),
    *("QuotaExhausted", "TokenRejected", "AccessDenied", "WrongDoor", "WrongProfile", "Suspended"),
    *("Refused", "ModelRefused", "PromptTooLong", "OutputTooLong", "SignatureRefused"),
    *("RefreshFailed", "CredentialDead", "Unmet", "Other"),
)
REFRESHES = ("renewed", "adopted", "failed", "dead")
# Seconds: the buckets of gen_ai.server.request.duration and gen_ai.server.time_to_first_token.
DURATIONS = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    *(163.84, 327.68, 655.36),
)
FIRST_TOKENS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 30.0, 60.0, 120.0),
)
TOKEN_BUCKETS = tuple(float(4**n) for n in range(14))  # those of gen_ai.client.token.usage
_MICRO = 1_000_000

_PID, _IN_FLIGHT = 0, 1
_REQUESTS = 2
_ATTEMPTS = _REQUESTS + len(ENDPOINTS) * len(OUTCOMES) * len(STATUSES)
_REFRESHES = _ATTEMPTS + len(FAULTS)
_CREDITS = _REFRESHES + len(REFRESHES)
_CACHED = _CREDITS + 1
# A histogram is its buckets, the one above them, and the sum.
_DURATION = _CACHED + 1
_FIRST_TOKEN = _DURATION + len(DURATIONS) + 2
_INPUT = _FIRST_TOKEN + len(FIRST_TOKENS) + 2
_OUTPUT = _INPUT + len(TOKEN_BUCKETS) + 2
_WORDS = _OUTPUT + len(TOKEN_BUCKETS) + 2
ROW_LEN = -(-_WORDS * 8 // 64) * 64  # whole cache lines: no two workers write to one


def page_size(rows: int) -> int:
    """Return how many bytes the rows of so many workers need."""
    return rows * ROW_LEN


class Metrics(Row):
    """One worker's row, and sight of all. Order: `claim` before anything is counted."""

    __slots__ = ("_at", "_memory", "_words")

    def __init__(self, memory: mmap.mmap) -> None:
        super().__init__(
            size=_WORDS,
            in_flight=_IN_FLIGHT,
            requests=(_REQUESTS, ENDPOINTS, OUTCOMES, STATUSES),
            attempts=(_ATTEMPTS, FAULTS),
            refreshes=(_REFRESHES, REFRESHES),
            credits=_CREDITS,
            cached=_CACHED,
            duration=(_DURATION, DURATIONS, _MICRO),
            first_token=(_FIRST_TOKEN, FIRST_TOKENS, _MICRO),
            input=(_INPUT, TOKEN_BUCKETS, 1),
            output=(_OUTPUT, TOKEN_BUCKETS, 1),
        )
        self._memory = memory
        self._words = memoryview(memory).cast("q")
        self._at: int | None = None

    def claim(self, row: int) -> None:
        """Take the row that the worker has in the ring too."""
        self.take(self._memory, row, ROW_LEN // 8)
        self._at = row * ROW_LEN // 8
        self._words[self._at + _PID] = os.getpid()
        self._words[self._at + _IN_FLIGHT] = 0

    def leave(self) -> None:
        """Count nothing any more; what was counted stays for the others."""
        self.drop()
        if self._at is not None:
            self._words[self._at + _PID] = 0
        self._words.release()

    # -- telling ---------------------------------------------------------------------------

    def totals(self, is_alive: Callable[[int], bool]) -> list[int]:
        """Add all rows up; what a dead worker had in flight does not count."""
        sums = [0] * _WORDS
        for start in range(0, len(self._words), ROW_LEN // 8):
            row = self._words[start : start + _WORDS].tolist()
            if not row[_PID] or not is_alive(row[_PID]):
                row[_IN_FLIGHT] = 0
            sums = [total + more for total, more in zip(sums, row, strict=True)]
        return sums


Labels = tuple[tuple[str, str], ...]


class Gauge(NamedTuple):
    """Something that is measured when it is asked for."""

    name: str
    meaning: str
    values: Mapping[Labels, float]


def render(sums: Sequence[int], gauges: Iterable[Gauge]) -> bytes:
    """Return everything as Prometheus's text."""
    lines = [*_counters(sums)]
    for name, meaning, at, bounds, scale, labels in _HISTOGRAMS:
        if not labels or 'type="input"' in labels:
            lines += _head(name, "histogram", meaning)
        lines += _histogram(name, labels, sums[at : at + len(bounds) + 2], bounds, scale)
    for gauge in gauges:
        lines += _head(gauge.name, "gauge", gauge.meaning)
        lines += [_sample(gauge.name, labels, value) for labels, value in gauge.values.items()]
    return ("\n".join(lines) + "\n").encode()


_HISTOGRAMS = (
    (
        "gen_ai_server_request_duration_seconds", "Conversations, from request to last byte.",
        _DURATION, DURATIONS, _MICRO, "",
    ),
    (
        "gen_ai_server_time_to_first_token_seconds",
        "From the request to the first content of its answer.",
        _FIRST_TOKEN, FIRST_TOKENS, _MICRO, "",
    ),
    (
        "gen_ai_client_token_usage", "Tokens of a conversation's request and answer.",
        _INPUT, TOKEN_BUCKETS, 1, 'gen_ai_token_type="input"',
    ),
    (
        "gen_ai_client_token_usage", "",
        _OUTPUT, TOKEN_BUCKETS, 1, 'gen_ai_token_type="output"',
    ),
)  # fmt: skip


def _counters(sums: Sequence[int]) -> Iterator[str]:
    yield from _head("kiroproxy_requests_total", "counter", "Requests of clients, by their end.")
    at = _REQUESTS
    for endpoint in ENDPOINTS:
        for outcome in OUTCOMES:
            for status in STATUSES:
                if sums[at]:
                    code = {0: "none", -1: "other"}.get(status, str(status))
                    labels = (("endpoint", endpoint), ("outcome", outcome), ("status", code))
                    yield _sample("kiroproxy_requests_total", labels, sums[at])
                at += 1
    name = "kiroproxy_upstream_attempts_total"
    yield from _head(name, "counter", "Requests to Kiro, by what they failed for.")
    for at, fault in enumerate(FAULTS, _ATTEMPTS):
        if sums[at] or not fault:
            yield _sample(name, (("error_type", fault),), sums[at])
    name = "kiroproxy_token_refreshes_total"
    yield from _head(name, "counter", "Renewals of access tokens, by their end.")
    for at, outcome in enumerate(REFRESHES, _REFRESHES):
        yield _sample(name, (("outcome", outcome),), sums[at])
    yield from _head("kiroproxy_credits_total", "counter", "Kiro's credits that answers cost.")
    yield _sample("kiroproxy_credits_total", (), sums[_CREDITS] / _MICRO)
    name = "kiroproxy_cache_read_tokens_total"
    yield from _head(name, "counter", "Input tokens that Kiro read from its cache.")
    yield _sample(name, (), sums[_CACHED])
    yield from _head("kiroproxy_requests_in_flight", "gauge", "Requests of clients under way.")
    yield _sample("kiroproxy_requests_in_flight", (), sums[_IN_FLIGHT])


def _histogram(
    name: str, labels: str, counts: Sequence[int], bounds: Sequence[float], scale: int
) -> Iterator[str]:
    seen, before = 0, f"{labels}," if labels else ""
    for bound, count in zip((*map(_number, bounds), "+Inf"), counts, strict=False):
        seen += count
        yield f'{name}_bucket{{{before}le="{bound}"}} {seen}'
    own = f"{{{labels}}}" if labels else ""
    yield f"{name}_sum{own} {_number(counts[-1] / scale)}"
    yield f"{name}_count{own} {seen}"


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]


def _sample(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{told}}} {_number(value)}" if told else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
