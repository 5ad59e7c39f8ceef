"""Read models are built a second time beside the first and taken in its place at once; what was read stays whole."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from projections.store import (
    HUB,
    IndexSpec,
    Insert,
    Put,
    Query,
    ReadStore,
    Sort,
    StoreUnavailableError,
    expiry,
    index,
)
from projections.store.generations import DATABASE, FRESH, KEPT, Generation, GenerationStore
from projections.store.mongo import MongoReadStore
from projections.store.sqlite import SqliteReadStore
from tests.servers import Mongo
from tests.simulation.store import Shelf, SimReadStore

FLOORS = {("events.a", 3): (17, 4), ("frames", 0): (0, -1)}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["sqlite", "simulated", pytest.param("mongo", marks=pytest.mark.mongo)])
async def inner(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ReadStore]:
    made: ReadStore
    if request.param == "sqlite":
        made = SqliteReadStore(tmp_path / "read")
    elif request.param == "simulated":
        made = SimReadStore(Shelf())
    else:
        mongo: Mongo = request.getfixturevalue("mongo")
        made = MongoReadStore(mongo.url, database_prefix=f"t{uuid.uuid4().hex[:10]}_")
    yield made
    await made.close()


def session(id: str, version: int = 1, db: str = HUB, **fields: str) -> Put:
    return Put(db, "sessions", id, version, {"id": id, **fields})


async def ids(store: ReadStore, db: str = HUB) -> list[str]:
    return [str(item["_id"]) for item in (await store.find(Query(db, "sessions"))).items]


async def test_what_is_built_is_read_from_the_switch_on_and_not_before(inner: ReadStore) -> None:
    clock = Clock()
    store = GenerationStore(inner, monotonic=clock)
    await store.apply([session("a"), session("t", db="ocpp_blue")])
    generation = await store.begin()
    await store.fixed(generation).apply([session("b"), session("u", db="ocpp_blue")])
    assert (await ids(store), await ids(store, "ocpp_blue")) == (["a"], ["t"])

    assert await store.switch(Generation(generation.number, FLOORS))

    assert (await ids(store), await ids(store, "ocpp_blue")) == (["b"], ["u"])
    assert await store.current() == Generation(generation.number, FLOORS)
    assert await store.databases() == [HUB, "ocpp_blue"]


async def test_every_process_learns_of_a_switch_in_time_and_reads_what_was_before_till_then(
    inner: ReadStore,
) -> None:
    clock = Clock()
    one, other = (GenerationStore(inner, monotonic=clock) for _ in range(2))
    await one.apply([session("a")])
    assert await ids(other) == ["a"]
    generation = await one.begin()
    await one.fixed(generation).apply([session("a"), session("b")])
    await one.switch(generation)

    assert await ids(other) == ["a"]
    clock.now += FRESH
    assert await ids(other) == ["a", "b"]


async def test_what_took_so_long_that_it_may_have_been_taken_away_is_read_again(inner: ReadStore) -> None:
    clock = Clock()
    slow, store = GenerationStore(inner, monotonic=clock), GenerationStore(inner, monotonic=clock)
    await store.apply([session("a")])
    generation = await store.begin()
    await store.fixed(generation).apply([session("a")])
    find = inner.find

    async def frozen(query: Query) -> object:
        """The process is stopped before it asks, for as long as all this takes."""
        inner.find = find  # type: ignore[method-assign]
        await store.switch(generation)
        clock.now += KEPT
        await store.take_away_older()
        return await find(query)

    await slow.current()
    inner.find = frozen  # type: ignore[method-assign,assignment]
    assert await ids(slow) == ["a"]


async def test_what_no_log_can_bring_back_has_one_generation(inner: ReadStore) -> None:
    store = GenerationStore(inner)
    await store.apply([Insert("chargesphere_keys", "keys", "k", {"wrapped": "w"})])
    generation = await store.begin()
    await store.fixed(generation).apply([Insert("chargesphere_keys", "keys", "l", {"wrapped": "w"})])
    await store.switch(generation)
    await store.take_away_older()

    assert {id for id in ("k", "l") if await store.get("chargesphere_keys", "keys", id)} == {"k", "l"}


async def test_the_older_ones_are_taken_away_and_nothing_else(inner: ReadStore) -> None:
    store = GenerationStore(inner)
    await store.apply([session("a"), session("t", db="ocpp_blue")])
    first, killed, third = [await store.begin() for _ in range(3)]
    for generation in (first, killed, third):
        await store.fixed(generation).apply([session(f"g{generation.number}")])
    later = await store.begin()
    await store.fixed(later).apply([session("being built")])
    assert await store.switch(third)

    await store.take_away_older()

    assert await ids(store) == ["g3"]
    assert await ids(store.fixed(later)) == ["being built"]
    for gone in (Generation(), first, killed):
        assert await ids(store.fixed(gone)) == []
    assert await inner.databases() == [DATABASE, f"{HUB}~3", f"{HUB}~4"]


async def test_of_two_rebuilds_at_once_the_one_that_began_later_stays(inner: ReadStore) -> None:
    one, other = GenerationStore(inner), GenerationStore(inner)
    first, second = await one.begin(), await other.begin()
    assert first.number != second.number
    assert await other.switch(second)
    assert not await one.switch(first)
    assert (await one.current()).number == second.number

    third = await one.begin()
    assert await one.switch(third)
    assert (await one.current()).number == third.number


async def test_a_switch_whose_answer_is_lost_can_be_asked_for_again(inner: ReadStore) -> None:
    store = GenerationStore(inner)
    generation = await store.begin()
    apply = inner.apply

    async def unanswered(*given: object) -> object:
        inner.apply = apply  # type: ignore[method-assign]
        await apply(*given)  # type: ignore[arg-type]
        raise StoreUnavailableError("here", "the answer is lost")

    inner.apply = unanswered  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreUnavailableError):
        await store.switch(generation)
    assert await store.switch(generation)


async def test_a_page_goes_on_in_the_next_generation(inner: ReadStore) -> None:
    store = GenerationStore(inner)
    both = [session(f"s{n}", kind="x") for n in range(4)]
    await store.apply(both)
    query = Query(HUB, "sessions", sort=(Sort("id"),), limit=2)
    page = await store.find(query)
    generation = await store.begin()
    await store.fixed(generation).apply(both)
    await store.switch(generation)

    query = Query(HUB, "sessions", sort=(Sort("id"),), limit=2, cursor=page.next_cursor)
    assert [item["_id"] for item in (await store.find(query)).items] == ["s2", "s3"]


class Watched(SimReadStore):
    """Notes which indexes were asked for."""

    def __init__(self) -> None:
        super().__init__(Shelf())
        self.specs: list[IndexSpec] = []

    async def ensure(self, specs: object) -> None:
        wanted = list(specs)  # type: ignore[call-overload]
        self.specs.extend(wanted)
        await super().ensure(wanted)


async def test_indexes_and_expiries_of_a_process_come_with_the_next_generation() -> None:
    inner, clock = Watched(), Clock()
    process, other = GenerationStore(inner, monotonic=clock), GenerationStore(inner, monotonic=clock)
    await process.ensure([index(HUB, "sessions", "kind"), expiry(HUB, "samples", "at", 5)])
    await process.ensure([expiry(HUB, "samples", "at", 9)])
    generation = await other.begin()
    await other.switch(generation)
    inner.specs.clear()
    clock.now += FRESH
    await process.current()

    assert inner.specs == [index(f"{HUB}~1", "sessions", "kind"), expiry(f"{HUB}~1", "samples", "at", 9)]
