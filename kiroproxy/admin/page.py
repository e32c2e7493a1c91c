"""The web page's files under /admin, and what stands there in a checkout that has not built them.

Rules of this file: only files that were in the built page at the first look are ever sent; a
request's path is looked up in that list and never joined to a directory.

Theory of operation. The build writes hashed names under assets/, which never change and may be
kept for ever; index.html names them and is asked for anew each time. Any other path without a
file is a place within the page, so it gets index.html too.

Source: the Content Security Policy that needs no `unsafe-`; OWASP's secure headers.
"""

import asyncio
import gzip
import mimetypes
from pathlib import Path
from typing import NamedTuple

from kiroproxy.server.request import Request, Send

ROOT = Path(__file__).parent.parent / "server" / "static"
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    b"form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_PACKED = (".html", ".js", ".css", ".svg", ".json", ".webmanifest", ".txt", ".map")
_UNBUILT = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>kiroproxy</title>
<h1>The web page is not built</h1>
<p>This gateway runs from a source checkout. Build the page once, with Node 20 or newer:</p>
<pre>make ui</pre>
<p>Then load this address again. The admin API works without it:
<code>/api/admin/openapi.json</code> describes it, for who sends <code>adminApiKey</code>
as <code>x-api-key</code>.</p>
</html>
"""


class File(NamedTuple):
    """One file. Shape: `packed` is the same in gzip, b"" where that is no gain."""

    body: bytes
    packed: bytes
    media_type: str
    is_hashed: bool


class Pages:
    """The built page. Order: any; the files are read at the first request."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._files: dict[str, File] = {}

    async def serve(self, request: Request, send: Send, path: str) -> None:
        """Answer one request for a path under /admin."""
        if request.method not in ("GET", "HEAD"):
            headers = [*_HEADERS, (b"allow", b"GET, HEAD")]
            await _send(request, send, 405, b"", headers)
            return
        if "index.html" not in self._files:  # looked for again each time: it may be built now
            self._files = await asyncio.to_thread(_read, self._root)
        found = self._files.get(path or "index.html")
        if found is None and not path.startswith("assets/"):
            found = self._files.get("index.html")
        if found is not None:
            await _send_file(request, send, found)
        elif self._files:
            await _send(request, send, 404, b"", _HEADERS)
        else:
            kind = (b"content-type", b"text/html; charset=utf-8")
            headers = [*_HEADERS, kind, (b"cache-control", b"no-store")]
            await _send(request, send, 200, _UNBUILT, headers)


async def _send_file(request: Request, send: Send, file: File) -> None:
    cached = b"public, max-age=31536000, immutable" if file.is_hashed else b"no-cache"
    headers = [
        *_HEADERS,
        (b"content-type", file.media_type.encode()),
        (b"cache-control", cached),
        (b"vary", b"accept-encoding"),
    ]
    body = file.body
    if file.packed and b"gzip" in request.headers.get(b"accept-encoding", b""):
        body = file.packed
        headers.append((b"content-encoding", b"gzip"))
    await _send(request, send, 200, body, headers)


async def _send(
    request: Request, send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    size = (b"content-length", b"%d" % len(body))
    id = (b"request-id", request.id.encode("ascii"))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, size, id]})
    body = b"" if request.method == "HEAD" else body
    await send({"type": "http.response.body", "body": body})


def _read(root: Path) -> dict[str, File]:
    if not (root / "index.html").is_file():
        return {}
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            name = path.relative_to(root).as_posix()
            found[name] = _file(name, path.read_bytes())
    return found


def _file(name: str, body: bytes) -> File:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if name.endswith((".js", ".mjs")):
        kind = "text/javascript"
    if kind.startswith("text/") or kind == "application/json":
        kind += "; charset=utf-8"
    packed = gzip.compress(body, 9, mtime=0) if name.endswith(_PACKED) else b""
    return File(body, packed if len(packed) < len(body) else b"", kind, name.startswith("assets/"))
