"""The texts that are counted: this repository's own, by kind.

Rules of this file: nothing is fetched and nothing is random, so that two runs of one commit
count the same. The weights were fitted to other texts (manuals, other projects' code); the prose
in texts/ was written for this and took no part.
"""

import json
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
TEXTS: Final = Path(__file__).parent / "texts"
PIECE_LEN: Final = 1000  # characters; half a page, or one tool's result
SHORTEST: Final = 300
HIDDEN: Final = {"node_modules", ".venv", ".benchmarks"}


def corpora() -> dict[str, list[str]]:
    """Return pieces of text by the name of their corpus."""
    python = _texts("kiroproxy/**/*.py")
    docs = [path.read_text() for path in sorted(ROOT.glob("*.md")) if ".zh" not in path.name]
    whole = {
        "English prose": [(TEXTS / "english.md").read_text()],
        "English manuals": docs,
        "mixed Chinese and English": [(ROOT / "README.zh-CN.md").read_text()],
        "Chinese prose": [(TEXTS / "chinese.md").read_text()],
        "Japanese prose": [(TEXTS / "japanese.md").read_text()],
        "Python": python,
        "Cython and C": _texts("kiroproxy/*.pyx", "kiroproxy/*.h", "benchmarks/load/*.[ch]"),
        "TypeScript, JavaScript": _texts("admin-ui/src/**/*.ts*", "*/**/*.mjs"),
        "JSON, indented": _texts("benchmarks/results/*.json", "*.example*.json"),
        "JSON, compact": [_compact(text) for text in _texts("tests/data/streams/*.json")],
        "tool definitions": [json.dumps(tool) for tool in _tools()],
        "agent transcripts": [_transcript(path, text) for path, text in _sources()],
    }
    return {name: _pieces(texts) for name, texts in whole.items()}


def _texts(*patterns: str) -> list[str]:
    return [text for _, text in _files(*patterns)]


def _files(*patterns: str) -> list[tuple[str, str]]:
    found = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    shown = [path for path in found if path.is_file() and not HIDDEN & set(path.parts)]
    return [(str(path.relative_to(ROOT)), path.read_text()) for path in shown]


def _pieces(texts: list[str]) -> list[str]:
    cut = [text[at : at + PIECE_LEN] for text in texts for at in range(0, len(text), PIECE_LEN)]
    return [piece for piece in cut if len(piece) >= SHORTEST]


def _compact(text: str) -> str:
    return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)


def _sources() -> list[tuple[str, str]]:
    return [file for file in _files("kiroproxy/*/*.py", "tests/server/*.py") if file[1]]


def _transcript(path: str, text: str) -> str:
    """Say what an agent's turn on one file looks like: what it says, calls and is told."""
    lines = text.splitlines()[:40]
    numbered = "\n".join(f"{number:6}\t{line}" for number, line in enumerate(lines, 1))
    change = {"file_path": f"/home/user/project/{path}", "old_string": "\n".join(lines[4:9])}
    change["new_string"] = change["old_string"].replace("return", "yield")
    found = "\n".join(f"{path}:{n}:{line}" for n, line in enumerate(lines, 1) if "def " in line)
    parts = (
        f"I'll look at {path} before I change it.",
        json.dumps({"file_path": f"/home/user/project/{path}", "limit": 40}),
        numbered,
        "The early return is missing here; I change it and run the tests again.",
        json.dumps(change, ensure_ascii=False),
        found,
        f"FAILED tests/test_{Path(path).stem}.py::test_it - assert 3 == 4\n1 failed in 0.12s",
    )
    return "\n".join(parts)


def _tools() -> list[dict[str, Any]]:
    """Make definitions as clients send them, described in the words of our own docstrings."""
    made = []
    for path, text in _files("kiroproxy/protocol/[a-z]*.py", "kiroproxy/server/[a-z]*.py"):
        _, doc, rest = text.split('"""', 2)
        words = rest.replace("\n", " ").split()
        properties = {
            name: {"type": kind, "description": " ".join(words[n * 12 : n * 12 + 12])}
            for n, (name, kind) in enumerate((("path", "string"), ("maxResults", "integer")))
        }
        schema = {"type": "object", "properties": properties, "required": ["path"]}
        schema |= {"additionalProperties": False}
        made.append({"name": Path(path).stem, "description": doc, "input_schema": schema})
    return made
