"""How long what came lately was on its way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

LATELY = 15.0
"""Seconds: what was on its way before says nothing of how it is now, least of all how it was at the start."""
MOST = 20_000


class Delays:
    """The newest delays, in seconds, at most `MOST` of those that ended in the last `LATELY` seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: deque[tuple[float, float]] = deque(maxlen=MOST)

    def note(self, delays: Iterable[float]) -> None:
        now = self._clock()
        self._kept.extend((now, delay) for delay in delays)

    def recent(self) -> list[float]:
        since = self._clock() - LATELY
        while self._kept and self._kept[0][0] < since:
            self._kept.popleft()
        return [delay for _, delay in self._kept]
