"""The request log: rows and sums in the file, a disk that is away, and what is forgotten."""

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.records import reading
from kiroproxy.records.database import Database
from kiroproxy.records.recorder import DAY_MS, HOUR_MS, Attempt, Done, Recorder, tidy, write

NOW = 1_800_000_000_000 // DAY_MS * DAY_MS


def done(number: int = 1, **changes: Any) -> Done:
    return Done(
        **{
            "id": f"req_{number}",
            "at_ms": NOW,
            "path": "/v1/messages",
            "model": "claude-sonnet-4-5",
            "kiro_model": "claude-sonnet-4.5",
            "stream": True,
            "status": 200,
            "outcome": "ok",
            "stop_reason": "end_turn",
            "error_type": "",
            "error_message": "",
            "key_id": None,
            "credential_id": 3,
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_tokens": 2,
            "credits": 0.25,
            "first_token_ms": 100,
            "duration_ms": 400,
            "tries": 1,
            "attempts": [Attempt(3, "ide", NOW, 200, 390, "", "")],
            "user_agent": b"curl/8",
            "client_address": "127.0.0.1",
            "request_bytes": 77,
            **changes,
        }
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "records.db")
    yield made
    made.close()


def rows(database: Database, wanted: reading.Filter | None = None) -> list[dict[str, Any]]:
    with database.reading() as connection:
        return reading.requests(connection, wanted or reading.Filter(), limit=100)


def recorder(database: Database, **more: Any) -> Recorder:
    return Recorder(
        Database(database.path),
        **{"keep_days": 30, "keep_rows": 1000, "made": lambda noted: noted, **more},
    )


def test_what_was_noted_is_in_the_file_after_the_end(database: Database) -> None:
    counted: list[tuple[int, int]] = []
    made = recorder(database, counted=lambda *batch: counted.append(batch))
    made.start()
    made.note(done(1))
    made.note(done(2, outcome="error", status=502, error_type="ServerFault"))
    made.close()
    assert [row["id"] for row in rows(database)] == ["req_2", "req_1"]
    assert counted == [(2, 1)]
    with database.reading() as connection:
        found = reading.request(connection, "req_1")
    assert found is not None and found[1] == [Attempt(3, "ide", NOW, 200, 390, "", "")]


def test_the_file_is_for_its_owner_only(database: Database) -> None:
    with database.writing() as connection:
        write(connection, [done()])
        for path in database.path.parent.glob("records.db*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_usage_is_summed_by_minute_and_by_what_is_asked_for(database: Database) -> None:
    batch = [done(n, key_id=n % 2 or None) for n in range(4)]
    batch.append(done(9, outcome="error", status=502, first_token_ms=None))
    with database.writing() as connection:
        write(connection, batch[:2])
        write(connection, batch[2:])
        by_key = reading.usage(connection, reading.GROUPS["key"], NOW, NOW + DAY_MS)
        by_model = reading.usage(connection, reading.GROUPS["model"], NOW, NOW + DAY_MS)
    assert by_key[1]["requests"] == 2 and by_key[0]["requests"] == 3
    total = by_model["claude-sonnet-4.5"]
    assert (total["requests"], total["errors"], total["inputTokens"]) == (5, 1, 50)
    assert total["credits"] == 1.25
    assert total["latencyMs"]["p50"] == pytest.approx(400, rel=0.15)
    assert total["firstTokenMs"]["p95"] == pytest.approx(100, rel=0.15)


def test_a_disk_that_is_away_costs_no_request_and_loses_none(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kiroproxy.records.recorder.RETRY_FIRST_S", 0.01)
    folder = tmp_path / "later"
    made = Recorder(
        Database(folder / "records.db"), keep_days=1, keep_rows=9, made=lambda noted: noted
    )
    written = threading.Event()
    made._counted = lambda *batch: written.set()
    made.start()
    made.note(done())
    folder.mkdir()
    assert written.wait(10)
    made.close()
    assert len(rows(Database(folder / "records.db"))) == 1


def test_a_full_queue_drops_and_says_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kiroproxy.records.recorder.MOST_QUEUED", 2)
    made = recorder(database)  # not started: as if the disk hung
    for number in range(5):
        made.note(done(number))
    assert made.dropped == 3


def test_a_file_that_was_removed_is_made_anew(database: Database) -> None:
    with database.writing() as connection:
        write(connection, [done(1)])
    database.path.unlink()
    with database.writing() as connection:
        write(connection, [done(2)])
    assert [row["id"] for row in rows(database)] == ["req_2"]


COUNT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM requests").fetchone()[0])
connection.close()
"""


def test_nothing_is_lost_when_another_process_comes_and_goes(database: Database) -> None:
    def counted() -> str:
        command = [sys.executable, "-c", COUNT, str(database.path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with database.writing() as connection:
        write(connection, [done(1)])
    second = Database(database.path)  # a process has two: its locks are the process's
    with second.reading() as connection:
        connection.execute("SELECT count(*) FROM requests").fetchone()
    assert counted() == "1"  # the last one to close would take the log away that we write to
    with database.writing() as connection:
        write(connection, [done(2)])
    assert counted() == "2"
    second.close()


def test_old_requests_and_surplus_ones_are_forgotten(database: Database) -> None:
    with database.writing() as connection:
        write(connection, [done(0, at_ms=NOW - 31 * DAY_MS), *map(done, range(1, 8))])
        tidy(connection, NOW, 30, 5)
    assert [row["id"] for row in rows(database)] == [f"req_{n}" for n in (7, 6, 5, 4, 3)]


def test_a_busy_hour_does_not_fill_the_disk(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kiroproxy.records.recorder.tidy", lambda *_: None)  # once an hour
    made = recorder(database, keep_rows=100)
    made.start()
    for number in range(500):
        made.note(done(number))
    made.close()
    with database.reading() as connection:
        (kept,) = connection.execute("SELECT count(*) FROM requests").fetchone()
    assert 100 <= kept <= 110


def test_minutes_become_hours_after_two_days_and_sums_stay(database: Database) -> None:
    old = NOW - 5 * DAY_MS
    with database.writing() as connection:
        write(connection, [done(n, at_ms=old + n * 60_000) for n in range(90)])
        tidy(connection, NOW, 30, 1000)
        found = [at for (at,) in connection.execute("SELECT at FROM usage ORDER BY at")]
        days = reading.usage(connection, reading.GROUPS["day"], old, NOW)
    assert found == [old, old + HOUR_MS]
    assert days[old]["requests"] == 90 and days[old]["latencyMs"] is not None


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (reading.Filter(outcome="error"), ["req_2"]),
        (reading.Filter(model="other"), ["req_3"]),
        (reading.Filter(credential_id=8), ["req_4"]),
        (reading.Filter(key_id=0), ["req_5", "req_4", "req_3", "req_2"]),
        (reading.Filter(text="EQ_3"), ["req_3"]),
        (reading.Filter(since_ms=NOW + 1), ["req_5"]),
        (reading.Filter(text="100%_'"), []),
    ],
)
def test_requests_are_found_by_what_is_known_of_them(
    database: Database, wanted: reading.Filter, ids: list[str]
) -> None:
    batch = [
        *(done(1, key_id=4), done(2, outcome="error"), done(3, model="other")),
        *(done(4, credential_id=8), done(5, at_ms=NOW + 5)),
    ]
    with database.writing() as connection:
        write(connection, batch)
    assert [row["id"] for row in rows(database, wanted)] == ids


def test_pages_neither_repeat_nor_leave_out_a_request(database: Database) -> None:
    with database.writing() as connection:
        write(connection, [done(n) for n in range(25)])
        seen: list[str] = []
        before = None
        while page := reading.requests(connection, reading.Filter(), before=before, limit=10):
            seen += [row["id"] for row in page]
            before = page[-1]["n"]
    assert seen == [f"req_{n}" for n in reversed(range(25))]


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.write_bytes(b"precious" * 1000)
    with pytest.raises(sqlite3.DatabaseError), Database(path).reading():
        pass
    assert path.read_bytes() == b"precious" * 1000
