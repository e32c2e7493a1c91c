"""Logins that Kiro's own programs left on this machine.

Rules of this file: reading only; a file is looked for where its program puts it, nowhere else.

Source: where Kiro IDE and kiro-cli keep their logins on Linux, macOS and Windows.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from kiroproxy.accounts.imports import Found, read
from kiroproxy.accounts.kiro_cli import SQLITE_MAGIC, entry_of_file
from kiroproxy.config import Config
from kiroproxy.errors import ConfigError


def from_ide(home: Path, config: Config) -> Found:
    """Return Kiro IDE's login. Raises: ConfigError — there is none."""
    path = home / ".aws" / "sso" / "cache" / "kiro-auth-token.json"
    if not path.exists():
        raise ConfigError(
            "does not exist", file=str(path), remedy="Log in to Kiro IDE first, or name a file"
        )
    return from_file(path, config)


def from_cli(home: Path, environment: Mapping[str, str], config: Config) -> Found:
    """Return kiro-cli's login. Raises: ConfigError — there is none."""
    places = list(_databases(home, environment))
    for path in places:
        if path.exists():
            return from_file(path, config)
    raise ConfigError(
        "does not exist",
        file=str(places[0]),
        remedy="Log in with kiro-cli first (kiro-cli login), or name the file",
    )


def from_file(path: Path, config: Config, *, format: str = "auto") -> Found:
    """Return the logins of one file of any known form. Raises: ConfigError."""
    try:
        with path.open("rb") as file:
            is_database = file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
        if is_database:
            return read(entry_of_file(path), config, format="kiro-cli")
        data = path.read_bytes()
        return read(_with_registration(path, data), config, format=format)
    except OSError as fault:
        reason = f"cannot be read ({fault.strerror or fault})"
        raise ConfigError(reason, file=str(path)) from fault
    except ConfigError as fault:
        raise ConfigError(
            fault.reason, file=str(path), line=fault.line, key=fault.key, remedy=fault.remedy
        ) from fault


def _databases(home: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    data = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
    folders = [data, home / "Library" / "Application Support"]
    if local := environment.get("LOCALAPPDATA"):
        folders.append(Path(local))
    for name in ("kiro-cli", "amazon-q"):
        for folder in folders:
            yield folder / name / "data.sqlite3"


def _with_registration(path: Path, data: bytes) -> object:
    """Add to the IDE's token the client registration that lies beside it."""
    try:
        token = json.loads(data)
    except (ValueError, RecursionError):
        return data  # `read` says what is wrong with it
    if not isinstance(token, dict) or token.get("clientId"):
        return data
    name = token.get("clientIdHash")
    if not isinstance(name, str) or not re.fullmatch(r"[0-9A-Za-z_-]{1,128}", name):
        return data
    try:
        client = json.loads((path.parent / f"{name}.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return data
    return [token, client] if isinstance(client, dict) else data
