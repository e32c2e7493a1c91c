"""The text of credentials.json as entries with ids, and back, in the form it was found in.

Rules of this file: no I/O. What is not ours survives: unknown fields, key order, entries that
are no objects, and whether the file is one object or an array.
"""

import json
from collections.abc import Iterator
from typing import Any

from kiroproxy.errors import ConfigError
from kiroproxy.jsonc import line_of, parse, repeated_keys, without_comments

Entry = dict[str, Any]


class Document:
    """The file's entries, editable in place.

    Shape: every object has an id of its own from the start; `repairs` says which had to change.
    The same text always gets the same ids, so a file that cannot be written is read alike
    every time.
    Order: set `is_changed` when an entry was edited.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.text = text
        self.is_changed = False
        self.has_comments = without_comments(text) != text.removeprefix("\ufeff")
        # A file made by `touch`, or a bare {}: nothing configured yet.
        value = parse(text, file) if text.strip("\ufeff \t\r\n") else []
        self.is_array = not isinstance(value, dict) or not value
        if not isinstance(value, (dict, list)):
            raise ConfigError(
                "holds neither an object nor an array",
                file=file,
                line=1,
                remedy='Write {"refreshToken": ...} or an array of such objects',
            )
        self.entries: list[Any] = [value] if not self.is_array else list(value)
        self.repairs = [*self._repetitions(), *self._assign_ids()]

    def objects(self) -> Iterator[tuple[int, Entry]]:
        """Yield (position, entry) of every entry that can be a credential."""
        for position, entry in enumerate(self.entries):
            if isinstance(entry, dict):
                yield position, entry

    def find(self, id: int) -> Entry | None:
        """Return the entry with an id, None where there is none."""
        return next((entry for _, entry in self.objects() if entry.get("id") == id), None)

    def add(self, entry: Entry) -> int:
        """Append an entry under a new id; a lone object becomes an array."""
        self.is_array = self.is_changed = True
        taken = (present["id"] for _, present in self.objects())
        entry["id"] = max(taken, default=0) + 1
        self.entries.append(entry)
        return int(entry["id"])

    def remove(self, id: int) -> None:
        """Drop an entry; a lone object leaves an empty array."""
        self.is_array = self.is_changed = True
        self.entries = [
            entry
            for entry in self.entries
            if not (isinstance(entry, dict) and entry.get("id") == id)
        ]

    def dump(self) -> bytes:
        """Return the file's new content."""
        value = self.entries if self.is_array else self.entries[0]
        try:
            return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
        except UnicodeEncodeError:  # a lone surrogate, written as \ud800 in some field of theirs
            return (json.dumps(value, indent=2) + "\n").encode()

    def fault(self, position: int, key: str, reason: str, remedy: str) -> ConfigError:
        """Return a fault that names file, line, entry and key."""
        entry = self.entries[position]
        id = entry.get("id") if isinstance(entry, dict) else None
        label = f"credential {position + 1}" + (f" (id {id})" if id else "")
        return ConfigError(
            reason,
            file=self.file,
            line=self._line(position, key),
            key=f"{label}: {key}" if key else label,
            remedy=remedy,
        )

    def _repetitions(self) -> list[ConfigError]:
        reason = "stands here again; the last one counts"
        return [
            ConfigError(reason, file=self.file, line=line, key=key)
            for line, key in repeated_keys(self.text)
        ]

    def _assign_ids(self) -> list[ConfigError]:
        repairs: list[ConfigError] = []
        taken: set[int] = set()
        homeless: list[tuple[int, Entry]] = []
        for position, entry in self.objects():
            id = _whole_id(entry.get("id"))
            if id and id not in taken:
                taken.add(id)
                self.is_changed |= entry["id"] != id
                entry["id"] = id
                continue
            homeless.append((position, entry))
            if entry.get("id") is not None:
                reason = f"is {id} a second time" if id else "is not a whole number from 1"
                repairs.append(self.fault(position, "id", f"{reason}; it gets a new one", ""))
        following = max(taken, default=0) + 1
        for id, (_, entry) in enumerate(homeless, following):
            entry["id"] = id
            self.is_changed = True
        return repairs

    def _line(self, position: int, key: str) -> int:
        """Return the line of a key of an entry, or of the entry itself. Cost: a second parse."""
        text = without_comments(self.text)
        start, end = _span(text, position if text.lstrip()[:1] == "[" else -1)
        before = text.count("\n", 0, start)
        return before + max(line_of(text[start:end], key), 1)


def _span(text: str, position: int) -> tuple[int, int]:
    """Return where the array's element stands in the text; -1 means the whole value."""
    start = _skip_blanks(text, 0)
    if position < 0:
        return start, len(text)
    start, end, decoder = start + 1, start + 1, json.JSONDecoder()
    for _ in range(position + 1):
        start = _skip_blanks(text, end)
        _, end = decoder.raw_decode(text, start)
    return start, end


def _skip_blanks(text: str, start: int) -> int:
    while start < len(text) and text[start] in " \t\r\n,":
        start += 1
    return start


def _whole_id(value: object) -> int:
    """Return a usable id, 0 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:18])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
