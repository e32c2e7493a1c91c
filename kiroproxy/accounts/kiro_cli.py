"""The login in kiro-cli's database.

Rules of this file: reading only, and read-only towards kiro-cli: nothing of its database is
written, and it is never kept waiting. No message holds a value of it.

Source: tables `auth_kv` and `state` of kiro-cli's data.sqlite3, as several programs read them.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kiroproxy.errors import ConfigError

SQLITE_MAGIC = b"SQLite format 3\0"
_BUSY_S = 5.0  # as long as kiro-cli itself waits for another writer
_WAL = b"\x02\x02"  # bytes 18 and 19 of the header: how it is written, and read
_PLAIN = b"\x01\x01"

# kiro-cli looks for its logins in this order; "odic" is how it spells it.
_TOKENS = (
    "kirocli:social:token",
    "kirocli:odic:token",
    "kirocli:oidc:token",
    "codewhisperer:odic:token",
    "codewhisperer:oidc:token",
)
_REGISTRATIONS = tuple(
    f"{owner}:{word}:device{dash}registration"
    for owner in ("kirocli", "codewhisperer")
    for word in ("odic", "oidc")
    for dash in "-_"
)


def entry_of_file(path: Path) -> dict[str, Any]:
    """Return the login of a database that may be in use. Raises: ConfigError."""
    faults: list[sqlite3.Error] = []
    # One in WAL mode whose folder cannot be written opens only as immutable.
    for mode in ("mode=ro", "immutable=1"):
        try:
            uri = f"{path.resolve().as_uri()}?{mode}"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as database:
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
                return _entry(database)
        except sqlite3.Error as fault:
            faults.append(fault)
    raise ConfigError(f"cannot be read ({faults[0]})", file=str(path))


def entry_of_bytes(data: bytes) -> dict[str, Any]:
    """Return the login of a copy of a database. Raises: ConfigError."""
    # A copy in WAL mode would want companions that were not copied: what they held is not here.
    whole = data[:18] + _PLAIN + data[20:] if data[18:20] == _WAL else data
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        try:
            database.deserialize(whole)
            return _entry(database)
        except sqlite3.Error as fault:
            raise _fault(f"is a broken SQLite database ({fault})", "Copy it again") from None


def _entry(database: sqlite3.Connection) -> dict[str, Any]:
    """Return the login that kiro-cli would use. Raises: ConfigError — there is none."""
    try:
        stored = dict(database.execute("SELECT key, value FROM auth_kv"))
    except sqlite3.OperationalError as fault:
        raise _fault(f"is not kiro-cli's database ({fault})", "Choose data.sqlite3") from None
    name = next((key for key in _TOKENS if _object(stored.get(key))), "")
    if not name:
        raise _fault("holds no login", "Log in with kiro-cli first: kiro-cli login")
    entry = _object(stored[name])
    entry["authMethod"] = "social" if ":social:" in name else "idc"
    if entry["authMethod"] == "idc":
        client = _first(stored, _REGISTRATIONS)
        entry |= {key: client[key] for key in ("client_id", "client_secret") if key in client}
    state: dict[str, Any] = {}
    with contextlib.suppress(sqlite3.OperationalError):  # older versions have no such table
        state = dict(database.execute("SELECT key, value FROM state"))
    profile = _arn(state.get("api.codewhisperer.profile"))
    if profile and not entry.get("profile_arn"):
        entry["profile_arn"] = profile
    return entry


def _first(stored: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return next((found for key in keys if (found := _object(stored.get(key)))), {})


def _object(value: object) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(_text(value))
    return value if isinstance(value, dict) else {}


def _arn(value: object) -> str:
    """Read a profile that is stored as an object, or as a quoted ARN."""
    text = str(_object(value).get("arn") or _text(value).strip().strip('"'))
    return text if text.startswith("arn:") else ""


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _fault(reason: str, remedy: str) -> ConfigError:
    return ConfigError(reason, file="the import", remedy=remedy)
