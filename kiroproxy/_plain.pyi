from collections.abc import Callable
from typing import Any, Generic, TypeVar

from kiroproxy._tally import Weights

_T = TypeVar("_T")

OWN: tuple[str, ...]

def random_bytes(count: int) -> bytes: ...
def fresh_id(prefix: str) -> str: ...
def fresh_uuid() -> str: ...
def uuid_of(digest: bytes, version: int) -> str: ...
def uuid_named(space: bytes, name: bytes) -> str: ...
def is_uuid(text: str) -> bool: ...

class Mould(Generic[_T]):
    def __init__(self, kind: type[_T], own: tuple[str, ...], shared: dict[str, object]) -> None: ...
    def make(self, *own: object) -> _T: ...

class Asked:
    def __init__(self, rules: Simple[Any], name: str, resolved: Any) -> None: ...

class Simple(Generic[_T]):
    def __init__(
        self,
        known: frozenset[str],
        unwanted: str,
        mould: Mould[_T],
        measure: Callable[[str], tuple[int, Weights]],
        overflow: float,
        conversation_id: Callable[[dict[str, Any], str, Callable[[], str]], str],
        space: bytes,
        first: bytes,
        form: tuple[bytes, bytes, bytes],
        ending: bytes,
    ) -> None: ...
    def plan(
        self,
        body: dict[str, Any],
        catalogue: Any,
        ids: Callable[[], str],
        session_id: str,
        correct: Callable[[str, int], int],
    ) -> _T | None: ...
