from kiroproxy._lines import Lines

NAMES: dict[int, str]

class Splitter(Lines):
    def feed(self, text: bytes) -> list[tuple[str, bytes]]: ...
    def end(self) -> list[tuple[str, bytes]]: ...
