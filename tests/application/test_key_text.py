"""A key's text is recognised by its form, and one that was mistyped or cut needs no read."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.key_text import PATTERN, id_in, key_text, letters

KEY = key_text("0Ab9Zz4Kq7Lm", "s" * 43)


def test_a_key_has_the_form_that_scanners_are_told() -> None:
    assert PATTERN.fullmatch(KEY)
    assert KEY.startswith("chsp_0Ab9Zz4Kq7Lm_")
    body, check = KEY[:-6], KEY[-6:]
    assert check == letters(zlib.crc32(body.encode()), 6)
    assert id_in(KEY) == "0Ab9Zz4Kq7Lm"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "chsp_",
        KEY[:-1],
        KEY + "x",
        KEY + "\n",
        " " + KEY,
        KEY.lower(),
        KEY.replace("_", "-"),
        KEY[:-6] + "000000",
    ],
)
def test_what_is_cut_or_has_a_wrong_checksum_holds_no_id(text: str) -> None:
    assert id_in(text) is None


@given(st.integers(0, len(KEY) - 1), st.sampled_from("0aZ_"))
def test_one_wrong_character_is_found(place: int, character: str) -> None:
    text = KEY[:place] + character + KEY[place + 1 :]
    assert id_in(text) == ("0Ab9Zz4Kq7Lm" if text == KEY else None)


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1))
def test_all_of_a_secret_of_256_bits_is_in_its_letters(one: int, other: int) -> None:
    assert (letters(one, 43) == letters(other, 43)) == (one == other)
