"""Web search as a tool of a conversation: what the model is offered, and what its calls mean.

Rules of this file: only Anthropic's typed server tool is ours; a client's own function that
happens to be called web_search stays the client's.

Theory of operation. The model is shown an ordinary tool of Kiro's. What it asks for is searched
here, told to the client as a server tool's call and result, and told to the model as a tool
result, by translating the conversation again with the answer so far at its end: the same blocks
come back from the client on later turns, so the model reads the same words then.

Source: Anthropic's web search tool page; the schema of Kiro's own tool of that name.
"""

import re
from dataclasses import dataclass
from typing import Any

import orjson

from kiroproxy.protocol.mcp import SearchError, SearchResults

NAME = "web_search"
# The limit of Kiro's own tool schema; one more answers JSON-RPC -32602.
QUERY_CHARS = 200
_TYPE = re.compile(r"web_search_\d{8}")
_PLACE = ("city", "region", "country", "timezone")


@dataclass(frozen=True, slots=True)
class WebSearch:
    """What one request wants searched, and how. Domains are as the client wrote them."""

    query: str = ""
    max_uses: int | None = None
    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()

    @property
    def refusal(self) -> SearchError | None:
        """Why Kiro need not be asked at all."""
        if not self.query:
            return SearchError("invalid_tool_input", "no text to search for")
        if self.max_uses is not None and self.max_uses < 1:
            return SearchError("max_uses_exceeded")
        if len(self.query) > QUERY_CHARS:
            return SearchError("query_too_long", f"{len(self.query)} characters")
        return None


def is_search(tool: Any) -> bool:
    """Whether a definition is Anthropic's web search, of any date."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and _TYPE.fullmatch(kind) is not None


def terms(tool: dict[str, Any], query: str = "") -> WebSearch:
    """Read the limits a client set for its searches."""
    uses = tool.get("max_uses")
    return WebSearch(
        query=query,
        max_uses=uses if isinstance(uses, int) and not isinstance(uses, bool) else None,
        allowed_domains=_strings(tool.get("allowed_domains")),
        blocked_domains=_strings(tool.get("blocked_domains")),
    )


def specification(tool: dict[str, Any]) -> dict[str, Any]:
    """Complete the definition with a name and what a model must be told to use it."""
    wanted = terms(tool)
    lines = [
        "Searches the web and returns pages: title, address, date and an extract of each. "
        "Use it for what is recent or may have changed, and name the pages you rely on."
    ]
    if wanted.allowed_domains:
        lines.append("Only pages of these sites are returned: " + ", ".join(wanted.allowed_domains))
    if wanted.blocked_domains:
        lines.append("Pages of these sites are left out: " + ", ".join(wanted.blocked_domains))
    place = tool.get("user_location")
    if isinstance(place, dict):
        named = [place[key] for key in _PLACE if isinstance(place.get(key), str)]
        lines.append("The user is in " + ", ".join(named) if named else "")
    query = {
        "type": "string",
        "description": f"A few words to search for, {QUERY_CHARS} characters at most.",
        "maxLength": QUERY_CHARS,
    }
    schema = {"type": "object", "properties": {"query": query}, "required": ["query"]}
    description = "\n".join(line for line in lines if line)
    return {**tool, "name": NAME, "description": description, "input_schema": schema}


def query_in(arguments: bytes) -> str:
    """Return what a call asks for, "" where it does not say; `arguments` is a JSON object."""
    query = orjson.loads(arguments).get("query")
    return " ".join(query.split()) if isinstance(query, str) else ""


def result_block(call_id: str, found: SearchResults | SearchError) -> dict[str, Any]:
    """Return the block that tells a search's outcome to the client."""
    content: object
    if isinstance(found, SearchError):
        content = {"type": "web_search_tool_result_error", "error_code": found.code}
    else:
        content = [
            {
                "type": "web_search_result",
                "url": page.url,
                "title": page.title,
                # Not encrypted: Kiro gives words, and they are what must come back to the model.
                "encrypted_content": page.snippet,
                "page_age": page.page_age or None,
            }
            for page in found.pages
        ]
    return {"type": "web_search_tool_result", "tool_use_id": call_id, "content": content}


def continued(
    body: dict[str, Any], blocks: list[dict[str, Any]], max_tokens: int
) -> dict[str, Any]:
    """Return the request that lets the model go on behind what it has said and found so far."""
    longer = {
        **body,
        "messages": [*body["messages"], {"role": "assistant", "content": blocks}],
        "max_tokens": max_tokens,
    }
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and (
        choice.get("type") == "any" or (choice.get("type"), choice.get("name")) == ("tool", NAME)
    ):
        del longer["tool_choice"]  # a call was demanded, and was made
    return longer


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(item.strip() for item in value if isinstance(item, str) and item.strip())
