"""Request bodies as Claude Code sends them, grown to a size, or with images.

Source: a captured session with a tool call, in tests/data/captures.
"""

import base64
import json
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[2]
CAPTURE = ROOT / "tests" / "data" / "captures" / "claude-code-04-bash-tool-result.json"
SIZES = {"50 kB": 50_000, "400 kB": 400_000}
IMAGES = "20 MB of images"
_EDGE = 1100  # pixels; with noise in them, 3.6 MB a picture: small enough for Kiro as it is


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


def with_images(script: str, count: int = 4) -> bytes:
    """Return a request with pictures of noise, 4.8 MB of base64 each."""
    data = base64.b64encode(_noise()).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content: list[dict[str, Any]] = [{"type": "image", "source": source}] * count
    content = [*content, {"type": "text", "text": f"Go on. [[load {script}]]"}]
    messages = [{"role": "user", "content": content}]
    body = {"model": "claude-sonnet-4-5", "max_tokens": 64, "stream": True, "messages": messages}
    return json.dumps(body).encode()


def _noise() -> bytes:
    """Return a PNG that does not pack (ISO 15948 §5, §11.2)."""
    random = Random(1)
    rows = b"".join(b"\0" + random.randbytes(3 * _EDGE) for _ in range(_EDGE))
    head = struct.pack(">IIBBBBB", _EDGE, _EDGE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
