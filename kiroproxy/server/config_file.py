"""config.json under a running gateway: looked at for edits of others, edited for the admin.

Rules of this file: everything here blocks; call it from a thread. What is refused changes
nothing, neither on the disk nor in memory.

Source: README.md, "Settings"; `settings.SETTINGS` for what each key may hold.
"""

import os
from collections.abc import Mapping
from typing import Any

from kiroproxy.accounts.file import GuardedFile, Signature
from kiroproxy.errors import ConfigError
from kiroproxy.jsonc import parse_object, with_members
from kiroproxy.loading import Loaded, Settings, examine
from kiroproxy.settings import BY_KEY


class ConfigFile:
    """The file that a gateway's settings come from."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = GuardedFile(settings.current.path)
        # What the first look finds is news: it may have changed since the supervisor read it.
        self._seen: Signature | None = None

    def look(self) -> Loaded | None:
        """Read the file if it has changed since the last look. Raises: ConfigError.

        Shape: None = no news; a file that is gone, or empty, is being replaced.
        """
        found = self._file.signature()
        if found is None or found[1] == 0 or found == self._seen:
            return None
        self._seen = found
        return self._examine(None)

    def edit(self, changes: Mapping[str, Any]) -> Loaded:
        """Write settings by key; None removes one, so that its default counts again.

        Raises: ConfigError — unknown, of the wrong type or value, or not written; all of them
            or none are changed.
        """
        for key in changes:
            if key not in BY_KEY:
                raise self._file.fault(f'knows no setting "{key}"')
        try:
            with self._file.locked(_is_whole):
                text = self._file.read() or ""
                if text.strip("\ufeff \t\r\n"):
                    parse_object(text, str(self._file.path))
                edited = with_members(text, changes)
                loaded = self._examine(edited)
                if loaded.faults:
                    raise loaded.faults[0]
                self._file.write(edited.encode())
                self._seen = self._file.signature()
        except OSError as fault:
            raise self._file.write_fault(fault) from fault
        return loaded

    def _examine(self, text: str | None) -> Loaded:
        config = self._settings.current
        return examine(config.path, os.environ, config.flags, text=text)


def _is_whole(data: bytes) -> bool:
    try:
        return bool(parse_object(data.decode(), ""))
    except (ConfigError, UnicodeDecodeError):
        return False
