"""A request that is nothing but one web search, performed through Kiro's MCP tool of that name.

Rules of this file: only the side request of a client that searches is taken over. Who offers
the tool along with a question is answered by the model, with what `question` finds before it, or
with what it searches for itself; see `searching`.

Theory of operation. Claude Code turns a search into a request of its own: one server tool,
one user turn with the query. `detect` recognises it, the server sends `mcp_request` through
the control plane, `parse_mcp` reads the answer, and `events` writes what the API would have
streamed: the call, its result, and a text with the snippets, the only part of a result that
reaches the client's model.

Source: captured side requests of Claude Code 2.0.60, 2.1.197 and 2.1.330; Anthropic's web
search tool page; Kiro's `tools/call` answers.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from kiroproxy.errors import (
    GatewayError,
    Overloaded,
    PayloadTooLarge,
    QuotaExhausted,
    RequestError,
    Throttled,
    UpstreamError,
)
from kiroproxy.protocol.domains import permits
from kiroproxy.protocol.mcp import SearchError, SearchResult, SearchResults, mcp_request, parse_mcp
from kiroproxy.protocol.searching import QUERY_CHARS, WebSearch, is_search, result_block, terms
from kiroproxy.protocol.tokens import count_text

__all__ = [
    "SearchError",
    "SearchResult",
    "SearchResults",
    "WebSearch",
    "detect",
    "events",
    "failure_of",
    "filtered",
    "mcp_request",
    "parse_mcp",
]

_PREFIX = "Perform a web search for the query:"
_LONGEST_QUESTION = 1_000  # characters; what is longer is a text to work on, not one to search for


def detect(body: dict[str, Any]) -> WebSearch | None:
    """Return the search a request consists of, or None when it is any other request.

    Such a request has the search for its only tool and says what to look for in so many words;
    anybody else who offers nothing but a search has a question for the model.
    """
    query = _query(body.get("messages")) if _is_alone(body) else None
    return None if query is None else terms(body["tools"][0], query)


def question(body: dict[str, Any]) -> str:
    """Return what to search for before the model is asked; "" = the model decides.

    That is the one question of a request that offers a search and nothing else: its client
    counts on a search, as the reference gateway always makes one, and the model still answers.
    """
    messages = body.get("messages")
    if not _is_alone(body) or not isinstance(messages, list) or len(messages) != 1:
        return ""
    text = " ".join(" ".join(_last_user_texts(messages)).split())
    blocks = messages[0].get("content") if isinstance(messages[0], dict) else None
    is_plain = isinstance(blocks, str) or all(block.get("type") == "text" for block in blocks or ())
    return _cut(text) if is_plain and len(text) <= _LONGEST_QUESTION else ""


def _is_alone(body: dict[str, Any]) -> bool:
    """Whether a search is all that is offered, and may be made."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not isinstance(tools, list) or len(tools) != 1 or not is_search(tools[0]):
        return False
    return not (isinstance(choice, dict) and choice.get("type") == "none")


def failure_of(error: GatewayError) -> SearchError:
    """Return the failure to report for a search that could not even be sent."""
    if isinstance(error, (Throttled, QuotaExhausted, Overloaded)):
        return SearchError("too_many_requests", error.detail)
    if isinstance(error, PayloadTooLarge):
        return SearchError("request_too_large", error.detail)
    if isinstance(error, RequestError) or (
        isinstance(error, UpstreamError) and error.kind == "invalid_request_error"
    ):
        return SearchError("invalid_tool_input", error.detail)
    return SearchError("unavailable", error.detail)


def filtered(search: WebSearch, found: SearchResults) -> SearchResults:
    """Return only the pages the client's domain lists let through.

    Kiro's tool takes a query and nothing else, so the lists are applied here.
    """
    test = permits(search.allowed_domains, search.blocked_domains)
    return SearchResults(tuple(page for page in found.pages if test(page.url)))


def events(
    search: WebSearch,
    found: SearchResults | SearchError,
    message_id: str,
    model: str,
    input_tokens: int,
) -> bytes:
    """Return the whole answer as server-sent events, domain lists applied."""
    if isinstance(found, SearchResults):
        found = filtered(search, found)
    parts = list(_summary(search.query, found))
    usage = {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
    message: dict[str, object] = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage | {"output_tokens": 1},
    }
    final = usage | {
        "output_tokens": max(1, count_text(search.query + "".join(parts), model)),
        # A search that failed is not a search performed.
        "server_tool_use": {"web_search_requests": int(isinstance(found, SearchResults))},
    }
    call_id = "srvtoolu_" + message_id.removeprefix("msg_")
    return b"".join(
        (
            _event("message_start", message=message),
            *call_events(call_id, search.query),
            *result_events(call_id, found),
            *_text(parts),
            _event(
                "message_delta",
                delta={"stop_reason": "end_turn", "stop_sequence": None},
                usage=final,
            ),
            _event("message_stop"),
        )
    )


# -- the query ---------------------------------------------------------------------------


def _query(messages: object) -> str | None:
    """Return what the last user turn asks to search, short enough for Kiro; None: it does not."""
    marked = [text for text in _last_user_texts(messages) if text.startswith(_PREFIX)]
    return _cut(" ".join(marked[-1].removeprefix(_PREFIX).split())) if marked else None


def _last_user_texts(messages: object) -> list[str]:
    for message in reversed(messages if isinstance(messages, list) else []):
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            return [content.strip()]
        blocks = content if isinstance(content, list) else []
        return [
            block["text"].strip()
            for block in blocks
            if isinstance(block, dict)
            and block.get("type") == "text"
            and isinstance(block.get("text"), str)
        ]
    return []


def _cut(text: str) -> str:
    """Shorten to the limit, at a word's end where the text has any."""
    if len(text) <= QUERY_CHARS:
        return text
    head, space, _ = text[: QUERY_CHARS + 1].rpartition(" ")
    # A script without spaces, or one very long word: no boundary worth half the query.
    return head if space and len(head) > QUERY_CHARS // 2 else text[:QUERY_CHARS]


# -- events ------------------------------------------------------------------------------


def _event(kind: str, **members: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind} | members))


def call_events(call_id: str, query: str) -> Iterator[bytes]:
    """Yield the events of an answer's first block, the call."""
    block = {"type": "server_tool_use", "id": call_id, "name": "web_search", "input": {}}
    yield _event("content_block_start", index=0, content_block=block)
    # Claude Code reads the input from deltas only.
    delta = {"type": "input_json_delta", "partial_json": orjson.dumps({"query": query}).decode()}
    yield _event("content_block_delta", index=0, delta=delta)
    yield _event("content_block_stop", index=0)


def result_events(call_id: str, found: SearchResults | SearchError) -> Iterator[bytes]:
    """Yield the events of the second, its result."""
    block = result_block(call_id, found)
    yield _event("content_block_start", index=1, content_block=block)
    yield _event("content_block_stop", index=1)


def _text(parts: list[str]) -> Iterator[bytes]:
    yield _event("content_block_start", index=2, content_block={"type": "text", "text": ""})
    for part in parts:
        yield _event("content_block_delta", index=2, delta={"type": "text_delta", "text": part})
    yield _event("content_block_stop", index=2)


def _summary(query: str, found: SearchResults | SearchError) -> Iterator[str]:
    """Yield the text of the answer, one piece a page."""
    if isinstance(found, SearchError):
        yield f'The web search for "{query}" failed: {found.code}.'
        return
    if not found.pages:
        yield f'The web search for "{query}" found no pages.'
        return
    yield f'Web search results for "{query}":'
    for number, page in enumerate(found.pages, 1):
        age = f" ({page.page_age})" if page.page_age else ""
        yield f"\n\n{number}. {page.title}{age}\n{page.url}"
        if page.snippet:
            yield f"\n{page.snippet}"
