"""A model is told of its cut call: of the right one, in the right place, and nothing else."""

from typing import Any

from kiroproxy.protocol.recollection import mark, told

ASKED = {"role": "user", "content": "Write the file"}
SAID = {"role": "assistant", "content": "I write it."}
NEXT = {"role": "user", "content": "Go on"}


def note(messages: list[Any], cut: dict[bytes, str]) -> list[int]:
    """Where words were put, by index."""
    return [at for at, message in enumerate(told(messages, cut)) if message not in messages]


def test_the_word_stands_behind_the_message_that_follows_the_cut_answer() -> None:
    cut = {mark([ASKED]): "Write"}
    messages = told([ASKED, SAID, NEXT], cut)
    assert messages[:3] == [ASKED, SAID, NEXT]
    assert messages[3]["role"] == "system"
    assert "a call of the tool Write" in messages[3]["content"]
    assert "was not run" in messages[3]["content"]


def test_it_stays_where_it_was_first_told() -> None:
    cut = {mark([ASKED]): "Write"}
    longer = [ASKED, SAID, NEXT, SAID, NEXT]
    assert note(longer, cut) == [3]
    assert told(longer, cut)[:4] == told([ASKED, SAID, NEXT], cut)


def test_an_answer_without_any_text_may_have_left_nothing() -> None:
    assert note([ASKED, NEXT], {mark([ASKED]): "Write"}) == [2]


def test_the_same_request_again_is_told_nothing() -> None:
    assert note([ASKED], {mark([ASKED]): "Write"}) == []


def test_cache_marks_and_the_form_of_a_text_change_nothing() -> None:
    block = {"cache_control": {"type": "ephemeral"}, "text": "Write the file", "type": "text"}
    for content in ([block], [{"type": "text", "text": "Write the file"}], "Write the file"):
        assert mark([{"role": "user", "content": content}]) == mark([ASKED])


def test_system_turns_do_not_move_a_mark() -> None:
    system = {"role": "system", "content": "date"}
    assert mark([ASKED, system]) == mark([ASKED]) == mark([system, ASKED])


def test_the_same_words_elsewhere_are_another_message() -> None:
    marks = {
        mark([ASKED]),
        mark([ASKED, SAID, ASKED]),
        mark([NEXT]),
        mark([{"role": "user", "content": "x" * 600 + "a" + "x" * 600}]),
        mark([{"role": "user", "content": "x" * 600 + "aa" + "x" * 600}]),
        mark([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]}]),
        mark([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t2"}]}]),
    }
    assert len(marks) == 7


def test_odd_messages_are_no_error() -> None:
    odd = [{"role": "user", "content": content} for content in (None, 5, [None, 5, "x"], {})]
    assert mark(odd) and told(odd, {b"x": "y"}) == odd
    assert mark([SAID]) == b""
    assert mark([{"role": "user", "content": "\ud800"}])
