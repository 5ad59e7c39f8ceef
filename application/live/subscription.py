"""One listener of the fan-out: what waits for it, in bounds, and up to where it was told."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from application.live.bookmark import Bookmark
from application.live.events import LiveEvent, Wanted

CHUNK_BYTES = 32 * 1024
"""What is taken at once."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """At most so many streams of a process and of a tenant; events and bytes that wait in each; records and bytes of
    the newest that are kept for all; records of one turn of those who are behind, records that it begins earlier for
    others, and seconds between two turns; seconds for which it is still read once nobody listens."""

    streams: int = 500
    streams_of_tenant: int = 100
    waiting: int = 1_000
    waiting_bytes: int = 128 * 1024
    kept: int = 2_000
    kept_bytes: int = 2 * 1024 * 1024
    turn: int = 10_000
    near: int = 5_000
    apart: float = 0.2
    linger: float = 10.0


class Source(Protocol):
    """The fan-out as its listeners see it."""

    def here(self) -> str:
        """The bookmark up to which those who are not behind were told."""

    def drained(self, subscription: Subscription) -> None:
        """It has taken all that waited."""

    def leave(self, subscription: Subscription) -> None:
        """It listens no more."""


class Subscription:
    """`next` until `ended` says why there is nothing more; then `close`.

    `behind` is its own bookmark where it is not told what happens just now, and None where it is; `ahead` are places
    in which it was told more already than the fan-out has read.
    """

    def __init__(self, source: Source, wanted: Wanted, bounds: Bounds, behind: Bookmark | None) -> None:
        self.wanted = wanted
        self.behind = behind
        self.ahead: dict[int, int] = {}
        self.ended = ""
        self._source = source
        self._bounds = bounds
        self._waiting: deque[LiveEvent] = deque()
        self._bytes = 0
        self._some = asyncio.Event()

    # -- the listener's side -------------------------------------------------------------------------------------

    async def next(self, timeout: float) -> Sequence[LiveEvent]:
        """What waits, in order, some 32 KB of it; nothing after `timeout` seconds without any, or at the end."""
        if not self._waiting and not self.ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._some.wait()
        out: list[LiveEvent] = []
        size = 0
        while self._waiting and not self.ended and size < CHUNK_BYTES:
            event = self._waiting.popleft()
            size += _size(event)
            out.append(event)
        self._bytes -= size
        if not self._waiting and not self.ended:
            self._some.clear()
            if out:
                self._source.drained(self)
        return out

    @property
    def bookmark(self) -> str | None:
        """Up to where it has taken everything; None while something waits."""
        if self._waiting:
            return None
        return self._source.here() if self.behind is None else self.behind.text()

    def close(self) -> None:
        """Listen no more; may be said twice."""
        self._waiting.clear()
        self._source.leave(self)

    # -- the fan-out's side --------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    @property
    def waiting_bytes(self) -> int:
        """Of what waits."""
        return self._bytes

    def has_room(self, event: LiveEvent) -> bool:
        """Whether this may wait too. One event always may, however large it is."""
        bounds = self._bounds
        return not self._waiting or (
            len(self._waiting) < bounds.waiting and self._bytes + _size(event) <= bounds.waiting_bytes
        )

    def put(self, event: LiveEvent) -> None:
        """Let it wait."""
        self._waiting.append(event)
        self._bytes += _size(event)
        self._some.set()

    def end(self, reason: str) -> None:
        """There is nothing more, for this reason."""
        self.ended = self.ended or reason
        self._some.set()


def _size(event: LiveEvent) -> int:
    return len(event.id) + len(event.name) + len(event.data)
