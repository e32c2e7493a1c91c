"""What does it cost to turn Kiro's text events into Anthropic's?

2,000 text events as a model streams them, fed as one chunk per event and as 16 KiB chunks, to
the compiled translator and to a plain one: struct, zlib, json.loads, json.dumps. The compiled one
is timed on its fast path, while it watches for thinking tags, on text full of escapes, which has
to be decoded there, and with a client's limits: a length, and a length and a stop sequence, one
that no text begins and one that most texts do.

Run: make micro
"""

import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kiroproxy._sse import Translator
from kiroproxy.simulator import frames

EVENTS = 2000
WORDS = ["Hello", " there", ", this", " is", " an", ".\n\n", " \u4f60\u597d", " x < y", "`"]


def bodies(words: list[str]) -> list[bytes]:
    texts = (words[index % len(words)] for index in range(EVENTS))
    return [frames.event("assistantResponseEvent", {"content": text}) for text in texts]


def chunks_of(way: str, words: list[str]) -> list[bytes]:
    events = bodies(words)
    if way == "event":
        return events
    body = b"".join(events)
    return [body[at : at + 16384] for at in range(0, len(body), 16384)]


def translate(chunks: list[bytes], *, split_tags: bool = False, **limits: Any) -> int:
    machine = Translator(
        message_id="msg_1",
        model="m",
        split_tags=split_tags,
        drop_thinking=False,
        tool_names={},
        **limits,
    )
    return sum(len(machine.feed(chunk)) for chunk in chunks)


class PlainTranslator:
    """What one would write first: whole headers, whole JSON, no blocks to speak of."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, chunk: bytes) -> bytes:
        self._buffer += chunk
        out = []
        while len(self._buffer) >= 12:
            total, headers_len, prelude_crc = struct.unpack_from(">III", self._buffer)
            if len(self._buffer) < total:
                break
            frame, self._buffer = self._buffer[:total], self._buffer[total:]
            assert zlib.crc32(frame[:8]) == prelude_crc
            assert zlib.crc32(frame[:-4]) == struct.unpack(">I", frame[-4:])[0]
            headers = self._headers(frame[12 : 12 + headers_len])
            if headers[":event-type"] == "assistantResponseEvent":
                out.append(self._event(json.loads(frame[12 + headers_len : -4])["content"]))
        return b"".join(out)

    def _headers(self, block: bytes) -> dict[str, str]:
        headers, at = {}, 0
        while at < len(block):
            name_end = at + 1 + block[at]
            size = struct.unpack_from(">H", block, name_end + 1)[0]
            value_end = name_end + 3 + size
            headers[block[at + 1 : name_end].decode()] = block[name_end + 3 : value_end].decode()
            at = value_end
        return headers

    def _event(self, text: str) -> bytes:
        delta = {"type": "text_delta", "text": text}
        data = json.dumps({"type": "content_block_delta", "index": 0, "delta": delta})
        return f"event: content_block_delta\ndata: {data}\n\n".encode()


def translate_plainly(chunks: list[bytes]) -> int:
    machine = PlainTranslator()
    return sum(len(machine.feed(chunk)) for chunk in chunks)


def measure(benchmark: BenchmarkFixture, run: Callable[[], int]) -> None:
    assert run() > EVENTS * 100
    benchmark.extra_info["events"] = EVENTS
    benchmark(run)
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_event"] = benchmark.stats["mean"] / EVENTS * 1e9


@pytest.mark.parametrize("way", ["event", "16 KiB"])
def bench_compiled(benchmark: BenchmarkFixture, way: str) -> None:
    chunks = chunks_of(way, WORDS)
    measure(benchmark, lambda: translate(chunks))


@pytest.mark.parametrize("way", ["event", "16 KiB"])
def bench_compiled_watching_for_tags(benchmark: BenchmarkFixture, way: str) -> None:
    chunks = chunks_of(way, WORDS)
    measure(benchmark, lambda: translate(chunks, split_tags=True))


@pytest.mark.parametrize("way", ["event", "16 KiB"])
def bench_compiled_decoding_everything(benchmark: BenchmarkFixture, way: str) -> None:
    chunks = chunks_of(way, ['<"\\\n>' * 4])
    measure(benchmark, lambda: translate(chunks, split_tags=True))


@pytest.mark.parametrize("way", ["event", "16 KiB"])
def bench_compiled_with_a_length(benchmark: BenchmarkFixture, way: str) -> None:
    chunks = chunks_of(way, WORDS)
    measure(benchmark, lambda: translate(chunks, room=(10**12, 10, 29)))


@pytest.mark.parametrize("sequence", ["ZEBRA", " a zebra"])
@pytest.mark.parametrize("way", ["event", "16 KiB"])
def bench_compiled_with_a_stop_sequence(
    benchmark: BenchmarkFixture, way: str, sequence: str
) -> None:
    chunks = chunks_of(way, WORDS)
    limits: dict[str, Any] = {"room": (10**12, 10, 29), "stop_sequences": (sequence,)}
    measure(benchmark, lambda: translate(chunks, **limits))


@pytest.mark.parametrize("way", ["event", "16 KiB"])
def bench_plain(benchmark: BenchmarkFixture, way: str) -> None:
    chunks = chunks_of(way, WORDS)
    measure(benchmark, lambda: translate_plainly(chunks))
