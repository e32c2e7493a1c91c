from collections.abc import Collection

from kiroproxy._ring import Ring

MAX_RPM: int

class Roster:
    def __new__(
        cls,
        ring: Ring,
        members: list[tuple[int, int, int, int]],
        probed: int,
        probe_after_ms: int,
    ) -> Roster: ...
    def __len__(self) -> int: ...
    def take(self, now_ms: int, key: str, balanced: bool, exclude: Collection[int]) -> int: ...
    def usable(self, now_ms: int) -> int: ...
    def outlook(self, now_ms: int, exclude: Collection[int]) -> tuple[int, int, int, int, int]: ...
