"""The simulator's frame codec against botocore's and against damage."""

import zlib
from datetime import UTC, datetime
from uuid import UUID

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy.simulator import frames
from kiroproxy.simulator.frames import FrameFault, HeaderType, Typed

UUID_VALUE = UUID("01020304-0506-0708-090a-0b0c0d0e0f10")
EVERY_TYPE = {
    "true": True,
    "false": False,
    "int8": Typed(HeaderType.INT8, -5),
    "int16": Typed(HeaderType.INT16, -300),
    "int32": 70_000,
    "int64": 2**40,
    "bytes": b"\x00\xff",
    "string": "größe",
    "timestamp": datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
    "uuid": UUID_VALUE,
}
PLAIN = {
    **EVERY_TYPE,
    "int8": -5,
    "int16": -300,
    "timestamp": 1767323045678,
}


def botocore_messages(data: bytes, chunk: int) -> list[tuple[dict[str, object], bytes]]:
    buffer = EventStreamBuffer()
    out = []
    for start in range(0, len(data), chunk):
        buffer.add_data(data[start : start + chunk])
        out += [(message.headers, message.payload) for message in buffer]
    return out


def reseal(raw: bytearray) -> bytes:
    """Recompute both CRCs, so that only the damage under test is left."""
    raw[8:12] = zlib.crc32(raw[:8]).to_bytes(4, "big")
    raw[-4:] = zlib.crc32(raw[:-4]).to_bytes(4, "big")
    return bytes(raw)


def test_decode_returns_every_header_type_it_encoded():
    (frame,) = frames.decode(frames.encode(EVERY_TYPE, b"payload"))
    assert frame.headers == PLAIN
    assert frame.payload == b"payload"
    assert frame.headers["true"] is True


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 10_000])
def test_botocore_reads_what_encode_wrote(chunk):
    stream = frames.encode(EVERY_TYPE, b"{}") + frames.event("assistantResponseEvent", {"a": "ü"})
    first, second = botocore_messages(stream, chunk)
    assert first == ({**PLAIN, "uuid": UUID_VALUE.bytes}, b"{}")
    assert second[0][":event-type"] == "assistantResponseEvent"
    assert second[1] == '{"a":"ü"}'.encode()


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20),
        st.one_of(
            st.booleans(), st.integers(-(2**63), 2**63 - 1), st.binary(), st.text(max_size=50)
        ),
        max_size=6,
    ),
    st.binary(max_size=300),
)
def test_botocore_and_decode_agree_on_any_frame(headers, payload):
    raw = frames.encode(headers, payload)
    assert botocore_messages(raw, len(raw)) == [(headers, payload)]
    (frame,) = frames.decode(raw)
    assert (frame.headers, frame.payload) == (headers, payload)


def test_exception_and_error_frames_carry_their_names_in_headers():
    thrown, failed = frames.decode(
        frames.exception("ThrottlingException", {"message": "slow"}) + frames.error("500", "bad")
    )
    assert thrown.headers[":message-type"] == "exception"
    assert thrown.headers[":exception-type"] == "ThrottlingException"
    assert thrown.json() == {"message": "slow"}
    assert failed.headers == {
        ":error-code": "500",
        ":error-message": "bad",
        ":message-type": "error",
    }
    assert failed.payload == b""


def test_decode_names_a_flipped_bit_wherever_it_is():
    raw = frames.event("assistantResponseEvent", {"content": "x"})
    for position in range(len(raw)):
        broken = bytearray(raw)
        broken[position] ^= 0x10
        with pytest.raises(FrameFault) as caught:
            frames.decode(bytes(broken))
        assert caught.value.kind == ("prelude-crc" if position < 12 else "message-crc")
        with pytest.raises(ParserError):
            botocore_messages(bytes(broken), len(broken))


def test_decode_refuses_every_cut_of_a_frame():
    raw = frames.event("meteringEvent", {"usage": 1})
    for cut in range(1, len(raw)):
        with pytest.raises(FrameFault, match="truncated"):
            frames.decode(raw[:cut])
    assert frames.decode_prefix(raw + raw[:5]) == (frames.decode(raw), raw[:5])


@pytest.mark.parametrize(
    ("position", "value", "kind"),
    [
        (slice(0, 4), (10).to_bytes(4, "big"), "message-too-short"),
        (slice(0, 4), (30 << 20).to_bytes(4, "big"), "message-too-long"),
        (slice(4, 8), (200 << 10).to_bytes(4, "big"), "headers-too-long"),
        (slice(12, 13), b"\x00", "header-name"),
        (slice(12, 13), b"\xf0", "headers-overrun"),
        (slice(14, 15), b"\x0a", "header-type"),
    ],
)
def test_decode_names_each_broken_rule_under_valid_checksums(position, value, kind):
    raw = bytearray(frames.encode({"a": "b"}, b"{}"))
    raw[position] = value
    with pytest.raises(FrameFault) as caught:
        frames.decode(reseal(raw))
    assert caught.value.kind == kind


def test_decode_refuses_a_header_named_twice():
    raw = bytearray(frames.encode({"a": "b", "c": "d"}, b""))
    raw[19] = ord("a")
    with pytest.raises(FrameFault, match="header-duplicate"):
        frames.decode(reseal(raw))


@pytest.mark.parametrize("headers", [{"": "x"}, {"n" * 256: "x"}, {"x": "v" * 40_000}])
def test_encode_refuses_what_the_format_cannot_hold(headers):
    with pytest.raises(ValueError, match=r"header|hold"):
        frames.encode(headers, b"")
