SCRIPT_NAMES: tuple[str, ...]

def tally(texts: list[str | bytes]) -> tuple[int, ...]: ...
def tally_portable(text: bytes) -> tuple[int, ...]: ...

class Weights:
    def __init__(
        self,
        words: tuple[float, ...],
        rest: tuple[float, ...],
        scripts: tuple[float, ...],
        factor: float,
    ) -> None: ...
    def weigh(self, texts: list[str | bytes]) -> float: ...
