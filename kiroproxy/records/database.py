"""The SQLite file: its tables, its mode, its connections, and a thread's turn at it.

Rules of this file: prompts, answers and secrets have no column here; a client key is there as
SHA-256. Every process has connections of its own; WAL lets them read while one writes.

Theory of operation. The file is made 0600 before SQLite opens it, and SQLite gives its -wal and
-shm the same mode. `usage` is kept by the minute for two days and by the hour afterwards;
`timings` are counts in logarithmic buckets, from which any sum of rows has its percentiles.

Source: https://sqlite.org/wal.html; https://sqlite.org/howtocorrupt.html, 2.2; https://sqlite.org/pragma.html
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

BUSY_S = 5.0  # another worker's batch takes milliseconds

_TABLES = """
CREATE TABLE IF NOT EXISTS requests (
  n INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL, at INTEGER NOT NULL, path TEXT NOT NULL, model TEXT NOT NULL,
  kiro_model TEXT NOT NULL, stream INTEGER NOT NULL, status INTEGER NOT NULL,
  outcome TEXT NOT NULL, stop_reason TEXT, error_type TEXT, error_message TEXT,
  key_id INTEGER, credential_id INTEGER,
  input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
  cache_read_tokens INTEGER NOT NULL, credits REAL NOT NULL,
  first_token_ms INTEGER, duration_ms INTEGER NOT NULL, attempt_count INTEGER NOT NULL,
  user_agent TEXT NOT NULL, client_address TEXT NOT NULL, request_bytes INTEGER NOT NULL,
  attempts TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS requests_by_id ON requests (id);
CREATE INDEX IF NOT EXISTS requests_by_time ON requests (at);
CREATE TABLE IF NOT EXISTS usage (
  at INTEGER NOT NULL, model TEXT NOT NULL, credential_id INTEGER NOT NULL,
  key_id INTEGER NOT NULL, requests INTEGER NOT NULL, errors INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
  cache_read_tokens INTEGER NOT NULL, credits REAL NOT NULL,
  PRIMARY KEY (at, model, credential_id, key_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS timings (
  at INTEGER NOT NULL, model TEXT NOT NULL, credential_id INTEGER NOT NULL,
  key_id INTEGER NOT NULL, kind INTEGER NOT NULL, bucket INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (at, model, credential_id, key_id, kind, bucket)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS client_keys (
  id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, prefix TEXT NOT NULL,
  name TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER,
  enabled INTEGER NOT NULL, models TEXT NOT NULL, max_concurrency INTEGER, rpm INTEGER,
  daily_tokens INTEGER, monthly_tokens INTEGER, daily_credits REAL, monthly_credits REAL
);
CREATE TABLE IF NOT EXISTS notes (
  kind TEXT NOT NULL, credential_id INTEGER NOT NULL, at INTEGER NOT NULL, data TEXT NOT NULL,
  PRIMARY KEY (kind, credential_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS logins (id TEXT PRIMARY KEY, at INTEGER NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, actor TEXT NOT NULL,
  address TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, detail TEXT NOT NULL
);
"""


class Database:
    """One process's way to the file. Blocking: `call` is for event loops.

    Shape: the file is opened at the first use, and again after it was lost.
    Raises: sqlite3.Error, OSError — the file cannot be used; try again later.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        # A thread of its own: a disk that hangs must not take those that write tokens.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Have the connection to oneself."""
        with self._lock:
            try:
                yield self._open()
            except (sqlite3.OperationalError, sqlite3.DatabaseError):
                self._drop()  # whatever it was, a new connection begins without it
                raise

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Have the connection to oneself inside one transaction."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run some reading in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._with_reading, work)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run one transaction in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._with_writing, work)

    def close(self) -> None:
        """Close the connection. Order: last."""
        with self._lock:
            self._drop()
        self._thread.shutdown(wait=False)

    def _with_reading(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self.reading() as connection:
            return work(connection)

    def _with_writing(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self.writing() as connection:
            return work(connection)

    def _open(self) -> sqlite3.Connection:
        """Return the connection, a new one if the file was removed or replaced."""
        if self._connection is not None and self._inode == _inode(self.path):
            return self._connection
        self._drop()
        self._make_private()
        connection = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            # A power cut may take the last batches, never the file's consistency.
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_TABLES)
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, _inode(self.path)
        return connection

    def _make_private(self) -> None:
        """Make the file 0600 from its first byte; SQLite's own would have what the umask leaves.

        A file that is there is not opened: closing it would drop every lock that this process's
        other connections hold on it (POSIX locks are a process's), and lose what they write.
        """
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            os.close(os.open(self.path, flags, 0o600))
        except FileExistsError:
            self.path.chmod(0o600)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1
