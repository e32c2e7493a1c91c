from typing import Any

from kiroproxy._splice import Source

class Prompt(Source):
    head: dict[str, Any]
    tools: Any
    offer: Any
    tools_raw: bytes | None
    names: list[bytes]
    configs: list[Any]
    messages: int
    calls: int
    results: int
    users: int
    prompts: int
    def opening(self) -> dict[str, Any]: ...
    def last(self) -> dict[str, Any]: ...

def read_prompt(
    raw: bytes | bytearray, known: list[tuple[bytes, Any]], unsigned: bytes
) -> Prompt | None: ...
