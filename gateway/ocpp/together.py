"""Reads of many keys that are asked for one by one: those that come while a read is under way are one read after it.

So a herd that comes back costs some large reads and not thousands of small ones. It keeps nothing: `cache` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

V = TypeVar("V")

MOST = 500
"""Keys of one read."""


class Together(Generic[V]):
    """One read at a time, in the order in which the keys came; `read` may leave keys out, whose value is None."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]]) -> None:
        self._read = read
        self._wanted: dict[str, asyncio.Future[V | None]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def get(self, key: str) -> V | None:
        """The value now. Raises what the read raises."""
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
                    found = await self._read(tuple(taken))
                except Exception as error:
                    for future in taken.values():
                        future.set_exception(error)
                        future.exception()  # whoever still waits raises it
                else:
                    for key, future in taken.items():
                        future.set_result(found.get(key))
        finally:
            self._reader = None
