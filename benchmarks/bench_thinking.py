"""What does it cost to look for thinking tags in an answer's text?

2,000 pieces of text as a model streams them, through the compiled splitter and through the regular
expression one would write first, which has to hold back what may become a tag. The answer with a
thinking block has it in front, as models do; the hard text is full of beginnings of tags.

Run: make micro
"""

import re
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kiroproxy._thinking import Splitter

PIECES = 2000
WORDS = ["Hello", " there", ", this", " is", " an", ".\n\n", " \u4f60\u597d", " x < y", "`"]
PLAIN = [WORDS[at % len(WORDS)].encode() for at in range(PIECES)]
THINKING = [b"<thinking>", *PLAIN[: PIECES // 2], b"</thinking>\n\n", *PLAIN[PIECES // 2 :]]
HARD = [b"<thin", b"\n<think", b"</", b"`<thinking>`", b"<\n"] * (PIECES // 5)
TEXTS = {"plain text": PLAIN, "a thinking block": THINKING, "beginnings of tags": HARD}
TAG = re.compile(rb"</?thinking>")
BEGINNING = re.compile(rb"<(/?t?h?i?n?k?i?n?g?)$")


def split(pieces: list[bytes]) -> int:
    splitter = Splitter()
    size = sum(len(text) for piece in pieces for _, text in splitter.feed(piece))
    return size + sum(len(text) for _, text in splitter.end())


def split_by_expression(pieces: list[bytes]) -> int:
    held, size = b"", 0
    for piece in pieces:
        text = held + piece
        beginning = BEGINNING.search(text)
        held = text[beginning.start() :] if beginning else b""
        size += sum(map(len, TAG.split(text[: len(text) - len(held)])))
    return size + len(held)


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("way", [split, split_by_expression])
def bench_split(benchmark: BenchmarkFixture, way: Callable[[list[bytes]], int], kind: str) -> None:
    benchmark.group = f"split {PIECES} pieces: {kind}"
    assert benchmark(way, TEXTS[kind]) > PIECES
