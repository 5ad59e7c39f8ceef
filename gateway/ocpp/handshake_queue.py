"""Handshakes take turns, so that a herd of charge points that comes back together drains at the rate that the decider
carries, and those that are connected are served meanwhile.

So many are being decided at once; others wait in order, and who would wait too long is told when to come back: each
at a moment of its own. It reads no handshake and decides none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from domain.errors import ChargeSphereError

_SHARE = 1 / 32
"""What the newest turn counts for in the mean of their lengths."""
_SHORTEST = 0.001
"""Seconds below which a turn was none: it was refused before anybody had any work with it."""


class CrowdedError(ChargeSphereError):
    """There are too many before this one."""


class Appointments:
    """Moments one after another, so that those who get them do not come together."""

    def __init__(self) -> None:
        self._last = 0.0

    def next(self, earliest: float, per_second: float) -> float:
        """A moment for one more, on the caller's clock in seconds; `per_second` of them from `earliest` on."""
        self._last = max(self._last, earliest) + 1 / per_second
        return self._last


class Turns:
    """`at_once` turns; at most `most_waiting` wait for theirs, none longer than `longest_wait` seconds.

    A turn is thought to take `each` seconds until the first have shown it.
    """

    def __init__(
        self, at_once: int = 64, most_waiting: int = 1_000, longest_wait: float = 6.0, each: float = 0.1
    ) -> None:
        self._at_once = at_once
        self._most_waiting = most_waiting
        self._longest_wait = longest_wait
        self._places = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._seconds = each

    @property
    def per_second(self) -> float:
        """How many turns end in a second while none waits in vain."""
        return self._at_once / self._seconds

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Raises CrowdedError, at once where waiting would be in vain."""
        if self._waiting >= min(self._most_waiting, self._longest_wait * self.per_second):
            raise CrowdedError
        self._waiting += 1
        try:
            async with asyncio.timeout(self._longest_wait):
                await self._places.acquire()
        except TimeoutError:
            raise CrowdedError from None
        finally:
            self._waiting -= 1
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            self._places.release()
            seconds = loop.time() - began
            if seconds >= _SHORTEST:
                self._seconds += (seconds - self._seconds) * _SHARE
