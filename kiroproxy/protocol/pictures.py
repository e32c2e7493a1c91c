"""Images too large for Kiro, made small enough without losing what a model would see.

Rules of this file: an image within the limits is passed on byte for byte. One that is not keeps
its kind (PNG, JPEG, WebP, GIF) where that is small enough, its orientation and its colours; of
an animation the first frame is left, the only one a model is shown. Pillow is imported when the
first such image comes: a start must not pay for it.

Theory of operation. Claude itself scales every image down to 2576 pixels a side (older models to
1568), so an image is scaled to that and not to Kiro's limit: nothing is lost that the model
could have seen, and decoding and sending cost less. If that is still too many bytes (a
photograph as PNG), it is packed with loss, and only then made smaller.

Cost: about 1 s for 64 megapixels, and their memory (4 bytes each); Pillow lets other threads run
meanwhile.

Source: Kiro's IMAGE_SIZE_EXCEEDED at 5 MiB; Anthropic's vision guide for 8000, 2576 and 2000.
"""

import binascii
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING

from kiroproxy._base64 import decode
from kiroproxy.errors import RequestError
from kiroproxy.protocol import media

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 5 * 1024 * 1024
MAX_EDGE = 8000
# In a request of more than this many images each must be smaller.
MANY_IMAGES = 20
MAX_EDGE_OF_MANY = 2000
# What Claude's own limits allow, 8000 by 8000, and some; a file of 100 kB can claim far more.
MAX_PIXELS = 80_000_000

_SHOWN_EDGE = 2576
# Small enough also where the 5 MB are counted in base64, as Anthropic counts them.
_TARGET_BYTES = 3_750_000
_QUALITY = 88
_LEAST_EDGE = 256
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_MEDIA_TYPES = {kind: f"image/{kind.lower()}" for kind in _FORMATS}
# How a whole file ends. What does not end so may still be whole; then decoding tells.
_ENDS = {b"\x89P": b"IEND\xaeB`\x82", b"\xff\xd8": b"\xff\xd9"}


class _Unusable(Exception):
    """Why an image cannot be shown to a model, in Anthropic's words."""


def edge_limit(images: int) -> int:
    """Return how many pixels a side an image may have in a request of so many."""
    return MAX_EDGE_OF_MANY if images > MANY_IMAGES else MAX_EDGE


def is_fit(data: str, edge: int) -> bool:
    """Tell whether base64 of an image may go as it is; False asks for `fitted`.

    Cost: decodes its head and its last bytes.
    """
    if len(data) * 3 // 4 - data.count("=", -2) > MAX_BYTES:
        return False
    size = media.image_size(data)
    return size is not None and max(size) <= edge and _has_its_end(data)


def _has_its_end(data: str) -> bool:
    first, last = _decoded(data[:16]), _decoded(data[-64:])
    if first[:4] == b"RIFF":
        return int.from_bytes(first[4:8], "little") + 8 <= len(data) * 3 // 4
    if first[:3] == b"GIF":
        return last.rstrip(b"\0").endswith(b";")
    return _ENDS.get(first[:2], b"?") in last


def _decoded(data: str) -> bytes:
    try:
        return binascii.a2b_base64(data)
    except (binascii.Error, ValueError):
        return b""


def fitted(data: str, edge: int, path: str) -> tuple[str, str]:
    """Return (media type, base64) of an image within the limits.

    Raises: RequestError — damaged, or more pixels than may be decoded.
    """
    try:
        kind, packed = _fitted(data, edge)
    except _Unusable as fault:
        raise RequestError(f"{path}.base64.data: {fault}") from fault
    return _MEDIA_TYPES[kind], data if packed is None else packed


def _fitted(data: str, edge: int) -> tuple[str, str | None]:
    """Return (kind, base64); None for an image that was whole and small enough all along."""
    from PIL import Image, UnidentifiedImageError

    # Damaged metadata are no reason to complain on stderr, past the log and its masks.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    too_many_pixels = _Unusable(
        f"At least one of the image dimensions exceed max allowed size: {edge} pixels"
    )
    try:
        raw = decode(data)
        with Image.open(BytesIO(raw), formats=_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise too_many_pixels
            kind = str(picture.format)
            is_small = len(raw) <= MAX_BYTES and max(picture.size) <= edge
            if is_small:
                picture.load()
                return kind, None
            for packed in _attempts(_shown(picture, min(edge, _SHOWN_EDGE)), kind):
                if len(packed) <= _TARGET_BYTES:
                    break
            return _kind_of(packed), binascii.b2a_base64(packed, newline=False).decode()
    # Pillow's own limit lies a little higher; the warning is one where warnings are errors.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise too_many_pixels from fault
    # Broken files raise nearly anything from inside a decoder; none of it is ours.
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, TypeError) as fault:
        raise _Unusable("Could not process image") from fault
    except (IndexError, KeyError, ArithmeticError, RuntimeError) as fault:
        raise _Unusable("Could not process image") from fault


def _kind_of(packed: bytes) -> str:
    return next(kind for kind, sign in _SIGNS.items() if packed.startswith(sign))


_SIGNS = {"PNG": b"\x89PNG", "JPEG": b"\xff\xd8", "WEBP": b"RIFF", "GIF": b"GIF8"}


def _shown(picture: "Image", edge: int) -> "Image":
    """Return the first frame, upright, in plain colours, at most `edge` pixels a side."""
    from PIL import Image, ImageOps

    profile, mode = picture.info.get("icc_profile"), picture.mode
    picture.draft(None, (edge, edge))  # a JPEG is decoded smaller from the start
    picture.load()
    plain = _plain(picture)
    plain.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=3.0)
    upright = ImageOps.exif_transpose(plain)
    upright.info.pop("exif", None)
    if profile and mode in ("L", "LA", "RGB", "RGBA"):  # a profile of CMYK says nothing about RGB
        upright.info["icc_profile"] = profile
    else:
        upright.info.pop("icc_profile", None)
    return upright


def _plain(picture: "Image") -> "Image":
    """Return L, LA, RGB or RGBA: what can be scaled smoothly and packed in any kind."""
    if picture.mode.startswith(("I", "F")):  # 16 bits of grey; `convert` would cut, not scale
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if picture.mode in ("L", "LA", "RGB", "RGBA"):
        if "transparency" in picture.info:  # one colour that stands for nothing
            return picture.convert("RGBA")
        is_solid = picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255)
        return picture.convert("RGB") if is_solid else picture
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _attempts(picture: "Image", kind: str) -> Iterator[bytes]:
    """Yield ever smaller files: in kind, with loss, with fewer pixels."""
    from PIL import Image

    profile = picture.info.get("icc_profile")
    yield _packed(picture, kind, profile)
    lossy = "WEBP" if picture.mode in ("LA", "RGBA") else "JPEG"
    while True:
        packed = _packed(picture, lossy, profile)
        yield packed
        if max(picture.size) <= _LEAST_EDGE:  # at most 256 kB raw: the attempt before fitted
            return
        smaller = (max(1, picture.width * 3 // 4), max(1, picture.height * 3 // 4))
        picture = picture.resize(smaller, Image.Resampling.LANCZOS)


def _packed(picture: "Image", kind: str, profile: bytes | None) -> bytes:
    from PIL import Image

    if kind == "JPEG" and picture.mode in ("LA", "RGBA"):
        kind = "PNG"  # cannot come from a JPEG; kept so that no transparency turns black
    if kind == "WEBP" and picture.mode in ("L", "LA"):
        picture = picture.convert("RGBA" if picture.mode == "LA" else "RGB")
    if kind == "GIF" and picture.mode in ("RGB", "RGBA"):
        picture = picture.quantize(method=Image.Quantize.FASTOCTREE)  # the others take seconds
    out = BytesIO()
    options = {} if kind in ("PNG", "GIF") else {"quality": _QUALITY}
    picture.save(out, kind, icc_profile=profile, **options)
    return out.getvalue()
