"""Content blocks: what becomes text, image, document, and what is refused."""

import base64

import pytest

from kiroproxy.errors import RequestError
from kiroproxy.protocol.content import Document, Image, pieces

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(30)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(30)).decode()
GIF = base64.b64encode(b"GIF89a" + bytes(30)).decode()
WEBP = base64.b64encode(b"RIFF\x00\x00\x00\x00WEBP" + bytes(30)).decode()
PDF = base64.b64encode(b"%PDF-1.7\n" + bytes(30)).decode()


def image(data=PNG, media_type="image/png", **source):
    source = {"type": "base64", "data": data, "media_type": media_type, **source}
    return {"type": "image", "source": source}


def document(title="Report", **source):
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF, **source}
    return {"type": "document", "source": source, "title": title}


def only(block):
    (piece,) = pieces([block], "messages.0.content")
    return piece


def refusal(block):
    with pytest.raises(RequestError) as error:
        pieces([block], "messages.0.content")
    return error.value.message


def text_of(*blocks):
    return "\n".join(str(piece) for piece in pieces(list(blocks), "p"))


@pytest.mark.parametrize(
    ("data", "kind"), [(PNG, "png"), (JPEG, "jpeg"), (GIF, "gif"), (WEBP, "webp")]
)
@pytest.mark.parametrize("label", ["image/png", "image/jpeg", "application/octet-stream", None])
def test_an_image_is_what_its_first_bytes_say(data, kind, label):
    assert only(image(data, label)).format == kind


def test_an_image_of_unknown_bytes_is_what_its_label_says():
    assert only(image(base64.b64encode(bytes(40)).decode(), "image/webp")).format == "webp"


def test_an_image_of_unknown_bytes_and_label_is_refused_in_anthropics_words():
    assert refusal(image(base64.b64encode(bytes(40)).decode(), "image/bmp")) == (
        "messages.0.content.0.image.source.base64.media_type: Input should be "
        "'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
    )


@pytest.mark.parametrize(
    "written",
    [f"data:image/png;base64,{PNG}", PNG.rstrip("="), PNG[:10] + "\n" + PNG[10:]],
)
def test_base64_is_brought_to_its_standard_form(written):
    assert only(image(written)).data == PNG


def test_url_safe_base64_is_translated():
    raw = b"\xff\xd8\xff\xfb\xff\xfe" + bytes(30)
    assert only(image(base64.urlsafe_b64encode(raw).decode())).data == (
        base64.b64encode(raw).decode()
    )


@pytest.mark.parametrize("data", ["%%%%", "", None, "A"])
def test_bytes_that_are_no_base64_are_refused_with_their_path(data):
    assert refusal(image(data)).startswith("messages.0.content.0.image.source.base64.data: ")


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ({"type": "url", "url": "https://example.com/a.png"}, "url"),
        ({"type": "file", "file_id": "file_1"}, "file"),
    ],
)
@pytest.mark.parametrize("block", ["image", "document"])
def test_a_source_nobody_can_open_is_refused_and_named(block, source, kind):
    message = refusal({"type": block, "source": source})
    assert message.startswith(f"messages.0.content.0.{block}.source.{kind}: ")
    assert "base64" in message


def test_a_data_url_is_opened():
    block = {"type": "image", "source": {"type": "url", "url": f"data:image/png;base64,{PNG}"}}
    assert only(block) == Image("png", PNG, "messages.0.content.0")


def test_a_pdf_becomes_a_document_piece():
    assert only(document()) == Document("Report", "pdf", PDF, "", "messages.0.content.0")


@pytest.mark.parametrize(
    ("media_type", "kind"), [("text/csv", "csv"), ("text/markdown", "md"), ("text/plain", "txt")]
)
def test_other_documents_go_by_their_label(media_type, kind):
    data = base64.b64encode(b"a,b\n1,2\n").decode()
    assert only(document(media_type=media_type, data=data)).format == kind


def test_a_document_of_an_unknown_format_is_refused():
    assert "application/pdf" in refusal(document(media_type="application/zip", data="UEsDBA=="))


def test_a_text_document_is_inlined_with_title_and_context():
    source = {"type": "text", "media_type": "text/plain", "data": "the words"}
    block = {"type": "document", "source": source, "title": "T", "context": "C"}
    assert text_of(block) == '<document title="T" context="C">\nthe words\n</document>'


def test_a_content_document_keeps_its_text_and_images():
    inner = [{"type": "text", "text": "page"}, image()]
    block = {"type": "document", "source": {"type": "content", "content": inner}}
    found = pieces([block], "p")
    assert found[1] == "page"
    assert isinstance(found[2], Image)


def test_a_search_result_becomes_text_with_source_and_title():
    block = {"type": "search_result", "source": "https://e.com", "title": "E",
             "content": [{"type": "text", "text": "found"}]}  # fmt: skip
    assert text_of(block) == (
        '<search_result title="E" source="https://e.com">\nfound\n</search_result>'
    )


def test_a_tool_reference_says_that_the_tool_is_there():
    assert only({"type": "tool_reference", "tool_name": "WebFetch"}) == (
        "Tool WebFetch is now available."
    )


def test_tool_changes_of_a_system_turn_are_said():
    named = {"type": "tool_reference", "name": "Deploy"}
    assert "is now available" in only({"type": "tool_addition", "tool": named})
    assert "no longer available" in only({"type": "tool_removal", "tool": named})


def test_a_web_search_of_another_server_keeps_titles_links_and_readable_snippets():
    results = [
        {"type": "web_search_result", "title": "A", "url": "https://a", "page_age": "May",
         "encrypted_content": "words one can read"},
        {"type": "web_search_result", "title": "B", "url": "https://b",
         "encrypted_content": "RW5jcnlwdGVk" * 8},
        {"type": "web_search_result", "title": "C", "url": "https://c",
         "encrypted_content": "可以读的字" * 20},
    ]  # fmt: skip
    text = text_of(
        {"type": "server_tool_use", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "content": results},
    )
    assert '{"query":"q"}' in text
    assert "- A: https://a (May)" in text
    assert "words one can read" in text
    assert "- B: https://b\n- C" in text
    assert "可以读的字" in text
    assert "RW5jcnlwdGVk" not in text


def test_a_web_search_without_pages_says_so():
    assert "no pages" in only({"type": "web_search_tool_result", "content": []})


def test_a_failed_web_search_keeps_its_error():
    error = {"type": "web_search_tool_result_error", "error_code": "too_many_requests"}
    assert "too_many_requests" in only({"type": "web_search_tool_result", "content": error})


def test_an_unknown_block_becomes_its_json():
    block = {"type": "hologram", "depth": {"m": 3}, "cache_control": {"type": "ephemeral"}}
    assert only(block) == '{"type":"hologram","depth":{"m":3}}'


def test_empty_and_null_text_is_nothing():
    empty = [{"type": "text", "text": ""}, {"type": "text", "text": None}, {"type": "text"}, ""]
    assert pieces(empty, "p") == []
    assert pieces(None, "p") == pieces("", "p") == []


@pytest.mark.parametrize("content", [5, {"type": "text"}, True])
def test_content_that_is_no_list_is_refused_with_its_path(content):
    with pytest.raises(RequestError, match=r"messages\.0\.content: Input should be a valid list"):
        pieces(content, "messages.0.content")


@pytest.mark.parametrize("block", [5, None, ["x"]])
def test_a_block_that_is_no_object_is_refused_with_its_path(block):
    assert refusal(block) == "messages.0.content.0: Input should be a valid dictionary"
