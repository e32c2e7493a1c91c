"""Anthropic content blocks as pieces of a Kiro message: text, images, documents.

Rules of this file: nothing a client sent is dropped in silence. A block either becomes one of
the three pieces, or its JSON becomes text, or the request is refused with the block's path.
What nobody fetched (URLs, file ids) is refused: a model must not answer about a picture it never
saw.

Source: Anthropic's content block types; Kiro's ImageBlock and DocumentBlock.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from kiroproxy._json import write
from kiroproxy.errors import RequestError
from kiroproxy.protocol.sources import (
    DOCUMENT_TYPES,
    Block,
    document_format,
    image_format,
    inline,
)


@dataclass(frozen=True, slots=True)
class Image:
    """Base64 bytes of one picture. `path` is its place in the request, for refusals."""

    format: str
    data: str
    path: str


@dataclass(frozen=True, slots=True)
class Document:
    """Base64 bytes of one file. `path` is its place in the request, for refusals."""

    title: str
    format: str
    data: str
    context: str
    path: str


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
    return write(_visible(value)).decode()


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


_SEARCH_FAULTS = {
    "max_uses_exceeded": "no more searches are allowed in this answer",
    "query_too_long": "the query is longer than 200 characters",
    "invalid_tool_input": "the query is missing or is no text",
    "too_many_requests": "too many searches at the moment",
    "unavailable": "the search is not available at the moment",
}
# Anthropic's results hold an encrypted blob where ours hold words. Words of any length are no
# unbroken run of its alphabet, and no blob is short.
_BLOB = re.compile(r"[A-Za-z0-9+/=_-]{64,}")


def _web_search_result(block: Block, path: str) -> list[Piece]:
    results = block.get("content")
    if not isinstance(results, list):
        code = str(results.get("error_code")) if isinstance(results, dict) else ""
        words = f"{code}: {_SEARCH_FAULTS[code]}" if code in _SEARCH_FAULTS else as_json(results)
        return [f"(Web search failed: {words})"]
    if not results:
        return ["The web search found no pages."]
    lines = ["Web search results:"]
    for result in results:
        if not isinstance(result, dict):
            lines.append(as_json(result))
            continue
        age = f" ({result['page_age']})" if result.get("page_age") else ""
        lines.append(f"- {result.get('title')}: {result.get('url')}{age}")
        snippet = result.get("encrypted_content")
        if isinstance(snippet, str) and snippet and not _BLOB.fullmatch(snippet):
            lines.append(f"  {snippet}")
    return ["\n".join(lines)]


# -- pictures and documents ------------------------------------------------------------------


def _image(block: Block, path: str) -> list[Piece]:
    where = f"{path}.image"
    media_type, data = inline(_source(block, where), f"{where}.source", "image")
    kind = image_format(media_type, data)
    if kind is None:
        raise RequestError(
            f"{where}.source.base64.media_type: Input should be "
            "'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
        )
    return [Image(kind, data, path)]


def _source(block: Block, where: str) -> Block:
    source = block.get("source")
    if not isinstance(source, dict):
        raise RequestError(f"{where}.source: Field required")
    return source


def _document(block: Block, path: str) -> list[Piece]:
    where = f"{path}.document"
    source = _source(block, where)
    if source.get("type") in ("text", "content"):
        member = "data" if source["type"] == "text" else "content"
        head = f"<document{_attributes(block, 'title', 'context')}>"
        body = pieces(source.get(member), f"{where}.source.{member}")
        return [head, *body, "</document>"]
    media_type, data = inline(source, f"{where}.source", "document")
    title, context = (_string(block.get(name)) for name in ("title", "context"))
    kind = document_format(media_type, title, data)
    if kind is None and media_type == "application/pdf":
        raise RequestError(f"{where}.source.base64.data: The PDF specified was not valid.")
    if kind is None and media_type in DOCUMENT_TYPES:
        raise RequestError(f"{where}.source.base64.data: Could not process document")
    if kind is None:
        raise RequestError(f"{where}.source.base64.media_type: Input should be 'application/pdf'")
    return [Document(title, kind, data, context, path)]


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


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
