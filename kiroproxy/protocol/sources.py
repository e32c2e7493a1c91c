"""Where the bytes of an image or a document come from: inline base64, a data URL, or elsewhere.

Rules of this file: nothing is fetched and nothing is decoded further than its first bytes. A
format is what those bytes say and only then what the client's label says: clients label
screenshots wrongly, and Kiro checks.

Source: Anthropic's image and document sources; the file formats' own signatures.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from kiroproxy._base64 import is_plain
from kiroproxy.errors import RequestError

Block: TypeAlias = dict[str, Any]

IMAGE_TYPES = {"image/jpeg": "jpeg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}
_OFFICE = "application/vnd.openxmlformats-officedocument."
DOCUMENT_TYPES = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    _OFFICE + "wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    _OFFICE + "spreadsheetml.sheet": "xlsx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}
# Text by another name; every further `text/*` counts as plain text too.
_TEXT_TYPES = {
    "application/json", "application/xml", "application/yaml", "application/x-yaml",
    "application/javascript", "application/toml", "application/xhtml+xml",
}  # fmt: skip
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_CONTAINERS = {"docx": _ZIP, "xlsx": _ZIP, "doc": _OLE, "xls": _OLE}
_PDF_HEAD_BYTES = 1024  # readers accept the signature anywhere in it

_DATA_URL = re.compile(r"data:([\w./+-]+);base64,", re.ASCII)
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")


# -- finding them ------------------------------------------------------------------------------


@dataclass(slots=True)
class Medium:
    """One image or document block of a request body. `source` is the body's own object."""

    kind: str  # "image" or "document"
    source: Block
    path: str  # as Anthropic writes it: messages.0.content.1.image.source

    @property
    def url(self) -> str:
        """The address its bytes must be fetched from, "" if there is none."""
        url = self.source.get("url")
        if self.source.get("type") != "url" or not isinstance(url, str):
            return ""
        return "" if _DATA_URL.match(url) else url

    def put(self, media_type: str, data: str) -> None:
        """Replace the source by inline base64."""
        self.source.clear()
        self.source.update(type="base64", media_type=media_type, data=data)


def media(body: Block) -> Iterator[Medium]:
    """Yield a body's images and documents, those in tool results and documents too, in order."""
    messages = body.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, dict) and message.get("role") != "assistant":
            yield from _media(message.get("content"), f"messages.{index}.content")


def _media(content: Any, path: str) -> Iterator[Medium]:
    for index, block in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(block, dict):
            continue
        kind, source, where = block.get("type"), block.get("source"), f"{path}.{index}"
        if kind == "tool_result":
            yield from _media(block.get("content"), f"{where}.tool_result.content")
        elif kind == "document" and isinstance(source, dict) and source.get("type") == "content":
            yield from _media(source.get("content"), f"{where}.document.source.content")
        elif kind in ("image", "document") and isinstance(source, dict):
            yield Medium(kind, source, f"{where}.{kind}.source")


# -- reading them ------------------------------------------------------------------------------


def inline(source: Block, path: str, noun: str) -> tuple[str, str]:
    """Return (media type, base64) of a source that holds its own bytes.

    Raises: RequestError — a source only the client could open, or no base64 at all.
    """
    kind, url = source.get("type"), source.get("url")
    if isinstance(url, str) and (match := _DATA_URL.match(url)):
        return match[1].lower(), _base64_text(url[match.end() :], path)
    if kind == "url":
        raise RequestError(
            f"{path}.url: this gateway does not fetch URLs (its operator can set allowUrlFetch); "
            f"send the {noun} as base64"
        )
    if kind == "file":
        raise RequestError(
            f"{path}.file: {noun} sources of type 'file' are not supported by this gateway; "
            f"send the {noun} as base64"
        )
    data = source.get("data")
    if not isinstance(data, str) or not data:
        raise RequestError(f"{path}.base64.data: Field required")
    media_type = source.get("media_type")
    if match := _DATA_URL.match(data[:128]):
        media_type, data = match[1], data[match.end() :]
    return str(media_type or "").lower().partition(";")[0].strip(), _base64_text(data, path)


def _base64_text(data: str, path: str) -> str:
    """Drop line breaks; Kiro takes one unbroken run of the standard alphabet, padded."""
    if is_plain(data):
        return data
    data = "".join(data.split()).rstrip("=").replace("-", "+").replace("_", "/")
    if not data or "=" in data or _NOT_BASE64.search(data) or len(data) % 4 == 1:
        raise RequestError(f"{path}.base64.data: Input should be valid base64")
    return data + "=" * (-len(data) % 4)


def head(data: str, limit_bytes: int = 24) -> bytes:
    """Return the first bytes of a base64 text, b"" if it is none."""
    try:
        return binascii.a2b_base64(data[: limit_bytes * 4 // 3 & ~3])
    except (binascii.Error, ValueError):
        return b""


# -- naming their format -----------------------------------------------------------------------


def image_format(media_type: str, data: str) -> str | None:
    """Name an image's format, None if neither bytes nor label tell it."""
    return sniffed_image(head(data)) or IMAGE_TYPES.get(media_type)


def sniffed_image(first: bytes) -> str | None:
    """Name the image format that a file's first bytes announce."""
    if first.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if first.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if first.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
        return "webp"
    return None


def document_format(media_type: str, title: str, data: str) -> str | None:
    """Name a document's format; None if it is none that Kiro takes, or not what it is called.

    Shape: `title` helps where the label says nothing: browsers send Office files as
    application/octet-stream.
    """
    first = head(data, _PDF_HEAD_BYTES)
    if b"%PDF-" in first:
        return "pdf"
    label = _labelled(media_type) or _labelled_by(title)
    if first.startswith(_OLE):
        return {"xlsx": "xls", "docx": "doc"}.get(label or "", label)
    if label == "pdf" or (label in _CONTAINERS and not first.startswith(_CONTAINERS[label])):
        return None
    return label


def _labelled(media_type: str) -> str | None:
    if media_type in DOCUMENT_TYPES:
        return DOCUMENT_TYPES[media_type]
    return "txt" if media_type.startswith("text/") or media_type in _TEXT_TYPES else None


def _labelled_by(title: str) -> str | None:
    extension = title.rpartition(".")[2].lower()
    return extension if extension in DOCUMENT_TYPES.values() else None
