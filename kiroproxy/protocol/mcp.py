"""Kiro's MCP web_search tool: the JSON-RPC call and what its answer means.

Rules of this file: whatever is not clearly a list of results is a failure. An outage that
reads "nothing found" would make a model state falsehoods; only an explicit empty list does.

Source: Kiro's `tools/call` answers: a JSON text inside the result's content, `isError`
beside it, and -32602 for a query over the limit.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

# The only parameter is the query and its only rule the length: 200 characters.
_INVALID_PARAMS = -32602


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page found. `page_age` is a date in words, empty when unknown."""

    url: str
    title: str
    snippet: str = ""
    page_age: str = ""


@dataclass(frozen=True, slots=True)
class SearchResults:
    """A search that worked, in Kiro's order; possibly without a single page."""

    pages: tuple[SearchResult, ...]


@dataclass(frozen=True, slots=True)
class SearchError:
    """A search that did not work.

    Shape: `code` is one of Anthropic's web_search_tool_result_error codes; `detail` is
    upstream's wording, for the log only.
    """

    code: str
    detail: str = ""


def mcp_request(query: str, ids: Callable[[], str], now_ms: int) -> dict[str, Any]:
    """Return the JSON-RPC call for a query; `ids` gives a fresh random text at each call."""
    long, short = (hashlib.sha256(ids().encode()).hexdigest() for _ in range(2))
    return {
        "id": f"web_search_tooluse_{long[:22]}_{now_ms}_{short[:8]}",
        "jsonrpc": "2.0",
        "method": "tools/call",
        "params": {"name": "web_search", "arguments": {"query": query}},
    }


def parse_mcp(answer: object) -> SearchResults | SearchError:
    """Read Kiro's JSON-RPC answer; whatever is not clearly a result is a failure."""
    if not isinstance(answer, dict):
        return SearchError("unavailable", "the answer is not an object")
    fault = answer.get("error")
    if fault is not None:
        return _rpc_error(fault)
    result = answer.get("result")
    if not isinstance(result, dict):
        return SearchError("unavailable", "the answer holds no result")
    text = _first_text(result.get("content"))
    if result.get("isError"):
        return SearchError("unavailable", text or "the tool reported an error")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return SearchError("unavailable", f"the result is not JSON: {text[:200]}")
    if not isinstance(found, dict) or found.get("error") or "results" not in found:
        return SearchError("unavailable", f"the result holds no list: {text[:200]}")
    return _pages(found["results"])


def _rpc_error(fault: object) -> SearchError:
    code = fault.get("code") if isinstance(fault, dict) else None
    message = fault.get("message") if isinstance(fault, dict) else None
    detail = f"{code}: {message}"[:500]
    if code == _INVALID_PARAMS:
        return SearchError("query_too_long", detail)
    if code == 429:
        return SearchError("too_many_requests", detail)
    return SearchError("unavailable", detail)


def _first_text(content: object) -> str:
    for item in content if isinstance(content, list) else []:
        if isinstance(item, dict) and isinstance(item.get("text"), str):
            text: str = item["text"]
            return text
    return ""


def _pages(results: object) -> SearchResults | SearchError:
    if not isinstance(results, list):
        return SearchError("unavailable", "results is not a list")
    pages = tuple(page for page in map(_page, results) if page is not None)
    if results and not pages:
        return SearchError("unavailable", "no result holds a URL")
    return SearchResults(pages)


def _page(result: object) -> SearchResult | None:
    if not isinstance(result, dict):
        return None
    url, title, snippet = (result.get(key) for key in ("url", "title", "snippet"))
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return None
    return SearchResult(
        url=url,
        title=title if isinstance(title, str) and title else url,
        snippet=snippet if isinstance(snippet, str) else "",
        page_age=_date(result.get("publishedDate")),
    )


def _date(published: object) -> str:
    """Return a date as the API words it. Units: ms since epoch, or already words."""
    if isinstance(published, str):
        return published
    if isinstance(published, bool) or not isinstance(published, (int, float)) or published <= 0:
        return ""
    try:
        day = datetime.fromtimestamp(published / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return ""
    return f"{day:%B} {day.day}, {day.year}"
