"""The real Claude Code CLI, doing a task with Write, Read, Edit and Bash through the gateway.

Needs the path of a `claude` in CLAUDE_CODE; `make test-claude-code` installs one and sets it.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.gateway import Gateway

from kiroproxy.simulator.request import Request
from kiroproxy.simulator.script import Reasoning, Script, Tool, answer
from kiroproxy.simulator.server import Simulator

CLAUDE = os.environ["CLAUDE_CODE"]


class Task:
    """A model that writes, reads, edits and runs a file, one tool a turn."""

    def __init__(self, folder: Path) -> None:
        file = str(folder / "hello.py")
        self.steps: list[tuple[str, dict[str, Any]]] = [
            ("Write", {"file_path": file, "content": 'print("hello, wörld")\n'}),
            ("Read", {"file_path": file}),
            ("Edit", {"file_path": file, "old_string": "wörld", "new_string": "世界"}),
            ("Bash", {"command": f"python3 {file}", "description": "Run it"}),
        ]
        self.results: list[str] = []

    def __call__(self, request: Request) -> Script | None:
        if "Bash" not in request.tools:
            return None  # a side call, a title for instance: the ordinary answer
        turn = len(
            [
                entry
                for entry in request.state.get("history", [])
                if entry.get("assistantResponseMessage", {}).get("toolUses")
            ]
        )
        if request.tool_results:
            self.results.append(json.dumps(request.tool_results, ensure_ascii=False))
        if turn == len(self.steps):
            return answer(Reasoning("It all worked."), "The program says hello. Done.")
        name, arguments = self.steps[turn]
        call = Tool(name, json.dumps(arguments, ensure_ascii=False), size=7)
        return answer(Reasoning(f"Now {name}."), f"I use {name}.", call)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-sonnet-4-5"])
async def test_claude_code_writes_reads_edits_and_runs_a_file(tmp_path: Path, model: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    task = Task(work)
    async with Simulator(task) as simulator:
        gateway = Gateway(tmp_path, {"upstream": simulator.upstream()}, simulator.credentials())
        await gateway.start()
        try:
            said = await claude(gateway, work, model, "Write hello.py, check it, and run it.")
        finally:
            await gateway.stop()
        refused = [call.refusal for call in simulator.of("generate") if call.refusal]
    assert refused == []
    assert said["is_error"] is False and said["result"] == "The program says hello. Done."
    assert (work / "hello.py").read_text() == 'print("hello, 世界")\n'
    assert "hello, 世界" in task.results[-1]
    assert "error" not in gateway.log.lower(), gateway.log


async def claude(gateway: Gateway, work: Path, model: str, prompt: str) -> dict[str, Any]:
    """Run `claude -p` with nothing but the gateway to talk to; return its JSON result."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(work.parent),
        "ANTHROPIC_BASE_URL": gateway.url,
        "ANTHROPIC_API_KEY": gateway.key,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "claude-haiku-4-5",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }
    process = await asyncio.create_subprocess_exec(
        CLAUDE, "-p", "--dangerously-skip-permissions", "--output-format", "json",
        "--model", model,
        cwd=work, env=environ, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await asyncio.wait_for(process.communicate(prompt.encode()), 100)
    assert process.returncode == 0, (out, error, gateway.log)
    found: dict[str, Any] = json.loads(out)
    return found
