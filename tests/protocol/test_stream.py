"""One client answer under a plan: its tries and its usage."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from kiroproxy._answer import Answer
from kiroproxy.protocol.stream import UNSIGNED_SIGNATURE
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
    stop_sequences: tuple[str, ...] = ()
    max_tokens: int = 1024
    max_calls: int | None = None
    written_calls: None = None
    search_tool: str = ""


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


# -- the client's limits -------------------------------------------------------------------


def limited(*texts: str, **plan: Any) -> tuple[Answer, bytes]:
    """An answer of these texts as its owner reads it: up to where it is ended."""
    answer = Answer(Plan(**plan), "msg_1")
    out = answer.start()
    for text in texts:
        out += answer.feed(frames.event("assistantResponseEvent", {"content": text}))
        if answer.finished_early:
            break
    return answer, out + answer.end() + answer.finish()


def test_a_stop_sequence_ends_the_answer_and_its_usage_is_estimated(read_stream: Reader) -> None:
    answer, out = limited("one S", "TOP two", "three", stop_sequences=("STOP",))
    message = read_stream(out).message
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "STOP")
    assert message["content"] == [{"type": "text", "text": "one "}]
    assert answer.usage_source == "estimate" and message["usage"]["output_tokens"] == 1


def test_a_restarted_answer_has_the_same_limits() -> None:
    answer = Answer(Plan(stop_sequences=("STOP",)), "msg_1").restart()
    answer.feed(frames.event("assistantResponseEvent", {"content": "a STOP"}))
    assert answer.finished_early


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-8", "auto"])
@pytest.mark.parametrize("max_tokens", [513, 1000, 32_000])  # shorter ones are measured in words
@pytest.mark.parametrize("letter", ["a", "你"])
def test_a_long_answer_is_cut_only_when_it_is_clearly_too_long(
    model: str, max_tokens: int, letter: str, read_stream: Reader
) -> None:
    plan = {"requested_model": model, "max_tokens": max_tokens}
    ascii_per_token = 100_000 / estimate_output(100_000, 0, model)
    per_token = ascii_per_token if letter == "a" else 1
    whole = read_stream(limited(letter * int(1.9 * max_tokens * per_token + 1), **plan)[1])
    assert len(whole.text()) > 1.8 * max_tokens * per_token
    page = letter * int((2 * max_tokens + 9) * per_token + 1)
    answer, out = limited(page, "never", **plan)
    assert answer.stop_reason == "max_tokens" and answer.finished_early
    assert page.startswith(read_stream(out).text()) and read_stream(out).text() != page


def test_no_tokens_at_all_are_a_warm_up(read_stream: Reader) -> None:
    message = read_stream(limited("Hello", max_tokens=0)[1]).message
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
    assert message["usage"]["output_tokens"] == 0


def test_any_number_of_tokens_can_be_asked_for() -> None:
    assert limited("Hello", max_tokens=10**400)[0].stop_reason == "max_tokens"  # no tail came
    assert not limited("Hello", max_tokens=10**400)[0].finished_early


@pytest.mark.parametrize("model", ["claude-sonnet-4.5", "claude-opus-5-5", "qwen3"])
@pytest.mark.parametrize(("ascii_chars", "other_chars"), [(1, 0), (29, 3), (35, 0), (1003, 77)])
def test_lengths_cost_what_the_estimate_says(
    model: str, ascii_chars: int, other_chars: int
) -> None:
    answer = Answer(Plan(requested_model=model), "msg_1")
    content = "a" * ascii_chars + "é" * other_chars
    answer.feed(frames.event("assistantResponseEvent", {"content": content}))
    expected = max(estimate_output(ascii_chars, other_chars, model), 1)
    assert answer.usage()["output_tokens"] == expected


def test_usage_changes_with_the_answer_and_not_after_its_end() -> None:
    answer = Answer(Plan(), "msg_1")
    answer.feed(frames.event("assistantResponseEvent", {"content": TEXT}))
    before = answer.usage()["output_tokens"]
    answer.feed(frames.event("assistantResponseEvent", {"content": TEXT}))
    answer.feed(frames.event("meteringEvent", {}))
    assert answer.usage()["output_tokens"] > before and not answer.is_counted
    answer.end()
    counted = answer.usage()
    assert answer.is_counted and answer.output_tokens == counted["output_tokens"]
    counted["output_tokens"] = 0  # the caller's own
    assert answer.usage()["output_tokens"] == answer.output_tokens > 0


@pytest.mark.parametrize("count", [1e300, 2**63, 10**19])
def test_a_count_that_nothing_can_cost_is_none(count: float) -> None:
    answer = answered(reported(uncachedInputTokens=count, totalTokens=count, outputTokens=count))
    assert answer.usage()["input_tokens"] == 1234
    assert answer.usage_source == "estimate" and answer.finish()


def test_a_percentage_that_nothing_can_be_leaves_the_estimate() -> None:
    answer = answered(percentage(1e300))
    assert answer.usage()["input_tokens"] == 1234 and answer.usage_source == "estimate"


def test_the_first_events_are_written_as_json_would_be() -> None:
    model = 'claude "x" \\ \b\f\x01 é 😀'
    start, ping = events_of(Answer(Plan(requested_model=model), "msg_1").start(7))
    assert ping == b'event: ping\ndata: {"type": "ping"}'
    usage = {"input_tokens": 7, "cache_creation_input_tokens": 0}
    usage |= {"cache_read_input_tokens": 0, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    assert start == written("message_start", message=message)


@pytest.mark.parametrize("given", [None, {"input_tokens": 1, "web": {"searches": 2}}])
@pytest.mark.parametrize("stop", ['words of "this" \\ \x02é', "never"])
def test_the_last_events_are_written_as_json_would_be(given: Any, stop: str) -> None:
    answer = Answer(Plan(stop_sequences=(stop,)), "msg_1")
    answer.feed(frames.event("assistantResponseEvent", {"content": "a" + stop}))
    answer.feed(frames.event("contextUsageEvent", {"contextUsagePercentage": 2}))
    answer.end()
    delta, end = events_of(answer.finish(given, "refusal" if given else ""))
    told = {"stop_reason": "refusal" if given else "stop_sequence", "stop_sequence": stop}
    assert delta == written("message_delta", delta=told, usage=given or answer.usage())
    assert end == b'event: message_stop\ndata: {"type":"message_stop"}'


def test_a_start_told_late_keeps_what_waits() -> None:
    answer = Answer(Plan(), "msg_1")
    first = answer.feed(frames.event("assistantResponseEvent", {"content": TEXT}))
    assert TEXT.encode() in first and TEXT.encode() not in answer.start()


def test_answers_that_take_turns_do_not_mix() -> None:
    bodies = [[f"{name}\n<b>{turn}" * 50 for turn in range(40)] for name in "xyz"]
    answers = [Answer(Plan(split_tags=True), f"msg_{name}") for name in "xyz"]
    out = [b"", b"", b""]
    for turn in range(40):
        for at, answer in enumerate(answers):
            event = frames.event("assistantResponseEvent", {"content": bodies[at][turn]})
            out[at] += answer.feed(event[:70]) + answer.feed(event[70:])
    for at, answer in enumerate(answers):
        alone = Answer(Plan(split_tags=True), "msg_0")
        whole = [frames.event("assistantResponseEvent", {"content": text}) for text in bodies[at]]
        assert out[at] + answer.end() == b"".join(map(alone.feed, whole)) + alone.end()


def events_of(out: bytes) -> list[bytes]:
    return out.removesuffix(b"\n\n").split(b"\n\n")


def written(name: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b" % (name.encode(), orjson.dumps({"type": name, **members}))
