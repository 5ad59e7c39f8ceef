"""The read store of a simulated world: one `Shelf` for all its processes, a `SimReadStore` for each of them.

The adapter sends every operation over a network that a test plays, which may lose the question, the answer, or half
of a bulk: as on MongoDB a bulk is no transaction, and goes collection by collection, the positions last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from projections.store import (
    ABSENT,
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
    StoreError,
    StoreUnavailableError,
    Write,
)
from projections.store.shapes import check_place, check_write
from tests.simulation.shelf import URL, Shelf

__all__ = ["URL", "Network", "Shelf", "SimReadStore", "Straight"]

T = TypeVar("T")


class Network(Protocol):
    """What stands between a process and the shelf; `kind` is the name of the port's method."""

    async def request(self, kind: str) -> None:
        """Returns when the question has arrived; raises `StoreUnavailableError` when it never does."""

    async def response(self, kind: str) -> None:
        """Returns when the answer is back; raises `StoreUnavailableError` when it is lost, the effect being there."""

    def cut(self, count: int) -> int:
        """How many steps of a bulk of `count` are done before it fails; `count` when it does not."""


class Straight:
    """A network on which nothing is lost and nothing takes time."""

    async def request(self, kind: str) -> None:
        return

    async def response(self, kind: str) -> None:
        return

    def cut(self, count: int) -> int:
        return count


class SimReadStore(ReadStore):
    """The adapter of one process to the shelf of its world."""

    def __init__(self, shelf: Shelf, network: Network | None = None) -> None:
        self._shelf = shelf
        self._network = network or Straight()
        self._declared: dict[IndexSpec, None] = {}
        self._closed = False

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        for write in writes:
            check_write(write)
        steps = len(writes) + bool(positions)

        def work() -> Applied:
            bulk = _by_collection(writes)
            done = self._network.cut(steps) if steps > 1 else steps
            if done >= steps:
                return self._shelf.apply(bulk, positions)
            self._shelf.apply(bulk[:done])
            raise StoreUnavailableError(URL, f"the bulk ended after {done} of {steps} steps")

        return await self._call("apply", work)

    async def positions(self, projector: str) -> dict[PositionKey, int]:
        return await self._call("positions", lambda: self._shelf.positions(projector))

    async def set_positions(self, positions: Mapping[PositionKey, int]) -> None:
        await self._call("set_positions", lambda: self._shelf.apply((), positions))

    async def forget_positions(self, projector: str) -> None:
        await self._call("forget_positions", lambda: self._shelf.forget_positions(projector))

    async def get(self, db: str, collection: str, id: str) -> Document | None:
        return (await self._call("get", lambda: self._shelf.get_many(db, collection, (id,)))).get(id)

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        wanted = list(ids)
        return await self._call("get_many", lambda: self._shelf.get_many(db, collection, wanted))

    async def versions(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, int]:
        wanted = list(ids)
        return await self._call("versions", lambda: self._shelf.versions(db, collection, wanted))

    async def find(self, query: Query) -> Page:
        return await self._call("find", lambda: self._shelf.find(query))

    async def find_offset(self, query: Query, offset: int, limit: int) -> tuple[list[Document], int]:
        return await self._call("find_offset", lambda: self._shelf.find_offset(query, offset, limit))

    async def count(self, query: Query) -> int:
        return await self._call("count", lambda: self._shelf.count(query))

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
        return await self._call(
            "near",
            lambda: self._shelf.near(
                db, collection, lon=lon, lat=lat, radius_m=radius_m, where=where, limit=limit
            ),
        )

    async def ensure(self, specs: Iterable[IndexSpec]) -> None:
        wanted = list(specs)
        for spec in wanted:
            check_place(spec.db, spec.collection)
        self._declared.update(dict.fromkeys(wanted))
        await self._call("ensure", lambda: self._shelf.ensure(wanted))

    async def purge(self, now: datetime) -> int:
        return await self._call("purge", lambda: self._shelf.purge(now))

    async def drop_all(self, databases: Iterable[str]) -> None:
        names = set(databases)
        await self._call("drop_all", lambda: self._shelf.drop(names))
        await self.ensure([spec for spec in self._declared if spec.db in names])

    async def discard(self, databases: Iterable[str]) -> None:
        names = set(databases)
        await self._call("discard", lambda: self._shelf.drop(names))
        self._declared = {spec: None for spec in self._declared if spec.db not in names}

    async def databases(self) -> list[str]:
        return await self._call("databases", self._shelf.databases)

    async def ping(self) -> None:
        await self._call("ping", lambda: None)

    async def close(self) -> None:
        self._closed = True

    async def _call(self, kind: str, work: Callable[[], T]) -> T:
        if self._closed:
            raise StoreUnavailableError(URL, "closed")
        await self._network.request(kind)
        try:
            result = work()
        except StoreError:
            # A refusal is an answer, and can be lost like any other.
            await self._network.response(kind)
            raise
        await self._network.response(kind)
        return result


def _by_collection(writes: Sequence[Write]) -> list[Write]:
    """The writes as MongoDB takes them: one collection after the other, in the order of their first writes; in each
    of them what is new first, where it is not written again."""
    groups: dict[tuple[str, str], list[Write]] = {}
    for write in writes:
        groups.setdefault((write.db, write.collection), []).append(write)
    return [write for group in groups.values() for write in _new_first(group)]


def _new_first(group: list[Write]) -> list[Write]:
    times = Counter(write.id for write in group)

    def is_old(write: Write) -> bool:
        new = isinstance(write, Insert) or (isinstance(write, Put) and write.base == ABSENT)
        return not new or times[write.id] > 1

    return sorted(group, key=is_old)
