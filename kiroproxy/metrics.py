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
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

ENDPOINTS = ("messages", "count_tokens", "models", "other")
OUTCOMES = ("ok", "error", "cancelled", "truncated")
STATUSES = (
    *(0, 200, 204, 400, 401, 402, 403, 404, 405, 408, 413, 415, 429),
    *(500, 502, 503, 504, 529, -1),
)  # 0: the client left before an answer; -1: any other
_OTHER_STATUS = len(STATUSES) - 1
# Classes of `errors.UpstreamError`; what is not here is counted as "Other".
FAULTS = (
    *("", "ConnectFailed", "ProxyFailed", "ConnectionLost", "UpstreamTimeout", "BadFrame"),
    *("ProtocolViolation", "EmptyAnswer", "Throttled", "Overloaded", "ServerFault"),
    *("QuotaExhausted", "TokenRejected", "AccessDenied", "WrongDoor", "WrongProfile", "Suspended"),
    *("Refused", "ModelRefused", "PromptTooLong", "OutputTooLong", "SignatureRefused"),
    *("RefreshFailed", "CredentialDead", "Unmet", "Other"),
)
REFRESHES = ("renewed", "adopted", "failed", "dead")
TOKENS = ("input", "output", "cache_read")
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

_STATUS_AT = {status: at for at, status in enumerate(STATUSES)}
_FAULT_AT = {name: at for at, name in enumerate(FAULTS)}
_ENDPOINT_AT = {name: at for at, name in enumerate(ENDPOINTS)}
_OUTCOME_AT = {name: at for at, name in enumerate(OUTCOMES)}
_REFRESH_AT = {name: at for at, name in enumerate(REFRESHES)}


def page_size(rows: int) -> int:
    """Return how many bytes the rows of so many workers need."""
    return rows * ROW_LEN


class Told(Protocol):
    """What is counted of a finished request; `server.request.Record` is one. Units: tokens."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def cache_read_tokens(self) -> int: ...
    @property
    def credits(self) -> float: ...
    @property
    def is_answered(self) -> bool: ...


class Metrics:
    """One worker's row, and sight of all. Order: `claim` before anything is counted."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._words = memoryview(memory).cast("q")
        self._row = self._words[:0]

    def claim(self, row: int) -> None:
        """Take the row that the worker has in the ring too."""
        start = row * ROW_LEN // 8
        self._row = self._words[start : start + _WORDS]
        self._row[_PID], self._row[_IN_FLIGHT] = os.getpid(), 0

    def leave(self) -> None:
        """Count nothing any more; what was counted stays for the others."""
        if self._row:
            self._row[_PID] = 0
        self._row.release()
        self._words.release()

    # -- counting: a microsecond or two a request ---------------------------------------------

    def began(self) -> None:
        """Count a request in."""
        self._row[_IN_FLIGHT] += 1

    def ended(self, endpoint: str, outcome: str, status: int, duration_s: float) -> None:
        """Count a request out."""
        row = self._row
        row[_IN_FLIGHT] -= 1
        at = _ENDPOINT_AT[endpoint] * len(OUTCOMES) + _OUTCOME_AT[outcome]
        row[_REQUESTS + at * len(STATUSES) + _STATUS_AT.get(status, _OTHER_STATUS)] += 1
        if endpoint == "messages":
            self._observe(_DURATION, DURATIONS, duration_s, _MICRO)

    def answered(self, told: Told, first_token_s: float) -> None:
        """Count what an answer took and cost. Units: s from the request; 0 = no content came."""
        row = self._row
        if first_token_s:
            self._observe(_FIRST_TOKEN, FIRST_TOKENS, first_token_s, _MICRO)
        if told.is_answered:
            self._observe(_INPUT, TOKEN_BUCKETS, told.input_tokens, 1)
            self._observe(_OUTPUT, TOKEN_BUCKETS, told.output_tokens, 1)
            row[_CACHED] += told.cache_read_tokens
        if told.credits:
            row[_CREDITS] += round(told.credits * _MICRO)

    def attempted(self, faults: Iterable[str]) -> None:
        """Count requests to Kiro, by the class of what they failed for; "" = answered."""
        for fault in faults:
            self._row[_ATTEMPTS + _FAULT_AT.get(fault, len(FAULTS) - 1)] += 1

    def refreshed(self, outcome: str) -> None:
        """Count the end of a token's renewal."""
        self._row[_REFRESHES + _REFRESH_AT[outcome]] += 1

    def _observe(self, at: int, bounds: Sequence[float], value: float, scale: int) -> None:
        row = self._row
        row[at + bisect_left(bounds, value)] += 1
        row[at + len(bounds) + 1] += round(value * scale)

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
