"""How large an image or a PDF is: pixels, patches and pages, from its base64 text.

Rules of this file: nothing is decoded further than its size asks for, and damaged data has
no size (None), it is never an error: whether a block is acceptable is decided elsewhere.

Source: Anthropic's vision guide for the patches; PNG (ISO 15948 §11.2.2), GIF89a §18,
JPEG (ITU T.81 annex B), WebP (RFC 9649 §2), PDF (ISO 32000-1 §7.5.7, §7.7.3).
"""

import binascii
import math
import re
import zlib

# A JPEG's frame header stands behind its metadata; EXIF and ICC segments reach 64 kB each.
_IMAGE_HEAD_BYTES = 256 * 1024
# Pages are counted in this much of a PDF and scaled: a 20 MB document must not stop the loop.
_PDF_SAMPLE_BYTES = 1024 * 1024
# What the compressed objects of one sample may unpack to in all, whatever they claim.
_PDF_UNPACKED_BYTES = 4 * 1024 * 1024
# A page of text without pictures, as LaTeX and Word write it; used when no page can be seen.
_PDF_PAGE_BYTES = 30 * 1024

# Claude sees an image as squares of this many pixels a side, one token each.
_PATCH = 28

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_OBJECT_STREAM = re.compile(rb"/Type\s*/ObjStm\b.{0,400}?stream\r?\n", re.DOTALL)
# Every JPEG frame header; C4, C8 and CC share the range and are something else.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def image_size(data: str) -> tuple[int, int] | None:
    """Return (width, height) of a base64 PNG, JPEG, GIF or WebP.

    Units: pixels as stored; an EXIF rotation swaps them, which changes no area.
    """
    head = _decoded(data[:88], 64)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        size = _number(head, 16, 4), _number(head, 20, 4)
    elif head[:4] == b"GIF8":
        size = _little(head, 6, 2), _little(head, 8, 2)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        size = _webp(head)
    elif head[:2] == b"\xff\xd8":
        size = _jpeg(_decoded(data, _IMAGE_HEAD_BYTES))
    else:
        return None
    return size if size[0] > 0 and size[1] > 0 else None


def image_tokens(width: int, height: int, *, edge: int, limit: int) -> int:
    """Return the patches of an image after Claude has shrunk it to its limits.

    Units: pixels in, tokens out; `edge` is the longest side, `limit` the most patches.
    """
    longest, area = max(width, height), width * height
    scale = min(1.0, edge / longest, math.sqrt(limit * _PATCH**2 / area))
    while True:
        shown = max(1, int(longest * scale))
        patches = math.ceil(max(1, round(width * scale)) / _PATCH) * math.ceil(
            max(1, round(height * scale)) / _PATCH
        )
        if patches <= limit:
            return patches
        # The last, partly filled row or column is too much: one pixel less, until it is gone.
        scale = (shown - 1) / longest


def pdf_pages(data: str) -> int:
    """Return the number of pages of a base64 PDF, at least 1; an estimate beyond the first MB."""
    whole = len(data) * 3 // 4
    raw = _decoded(data, _PDF_SAMPLE_BYTES)
    if not raw:
        return max(1, whole // _PDF_PAGE_BYTES)
    pages = len(_PAGE.findall(raw)) or _packed_pages(raw)
    if not pages:
        return max(1, whole // _PDF_PAGE_BYTES)
    return max(1, round(pages * max(whole, len(raw)) / len(raw)))


def _decoded(data: str, limit_bytes: int) -> bytes:
    """Decode the start of a base64 text; line breaks and a missing end do not matter."""
    text = "".join(data[: limit_bytes * 4 // 3].split())
    try:
        return binascii.a2b_base64(text[: len(text) & ~3])
    except (binascii.Error, ValueError):
        return b""


def _number(data: bytes, at: int, length: int) -> int:
    part = data[at : at + length]
    return int.from_bytes(part, "big") if len(part) == length else 0


def _little(data: bytes, at: int, length: int) -> int:
    part = data[at : at + length]
    return int.from_bytes(part, "little") if len(part) == length else 0


def _webp(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if len(head) < 25:  # the lossless header is the shortest of the three
        return 0, 0
    if kind == b"VP8X":  # extended: 24-bit sizes, each less one
        return (_little(head, 24, 3) + 1, _little(head, 27, 3) + 1) if len(head) >= 30 else (0, 0)
    if kind == b"VP8L":  # lossless: two 14-bit sizes, each less one
        bits = _little(head, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    # Lossy: 14-bit sizes below two scaling bits.
    return _little(head, 26, 2) & 0x3FFF, _little(head, 28, 2) & 0x3FFF


def _jpeg(head: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return 0, 0
        marker = head[at + 1]
        if marker in _FRAME_HEADERS:
            return _number(head, at + 7, 2), _number(head, at + 5, 2)
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            at += 2
        else:
            at += 2 + max(2, _number(head, at + 2, 2))
    return 0, 0


def _packed_pages(raw: bytes) -> int:
    """Count pages inside compressed object streams, where PDF 1.5 and later may keep them."""
    pages, budget = 0, _PDF_UNPACKED_BYTES
    for found in _OBJECT_STREAM.finditer(raw):
        if budget <= 0:
            break
        try:
            objects = zlib.decompressobj().decompress(raw[found.end() :], budget)
        except zlib.error:  # another filter, or encrypted
            continue
        budget -= len(objects)
        pages += len(_PAGE.findall(objects))
    return pages
