"""Turns, and every structural cause of "Improperly formed request", one test each."""

import base64

import pytest

from kiroproxy._sse import UNSIGNED_SIGNATURE
from kiroproxy.errors import RequestError

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(30)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(30)).decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
PHOTO = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": JPEG}}
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("Bash", "Read")]


def user(*content):
    return {"role": "user", "content": list(content)}


def assistant(*content):
    return {"role": "assistant", "content": list(content)}


def text(words):
    return {"type": "text", "text": words}


def call(call_id, name="Bash", **arguments):
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def result(call_id, content="done", **more):
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def pdf(title):
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjcK"}
    return {"type": "document", "source": source, "title": title}


# -- order of turns ------------------------------------------------------------------------


def test_two_assistant_messages_in_a_row_become_one_turn(translate):
    wire = translate(
        user("hi"),
        assistant(text("first"), call("t1")),
        assistant(text("second"), call("t2")),
        user(result("t1"), result("t2")),
    )
    assert wire.history[1]["content"] == "first\n\nsecond"
    assert [use["toolUseId"] for use in wire.history[1]["toolUses"]] == ["t1", "t2"]


def test_two_user_messages_in_a_row_become_one_turn_with_results_and_text(translate):
    wire = translate(
        user("hi"), assistant(call("t1")), user("wait"), user(result("t1", "42"), text("go on"))
    )
    assert wire.current["content"] == "wait\ngo on"
    assert wire.results[0]["content"] == [{"text": "42"}]


def test_a_conversation_that_starts_with_the_assistant_gets_a_user_turn_before_it(translate):
    wire = translate(assistant(text("Welcome")), user("hi"), system="Be kind.")
    assert wire.history[0]["content"].startswith("Be kind.")
    assert wire.history[1]["content"] == "Welcome"


def test_a_prefilled_answer_moves_to_history_and_a_user_turn_asks_to_go_on(translate):
    wire = translate(user("JSON please"), assistant(text('{"a":')))
    assert wire.history[1]["content"] == '{"a":'
    assert wire.current["content"].startswith("Continue your last message")


def test_an_unknown_role_is_heard_as_the_user(translate):
    wire = translate({"role": "tool", "content": "output"}, user("so?"))
    assert wire.current["content"] == "output\nso?"


def test_a_system_turn_stays_where_it_stands_and_never_moves_to_the_front(translate):
    wire = translate(
        user("hi"),
        {"role": "system", "content": "Today is Sunday."},
        assistant(text("hello")),
        user("bye"),
        {"role": "system", "content": [text("Be "), text("brief.")]},
        system="Top.",
    )
    assert wire.history[0]["content"] == (
        "Top.\n\nhi\n<system-reminder>\nToday is Sunday.\n</system-reminder>"
    )
    assert wire.current["content"] == "bye\n<system-reminder>\nBe \nbrief.\n</system-reminder>"


def test_a_system_turn_after_a_server_tool_result_opens_a_user_turn(translate):
    wire = translate(
        user("hi"),
        assistant(text("a")),
        {"role": "system", "content": "note"},
        assistant(text("b")),
    )
    assert "note" in wire.history[2]["content"]


def test_a_reminder_is_not_wrapped_twice(translate):
    wrapped = "<system-reminder>\nonce\n</system-reminder>"
    wire = translate(user("hi"), {"role": "system", "content": wrapped})
    assert wire.current["content"] == f"hi\n{wrapped}"


def test_an_empty_system_turn_leaves_nothing(translate):
    assert translate(user("hi"), {"role": "system", "content": []}).current["content"] == "hi"


# -- empty content -------------------------------------------------------------------------


def test_turns_without_content_vanish_and_their_neighbours_merge(translate):
    wire = translate(user("a"), assistant(), {"role": "assistant", "content": ""}, user("b"))
    assert wire.history == []
    assert wire.current["content"] == "a\nb"


def test_a_last_user_message_without_content_is_refused_in_anthropics_words(translate):
    with pytest.raises(RequestError, match=r"messages\.2: all messages must have non-empty"):
        translate(user("a"), assistant(text("b")), user(text("")))


def test_a_conversation_without_any_content_is_refused(translate):
    with pytest.raises(RequestError, match="text content blocks must be non-empty"):
        translate(user(), user(text("")))


def test_an_assistant_turn_of_calls_alone_keeps_empty_content(translate):
    wire = translate(user("a"), assistant(call("t1")), user(result("t1")), tools=TOOLS)
    assert wire.history[1]["content"] == ""
    assert wire.current["content"] == ""


def test_an_empty_result_says_so(translate):
    for empty in ("", None, [], [text("")]):
        wire = translate(user("a"), assistant(call("t1")), user(result("t1", empty)))
        assert wire.results[0]["content"] == [{"text": "(no output)"}]


# -- calls and results -----------------------------------------------------------------------


def test_an_orphan_call_becomes_text_with_its_name_and_input(translate):
    wire = translate(user("a"), assistant(text("b"), call("t1", cmd="ls -l")), user("stop"))
    assert "toolUses" not in wire.history[1]
    assert "Bash" in wire.history[1]["content"]
    assert '{"cmd":"ls -l"}' in wire.history[1]["content"]


def test_an_orphan_result_becomes_text_of_its_turn(translate):
    wire = translate(user(result("t9", "the output"), text("and?")))
    assert wire.results == []
    assert "t9" in wire.current["content"]
    assert wire.current["content"].endswith("the output\nand?")


def test_a_result_two_turns_late_does_not_pair_with_its_call(translate):
    wire = translate(
        user("a"),
        assistant(call("t1", cmd="ls")),
        user("never mind"),
        assistant(text("ok")),
        user(result("t1", "late")),
    )
    assert wire.results == []
    assert "late" in wire.current["content"]
    assert "ls" in wire.history[1]["content"]


def test_a_duplicate_result_becomes_text_and_the_first_one_pairs(translate):
    wire = translate(
        user("a"), assistant(call("t1")), user(result("t1", "one"), result("t1", "two"))
    )
    assert [entry["content"] for entry in wire.results] == [[{"text": "one"}]]
    assert "two" in wire.current["content"]


def test_a_duplicate_call_becomes_text_and_the_first_one_pairs(translate):
    wire = translate(
        user("a"), assistant(call("t1", cmd="x"), call("t1", cmd="y")), user(result("t1"))
    )
    assert [use["input"] for use in wire.history[1]["toolUses"]] == [{"cmd": "x"}]
    assert '"y"' in wire.history[1]["content"]


def test_results_stand_in_the_order_of_their_calls(translate):
    wire = translate(
        user("a"),
        assistant(call("t1"), call("t2"), call("t3")),
        user(result("t3", "c"), result("t1", "a"), result("t2", "b")),
    )
    assert [entry["content"][0]["text"] for entry in wire.results] == ["a", "b", "c"]


def test_an_id_reused_in_a_later_turn_pairs_with_its_own_turn(translate):
    wire = translate(
        user("a"),
        assistant(call("t1")),
        user(result("t1", "old")),
        assistant(call("t1")),
        user(result("t1", "new")),
    )
    assert (
        wire.history[2]["userInputMessageContext"]["toolResults"][0]["content"][0]["text"] == "old"
    )
    assert wire.results[0]["content"][0]["text"] == "new"


def test_is_error_becomes_the_status(translate):
    wire = translate(
        user("a"),
        assistant(call("t1"), call("t2")),
        user(result("t1", is_error=True), result("t2", is_error=False)),
    )
    assert [entry["status"] for entry in wire.results] == ["error", "success"]


@pytest.mark.parametrize("foreign", ["functions.read:4", "x" * 90, "", "a b", "ünïcode", "call_1"])
def test_a_foreign_tool_use_id_is_normalised_alike_on_both_sides(translate, foreign):
    wire = translate(user("a"), assistant(call(foreign)), user(result(foreign, "matched")))
    assert wire.results[0]["content"] == [{"text": "matched"}]
    again = translate(user("a"), assistant(call(foreign)), user(result(foreign, "matched")))
    assert wire.results[0]["toolUseId"] == again.results[0]["toolUseId"]


def test_a_legal_tool_use_id_is_left_alone(translate):
    wire = translate(user("a"), assistant(call("toolu_01-Ab_9")), user(result("toolu_01-Ab_9")))
    assert wire.results[0]["toolUseId"] == "toolu_01-Ab_9"


def test_two_foreign_ids_alike_but_for_illegal_characters_stay_two(translate):
    wire = translate(
        user("a"), assistant(call("a.b"), call("a:b")), user(result("a:b", "2"), result("a.b", "1"))
    )
    assert [entry["content"][0]["text"] for entry in wire.results] == ["1", "2"]


def test_an_empty_key_in_tool_input_is_renamed_at_any_depth(translate):
    wire = translate(
        user("a"),
        assistant(call("t1", **{"": 1, "_": 2, "deep": [{"": "x"}], "quote": '"":'})),
        user(result("t1")),
    )
    assert wire.history[1]["toolUses"][0]["input"] == {
        "__": 1,
        "_": 2,
        "deep": [{"_": "x"}],
        "quote": '"":',
    }


@pytest.mark.parametrize(
    ("given", "sent"),
    [(None, {}), ("", {}), ('{"a":1}', {"a": 1}), ("{cut", {"input": "{cut"}),
     ([1], {"input": [1]}), ({"a": None}, {"a": None})],
)  # fmt: skip
def test_tool_input_is_always_an_object(translate, given, sent):
    use = {"type": "tool_use", "id": "t1", "name": "Bash", "input": given}
    wire = translate(user("a"), assistant(use), user(result("t1")))
    assert wire.history[1]["toolUses"][0]["input"] == sent


# -- text --------------------------------------------------------------------------------------


def test_neighbouring_text_blocks_of_an_answer_are_one_text(translate):
    wire = translate(user("a"), assistant(text("The sky "), text("is blue.")), user("b"))
    assert wire.history[1]["content"] == "The sky is blue."


def test_text_on_both_sides_of_a_call_stays_apart(translate):
    wire = translate(user("a"), assistant(text("one"), call("t1"), text("two")), user(result("t1")))
    assert wire.history[1]["content"] == "one\n\ntwo"


def test_a_server_tools_rounds_in_history_become_text(translate):
    wire = translate(
        user("a"),
        assistant(
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search",
             "input": {"query": "kiro"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1",
             "content": [{"type": "web_search_result", "title": "K", "url": "https://k"}]},
            text("Found it."),
        ),
        user("b"),
    )  # fmt: skip
    said = wire.history[1]["content"]
    assert "kiro" in said
    assert "https://k" in said
    assert said.endswith("Found it.")


def test_an_image_in_an_answer_is_refused_in_anthropics_words(translate):
    with pytest.raises(RequestError, match=r"messages\.1\.content\.0: Input tag 'image' found"):
        translate(user("a"), assistant(IMAGE), user("b"))


# -- attachments -------------------------------------------------------------------------------


def test_an_image_of_the_prompt_is_attached_and_marked_in_place(translate):
    wire = translate(user(text("before"), IMAGE, text("after")))
    assert wire.current["images"] == [{"format": "png", "source": {"bytes": PNG}}]
    assert wire.current["content"] == "before\n[Image 1]\nafter"


def test_an_image_alone_makes_a_turn_with_text(translate):
    assert translate(user(IMAGE)).current["content"] == "[Image 1]"


def test_an_image_in_a_tool_result_is_hoisted_and_leaves_a_mark(translate):
    wire = translate(user("a"), assistant(call("t1")), user(result("t1", [IMAGE, text("scaled")])))
    assert wire.results[0]["content"] == [{"text": "[Image 1]\nscaled"}]
    assert wire.current["images"][0]["source"]["bytes"] == PNG


def test_several_images_follow_the_calls_order_and_get_a_legend(translate):
    wire = translate(
        user("a"),
        assistant(call("t1", "Read"), call("t2", "Bash")),
        user(result("t2", [PHOTO]), result("t1", [IMAGE]), IMAGE),
    )
    assert [image["format"] for image in wire.current["images"]] == ["png", "jpeg", "png"]
    assert wire.current["content"].splitlines()[0] == (
        "Images attached to this message, in order: [Image 1] from the result of Read, "
        "[Image 2] from the result of Bash, [Image 3] from this message."
    )


def test_images_stay_with_their_own_message(translate):
    wire = translate(user(IMAGE), assistant(text("seen")), user("and now?"))
    assert len(wire.history[0]["images"]) == 1
    assert "images" not in wire.current


def test_an_eleventh_image_in_the_current_message_is_refused_with_its_path(translate):
    with pytest.raises(RequestError, match=r"^messages\.0\.content\.10\.image: Too much media: 11"):
        translate(user(*[IMAGE] * 11))
    assert len(translate(user(*[IMAGE] * 10)).current["images"]) == 10


def test_images_beyond_ten_in_an_old_turn_leave_a_note_instead(translate):
    wire = translate(user(*[IMAGE] * 12), assistant(text("ok")), user("b"))
    assert len(wire.history[0]["images"]) == 10
    assert wire.history[0]["content"].count("[Image left out") == 2


def test_documents_get_legal_names_that_differ_across_the_request(translate):
    wire = translate(
        user(pdf("Q3  résumé.v2.pdf"), pdf("report"), pdf("")),
        assistant(text("ok")),
        user(pdf("report.pdf"), text("compare")),
    )
    assert [entry["name"] for entry in wire.history[0]["documents"]] == [
        "Q3 r sum v2",
        "report",
        "document",
    ]
    assert wire.current["documents"] == [
        {"name": "report 2", "format": "pdf", "source": {"bytes": "JVBERi0xLjcK"}}
    ]
    assert "[Document: report.pdf, attached as report 2]" in wire.current["content"]


def test_a_document_in_a_tool_result_is_hoisted(translate):
    wire = translate(user("a"), assistant(call("t1")), user(result("t1", [pdf("paper.pdf")])))
    assert wire.current["documents"][0]["name"] == "paper"
    assert "[Document: paper.pdf]" in wire.results[0]["content"][0]["text"]


# -- reasoning -----------------------------------------------------------------------------------

SIGNED = {"type": "thinking", "thinking": "Hmm.", "signature": "c2ln"}


def replayed(translate, *blocks, model="claude-opus-4-8"):
    answer = assistant(*blocks, text("so"))
    return translate(user("a"), answer, user("b"), model=model).history[1].get("reasoningContent")


def test_signed_thinking_is_replayed_to_a_model_that_thinks_natively(translate):
    assert replayed(translate, SIGNED) == {"reasoningText": {"text": "Hmm.", "signature": "c2ln"}}


def test_the_last_signed_block_of_an_answer_is_the_one_replayed(translate):
    later = {**SIGNED, "thinking": "Aha.", "signature": "bmV3"}
    unsigned = {"type": "thinking", "thinking": "lost", "signature": ""}
    assert replayed(translate, SIGNED, later, unsigned)["reasoningText"]["text"] == "Aha."


def test_of_merged_answers_the_last_reasoning_is_replayed(translate):
    later = {**SIGNED, "thinking": "Aha."}
    wire = translate(user("a"), assistant(SIGNED), assistant(later, text("so")), user("b"))
    assert wire.history[1]["reasoningContent"]["reasoningText"]["text"] == "Aha."


@pytest.mark.parametrize("signature", ["", None, UNSIGNED_SIGNATURE])
def test_thinking_without_kiros_signature_is_left_out(translate, signature):
    assert replayed(translate, {**SIGNED, "signature": signature}) is None


def test_thinking_is_left_out_for_a_model_without_native_thinking(translate):
    assert replayed(translate, SIGNED, model="claude-haiku-4-5") is None


def test_redacted_thinking_is_replayed_as_it_came(translate):
    redacted = {"type": "redacted_thinking", "data": "UmVkYWN0ZWQ="}
    assert replayed(translate, redacted) == {"redactedContent": "UmVkYWN0ZWQ="}


def test_redacted_thinking_that_is_no_base64_is_left_out(translate):
    assert replayed(translate, {"type": "redacted_thinking", "data": "not base64!"}) is None


def test_an_answer_of_signed_thinking_alone_keeps_it_and_gets_text(translate):
    wire = translate(user("a"), assistant(SIGNED), user("b"), model="claude-opus-5-5")
    assert wire.history[1]["content"] == "(no text)"
    assert wire.history[1]["reasoningContent"]["reasoningText"]["signature"] == "c2ln"


def test_a_call_repeated_to_the_letter_is_said_once(translate):
    twice = assistant(call("a", command="ls"), call("a", command="ls"))
    wire = translate(user(text("go")), twice, user(result("a")), tools=TOOLS)
    assert "no result was recorded" not in str(wire.history)
    assert len(wire.history[1]["toolUses"]) == 1


def test_a_repeated_id_with_other_arguments_is_not_lost(translate):
    twice = assistant(call("a", command="ls"), call("a", command="pwd"))
    wire = translate(user(text("go")), twice, user(result("a")), tools=TOOLS)
    assert "pwd" in str(wire.history) and "no result was recorded" in str(wire.history)


def test_an_image_alone_comes_with_a_word(translate):
    assert translate(user(IMAGE)).current["content"] == "[Image 1]"
