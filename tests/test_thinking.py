"""Where thinking ends and the answer begins, at any cut of the text."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kiroproxy._thinking import Splitter

HELD_MAX = 74  # white space looked past, and a tag


def split(text: str, size: int = 10**9) -> list[tuple[str, str]]:
    """Split a text fed in pieces of `size` bytes; neighbours of one kind joined, closes kept."""
    splitter, found = Splitter(), []
    data = text.encode()
    for at in range(0, len(data), size):
        found += splitter.feed(data[at : at + size])
        assert splitter.held_bytes() <= HELD_MAX
    found += splitter.end()
    assert splitter.held_bytes() == 0
    joined: list[tuple[str, bytes]] = []
    for kind, said in found:
        if joined and joined[-1][0] == kind != "closed":
            joined[-1] = kind, joined[-1][1] + said
        else:
            joined.append((kind, said))
    return [(kind, said.decode()) for kind, said in joined]


def thought(text: str) -> tuple[str, str]:
    return ("thinking", text)


def said(text: str) -> tuple[str, str]:
    return ("text", text)


CLOSED = ("closed", "")

CASES = {
    "no tag": ("Hello\nworld", [said("Hello\nworld")]),
    "the usual form": (
        "<thinking>\nplan\n</thinking>\n\nAnswer",
        [thought("plan\n"), CLOSED, said("Answer")],
    ),
    "only one newline on each side is the tag's": (
        "<thinking>\n\nplan</thinking>\n\n\nAnswer",
        [thought("\nplan"), CLOSED, said("\nAnswer")],
    ),
    "carriage returns": (
        "<thinking>\r\nplan</thinking>\r\n\r\nAnswer",
        [thought("plan"), CLOSED, said("Answer")],
    ),
    "a lone carriage return behind the opening tag": (
        "<thinking>\rplan</thinking>",
        [thought("\rplan"), CLOSED],
    ),
    "white space before the first tag": (
        " \n\n\t<thinking>plan</thinking>\n\nAnswer",
        [thought("plan"), CLOSED, said("Answer")],
    ),
    "white space before something else": (" \n <b>", [said(" \n <b>")]),
    "two segments": (
        "<thinking>a</thinking>\n\n<thinking>b</thinking>\n\nc",
        [thought("a"), CLOSED, thought("b"), CLOSED, said("c")],
    ),
    "a segment later in the answer": (
        "First.\n  <thinking>hm</thinking>\nThen.",
        [said("First.\n  "), thought("hm"), CLOSED, said("Then.")],
    ),
    "an opening tag within a line": ("a <thinking> b", [said("a <thinking> b")]),
    "a quoted opening tag": ('"<thinking>"\n`<thinking>`', [said('"<thinking>"\n`<thinking>`')]),
    "an opening tag in a fence": (
        "```xml\n<thinking>\n```\n<thinking>x",
        [said("```xml\n<thinking>\n```\n"), thought("x")],
    ),
    "an opening tag in a fence of tildes that holds another fence": (
        "~~~~\n```\n~~~\n<thinking>\n~~~~\n<thinking>x",
        [said("~~~~\n```\n~~~\n<thinking>\n~~~~\n"), thought("x")],
    ),
    "a backtick in a fence does not end it": (
        "```\na ` b\n<thinking>\n```\n<thinking>x",
        [said("```\na ` b\n<thinking>\n```\n"), thought("x")],
    ),
    "three backticks within a line are no fence": (
        "```a``` b\n<thinking>x",
        [said("```a``` b\n"), thought("x")],
    ),
    "a closing tag without an opening one": ("</thinking>\n\na", [said("</thinking>\n\na")]),
    "a closing tag within a sentence": (
        "<thinking>then </thinking> ends it\n</thinking>\n\na",
        [thought("then </thinking> ends it\n"), CLOSED, said("a")],
    ),
    "a quoted closing tag": (
        "<thinking>`</thinking>` and\n'</thinking>' and\n</thinking>` no\n</thinking>\n\na",
        [thought("`</thinking>` and\n'</thinking>' and\n</thinking>` no\n"), CLOSED, said("a")],
    ),
    "a closing tag in a fence": (
        "<thinking>\n```\n</thinking>\n\n```\nso</thinking>\n\na",
        [thought("```\n</thinking>\n\n```\nso"), CLOSED, said("a")],
    ),
    "inline code does not hide a closing tag": (
        "<thinking>```x``` then</thinking>\n\na",
        [thought("```x``` then"), CLOSED, said("a")],
    ),
    "a closing tag with blanks behind it": (
        "<thinking>x</thinking> \t\na",
        [thought("x"), CLOSED, said("a")],
    ),
    "a closing tag at the start of its line": (
        "<thinking>x\n</thinking>Answer",
        [thought("x\n"), CLOSED, said("Answer")],
    ),
    "a closing tag at the end": ("<thinking>x</thinking>", [thought("x"), CLOSED]),
    "a closing tag with blanks at the end": ("<thinking>x</thinking>  ", [thought("x"), CLOSED]),
    "a closing tag with too many blanks": (
        "<thinking>x</thinking>" + " " * 17 + "\n",
        [thought("x</thinking>" + " " * 17 + "\n")],
    ),
    "an unclosed segment": ("<thinking>x </thin", [thought("x </thin")]),
    "an empty segment": ("<thinking></thinking>\n\na", [CLOSED, said("a")]),
    "an unfinished opening tag": ("<thinkin", [said("<thinkin")]),
    "an opening tag at the very end": ("a\n<thinking>", [said("a\n")]),
    "an opening tag within thinking": (
        "<thinking>a\n<thinking>b</thinking>\nc",
        [thought("a\n<thinking>b"), CLOSED, said("c")],
    ),
    "nearly a tag": ("<thinking >a\n<Thinking>b", [said("<thinking >a\n<Thinking>b")]),
    "a tag that starts twice": ("<<thinking>x", [said("<<thinking>x")]),
    "much white space": (" " * 70 + "<thinking>x", [said(" " * 70), thought("x")]),
    "characters of many bytes": (
        "<thinking>\u4f60\U0001f600</thinking>\n\n\u597d",
        [thought("\u4f60\U0001f600"), CLOSED, said("\u597d")],
    ),
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10**9])
@pytest.mark.parametrize("name", CASES)
def test_a_text_is_split_as_written_down(name: str, size: int) -> None:
    text, expected = CASES[name]
    assert split(text, size) == expected


@pytest.mark.parametrize("cut", range(1, 11))
def test_splitter_keeps_a_tag_cut_anywhere(cut: int) -> None:
    splitter = Splitter()
    assert splitter.feed(b"<thinking>"[:cut]) == []
    assert splitter.feed(b"<thinking>"[cut:] + b"x") == [("thinking", b"x")]


@pytest.mark.parametrize("text", [b"a <", b"a\n<b", b"plain ", b"a </thinking>\n", b"`<"])
def test_what_cannot_be_a_tag_is_not_held_back(text: bytes) -> None:
    splitter = Splitter()
    assert b"".join(said for _, said in splitter.feed(text)) == text
    assert splitter.held_bytes() == 0


def test_only_the_beginning_of_a_tag_is_held_back() -> None:
    splitter = Splitter()
    assert splitter.feed(b"text\n<thi") == [("text", b"text\n")]
    assert splitter.held_bytes() == 4
    assert splitter.feed(b"s>") == [("text", b"<this>")]


def test_a_border_closes_thinking_and_releases_text() -> None:
    thinking, text = Splitter(), Splitter()
    thinking.feed(b"<thinking>x</thinking>")
    assert thinking.end() == [("closed", b"")]
    text.feed(b" \n<thin")
    assert text.end() == [("text", b" \n<thin")]
    assert text.feed(b"king>") == [("text", b"king>")]


def test_a_large_text_does_not_keep_its_buffer() -> None:
    splitter = Splitter()
    splitter.feed(b"<")
    assert len(splitter.feed(b"b" * 100_000)[0][1]) == 100_001
    assert splitter.held_bytes() == 0


TAGS = ["<thinking>", "</thinking>", "<thinking", "</", "<", ">"]
LINES = ["\n", "\n\n", "\r", "\r\n", " ", "\t", " " * 20, "a", "word ", "\u4f60"]
QUOTES = ["`", "```", "~~~", "~", '"', "'"]
TEXTS = st.lists(st.sampled_from(TAGS + LINES + QUOTES), max_size=14).map("".join)


@settings(max_examples=500, deadline=None)
@given(text=TEXTS, sizes=st.lists(st.integers(1, 9)))
@example(text="<thinking>```\n```</thinking>\n", sizes=[3])
@example(text="<thinking>```x</thinking>\n`</thinking>\n", sizes=[20])
def test_the_cut_never_matters(text: str, sizes: list[int]) -> None:
    whole = split(text)
    assert split(text, 1) == whole
    for size in sizes:
        assert split(text, size) == whole


@settings(max_examples=500, deadline=None)
@given(text=TEXTS)
def test_nothing_is_lost_but_tags_and_white_space(text: str) -> None:
    kept = "".join(part for _, part in split(text))
    rest = iter(text)
    assert all(character in rest for character in kept), "out of order, or invented"
    if "<thinking>" not in text:
        assert kept == text
    opened = sum(kind == "closed" for kind, _ in split(text))
    lost = len("".join(text.split())) - len("".join(kept.split()))
    assert lost in (opened * 21, opened * 21 + 10)  # the last segment may stay open
