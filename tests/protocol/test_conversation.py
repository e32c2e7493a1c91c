"""Conversation ids: stable for a session, for a turn, and across its tool rounds."""

import uuid

import pytest

from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.request import convert

SESSION = "3f0e8d9a-0000-4000-8000-000000000001"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


def ask(words):
    return {"role": "user", "content": words}


def answer(words):
    return {"role": "assistant", "content": words}


def call(call_id):
    return answer([{"type": "tool_use", "id": call_id, "name": "Bash", "input": {}}])


def result(call_id):
    return ask([{"type": "tool_result", "tool_use_id": call_id, "content": "ok"}])


@pytest.mark.parametrize(
    "user_id",
    [
        f'{{"device_id":"0","account_uuid":"","session_id":"{SESSION}"}}',
        f"user_{'0' * 64}_account__session_{SESSION}",
        f"user_{'0' * 64}_account_{uuid.UUID(int=5)}_session_{SESSION}",
    ],
)
def test_claude_codes_session_is_the_conversation(translate, user_id):
    wire = translate(ask("hi"), metadata={"user_id": user_id}, session_id="other")
    assert wire.state["conversationId"] == wire.plan.conversation_id == SESSION


def test_the_session_header_names_the_conversation_when_metadata_does_not(translate):
    wire = translate(ask("hi"), metadata={"user_id": "alice"}, session_id=SESSION)
    assert wire.plan.conversation_id == SESSION


def test_a_session_that_is_no_uuid_becomes_one(translate):
    first, again = (translate(ask(words), session_id="tab-7") for words in ("hi", "yo"))
    assert first.plan.conversation_id == again.plan.conversation_id
    assert str(uuid.UUID(first.plan.conversation_id)) == first.plan.conversation_id


def test_without_a_session_the_beginning_names_the_conversation(translate):
    first = translate(ask("hi"), system="S")
    later = translate(ask("hi"), answer("yo"), ask("more"), system="S")
    others = [
        translate(ask("hello"), system="S"),
        translate(ask("hi"), system="T"),
        translate(ask("hi"), system="S", metadata={"user_id": "alice"}),
    ]
    assert first.plan.conversation_id == later.plan.conversation_id
    assert first.plan.conversation_id not in {wire.plan.conversation_id for wire in others}


def test_a_conversation_without_a_beginning_gets_the_callers_id():
    plan = convert(
        {"model": "sonnet", "max_tokens": 1, "messages": [answer("hi")]},
        catalogue=Catalogue.BUILT_IN,
        ids=lambda: SESSION,
    )
    assert plan.conversation_id == SESSION


@pytest.mark.parametrize("user_id", ["", "{", "{}", '{"session_id":5}', None, 5, "user_x_session_"])
def test_odd_user_ids_are_no_error(translate, user_id):
    translate(ask("hi"), metadata={"user_id": user_id})


def test_the_continuation_is_constant_through_a_turns_tool_rounds_and_new_with_the_next(translate):
    rounds = [
        [ask("go")],
        [ask("go"), call("t1"), result("t1")],
        [ask("go"), call("t1"), result("t1"), call("t2"), result("t2")],
    ]
    following = [*rounds[-1], answer("done"), ask("again")]
    ids = [translate(*turn, session_id=SESSION).state["agentContinuationId"] for turn in rounds]
    assert len(set(ids)) == 1
    assert translate(*following, session_id=SESSION).state["agentContinuationId"] != ids[0]


def test_system_turns_do_not_change_the_continuation(translate):
    note = {"role": "system", "content": "note"}
    plain, noted = translate(ask("hi")), translate(ask("hi"), note)
    assert plain.state["agentContinuationId"] == noted.state["agentContinuationId"]
