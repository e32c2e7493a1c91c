"""AWS event-stream frames, written out and read back in plain Python.

Rules of this file: it shares nothing with the compiled codec, so that each can judge the other.
It favours being obviously right over being fast, and never accepts a frame it would not write.

    total_length u32 | headers_length u32 | prelude_crc u32 | headers | payload | message_crc u32

Both CRCs are CRC-32/ISO-HDLC (zlib's): the first over the first 8 bytes, the second over all
before it. A header is name_length u8, name, type u8, value.

Source: the AWS "event stream encoding" specification; limits as botocore/eventstream.py has them.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final
from uuid import UUID

import orjson

PRELUDE_BYTES: Final = 12
OVERHEAD_BYTES: Final = 16  # prelude and trailing CRC
MAX_HEADERS_BYTES: Final = 128 * 1024
MAX_PAYLOAD_BYTES: Final = 24 * 1024 * 1024


class HeaderType(IntEnum):
    """The wire's ten value types."""

    TRUE = 0
    FALSE = 1
    INT8 = 2
    INT16 = 3
    INT32 = 4
    INT64 = 5
    BYTES = 6
    STRING = 7
    TIMESTAMP = 8  # int64 milliseconds since the epoch
    UUID = 9


@dataclass(frozen=True, slots=True)
class Typed:
    """A header value whose wire type is chosen, where Python's own type says too little."""

    kind: HeaderType
    value: bool | int | bytes | str | UUID


Value = bool | int | bytes | str | UUID
Headers = Mapping[str, "Value | Typed | datetime"]

_INTEGERS: Final = {
    HeaderType.INT8: ">b",
    HeaderType.INT16: ">h",
    HeaderType.INT32: ">i",
    HeaderType.INT64: ">q",
    HeaderType.TIMESTAMP: ">q",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded message: timestamps are int milliseconds, everything else its Python type."""

    headers: dict[str, Value]
    payload: bytes

    def json(self) -> object:
        """Parse the payload."""
        return orjson.loads(self.payload)


class FrameFault(ValueError):
    """Bytes that are not an event stream; `kind` names the rule that was broken."""

    def __init__(self, kind: str, offset: int, expected: int = 0, actual: int = 0) -> None:
        self.kind, self.offset, self.expected, self.actual = kind, offset, expected, actual
        super().__init__(f"{kind} at byte {offset}: expected {expected}, got {actual}")


def encode(headers: Headers, payload: bytes) -> bytes:
    """Write one frame.

    Shape: bool, int (32 or 64 bit by size), bytes, str, datetime and UUID find their wire type
    themselves; `Typed` chooses one.
    Raises: ValueError — a name or value that the format cannot hold.
    """
    block = b"".join(_encode_header(name, value) for name, value in headers.items())
    if len(block) > MAX_HEADERS_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError("frame too long")
    head = struct.pack(">II", OVERHEAD_BYTES + len(block) + len(payload), len(block))
    body = head + struct.pack(">I", zlib.crc32(head)) + block + payload
    return body + struct.pack(">I", zlib.crc32(body))


def event(name: str, payload: Mapping[str, object] | bytes) -> bytes:
    """Write an event frame in Kiro's header order."""
    return encode(
        {":event-type": name, ":content-type": "application/json", ":message-type": "event"},
        payload if isinstance(payload, bytes) else orjson.dumps(payload),
    )


def exception(name: str, payload: Mapping[str, object] | bytes) -> bytes:
    """Write a modelled exception frame."""
    return encode(
        {
            ":exception-type": name,
            ":content-type": "application/json",
            ":message-type": "exception",
        },
        payload if isinstance(payload, bytes) else orjson.dumps(payload),
    )


def error(code: str, message: str) -> bytes:
    """Write an unmodelled error frame: everything is in the headers, the payload is empty."""
    return encode({":error-code": code, ":error-message": message, ":message-type": "error"}, b"")


def decode(data: bytes) -> list[Frame]:
    """Read a whole stream.

    Raises: FrameFault — at the first broken frame, or with kind "truncated" when bytes of an
    unfinished frame are left at the end.
    """
    frames, rest = decode_prefix(data)
    if rest:
        raise FrameFault("truncated", len(data) - len(rest), actual=len(rest))
    return frames


def decode_prefix(data: bytes) -> tuple[list[Frame], bytes]:
    """Read the whole frames at the head of `data`; the bytes after them come back unread."""
    frames: list[Frame] = []
    offset = 0
    while len(data) - offset >= PRELUDE_BYTES:
        total = _check_prelude(data, offset)
        if len(data) - offset < total:
            break
        frames.append(_decode_one(data[offset : offset + total], offset))
        offset += total
    return frames, data[offset:]


def join(frames: Iterable[bytes]) -> bytes:
    """Put encoded frames into one stream body."""
    return b"".join(frames)


def _encode_header(name: str, value: "Value | Typed | datetime") -> bytes:
    raw = name.encode()
    if not 1 <= len(raw) <= 255:
        raise ValueError(f"header name of {len(raw)} bytes")
    kind, plain = _type_of(value)
    return bytes([len(raw)]) + raw + bytes([kind]) + _encode_value(kind, plain)


def _type_of(value: "Value | Typed | datetime") -> tuple[HeaderType, Value]:
    match value:
        case Typed():
            return value.kind, value.value
        case bool():  # before int: a bool is one
            return (HeaderType.TRUE if value else HeaderType.FALSE), value
        case int():
            return (HeaderType.INT32 if -(2**31) <= value < 2**31 else HeaderType.INT64), value
        case str():
            return HeaderType.STRING, value
        case datetime():
            return HeaderType.TIMESTAMP, int(value.timestamp() * 1000)
        case UUID():
            return HeaderType.UUID, value
        case bytes():
            return HeaderType.BYTES, value


def _encode_value(kind: HeaderType, value: Value) -> bytes:
    if kind in (HeaderType.TRUE, HeaderType.FALSE):
        return b""
    if kind in _INTEGERS:
        return struct.pack(_INTEGERS[kind], value)
    if isinstance(value, UUID):
        return value.bytes
    raw = value.encode() if isinstance(value, str) else value
    if not isinstance(raw, bytes) or len(raw) > 0x7FFF:
        raise ValueError(f"{kind.name} header cannot hold {value!r}")
    return struct.pack(">H", len(raw)) + raw


def _check_prelude(data: bytes, offset: int) -> int:
    """Return the frame's length; the CRC is checked first, or a broken length would be believed."""
    total, headers, crc = struct.unpack_from(">III", data, offset)
    actual = zlib.crc32(data[offset : offset + 8])
    if crc != actual:
        raise FrameFault("prelude-crc", offset, crc, actual)
    if headers > MAX_HEADERS_BYTES:
        raise FrameFault("headers-too-long", offset, MAX_HEADERS_BYTES, headers)
    if total < OVERHEAD_BYTES + headers:
        raise FrameFault("message-too-short", offset, OVERHEAD_BYTES + headers, total)
    if total - headers - OVERHEAD_BYTES > MAX_PAYLOAD_BYTES:
        raise FrameFault("message-too-long", offset, MAX_PAYLOAD_BYTES, total)
    return int(total)


def _decode_one(raw: bytes, offset: int) -> Frame:
    (crc,) = struct.unpack_from(">I", raw, len(raw) - 4)
    actual = zlib.crc32(raw[:-4])
    if crc != actual:
        raise FrameFault("message-crc", offset, crc, actual)
    (headers_length,) = struct.unpack_from(">I", raw, 4)
    end = PRELUDE_BYTES + headers_length
    return Frame(_decode_headers(raw[PRELUDE_BYTES:end], offset + PRELUDE_BYTES), raw[end:-4])


def _decode_headers(block: bytes, offset: int) -> dict[str, Value]:
    headers: dict[str, Value] = {}
    at = 0
    while at < len(block):
        name_raw, after = _take(block, at + 1, block[at], offset)
        if not name_raw:
            raise FrameFault("header-name", offset + at)
        name = name_raw.decode()
        kind_raw, after = _take(block, after, 1, offset)
        value, after = _decode_value(kind_raw[0], block, after, offset)
        if name in headers:
            raise FrameFault("header-duplicate", offset + at)
        headers[name] = value
        at = after
    return headers


def _decode_value(kind: int, block: bytes, at: int, offset: int) -> tuple[Value, int]:
    if kind in (HeaderType.TRUE, HeaderType.FALSE):
        return kind == HeaderType.TRUE, at
    if kind in (HeaderType.BYTES, HeaderType.STRING):
        length, at = _take(block, at, 2, offset)
        raw, at = _take(block, at, int.from_bytes(length, "big"), offset)
        return (raw.decode() if kind == HeaderType.STRING else raw), at
    if kind == HeaderType.UUID:
        raw, at = _take(block, at, 16, offset)
        return UUID(bytes=raw), at
    if kind not in HeaderType.__members__.values():
        raise FrameFault("header-type", offset + at - 1, HeaderType.UUID, kind)
    form = _INTEGERS[HeaderType(kind)]
    raw, at = _take(block, at, struct.calcsize(form), offset)
    return int(struct.unpack(form, raw)[0]), at


def _take(block: bytes, at: int, size: int, offset: int) -> tuple[bytes, int]:
    if at + size > len(block):
        raise FrameFault("headers-overrun", offset + at, len(block) - at, size)
    return block[at : at + size], at + size
