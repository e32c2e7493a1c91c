"""A configuration as it was written: file and environment read against a table of settings.

Rules of this file: it knows no setting by name. Everything that is wrong is collected, nothing
stops at the first fault; every fault names file, line, key, reason and remedy.
"""

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from kiroproxy.errors import ConfigError
from kiroproxy.jsonc import line_of, parse_object, repeated_keys
from kiroproxy.values import WrongValue

_ENV = "environment"  # where a fault stands that is in no file
# Read by the build and by compose.yaml.
_NOT_SETTINGS = frozenset({"KIROPROXY_DEBUG", "KIROPROXY_UID", "KIROPROXY_GID"})


class Row(Protocol):
    """What has to be known of a setting in order to read it."""

    @property
    def key(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def parse(self) -> Callable[[Any], Any]: ...
    @property
    def kind(self) -> str: ...


class Reading:
    """What was chosen, by field, where it stood, by key, and everything that is wrong with it."""

    def __init__(self, path: Path, rows: Iterable[Row]) -> None:
        self.path = path
        self.chosen: dict[str, Any] = {}
        self.sources: dict[str, str] = {}  # key → "file" or "env"
        self.faults: list[ConfigError] = []
        self.warnings: list[str] = []
        self.is_readable = True
        self._rows = {row.key: row for row in rows}

    def take_file(self, required: bool) -> None:
        """Read the file; one that need not be there may be missing."""
        try:
            text = _read(self.path, required)
        except ConfigError as fault:
            self.faults.append(fault)
            self.is_readable = False
            return
        self.take_text(text)

    def take_text(self, text: str) -> None:
        """Read what the file holds, or is to hold."""
        file = str(self.path)
        try:
            raw = parse_object(text, file)
        except ConfigError as fault:
            self.faults.append(fault)
            self.is_readable = False
            return
        for line, key in repeated_keys(text):
            self.warnings.append(f'{file}:{line}: "{key}" stands here again; the last one counts')
        for key, value in raw.items():
            if key not in self._rows:
                near = _nearest(key, self._rows)
                place = f"{file}:{line_of(text, key)}"
                self.warnings.append(f'{place}: unknown key "{key}" is ignored{near}')
            elif value is not None:  # null means "as if it were not there"
                self._take(self._rows[key], value, file, text, key)

    def take_environment(self, environ: Mapping[str, str]) -> None:
        """Read the variables; they override what was read before."""
        names = {environment_name(key): row for key, row in self._rows.items()}
        names["KIROPROXY_LOG"] = self._rows["logLevel"]
        for name, row in names.items():
            value: Any = environ.get(name)
            if value is None or (name == "KIROPROXY_LOG" and not value):
                continue
            if row.kind == "map":
                try:
                    value = json.loads(value)
                except json.JSONDecodeError as fault:
                    reason, remedy = f"is not JSON ({fault})", 'Write one like {"key": "value"}'
                    self.faults.append(ConfigError(reason, file=_ENV, key=name, remedy=remedy))
                    continue
            self._take(row, value, _ENV, "", name)
        for name in environ:
            if name.startswith("KIROPROXY_") and name not in names and name not in _NOT_SETTINGS:
                self.warnings.append(f"{_ENV}: {name} is ignored{_nearest(name, names)}")

    def _take(self, row: Row, value: Any, file: str, text: str, key: str) -> None:
        try:
            self.chosen[row.field] = row.parse(value)
            self.sources[row.key] = "env" if file == _ENV else "file"
        except WrongValue as fault:
            for each in (fault, *fault.others):
                keys = (key, each.key) if each.key else (key,)
                self.faults.append(
                    ConfigError(
                        each.reason,
                        file=file,
                        line=line_of(text, *keys),
                        key=".".join(keys),
                        remedy=each.remedy,
                    )
                )


def environment_name(key: str) -> str:
    """Return the variable that overrides a key: apiKey → KIROPROXY_API_KEY."""
    return "KIROPROXY_" + re.sub(r"(?<!^)(?=[A-Z])", "_", key).upper()


def _read(path: Path, required: bool) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not required:
            return "{}"
        raise ConfigError(
            "does not exist",
            file=str(path),
            remedy="Copy config.example.json and set apiKey, or name another file with --config",
        ) from None
    except UnicodeDecodeError as fault:
        raise ConfigError(
            f"is not UTF-8 at byte {fault.start}", file=str(path), remedy="Save it as UTF-8"
        ) from fault
    except OSError as fault:
        raise ConfigError(
            f"cannot be read ({fault.strerror})",
            file=str(path),
            remedy="It has to be a file that the user of the gateway may read",
        ) from fault


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
