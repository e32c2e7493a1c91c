"""The short way to a plan: the plan that `convert` makes, or none."""

import itertools
import uuid
from typing import Any

import pytest

from kiroproxy._plain import random_bytes, uuid_of
from kiroproxy.errors import NotFound
from kiroproxy.protocol import simple
from kiroproxy.protocol.conversation import _SPACE, named
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.recollection import mark
from kiroproxy.protocol.request import Plan, convert

SAID = {"role": "user", "content": "Hello!"}
BODY = {"model": "claude-sonnet-4-5", "max_tokens": 1024, "stream": True, "messages": [SAID]}
SESSION = "3b241101-e2bb-4255-8caf-4136c566a962"

MODELS = ["claude-sonnet-4-5", "claude-opus-4-8", "gpt-5.6-sol", "auto", "deepseek-3.2"]
CONTENTS = [
    "Hello!",
    "  ",
    'a "quoted" \\ line\n\u2028 and 👋 %b',
    [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"x": 1}}],
]
SYSTEMS = [
    *(None, "", "Be brief.", "a\n\nb"),
    [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
]
METADATA = [
    *(None, {}, {"user_id": f"user_a_session_{SESSION}"}, {"user_id": "somebody"}),
    {"user_id": f'{{"session_id": "{SESSION}"}}'},
]


def both(body: dict[str, Any], session_id: str = "") -> tuple[Plan | None, Plan]:
    """Return the plans of the short way and of the long one."""
    catalogue = Catalogue.BUILT_IN
    short = simple.plan(body, catalogue, lambda: "an-id", session_id)
    return short, convert(body, catalogue=catalogue, ids=lambda: "an-id", session_id=session_id)


def test_a_simple_request_has_the_plan_that_convert_makes() -> None:
    for model, content, system, metadata in itertools.product(MODELS, CONTENTS, SYSTEMS, METADATA):
        body = BODY | {"model": model, "messages": [{"role": "user", "content": content}]}
        body |= {"system": system, "metadata": metadata, "temperature": 0.5, "top_k": 3}
        short, full = both({name: value for name, value in body.items() if value is not None})
        assert short == full, body
        assert short is not None
        assert short.body("arn") == full.body("arn")


def test_the_clients_session_names_the_conversation_here_too() -> None:
    short, full = both(BODY, session_id=SESSION)
    assert short == full
    assert short is not None
    assert short.conversation_id == SESSION


@pytest.mark.parametrize("stream", [False, None])
def test_a_request_without_streaming_can_be_simple(stream: bool | None) -> None:
    body = {name: value for name, value in BODY.items() if name != "stream"}
    short, full = both(body if stream is None else body | {"stream": stream})
    assert short == full


@pytest.mark.parametrize(
    "change",
    [
        {"tools": []},
        {"tool_choice": {"type": "auto"}},
        {"thinking": {"type": "disabled"}},
        {"stop_sequences": ["x"]},
        {"output_config": {"effort": "low"}},
        {"anything": 1},
        {"max_tokens": 10.0},
        {"max_tokens": True},
        {"model": "claude-sonnet-4-5-thinking"},
        {"messages": [SAID, {"role": "assistant", "content": "Hi"}]},
        {"messages": [{"role": "system", "content": "Hello!"}]},
        {"messages": [SAID | {"name": "x"}]},
        {"messages": [{"role": "user", "content": ""}, SAID]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "y": 1}]}]},
        {"messages": [{"role": "user", "content": [{"type": "search_result"}]}]},
        {"system": "x-anthropic-billing-header: x\nBe brief."},
        {"system": [{"type": "text", "text": "x-anthropic-billing-header: x"}]},
        {"messages": [{"role": "user", "content": "word " * 400_000}]},
    ],
)
def test_anything_more_is_left_to_convert(change: dict[str, Any]) -> None:
    assert simple.plan(BODY | change, Catalogue.BUILT_IN, lambda: "an-id", "") is None


def test_a_cut_call_of_the_conversation_changes_nothing_without_a_history() -> None:
    cut = {mark([SAID]): "Read", mark([SAID, SAID]): "Write"}
    full = convert(
        BODY, catalogue=Catalogue.BUILT_IN, ids=lambda: "an-id", cut_calls=lambda id: cut
    )
    assert both(BODY)[0] == full


def test_a_uuid_is_written_as_the_library_writes_it() -> None:
    digest = bytes(range(240, 256)) + b"more"
    assert uuid_of(digest, 5) == str(uuid.UUID(bytes=digest[:16], version=5))
    assert named("a name") == str(uuid.uuid5(_SPACE, "a name"))
    with pytest.raises(ValueError, match="sixteen"):
        uuid_of(b"short", 4)


def test_random_bytes_are_never_given_twice() -> None:
    drawn = [random_bytes(12) for _ in range(2000)]
    assert {len(each) for each in drawn} == {12}
    assert len(set(drawn)) == len(drawn)
    with pytest.raises(ValueError, match="5000"):
        random_bytes(5000)


def test_an_unknown_model_is_said_to_be_unknown() -> None:
    with pytest.raises(NotFound, match="model: claude-owl-7"):
        simple.plan(BODY | {"model": "claude-owl-7"}, Catalogue.BUILT_IN, lambda: "an-id", "")
