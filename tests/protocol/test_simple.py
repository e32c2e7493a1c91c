"""The short way to a plan: the plan that `convert` makes, or none."""

import itertools
import random
import uuid
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import partial
from typing import Any

import orjson
import pytest

from kiroproxy._plain import OWN, Mould, is_uuid, random_bytes, uuid_of
from kiroproxy.errors import GatewayError, NotFound
from kiroproxy.protocol import simple
from kiroproxy.protocol.conversation import _SPACE, named
from kiroproxy.protocol.corrections import Corrections
from kiroproxy.protocol.models import Catalogue, Resolved
from kiroproxy.protocol.recollection import mark
from kiroproxy.protocol.request import Plan, convert, parse_body

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


PIECES = (
    *(
        "word ",
        "CamelCase",
        "3.14",
        "\n",
        "\t",
        '"',
        "\\",
        "\x1f",
        "é",
        "字",
        "👋",
        "\u2028",
        "%b",
        "{}",
    ),
    *("a" * 40, " " * 70, "/", "x-anthropic-billing-header:", "<thinking>", "_session_"),
)


def body_of(chosen: random.Random) -> dict[str, Any]:
    """Make a body that is nearly always simple."""

    def text() -> str:
        return "".join(chosen.choices(PIECES, k=chosen.choice((0, 1, 1, 2, 5, 40))))

    def block() -> dict[str, Any]:
        cached = {"cache_control": {"type": "ephemeral"}} if chosen.random() < 0.3 else {}
        return {"type": chosen.choice(["text"] * 30 + ["thought"]), "text": text(), **cached}

    def texts() -> object:
        return chosen.choice(
            (text, lambda: [block() for _ in range(chosen.choice((0, 1, 1, 3)))])
        )()

    spellings = (*MODELS, "Claude-Sonnet-4.5", "claude-opus-4-8-thinking", "opus", "claude-owl-7")
    odd: dict[str, Any] = {
        "system": texts(),
        "metadata": chosen.choice([*METADATA, {"user_id": f"x_session_{text()}"}, {"user_id": 7}]),
        "stream": chosen.choice((True, False, None, "yes")),
        "max_tokens": chosen.choice((0, 7, 1024, -1, True, 2**63)),
        "temperature": chosen.choice((0, 0.7)),
        "tools": [],
    }
    body = {"model": chosen.choice(spellings), "max_tokens": 9}
    body["messages"] = [{"role": chosen.choice(["user"] * 9 + ["assistant"]), "content": texts()}]
    return body | {name: value for name, value in odd.items() if chosen.random() < 0.3}


def outcome(make: Callable[[], Plan | None]) -> Plan | str | None:
    try:
        return make()
    except GatewayError as error:
        return error.message


def test_whatever_a_body_holds_its_short_way_ends_where_the_long_one_does() -> None:
    chosen = random.Random(20)
    catalogues = (Catalogue.BUILT_IN, Catalogue(Catalogue.BUILT_IN.models[4:], {"opus": "auto"}))
    simple_ones = 0
    for _ in range(6000):
        body = parse_body(orjson.dumps(body_of(chosen)))
        shared = {
            "catalogue": chosen.choice(catalogues),
            "ids": lambda: "an-id",
            "session_id": chosen.choice(("", "", SESSION, SESSION.upper(), "a session")),
            "correct": Corrections().correct,
        }
        short = outcome(partial(simple.plan, body, **shared))
        if short is not None:
            assert short == outcome(partial(convert, body, **shared)), body
            simple_ones += isinstance(short, Plan)
    assert 1000 < simple_ones < 5000


def test_a_model_that_another_catalogue_knows_otherwise_is_resolved_anew() -> None:
    sold = replace(Catalogue.BUILT_IN.resolve("auto").model, context_window=77)
    for catalogue, window in ((Catalogue.BUILT_IN, 200_000), (Catalogue([sold]), 77)) * 2:
        short = simple.plan(BODY | {"model": "auto"}, catalogue, lambda: "an-id", "")
        assert short is not None
        assert short.context_window == window


def test_as_many_spellings_of_a_model_as_anyone_likes_are_understood() -> None:
    for number in range(600):
        name = f"claude-sonnet-4-5-{20250000 + number}"
        short, full = both(BODY | {"model": name})
        assert short == full
        assert short is not None
        assert short.requested_model == name


def test_a_mould_makes_what_the_class_makes() -> None:
    short, full = both(BODY)
    assert short is not None
    assert repr(short) == repr(full)
    assert {name: getattr(short, name) for name in Plan.__slots__} == {
        name: getattr(full, name) for name in Plan.__slots__
    }
    with pytest.raises(FrozenInstanceError):
        short.max_tokens = 1  # type: ignore[misc]


@pytest.mark.parametrize("own", [(), OWN[1:], (*OWN, "more")])
def test_a_mould_that_does_not_fit_its_class_is_refused(own: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match="not the slots of Plan"):
        Mould(Plan, own, simple._ALIKE)
    with pytest.raises(TypeError, match="2 members, 1 values"):
        Mould(Resolved, ("model", "thinking_suffix"), {}).make(1)


def test_a_uuid_is_known_by_how_the_library_writes_it() -> None:
    assert is_uuid(SESSION)
    for other in ("", SESSION.upper(), SESSION[:-1], SESSION + "0", SESSION.replace("-", "0")):
        assert not is_uuid(other)
    assert not is_uuid(SESSION[:-1] + "é")
    assert not is_uuid(SESSION[:-1] + "g")


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
