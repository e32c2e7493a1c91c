"""Web search: what is taken over, what is asked, and what every answer becomes."""

import json
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.sse import parse

from kiroproxy.errors import (
    ConnectFailed,
    InternalError,
    Overloaded,
    PayloadTooLarge,
    PromptTooLong,
    QuotaExhausted,
    RequestError,
    Throttled,
)
from kiroproxy.protocol.response import Fold
from kiroproxy.protocol.websearch import (
    SearchError,
    SearchResult,
    SearchResults,
    WebSearch,
    detect,
    events,
    failure_of,
    filtered,
    mcp_request,
    parse_mcp,
)

# A loaded machine is not a failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
CAPTURES = Path(__file__).parent.parent / "data" / "captures"
ASK = "Perform a web search for the query: "
TOOL = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
PAGE = SearchResult(
    url="https://docs.example.com/release",
    title='FakeLang 2 "Owl"',
    snippet="FakeLang 2 was released.\nIt compiles.",
    page_age="November 14, 2023",
)


def body(*messages: Any, tool: Any = TOOL, **more: Any) -> dict[str, Any]:
    turns = [m if isinstance(m, dict) else {"role": "user", "content": ASK + m} for m in messages]
    return {"model": "claude-opus-5-5", "messages": turns, "tools": [tool]} | more


def query_of(*messages: Any) -> str:
    search = detect(body(*messages))
    assert search is not None
    return search.query


def capture(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CAPTURES / f"{name}.json").read_text())["body"]
    return found


# -- which requests ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["claude-code-11-websearch-side-call", "claude-code-61-v197-websearch-side-call"]
)
def test_captured_side_requests_are_searches(name: str) -> None:
    assert detect(capture(name)) == WebSearch(query="FakeLang release", max_uses=8)


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": {"type": "tool", "name": "web_search"}},
        {"tool_choice": {"type": "auto"}},
        {},
    ],
    ids=["forced", "auto", "absent"],
)
def test_every_generation_of_tool_choice_is_a_search(more: dict[str, Any]) -> None:
    assert detect(body("owls", **more)) is not None


@pytest.mark.parametrize("date", ["20250305", "20260209", "20260318", "20991231"])
def test_every_dated_type_is_a_search(date: str) -> None:
    assert detect(body("owls", tool={"type": f"web_search_{date}"})) is not None


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "web_search", "input_schema": {"type": "object"}},
        {"type": "custom", "name": "web_search", "input_schema": {"type": "object"}},
        {"type": "web_search", "name": "web_search"},
        {"type": "web_search_20250305x", "name": "web_search"},
        {"type": "web_fetch_20250910", "name": "web_fetch"},
        {"type": 20250305, "name": "web_search"},
        "web_search_20250305",
        None,
    ],
)
def test_a_tool_of_any_other_type_is_left_to_the_client(tool: Any) -> None:
    assert detect(body("owls", tool=tool)) is None


@pytest.mark.parametrize("tools", [None, [], [TOOL, {"name": "Read"}], {"0": TOOL}])
def test_a_request_with_other_tools_is_not_a_search(tools: Any) -> None:
    assert detect(body("owls") | {"tools": tools}) is None


def test_main_request_of_claude_code_with_its_own_web_search_is_not_a_search() -> None:
    assert detect(capture("claude-code-10-websearch-main")) is None


def test_tool_choice_none_is_not_a_search() -> None:
    assert detect(body("owls", tool_choice={"type": "none"})) is None


def test_limits_and_domain_lists_are_read() -> None:
    tool = TOOL | {"allowed_domains": ["a.example", 5, " b.example "], "max_uses": 3}
    search = detect(body("owls", tool=tool))
    assert search == WebSearch("owls", 3, ("a.example", "b.example"))
    blocked = detect(body("owls", tool=TOOL | {"blocked_domains": ["c.example"], "max_uses": "2"}))
    assert blocked == WebSearch("owls", None, (), ("c.example",))


# -- the query ---------------------------------------------------------------------------


def test_query_is_that_of_the_last_user_turn() -> None:
    turns = ("old", {"role": "assistant", "content": "answer"}, "new")
    assert query_of(*turns) == "new"
    assert query_of(*turns, {"role": "assistant", "content": "I will"}) == "new"


def test_prefix_and_surrounding_blanks_are_taken_off() -> None:
    turn = {"role": "user", "content": " Perform a web search for the query: barn \n owls "}
    assert query_of(turn) == "barn owls"


def test_block_with_the_prefix_wins_over_reminders_beside_it() -> None:
    blocks = [
        {"type": "text", "text": "<system-reminder>Today is Monday.</system-reminder>"},
        {"type": "text", "text": "Perform a web search for the query: owls"},
        {"type": "text", "text": "Be brief."},
    ]
    assert query_of({"role": "user", "content": blocks}) == "owls"


@pytest.mark.parametrize(
    "content",
    ["What is new about owls?", [{"type": "text", "text": "owls"}], "", [], None],
    ids=["a question", "blocks", "empty", "no blocks", "nothing"],
)
def test_a_question_is_the_models_even_if_it_may_only_search(content: Any) -> None:
    assert detect(body("old", {"role": "user", "content": content})) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200),
        ("word " * 60, ("word " * 40).strip()),
        ("a" * 195 + " owls", "a" * 195 + " owls"),
        ("a" * 196 + " owls", "a" * 196),
        ("short " + "y" * 300, "short " + "y" * 194),
        ("鸟" * 300, "鸟" * 200),
    ],
)
def test_long_query_is_cut_at_a_word_below_kiros_limit(text: str, expected: str) -> None:
    assert query_of(text) == expected


@unhurried
@given(st.text(max_size=500))
def test_no_query_is_longer_than_kiro_takes(text: str) -> None:
    assert len(query_of(text)) <= 200


@pytest.mark.parametrize("messages", [None, [], ["x"], [{"role": "user"}], [{"role": "system"}]])
def test_a_request_without_user_text_is_not_a_search(messages: Any) -> None:
    assert detect(body("x") | {"messages": messages}) is None


def test_a_search_for_nothing_is_refused_without_asking_kiro() -> None:
    search = detect(body(""))
    assert search is not None
    assert search.refusal is not None
    assert search.refusal.code == "invalid_tool_input"


def test_search_with_no_uses_left_is_refused() -> None:
    assert WebSearch("owls", max_uses=0).refusal == SearchError("max_uses_exceeded")
    assert WebSearch("owls", max_uses=1).refusal is None
    assert WebSearch("owls").refusal is None


# -- Kiro's side -------------------------------------------------------------------------


def test_call_has_the_form_kiro_itself_sends() -> None:
    texts = iter(["first", "second"])
    call = mcp_request("barn owls", lambda: next(texts), now_ms=1763800000000)
    identity = call.pop("id")
    assert call == {
        "jsonrpc": "2.0",
        "method": "tools/call",
        "params": {"name": "web_search", "arguments": {"query": "barn owls"}},
    }
    prefix, long, time, short = identity.rsplit("_", 3)
    assert (prefix, time) == ("web_search_tooluse", "1763800000000")
    assert (len(long), len(short)) == (22, 8)
    assert (long + short).isalnum()
    assert not long.startswith(short)


def answer(inner: Any, **result: Any) -> dict[str, Any]:
    text = inner if isinstance(inner, str) else json.dumps(inner)
    content = [{"type": "text", "text": text}]
    return {"id": "1", "jsonrpc": "2.0", "result": {"content": content, "isError": False} | result}


def test_results_keep_order_title_snippet_and_date() -> None:
    results = [
        {
            "title": 'FakeLang 2 "Owl"',
            "url": "https://docs.example.com/release",
            "snippet": "FakeLang 2 was released.\nIt compiles.",
            "publishedDate": 1700000000000,
            "id": "1",
            "domain": "docs.example.com",
            "maxVerbatimWordLimit": 30,
            "publicDomain": False,
        },
        {"url": "http://bare.example", "title": None, "snippet": None, "publishedDate": None},
    ]
    found = parse_mcp(answer({"results": results, "totalResults": 2, "error": None}))
    bare = SearchResult("http://bare.example", "http://bare.example")
    assert found == SearchResults((PAGE, bare))


def test_only_an_explicit_empty_list_is_an_empty_result() -> None:
    assert parse_mcp(answer({"results": []})) == SearchResults(())


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        {"result": None},
        {"result": {}},
        {"result": {"content": []}},
        {"result": {"content": [{"type": "text"}]}},
        answer(""),
        answer("not json"),
        answer("[]"),
        answer("{}"),
        answer({"results": None}),
        answer({"results": "none"}),
        answer({"results": [{"title": "no url"}, 7]}),
        answer({"results": [{"url": "javascript:alert(1)"}]}),
        answer({"results": [], "error": "index is down"}),
        answer({"results": []}, isError=True),
        answer("[" * 5000),
        {"error": {"code": -32603, "message": "internal"}},
        {"error": "text"},
        {"error": {}},
    ],
)
def test_anything_unclear_is_a_failure_and_never_an_empty_result(broken: Any) -> None:
    found = parse_mcp(broken)
    assert isinstance(found, SearchError)
    assert found.code == "unavailable"


@pytest.mark.parametrize(
    ("code", "expected"), [(-32602, "query_too_long"), (429, "too_many_requests")]
)
def test_known_rpc_errors_have_codes_of_their_own(code: int, expected: str) -> None:
    found = parse_mcp({"error": {"code": code, "message": "upstream words"}})
    assert isinstance(found, SearchError)
    assert found.code == expected
    assert "upstream words" in found.detail


@pytest.mark.parametrize(
    ("published", "words"),
    [
        (1700000000000, "November 14, 2023"),
        (1700000000000.5, "November 14, 2023"),
        ("2 weeks ago", "2 weeks ago"),
        (0, ""),
        (-5, ""),
        (1e300, ""),
        (10**30, ""),
        (True, ""),
        ([], ""),
    ],
)
def test_dates_become_words_or_nothing(published: Any, words: str) -> None:
    found = parse_mcp(answer({"results": [{"url": "https://a.b", "publishedDate": published}]}))
    assert isinstance(found, SearchResults)
    assert found.pages[0].page_age == words


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Throttled("x"), "too_many_requests"),
        (Overloaded("x"), "too_many_requests"),
        (QuotaExhausted("x"), "too_many_requests"),
        (PayloadTooLarge("x"), "request_too_large"),
        (RequestError("x"), "invalid_tool_input"),
        (PromptTooLong("x"), "invalid_tool_input"),
        (ConnectFailed("x"), "unavailable"),
        (InternalError("x"), "unavailable"),
    ],
)
def test_every_failure_on_the_way_has_a_code(error: Any, code: str) -> None:
    assert failure_of(error).code == code


# -- domain lists ------------------------------------------------------------------------

URLS = {
    "root": "https://example.com",
    "page": "https://example.com/blog/post-1?x=1#y",
    "sub": "http://Docs.Example.com:8443/blog",
    "lookalike": "https://notexample.com/blog",
    "suffix": "https://example.com.evil.example/blog",
    "user": "https://example.com@evil.example/blog",
    "blogger": "https://example.com/blogger",
    "broken": "http://[::1/blog",
}


def shown(**lists: tuple[str, ...]) -> set[str]:
    pages = SearchResults(tuple(SearchResult(url, name) for name, url in URLS.items()))
    return {page.title for page in filtered(WebSearch("q", **lists), pages).pages}


EXAMPLE = {"root", "page", "sub", "blogger"}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("example.com", EXAMPLE),
        ("Example.COM", EXAMPLE),
        ("https://example.com", EXAMPLE),
        ("*.example.com", EXAMPLE),
        ("example.com/", EXAMPLE),
        ("docs.example.com", {"sub"}),
        ("example.com/blog", {"page", "sub"}),
        ("example.com/blog/", {"page"}),
        ("example.com/blog*", {"page", "sub", "blogger"}),
        ("example.com/*/post", set()),
        ("example.com/*/post*", {"page"}),
        ("com", set(URLS) - {"suffix", "user", "broken"}),
    ],
)
def test_allowed_entry_lets_only_its_pages_through(entry: str, expected: set[str]) -> None:
    assert shown(allowed_domains=(entry,)) == expected
    assert shown(blocked_domains=(entry,)) == set(URLS) - expected


def test_no_list_lets_everything_through_and_both_lists_apply() -> None:
    assert shown() == set(URLS)
    both = {"allowed_domains": ("example.com",), "blocked_domains": ("example.com/blog",)}
    assert shown(**both) == {"root", "blogger"}


@unhurried
@given(st.text(max_size=30), st.text(max_size=30))
def test_no_entry_and_no_url_break_the_filter(entry: str, url: str) -> None:
    search = WebSearch("q", None, (entry,), (entry,))
    filtered(search, SearchResults((SearchResult("https://" + url, "t"),)))


# -- the answer --------------------------------------------------------------------------


def stream(found: SearchResults | SearchError, search: WebSearch | None = None) -> bytes:
    return events(search or WebSearch("barn owls"), found, "msg_01", "claude-opus-5-5", 321)


def test_events_follow_the_grammar_of_the_api() -> None:
    kinds = [
        event["type"] + str(event.get("index", "")) for event in parse(stream(SearchResults(())))
    ]
    assert kinds == [
        "message_start",
        "content_block_start0",
        "content_block_delta0",
        "content_block_stop0",
        "content_block_start1",
        "content_block_stop1",
        "content_block_start2",
        "content_block_delta2",
        "content_block_stop2",
        "message_delta",
        "message_stop",
    ]


def through_the_sdk(raw: bytes) -> anthropic.types.Message:
    """Let Anthropic's own client fold the stream."""
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=raw))
    with (
        httpx2.Client(transport=transport) as http,
        anthropic.Anthropic(api_key="k", base_url="http://kp.test", http_client=http) as client,
        client.messages.stream(
            model="claude-opus-5-5", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        ) as answer_stream,
    ):
        return answer_stream.get_final_message()


def test_official_client_reads_call_result_text_and_usage() -> None:
    message = through_the_sdk(stream(SearchResults((PAGE,))))
    call, result, text = message.content
    assert call.type == "server_tool_use"
    assert (call.name, call.input) == ("web_search", {"query": "barn owls"})
    assert call.id.startswith("srvtoolu_")
    assert result.type == "web_search_tool_result"
    assert result.tool_use_id == call.id
    assert isinstance(result.content, list)
    assert result.content[0].model_dump(exclude_none=True) == {
        "type": "web_search_result",
        "url": PAGE.url,
        "title": PAGE.title,
        "encrypted_content": PAGE.snippet,
        "page_age": PAGE.page_age,
    }
    assert text.type == "text"
    assert all(part in text.text for part in (PAGE.url, PAGE.title, PAGE.snippet, "barn owls"))
    assert message.stop_reason == "end_turn"
    assert message.id == "msg_01"
    assert message.usage.input_tokens == 321
    assert message.usage.output_tokens > 20
    assert message.usage.server_tool_use is not None
    assert message.usage.server_tool_use.web_search_requests == 1


def test_official_client_reads_a_failure_as_a_failure() -> None:
    message = through_the_sdk(stream(SearchError("unavailable", "arn:aws:secret")))
    result = message.content[1]
    assert result.type == "web_search_tool_result"
    assert not isinstance(result.content, list)
    assert result.content.error_code == "unavailable"
    assert message.usage.server_tool_use is not None
    assert message.usage.server_tool_use.web_search_requests == 0


def test_answer_without_streaming_is_the_same_message() -> None:
    raw = stream(SearchResults((PAGE,)))
    fold = Fold()
    fold.feed(raw)
    folded = json.loads(orjson.dumps(fold.message()))
    streamed = through_the_sdk(raw).to_dict()
    for member in ("id", "model", "role", "content", "stop_reason"):
        assert folded[member] == streamed[member], member


def test_upstream_words_of_a_failure_do_not_reach_the_client() -> None:
    assert b"arn:aws:secret" not in stream(SearchError("unavailable", "arn:aws:secret"))


def test_domain_lists_apply_to_the_answer() -> None:
    raw = stream(SearchResults((PAGE,)), WebSearch("q", blocked_domains=("example.com",)))
    assert b"docs.example.com" not in raw
    assert parse(raw)[4]["content_block"]["content"] == []


def test_every_page_is_in_the_text_in_order() -> None:
    pages = tuple(SearchResult(f"https://a.example/{n}", f"t{n}", f"s{n}") for n in range(12))
    text = through_the_sdk(stream(SearchResults(pages))).content[2]
    assert text.type == "text"
    places = [text.text.index(f"https://a.example/{n}\ns{n}") for n in range(12)]
    assert places == sorted(places)


@unhurried
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_of_a_page_breaks_the_stream(title: str, snippet: str) -> None:
    raw = stream(SearchResults((SearchResult("https://a.example", title, snippet),)))
    result = parse(raw)[4]["content_block"]["content"][0]
    assert (result["title"], result["encrypted_content"]) == (title, snippet)
