"""Token counts of whole requests: the API's published answers, and nothing left out."""

import base64
import copy
import json
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiroproxy.protocol.tokens import (
    count_request,
    count_text,
    estimate_output,
    output_measure,
)

# A loaded machine is not a failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
CAPTURES = Path(__file__).parent.parent / "data" / "captures"
# The published answers were measured before Claude 4.7 changed the vocabulary.
MODEL = "claude-sonnet-4-20250514"
WEATHER = {
    "name": "get_weather",
    "description": "Get the current weather in a given location",
    "input_schema": {
        "type": "object",
        "properties": {
            "location": {
                "type": "string",
                "description": "The city and state, e.g. San Francisco, CA",
            }
        },
        "required": ["location"],
    },
}
PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 1280, 720) + bytes(9)
).decode()
PDF = base64.b64encode(b"%PDF-1.4 <</Type /Pages>> <</Type /Page>>").decode()


def request(*contents: Any, model: str = MODEL, **more: Any) -> dict[str, Any]:
    """A body whose turns alternate, the first being the user's."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": part} for n, part in enumerate(contents)]
    return {"model": model, "messages": messages} | more


def added(block: Any, **more: Any) -> int:
    """What one block adds to an otherwise equal request."""
    text = {"type": "text", "text": "go"}
    return count_request(request([text, block], **more)) - count_request(request([text], **more))


def capture(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((CAPTURES / f"{name}.json").read_text())["body"]
    return body


# -- published answers -------------------------------------------------------------------


PUBLISHED = json.loads((CAPTURES.parent / "published_counts.json").read_text())


@pytest.mark.parametrize("example", PUBLISHED, ids=[example["name"] for example in PUBLISHED])
def test_a_published_request_has_about_the_published_count(example: dict[str, Any]) -> None:
    counted = count_request(example["body"])
    assert counted == pytest.approx(example["tokens"], abs=example["within"])


def test_largest_image_costs_what_the_published_one_did() -> None:
    # The published picture (1,551 tokens) is larger than the limit, so its shape decides.
    image = {"type": "image", "source": {"type": "base64", "data": png(3072, 2048)}}
    body = request([image, {"type": "text", "text": "Describe this image"}])
    assert count_request(body) == pytest.approx(1551, rel=0.02)


def png(width: int, height: int) -> str:
    raw = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(9)
    return base64.b64encode(raw).decode()


# -- everything counts -------------------------------------------------------------------

LONG = "Nobody expected the work to take four years, and nobody was surprised. " * 20
NESTED = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": LONG}]}
BLOCKS: dict[str, Any] = {
    "text": {"type": "text", "text": LONG},
    "thinking": {"type": "thinking", "thinking": LONG, "signature": ""},
    "redacted thinking": {"type": "redacted_thinking", "data": "QUJD" * 400},
    "tool input": {"type": "tool_use", "id": "t", "name": "Write", "input": {"content": LONG}},
    "server tool input": {
        "type": "server_tool_use",
        "id": "s",
        "name": "web_search",
        "input": {"query": LONG},
    },
    "tool result as string": {"type": "tool_result", "tool_use_id": "t", "content": LONG},
    "tool result as blocks": NESTED,
    "text document": {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": LONG},
    },
    "document of content": {
        "type": "document",
        "title": "A bridge",
        "source": {"type": "content", "content": [{"type": "text", "text": LONG}]},
    },
    "document as string": {"type": "document", "source": {"type": "content", "content": LONG}},
    "search result": {
        "type": "search_result",
        "source": "https://bridge.example",
        "title": "A bridge",
        "content": [{"type": "text", "text": LONG}],
    },
    "web search result": {
        "type": "web_search_tool_result",
        "tool_use_id": "s",
        "content": [{"type": "web_search_result", "encrypted_content": LONG}],
    },
    "unknown block": {"type": "something_new", "member": {"text": LONG}},
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_content_of_every_block_counts(block: Any) -> None:
    least = 200 if block["type"] == "redacted_thinking" else count_text(LONG, MODEL)
    assert least <= added(block) <= least * 1.4 + 40


def test_signature_costs_nothing() -> None:
    signed = {"type": "thinking", "thinking": "Well.", "signature": "x" * 5000}
    assert added(signed) == added(signed | {"signature": ""})


def test_image_counts_by_its_size_wherever_it_stands() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": PNG}}
    in_result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    in_document = {"type": "document", "source": {"type": "content", "content": [image]}}
    assert added(image) == 1196
    assert added(in_document) == 1196
    assert 1196 < added(in_result) < 1220


def test_image_without_a_readable_size_counts_as_a_large_one() -> None:
    assert added({"type": "image", "source": {"type": "url", "url": "https://a.example"}}) == 1600
    assert added({"type": "image", "source": {"type": "base64", "data": "@@"}}) == 1600


def test_newer_models_see_larger_images() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": png(1920, 1080)}}
    assert added(image, model="claude-haiku-4-5-20251001") == 1560
    assert added(image, model="claude-opus-5-5") == 2691


def test_pages_of_a_pdf_count_each() -> None:
    two = base64.b64encode(b"%PDF-1.4 <</Type /Page>> <</Type /Page>>").decode()
    document = {"type": "document", "source": {"type": "base64", "data": PDF}}
    longer = {"type": "document", "source": {"type": "base64", "data": two}}
    assert added(longer) == 2 * added(document)


def test_system_counts_as_string_and_as_blocks_but_not_its_billing_entry() -> None:
    plain = count_request(request("go", system=LONG))
    blocks = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.461;"},
        {"type": "text", "text": LONG},
    ]
    assert plain == pytest.approx(count_request(request("go")) + count_text(LONG, MODEL), abs=1)
    assert count_request(request("go", system=blocks)) == plain


def test_every_further_turn_has_a_cost_of_its_own() -> None:
    one_turn = request([{"type": "text", "text": text} for text in ("yes", "no", "yes")])
    assert count_request(request("yes", "no", "yes")) == count_request(one_turn) + 2 * 4


def test_system_role_messages_count() -> None:
    body = request("go")
    body["messages"].append({"role": "system", "content": LONG})
    assert count_request(body) > count_text(LONG, MODEL)


def test_first_tool_brings_the_prompt_that_enables_tools() -> None:
    without = count_request(request("go"))
    one = count_request(request("go", tools=[WEATHER]))
    two = count_request(request("go", tools=[WEATHER, WEATHER]))
    assert count_request(request("go", tools=[])) == without
    assert one - without == pytest.approx(two - one + 313, abs=1)


def test_forced_tool_choice_has_a_prompt_of_its_own() -> None:
    body = request("go", model="claude-opus-4-8", tools=[WEATHER])
    forced = body | {"tool_choice": {"type": "any"}}
    assert count_request(forced) - count_request(body) == 410 - 290


def test_deferred_tool_counts_only_once_it_is_referenced() -> None:
    tools = [WEATHER, WEATHER | {"name": "later", "description": LONG, "defer_loading": True}]
    reference = {"type": "tool_reference", "tool_name": "later"}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [reference]}
    addition = {"type": "tool_addition", "tool": reference | {"name": "later"}}
    hidden = count_request(request("go", tools=tools))
    assert hidden < count_text(LONG, MODEL) + 320
    assert count_request(request([result], tools=tools)) > hidden + count_text(LONG, MODEL)
    assert count_request(request([addition], tools=tools)) > hidden + count_text(LONG, MODEL)


def test_tools_the_server_defines_cost_what_is_published() -> None:
    bash = {"type": "bash_20250124", "name": "bash"}
    editor = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}
    both = count_request(request("go", tools=[bash, editor]))
    assert both - count_request(request("go", tools=[bash])) == 700


def test_wanted_output_schema_counts() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string", "description": LONG}}}
    wanted = {"type": "json_schema", "schema": schema}
    assert count_request(request("go", output_config={"format": wanted})) > 250
    assert count_request(request("go", output_format=wanted)) > 250


# -- models ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "dense"),
    [
        ("claude-3-5-sonnet-20241022", False),
        ("claude-sonnet-4-20250514", False),
        ("claude-sonnet-4.5", False),
        ("claude-haiku-4-5-20251001", False),
        ("us.anthropic.claude-opus-4-6-v1:0", False),
        ("deepseek-3.2", False),
        ("qwen3-coder-480b", False),
        ("claude-opus-4-7", True),
        ("claude-opus-4.8[1m]", True),
        ("claude-sonnet-5", True),
        ("claude-opus-5-5-thinking", True),
        ("opus", True),
        ("auto", True),
        ("", True),
    ],
)
def test_model_name_picks_the_vocabulary(model: str, dense: bool) -> None:
    assert (count_text(LONG, model) > count_text(LONG, "claude-sonnet-4-5")) is dense


# -- real requests -----------------------------------------------------------------------


def test_smallest_context_probe_is_small() -> None:
    assert 8 <= count_request(capture("claude-code-34-count-tokens-messages")) <= 10


def test_tool_probe_counts_its_thirty_kilobytes_of_definitions() -> None:
    body = capture("claude-code-35-count-tokens-tools")
    characters = len(json.dumps(body["tools"]))
    assert characters / 5 < count_request(body) < characters / 2.5


def test_every_captured_request_has_a_plausible_count_and_stays_unchanged() -> None:
    for path in sorted(CAPTURES.glob("*.json")):
        recorded = json.loads(path.read_text())
        body = recorded.get("body") if isinstance(recorded, dict) else None
        if not isinstance(body, dict) or "messages" not in body:
            continue  # a GET, or the table of error reactions
        before = copy.deepcopy(body)
        assert 8 <= count_request(body) < len(json.dumps(body)) + 600, path.name
        assert body == before, path.name


# -- what may not happen -----------------------------------------------------------------


def test_nesting_deeper_than_any_stack_is_counted() -> None:
    content: Any = [{"type": "text", "text": LONG}]
    schema: Any = {"type": "string", "description": LONG}
    for _ in range(50_000):
        content = [{"type": "tool_result", "tool_use_id": "t", "content": content}]
        schema = {"items": schema}
    tool = {"name": "deep", "input_schema": schema}
    assert count_request(request(content, tools=[tool])) > 2 * count_text(LONG, MODEL)
    flatten(content)
    flatten(schema)


def flatten(value: Any) -> None:
    """Take a deep value apart from outside: freeing it in one go needs the stack."""
    while value:
        if isinstance(value, list):
            value = value.pop()
        elif isinstance(value, dict):
            value = next((value.pop(key) for key in ("content", "items") if key in value), None)
        else:
            return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "source", "data", "input", "name", "tools"])
            | st.text(max_size=4),
            inner
            | st.sampled_from(
                ["text", "image", "document", "base64", "tool_result", "tool_use", "thinking"]
            ),
            max_size=5,
        )
    ),
    max_leaves=20,
)


@unhurried
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("model", "system", "messages", "tools", "tool_choice", "thinking", "output_config"),
            JSON,
        ),
    )
)
def test_no_json_is_an_error(body: dict[str, Any]) -> None:
    assert count_request(body) >= 7


def test_twenty_requests_at_once_get_the_same_answers() -> None:
    bodies = [request(LONG * n, tools=[WEATHER]) for n in range(1, 21)]
    expected = [count_request(body) for body in bodies]
    answers: list[int] = [0] * 20
    together = threading.Barrier(20)

    def run(number: int) -> None:
        together.wait()
        answers[number] = count_request(bodies[number])

    threads = [threading.Thread(target=run, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == expected


# -- output ------------------------------------------------------------------------------


ANSWER = (
    "The lookup fails because the key is normalised twice. I will change `load` and add a test:\n"
    "```python\n"
    "def load(path: Path) -> dict[str, str]:\n"
    "    return {key.lower(): value for key, value in read_pairs(path)}\n"
    "```\n"
    '{"file_path": "/src/store.py", "old_string": "normal(key)", "new_string": "key.lower()"}\n'
)
CHINESE_ANSWER = "委员会决定在冬天之前修好这座桥" * 20


@pytest.mark.parametrize("model", [MODEL, ""], ids=["before 4.7", "newest"])
def test_output_estimate_is_near_the_count_of_the_text(model: str) -> None:
    ascii_only = estimate_output(len(ANSWER), 0, model)
    chinese = estimate_output(0, len(CHINESE_ANSWER), model)
    assert ascii_only == pytest.approx(count_text(ANSWER, model), rel=0.2)
    assert chinese == pytest.approx(count_text(CHINESE_ANSWER, model), rel=0.2)
    assert estimate_output(0, 0, model) == 0


# -- attachments -------------------------------------------------------------------------------


def test_a_document_of_text_counts_as_its_text_and_not_as_pages():
    words = "The quick brown fox jumps over the lazy dog. " * 400
    data = base64.b64encode(words.encode()).decode()
    source = {"type": "base64", "media_type": "text/plain", "data": data}
    written = added({"type": "text", "text": words})
    assert added({"type": "document", "source": source}) == written


def test_an_image_in_a_data_url_counts_like_the_same_in_base64():
    plain = {"type": "base64", "media_type": "image/png", "data": PNG}
    url = {"type": "url", "url": f"data:image/png;base64,{PNG}"}
    assert added({"type": "image", "source": url}) == added({"type": "image", "source": plain})


# -- short limits ------------------------------------------------------------------------------

SHORT_TEXTS = (
    "positive", "Yes, that is correct.", "The quick brown fox jumps over the lazy dog. " * 60,
    "你好，世界。" * 80, "Сегодня хорошая погода, и мы идём гулять. " * 40,
    'for i in range(10):\n    print(f"{i}: {a[i]!r}")\n' * 40, '{"a": [1, 2.5, null]}, ' * 60,
    "👋🎉" * 200,
)  # fmt: skip


@pytest.mark.parametrize("limit", [1, 5, 20, 100, 512])
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-5-5"])
def test_a_short_limit_cuts_what_is_longer_and_nothing_else(limit: int, model: str) -> None:
    measure = output_measure(limit, model)
    assert measure is not None
    for text in SHORT_TEXTS:
        fits, more = measure(text.encode())
        shown = text.encode()[:fits].decode()
        if count_text(text, model) <= limit:
            assert shown == text and more >= 0
        assert count_text(shown, model) <= limit * 1.15 + 3
        if shown != text:
            assert count_text(shown, model) >= limit


@pytest.mark.parametrize("limit", [1, 40])
def test_what_may_surely_follow_never_hides_the_end(limit: int) -> None:
    measure = output_measure(limit, "claude-opus-5-5")
    assert measure is not None
    for text in SHORT_TEXTS:
        at, data = 0, text.encode()
        while at < len(data):
            fits, more = measure(data[:at].decode("utf-8", "ignore").encode())
            assert fits >= len(data[:at].decode("utf-8", "ignore").encode()) or at >= fits
            if more == 0:
                break
            at += more
        assert count_text(data[:at].decode("utf-8", "ignore"), "claude-opus-5-5") <= (
            limit * 1.15 + 4
        )


def test_longer_limits_and_none_are_not_measured() -> None:
    assert output_measure(0) is output_measure(513) is None
