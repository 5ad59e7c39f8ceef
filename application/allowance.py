"""How many bytes each of many may use in a while: a token bucket of bytes for each key, in this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable


class Allowance:
    """A key may use `burst` bytes at once and `rate` a second over time.

    Of more than `most` keys those used longest ago are forgotten.
    """

    def __init__(
        self, rate: float, burst: float, *, most: int = 50_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        self._burst = burst
        self._most = most
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, amount: int) -> bool:
        """Use so many bytes; False, and nothing used, where the key has not so many left."""
        now = self._clock()
        left, then = self._left.get(key, (self._burst, now))
        left = min(self._burst, left + (now - then) * self.rate)
        allowed = left >= amount
        self._left[key] = (left - amount if allowed else left, now)
        self._left.move_to_end(key)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return allowed
