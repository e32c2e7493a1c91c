"""The real Claude Code in print mode, doing a whole task through the gateway.

`make clients` installs it; a witness between it and the gateway reads every stream it is sent.
"""

import asyncio
import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.clients import claude
from support.course import BUSY
from support.witness import witnessed

from kiroproxy.simulator.request import Request
from kiroproxy.simulator.script import (
    Interleaved,
    Reasoning,
    Script,
    Start,
    Text,
    Throw,
    Tool,
    answer,
)

Step = tuple[tuple[str, dict[str, Any]], ...]  # the tools called in one turn
DONE = "The program says hello. Done."


class Task:
    """A model that writes a program, looks at a picture, searches, mends the program, runs it."""

    def __init__(self, folder: Path) -> None:
        file = str(folder / "hello.py")
        self.steps: tuple[Step, ...] = (
            (("Write", {"file_path": file, "content": 'print("hello, wörld")\n'}),),
            (
                ("Read", {"file_path": file}),
                ("Read", {"file_path": str(folder / "picture.png")}),
                ("Bash", {"command": f"ls {folder}", "description": "List the folder"}),
            ),
            (("WebSearch", {"query": "how to say world"}),),
            (("Edit", {"file_path": file, "old_string": "wörld", "new_string": "世界"}),),
            (("Bash", {"command": f"python3 {file}", "description": "Run it"}),),
        )
        self.results: list[str] = []
        self.pictures: list[bytes] = []

    def __call__(self, request: Request) -> Script | None:
        if "Bash" not in request.tools:
            return None  # a side call, a title for instance: the ordinary answer
        said = (
            entry.get("assistantResponseMessage", {}) for entry in request.state.get("history", [])
        )
        turn = sum(bool(message.get("toolUses")) for message in said)
        if request.tool_results:
            self.results.append(json.dumps(request.tool_results, ensure_ascii=False))
            shown = request.current.get("images", [])
            self.pictures += [base64.b64decode(image["source"]["bytes"]) for image in shown]
        if turn == len(self.steps):
            return answer(Reasoning("It all worked."), DONE)
        calls = tuple(
            Tool(name, json.dumps(arguments, ensure_ascii=False), size=7)
            for name, arguments in self.steps[turn]
        )
        names = ", ".join(call.name for call in calls)
        return answer(Reasoning(f"Now {names}."), f"I use {names}.", Interleaved(calls))


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-sonnet-4-5"])
async def test_claude_code_does_a_whole_task(tmp_path: Path, model: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    Image.new("RGB", (8, 8), "red").save(work / "picture.png")
    task = Task(work)
    async with witnessed(tmp_path, task) as (simulator, gateway, witness):
        said = await run(witness.url, gateway.key, work, model)
    assert [call.refusal for call in simulator.of("generate") if call.refusal] == []
    assert said["is_error"] is False and said["result"] == DONE
    assert (work / "hello.py").read_text() == 'print("hello, 世界")\n'
    _, parallel, searched, _, ran = task.results
    assert all(part in parallel for part in ("wörld", "picture.png", "hello.py"))
    assert task.pictures == [(work / "picture.png").read_bytes()]
    assert len(simulator.of("mcp")) == 1 and re.search(r"https?://", searched)
    assert "hello, 世界" in ran
    readings = witness.readings()
    assert len(readings) > len(task.steps) and all(reading.complete for reading in readings)
    assert '"level": "error"' not in gateway.log, gateway.log


async def test_claude_code_comes_through_a_refusal_and_a_broken_stream(tmp_path: Path) -> None:
    faults = iter((BUSY, Script((Start(), Text("The program sa"), Throw()))))

    def model(request: Request) -> Script | None:
        return next(faults, answer(DONE)) if "Bash" in request.tools else None

    async with witnessed(tmp_path, model) as (_, gateway, witness):
        said = await run(witness.url, gateway.key, tmp_path, "claude-opus-4-8")
    assert said["is_error"] is False and said["result"] == DONE
    assert next(faults, None) is None
    assert sum(reading.error is not None for reading in witness.readings()) == 1


async def run(url: str, key: str, work: Path, model: str) -> dict[str, Any]:
    """Run `claude -p` with nothing but the gateway to talk to; return its JSON result."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(work.parent),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": key,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "claude-haiku-4-5",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }
    process = await asyncio.create_subprocess_exec(
        claude(), "-p", "--dangerously-skip-permissions", "--output-format", "json",
        "--model", model,
        cwd=work, env=environ, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, told = await process.communicate(b"Write hello.py, check it, and run it.")
    except asyncio.CancelledError:
        process.kill()
        raise
    assert process.returncode == 0, (out, told)
    found: dict[str, Any] = json.loads(out)
    return found
