"""The latest fact of each kind about each credential: its last fault, its balance.

Rules of this file: one row a kind and credential; a newer fact replaces it.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson


class Note(NamedTuple):
    """A fact. Units: ms since epoch."""

    kind: str
    credential_id: int
    at_ms: int
    data: dict[str, Any]


def put(
    connection: sqlite3.Connection,
    kind: str,
    credential_id: int,
    at_ms: int,
    data: Mapping[str, Any],
) -> None:
    """Keep a fact. Order: inside a transaction."""
    row = (kind, credential_id, at_ms, orjson.dumps(data).decode())
    connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?)", row)


def since(connection: sqlite3.Connection, at_ms: int) -> list[Note]:
    """Return the facts noted at or after a time."""
    rows = connection.execute("SELECT * FROM notes WHERE at >= ?", (at_ms,))
    return [Note(kind, id, at, orjson.loads(data)) for kind, id, at, data in rows]
