"""Anthropic content blocks as pieces of a Kiro message: text, images, documents.

Rules of this file: nothing a client sent is dropped in silence. A block either becomes one of
the three pieces, or its JSON becomes text, or the request is refused with the block's path.
What Kiro cannot fetch (URLs, file ids) is refused: a model must not answer about a picture it
never saw.

Source: Anthropic's content block types; Kiro's ImageBlock and DocumentBlock.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from kiroproxy.errors import RequestError

Block: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """Base64 bytes of one picture. `path` is its place in the request, for refusals."""

    format: str
    data: str
    path: str


@dataclass(frozen=True, slots=True)
class Document:
    """Base64 bytes of one file; Kiro wants its name without the extension."""

    title: str
    format: str
    data: str
    context: str


Piece: TypeAlias = str | Image | Document


def pieces(content: Any, path: str) -> list[Piece]:
    """Turn a content value (string, list of blocks, null) into pieces, in order.

    Raises: RequestError — a block that cannot be shown to the model.
    """
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        raise RequestError(f"{path}: Input should be a valid list")
    found: list[Piece] = []
    for index, block in enumerate(content):
        found += block_pieces(block, f"{path}.{index}")
    return found


def block_pieces(block: Any, path: str) -> list[Piece]:
    """Turn one block into pieces; a type nobody knows becomes its JSON."""
    if isinstance(block, str):
        return [block] if block else []
    if not isinstance(block, dict):
        raise RequestError(f"{path}: Input should be a valid dictionary")
    convert = _CONVERTERS.get(block.get("type", ""))
    return convert(block, path) if convert else [as_json(block)]


def as_json(value: Any) -> str:
    """Write a block as JSON text, without what is only transport (cache marks, opaque blobs)."""
    return orjson.dumps(_visible(value)).decode()


_OPAQUE = frozenset({"cache_control", "encrypted_content", "encrypted_index"})


def _visible(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _visible(item) for key, item in value.items() if key not in _OPAQUE}
    if isinstance(value, list):
        return [_visible(item) for item in value]
    return value


# -- text ----------------------------------------------------------------------------------


def _text(block: Block, path: str) -> list[Piece]:
    text = block.get("text")
    if text is None or text == "":
        return []
    if not isinstance(text, str):
        raise RequestError(f"{path}.text: Input should be a valid string")
    return [text]


def _tool_reference(block: Block, path: str) -> list[Piece]:
    return [f"Tool {block.get('tool_name') or block.get('name')} is now available."]


def _tool_addition(block: Block, path: str) -> list[Piece]:
    return [f"Tool {_referenced(block)} is now available."]


def _tool_removal(block: Block, path: str) -> list[Piece]:
    return [f"Tool {_referenced(block)} is no longer available."]


def _referenced(block: Block) -> str:
    tool = block.get("tool")
    return str(tool.get("name") or tool.get("tool_name")) if isinstance(tool, dict) else str(tool)


def _search_result(block: Block, path: str) -> list[Piece]:
    head = f"<search_result{_attributes(block, 'title', 'source')}>"
    return [head, *pieces(block.get("content"), f"{path}.content"), "</search_result>"]


def _attributes(block: Block, *names: str) -> str:
    return "".join(f' {name}="{block[name]}"' for name in names if isinstance(block.get(name), str))


# -- what Anthropic's own servers ran --------------------------------------------------------


def _server_tool_use(block: Block, path: str) -> list[Piece]:
    return [f"(Server tool {block.get('name')} ran with input {as_json(block.get('input'))})"]


def _web_search_result(block: Block, path: str) -> list[Piece]:
    results = block.get("content")
    if not isinstance(results, list):
        return [f"(Web search failed: {as_json(results)})"]
    lines = ["Web search results:"]
    for result in results:
        if not isinstance(result, dict):
            lines.append(as_json(result))
            continue
        age = f" ({result['page_age']})" if result.get("page_age") else ""
        lines.append(f"- {result.get('title')}: {result.get('url')}{age}")
        snippet = result.get("encrypted_content")
        # Anthropic's blob is unbroken base64; readable words are a snippet worth keeping.
        if isinstance(snippet, str) and " " in snippet:
            lines.append(f"  {snippet}")
    return ["\n".join(lines)]


# -- pictures --------------------------------------------------------------------------------

_IMAGE_TYPES = {"image/jpeg": "jpeg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}
_DATA_URL = re.compile(r"data:([\w./+-]+);base64,", re.ASCII)


def _image(block: Block, path: str) -> list[Piece]:
    source = _source(block, path)
    media_type, data = _base64_source(source, path, "image")
    kind = _sniff_image(data) or _IMAGE_TYPES.get(media_type)
    if kind is None:
        raise RequestError(
            f"{path}.source.base64.media_type: Input should be "
            "'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
        )
    return [Image(kind, data, path)]


def _sniff_image(data: str) -> str | None:
    """Name the format by its first bytes: clients label screenshots wrongly, Kiro checks."""
    head = _head(data)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return None


def _head(data: str) -> bytes:
    try:
        return base64.b64decode(data[:32])
    except (binascii.Error, ValueError):
        return b""


def _source(block: Block, path: str) -> Block:
    source = block.get("source")
    if not isinstance(source, dict):
        raise RequestError(f"{path}.source: Field required")
    return source


def _base64_source(source: Block, path: str, noun: str) -> tuple[str, str]:
    """Return (media type, base64) of an inline source.

    Raises: RequestError — a source only the client could open, or no base64 at all.
    """
    kind, url = source.get("type"), source.get("url")
    if isinstance(url, str) and (match := _DATA_URL.match(url)):
        return match[1].lower(), _base64_text(url[match.end() :], path)
    if kind in ("url", "file"):
        raise RequestError(
            f"{path}.source.{kind}: {noun} sources of type '{kind}' are not supported by this "
            f"gateway; send the {noun} as base64"
        )
    data = source.get("data")
    if not isinstance(data, str) or not data:
        raise RequestError(f"{path}.source.base64.data: Field required")
    media_type = source.get("media_type")
    if match := _DATA_URL.match(data[:64]):
        media_type, data = match[1], data[match.end() :]
    return str(media_type or "").lower(), _base64_text(data, path)


_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")


def _base64_text(data: str, path: str) -> str:
    """Drop line breaks; Kiro takes one unbroken run of the standard alphabet, padded."""
    if not _NOT_BASE64.search(data) and len(data) % 4 == 0:
        return data
    data = "".join(data.split()).rstrip("=").replace("-", "+").replace("_", "/")
    if not data or _NOT_BASE64.search(data) or len(data) % 4 == 1:
        raise RequestError(f"{path}.source.base64.data: Input should be valid base64")
    return data + "=" * (-len(data) % 4)


# -- documents -------------------------------------------------------------------------------

_OFFICE = "application/vnd.openxmlformats-officedocument."
_DOCUMENT_TYPES = {
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


def _document(block: Block, path: str) -> list[Piece]:
    source = _source(block, path)
    if source.get("type") in ("text", "content"):
        body = source.get("data") if source["type"] == "text" else source.get("content")
        head = f"<document{_attributes(block, 'title', 'context')}>"
        return [head, *pieces(body, f"{path}.source"), "</document>"]
    media_type, data = _base64_source(source, path, "document")
    kind = "pdf" if _head(data).startswith(b"%PDF") else _DOCUMENT_TYPES.get(media_type)
    if kind is None:
        raise RequestError(f"{path}.source.base64.media_type: Input should be 'application/pdf'")
    title, context = block.get("title"), block.get("context")
    return [
        Document(
            title if isinstance(title, str) else "",
            kind,
            data,
            context if isinstance(context, str) else "",
        )
    ]


_CONVERTERS: dict[str, Callable[[Block, str], list[Piece]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_reference": _tool_reference,
    "tool_addition": _tool_addition,
    "tool_removal": _tool_removal,
    "server_tool_use": _server_tool_use,
    "web_search_tool_result": _web_search_result,
}
