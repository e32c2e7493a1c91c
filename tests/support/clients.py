"""Where `make clients` has put the real clients.

Rules of this file: a client that is not there, or not at the pinned version, fails its test and
says what to do; it is never passed over.
"""

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "tests" / "end_to_end" / "clients"
INSTALLED = ROOT / ".venv" / "clients"


def python(name: str) -> str:
    """Return the Python of the environment made from clients/{name}.txt."""
    _check(INSTALLED / name / "pins", CLIENTS / f"{name}.txt")
    return str(INSTALLED / name / "bin" / "python")


def node() -> str:
    """Return Node's own path."""
    found = shutil.which("node")
    if found is None:
        pytest.fail("node is missing; on Debian: sudo apt-get install nodejs npm", pytrace=False)
    return found


def node_modules() -> Path:
    """Return the folder of what npm installed."""
    _check(INSTALLED / "node" / "pins", CLIENTS / "package-lock.json")
    return INSTALLED / "node" / "node_modules"


def claude() -> str:
    """Return the path of the `claude` command."""
    return str(node_modules() / ".bin" / "claude")


def versions() -> dict[str, str]:
    """Return the pinned version of every client that a test drives, as its README shows it."""
    found: dict[str, str] = json.loads((CLIENTS / "package.json").read_text())["dependencies"]
    older, newest = pins("older"), pins("newest")
    return {
        "Claude Code": found["@anthropic-ai/claude-code"],
        "Anthropic Python SDK": f"{newest['anthropic']}, {older['anthropic']}",
        "Anthropic TypeScript SDK": found["@anthropic-ai/sdk"],
        "pydantic-ai": newest["pydantic-ai-slim"],
    }


def pins(name: str) -> dict[str, str]:
    lines = (CLIENTS / f"{name}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def _check(installed: Path, wanted: Path) -> None:
    if not installed.exists() or installed.read_text() != wanted.read_text():
        text = f"{wanted.name} is not installed as pinned: run `make clients` (pip, npm)"
        pytest.fail(text, pytrace=False)
