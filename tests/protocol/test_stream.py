"""One client answer under a plan: its tries and its usage."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kiroproxy.protocol.stream import UNSIGNED_SIGNATURE, Answer
from kiroproxy.protocol.tokens import estimate_output
from kiroproxy.simulator import frames

Reader = Callable[[bytes], Any]


@dataclass(frozen=True)
class Plan:
    requested_model: str = "claude-sonnet-4.5"
    split_tags: bool = False
    drop_thinking: bool = False
    tool_names: dict[str, str] = field(default_factory=dict)
    input_tokens: int = 1234
    context_window: int = 200_000


TEXT = "All the words of this answer"


def answered(*events: tuple[str, dict[str, Any]], **plan: Any) -> Answer:
    """An answer of one text, then the given events."""
    answer = Answer(Plan(**plan), "msg_1")
    answer.feed(frames.event("assistantResponseEvent", {"content": TEXT}))
    answer.feed(b"".join(frames.event(name, payload) for name, payload in events))
    answer.end()
    return answer


def reported(**counts: object) -> tuple[str, dict[str, Any]]:
    return ("metadataEvent", {"stopReason": "END_TURN", "tokenUsage": counts})


def percentage(value: object) -> tuple[str, dict[str, Any]]:
    return ("contextUsageEvent", {"contextUsagePercentage": value})


def test_what_kiro_counted_goes_first() -> None:
    counts = {"uncachedInputTokens": 70, "outputTokens": 9, "totalTokens": 1000}
    cached = {"cacheReadInputTokens": 900, "cacheWriteInputTokens": 21}
    answer = answered(percentage(50), reported(**counts, **cached))
    assert answer.usage() == {
        "input_tokens": 70,
        "cache_creation_input_tokens": 21,
        "cache_read_input_tokens": 900,
        "output_tokens": 9,
    }
    assert answer.usage_source == "metadata"


def test_a_total_without_its_parts_is_split() -> None:
    usage = answered(reported(totalTokens=1000, outputTokens=100, cacheReadInputTokens=600)).usage()
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (300, 600)


def test_the_percentage_covers_prompt_and_answer() -> None:
    answer = answered(percentage(1.5), ("metadataEvent", {"stopReason": "END_TURN"}))
    output = estimate_output(len(TEXT), 0, "claude-sonnet-4.5")
    assert answer.usage()["input_tokens"] == 3000 - output
    assert answer.usage()["output_tokens"] == output
    assert answer.usage_source == "percentage"


@pytest.mark.parametrize("value", [0, 0.0001, None, "2.5", True])
def test_a_percentage_that_says_nothing_leaves_the_estimate(value: object) -> None:
    answer = answered(percentage(value))
    assert answer.usage()["input_tokens"] == 1234
    assert answer.usage_source == "estimate"


@pytest.mark.parametrize("counts", [{}, {"outputTokens": "9"}, {"uncachedInputTokens": -1}])
def test_counts_that_are_none_are_not_used(counts: dict[str, object]) -> None:
    answer = answered(reported(**counts), percentage(1.5))
    answer.usage()
    assert answer.usage_source == "percentage"


def test_usage_is_there_before_any_answer() -> None:
    assert Answer(Plan(), "msg_1").usage() == {
        "input_tokens": 1234,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
    }


def test_a_whole_answer_reads_well(read_stream: Reader) -> None:
    answer = Answer(Plan(), "msg_1")
    out = answer.start() + answer.ping()
    out += answer.feed(frames.event("assistantResponseEvent", {"content": TEXT}))
    out += answer.feed(frames.event(*reported(uncachedInputTokens=5, outputTokens=6)))
    out += answer.end() + answer.finish()
    message = read_stream(out).message
    assert message["model"] == "claude-sonnet-4.5"
    assert message["usage"]["input_tokens"] == 5 and message["usage"]["output_tokens"] == 6


def test_a_restarted_answer_goes_on_where_the_client_is(read_stream: Reader) -> None:
    first = Answer(Plan(split_tags=True, tool_names={"s": "long"}), "msg_1")
    out = first.start()
    out += first.feed(frames.exception("ThrottlingException", {}))
    assert first.failure is not None and not first.has_content
    second = first.restart()
    assert second.message_id == "msg_1" and second.failure is None
    tagged = {"content": "<thinking>a</thinking>\n\nb"}
    out += second.feed(frames.event("assistantResponseEvent", tagged))
    call = {"toolUseId": "t", "name": "s", "stop": True}
    out += second.feed(frames.event("toolUseEvent", call) + frames.event("meteringEvent", {}))
    out += second.end() + second.finish()
    thinking, text, tool = read_stream(out).content
    assert thinking == {"type": "thinking", "thinking": "a", "signature": UNSIGNED_SIGNATURE}
    assert text["text"] == "b" and tool["name"] == "long"


def test_start_may_tell_a_better_count(read_stream: Reader) -> None:
    answer = Answer(Plan(), "msg_1")
    out = answer.start(77) + answer.abort("api_error", "m", "req_1")
    assert read_stream(out).message["usage"]["input_tokens"] == 77


def test_finish_refuses_to_invent_an_end() -> None:
    answer = Answer(Plan(), "msg_1")
    answer.end()
    assert answer.failure is not None and answer.failure.kind == "empty"
    with pytest.raises(RuntimeError):
        answer.finish()


def test_what_it_cost_is_passed_on() -> None:
    answer = answered(
        ("meteringEvent", {"usage": 0.25}),
        ("meteringEvent", {"usage": 0.5}),
        ("metadataEvent", {"requestId": "r-1"}),
    )
    assert answer.credits == 0.75
    assert answer.upstream_request_id == "r-1"
