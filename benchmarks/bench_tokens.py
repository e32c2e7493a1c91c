"""How long does counting a request's tokens hold the event loop?

The long session is what Claude Code sends after about sixty edits (400 kB of JSON, mostly
code); the megabyte rows give the rate for each kind of text.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.protocol.tokens import count_request, count_text

ROOT = Path(__file__).parent.parent
CAPTURES = ROOT / "tests" / "data" / "captures"
MEGABYTE = 1_000_000

CODE = "".join(path.read_text() for path in sorted((ROOT / "kiroproxy").rglob("*.py")))
JSON = (CAPTURES / "claude-code-35-count-tokens-tools.json").read_text()
PROSE = "The committee met twice in spring and decided to repair the bridge before winter. "
CHINESE = "委员会在春天开了两次会，经过长时间的讨论，决定在冬天之前修好这座桥。"

Benchmark = Callable[..., Any]


def megabyte(text: str) -> str:
    """Repeat a text to one megabyte of UTF-8, give or take a character."""
    whole = (text * (MEGABYTE // len(text.encode()) + 1)).encode()[:MEGABYTE]
    return whole.decode(errors="ignore")


@pytest.mark.parametrize(
    "text", [CODE, JSON, PROSE, CHINESE], ids=["code", "json", "prose", "chinese"]
)
def bench_a_megabyte_of_text(benchmark: Benchmark, text: str) -> None:
    assert benchmark(count_text, megabyte(text)) > 100_000


def bench_a_short_text(benchmark: Benchmark) -> None:
    assert benchmark(count_text, PROSE) > 10


@pytest.mark.parametrize(
    "name", ["claude-code-34-count-tokens-messages", "claude-code-35-count-tokens-tools"]
)
def bench_a_context_probe(benchmark: Benchmark, name: str) -> None:
    body = json.loads((CAPTURES / f"{name}.json").read_text())["body"]
    assert benchmark(count_request, body) > 5


def bench_a_long_session(benchmark: Benchmark) -> None:
    body = json.loads((CAPTURES / "claude-code-04-bash-tool-result.json").read_text())["body"]
    call = {"type": "tool_use", "id": "t", "name": "Edit", "input": {"new_string": CODE[:2000]}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": CODE[:4000]}
    turns = ({"role": "assistant", "content": [call]}, {"role": "user", "content": [result]})
    body["messages"] = [*body["messages"], *turns * 60]
    assert benchmark(count_request, body) > 50_000
