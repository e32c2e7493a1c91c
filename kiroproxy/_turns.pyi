from kiroproxy._prompt import Prompt

class Turns:
    replays: bool
    def __new__(cls, prompt: Prompt) -> Turns: ...
    def write(
        self,
        head: bytes,
        tail: bytes,
        *,
        before: bytes,
        after: bytes,
        model: bytes,
        wires: list[bytes],
        tools: bytes | None,
        keeps: bool,
    ) -> bytes | None: ...
