"""The text of an API key, `chsp_{id}_{secret}{checksum}`: what scanners of secrets recognise, and what stands in it.

A checksum that is wrong needs no read. The regular expression for scanners is `PATTERN`.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

PREFIX: Final = "chsp_"
ID_LENGTH, SECRET_LENGTH, CHECK_LENGTH = 12, 43, 6
"""Letters and digits: of the id 71 bits, of the secret 256 bits, of the checksum CRC-32 of all before it."""
PATTERN: Final = re.compile(
    rf"chsp_([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH + CHECK_LENGTH}}}"
)
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def letters(number: int, length: int) -> str:
    """A number in base 62, so many digits long; what is more is cut off at the front."""
    out = ""
    for _ in range(length):
        number, digit = divmod(number, 62)
        out = _DIGITS[digit] + out
    return out


def key_text(key_id: str, secret: str) -> str:
    """The whole key."""
    body = f"{PREFIX}{key_id}_{secret}"
    return body + _check(body)


def id_in(text: str) -> str | None:
    """The id in a key whose form and checksum are right; None for any other text."""
    found = PATTERN.fullmatch(text)
    if found is None or _check(text[:-CHECK_LENGTH]) != text[-CHECK_LENGTH:]:
        return None
    return found[1]


def _check(body: str) -> str:
    return letters(zlib.crc32(body.encode()), CHECK_LENGTH)
