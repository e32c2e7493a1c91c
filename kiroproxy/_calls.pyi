from collections.abc import Callable
from typing import Literal, TypeAlias

from kiroproxy._lines import Lines

_Calls: TypeAlias = list[tuple[str, bytes]]
_Read: TypeAlias = Callable[[bytes, bool], tuple[int, _Calls] | Literal[False] | None]

OPENINGS: tuple[bytes, ...]

class CallFinder(Lines):
    def __new__(cls, read: _Read) -> CallFinder: ...
    @property
    def calls(self) -> _Calls: ...
    def feed(self, text: bytes) -> list[object]: ...
    def end(self) -> list[object]: ...
