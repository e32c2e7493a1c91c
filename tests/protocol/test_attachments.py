"""Attachments: which of too many are kept, legal names, and what a model cannot take."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.errors import RequestError
from kiroproxy.protocol.attachments import MAX_DOCUMENT_BYTES, Attachments
from kiroproxy.protocol.content import Document
from kiroproxy.protocol.models import SNAPSHOT

CLAUDE = next(model for model in SNAPSHOT if model.id == "claude-sonnet-4.6")
BLIND = "deepseek-3.2"
LEGAL = re.compile(r"(?!.*  )[a-zA-Z0-9 \-_()\[\]]{1,200}")
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def base64_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def image(number=0):
    data = base64_of(b"\x89PNG\r\n\x1a\n" + number.to_bytes(30, "big"))
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def document(raw=b"%PDF-1.7\n", media_type="application/pdf", **fields):
    source = {"type": "base64", "media_type": media_type, "data": base64_of(raw)}
    return {"type": "document", "source": source, **fields}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def call():
    block = {"type": "tool_use", "id": "t1", "name": "Read", "input": {}}
    return {"role": "assistant", "content": [block]}


def result(*blocks):
    return {"type": "tool_result", "tool_use_id": "t1", "content": list(blocks)}


def numbers(message):
    return [base64.b64decode(i["source"]["bytes"])[-1] for i in message["images"]]


def refusal(translate, *messages, **fields):
    with pytest.raises(RequestError) as error:
        translate(*messages, **fields)
    return error.value.message


# -- too many images ---------------------------------------------------------------------------


def test_of_too_many_images_of_tools_the_newest_are_kept_and_the_rest_leave_a_note(translate):
    wire = translate(user("a"), call(), user(result(*map(image, range(13)))))
    assert numbers(wire.current) == list(range(3, 13))
    lines = wire.results[0]["content"][0]["text"].splitlines()
    assert lines[:4] == ["[Image left out: Kiro takes at most 10 images in one message]"] * 3 + [
        "[Image 1]"
    ]


def test_the_users_own_images_go_before_those_of_tools(translate):
    own = [image(100 + number) for number in range(9)]
    wire = translate(user("a"), call(), user(result(image(1), image(2)), *own))
    assert numbers(wire.current) == [2, *range(100, 109)]


def test_ten_images_of_the_user_leave_no_room_for_those_of_tools(translate):
    own = [image(100 + number) for number in range(10)]
    wire = translate(user("a"), call(), user(result(image(1)), *own))
    assert numbers(wire.current) == list(range(100, 110))
    assert "left out" in wire.results[0]["content"][0]["text"]


def test_images_of_a_result_without_its_call_never_refuse_the_message(translate):
    orphan = {**result(*map(image, range(12))), "tool_use_id": "gone"}
    wire = translate(user("a"), call(), user(result("done"), orphan))
    assert numbers(wire.current) == list(range(2, 12))


def test_an_eleventh_image_of_the_user_is_refused_with_its_place(translate):
    assert refusal(translate, user(*map(image, range(12)))) == (
        "messages.0.content.10.image: Too much media: 12 images > 10 in one message"
    )


# -- models without eyes -----------------------------------------------------------------------


def test_a_model_without_eyes_is_told_and_so_is_the_user(translate):
    assert refusal(translate, user(image()), model=BLIND) == (
        "messages.0.content.0.image: 'deepseek-3.2' does not support image input."
    )
    wire = translate(user(image()), call(), user(result(image())), model=BLIND)
    note = "[Image left out: this model takes no images]"
    assert wire.history[0]["content"] == wire.results[0]["content"][0]["text"] == note
    assert "images" not in wire.current


def test_a_text_document_becomes_text_for_a_model_that_takes_none(translate):
    block = document(b"a,b\n1,2\n", "text/csv", title="t.csv", context="the costs")
    wire = translate(user(block), model=BLIND)
    assert wire.current["content"] == (
        '<document title="t.csv" context="the costs">\na,b\n1,2\n\n</document>'
    )
    assert "documents" not in wire.current


def test_a_document_nobody_can_read_is_refused_to_the_user_and_noted_elsewhere(translate):
    assert refusal(translate, user(document()), model=BLIND) == (
        "messages.0.content.0.document.source.base64: 'deepseek-3.2' does not support pdf "
        "document input."
    )
    wire = translate(user("a"), call(), user(result(document(title="p.pdf"))), model=BLIND)
    assert wire.results[0]["content"][0]["text"] == (
        "[Document left out: p.pdf: 'deepseek-3.2' does not support pdf document input.]"
    )


# -- documents ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media_type", "raw", "kind"),
    [
        ("application/pdf", b"%PDF-1.7\n", "pdf"),
        ("text/plain", b"x", "txt"),
        ("text/csv", b"x", "csv"),
        ("text/html", b"x", "html"),
        ("text/markdown", b"x", "md"),
        (DOCX, b"PK\x03\x04", "docx"),
        (DOCX.replace("wordprocessingml.document", "spreadsheetml.sheet"), b"PK\x03\x04", "xlsx"),
        ("application/msword", b"\xd0\xcf\x11\xe0", "doc"),
        ("application/vnd.ms-excel", b"\xd0\xcf\x11\xe0", "xls"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_every_format_kiro_knows_is_attached(translate, media_type, raw, kind, nested):
    block = document(raw, media_type, title=f"Paper.{kind}")
    turn = [user("a"), call(), user(result(block))] if nested else [user(block)]
    wire = translate(*turn)
    assert wire.current["documents"] == [
        {"name": "Paper", "format": kind, "source": {"bytes": base64_of(raw)}}
    ]
    said = wire.results[0]["content"][0]["text"] if nested else wire.current["content"]
    assert said == f"[Document: Paper.{kind}]"


def test_a_text_too_large_to_attach_is_sent_as_text(translate):
    long = b"word " * (MAX_DOCUMENT_BYTES // 5 // 16 + 1)
    wire = translate(user(document(long, "text/plain")), model="claude-opus-5")
    assert "documents" in wire.current
    attachments = Attachments(set(), CLAUDE, strict=True)
    huge = Document("t", "txt", base64_of(b"x" * (MAX_DOCUMENT_BYTES + 1)), "", "p")
    assert attachments.render([huge], "here").startswith('<document title="t">\nxxx')
    assert attachments.documents == []


def test_a_pdf_too_large_is_refused_with_its_place_and_size():
    attachments = Attachments(set(), CLAUDE, strict=True)
    huge = Document(
        "t", "pdf", base64_of(bytes(MAX_DOCUMENT_BYTES + 1)), "", "messages.0.content.0"
    )
    with pytest.raises(RequestError) as error:
        attachments.render([huge], "here")
    assert error.value.message == (
        "messages.0.content.0.document.source.base64: document exceeds 10 MB maximum: "
        "10000001 bytes > 10000000 bytes"
    )
    largest = Document("t", "pdf", base64_of(bytes(MAX_DOCUMENT_BYTES)), "", "p")
    assert attachments.render([largest], "here") == "[Document: t]"


def test_beyond_five_documents_texts_are_written_out(translate):
    blocks = [document(b"word", "text/plain", title=f"t{n}") for n in range(6)]
    wire = translate(user(*blocks, document(title="p")))
    assert [d["name"] for d in wire.current["documents"]] == ["t0", "t1", "t2", "t3", "t4", "p"]
    assert '<document title="t5">\nword\n</document>' in wire.current["content"]


def test_a_content_document_shows_its_text_and_its_images_in_place(translate):
    source = {"type": "content", "content": [{"type": "text", "text": "one"}, image(), "two"]}
    wire = translate(user({"type": "document", "source": source, "title": "T"}))
    assert wire.current["content"] == '<document title="T">\none\n[Image 1]\ntwo\n</document>'
    assert len(wire.current["images"]) == 1


def test_a_document_that_is_not_what_it_says_is_refused(translate):
    assert refusal(translate, user(document(b"plain"))) == (
        "messages.0.content.0.document.source.base64.data: The PDF specified was not valid."
    )
    assert refusal(translate, user(document(b"plain", DOCX))).endswith("Could not process document")


@given(st.lists(st.text(max_size=250), max_size=5))
def test_any_titles_become_legal_names_that_differ(titles):
    attachments = Attachments(set(), CLAUDE, strict=True)
    parts = [Document(title, "pdf", "JVBERi0xLjcK", "", "p") for title in titles]
    marks = attachments.render(parts, "here")
    names = [entry["name"] for entry in attachments.documents]
    assert len(set(names)) == len(titles)
    assert all(LEGAL.fullmatch(name) for name in names)
    assert all((title or "document") in marks for title in titles)


@given(st.lists(st.sampled_from(["a", "a.pdf", "a 2", "a 2.pdf", "", "document"]), max_size=5))
def test_names_that_look_numbered_still_differ(titles):
    attachments = Attachments(set(), CLAUDE, strict=True)
    attachments.render([Document(t, "pdf", "JVBERi0xLjcK", "", "p") for t in titles], "here")
    assert len({entry["name"] for entry in attachments.documents}) == len(titles)
