"""Base64 checked and decoded by `_base64`, against the standard library."""

import base64
import binascii

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy._base64 import decode, is_plain

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_what_the_library_encodes_is_plain_and_decodes_to_the_same(raw: bytes) -> None:
    text = base64.b64encode(raw).decode()
    assert is_plain(text) and decode(text) == raw


@settings(deadline=None)
@given(st.text(st.sampled_from("AZaz09+/=-_ \n*é字"), max_size=40))
def test_only_what_the_strict_library_takes_is_plain(text: str) -> None:
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        assert not is_plain(text)
        with pytest.raises(ValueError, match="not plain"):
            decode(text)
    else:
        # The library takes "0000=", too, which no encoder writes.
        is_padded_right = text.count("=") == -len(raw) % 3
        assert is_plain(text) is is_padded_right
        assert not is_padded_right or decode(text) == raw


@pytest.mark.parametrize("place", [0, 5, 15, 16, 17, 31, 32, 39])
def test_every_character_is_judged_wherever_it_stands(place: int) -> None:
    for code in range(256):
        text = "A" * place + chr(code) + "A" * (39 - place)
        assert is_plain(text) is (code in ALPHABET or (chr(code) == "=" and place == 39))


def test_a_long_text_is_decoded_whole() -> None:
    raw = bytes(range(256)) * 20_000
    assert decode(base64.b64encode(raw).decode()) == raw
