"""Client keys: what each may do, and the table that holds them.

Rules of this file: a key's text leaves `add` and `rotate` once and is stored nowhere.

Theory of operation. A key is 32 random bytes, so its SHA-256 cannot be searched for and a slow
hash would guard nothing; a fast one lets every request find its key by one dictionary lookup.

Source: OWASP's Password Storage cheat sheet speaks of secrets that people choose.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import orjson

_PREFIX = "sk-kp-"
SHOWN_CHARS = 8
# Fields an operator may set, as columns.
LIMITS: Final = (
    *("max_concurrency", "rpm", "daily_tokens", "monthly_tokens"),
    *("daily_credits", "monthly_credits"),
)
WRITABLE: Final = ("name", "expires_at_ms", "enabled", "models", *LIMITS)


@dataclass(frozen=True, slots=True)
class ClientKey:
    """One key. Units: ms since epoch, tokens, credits; a limit of None is none.

    Shape: `models` holds names and patterns with `*`; none at all means every model.
    """

    id: int
    digest: bytes
    prefix: str
    name: str
    created_at_ms: int
    expires_at_ms: int | None = None
    enabled: bool = True
    models: tuple[str, ...] = ()
    max_concurrency: int | None = None
    rpm: int | None = None
    daily_tokens: int | None = None
    monthly_tokens: int | None = None
    daily_credits: float | None = None
    monthly_credits: float | None = None

    def allows(self, *names: str) -> bool:
        """Say whether a model may be used, under any of its names."""
        if not self.models:
            return True
        return any(
            fnmatchcase(name.lower(), pattern.lower()) for name in names for pattern in self.models
        )


def digest_of(key: str) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def all_keys(connection: sqlite3.Connection) -> list[ClientKey]:
    """Return every key, the oldest first."""
    rows = connection.execute("SELECT * FROM client_keys ORDER BY id")
    return [_key(row) for row in rows]


def find(connection: sqlite3.Connection, id: int) -> ClientKey | None:
    """Return one key, None if there is none."""
    row = connection.execute("SELECT * FROM client_keys WHERE id = ?", (id,)).fetchone()
    return _key(row) if row else None


def add(
    connection: sqlite3.Connection, fields: Mapping[str, Any], now_ms: int
) -> tuple[ClientKey, str]:
    """Make a key. Returns it and its text, which nobody can ask for again."""
    secret = _new_secret()
    cursor = connection.execute(
        "INSERT INTO client_keys (digest, prefix, name, created_at, enabled, models)"
        " VALUES (?, ?, ?, ?, 1, '[]')",
        (digest_of(secret), secret[:SHOWN_CHARS], fields["name"], now_ms),
    )
    assert cursor.lastrowid is not None, "a row was inserted"
    made = update(connection, cursor.lastrowid, fields)
    assert made is not None, "it was inserted in this transaction"
    return made, secret


def update(connection: sqlite3.Connection, id: int, fields: Mapping[str, Any]) -> ClientKey | None:
    """Change fields of a key. Returns it as it is then, None if there is none."""
    for name, value in _columns(fields):
        connection.execute(f"UPDATE client_keys SET {name} = ? WHERE id = ?", (value, id))  # noqa: S608
    return find(connection, id)


def rotate(connection: sqlite3.Connection, id: int) -> tuple[ClientKey, str] | None:
    """Give a key a new text; the old one ends at once."""
    secret = _new_secret()
    connection.execute(
        "UPDATE client_keys SET digest = ?, prefix = ? WHERE id = ?",
        (digest_of(secret), secret[:SHOWN_CHARS], id),
    )
    found = find(connection, id)
    return (found, secret) if found else None


def remove(connection: sqlite3.Connection, id: int) -> bool:
    """Delete a key. False: there was none."""
    return connection.execute("DELETE FROM client_keys WHERE id = ?", (id,)).rowcount > 0


def _new_secret() -> str:
    return _PREFIX + secrets.token_hex(32)


def _columns(fields: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield (column, value) of the fields that may be set; the names are ours, not a caller's."""
    for name in WRITABLE:
        if name not in fields:
            continue
        value = fields[name]
        if name == "models":
            yield name, orjson.dumps(list(value or ())).decode()
        elif name == "expires_at_ms":
            yield "expires_at", value
        elif name == "enabled":
            yield name, int(value)
        else:
            yield name, value


def _key(row: tuple[Any, ...]) -> ClientKey:
    id, digest, prefix, name, created_at, expires_at, enabled, models, *limits = row
    return ClientKey(
        *(id, digest, prefix, name, created_at, expires_at, bool(enabled)),
        tuple(orjson.loads(models)),
        *limits,
    )
