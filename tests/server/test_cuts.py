"""Cut tool calls, from Kiro's stream to the next request's prompt, and the memory between."""

import mmap
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.accounts.page import CUTS_LEN, SharedPage, open_cuts
from kiroproxy.server.cuts import BUCKET, ENTRY_LEN, Cuts
from kiroproxy.simulator.script import Script, Start, Tail, Text, Tool, answer

WRITE = {"name": "Write", "description": "Write", "input_schema": {"type": "object"}}
ASKED = {"role": "user", "content": "Write the file"}
SAID = {"role": "assistant", "content": [{"type": "text", "text": "I write it."}]}
NEXT = {"role": "user", "content": "Resume directly"}
HALF = Tool("Write", '{"path": "a.txt", "content": "half a f', stop=False)
BROKEN = Tool("Write", '{"path": "a.txt", "content": "half a f', stop=True)
WHOLE = Tool("Write", '{"path": "a.txt"}')
WORDS = "was cut off by the service while it wrote a call of the tool Write"


async def prompt_after(gateway: Any, *scripts: Script, **changes: Any) -> str:
    """Have one answer cut, ask on, and return everything Kiro was sent then."""
    gateway.sim.enqueue(*scripts, answer("ok"))
    first = await gateway.ask(tools=[WRITE], messages=[ASKED], **changes)
    assert first.status_code == 200, first.text
    said = [SAID] if any(block["type"] == "text" for block in first.json()["content"]) else []
    await gateway.ask(tools=[WRITE], messages=[ASKED, *said, NEXT])
    return gateway.sim.of("generate")[-1].body.decode()


@pytest.mark.parametrize("call", [HALF, BROKEN], ids=["half", "broken"])
@pytest.mark.parametrize("said", [("I write it.",), ()], ids=["text", "nothing else"])
async def test_the_model_is_told_that_its_call_was_cut(
    run_gateway: Any, call: Tool, said: tuple[str, ...]
) -> None:
    gateway = await run_gateway()
    sent = await prompt_after(gateway, Script((Start(), *map(Text, said), call, Tail())))
    assert sent.count(WORDS) == 1
    assert sent.index("Resume directly") < sent.index(WORDS)


async def test_a_call_that_our_own_limit_cut_is_told_as_well(run_gateway: Any) -> None:
    gateway = await run_gateway()
    long = Tool("Write", '{"content": "' + "words and words " * 200 + '"}', size=64)
    assert WORDS in await prompt_after(gateway, answer("I write it.", long), max_tokens=20)


async def test_a_whole_call_leaves_no_word(run_gateway: Any) -> None:
    gateway = await run_gateway()
    assert WORDS not in await prompt_after(gateway, answer("I write it.", WHOLE))


async def test_another_conversation_is_told_nothing(run_gateway: Any) -> None:
    gateway = await run_gateway(Script((Start(), Text("I"), HALF, Tail())), answer("a"))
    await gateway.ask(tools=[WRITE], messages=[ASKED])
    other = {"metadata": {"user_id": "user_1_account__session_other"}}
    await gateway.ask(tools=[WRITE], messages=[ASKED, SAID, NEXT], **other)
    assert WORDS not in gateway.sim.of("generate")[-1].body.decode()


# -- the memory --------------------------------------------------------------------------------


def mark(number: int) -> bytes:
    return number.to_bytes(16, "little")


def test_what_one_worker_remembers_every_worker_knows(tmp_path: Path) -> None:
    page = SharedPage(2, tmp_path)
    try:
        one, other = (Cuts(open_cuts(page.path, 2)) for _ in range(2))
        one.add("c1", mark(1), "Write", 5)
        one.add("c1", mark(2), "B" * 200, 6)
        assert other.of("c1") == {mark(1): "Write", mark(2): "B" * 79}
        assert other.of("c2") == {}
        page.ring.claim(1)  # a neighbour in the same file, unharmed
        assert one.of("c1")[mark(1)] == "Write"
    finally:
        page.close()


def test_the_oldest_entry_of_a_full_bucket_makes_room() -> None:
    cuts = Cuts(mmap.mmap(-1, ENTRY_LEN * BUCKET))
    for number in range(BUCKET + 2):
        cuts.add("c", mark(number), f"t{number}", 300 + number)
    cuts.add("c", mark(5), "again", 400)
    assert cuts.of("c") == {mark(n): f"t{n}" for n in range(2, BUCKET + 2)} | {mark(5): "again"}


def test_a_damaged_entry_is_not_read() -> None:
    memory = mmap.mmap(-1, CUTS_LEN)
    cuts = Cuts(memory)
    cuts.add("c", mark(1), "Write", 1)
    at = memory.find(b"Write")
    memory[at : at + 1] = b"X"
    assert cuts.of("c") == {}
