"""Generations of read models: all of them are built a second time beside the first, and then taken in their place at
once.

A store enters, the same port leaves, over one generation of the databases that the log can build again
(`chargesphere` and `ocpp_…`); those of generation n lie beside in `chargesphere~n` and `ocpp_…~n`. Which one is read
is one document, so that a switch is one write. With it stand the floors: how far the log was projected into that
generation before the switch. A position of a group says for which generation it holds; for any other one its reader
begins at the floor (`streams.following.follower.standing`), so that nothing is missing of what an older one got
meanwhile.

Who reads learns of a switch within `FRESH` seconds, and an older generation is kept for `KEPT` seconds: what took
longer is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from projections.store.port import (
    HUB,
    Applied,
    Condition,
    Document,
    IndexSpec,
    Insert,
    Page,
    PositionKey,
    Put,
    Query,
    ReadStore,
    StoreUnavailableError,
    Write,
    declared,
)

T = TypeVar("T")

DATABASE: Final = "chargesphere_generations"
COLLECTION: Final = "generations"
CURRENT: Final = "current"
FRESH: Final = 1.0
KEPT: Final = 60.0
MARK: Final = "~"


@dataclass(frozen=True, slots=True)
class Generation:
    """One build of all read models. `floors`: by topic and partition the first offset that was not projected into it
    before it was switched to, and the fence's epoch there. The first generation, number 0, has none."""

    number: int = 0
    floors: Mapping[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    def floor(self, topic: str, partition: int) -> tuple[int, int]:
        """From where on this partition is to be projected into it, and the epoch there."""
        return self.floors.get((topic, partition), (0, -1))


def is_built_again(db: str) -> bool:
    """Whether a database has generations; what is in any other one no log can bring back."""
    return db == HUB or db.startswith("ocpp_")


class _OnGeneration(ReadStore):
    """The port over the databases of a generation."""

    def __init__(self, inner: ReadStore) -> None:
        self._inner = inner

    async def _on(self, work: Callable[[int], Awaitable[T]]) -> T:
        """What `work` makes of the number of the generation."""
        raise NotImplementedError

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        async def work(number: int) -> Applied:
            return await self._inner.apply([_moved(write, number) for write in writes], positions)

        return await self._on(work)

    async def positions(self, projector: str) -> dict[PositionKey, int]:
        return await self._inner.positions(projector)

    async def set_positions(self, positions: Mapping[PositionKey, int]) -> None:
        await self._inner.set_positions(positions)

    async def forget_positions(self, projector: str) -> None:
        await self._inner.forget_positions(projector)

    async def get(self, db: str, collection: str, id: str) -> Document | None:
        return await self._on(lambda number: self._inner.get(place(db, number), collection, id))

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        wanted = list(ids)
        return await self._on(lambda number: self._inner.get_many(place(db, number), collection, wanted))

    async def versions(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, int]:
        wanted = list(ids)
        return await self._on(lambda number: self._inner.versions(place(db, number), collection, wanted))

    async def find(self, query: Query) -> Page:
        return await self._on(lambda number: self._inner.find(_moved(query, number)))

    async def find_offset(self, query: Query, offset: int, limit: int) -> tuple[list[Document], int]:
        return await self._on(lambda number: self._inner.find_offset(_moved(query, number), offset, limit))

    async def count(self, query: Query) -> int:
        return await self._on(lambda number: self._inner.count(_moved(query, number)))

    async def near(
        self,
        db: str,
        collection: str,
        *,
        lon: float,
        lat: float,
        radius_m: float,
        where: tuple[Condition, ...] = (),
        limit: int = 50,
    ) -> list[Document]:
        return await self._on(
            lambda number: self._inner.near(
                place(db, number), collection, lon=lon, lat=lat, radius_m=radius_m, where=where, limit=limit
            )
        )

    async def ensure(self, specs: Iterable[IndexSpec]) -> None:
        wanted = list(specs)
        await self._on(lambda number: self._inner.ensure([_moved(spec, number) for spec in wanted]))

    async def purge(self, now: datetime) -> int:
        return await self._inner.purge(now)

    async def drop_all(self, databases: Iterable[str]) -> None:
        names = list(databases)
        await self._on(lambda number: self._inner.drop_all([place(db, number) for db in names]))

    async def discard(self, databases: Iterable[str]) -> None:
        names = list(databases)
        await self._on(lambda number: self._inner.discard([place(db, number) for db in names]))

    async def databases(self) -> list[str]:
        async def work(number: int) -> list[str]:
            held = [_parted(name) for name in await self._inner.databases()]
            return sorted(db for db, of in held if _is_held(db, of, number))

        return await self._on(work)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()


class FixedStore(_OnGeneration):
    """The read models of one generation, whichever is read; closing it closes nothing."""

    def __init__(self, inner: ReadStore, generation: Generation) -> None:
        super().__init__(inner)
        self.generation = generation

    async def _on(self, work: Callable[[int], Awaitable[T]]) -> T:
        return await work(self.generation.number)

    async def close(self) -> None:
        """It is not its own."""


class GenerationStore(_OnGeneration):
    """The read models of the generation that is read now. `inner` is the store that holds them all."""

    def __init__(self, inner: ReadStore, *, monotonic: Callable[[], float] | None = None) -> None:
        super().__init__(inner)
        self.known = Generation()
        """As it was learnt last."""
        self._known_at: float | None = None
        self._monotonic = monotonic or (lambda: time.monotonic())
        self._learning = asyncio.Lock()
        self._wanted: dict[IndexSpec, None] = {}

    async def current(self) -> Generation:
        """As it was at most `FRESH` seconds ago. Raises StoreUnavailableError."""
        if not self._is_fresh():
            async with self._learning:
                if not self._is_fresh():
                    await self._learn()
        return self.known

    async def newest(self) -> Generation:
        """As it is now. Raises StoreUnavailableError."""
        return await self._learn()

    async def superseded(self, generation: Generation) -> None:
        """Returns once another generation than this is read; waits while the store is away."""
        while True:
            with contextlib.suppress(StoreUnavailableError):
                if (await self.current()).number != generation.number:
                    return
            await asyncio.sleep(FRESH)

    def fixed(self, generation: Generation) -> FixedStore:
        """This generation, also once another one is read."""
        return FixedStore(self._inner, generation)

    async def ensure(self, specs: Iterable[IndexSpec]) -> None:
        """Also in every generation that is switched to later."""
        wanted = list(specs)
        await super().ensure(wanted)
        self._wanted = declared(self._wanted, wanted)

    # -- another generation ------------------------------------------------------------------------------------

    async def begin(self) -> Generation:
        """A number that nobody else builds under; what a lost document of ours left under it is taken away."""
        number = (await self.newest()).number
        while True:
            number += 1
            claim = Insert(DATABASE, COLLECTION, f"built-{number}", {})
            if (await self._inner.apply([claim])).applied:
                break
        generation = Generation(number)
        await self.take_away(generation)
        return generation

    async def switch(self, generation: Generation) -> bool:
        """Read this generation from now on; False where a newer one is read already.

        Raises StoreUnavailableError where that is not known; it can be called again.
        """
        floors = [[*where, *floor] for where, floor in generation.floors.items()]
        document: Document = {"floors": floors}  # type: ignore[dict-item]
        await self._inner.apply([Put(DATABASE, COLLECTION, CURRENT, generation.number, document)])
        return (await self.newest()).number == generation.number

    async def take_away(self, generation: Generation) -> None:
        """Take the databases of a generation away."""
        await self._take_away(lambda number: number == generation.number)

    async def take_away_older(self) -> None:
        """Take away what is older than the generation that is read now: nobody reads it `KEPT` after the switch."""
        current = (await self.newest()).number
        await self._take_away(lambda number: number < current)

    async def _take_away(self, of: Callable[[int], bool]) -> None:
        held = [(name, *_parted(name)) for name in await self._inner.databases()]
        await self._inner.discard([name for name, db, number in held if is_built_again(db) and of(number)])

    # -- which one is read ---------------------------------------------------------------------------------------

    async def _on(self, work: Callable[[int], Awaitable[T]]) -> T:
        while True:
            number, known_at = (await self.current()).number, self._known_at
            result = await work(number)
            if known_at is not None and self._monotonic() - known_at < KEPT / 2:
                return result
            # What was read may have been taken away meanwhile; what was written changes nothing the second time.

    def _is_fresh(self) -> bool:
        return self._known_at is not None and self._monotonic() - self._known_at < FRESH

    async def _learn(self) -> Generation:
        asked_at = self._monotonic()
        document = await self._inner.get(DATABASE, COLLECTION, CURRENT)
        known = Generation() if document is None else _read(document)
        if known.number < self.known.number:
            # Asked before somebody else here, and answered after.
            return self.known
        if known.number != self.known.number and self._wanted:
            await self._inner.ensure([_moved(spec, known.number) for spec in self._wanted])
        self.known, self._known_at = known, asked_at
        return known


def place(db: str, number: int) -> str:
    """Where a generation of a database lies."""
    return f"{db}{MARK}{number}" if number and is_built_again(db) else db


def _parted(name: str) -> tuple[str, int]:
    db, _, number = name.partition(MARK)
    return db, int(number or 0)


def _is_held(db: str, of: int, number: int) -> bool:
    """Whether a database, which is of one generation, is to be seen in another one; ours is nobody's."""
    return of == number if is_built_again(db) else db != DATABASE


Placed = TypeVar("Placed", Query, IndexSpec, Write)


def _moved(placed: Placed, number: int) -> Placed:
    db = place(placed.db, number)
    return placed if db == placed.db else msgspec.structs.replace(placed, db=db)


class _Stored(msgspec.Struct):
    version: int
    floors: list[tuple[str, int, int, int]]


def _read(document: Document) -> Generation:
    stored = msgspec.convert(document, _Stored)
    floors = {(topic, partition): (offset, epoch) for topic, partition, offset, epoch in stored.floors}
    return Generation(stored.version, floors)
