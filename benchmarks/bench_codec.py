"""What does it cost to get the messages out of an event stream?

2,000 text events as Kiro sends them (three headers, 132 bytes), fed as one chunk per event and in
chunks from 7 bytes to 64 KiB, to four readers: our compiled face, which only checks and counts
here as `_sse` would begin to work there; our Python face, which makes an object of everything a
message holds; a pure-Python reader as fast as we could make one; botocore's.

Run: make micro
"""

import json
import struct
import zlib
from collections.abc import Callable, Iterator

import pytest
from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped]
from pytest_benchmark.fixture import BenchmarkFixture

from kiroproxy._codec import FrameParser

EVENTS = 2000
PRELUDE = struct.Struct(">III").unpack_from
SIZES = {"7 B": 7, "100 B": 100, "1 KiB": 1024, "4 KiB": 4096, "16 KiB": 16384, "64 KiB": 65536}
Reader = Callable[[list[bytes]], int]


def text_frame(text: str) -> bytes:
    block = b"".join(
        bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
        for name, value in (
            (b":event-type", b"assistantResponseEvent"),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    payload = json.dumps({"content": text}).encode()
    head = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    head += struct.pack(">I", zlib.crc32(head)) + block + payload
    return head + struct.pack(">I", zlib.crc32(head))


def chunks_of(way: str) -> list[bytes]:
    frames = [text_frame(f"hello {n % 10}\n") for n in range(EVENTS)]
    if way == "event":
        return frames
    stream = b"".join(frames)
    size = SIZES[way]
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def read_compiled(chunks: list[bytes]) -> int:
    return sum(map(FrameParser().count, chunks))


def read_by_ours(chunks: list[bytes]) -> int:
    parser = FrameParser()
    return sum(len(parser.feed(chunk)) for chunk in chunks)


def read_by_botocore(chunks: list[bytes]) -> int:
    reader, count = EventStreamBuffer(), 0
    for chunk in chunks:
        reader.add_data(chunk)
        count += sum(1 for _ in reader)
    return count


def read_by_tuned_python(chunks: list[bytes]) -> int:
    count, rest = 0, b""
    for chunk in chunks:
        rest, messages = split_tuned(rest + chunk if rest else chunk)
        count += len(messages)
    return count


def split_tuned(data: bytes) -> tuple[bytes, list[tuple[dict[bytes, bytes], bytes]]]:
    """Cut whole messages off `data`; both CRCs, string headers only, a block parsed once."""
    prelude, crc32 = PRELUDE, zlib.crc32
    at, end, view, found = 0, len(data), memoryview(data), []
    known: dict[bytes, dict[bytes, bytes]] = {}
    while end - at >= 12:
        total, headers, crc = prelude(data, at)
        if crc32(view[at : at + 8]) != crc:
            raise ValueError("prelude")
        if end - at < total:
            break
        stop = at + total - 4
        if crc32(view[at + 8 : stop], crc) != int.from_bytes(view[stop : stop + 4]):
            raise ValueError("message")
        block = data[at + 12 : at + 12 + headers]
        if (parsed := known.get(block)) is None:
            parsed = known[block] = dict(strings_in(block))
        found.append((parsed, data[at + 12 + headers : stop]))
        at += total
    return data[at:], found


def strings_in(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(block):
        name_end = at + 1 + block[at]
        value_end = name_end + 3 + int.from_bytes(block[name_end + 1 : name_end + 3])
        yield block[at + 1 : name_end], block[name_end + 3 : value_end]
        at = value_end


@pytest.mark.parametrize("way", ["event", *SIZES])
@pytest.mark.parametrize(
    "read", [read_compiled, read_by_ours, read_by_tuned_python, read_by_botocore]
)
def bench_read(benchmark: BenchmarkFixture, read: Reader, way: str) -> None:
    benchmark.group = f"read {EVENTS} messages, fed by {way}"
    chunks = chunks_of(way)
    assert benchmark(read, chunks) == EVENTS
