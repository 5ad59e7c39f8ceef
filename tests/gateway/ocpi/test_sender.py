"""What is sent waits for the read model: all that wait are read together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from gateway.ocpi.sender import Found, Lookout
from projections.store import HUB, Document, Put, StoreUnavailable
from projections.store.sqlite import SqliteReadStore


class Counting(SqliteReadStore):
    """Counts what is read, and can be away."""

    reads: int = 0
    away: bool = False

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("the store", "away")
        return await super().get_many(db, collection, ids)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Counting]:
    store = Counting(tmp_path / "store")
    yield store
    await store.close()


async def project(store: Counting, collection: str, id: str, version: int) -> None:
    await store.apply([Put(HUB, collection, id, version, {"n": version})])


async def test_what_is_wanted_at_once_is_read_at_once_and_together(store: Counting) -> None:
    for id in ("1", "2", "3"):
        await project(store, "sessions", id, 4)
    await project(store, "cdrs", "1", 1)
    lookout = Lookout(store)
    wanted = [("sessions", "1", 3), ("sessions", "2", 4), ("sessions", "3", 4), ("cdrs", "1", 1)]
    found = await asyncio.gather(*(lookout.find(*one) for one in wanted))
    assert [one.version for one in found if one] == [4, 4, 4, 1]
    assert store.reads == 2


async def test_a_version_that_is_not_there_yet_is_waited_for(store: Counting) -> None:
    await project(store, "sessions", "1", 2)
    lookout = Lookout(store)
    older, newer = asyncio.ensure_future(lookout.find("sessions", "1", 2)), lookout.find("sessions", "1", 3)
    waiting = asyncio.ensure_future(newer)
    assert (await older or Found({}, 0)).version == 2
    assert not waiting.done()
    await project(store, "sessions", "1", 5)
    found = await waiting
    assert found is not None
    assert (found.version, found.document["n"]) == (5, 5)


async def test_what_does_not_come_is_given_up_in_time(store: Counting) -> None:
    assert await Lookout(store, patience_s=0.1).find("sessions", "1", 1) is None
    assert store.reads <= 4


async def test_a_store_that_is_away_is_said_to_each_and_asked_again_later(store: Counting) -> None:
    lookout = Lookout(store)
    store.away = True
    results = await asyncio.gather(
        lookout.find("sessions", "1", 1), lookout.find("sessions", "2", 1), return_exceptions=True
    )
    assert [type(one) for one in results] == [StoreUnavailable, StoreUnavailable]
    store.away = False
    await project(store, "sessions", "1", 1)
    assert await lookout.find("sessions", "1", 1) is not None
