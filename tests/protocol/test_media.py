"""Image headers and PDF pages, whole, cut short and damaged."""

import base64
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiroproxy.protocol.media import image_size, image_tokens, pdf_pages

# A loaded machine is not a failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
STANDARD = {"edge": 1568, "limit": 1568}
HIGH = {"edge": 2576, "limit": 4784}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(width: int, height: int) -> bytes:
    body = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body
    return head + struct.pack(">I", zlib.crc32(body))


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)


def jpeg(width: int, height: int, marker: int = 0xC0, metadata: int = 0) -> bytes:
    app = b"\xff\xe1" + struct.pack(">H", 2 + 60000) + b"\xff" * 60000
    frame = struct.pack(">BBHBHHB", 0xFF, marker, 11, 8, height, width, 1) + b"\x01\x11\x00"
    # A Huffman table (C4) lies in the same range of markers and must be stepped over.
    return b"\xff\xd8" + app * metadata + b"\xff\xc4\x00\x04\x11\x22" + frame + b"\xff\xd9"


def webp(kind: bytes, body: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def webp_lossy(width: int, height: int) -> bytes:
    scaled = struct.pack("<HH", width | 1 << 14, height | 2 << 14)
    return webp(b"VP8 ", b"\x30\x01\x00\x9d\x01\x2a" + scaled)


def webp_lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14))


def webp_extended(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", b"\x10\0\0\0" + sides)


IMAGES = {
    "png": png(1280, 720),
    "gif": gif(1280, 720),
    "jpeg": jpeg(1280, 720),
    "progressive jpeg": jpeg(1280, 720, marker=0xC2),
    "jpeg behind 180 kB of metadata": jpeg(1280, 720, metadata=3),
    "lossy webp": webp_lossy(1280, 720),
    "lossless webp": webp_lossless(1280, 720),
    "extended webp": webp_extended(1280, 720),
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_size_is_read_from_the_header(image: bytes) -> None:
    assert image_size(b64(image + b"\0" * 50)) == (1280, 720)


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_line_breaks_in_base64_do_not_hide_the_size(image: bytes) -> None:
    wrapped = base64.encodebytes(image).decode().replace("\n", "\r\n")
    assert image_size(wrapped) == (1280, 720)


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_header_cut_anywhere_has_a_size_or_none_but_no_error(image: bytes) -> None:
    for length in {*range(min(len(image), 64)), *range(max(0, len(image) - 64), len(image))}:
        assert image_size(b64(image[:length])) in (None, (1280, 720))


@pytest.mark.parametrize("data", ["", "!!!!", "data:image/png;base64,iVBOR", b64(b"<svg/>"), "é"])
def test_anything_else_has_no_size(data: str) -> None:
    assert image_size(data) is None


def test_zero_sized_image_has_no_size() -> None:
    assert image_size(b64(png(0, 720))) is None


@unhurried
@given(st.binary(max_size=64), st.sampled_from([b"\xff\xd8", b"RIFF\0\0\0\0WEBP", b"GIF8", b""]))
def test_no_bytes_break_the_reader(body: bytes, start: bytes) -> None:
    image_size(b64(start + body))
    pdf_pages(b64(body))


# Input tokens measured on the API for one image, less those of its prompt.
@pytest.mark.parametrize(
    ("width", "height", "standard", "high"),
    [
        (256, 256, 100, 100),
        (512, 512, 361, 361),
        (768, 768, 784, 784),
        (1024, 1024, 1369, 1369),
        (1280, 720, 1196, 1196),
        (1920, 1080, 1560, 2691),
        (1080, 1920, 1560, 2691),
        (2000, 1125, 1560, 2952),
        (2000, 1500, 1564, 3888),
    ],
)
def test_measured_image_costs_are_exact(width: int, height: int, standard: int, high: int) -> None:
    assert image_tokens(width, height, **STANDARD) == standard
    assert image_tokens(width, height, **HIGH) == high


@unhurried
@given(st.integers(1, 60_000), st.integers(1, 60_000))
def test_no_image_exceeds_the_limit_or_is_free(width: int, height: int) -> None:
    assert 1 <= image_tokens(width, height, **STANDARD) <= 1568
    assert 1 <= image_tokens(width, height, **HIGH) <= 4784


def pdf(pages: int, *, packed: bool = False, filler: int = 0) -> bytes:
    tree = b"1 0 obj <</Type /Pages /Count %d>> endobj\n" % pages
    leaves = b"".join(b"%d 0 obj <</Type/Page /Parent 1 0 R>> endobj\n" % n for n in range(pages))
    if packed:
        stream = zlib.compress(tree + leaves)
        leaves = b"9 0 obj <</Type /ObjStm /Filter /FlateDecode /Length %d>>\nstream\n" % len(
            stream
        )
        leaves += stream + b"\nendstream endobj\n"
        tree = b""
    return b"%PDF-1.7\n" + tree + leaves + b"\0" * filler + b"%%EOF"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("pages", [1, 2, 57])
def test_pages_of_a_pdf_are_counted(pages: int, packed: bool) -> None:
    assert pdf_pages(b64(pdf(pages, packed=packed))) == pages


def test_pages_beyond_the_sample_are_estimated_from_it() -> None:
    page = b"<</Type /Page>>" + b"\0" * 50_000
    assert pdf_pages(b64(b"%PDF-1.4" + page * 100)) == pytest.approx(100, rel=0.1)


def test_pdf_without_visible_pages_is_estimated_by_its_size() -> None:
    assert pdf_pages(b64(b"%PDF-1.7" + b"\0" * 300_000)) == 9
    assert pdf_pages("not base64 at all!") == 1


def test_packed_objects_that_claim_too_much_stay_within_their_budget() -> None:
    bomb = zlib.compress(b"<</Type /Page>>" + b"\0" * 100_000_000)
    head = b"1 0 obj <</Type /ObjStm>>\nstream\n"
    assert pdf_pages(b64(b"%PDF-1.7 " + (head + bomb) * 5)) >= 1
