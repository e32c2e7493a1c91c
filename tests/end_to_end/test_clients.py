"""Real clients from their registries, unmodified, each in an environment of its own.

`make clients` installs them (pip, and npm for what runs on Node) at the versions pinned in
clients/; a witness between them and the gateway reads every stream they are sent.
"""

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.clients import CLIENTS, node, node_modules, python
from support.course import FINE, GREETING, Course, expect
from support.sse import Reading
from support.witness import witnessed


async def walk(tmp_path: Path, model: Any, *command: str) -> tuple[dict[str, Any], list[Reading]]:
    """Let a client walk against a fresh gateway; return what it printed and what it was sent."""
    async with witnessed(tmp_path, model) as (_, gateway, witness):
        found = await run(witness.url, gateway.key, *command)
    return found, witness.readings()


async def run(url: str, key: str, *command: str) -> dict[str, Any]:
    environ = {"PATH": os.environ["PATH"], "GATEWAY_URL": url, "GATEWAY_KEY": key}
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    assert process.returncode == 0, said.decode()
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", ["python-newest", "python-older", "typescript"])
async def test_an_sdk_finds_its_way_through_the_whole_course(tmp_path: Path, name: str) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    command = {
        "python-newest": lambda: (python("newest"), str(CLIENTS / "course.py")),
        "python-older": lambda: (python("older"), str(CLIENTS / "course.py")),
        "typescript": lambda: (node(), str(CLIENTS / "course.mjs"), str(node_modules())),
    }[name]()
    course = Course()
    found, readings = await walk(tmp_path, course, *command, str(picture))
    expect(found)
    assert course.refused == 2  # the client waited as it was told, and came back
    (shown,) = course.pictures
    assert base64.b64decode(shown["source"]["bytes"]) == picture.read_bytes()
    assert len(readings) >= 5 and sum(reading.error is not None for reading in readings) == 1


async def test_an_agent_calls_tools_streams_and_fills_a_form(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    course = Course()
    command = (python("newest"), str(CLIENTS / "agent.py"), str(picture))
    found, readings = await walk(tmp_path, course, *command)
    assert found == {
        "tools": [["Oslo", "Paris"], FINE],
        "streamed": [GREETING, True],
        "form": {"name": "Oslo", "people": 700000},
        "image": "A red square.",
    }
    assert len(course.pictures) == 1
    assert all(reading.complete for reading in readings)
