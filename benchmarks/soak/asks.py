"""What the clients of a soak ask: a mix of everything the gateway serves, faults among it.

Rules of this file: bytes and weights; nothing is sent here. No fault puts a credential out for
good, or the soak would end as a soak of refusals.
"""

import json
import random
from typing import Any, NamedTuple

from benchmarks.soak.kiro import FLOOD

# Words of the simulator's, each an upstream fault. 402 and 403 would take credentials away.
FAULTS = (
    *("truncated-tool", "exception", "error", "reset", "unfinished", "corrupt", "empty"),
    *("json-exception", "html", "400", "429", "500", "503", "dropped", "silent", "slow"),
)
MODELS = ("claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5")
BASH = {
    "name": "bash",
    "description": "Runs a command.",
    "input_schema": {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    },
}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
# 1 × 1 pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJg"
    "gg=="
)


class Ask(NamedTuple):
    """One request. Shape: `kind` names it in the table; `is_long` = worth reading slowly."""

    kind: str
    method: str
    path: str
    body: bytes
    is_long: bool = False


def ask(chance: random.Random) -> Ask:
    """Draw one."""
    kind = chance.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])[0]
    return _KINDS[kind][1](kind, chance)


def every(chance: random.Random) -> list[Ask]:
    """Return one of each kind, for the warm-up."""
    return [make(kind, chance) for kind, (_, make) in _KINDS.items()]


def chat(chance: random.Random, numbers: int) -> Ask:
    """Ask for a stream of so many numbers."""
    return _message("chat", chance, f"Count to {numbers} ({chance.random()})", stream=True)


def _message(kind: str, chance: random.Random, prompt: Any, **more: Any) -> Ask:
    body = {
        "model": chance.choice(MODELS),
        "max_tokens": 4096,
        "stream": chance.random() < 0.75,
        "messages": [{"role": "user", "content": prompt}],
    } | more
    path = chance.choice(("/v1/messages", "/v1/messages", "/cc/v1/messages"))
    return Ask(kind, "POST", path, json.dumps(body).encode(), kind == "flood")


def _chat(kind: str, chance: random.Random) -> Ask:
    return _message(kind, chance, f"Count to {chance.randrange(5, 300)} ({chance.random()})")


def _flood(kind: str, chance: random.Random) -> Ask:
    return _message(kind, chance, FLOOD, stream=True)


def _thinking(kind: str, chance: random.Random) -> Ask:
    thinking = {"type": "enabled", "budget_tokens": 2048}
    return _message(kind, chance, f"Explain {chance.random()}", thinking=thinking)


def _stops(kind: str, chance: random.Random) -> Ask:
    return _message(kind, chance, "Count to 100", stop_sequences=["40"], max_tokens=64)


def _tool(kind: str, chance: random.Random) -> Ask:
    return _message(kind, chance, f"Run echo {chance.random()}", tools=[BASH])


def _demanded(kind: str, chance: random.Random) -> Ask:
    choice = {"type": "tool", "name": "bash"}
    return _message(kind, chance, "Say it", tools=[BASH], tool_choice=choice)


def _search(kind: str, chance: random.Random) -> Ask:
    return _message(kind, chance, "Search the latest news", tools=[SEARCH, BASH])


def _side_search(kind: str, chance: random.Random) -> Ask:
    prompt = f"Perform a web search for the query: weather {chance.random()}"
    return _message(kind, chance, prompt, tools=[SEARCH])


def _fault(kind: str, chance: random.Random) -> Ask:
    return _message(kind, chance, f"[simulate: {chance.choice(FAULTS)}] {chance.random()}")


def _large(kind: str, chance: random.Random) -> Ask:
    text = "All work and no play makes a long prompt. " * chance.randrange(500, 8000)
    return _message(kind, chance, f"{chance.random()} {text}"[:350_000])


def _image(kind: str, chance: random.Random) -> Ask:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    return _message(kind, chance, [{"type": "image", "source": source},
                                   {"type": "text", "text": "What is this?"}])  # fmt: skip


def _heavy(kind: str, chance: random.Random) -> Ask:
    """Above 1 MB a body is read and converted in another thread; most of it is refused."""
    return _message(kind, chance, "long " * 260_000)


def _count(kind: str, chance: random.Random) -> Ask:
    body = {"model": MODELS[0], "messages": [{"role": "user", "content": "count " * 2000}]}
    return Ask(kind, "POST", "/v1/messages/count_tokens", json.dumps(body).encode())


def _models(kind: str, chance: random.Random) -> Ask:
    return Ask(kind, "GET", "/v1/models", b"")


def _wrong(kind: str, chance: random.Random) -> Ask:
    bodies = (b"{", b"[]", b'{"model": "none", "max_tokens": 1, "messages": []}')
    return Ask(kind, "POST", "/v1/messages", chance.choice(bodies))


_KINDS = {
    "chat": (30, _chat),
    "flood": (4, _flood),
    "thinking": (6, _thinking),
    "stops": (4, _stops),
    "tool": (8, _tool),
    "demanded tool": (3, _demanded),
    "search": (4, _search),
    "side search": (3, _side_search),
    "fault": (16, _fault),
    "large": (4, _large),
    "image": (3, _image),
    "heavy": (1, _heavy),
    "count": (6, _count),
    "models": (4, _models),
    "wrong": (4, _wrong),
}
