from collections.abc import Callable
from typing import Any

def read(raw: bytes | bytearray | memoryview, otherwise: Callable[[Any], Any] = ...) -> Any: ...
