from kiroproxy._blocks import BlockWriter

class LimitedWriter(BlockWriter):
    def __new__(
        cls, stop_sequences: tuple[str, ...], room: int, ascii_cost: int, other_cost: int
    ) -> LimitedWriter: ...
