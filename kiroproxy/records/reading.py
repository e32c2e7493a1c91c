"""Questions to the records: pages of requests, usage by anything, the audit log.

Rules of this file: SQL and rows; names, labels and JSON are the caller's. Values are always
parameters; what is put into a statement's text is chosen from the tables here.
"""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from kiroproxy.records.recorder import DAY_MS, HOUR_MS, Attempt
from kiroproxy.records.timings import percentile

_COLUMNS = (
    *("n", "id", "at", "path", "model", "kiro_model", "stream", "status", "outcome"),
    *("stop_reason", "error_type", "error_message", "key_id", "credential_id", "input_tokens"),
    *("output_tokens", "cache_read_tokens", "credits", "first_token_ms", "duration_ms"),
    *("attempt_count", "user_agent", "client_address", "request_bytes"),
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM requests"  # noqa: S608

# How usage is grouped: an expression over the columns of `usage` and `timings`.
GROUPS: Mapping[str, str] = {
    "day": f"at / {DAY_MS} * {DAY_MS}",
    "hour": f"at / {HOUR_MS} * {HOUR_MS}",
    "model": "model",
    "credential": "credential_id",
    "key": "key_id",
}

Row = dict[str, Any]


class Filter(NamedTuple):
    """What requests are asked for; None = any. Units: ms since epoch; `key_id` 0 = config's."""

    outcome: str | None = None
    model: str | None = None
    credential_id: int | None = None
    key_id: int | None = None
    text: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def where(self) -> tuple[list[str], list[Any]]:
        """Return the conditions and their values."""
        conditions, values = [], []
        for condition, value in (
            ("outcome = ?", self.outcome),
            ("credential_id = ?", self.credential_id),
            ("coalesce(key_id, 0) = ?", self.key_id),
            ("at >= ?", self.since_ms),
            ("at < ?", self.until_ms),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if self.model:
            conditions.append("(model = ? OR kiro_model = ?)")
            values += [self.model, self.model]
        if self.text:
            looked_in = ("id", "model", "error_type", "error_message", "client_address")
            conditions.append("(" + " OR ".join(f"instr(lower({c}), ?)" for c in looked_in) + ")")
            values += [self.text.lower()] * len(looked_in)
        return conditions, values


def requests(
    connection: sqlite3.Connection,
    wanted: Filter,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int,
) -> list[Row]:
    """Return the newest requests before a number, or the oldest after one."""
    conditions, values = wanted.where()
    if before is not None:
        conditions.append("n < ?")
        values.append(before)
    if after is not None:
        conditions.append("n > ?")
        values.append(after)
    text = f"{_SELECT} WHERE {' AND '.join(conditions)}" if conditions else _SELECT
    order = "ASC" if after is not None else "DESC"
    found = connection.execute(f"{text} ORDER BY n {order} LIMIT ?", (*values, limit))
    return [dict(zip(_COLUMNS, row, strict=True)) for row in found]


def newest(connection: sqlite3.Connection) -> int:
    """Return the number of the newest request, 0 where there is none."""
    return int(connection.execute("SELECT coalesce(max(n), 0) FROM requests").fetchone()[0])


def request(connection: sqlite3.Connection, id: str) -> tuple[Row, list[Attempt]] | None:
    """Return one request with its attempts."""
    text = _SELECT.replace(" FROM", ", attempts FROM") + " WHERE id = ?"
    row = connection.execute(text, (id,)).fetchone()
    if row is None:
        return None
    *values, attempts = row
    found = [Attempt(*each) for each in orjson.loads(attempts)]
    return dict(zip(_COLUMNS, values, strict=True)), found


def busy_credentials(connection: sqlite3.Connection, since_ms: int) -> dict[int, int]:
    """Return how many requests each credential has served since a time."""
    text = (
        "SELECT credential_id, count(*) FROM requests"
        " WHERE at >= ? AND credential_id IS NOT NULL GROUP BY credential_id"
    )
    return dict(connection.execute(text, (since_ms,)).fetchall())


def last_uses(connection: sqlite3.Connection) -> dict[int, int]:
    """Return when each client key was last used, to the minute. Units: ms since epoch."""
    return dict(connection.execute("SELECT key_id, max(at) FROM usage GROUP BY key_id").fetchall())


def usage(
    connection: sqlite3.Connection, group: str, since_ms: int, until_ms: int
) -> dict[Any, Row]:
    """Return sums by the value of an expression of `GROUPS`, or of one of `step`."""
    found: dict[Any, Row] = {}
    text = (
        f"SELECT {group}, sum(requests), sum(errors), sum(input_tokens), sum(output_tokens),"  # noqa: S608
        " sum(cache_read_tokens), sum(credits) FROM usage WHERE at >= ? AND at < ? GROUP BY 1"
    )
    for value, *sums in connection.execute(text, (since_ms, until_ms)):
        found[value] = bucket(*sums)
    for value, times in _timings(connection, group, since_ms, until_ms).items():
        if value in found:
            found[value] |= {
                "latencyMs": _percentiles(times[0]),
                "firstTokenMs": _percentiles(times[1]),
            }
    return found


def step(step_ms: int, since_ms: int) -> str:
    """Return the expression that groups by steps of a window."""
    return f"(at - {int(since_ms)}) / {int(step_ms)}"


def bucket(
    requests: int = 0,
    errors: int = 0,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_tokens: int = 0,
    credits: float = 0.0,
) -> Row:
    """Return sums as the admin API shows them, with no timings yet."""
    return {
        "requests": requests,
        "errors": errors,
        "inputTokens": input_tokens,
        "outputTokens": output_tokens,
        "cacheReadTokens": cache_read_tokens,
        "credits": round(credits, 6),
        "latencyMs": None,
        "firstTokenMs": None,
    }


def key_usage(connection: sqlite3.Connection, since_ms: int) -> dict[int, tuple[int, int, float]]:
    """Return (requests, tokens, credits) of every client key since a time."""
    text = (
        "SELECT key_id, sum(requests), sum(input_tokens + output_tokens), sum(credits)"
        " FROM usage WHERE at >= ? GROUP BY key_id"
    )
    return {
        id: (n, tokens, credits) for id, n, tokens, credits in connection.execute(text, (since_ms,))
    }


def add_audit(connection: sqlite3.Connection, entry: Sequence[Any]) -> None:
    """Write one line: (at, actor, address, action, target, detail)."""
    connection.execute(
        "INSERT INTO audit (at, actor, address, action, target, detail) VALUES (?,?,?,?,?,?)", entry
    )


def audit(connection: sqlite3.Connection, before: int | None, limit: int) -> list[Row]:
    """Return the newest entries before a number."""
    names = ("id", "at", "actor", "address", "action", "target", "detail")
    text = "SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?"
    found = connection.execute(text, (2**62 if before is None else before, limit))
    return [dict(zip(names, row, strict=True)) for row in found]


def _timings(
    connection: sqlite3.Connection, group: str, since_ms: int, until_ms: int
) -> dict[Any, tuple[Counter[int], Counter[int]]]:
    found: dict[Any, tuple[Counter[int], Counter[int]]] = {}
    text = (
        f"SELECT {group}, kind, bucket, sum(n) FROM timings"  # noqa: S608
        " WHERE at >= ? AND at < ? GROUP BY 1, 2, 3"
    )
    for value, kind, bucket, n in connection.execute(text, (since_ms, until_ms)):
        found.setdefault(value, (Counter(), Counter()))[kind][bucket] = n
    return found


def _percentiles(counts: Counter[int]) -> dict[str, float | None] | None:
    if not counts:
        return None
    return {"p50": percentile(counts, 0.5), "p95": percentile(counts, 0.95)}
