"""The newest records of all public topics, in the order in which they were read, in bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from application.live.subscription import Bounds
from streams.log import Stored

OVERHEAD = 500
"""Bytes of a record besides its value, about."""


class Recent:
    """`begins` says for each place from where on everything that was read is here."""

    def __init__(self, bounds: Bounds) -> None:
        self.begins: list[int] = []
        self._bounds = bounds
        self._records: deque[tuple[int, Stored]] = deque()
        self._bytes = 0

    def restart(self, offsets: Sequence[int]) -> None:
        """Reading begins at these offsets; nothing is here."""
        self.begins = list(offsets)
        self._records.clear()
        self._bytes = 0

    def keep(self, index: int, stored: Stored) -> None:
        """It was read just now; the oldest go where there is no room."""
        self._records.append((index, stored))
        self._bytes += _weight(stored)
        while len(self._records) > self._bounds.kept or self._bytes > self._bounds.kept_bytes:
            first, oldest = self._records.popleft()
            self._bytes -= _weight(oldest)
            self.begins[first] = oldest.offset + 1

    def reaches(self, offsets: Sequence[int]) -> bool:
        """Whether everything from these offsets on is here."""
        return all(begin <= at for begin, at in zip(self.begins, offsets, strict=True))

    def __iter__(self) -> Iterator[tuple[int, Stored]]:
        return iter(self._records)


def _weight(stored: Stored) -> int:
    return OVERHEAD + len(stored.value or b"")
