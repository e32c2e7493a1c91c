"""The comparison of keys, against the library's own, and which headers it reads."""

import hmac
from random import Random

import pytest

from kiroproxy._keys import KeyCheck, is_same

KEY = "sk-test-0123456789"


def test_two_texts_are_the_same_where_the_library_says_so() -> None:
    random = Random(3)
    equal = 0
    for _ in range(20_000):
        # Of two letters and up to three long: repetitions and prefixes of each other come up.
        one, other = (bytes(random.choices(b"ab", k=random.randrange(4))) for _ in range(2))
        assert is_same(one, other) == hmac.compare_digest(one, other)
        equal += one == other
    assert 1000 < equal < 10_000


@pytest.mark.parametrize("place", range(18))
@pytest.mark.parametrize("bit", [1, 128])
def test_a_single_bit_makes_a_difference_wherever_it_is(place: int, bit: int) -> None:
    other = bytearray(KEY.encode())
    assert is_same(bytes(other), KEY.encode())
    other[place] ^= bit
    assert not is_same(bytes(other), KEY.encode())


@pytest.mark.parametrize("times", [2, 256, 65536])
def test_a_key_that_is_repeated_is_another(times: int) -> None:
    assert not is_same(KEY.encode() * times, KEY.encode())
    assert not is_same(KEY.encode(), KEY.encode() * times)


@pytest.mark.parametrize(
    "headers",
    [
        {b"x-api-key": KEY.encode()},
        {b"x-api-key": b" \t" + KEY.encode() + b"\r\x0b"},
        {b"authorization": b"Bearer " + KEY.encode()},
        {b"authorization": b"bEARER   " + KEY.encode() + b" "},
        {b"authorization": b"Bearer wrong", b"x-api-key": KEY.encode()},
        {b"authorization": b"Bearer " + KEY.encode(), b"x-api-key": b"wrong"},
        {b"authorization": b"Basic \xff", b"x-api-key": KEY.encode()},
    ],
)
def test_any_right_key_is_enough(headers: dict[bytes, bytes]) -> None:
    assert KeyCheck(KEY).admits(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"x-api-key": b""},
        {b"x-api-key": KEY.encode()[:-1]},
        {b"x-api-key": KEY.encode() + b"0"},
        {b"x-api-key": KEY.encode() + b"\0"},
        {b"authorization": KEY.encode()},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer\t" + KEY.encode()},
        {b"authorization": b"Bearer\0" + KEY.encode()},
        {b"authorization": b"Basic " + KEY.encode()},
        {b"authorization": b" Bearer " + KEY.encode()},
    ],
)
def test_nothing_else_is(headers: dict[bytes, bytes]) -> None:
    assert not KeyCheck(KEY).admits(headers)


def test_an_empty_key_admits_nobody() -> None:
    nobody = KeyCheck("")
    for value in (b"", b" ", b"x"):
        assert not nobody.admits({b"x-api-key": value, b"authorization": b"Bearer " + value})


def test_a_key_beyond_ascii_is_read_as_headers_carry_it() -> None:
    check = KeyCheck("schl\u00fcssel-0123")
    latin = "schl\u00fcssel-0123".encode("latin-1")
    assert check.admits({b"x-api-key": latin}) and check.admits(
        {b"authorization": b"Bearer " + latin}
    )
    assert not check.admits({b"x-api-key": "schl\u00fcssel-0123".encode()})
