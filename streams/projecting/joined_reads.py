"""Reads of one moment go together: what several partitions ask of a collection is one query.

What enters: ids of documents. What leaves: what the store has of these and of those that others asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")
Place = tuple[str, str]
"""A database and a collection."""


class JoinedReads(Generic[T]):
    """`read` is the store's: by database, collection and ids. Who asks before it begins shares it, and its error."""

    def __init__(self, read: Callable[[str, str, Iterable[str]], Awaitable[Mapping[str, T]]]) -> None:
        self._read = read
        self._next: dict[Place, tuple[set[str], asyncio.Task[Mapping[str, T]]]] = {}
        """What is asked for by a read that has not begun, and its answer, which nobody keeps but who waits for it."""

    async def get(self, place: Place, ids: Iterable[str]) -> Mapping[str, T]:
        """Raises what the store raises."""
        if place not in self._next:
            self._next[place] = set(), asyncio.create_task(self._answer(place))
            self._next[place][1].add_done_callback(_heard)
        asked, answer = self._next[place]
        asked.update(ids)
        return await asyncio.shield(answer)

    async def _answer(self, place: Place) -> Mapping[str, T]:
        # Those who were woken together with the first one ask first.
        await asyncio.sleep(0)
        asked, _ = self._next.pop(place)
        return await self._read(*place, sorted(asked))


def _heard(answer: asyncio.Task[Mapping[str, T]]) -> None:
    """An error that nobody waits for any more is nobody's."""
    if not answer.cancelled():
        answer.exception()
