"""Reads of many keys that are asked for one by one: those that come while a read is under way are one read after it.

So a herd that comes back costs some large reads and not thousands of small ones. A store that hangs is given up, so
that those who ask after it are read. It keeps nothing: caches do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from projections.store import StoreUnavailableError

V = TypeVar("V")

MOST = 500
"""Keys of one read."""

PATIENCE = 5.0
"""Seconds after which a read is given up."""


class BatchedReads(Generic[V]):
    """One read at a time, in the order in which the keys came; `read` may leave keys out, whose value is None."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]]) -> None:
        self._read = read
        self._wanted: dict[str, asyncio.Future[V | None]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def get(self, key: str) -> V | None:
        """The value now. Raises what the read raises, and StoreUnavailableError for one that takes too long."""
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
        if self._reader is None:
            self._reader = asyncio.create_task(self._run())
        return await asyncio.shield(future)

    async def _run(self) -> None:
        """Read until nobody waits. As a task of its own it begins once everybody of this moment has asked."""
        try:
            while self._wanted:
                taken = {key: self._wanted.pop(key) for key in list(self._wanted)[:MOST]}
                try:
                    async with asyncio.timeout(PATIENCE):
                        found = await self._read(tuple(taken))
                except Exception as error:
                    failure = error
                    if isinstance(error, TimeoutError):
                        failure = StoreUnavailableError("read store", f"silent for {PATIENCE:g} s")
                    for future in taken.values():
                        future.set_exception(failure)
                        future.exception()  # whoever still waits raises it
                else:
                    for key, future in taken.items():
                        future.set_result(found.get(key))
        finally:
            self._reader = None
