"""Documents as text: what can be read, what cannot, and files that lie about themselves."""

import base64
import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.protocol import documents
from kiroproxy.protocol.documents import text_of

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def base64_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def archive(parts: dict[str, str | bytes]) -> str:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, part in parts.items():
            packed.writestr(name, part)
    return base64_of(out.getvalue())


def docx(body: str, prefix: str = "w", **parts: str) -> str:
    document = f'<{prefix}:document xmlns:{prefix}="{WORD}"><{prefix}:body>{body}'
    document += f"</{prefix}:body></{prefix}:document>"
    return archive({"word/document.xml": document} | parts)


def xlsx(sheet: str, strings: str = "") -> str:
    book = f'<workbook xmlns="{SHEET}" xmlns:r="{RELATION}"><sheets>'
    book += '<sheet name="Costs" r:id="rId1"/><sheet name="Chart" r:id="rId9"/></sheets></workbook>'
    relations = '<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/>'
    return archive(
        {
            "xl/workbook.xml": book,
            "xl/_rels/workbook.xml.rels": f"{relations}</Relationships>",
            "xl/sharedStrings.xml": f'<sst xmlns="{SHEET}">{strings}</sst>',
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{SHEET}"><sheetData>{sheet}'
            "</sheetData></worksheet>",
        }
    )


@pytest.mark.parametrize(
    "raw",
    [
        "Grüße, 你好".encode(),
        "\ufeffGrüße, 你好".encode(),
        "\ufeffGrüße, 你好".encode("utf-16-le"),
        "\ufeffGrüße, 你好".encode("utf-16-be"),
    ],
)
@pytest.mark.parametrize("kind", ["txt", "md", "csv", "html"])
def test_text_is_read_in_the_encoding_its_first_bytes_name(kind: str, raw: bytes) -> None:
    assert text_of(kind, base64_of(raw)) == "Grüße, 你好"


def test_text_of_an_old_program_is_read_as_windows_wrote_it() -> None:
    assert text_of("csv", base64_of("Größe;12 €".encode("cp1252"))) == "Größe;12 €"


@given(st.binary(max_size=200))
def test_any_bytes_are_some_text(raw: bytes) -> None:
    assert isinstance(text_of("txt", base64_of(raw)), str)


@pytest.mark.parametrize("prefix", ["w", "ns0"])
def test_paragraphs_of_a_word_file_are_lines(prefix: str) -> None:
    p = prefix
    body = f"<{p}:p><{p}:r><{p}:t>one </{p}:t><{p}:tab/><{p}:t>two</{p}:t></{p}:r></{p}:p>"
    body += f"<{p}:p><{p}:r><{p}:t>a &lt; b</{p}:t></{p}:r></{p}:p>"
    assert text_of("docx", docx(body, prefix)) == "one \ttwo\na < b"


def test_a_word_table_is_lines_with_tabs() -> None:
    def cell(text: str) -> str:
        return f"<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>"

    rows = [("a", "b"), ("c", "d")]
    body = "".join(f"<w:tr>{cell(left)}{cell(right)}</w:tr>" for left, right in rows)
    assert text_of("docx", docx(f"<w:tbl>{body}</w:tbl>")) == "a \tb\nc \td"


def test_what_a_word_file_holds_twice_for_old_readers_is_read_once() -> None:
    text = "<w:p><w:r><w:t>once</w:t></w:r></w:p>"
    body = f'<m:A xmlns:m="x"><m:Choice>{text}</m:Choice><m:Fallback>{text}</m:Fallback></m:A>'
    assert str(text_of("docx", docx(body))).split() == ["once"]


def test_notes_of_a_word_file_follow_its_text() -> None:
    note = f'<w:footnotes xmlns:w="{WORD}"><w:p><w:r><w:t>note</w:t></w:r></w:p></w:footnotes>'
    body = "<w:p><w:r><w:t>text</w:t></w:r></w:p>"
    assert text_of("docx", docx(body, **{"word/footnotes.xml": note})) == "text\nnote"


def test_a_sheet_is_lines_with_tabs_under_its_name() -> None:
    strings = (
        "<si><t>shared</t></si><si><r><t>in </t></r><r><t>parts</t></r><rPh><t>x</t></rPh></si>"
    )
    sheet = '<row><c r="A1" t="s"><v>0</v></c><c r="D1" t="s"><v>1</v></c></row>'
    sheet += '<row><c r="A2"><f>1+1</f><v>2</v></c><c r="B2" t="b"><v>1</v></c></row>'
    sheet += '<row/><row><c t="inlineStr"><is><t>own</t></is></c></row>'
    assert text_of("xlsx", xlsx(sheet, strings)) == "# Costs\nshared\t\t\tin parts\n2\tTRUE\nown"


def test_a_cell_far_to_the_right_does_not_make_a_line_of_empty_ones() -> None:
    text = text_of("xlsx", xlsx('<row><c r="XFD1"><v>7</v></c></row>' * 100))
    assert text is not None and text.count("7") == 100
    assert len(text) < 10_000


@pytest.mark.parametrize("kind", ["pdf", "doc", "xls"])
def test_formats_that_only_kiro_reads_have_no_text(kind: str) -> None:
    assert text_of(kind, base64_of(b"%PDF-1.7")) is None


@pytest.mark.parametrize("kind", ["docx", "xlsx"])
@given(raw=st.binary(max_size=300))
def test_damaged_office_files_have_no_text(kind: str, raw: bytes) -> None:
    assert text_of(kind, base64_of(raw)) is None
    assert text_of(kind, base64_of(b"PK\x03\x04" + raw)) is None


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_half_a_word_file_has_no_text(part: float) -> None:
    whole = base64.b64decode(docx("<w:p><w:r><w:t>text</w:t></w:r></w:p>"))
    assert text_of("docx", base64_of(whole[: int(len(whole) * part)])) is None


def test_a_file_of_the_wrong_parts_has_no_text() -> None:
    assert text_of("docx", archive({"xl/workbook.xml": "<a/>"})) is None
    assert text_of("xlsx", docx("")) is None
    assert text_of("xlsx", xlsx('<row><c t="s"><v>5</v></c></row>')) is None


def test_a_file_that_unpacks_to_more_than_it_may_has_no_text() -> None:
    huge = "<w:p><w:r><w:t>" + "x" * documents.MAX_UNPACKED_BYTES + "</w:t></w:r></w:p>"
    packed = docx(huge)
    assert len(packed) < 100_000
    assert text_of("docx", packed) is None


def test_many_parts_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_UNPACKED_BYTES", 3000)
    text = f"<w:p><w:r><w:t>{'x' * 2000}</w:t></w:r></w:p>"
    assert text_of("docx", docx(text)) is not None
    note = f'<w:footnotes xmlns:w="{WORD}">{text}</w:footnotes>'
    assert text_of("docx", docx(text, **{"word/footnotes.xml": note})) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_never_expanded(encoding: str) -> None:
    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    document = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE d [<!ENTITY l0 "ha">{laughs}]>'
    )
    document += f'<w:document xmlns:w="{WORD}"><w:p><w:t>&l9;</w:t></w:p></w:document>'
    packed = archive({"word/document.xml": document.encode(encoding)})
    assert text_of("docx", packed) is None


def test_external_entities_are_never_opened() -> None:
    document = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    document += f'<w:document xmlns:w="{WORD}"><w:p><w:t>&x;</w:t></w:p></w:document>'
    assert text_of("docx", archive({"word/document.xml": document})) is None
