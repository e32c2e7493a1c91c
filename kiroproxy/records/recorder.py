"""The writer of the request log: a bounded queue, one thread, one transaction a batch.

Rules of this file: `note` is on the path of every request: it appends one tuple and formats
nothing. What cannot be written is kept up to a bound and then dropped and counted; no request
ever waits for the disk, and none fails for it.

Theory of operation. The thread sleeps until something is queued, waits a moment for more, and
writes all of it: a row for each request, and sums by minute, model, credential and key, made in
memory first. After a failure it tries again with growing pauses. Once an hour it forgets what
is older than the operator wants and turns minutes into hours.
"""

import logging
import sqlite3
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from kiroproxy.records import notes
from kiroproxy.records.database import Database
from kiroproxy.records.timings import bucket_of

log = logging.getLogger(__name__)

MOST_QUEUED = 20_000  # about 10 MB; at a thousand requests a second a disk may be away for 20 s
GATHER_S = 0.2  # what is seen in the log is at most that old
MOST_IN_A_BATCH = 2_000
TIDY_S = 3600.0
SURPLUS = 10  # a tenth above the rows to keep: forgetting costs a scan of as many, once
RETRY_FIRST_S, RETRY_CAP_S = 1.0, 30.0
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
MINUTES_KEPT_MS = 2 * DAY_MS
USAGE_KEPT_MS = 400 * DAY_MS  # a year and a month: "the same month last year"
AUDIT_ROWS = 100_000

_COLUMNS = (
    "id, at, path, model, kiro_model, stream, status, outcome, stop_reason, error_type,"
    " error_message, key_id, credential_id, input_tokens, output_tokens, cache_read_tokens,"
    " credits, first_token_ms, duration_ms, attempt_count, user_agent, client_address,"
    " request_bytes, attempts"
)
INSERT = f"INSERT INTO requests ({_COLUMNS}) VALUES ({', '.join('?' * 24)})"  # noqa: S608
ADD_USAGE = (
    "INSERT INTO usage VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
    " requests = requests + excluded.requests, errors = errors + excluded.errors,"
    " input_tokens = input_tokens + excluded.input_tokens,"
    " output_tokens = output_tokens + excluded.output_tokens,"
    " cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,"
    " credits = credits + excluded.credits"
)
ADD_TIMING = (
    "INSERT INTO timings VALUES (?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
)


class Attempt(NamedTuple):
    """One request to Kiro. Units: ms since epoch, ms. Status 0 = no answer."""

    credential_id: int
    endpoint: str
    at_ms: int
    status: int
    duration_ms: int
    error_type: str
    error_message: str


class Done(NamedTuple):
    """One finished request. Units: ms since epoch, ms, tokens, credits, bytes; None = never."""

    id: str
    at_ms: int
    path: str
    model: str
    kiro_model: str
    stream: bool
    status: int
    outcome: str  # ok, error, cancelled or truncated
    stop_reason: str
    error_type: str
    error_message: str
    key_id: int | None  # None = config's apiKey
    credential_id: int | None
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    credits: float
    first_token_ms: int | None
    duration_ms: int
    attempts: Sequence[Attempt]
    tries: int
    user_agent: bytes
    client_address: str
    request_bytes: int


class Recorder:
    """Order: start() → note() in any number → close(), which writes what is left.

    Shape: `made` turns what was noted into a `Done`, in the writer's thread; `counted` is told
    (requests, errors) of a batch.
    """

    def __init__(
        self,
        database: Database,
        *,
        keep_days: int,
        keep_rows: int,
        made: Callable[[Any], Done],
        counted: Callable[[int, int], None] = lambda requests, errors: None,
    ) -> None:
        self._database = database
        self._keep_days, self._keep_rows = keep_days, keep_rows
        self._made, self._counted = made, counted
        self._queue: deque[Any] = deque()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._closing = False
        self.dropped = 0
        self._tidied_s = -TIDY_S
        self._surplus = 0  # rows written since the last surplus ones were forgotten

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def note(self, noted: Any) -> None:
        """Queue one finished request. Cost: under a microsecond."""
        if len(self._queue) >= MOST_QUEUED:
            self.dropped += 1
            return
        self._queue.append(noted)
        if not self._news.is_set():
            self._news.set()

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is queued, as far as the disk lets us. Blocks."""
        self._closing = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            self._news.wait(TIDY_S)
            if not self._closing:
                time.sleep(pause_s or GATHER_S)
            self._news.clear()
            try:
                self._write_all()
                pause_s = 0.0
            except (sqlite3.Error, OSError) as fault:
                if not pause_s:
                    log.warning("%s: requests are not recorded: %s", self._database.path, fault)
                if self._closing:
                    return
                pause_s = min(max(2 * pause_s, RETRY_FIRST_S), RETRY_CAP_S)
                self._news.set()
            except Exception:  # a fault of ours in some row: it would be met again for ever
                log.exception("a batch of the request log was lost")
                for _ in range(min(len(self._queue), MOST_IN_A_BATCH)):
                    self._queue.popleft()
            if self._closing and not self._queue:
                self._database.close()
                return

    def _write_all(self) -> None:
        while self._queue:
            size = min(len(self._queue), MOST_IN_A_BATCH)
            batch = [self._made(self._queue[at]) for at in range(size)]
            with self._database.writing() as connection:
                write(connection, batch)
            for _ in batch:
                self._queue.popleft()
            self._counted(len(batch), sum(each.outcome == "error" for each in batch))
            self._forget_surplus(len(batch))
        if self.dropped:
            log.warning("%d requests were not recorded: the disk is too slow", self.dropped)
            self.dropped = 0
        if time.monotonic() - self._tidied_s > TIDY_S:
            self._tidied_s = time.monotonic()
            with self._database.writing() as connection:
                tidy(connection, time.time_ns() // 1_000_000, self._keep_days, self._keep_rows)

    def _forget_surplus(self, written: int) -> None:
        """Keep to the number of rows between two tidyings: an hour can bring many times as many."""
        self._surplus += written
        if self._surplus * SURPLUS > self._keep_rows:
            with self._database.writing() as connection:
                forget_surplus(connection, self._keep_rows)
            self._surplus = 0


def write(connection: sqlite3.Connection, batch: Sequence[Done]) -> None:
    """Put a batch into the tables. Order: inside a transaction."""
    connection.executemany(INSERT, [_row(done) for done in batch])
    sums: defaultdict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0] * 6)
    timings: Counter[tuple[Any, ...]] = Counter()
    for done in batch:
        group = (
            done.at_ms - done.at_ms % MINUTE_MS,
            done.kiro_model or done.model[:100],
            -1 if done.credential_id is None else done.credential_id,
            done.key_id or 0,
        )
        total = sums[group]
        amounts = (
            *(1, done.outcome == "error", done.input_tokens, done.output_tokens),
            *(done.cache_read_tokens, done.credits),
        )
        for at, amount in enumerate(amounts):
            total[at] += amount
        if done.outcome in ("ok", "truncated"):  # a fast refusal is no fast answer
            timings[(*group, 0, bucket_of(done.duration_ms))] += 1
        if done.first_token_ms is not None:
            timings[(*group, 1, bucket_of(done.first_token_ms))] += 1
    connection.executemany(ADD_USAGE, [(*group, *total) for group, total in sums.items()])
    connection.executemany(ADD_TIMING, [(*group, n) for group, n in timings.items()])
    for each in (attempt for done in batch for attempt in done.attempts if attempt.error_type):
        told = {"status": each.status, "type": each.error_type, "message": each.error_message}
        notes.put(connection, "fault", each.credential_id, each.at_ms, told)


def tidy(connection: sqlite3.Connection, now_ms: int, keep_days: int, keep_rows: int) -> None:
    """Forget what is too old. Order: inside a transaction."""
    connection.execute("DELETE FROM requests WHERE at < ?", (now_ms - keep_days * DAY_MS,))
    forget_surplus(connection, keep_rows)
    connection.execute(
        "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?", (AUDIT_ROWS,)
    )
    until = now_ms - MINUTES_KEPT_MS
    until -= until % HOUR_MS
    for table, add in (("usage", ADD_USAGE), ("timings", ADD_TIMING)):
        connection.execute(f"DELETE FROM {table} WHERE at < ?", (now_ms - USAGE_KEPT_MS,))  # noqa: S608
        fine = connection.execute(
            f"SELECT * FROM {table} WHERE at < ? AND at % {HOUR_MS} != 0",  # noqa: S608
            (until,),
        ).fetchall()
        connection.execute(
            f"DELETE FROM {table} WHERE at < ? AND at % {HOUR_MS} != 0",  # noqa: S608
            (until,),
        )
        connection.executemany(add, [(at - at % HOUR_MS, *rest) for at, *rest in fine])


def forget_surplus(connection: sqlite3.Connection, keep_rows: int) -> None:
    """Keep the newest requests only. Order: inside a transaction."""
    connection.execute(
        "DELETE FROM requests WHERE n <= (SELECT n FROM requests ORDER BY n DESC LIMIT 1 OFFSET ?)",
        (keep_rows,),
    )


def _row(done: Done) -> tuple[Any, ...]:
    return (
        *(done.id, done.at_ms, done.path[:200], done.model[:200], done.kiro_model, done.stream),
        *(done.status, done.outcome, done.stop_reason or None),
        *(done.error_type or None, done.error_message[:500] or None),
        *(done.key_id, done.credential_id, done.input_tokens, done.output_tokens),
        *(done.cache_read_tokens, done.credits, done.first_token_ms, done.duration_ms),
        *(done.tries, done.user_agent[:200].decode("latin-1"), done.client_address),
        *(done.request_bytes, orjson.dumps([tuple(each) for each in done.attempts]).decode()),
    )
