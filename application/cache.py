"""A small cache in front of the read store: what was read lately is answered at once, and while the store is away
what was ever read. One read at a time for each key, however many ask."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from application.ports import DirectoryUnavailableError
from projections.store import StoreUnavailableError

V = TypeVar("V")

MOST = 100_000
SHORT_WAIT, LONGEST_WAIT = 0.1, 3.0
"""Seconds that a read may take: with an older value at hand that serves instead, and without one."""


class Cache(Generic[V]):
    """Values by key. What is there stays fresh for `ttl` seconds, what is not for `absent_ttl`."""

    def __init__(self, ttl: float, absent_ttl: float = 1.0, most: int = MOST) -> None:
        self._ttl = ttl
        self._most = most
        self._absent_ttl = absent_ttl
        self._values: OrderedDict[str, tuple[V | None, float]] = OrderedDict()
        self._reading: dict[str, asyncio.Task[V | None]] = {}

    async def get(self, key: str, read: Callable[[], Awaitable[V | None]]) -> V | None:
        """The value. Raises DirectoryUnavailableError where the store is away and never said."""
        now = asyncio.get_running_loop().time()
        found = self._values.get(key)
        if found is not None and now < found[1]:
            return found[0]
        reading = self._reading.get(key)
        if reading is None:
            reading = asyncio.ensure_future(self._read(key, found, read))
            self._reading[key] = reading
            reading.add_done_callback(lambda done: self._done(key, done))
        known = found[0] if found is not None else None
        await asyncio.wait({reading}, timeout=LONGEST_WAIT if known is None else SHORT_WAIT)
        if reading.done():
            try:
                return reading.result()
            except StoreUnavailableError:
                if known is not None:
                    self._keep(key, known, now + self._absent_ttl)
        if known is None:
            raise DirectoryUnavailableError
        return known

    def put(self, key: str, value: V, fresh_for: float) -> None:
        """This is the value now, whatever the store says meanwhile."""
        self._keep(key, value, asyncio.get_running_loop().time() + fresh_for)

    def _done(self, key: str, reading: asyncio.Task[V | None]) -> None:
        self._reading.pop(key, None)
        if not reading.cancelled():
            reading.exception()  # whoever still waits raises it

    async def _read(
        self, key: str, before: tuple[V | None, float] | None, read: Callable[[], Awaitable[V | None]]
    ) -> V | None:
        value = await read()
        now = asyncio.get_running_loop().time()
        current = self._values.get(key)
        if current is not None and current is not before and now < current[1]:
            return current[0]  # it was put while the store was being asked
        self._keep(key, value, now + (self._absent_ttl if value is None else self._ttl))
        return value

    def _keep(self, key: str, value: V | None, until: float) -> None:
        self._values[key] = (value, until)
        # Whoever asks for what is not there pushes out nothing that is.
        self._values.move_to_end(key, last=value is not None)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
