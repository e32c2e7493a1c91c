"""Images: what goes untouched, what is made smaller and how, what is refused."""

import base64
import io
import subprocess
import sys
import zlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from kiroproxy.errors import RequestError
from kiroproxy.protocol import media
from kiroproxy.protocol.pictures import MAX_BYTES, edge_limit, fitted, is_fit

PATH = "messages.0.content.1.image.source"
EDGE = 8000


def encoded(picture: Image.Image, kind: str, **options: object) -> str:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return base64.b64encode(out.getvalue()).decode()


def opened(data: str) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    picture.load()
    return picture


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture that no format can pack: as many bytes as pixels hold."""
    size = width * height * len(mode)
    return Image.frombytes(mode, (width, height), Random(7).randbytes(size))


def refusal(data: str, edge: int = EDGE) -> str:
    with pytest.raises(RequestError) as error:
        fitted(data, edge, PATH)
    return error.value.message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_an_image_within_the_limits_goes_as_it_is(kind: str) -> None:
    data = encoded(Image.new("RGB", (300, 200), "red"), kind)
    assert is_fit(data, EDGE)
    assert fitted(data, EDGE, PATH) == (f"image/{kind.lower()}", data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_an_image_of_too_many_pixels_is_scaled_and_keeps_its_kind(kind: str) -> None:
    data = encoded(Image.new("RGB", (8100, 810), "red"), kind)
    assert not is_fit(data, EDGE)
    media_type, packed = fitted(data, EDGE, PATH)
    assert media_type == f"image/{kind.lower()}"
    assert opened(packed).format == kind
    assert opened(packed).size == (2576, 258)
    assert opened(packed).convert("RGB").getpixel((1000, 100))[0] > 250
    assert is_fit(packed, EDGE)


def test_an_image_of_too_many_bytes_is_packed_with_loss_before_it_gets_smaller() -> None:
    data = encoded(noise(1500, 1300), "PNG")
    assert len(data) * 3 // 4 > MAX_BYTES
    media_type, packed = fitted(data, EDGE, PATH)
    assert (media_type, opened(packed).size) == ("image/jpeg", (1500, 1300))
    assert len(packed) <= 5_000_000, "5 MB of base64, as Anthropic counts them"


def test_an_image_that_stays_too_large_gets_fewer_pixels() -> None:
    data = encoded(noise(2500, 2500), "PNG")
    _, packed = fitted(data, EDGE, PATH)
    assert len(packed) <= 5_000_000
    assert max(opened(packed).size) < 2500


def test_transparency_survives() -> None:
    clear = noise(1300, 1300, "RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    media_type, packed = fitted(encoded(clear, "PNG"), EDGE, PATH)
    assert media_type == "image/webp"
    assert opened(packed).getchannel("A").getextrema() != (255, 255)


def test_an_alpha_channel_that_hides_nothing_costs_nothing() -> None:
    media_type, _ = fitted(encoded(noise(1300, 1300).convert("RGBA"), "PNG"), EDGE, PATH)
    assert media_type == "image/jpeg"


def test_of_an_animation_the_first_frame_is_left() -> None:
    frames = [Image.new("RGB", (8100, 90), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    packed = opened(fitted(data, EDGE, PATH)[1])
    assert getattr(packed, "n_frames", 1) == 1
    red, _, blue = packed.convert("RGB").getpixel((5, 5))
    assert red > 250 > 5 > blue


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_in_the_metadata_is_applied_once(kind: str) -> None:
    lying = Image.new("RGB", (9000 if kind != "WEBP" else 8200, 900), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    packed = opened(fitted(encoded(lying, kind, exif=exif.tobytes()), EDGE, PATH)[1])
    assert packed.height > packed.width
    assert packed.getexif().get(0x0112, 1) == 1


def test_a_colour_profile_is_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(Image.new("RGB", (9000, 300)), "PNG", icc_profile=profile)
    assert opened(fitted(data, EDGE, PATH)[1]).info["icc_profile"] == profile


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_can_be_scaled(mode: str) -> None:
    _, packed = fitted(encoded(Image.new(mode, (9000, 300)), "PNG"), EDGE, PATH)
    assert opened(packed).width == 2576


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_a_jpeg_for_print_or_in_grey_can_be_scaled(mode: str) -> None:
    _, packed = fitted(encoded(Image.new(mode, (9000, 300)), "JPEG"), EDGE, PATH)
    assert opened(packed).width == 2576


def test_sixteen_bits_of_grey_are_scaled_and_not_cut() -> None:
    grey = Image.new("I;16", (9000, 300), 32768)
    assert opened(fitted(encoded(grey, "PNG"), EDGE, PATH)[1]).getpixel((9, 9)) == 128


def test_one_transparent_colour_stays_transparent() -> None:
    red = encoded(Image.new("RGB", (9000, 300), "red"), "PNG", transparency=(255, 0, 0))
    packed = opened(fitted(red, EDGE, PATH)[1])
    assert packed.convert("RGBA").getpixel((9, 9))[3] == 0


def test_many_images_must_be_smaller_each() -> None:
    data = encoded(Image.new("RGB", (2400, 1800)), "PNG")
    assert is_fit(data, edge_limit(20))
    assert not is_fit(data, edge_limit(21))
    assert opened(fitted(data, edge_limit(21), PATH)[1]).size == (2000, 1500)


def test_a_file_that_claims_far_too_many_pixels_is_never_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    for width, height in ((9_000, 9_000), (30_000, 30_000), (65_000, 65_000)):
        assert refusal(bomb(width, height)) == (
            f"{PATH}.base64.data: At least one of the image dimensions exceed max allowed size: "
            "8000 pixels"
        )


def bomb(width: int, height: int) -> str:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return len(body).to_bytes(4, "big") + checked + zlib.crc32(checked).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))
    body = zlib.compress(bytes(1_000_000), 9)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_half_an_image_is_refused_with_its_path(kind: str, part: float) -> None:
    raw = base64.b64decode(encoded(noise(60, 60), kind))
    data = base64.b64encode(raw[: int(len(raw) * part)]).decode()
    assert not is_fit(data, EDGE)
    assert refusal(data) == f"{PATH}.base64.data: Could not process image"


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0" + bytes(99), b"BM" + bytes(99)],
)
def test_what_is_no_image_is_refused(raw: bytes) -> None:
    data = base64.b64encode(raw).decode()
    assert not is_fit(data, EDGE)
    assert refusal(data).endswith("Could not process image")


def test_another_format_under_a_good_label_is_refused() -> None:
    assert refusal(encoded(Image.new("RGB", (9, 9)), "BMP")).endswith("Could not process image")


def test_an_image_with_something_behind_its_end_is_left_alone() -> None:
    raw = base64.b64decode(encoded(noise(60, 60), "JPEG")) + bytes(200)
    data = base64.b64encode(raw).decode()
    assert not is_fit(data, EDGE)  # its end is not where it should be: decoding decides
    assert fitted(data, EDGE, PATH) == ("image/jpeg", data)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=20),
    edge=st.sampled_from([EDGE, 20]),
)
def test_a_damaged_image_is_scaled_or_refused_and_nothing_else(
    kind: str, changes: list[tuple[float, int]], edge: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (40, 30), "red")
    raw = bytearray(base64.b64decode(encoded(picture, kind, exif=exif.tobytes())))
    for place, value in changes:
        raw[int(place * len(raw))] = value
    data = base64.b64encode(raw).decode()
    is_fit(data, edge)
    try:
        _, packed = fitted(data, edge, PATH)
    except RequestError as fault:
        assert fault.message.startswith(f"{PATH}.base64.data: ")
        return
    assert max(opened(packed).size) <= edge or packed == data


def test_a_scaled_image_counts_as_many_tokens_as_the_large_one() -> None:
    data = encoded(Image.new("RGB", (8100, 5400)), "PNG")

    def tokens(text: str) -> int:
        size = media.image_size(text)
        assert size is not None
        return media.image_tokens(*size, edge=2576, limit=4784)

    assert abs(tokens(fitted(data, EDGE, PATH)[1]) - tokens(data)) <= 70  # one row of patches


def test_pillow_is_not_imported_before_an_image_needs_it() -> None:
    script = "import sys, kiroproxy.server.app; print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.strip() == b"False"
