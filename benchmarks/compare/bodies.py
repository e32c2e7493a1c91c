"""Request bodies as Claude Code sends them, grown to a size.

Source: a captured session with a tool call, in tests/data/captures.
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CAPTURE = ROOT / "tests" / "data" / "captures" / "claude-code-04-bash-tool-result.json"
SIZES = {"50 kB": 50_000, "400 kB": 400_000}


def session(size_bytes: int) -> dict[str, Any]:
    """Return the captured request with edits and their results added up to a size."""
    body: dict[str, Any] = json.loads(CAPTURE.read_text())["body"]
    code = "".join(path.read_text() for path in sorted((ROOT / "kiroproxy").rglob("*.py")))
    for turn in range(10_000):
        if len(json.dumps(body)) >= size_bytes:
            return body
        at = turn * 4000 % (len(code) - 4000)
        use = f"toolu_{turn:024d}"
        edit = {"file_path": f"/src/{turn}.py", "new_string": code[at : at + 2000]}
        call = {"type": "tool_use", "id": use, "name": "Edit", "input": edit}
        result = {"type": "tool_result", "tool_use_id": use, "content": code[at : at + 4000]}
        body["messages"] += [
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ]
    raise ValueError(f"no session of {size_bytes} bytes")


def for_load(size_bytes: int, script: str) -> bytes:
    """Return such a request whose answer the stand-in takes from `script`."""
    body = session(size_bytes)
    body["messages"][-1]["content"] += [{"type": "text", "text": f"Go on. [[load {script}]]"}]
    body["stream"] = True
    return json.dumps(body, ensure_ascii=False).encode()
