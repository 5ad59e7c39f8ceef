"""A bookmark says up to where a stream was told: a position in every partition of the public topics, as one text.

The text is opaque to whoever keeps it: base64url of a checksum, a version, the number of partitions and the offsets,
topic by topic in the order of `streams.log.topology.PUBLIC`, which grows at its end only.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Final
from zlib import crc32

from domain.errors import ChargeSphereError
from streams.log.layout import Layout
from streams.log.topology import PUBLIC

VERSION: Final = b"\x01"
LONGEST: Final = 30_000
"""Characters of a text; 120 partitions take some 500, as many as the log can have some 10,000."""
_HIGHEST: Final = 1 << 62


class BookmarkError(ChargeSphereError):
    """The text is no bookmark of this log."""


class Bookmark:
    """Offsets by the place of their partition; everything before them was told."""

    __slots__ = ("_head", "_parts", "_text", "offsets", "partitions")

    def __init__(self, partitions: int, offsets: Iterable[int]) -> None:
        self.partitions = partitions
        self.offsets = list(offsets)
        self._head = VERSION + _number(partitions)
        self._parts = [_number(offset) for offset in self.offsets]
        self._text = ""

    def move(self, index: int, offset: int) -> None:
        """This partition was told up to here."""
        self.offsets[index] = offset
        self._parts[index] = _number(offset)
        self._text = ""

    def copy(self) -> Bookmark:
        """One that moves by itself."""
        return Bookmark(self.partitions, self.offsets)

    def text(self) -> str:
        """As it is given out."""
        if not self._text:
            body = self._head + b"".join(self._parts)
            self._text = urlsafe_b64encode(crc32(body).to_bytes(4) + body).rstrip(b"=").decode()
        return self._text


def read_bookmark(text: str, layout: Layout) -> Bookmark:
    """The bookmark that was given out as this text. Topics that came later are told from their beginning. Raises
    BookmarkError."""
    if len(text) > LONGEST:
        raise BookmarkError(f"has more than {LONGEST} characters")
    try:
        whole = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise BookmarkError("is no id of an event") from None
    body = whole[5:]
    if len(whole) < 6 or whole[:4] != crc32(whole[4:]).to_bytes(4) or whole[4:5] != VERSION:
        raise BookmarkError("is no id of an event")
    partitions, *offsets = _numbers(body)
    if partitions != layout.partitions or not offsets or len(offsets) % partitions:
        raise BookmarkError("is the id of an event of another log")
    count = len(PUBLIC) * partitions
    return Bookmark(partitions, [*offsets, *[0] * (count - len(offsets))][:count])


def _number(value: int) -> bytes:
    """LEB128: seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _numbers(data: bytes) -> list[int]:
    found: list[int] = []
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if value > _HIGHEST or shift > 70:
            raise BookmarkError("is no id of an event")
        if byte < 0x80:
            found.append(value)
            value = shift = 0
    if shift:
        raise BookmarkError("is no id of an event")
    return found
