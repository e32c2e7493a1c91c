"""Documents as plain text, for models and sizes that Kiro's own reader does not take.

Rules of this file: what cannot be read here has no text (None), it is never an error and never
half a text. Everything a file claims about its own size is checked while it is unpacked. XML is
read as a stream, without a tree, and a document type declaration ends it: no entity is expanded.

Source: ECMA-376 parts 1 (§17.3, §18.3, §18.4) and 2; Unicode's byte order marks.
"""

import codecs
import re
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from xml.parsers import expat

from kiroproxy._base64 import decode

TEXTS = frozenset({"csv", "html", "md", "txt"})
# XML of one file, unpacked: a thousand pages of text are about half of it.
MAX_UNPACKED_BYTES = 16 * 1024 * 1024
MAX_SHEETS = 256
_CHUNK_BYTES = 64 * 1024
_MAX_GAP = 64  # empty cells written between two full ones; a sheet may be 16384 wide

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class _Unreadable(Exception):
    """Not the format it claims to be, or larger than it may be."""


def text_of(kind: str, data: str) -> str | None:
    """Return the text of a base64 document; None where only its own program could read it.

    Cost: linear; 16 MiB of XML take about half a second.
    """
    if kind not in TEXTS and kind not in _READERS:
        return None
    try:
        raw = decode(data)
        if kind in TEXTS:
            return _decoded(raw)
        with zipfile.ZipFile(BytesIO(raw)) as archive:
            return _READERS[kind](_Parts(archive))
    except (_Unreadable, zipfile.BadZipFile, zlib.error, expat.ExpatError):
        return None
    # Encrypted or of an unknown packing (RuntimeError, NotImplementedError); damaged (the rest).
    except (RuntimeError, LookupError, ValueError, OSError, EOFError):
        return None


def _decoded(raw: bytes) -> str:
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")  # what old Windows programs write


class _Parts:
    """The XML parts of one file, under one limit for all of them."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = MAX_UNPACKED_BYTES
        self.names = frozenset(archive.namelist())

    def read(self, name: str, reader: "_Reader") -> None:
        """Run one part through a reader."""
        parser = expat.ParserCreate(namespace_separator="}")
        parser.StartDoctypeDeclHandler = _no_doctype
        parser.buffer_text = True
        parser.StartElementHandler = lambda tag, attributes: reader.start(_local(tag), attributes)
        parser.EndElementHandler = lambda tag: reader.end(_local(tag))
        parser.CharacterDataHandler = reader.text
        with self._archive.open(name) as part:
            while chunk := part.read(_CHUNK_BYTES):
                self._left -= len(chunk)
                if self._left < 0:
                    raise _Unreadable
                parser.Parse(chunk, False)
        parser.Parse(b"", True)


def _no_doctype(*_: object) -> None:
    raise _Unreadable


def _local(name: str) -> str:
    return name.rpartition("}")[2]


class _Reader:
    """What happens at each tag and text; local names only."""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        raise NotImplementedError

    def end(self, tag: str) -> None:
        raise NotImplementedError

    def text(self, text: str) -> None:
        raise NotImplementedError


# -- Word ------------------------------------------------------------------------------------


class _Words(_Reader):
    """Paragraphs as lines, table rows as lines with tabs."""

    _MARKS = {"tab": "\t", "br": "\n", "cr": "\n"}  # noqa: RUF012 - a table, never written

    def __init__(self) -> None:
        self.found: list[str] = []
        self._in_text = False
        self._twins = 0  # depth in a second form of what was already read
        self._cells = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._twins += tag == "Fallback"
        self._cells += tag == "tc"
        self._in_text = tag == "t"
        if tag in self._MARKS and not self._twins:
            self.found.append(self._MARKS[tag])

    def end(self, tag: str) -> None:
        self._twins -= tag == "Fallback"
        self._in_text = False
        if tag == "p":
            self.found.append(" " if self._cells else "\n")
        elif tag == "tc":
            self._cells -= 1
            self.found.append("\t")
        elif tag == "tr":
            self.found.append("\n")

    def text(self, text: str) -> None:
        if self._in_text and not self._twins:
            self.found.append(text)


def _docx(parts: _Parts) -> str:
    words = _Words()
    parts.read("word/document.xml", words)
    for note in ("word/footnotes.xml", "word/endnotes.xml"):
        if note in parts.names:
            parts.read(note, words)
    return re.sub(r"[ \t]+\n", "\n", "".join(words.found)).strip("\n")


# -- Excel -----------------------------------------------------------------------------------


class _Strings(_Reader):
    """The table of texts that cells refer to by number."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._in_text = False
        self._spoken = 0  # depth in a reading aid for East Asian text

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._spoken += tag == "rPh"
        self._in_text = tag == "t"
        if tag == "si":
            self.found.append("")

    def end(self, tag: str) -> None:
        self._spoken -= tag == "rPh"
        self._in_text = False

    def text(self, text: str) -> None:
        if self._in_text and not self._spoken and self.found:
            self.found[-1] += text


class _Names(_Reader):
    """Sheets in their order: (name, relation)."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "sheet":
            relation = next((v for k, v in attributes.items() if _local(k) == "id"), "")
            self.found.append((attributes.get("name", ""), relation))

    def end(self, tag: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass


class _Relations(_Reader):
    """Which part a relation names."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "Relationship":
            target = attributes.get("Target", "")
            self.found[attributes.get("Id", "")] = (
                target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
            )

    def end(self, tag: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass


class _Cells(_Reader):
    """One sheet as lines of cells with tabs between; a formula shows its last value."""

    def __init__(self, strings: list[str]) -> None:
        self.found: list[str] = []
        self._strings = strings
        self._row: list[str] = []
        self._kind = ""
        self._value = ""
        self._in_value = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "row":
            self._row = []
        elif tag == "c":
            self._kind, self._value = attributes.get("t", "n"), ""
            gap = _column(attributes.get("r", "")) - len(self._row)
            self._row += [""] * min(max(gap, 0), _MAX_GAP)
        self._in_value = tag in ("v", "t")

    def end(self, tag: str) -> None:
        self._in_value = False
        if tag == "c":
            self._row.append(self._shown())
        elif tag == "row" and any(self._row):
            self.found.append("\t".join(self._row))

    def text(self, text: str) -> None:
        if self._in_value:
            self._value += text

    def _shown(self) -> str:
        if self._kind == "s":
            return self._strings[int(self._value)]
        if self._kind == "b":
            return "TRUE" if self._value == "1" else "FALSE"
        return self._value


def _column(reference: str) -> int:
    """Return the column of "C5": 2. A reference may be left out; then 0, and no gap."""
    number = 0
    for letter in reference[:3]:
        if not "A" <= letter <= "Z":
            break
        number = number * 26 + ord(letter) - 64
    return max(number - 1, 0)


def _xlsx(parts: _Parts) -> str:
    names, relations, strings = _Names(), _Relations(), _Strings()
    parts.read("xl/workbook.xml", names)
    parts.read("xl/_rels/workbook.xml.rels", relations)
    if "xl/sharedStrings.xml" in parts.names:
        parts.read("xl/sharedStrings.xml", strings)
    if len(names.found) > MAX_SHEETS:
        raise _Unreadable
    sheets = []
    for name, relation in names.found:
        part = relations.found.get(relation, "")
        if part in parts.names:  # a chart sheet has no cells, an external one no part
            cells = _Cells(strings.found)
            parts.read(part, cells)
            sheets.append("\n".join((f"# {name}", *cells.found)))
    return "\n\n".join(sheets)


_READERS: dict[str, Callable[[_Parts], str]] = {"docx": _docx, "xlsx": _xlsx}
