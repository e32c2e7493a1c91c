from collections.abc import Iterable, Sequence
from mmap import mmap

from kiroproxy._request import Record

_Spread = tuple[int, Sequence[float], float]

class Row:
    def __init__(
        self,
        size: int,
        in_flight: int,
        requests: tuple[int, Sequence[str], Sequence[str], Sequence[int]],
        attempts: tuple[int, Sequence[str]],
        refreshes: tuple[int, Sequence[str]],
        credits: int,
        cached: int,
        duration: _Spread,
        first_token: _Spread,
        input: _Spread,
        output: _Spread,
    ) -> None: ...
    def began(self) -> None: ...
    def ended(self, endpoint: str, outcome: str, status: int, duration_s: float) -> None: ...
    def answered(self, told: Record, first_token_s: float) -> None: ...
    def attempted(self, faults: Iterable[str]) -> None: ...
    def finished(self, record: Record, duration_s: float, first_token_s: float) -> None: ...
    def refreshed(self, outcome: str) -> None: ...
    def take(self, memory: mmap, row: int, stride: int) -> None: ...
    def drop(self) -> None: ...
