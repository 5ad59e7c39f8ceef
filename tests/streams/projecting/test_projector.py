"""The projector engine: documents equal a fold, a faulty one is parked and waits, and is retried from the log."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from commands.base import Area, Meta
from domain.aggregate import Event
from projections.base import Target
from projections.store import (
    ABSENT,
    HUB,
    Applied,
    Document,
    Insert,
    Page,
    PositionKey,
    Put,
    PutPart,
    Query,
    ReadStore,
    StoreRejectedError,
    Write,
)
from projections.store.sqlite import SqliteReadStore
from streams.following.facts import Fact
from streams.following.replay import facts, places
from streams.log import Log
from streams.log.envelope import Decision
from streams.log.sqlite.log import SqliteLog
from streams.projecting.letters import NotRetriedError, retry
from streams.projecting.projector import LETTERS, Projector
from streams.projecting.rebuild import Rebuild
from tests.streams.counter import EVENTS
from tests.streams.counting import FEED, UNLUCKY, Faulty, added, claim, write
from tests.streams.harness import place_of, until

A = place_of("counter|a")


def projector(store: ReadStore, faulty: Faulty | None = None) -> Projector:
    return Projector(store, EVENTS, [(faulty or Faulty()).view], [FEED], reread_every=0.0)


async def all_facts(log: Log, name: str = "a") -> list[Fact]:
    return [fact async for batch in facts(log, place_of(f"counter|{name}")) for fact in batch]


async def total(store: ReadStore, name: str = "a") -> tuple[object, object]:
    found = await store.get(HUB, "counters", name)
    return (found["total"], found["version"]) if found else (None, 0)


async def letters(store: ReadStore) -> list[str]:
    return [str(letter["_id"]) for letter in (await store.find(Query(HUB, LETTERS))).items]


async def no_letters(store: ReadStore) -> bool:
    return not await letters(store)


async def feed(store: Projector, log: Log, *decisions: Decision, name: str = "a") -> None:
    """Append these and hand them over."""
    known = len(await all_facts(log, name))
    await write(log, *decisions)
    await store.handle(place_of(f"counter|{name}"), (await all_facts(log, name))[known:])


async def test_a_batch_becomes_documents_once_however_often_it_comes(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    await write(embedded, *(added("a", version, 1) for version in range(1, 4)))
    for _ in range(2):
        await projector(read_store).handle(A, await all_facts(embedded))

    assert await total(read_store) == (3, 3)
    assert await read_store.count(Query(HUB, "additions")) == 3


class Asked(SqliteReadStore):
    """Notes what is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reads: list[tuple[str, tuple[str, ...]]] = []
        self.letters = 0
        self.writes: list[Write] = []

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        self.reads.append((collection, tuple(ids)))
        return await super().get_many(db, collection, ids)

    async def find(self, query: Query) -> Page:
        self.letters += query.collection == LETTERS
        return await super().find(query)

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        self.writes.extend(writes)
        return await super().apply(writes, positions)


async def test_a_new_document_is_not_read_and_a_known_one_is_written_as_what_changed(
    embedded: SqliteLog, tmp_path: Path
) -> None:
    store = Asked(tmp_path / "asked")
    it = projector(store)
    await feed(it, embedded, added("a", 1, 1))
    await feed(it, embedded, added("a", 2, 1), added("a", 3, 1))
    await feed(projector(store), embedded, added("a", 4, 1))

    assert store.reads == [("counters", ("a",))]
    puts = [write for write in store.writes if isinstance(write, Put)]
    assert [(put.base, put.changed) for put in puts] == [(ABSENT, {}), (1, {"total": 3}), (3, {"total": 4})]
    assert await total(store) == (4, 4)
    await store.close()


async def test_a_document_from_which_a_field_went_away_is_written_whole(
    embedded: SqliteLog, tmp_path: Path
) -> None:
    def evolve(document: Document | None, event: Event, meta: Meta) -> Document | None:
        return {f"only_{event.originator_version}": 1}

    store = Asked(tmp_path / "asked")
    it = Projector(store, EVENTS, [dataclasses.replace(Faulty().view, evolve=evolve)], [])
    await feed(it, embedded, added("a", 1, 1))
    await feed(it, embedded, added("a", 2, 1))

    assert [write.base for write in store.writes if isinstance(write, Put)] == [ABSENT, None]
    assert await store.get(HUB, "counters", "a") == {"_id": "a", "version": 2, "only_2": 1}
    await store.close()


async def test_events_that_come_again_from_the_first_on_leave_a_newer_document_as_it_is(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    await feed(projector(read_store), embedded, *(added("a", version, 1) for version in range(1, 6)))
    again = projector(read_store)
    facts_ = await all_facts(embedded)
    await again.handle(A, facts_[:2])
    assert await total(read_store) == (5, 5)
    await again.handle(A, facts_[2:])
    await feed(again, embedded, added("a", 6, 1))

    assert await total(read_store) == (6, 6)
    assert again.applied == 2


async def test_what_is_parked_is_read_once_though_many_partitions_begin_at_once(
    embedded: SqliteLog, tmp_path: Path
) -> None:
    store = Asked(tmp_path / "asked")
    it = Projector(store, EVENTS, [Faulty().view], [FEED])
    names = [f"c{i}" for i in range(20)]
    for name in names:
        await write(embedded, added(name, 1, 1))
    places_ = {place_of(f"counter|{name}") for name in names}
    batches = [
        (place, [fact async for batch in facts(embedded, place) for fact in batch]) for place in places_
    ]
    await asyncio.gather(*(it.handle(place, batch) for place, batch in batches))

    assert len(places_) > 5
    assert store.letters == 1
    await store.close()


async def test_a_sweeper_writes_and_reads_no_document_that_is_there_already(
    embedded: SqliteLog, tmp_path: Path
) -> None:
    store = Asked(tmp_path / "asked")
    live, sweeper = projector(store), Projector(store, EVENTS, [Faulty().view], [], sweeping=True)
    await write(embedded, *(added("a", version, 1) for version in range(1, 8)))
    facts_ = await all_facts(embedded)
    await live.handle(A, facts_)
    store.writes.clear()
    await sweeper.handle(A, facts_[:3])
    await sweeper.handle(A, facts_[3:])

    assert (store.reads, store.writes) == ([], [])
    assert (sweeper.applied, sweeper.stale) == (0, 0)
    await store.close()


async def test_a_sweeper_writes_in_order_what_was_skipped(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    """Twice somebody else comes before the sweeper with a part of what it reads."""
    other = next(f"c{i}" for i in range(1000) if place_of(f"counter|c{i}") == A)
    sweeper = Projector(read_store, EVENTS, [Faulty().view], [], sweeping=True)
    await write(embedded, *(added("a", version, 1) for version in range(1, 8)), added(other, 1, 5))
    facts_ = await all_facts(embedded)
    await sweeper.handle(A, facts_[:1])
    await projector(read_store).handle(A, facts_[:2])
    await sweeper.handle(A, facts_[1:4])
    assert await total(read_store) == (4, 4)
    await projector(read_store).handle(A, facts_[:6])
    await sweeper.handle(A, facts_[4:])

    assert await total(read_store) == (7, 7)
    assert await total(read_store, other) == (5, 1)
    assert sweeper.applied == 4
    assert sweeper.parked == frozenset()


async def test_what_follows_from_a_document_is_written_though_the_document_was_there_already(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    """Killed between two collections of one batch: the document is there, its part elsewhere is not."""

    def also(target: Target, document: Document, version: int) -> Sequence[Write]:
        return (PutPart(HUB, "totals", target.id, "counter", version, {"total": document["total"]}),)

    await write(embedded, *(added("a", version, 1) for version in range(1, 4)))
    await projector(read_store).handle(A, await all_facts(embedded))
    await read_store.apply([Put(HUB, "totals", "a", 1, {})])
    view = dataclasses.replace(Faulty().view, also=also)
    await Projector(read_store, EVENTS, [view], []).handle(A, await all_facts(embedded))

    found = await read_store.get(HUB, "totals", "a")
    assert found is not None
    assert found["counter"] == {"total": 3, "version": 3}


async def test_a_stale_deciders_records_never_reach_a_document(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    old = await claim(embedded, "a")
    await write(embedded, added("a", 1, 1, old))
    new = await claim(embedded, "a")
    await write(embedded, added("a", 2, 50, old), added("a", 2, 2, new))
    await projector(read_store).handle(A, await all_facts(embedded))

    assert await total(read_store) == (3, 2)


async def test_a_projection_that_raises_parks_its_document_and_the_others_go_on(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    other = next(f"c{i}" for i in range(1000) if place_of(f"counter|c{i}") == A)
    it = projector(read_store)
    await feed(it, embedded, added("a", 1, 1), added("a", 2, UNLUCKY), added("a", 3, 1), added(other, 1, 5))

    assert await total(read_store) == (1, 1)
    assert await total(read_store, other) == (5, 1)
    assert it.parked == {(HUB, "counters", "a")}
    [letter] = (await read_store.find(Query(HUB, LETTERS))).items
    assert (letter["document"], letter["offset"], letter["reason"]) == (
        "chargesphere/counters/a",
        1,
        "ValueError: unlucky",
    )


async def test_what_is_parked_stays_parked_after_a_restart(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    await feed(projector(read_store), embedded, added("a", 1, 1), added("a", 2, UNLUCKY))
    mended = Faulty()
    mended.mended = True
    after = projector(read_store, mended)
    await feed(after, embedded, added("a", 3, 1))

    assert after.parked == {(HUB, "counters", "a")}
    assert await total(read_store) == (1, 1)


async def test_a_parked_document_is_retried_from_the_log_and_goes_on(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    faulty = Faulty()
    it = projector(read_store, faulty)
    await feed(it, embedded, added("a", 1, 1), added("a", 2, UNLUCKY), added("a", 3, 1))
    [letter] = await letters(read_store)

    with pytest.raises(NotRetriedError, match="unlucky"):
        await retry(embedded, read_store, [faulty.view], [FEED], EVENTS, letter, settle=0.0)
    assert await letters(read_store) == [letter]
    faulty.mended = True
    version = await retry(embedded, read_store, [faulty.view], [FEED], EVENTS, letter, settle=0.0)
    await feed(it, embedded, added("a", 4, 1))

    assert version == 3
    assert await letters(read_store) == []
    assert await total(read_store) == (1 + UNLUCKY + 2, 4)
    assert it.parked == frozenset()


async def test_events_that_a_parked_document_missed_are_folded_in_by_its_retry(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    """The projector passes an event after the fold of the retry and before it learns of it."""
    faulty = Faulty()
    it = projector(read_store, faulty)
    await feed(it, embedded, added("a", 1, 1), added("a", 2, UNLUCKY))
    [letter] = await letters(read_store)
    faulty.mended = True
    retrying = asyncio.create_task(
        retry(embedded, read_store, [faulty.view], [FEED], EVENTS, letter, settle=0.3)
    )
    await until(lambda: no_letters(read_store))
    await write(embedded, added("a", 3, 1), added("a", 4, 1))
    await it.handle(A, (await all_facts(embedded))[-1:])
    assert it.parked == {(HUB, "counters", "a")}

    assert await retrying == 4
    assert await letters(read_store) == []
    await feed(it, embedded, added("a", 5, 1))
    assert await total(read_store) == (1 + UNLUCKY + 3, 5)


async def test_a_retry_of_an_unknown_letter_says_so(embedded: SqliteLog, read_store: SqliteReadStore) -> None:
    with pytest.raises(NotRetriedError, match="no dead letter 'x'"):
        await retry(embedded, read_store, [Faulty().view], [FEED], EVENTS, "x", settle=0.0)


class Choosy(SqliteReadStore):
    """Refuses every write to one document, as a store does that can never take it."""

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        if any(write.id == "a" and write.collection == "counters" for write in writes):
            raise StoreRejectedError("too large")
        return await super().apply(writes, positions)


async def test_a_document_that_the_store_refuses_is_parked_and_the_others_go_on(
    embedded: SqliteLog, tmp_path: Path
) -> None:
    other = next(f"c{i}" for i in range(1000) if place_of(f"counter|c{i}") == A)
    store = Choosy(tmp_path / "choosy")
    it = projector(store)
    await feed(it, embedded, added("a", 1, 1), added(other, 1, 5))

    assert it.parked == {(HUB, "counters", "a")}
    assert await total(store, other) == (5, 1)
    assert len(await letters(store)) == 1
    await store.close()


async def test_a_rebuild_equals_the_live_documents_and_appends_nothing(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    names = [f"c{i}" for i in range(30)]
    live = projector(read_store)
    for name in names:
        await feed(live, embedded, *(added(name, v, v) for v in range(1, 6)), name=name)
    before = {name: await read_store.get(HUB, "counters", name) for name in names}
    ends = await embedded.ends(places(embedded, Area))
    await read_store.drop_all([HUB])
    assert await total(read_store, names[0]) == (None, 0)
    told: list[tuple[int, int]] = []
    count = await Rebuild(embedded, projector(read_store)).go_on(lambda done, all: told.append((done, all)))

    assert count == 150
    assert {name: await read_store.get(HUB, "counters", name) for name in names} == before
    assert await read_store.count(Query(HUB, "additions")) == 150
    assert await embedded.ends(places(embedded, Area)) == ends
    assert told[-1] == (150, 150)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


async def test_letters_of_others_are_read_page_by_page(
    read_store: SqliteReadStore, embedded: SqliteLog
) -> None:
    await read_store.apply(
        [
            Insert(
                HUB, LETTERS, str(i), {"document": f"chargesphere/counters/x{i}", "projection": "counters"}
            )
            for i in range(700)
        ]
    )
    it = projector(read_store)
    await feed(it, embedded, added("a", 1, 1))

    assert len(it.parked) == 700
    assert (HUB, "counters", "x699") in it.parked
