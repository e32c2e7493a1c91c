"""Tests of the event-stream parser: vectors, every cut, two other readers' verdicts, memory.

data/frames holds one message a file; vectors.json says what each must give and who published
it. botocore's reader is the oracle for generated streams; where we refuse on purpose what it
lets pass, `is_known_looseness` proves the reason from the bytes alone.

The npm reader (@smithy/eventstream-codec 4.5.2) was compared by hand over 9,000 streams of
`random_stream` and `mutate`: no message differed, and it refused nothing that we take. It takes
what we refuse in four ways: a name twice, bytes that are not UTF-8 (replaced), a header that runs
on into the payload, and up to three bytes after the last message.
"""

import base64
import json
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.eventstream import (  # type: ignore[import-untyped]
    EventStreamBuffer,
    ParserError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy._codec import CRC32_PATHS, FAULTS, FrameError, FrameParser, crc32, crc32_by

FRAMES = Path(__file__).parent / "data" / "frames"
VECTORS: dict[str, dict[str, Any]] = json.loads((FRAMES / "vectors.json").read_text())
VALID = sorted(name for name in VECTORS if name.startswith("valid_"))
INVALID = sorted(name for name in VECTORS if name.startswith("invalid_"))
CUTS = (1, 2, 3, 7, 1 << 30)


class Outcome(NamedTuple):
    """What a reader made of a stream."""

    messages: list[tuple[dict[str, Any], bytes]]
    fault: str  # "" = accepted so far
    error: FrameError | None = None


# -- other ways to the same bytes ----------------------------------------------------------


def bytes_of(name: str) -> bytes:
    return (FRAMES / name).read_bytes()


def encode(block: bytes, payload: bytes = b"", *, total: int = -1, headers: int = -1) -> bytes:
    """Make a message with right CRCs, and lengths as told."""
    total = 16 + len(block) + len(payload) if total < 0 else total
    head = struct.pack(">II", total, len(block) if headers < 0 else headers)
    head += struct.pack(">I", zlib.crc32(head)) + block + payload
    return head + struct.pack(">I", zlib.crc32(head))


def string(name: str, value: str) -> bytes:
    raw = value.encode()
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(raw)) + raw


def text_frame(text: str) -> bytes:
    block = string(":event-type", "assistantResponseEvent")
    block += string(":content-type", "application/json") + string(":message-type", "event")
    return encode(block, json.dumps({"content": text}).encode())


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def read(chunks: list[bytes]) -> Outcome:
    parser = FrameParser()
    messages = []
    try:
        for chunk in chunks:
            messages += parser.feed(chunk)
    except FrameError as error:
        messages += error.messages
        return Outcome([(m.headers, m.payload) for m in messages], error.fault, error)
    return Outcome([(m.headers, m.payload) for m in messages], "")


def read_by_botocore(chunks: list[bytes]) -> Outcome:
    reader = EventStreamBuffer()
    messages = []
    try:
        for chunk in chunks:
            reader.add_data(chunk)
            for message in reader:  # one by one: what came before a fault counts
                messages.append((message.headers, message.payload))  # noqa: PERF401
    except (ParserError, struct.error, KeyError, UnicodeDecodeError) as error:
        return Outcome(messages, type(error).__name__)
    return Outcome(messages, "")


def expected_of(name: str) -> tuple[dict[str, Any], bytes]:
    vector = VECTORS[name]
    headers = {
        key: base64.b64decode(value["base64"]) if isinstance(value, dict) else value
        for key, value in vector["headers"].items()
    }
    return headers, vector["payload"].encode()


# -- vectors -------------------------------------------------------------------------------


def test_every_vector_file_is_listed_and_every_fault_has_one() -> None:
    assert sorted(path.name for path in FRAMES.glob("*.bin")) == sorted(VECTORS)
    assert {VECTORS[name]["fault"] for name in INVALID} == set(FAULTS) - {""}


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("name", VALID)
def test_valid_vector_gives_its_message(name: str, size: int) -> None:
    assert read(cut(bytes_of(name), size)) == Outcome([expected_of(name)], "")


@pytest.mark.parametrize("name", VALID)
def test_valid_vector_keeps_header_types_apart(name: str) -> None:
    [(headers, _)] = read([bytes_of(name)]).messages
    wanted, _ = expected_of(name)
    assert [(key, type(value)) for key, value in headers.items()] == [
        (key, type(wanted[key])) for key in headers
    ]


@pytest.mark.parametrize("name", VALID)
def test_valid_vector_survives_a_split_at_every_byte(name: str) -> None:
    stream = bytes_of(name)
    for at in range(len(stream) + 1):
        assert read([stream[:at], stream[at:]]).messages == [expected_of(name)], at


@pytest.mark.parametrize("name", VALID)
def test_valid_vector_routes_as_its_headers_say(name: str) -> None:
    [message] = FrameParser().feed(bytes_of(name))
    for field in ("message_type", "name", "error_message", "content_type"):
        assert getattr(message, field) == VECTORS[name].get(field, ""), field


@pytest.mark.parametrize("size", CUTS)
def test_all_valid_vectors_in_one_stream_give_all_messages(size: int) -> None:
    stream = b"".join(map(bytes_of, VALID))
    assert read(cut(stream, size)).messages == [expected_of(name) for name in VALID]


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("name", INVALID)
def test_invalid_vector_gives_exactly_its_fault(name: str, size: int) -> None:
    vector = VECTORS[name]
    error = read(cut(bytes_of(name), size)).error
    assert error is not None
    found = {key: getattr(error, key) for key in ("fault", "expected", "actual", "offset")}
    assert found == {key: vector[key] for key in found}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_vector_is_refused_whatever_the_split(name: str) -> None:
    stream = bytes_of(name)
    assert {read([stream[:at], stream[at:]]).fault for at in range(len(stream) + 1)} == {
        VECTORS[name]["fault"]
    }


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("name", INVALID)
def test_messages_before_the_damage_are_kept_and_counted(name: str, size: int) -> None:
    before = text_frame("one") + text_frame("two")
    outcome = read(cut(before + bytes_of(name), size))
    assert [payload for _, payload in outcome.messages] == [
        b'{"content": "one"}',
        b'{"content": "two"}',
    ]
    assert outcome.error is not None
    assert outcome.error.offset == len(before) + VECTORS[name]["offset"]


@pytest.mark.parametrize("name", INVALID + VALID)
def test_vectors_are_judged_as_botocore_judges_them(name: str) -> None:
    assert_agreement([bytes_of(name)])


# -- when a fault shows, and what stays ----------------------------------------------------


def test_damaged_length_shows_with_the_twelfth_byte() -> None:
    stream = bytes_of("invalid_corrupted_length.bin")
    parser = FrameParser()
    assert parser.feed(stream[:11]) == []
    with pytest.raises(FrameError, match="prelude-crc at byte 8"):
        parser.feed(stream[11:12])


def test_proven_length_over_the_limit_shows_with_the_twelfth_byte() -> None:
    with pytest.raises(FrameError, match="message-too-long at byte 0: expected 0x1000000"):
        FrameParser().feed(bytes_of("invalid_length_over_16_mib.bin")[:12])


def test_failed_parser_stays_failed_until_reset() -> None:
    parser = FrameParser()
    parser.feed(text_frame("before"))
    errors = []
    for chunk in (bytes_of("invalid_message_checksum.bin"), text_frame("after"), b""):
        with pytest.raises(FrameError) as caught:
            parser.feed(chunk)
        errors.append(caught.value.args)
    assert len(set(errors)) == 1
    assert parser.pending_bytes() == 0
    parser.reset()
    assert len(parser.feed(text_frame("after"))) == 1


def test_reset_starts_offsets_and_carry_anew() -> None:
    parser = FrameParser()
    parser.feed(text_frame("x") * 3 + b"\x00\x00\x00")
    assert parser.pending_bytes() == 3
    parser.reset()
    assert parser.pending_bytes() == 0
    with pytest.raises(FrameError) as caught:
        parser.feed(bytes_of("invalid_prelude_checksum.bin"))
    assert caught.value.offset == 8


def test_pending_counts_the_bytes_of_a_cut_message() -> None:
    stream = text_frame("a") + text_frame("b")
    half = len(stream) // 2
    parser = FrameParser()
    for at in range(1, len(stream) + 1):
        parser.feed(stream[at - 1 : at])
        assert parser.pending_bytes() == at % half


def test_every_flipped_bit_of_a_message_is_noticed() -> None:
    frame = text_frame("flip any bit of this")
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        outcome = read([bytes(damaged) + text_frame("next")])
        assert outcome.fault in {"prelude-crc", "message-crc"}, bit
        assert outcome.messages == []


@pytest.mark.parametrize("size", CUTS)
def test_counting_checks_messages_as_decoding_does(size: int) -> None:
    parser = FrameParser()
    stream = b"".join(map(bytes_of, VALID))
    assert sum(map(parser.count, cut(stream, size))) == len(VALID)
    with pytest.raises(FrameError, match="header-duplicate"):
        parser.count(bytes_of("invalid_duplicate_header.bin"))


def test_any_readable_buffer_can_be_fed() -> None:
    frame = text_frame("x")
    parser = FrameParser()
    for data in (frame, bytearray(frame), memoryview(b"--" + frame)[2:]):
        assert len(parser.feed(data)) == 1
    assert parser.feed(b"") == []
    with pytest.raises(BufferError):
        parser.feed(memoryview(frame)[::2])
    with pytest.raises(TypeError):
        parser.feed("text")  # type: ignore[arg-type]


def test_error_says_fault_place_and_numbers() -> None:
    error = FrameError("message-crc", 0xABCD, 0x1234, 77)
    assert str(error) == "message-crc at byte 77: expected 0xabcd, got 0x1234"
    assert isinstance(error, ValueError)


# -- header blocks -------------------------------------------------------------------------


def test_equal_length_blocks_are_not_mistaken_for_each_other() -> None:
    blocks = [string(":event-type", kind) for kind in ("aaaa", "bbbb", "aaaa", "cccc")]
    typed = [string(":message-type", "event") + block for block in blocks]
    messages = FrameParser().feed(b"".join(map(encode, typed)))
    assert [message.name for message in messages] == ["aaaa", "bbbb", "aaaa", "cccc"]


def test_route_of_a_long_block_does_not_stick_to_an_empty_one() -> None:
    long = string(":message-type", "event") + string(":event-type", "e" * 300)
    messages = FrameParser().feed(encode(long) + encode(b"") + encode(long) + encode(b""))
    assert [(m.message_type, len(m.name)) for m in messages] == [("event", 300), ("", 0)] * 2


def test_refused_block_is_not_remembered_as_good() -> None:
    parser = FrameParser()
    bad = bytes_of("invalid_duplicate_header.bin")
    for _ in range(2):
        parser.reset()
        with pytest.raises(FrameError, match="header-duplicate"):
            parser.feed(bad)


def test_headers_may_come_in_any_order() -> None:
    block = string(":content-type", "t") + string(":exception-type", "E")
    [message] = FrameParser().feed(encode(block + string(":message-type", "exception")))
    assert (message.message_type, message.name, message.content_type) == ("exception", "E", "t")


def test_longest_header_block_is_read_and_a_longer_one_refused() -> None:
    block = string("a", "v" * 65000) + string("b", "v" * 65000)
    block += string("c", "v" * (128 * 1024 - len(block) - 5))
    assert len(block) == 128 * 1024
    [message] = FrameParser().feed(encode(block))
    assert len(message.headers) == 3
    assert read([encode(block + string("d", ""))]).fault == "headers-too-long"


def test_sixteen_thousand_headers_are_told_apart_and_one_more_is_a_duplicate() -> None:
    names = [bytes([2, first, last, 0]) for first in range(128) for last in range(128)]
    block = b"".join(names)
    [message] = FrameParser().feed(encode(block))
    assert len(message.headers) == len(names)
    assert read([encode(block + names[5])]).fault == "header-duplicate"


# -- size and memory -----------------------------------------------------------------------


def test_message_of_the_longest_length_is_read_and_the_carry_shrinks_again() -> None:
    frame = encode(b"", b"x" * (16 * 1024 * 1024 - 16))
    parser = FrameParser()
    for at in range(0, len(frame) - 65536, 65536):
        assert parser.feed(frame[at : at + 65536]) == []
    assert parser.pending_bytes() == len(frame) - 65536
    [message] = parser.feed(frame[-65536:])
    assert len(message.payload) == 16 * 1024 * 1024 - 16
    assert parser.feed(text_frame("small")[:20]) == []
    assert parser.carry_capacity() <= 4096


def test_claimed_length_alone_orders_no_memory() -> None:
    parser = FrameParser()
    prelude = struct.pack(">II", 16 * 1024 * 1024, 0)
    parser.feed(prelude + struct.pack(">I", zlib.crc32(prelude)) + b"x" * 100)
    assert parser.pending_bytes() == 112
    assert parser.carry_capacity() <= 4096


def test_whole_messages_are_read_without_a_carry() -> None:
    parser = FrameParser()
    for _ in range(100):
        parser.feed(text_frame("x") * 5)
    assert parser.carry_capacity() == 0


def test_failure_and_reset_give_the_carry_back() -> None:
    for end in (FrameParser.reset, lambda parser: read_to_failure(parser, b"x" * 50000)):
        parser = FrameParser()
        parser.feed(encode(b"", b"x" * 90000)[:50000])
        assert parser.carry_capacity() >= 50000
        end(parser)
        assert parser.carry_capacity() <= 4096


def read_to_failure(parser: FrameParser, rest: bytes) -> None:
    with pytest.raises(FrameError):
        parser.feed(rest)


def test_ten_thousand_messages_byte_by_byte_hold_no_more_than_one() -> None:
    parser = FrameParser()
    frame = text_frame("x")
    pieces = cut(frame, 1)
    tracemalloc.start()
    try:
        count = sum(len(parser.feed(piece)) for _ in range(10_000) for piece in pieces)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert parser.carry_capacity() <= 4096
    assert held < 100_000


# -- agreement with botocore ---------------------------------------------------------------

# What we refuse and botocore lets pass. It trusts any length whose CRC is right (a message of
# 12 bytes, a header block over the message's end), allows 24 MiB, and cuts a name or a value
# off at the end of the block where the block is too short for it.
LOOSE = {
    "message-too-short",
    "message-too-long",
    "headers-overrun",
    "header-truncated",
}


def is_known_looseness(stream: bytes, ours: Outcome) -> bool:
    """Prove from the bytes that the message we refused breaks the rule we named."""
    if ours.error is None or ours.fault not in LOOSE:
        return False
    at = 0
    for _ in ours.messages:
        at += int.from_bytes(stream[at : at + 4])
    total, headers, crc = struct.unpack(">III", stream[at : at + 12])
    assert crc == zlib.crc32(stream[at : at + 8])
    if ours.fault == "header-truncated":
        assert walks_past_the_end(stream[at + 12 : at + 12 + headers])
    else:
        assert {
            "message-too-short": total < 16,
            "message-too-long": total > 16 * 1024 * 1024,
            "headers-overrun": headers > total - 16,
        }[ours.fault]
    return True


def walks_past_the_end(block: bytes) -> bool:
    fixed = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
    at = 0
    while at < len(block):
        at += 1 + block[at]
        if at >= len(block):
            return True
        kind, at = block[at], at + 1
        if kind in (6, 7):
            at += 2 + int.from_bytes(block[at : at + 2])
        else:
            at += fixed[kind]
    return at > len(block)


def random_header(source: random.Random) -> bytes:
    name = bytes(source.choices(b":-abcdetypmsgx", k=source.randrange(12)))
    kind = source.randrange(10)
    size = (0, 0, 1, 2, 4, 8, 0, 0, 8, 16)[kind]
    value = source.randbytes(size)
    if kind == 6:
        value = source.randbytes(source.randrange(20))
    if kind == 7:
        value = "".join(source.choices("aé漢😀\x00 ", k=source.randrange(9))).encode()
    return (
        bytes([len(name)])
        + name
        + bytes([kind])
        + (struct.pack(">H", len(value)) + value if kind in (6, 7) else value)
    )


def random_stream(source: random.Random) -> list[bytes]:
    frames = []
    for _ in range(source.randrange(1, 5)):
        block = b"".join(random_header(source) for _ in range(source.randrange(5)))
        frames.append(encode(block, source.randbytes(source.randrange(60))))
    return frames


def mutate(source: random.Random, frames: list[bytes]) -> bytes:
    """Damage one message: as a line would, or as a wrong encoder would (CRCs right)."""
    frames = list(frames)
    at = source.randrange(len(frames))
    frame = bytearray(frames[at])
    way = source.randrange(8)
    if way == 0:
        frame[source.randrange(len(frame))] ^= 1 << source.randrange(8)
    elif way == 1:
        del frame[source.randrange(len(frame)) :]
    elif way == 2:
        frame.insert(source.randrange(len(frame)), source.randrange(256))
    elif way < 7:
        frame = bytearray(mutate_sealed(source, bytes(frame)))
    frames[at] = bytes(frame)
    return b"".join(frames)


def mutate_sealed(source: random.Random, frame: bytes) -> bytes:
    """Change lengths or the header block, and make the CRCs right again."""
    total, headers = struct.unpack(">II", frame[:8])
    block, payload = bytearray(frame[12 : 12 + headers]), frame[12 + headers : -4]
    way = source.randrange(5)
    if way == 0:
        return encode(bytes(block), payload, total=max(0, total + source.randrange(-20, 20)))
    if way == 1:
        return encode(bytes(block), payload, headers=max(0, headers + source.randrange(-9, 40)))
    if way == 2:
        claims = (0, 1, 15, 16, 1 << 17, (1 << 24) + 1, (1 << 25) + (1 << 20), (1 << 32) - 1)
        return encode(bytes(block), payload, total=source.choice(claims))
    if way == 3 and block:
        block[source.randrange(len(block))] = source.randrange(256)
    else:
        block += random_header(source) + block[: source.randrange(30)]
    return encode(bytes(block), payload)


def random_cuts(source: random.Random, stream: bytes) -> list[bytes]:
    edges = sorted(source.randrange(len(stream) + 1) for _ in range(source.randrange(6)))
    return [stream[a:b] for a, b in zip([0, *edges], [*edges, len(stream)], strict=True)]


def assert_agreement(chunks: list[bytes]) -> str:
    """Compare verdicts and messages; name what we found, "loose" where only we refuse."""
    ours, theirs = read(chunks), read_by_botocore(chunks)
    if is_known_looseness(b"".join(chunks), ours):
        assert theirs.messages[: len(ours.messages)] == ours.messages
        return ours.fault if theirs.fault else "loose"
    assert bool(ours.fault) == bool(theirs.fault), (ours, theirs)
    assert ours.messages == theirs.messages
    return ours.fault


@pytest.mark.parametrize(
    ("name", "headers", "payload"),
    [
        ("invalid_length_12.bin", {}, b""),
        ("invalid_headers_over_checksum.bin", {"a": b"u" * 12 + b"\x8cC\x1f "}, b""),
        ("invalid_bytes_past_block.bin", {"a": b"abcd"}, b"tail"),
        ("invalid_string_past_block.bin", {"a": True, "b": "abcd"}, b"tail"),
        ("invalid_uuid_cut.bin", {"a": bytes(15)}, b"tail"),
    ],
)
def test_botocore_still_lets_pass_what_we_refuse(
    name: str, headers: dict[str, Any], payload: bytes
) -> None:
    assert read_by_botocore([bytes_of(name)]) == Outcome([(headers, payload)], "")


def test_botocore_still_takes_a_message_over_our_limit() -> None:
    frame = encode(b"", bytes(16 * 1024 * 1024 - 15))
    assert len(read_by_botocore([frame]).messages) == 1
    assert read([frame]).fault == "message-too-long"


@pytest.mark.parametrize("seed", range(4))
def test_random_streams_are_read_as_botocore_reads_them(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(1000):
        stream = b"".join(random_stream(source))
        assert_agreement(random_cuts(source, stream))


@pytest.mark.parametrize("seed", range(8))
def test_damaged_streams_are_refused_as_botocore_refuses_them(seed: int) -> None:
    source = random.Random(1000 + seed)
    verdicts = {
        assert_agreement(random_cuts(source, mutate(source, random_stream(source))))
        for _ in range(3000)
    }
    # The generator reaches every rule; a fault it never made would be a test that cannot fail.
    assert verdicts >= {"", "loose", "prelude-crc", "message-crc", "header-type"}
    assert verdicts >= {"header-name", "header-value", "header-duplicate"}


@settings(max_examples=150, deadline=None)
@given(
    blocks=st.lists(st.binary(max_size=40), min_size=1, max_size=3),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=8),
)
def test_arbitrary_header_blocks_are_judged_as_botocore_judges_them(
    blocks: list[bytes], sizes: list[int]
) -> None:
    assert_agreement(list(cut_by(b"".join(encode(b, b"payload") for b in blocks), sizes)))


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200), sizes=st.lists(st.integers(1, 50), min_size=1))
def test_outcome_does_not_depend_on_the_cuts(data: bytes, sizes: list[int]) -> None:
    stream = text_frame("good") + data
    pieces, whole = read(list(cut_by(stream, sizes))), read([stream])
    assert pieces[:2] == whole[:2]
    assert str(pieces.error) == str(whole.error)


def cut_by(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    while at < len(stream):
        for size in sizes:
            yield stream[at : at + size]
            at += size


@pytest.mark.parametrize("seed", range(3))
def test_outcome_of_damaged_streams_does_not_depend_on_the_cuts(seed: int) -> None:
    source = random.Random(2000 + seed)
    for _ in range(150):
        stream = mutate(source, random_stream(source))
        outcomes = {
            (len(found.messages), str(found.error))
            for found in (read(cut(stream, size)) for size in CUTS)
        }
        assert len(outcomes) == 1, stream


# -- CRC-32 --------------------------------------------------------------------------------

Sum = Callable[[bytes | memoryview, int], int]
SUMS = [pytest.param(crc32, id="chosen")] + [
    pytest.param(lambda data, seed, path=path: crc32_by(path, data, seed), id=path)
    for path in CRC32_PATHS
]


@pytest.mark.parametrize("total", SUMS)
def test_sum_equals_zlib_for_every_length_start_and_seed(total: Sum) -> None:
    source = random.Random(3)
    data = memoryview(source.randbytes(4200 + 64))
    for size in range(4200):
        start, seed = source.randrange(64), source.getrandbits(32)
        piece = data[start : start + size]
        assert total(piece, seed) == zlib.crc32(piece, seed), (size, start, seed)


@pytest.mark.parametrize("total", SUMS)
def test_short_sums_equal_zlib_at_every_alignment(total: Sum) -> None:
    data = memoryview(random.Random(4).randbytes(256))
    for start in range(17):
        for size in range(200):
            piece = data[start : start + size]
            assert total(piece, 0) == zlib.crc32(piece)


@pytest.mark.parametrize("total", SUMS)
def test_sum_equals_zlib_for_a_large_buffer(total: Sum) -> None:
    data = random.Random(5).randbytes(3_000_001)
    assert total(data, 12345) == zlib.crc32(data, 12345)


@pytest.mark.parametrize("total", SUMS)
def test_sum_continues_from_any_prefix(total: Sum) -> None:
    data = random.Random(6).randbytes(300)
    whole = zlib.crc32(data)
    assert all(total(data[at:], total(data[:at], 0)) == whole for at in range(301))


def test_unknown_path_is_refused() -> None:
    with pytest.raises(ValueError, match="abacus"):
        crc32_by("abacus", b"")
