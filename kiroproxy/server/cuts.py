"""Tool calls that were cut off, remembered by all workers until their model can be told.

Rules of this file: bounded, forgetful, and never wrong: an entry that was lost is not told, one
that is damaged is not read. No lock and no waiting.

Theory of operation. A few KB of the workers' page, in buckets of eight entries; a conversation
has one bucket. An entry is written in one copy over the oldest of its bucket. Two workers that
write the same entry at once leave a mixture, which its checksum gives away.

    entry   0 conversation, 16 bytes   16 mark, 16 bytes   32 time, ms, u64
            40 length of the name, u8  41 the tool's name  120 checksum of all before, 8 bytes

Source: protocol.recollection for what is told of it.
"""

import mmap
from collections.abc import Iterator
from hashlib import blake2b

ENTRY_LEN = 128
BUCKET = 8
_NAME_AT, _CHECK_AT = 41, 120


class Cuts:
    """The memory. Shape: `memory` has a whole number of buckets, zeroed at first."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._buckets = len(memory) // (ENTRY_LEN * BUCKET)

    def add(self, conversation: str, mark: bytes, tool: str, now_ms: int) -> None:
        """Remember that the answer with this mark was cut while it called a tool."""
        key = _digest(conversation.encode(), 16)
        at = self._oldest(key, mark)
        name = tool.encode("utf-8", "replace")[: _CHECK_AT - _NAME_AT]
        entry = key + mark + now_ms.to_bytes(8, "little") + bytes((len(name),)) + name
        entry = entry.ljust(_CHECK_AT, b"\0")
        self._memory[at : at + ENTRY_LEN] = entry + _digest(entry, 8)

    def of(self, conversation: str) -> dict[bytes, str]:
        """Return the tools whose calls were cut in a conversation, by the answers' marks."""
        key = _digest(conversation.encode(), 16)
        start = self._bucket(key)
        if self._memory.find(key, start, start + BUCKET * ENTRY_LEN) < 0:
            return {}  # as nearly always
        found: dict[bytes, str] = {}
        for _, entry in self._entries(key):
            if entry.startswith(key) and entry[_CHECK_AT:] == _digest(entry[:_CHECK_AT], 8):
                name = entry[_NAME_AT : _NAME_AT + entry[_NAME_AT - 1]]
                found[entry[16:32]] = name.decode("utf-8", "replace")
        return found

    def _bucket(self, key: bytes) -> int:
        return int.from_bytes(key[:4], "little") % self._buckets * BUCKET * ENTRY_LEN

    def _entries(self, key: bytes) -> Iterator[tuple[int, bytes]]:
        start = self._bucket(key)
        for at in range(start, start + BUCKET * ENTRY_LEN, ENTRY_LEN):
            yield at, self._memory[at : at + ENTRY_LEN]

    def _oldest(self, key: bytes, mark: bytes) -> int:
        """Return where to write: over the same answer's entry, else over the oldest."""
        entries = list(self._entries(key))
        for at, entry in entries:
            if entry[:32] == key + mark:
                return at
        return min(entries, key=lambda item: item[1][32:40][::-1])[0]


def _digest(data: bytes, size: int) -> bytes:
    return blake2b(data, digest_size=size).digest()
