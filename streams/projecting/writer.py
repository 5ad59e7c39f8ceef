"""One writer for all partitions of a process: writes that come while others are under way go together next.

A bulk costs a round trip a collection however little it holds. With `gather` the beginnings of two bulks are at least
that far apart (seconds), so that under load fewer go, and larger ones; after a quiet moment a write goes at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from projections.store import Applied, ReadStore, StoreUnavailableError, Write
from streams.following.facts import TransientError


class StoreWriter:
    """`apply` returns once the store has taken the writes; raises TransientError while the store is away."""

    def __init__(self, store: ReadStore, limit: int = 2000, *, gather: float = 0.0) -> None:
        self._store = store
        self._limit = limit
        self._gather = gather
        self._next_at = 0.0
        self._waiting: list[tuple[Sequence[Write], asyncio.Future[Applied]]] = []
        self._task: asyncio.Task[None] | None = None

    async def apply(self, writes: Sequence[Write]) -> Applied:
        if not writes:
            return Applied(0, 0)
        future: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()
        self._waiting.append((writes, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(max(0.0, self._next_at - loop.time()))
            self._next_at = loop.time() + self._gather
            taken: list[tuple[Sequence[Write], asyncio.Future[Applied]]] = []
            size = 0
            while self._waiting and size < self._limit:
                writes, future = self._waiting.pop(0)
                taken.append((writes, future))
                size += len(writes)
            await self._apply(taken)

    async def _apply(self, taken: list[tuple[Sequence[Write], asyncio.Future[Applied]]]) -> None:
        try:
            applied = await self._store.apply([write for writes, _ in taken for write in writes])
        except StoreUnavailableError as error:
            self._settle(taken, error=TransientError(str(error)))
        except Exception as error:  # whose writes it was shows when each goes alone
            if len(taken) == 1:
                self._settle(taken, error=error)
                return
            for one in taken:
                await self._apply([one])
        else:
            self._settle(taken, applied=applied)

    @staticmethod
    def _settle(
        taken: list[tuple[Sequence[Write], asyncio.Future[Applied]]],
        applied: Applied | None = None,
        error: Exception | None = None,
    ) -> None:
        for index, (_, future) in enumerate(taken):
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                assert applied is not None
                future.set_result(applied if index == 0 else Applied(0, 0))
