"""Thinking: what each model is asked for, by its own schema."""

import pytest

from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.reasoning import clamp

HELLO = {"role": "user", "content": "hello"}
TAGS = "<thinking_mode>enabled</thinking_mode><max_thinking_length>{}</max_thinking_length>"


def fields(translate, model, **body):
    return translate(HELLO, model=model, **body).fields


@pytest.mark.parametrize(
    ("thinking", "effort", "sent"),
    [
        (None, None, None),
        (None, "high", {"output_config": {"effort": "high"}}),
        ({"type": "adaptive"}, None, {"thinking": {"type": "adaptive"}}),
        ({"type": "adaptive", "display": "omitted"}, "max",
         {"thinking": {"type": "adaptive", "display": "omitted"},
          "output_config": {"effort": "max"}}),
        ({"type": "adaptive", "display": "updates"}, None,
         {"thinking": {"type": "adaptive", "display": "summarized"}}),
        ({"type": "adaptive", "display": "new"}, None, {"thinking": {"type": "adaptive"}}),
        ({"type": "disabled"}, "high", {"thinking": {"type": "disabled"}}),
        ({"type": "enabled", "budget_tokens": 8000}, None,
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ({"type": "enabled", "budget_tokens": 16_000}, None,
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}),
        ({"type": "enabled", "budget_tokens": 28_000}, None,
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ({"type": "enabled", "budget_tokens": 127_999}, None,
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
        ({"type": "enabled", "budget_tokens": 127_999}, "low",
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ({"type": "between_tools"}, None, {"thinking": {"type": "adaptive"}}),
        ({"type": "disabled"}, None, {"thinking": {"type": "disabled"}}),
    ],
)  # fmt: skip
def test_a_native_model_gets_what_its_schema_lists(translate, thinking, effort, sent):
    config = {"effort": effort} if effort else None
    found = fields(translate, "claude-opus-4-8", thinking=thinking, output_config=config)
    assert found == sent


def test_an_effort_the_model_lacks_becomes_the_next_lower_one(translate):
    sent = fields(translate, "claude-opus-4-6", output_config={"effort": "xhigh"})
    assert sent == {"output_config": {"effort": "high"}}


def test_clamping_never_leaves_what_is_offered():
    assert clamp("none", ("low", "high")) == "low"
    assert clamp("max", ("low", "high")) == "high"
    assert clamp("medium", ()) == clamp("", ("low",)) == ""


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-sonnet-5-5"])
def test_a_model_that_always_thinks_is_asked_to_think_little_when_disabled(translate, model):
    wire = translate(HELLO, model=model, thinking={"type": "disabled"})
    assert wire.fields == {
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "low"},
    }
    assert wire.plan.drop_thinking


def test_thinking_between_tools_goes_to_the_model_that_knows_it_without_an_effort(translate):
    sent = fields(
        translate,
        "claude-sonnet-5-5",
        thinking={"type": "between_tools"},
        output_config={"effort": "high"},
    )
    assert sent == {"thinking": {"type": "between_tools"}}


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, {"reasoning": {"effort": "none"}}),
        ({"output_config": {"effort": "xhigh"}}, {"reasoning": {"effort": "xhigh"}}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9000}},
            {"reasoning": {"effort": "low"}},
        ),
    ],
)
def test_gpt_takes_an_effort_of_its_own_field(translate, body, sent):
    assert fields(translate, "gpt-5.6-sol", **body) == sent


@pytest.mark.parametrize(
    ("body", "length"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 8000}}, 8000),
        ({"thinking": {"type": "enabled", "budget_tokens": 60_000}}, 60_000),
        ({"thinking": {"type": "enabled", "budget_tokens": 127_999}}, 64_000),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, 1024),
        ({"thinking": {"type": "enabled"}}, 20_000),
        ({"thinking": {"type": "adaptive"}}, 20_000),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, 32_000),
    ],
)
def test_a_model_without_native_thinking_is_asked_before_the_system_prompt(translate, body, length):
    wire = translate(HELLO, model="claude-haiku-4-5", system="Sys.", **body)
    assert wire.current["content"] == f"{TAGS.format(length)}\n\nSys.\n\nhello"
    assert wire.plan.split_tags
    assert wire.fields is None


@pytest.mark.parametrize("thinking", [None, {"type": "disabled"}, {}])
def test_nobody_asks_for_tags_means_no_tags(translate, thinking):
    wire = translate(HELLO, model="claude-sonnet-4-5", thinking=thinking)
    assert wire.current["content"] == "hello"
    assert not wire.plan.split_tags


def test_other_vendors_models_get_neither_tags_nor_fields(translate):
    wire = translate(HELLO, model="deepseek-3.2", thinking={"type": "adaptive"})
    assert wire.current["content"] == "hello"
    assert wire.fields is None


def test_disabled_thinking_is_dropped_from_the_answer(translate):
    for model in ("claude-opus-4-8", "claude-haiku-4-5", "gpt-5.6-sol"):
        assert translate(HELLO, model=model, thinking={"type": "disabled"}).plan.drop_thinking
        assert not translate(HELLO, model=model).plan.drop_thinking


def test_the_thinking_suffix_turns_thinking_on(translate):
    assert fields(translate, "claude-opus-4-8-thinking") == {"thinking": {"type": "adaptive"}}
    assert translate(HELLO, model="claude-haiku-4-5-thinking").plan.split_tags


def test_what_the_body_says_of_thinking_counts_more_than_the_suffix(translate):
    wire = translate(HELLO, model="claude-haiku-4-5-thinking", thinking={"type": "disabled"})
    assert not wire.plan.split_tags


def test_a_system_turn_after_the_last_answer_sets_the_effort(translate):
    low = {"role": "system", "content": "note", "output_config": {"effort": "low"}}
    config = {"effort": "max"}
    wire = translate(HELLO, low, model="claude-opus-4-8", output_config=config)
    assert wire.fields == {"output_config": {"effort": "low"}}
    answered = translate(
        HELLO,
        low,
        {"role": "assistant", "content": "ok"},
        HELLO,
        model="claude-opus-4-8",
        output_config=config,
    )
    assert answered.fields == {"output_config": {"effort": "max"}}


@pytest.mark.parametrize("odd", [5, "enabled", [], {"type": 5}, {"type": "enabled",
                                                               "budget_tokens": "x"}])  # fmt: skip
def test_nonsense_is_no_error(translate, odd):
    translate(HELLO, model="claude-opus-4-8", thinking=odd, output_config=odd)


def test_every_model_of_the_snapshot_accepts_every_wish(translate):
    wishes = [{"type": kind} for kind in ("enabled", "adaptive", "disabled", "between_tools")]
    for entry in Catalogue.BUILT_IN.entries():
        if entry["id"] == "minimax-m2.1":
            continue  # not among the simulated service's models
        for thinking in (None, *wishes):
            for effort in ("low", "xhigh", "max"):
                translate(
                    HELLO, model=entry["id"], thinking=thinking, output_config={"effort": effort}
                )
