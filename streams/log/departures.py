"""When what waits to be appended goes: all partitions of a process together.

What enters: that something waits, in haste or with patience. What leaves: one call for all that has gathered. Neither
waits after a quiet moment, except for what the loop does already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 0.02
"""How far apart departures are while nobody is in haste."""
HASTE_S = 0.005
"""How far apart they are while somebody is: a request costs as much for one partition as for many."""


class Departures:
    """`go` is called at each departure; at least `haste` and `patience` seconds lie between two of them."""

    def __init__(
        self, go: Callable[[], None], *, haste: float = HASTE_S, patience: float = PATIENCE_S
    ) -> None:
        self._go = go
        self._haste = haste
        self._patience = patience
        self._left_at = float("-inf")
        self._due: asyncio.Handle | None = None
        self._due_at = 0.0

    def soon(self) -> None:
        """Somebody waits for what is there now."""
        self._depart_by(self._haste)

    def patiently(self) -> None:
        """What is there now may wait for others."""
        self._depart_by(self._patience)

    def now(self) -> None:
        """Everything goes, whenever the last departure was."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._left_at = asyncio.get_running_loop().time()
        self._go()

    def _depart_by(self, distance: float) -> None:
        loop = asyncio.get_running_loop()
        at = max(self._left_at + distance, loop.time())
        if self._due is not None:
            if self._due_at <= at:
                return
            self._due.cancel()
        self._due_at = at
        # Not within this call: what others of this moment have to append goes along.
        self._due = loop.call_soon(self.now) if at <= loop.time() else loop.call_at(at, self.now)
