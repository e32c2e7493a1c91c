"""Sources: where the bytes are, what format they are, and every block that holds some."""

import base64

import pytest

from kiroproxy.errors import RequestError
from kiroproxy.protocol.sources import document_format, inline, media

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(30)).decode()
ZIP = base64.b64encode(b"PK\x03\x04" + bytes(30)).decode()
OLE = base64.b64encode(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(30)).decode()
PDF = base64.b64encode(b"%PDF-1.7\n" + bytes(30)).decode()
TEXT = base64.b64encode(b"a,b\n1,2\n").decode()
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
LINK = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def test_every_image_and_document_is_found_in_order_with_anthropics_path():
    page = {"type": "document", "source": {"type": "content", "content": [IMAGE, LINK]}}
    paper = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}, IMAGE]}
    body = {"messages": [user(IMAGE, page), {"role": "system", "content": [paper]}, user(result)]}
    assert [(medium.path, medium.url) for medium in media(body)] == [
        ("messages.0.content.0.image.source", ""),
        ("messages.0.content.1.document.source.content.0.image.source", ""),
        ("messages.0.content.1.document.source.content.1.image.source", LINK["source"]["url"]),
        ("messages.1.content.0.document.source", paper["source"]["url"]),
        ("messages.2.content.0.tool_result.content.1.image.source", ""),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None},
        {"messages": ["x", None, {"role": "user"}, {"role": "user", "content": "x"}]},
        {"messages": [user(None, "x", {"type": "image"}, {"type": "image", "source": "x"})]},
        {"messages": [user({"type": "tool_result"}, {"type": "document", "source": {}})]},
        {"messages": [{"role": "assistant", "content": [IMAGE]}]},
    ],
)
def test_bodies_of_any_shape_are_walked_without_a_fault(body):
    assert [medium.url for medium in media(body)] in ([], [""])


def test_a_replaced_source_is_the_bodys_own():
    body = {"messages": [user({"type": "image", "source": dict(LINK["source"])})]}
    next(media(body)).put("image/png", PNG)
    assert body["messages"][0]["content"][0] == IMAGE


@pytest.mark.parametrize(
    "source",
    [
        {"type": "base64", "media_type": "image/png", "data": PNG},
        {"type": "base64", "media_type": "IMAGE/PNG; charset=x", "data": PNG},
        {"type": "base64", "media_type": "x/y", "data": f"data:image/png;base64,{PNG}"},
        {"type": "url", "url": f"data:image/png;base64,{PNG}"},
    ],
)
def test_bytes_are_found_wherever_a_source_holds_them(source):
    assert inline(source, "p", "image") == ("image/png", PNG)


@pytest.mark.parametrize("data", ["QUJD=REV", "QUJ=RA==", "Q===", "QU\u00e4D", "QUJD*A=="])
def test_what_only_looks_like_base64_is_refused(data):
    with pytest.raises(RequestError, match=r"p\.base64\.data: Input should be valid base64"):
        inline({"type": "base64", "data": data}, "p", "image")


@pytest.mark.parametrize(
    ("media_type", "title", "data", "kind"),
    [
        ("application/pdf", "", PDF, "pdf"),
        ("text/plain", "", PDF, "pdf"),
        ("application/pdf", "", TEXT, None),
        (DOCX, "", ZIP, "docx"),
        (DOCX, "", OLE, "doc"),
        (DOCX, "", TEXT, None),
        ("application/vnd.ms-excel", "", OLE, "xls"),
        ("application/octet-stream", "a.DOCX", ZIP, "docx"),
        ("application/octet-stream", "a.csv", TEXT, "csv"),
        ("application/octet-stream", "a.exe", TEXT, None),
        ("application/zip", "", ZIP, None),
        ("text/x-python", "", TEXT, "txt"),
        ("application/json", "", TEXT, "txt"),
        ("text/csv", "", TEXT, "csv"),
    ],
)
def test_a_document_is_what_its_bytes_say_and_else_what_its_label_says(
    media_type, title, data, kind
):
    assert document_format(media_type, title, data) == kind


def test_a_pdf_may_begin_behind_other_bytes():
    data = base64.b64encode(b"\r\n" * 100 + b"%PDF-1.4\n" + bytes(3000)).decode()
    assert document_format("application/pdf", "", data) == "pdf"
