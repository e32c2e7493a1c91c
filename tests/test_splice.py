"""Values that are taken from one text into another: as the reader and the writer would have it."""

import platform
import sys
from random import Random
from typing import Any

import orjson
import pytest

from kiroproxy._json import LongInteger, read, write
from kiroproxy._prompt import read_prompt
from kiroproxy._splice import keep_freed
from kiroproxy._tally import tally
from kiroproxy._turns import Turns

NAME = b"Tool"


def taken(value: bytes) -> bytes | None:
    """Return how a call's input of one member goes on, None where it is left to others."""
    prompt = read_prompt(_request(value), [], b"")
    if prompt is None:
        return None
    expected = [b"Tool", b"x", b"y", write(read(b'{"k":' + value + b"}"))]
    assert prompt.counts == tally([*expected])
    body = Turns(prompt).write(
        b"", b"", before=b"", after=b"", model=b'"m"', wires=[b'"Tool"'], tools=None, keeps=False
    )
    assert body is not None
    return body.partition(b'"input":{"k":')[2].removesuffix(b"}}]}}]")


def _request(value: bytes) -> bytes:
    return (
        b'{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":'
        b'"tool_use","id":"a","name":"Tool","input":{"k":' + value + b'}}]},{"role":"user",'
        b'"content":[{"type":"tool_result","tool_use_id":"a","content":"y"}]}]}'
    )


VALUES = [
    *(b"1", b"-1", b"0", b"10", b"1.5", b"-0.25", b"123456789012345678", b"1234567890123456789"),
    *(b"18446744073709551615", b"true", b"false", b"null", b"[]", b"{}", b"[ 1 , [ 2 ] ]"),
    *(
        b'""',
        b'"a"',
        b'"\\n\\"\\\\"',
        b'"\\/"',
        b'"\\u0041\\u00e9\\ud83d\\udc4b"',
        b'"\\u001F\x7f"',
    ),
    *(b'{ "a" : "b" , "c" : [ { "d" : null } ] }', '"é中👋"'.encode(), b"[" * 60 + b"]" * 60),
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_goes_on_as_the_writer_would_write_it(value: bytes) -> None:
    assert taken(value) == write(read(value))


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"-0",
            b"1e3",
            b"1E3",
            b"1.0e1",
            b"01",
            b"-",
            b"1.",
            b".5",
            b"+1",
            b"1-1",
            b"0x1",
            b"nan",
        ),
        *(b"1" * 30, b"1e999", b"tru", b"nulll", b"[1,]", b"[,]", b'{"a"}', b'{"a":1,}', b'{"":1}'),
        *(b'{"a":1,"a":2}', b'{"\\u0061":1}', b'"\\ud800"', b'"\\u0000"', b'"\xc3"', b'"\xc0\x80"'),
        *(b'"\xf5\x80\x80\x80"', b'"\xe0\x80\x80"', b'"\xf0\x80\x80\x80"', b'"\xf4\x90\x80\x80"'),
        *(b'"\x1f"', b'"\\x"', b'"\\u12"', b"[" * 100 + b"]" * 100),
        b"{" + b",".join(b'"%d":1' % number for number in range(65)) + b"}",
    ],
)
def test_what_would_be_mended_refused_or_written_in_another_way_is_left_to_others(
    value: bytes,
) -> None:
    assert taken(value) is None


def test_every_character_goes_on_as_it_came() -> None:
    random = Random(5)
    everything = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    for _ in range(40):
        text = "".join(random.choices(everything, k=300)) + "".join(random.choices('ab\n"é', k=40))
        assert taken(orjson.dumps(text)) == orjson.dumps(text)
        assert taken(_escaped(text)) == orjson.dumps(text)


def _escaped(text: str) -> bytes:
    units = text.encode("utf-16-be")
    pairs = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return b'"' + b"".join(b"\\u" + pair.encode() for pair in pairs) + b'"'


def test_no_byte_at_any_place_of_a_literal_is_taken_that_python_refuses() -> None:
    for place in range(20):
        for byte in range(256):
            value = bytearray('"abcdefgh é中👋 ijk"'.encode())
            value[place + 1 : place + 2] = bytes([byte])
            kept = taken(bytes(value))
            try:
                meant: Any = orjson.loads(bytes(value))
            except orjson.JSONDecodeError:
                meant = None
            if kept is not None and meant is not None:
                assert kept == orjson.dumps(meant)
            assert (kept is None) == (meant is None), (place, byte)


def test_a_long_integer_is_no_number_of_orjsons() -> None:
    assert isinstance(read(b"1" * 30), LongInteger)
    assert taken(b"1" * 30) is None


def test_memory_is_kept_where_the_c_library_can() -> None:
    kept = keep_freed(8 * 2**20, 2 * 2**20)
    assert kept == (platform.libc_ver()[0] == "glibc")
