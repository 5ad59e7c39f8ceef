"""A batch of Faust's: one write for all of it, nothing over a gap, and documents as the engine makes them."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargesphere import registry
from domain.aggregate import Event
from domain.token import TokenRemoved
from projections import cdr, foreign_session, token
from projections.base import View
from projections.store import (
    HUB,
    Applied,
    Document,
    PositionKey,
    Put,
    Query,
    ReadStore,
    StoreRejectedError,
    StoreUnavailableError,
    Write,
)
from projections.store.sqlite import SqliteReadStore
from streams.faust.rows import BatchOutcome, Change, RowProjector
from streams.following.facts import TransientError
from streams.projecting.projector import Projector
from tests.domain.golden import golden
from tests.laws import tried
from tests.projections.facts import (
    EVENTS,
    SESSION,
    after,
    corrected,
    decision,
    ended,
    fact,
    meta,
    priced,
    put_token,
    started,
    used,
)
from tests.streams.faust_worker import VIEWS

STORY: tuple[Event, ...] = (
    started(),
    used(2, 60, 100),
    used(3, 120, 250),
    ended(4, 180, 300),
    priced(5, 181),
)


ROW = STORY[0].originator_id


class Watched(SqliteReadStore):
    """Counts the calls that write and that read, and fails on demand."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.batches: list[list[Write]] = []
        self.reads = 0
        self.away = False
        self.refuses = ""

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        if self.away:
            raise StoreUnavailableError("store", "away")
        if any(write.id == self.refuses for write in writes):
            raise StoreRejectedError(f"{self.refuses} is refused")
        self.batches.append(list(writes))
        return await super().apply(writes, positions)

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        self.reads += 1
        if self.away:
            raise StoreUnavailableError("store", "away")
        return await super().get_many(db, collection, ids)


class Table(dict[str, bytes]):
    """What Faust's table is to a batch; `gone` are the aggregates whose rows have left it, in order."""

    def __init__(self, projector: RowProjector) -> None:
        self.projector = projector
        self.gone: list[str] = []

    async def take(self, *events: Event) -> BatchOutcome:
        outcome = await self.projector.project([Change(event, meta()) for event in events], self.get)
        for id, row in outcome.rows.items():
            if row is None:
                self.pop(id, None)
                self.gone.append(id)
            else:
                self[id] = row
        return outcome


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Watched]:
    store = Watched(tmp_path / "read")
    yield store
    await store.close()


@pytest.fixture
def table(store: Watched) -> Table:
    return Table(RowProjector(store, VIEWS))


def counted(outcome: BatchOutcome) -> tuple[int, int, int]:
    """Rows that moved, gaps and stale events."""
    return len(outcome.rows), outcome.gaps, outcome.stale


async def documents(store: ReadStore) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {}
    for db, collection in ((HUB, "sessions"), (HUB, "tokens"), (HUB, "cdrs"), ("ocpp_demo", "sessions")):
        page = await store.find(Query(db, collection, limit=500))
        found[f"{db}/{collection}"] = sorted(page.items, key=lambda document: str(document["_id"]))
    return found


async def by_the_engine(events: Sequence[Event], folder: Path) -> dict[str, list[Document]]:
    store = SqliteReadStore(folder)
    engine = Projector(store, EVENTS, VIEWS, ())
    for event in events:
        one = fact(decision(event, meta=meta()))
        await engine.handle(one.place, [one])
    found = await documents(store)
    await store.close()
    return found


async def test_a_whole_charge_in_one_batch_is_one_write_with_each_document_once(
    store: Watched, table: Table, tmp_path: Path
) -> None:
    outcome = await table.take(*STORY)

    assert counted(outcome) == (1, 0, 0)
    [writes] = store.batches
    places = {(write.db, write.collection, write.id) for write in writes}
    assert places == {(HUB, "sessions", SESSION), ("ocpp_demo", "sessions", SESSION), (HUB, "cdrs", SESSION)}
    assert len(writes) == 3
    assert store.reads == 0
    assert await documents(store) == await by_the_engine(STORY, tmp_path / "engine")


async def test_a_session_of_others_begins_at_any_version_and_its_row_goes_with_its_end(
    store: Watched,
) -> None:
    """Each life of its id counts above those before, so that its first event is no gap."""

    def said(name: str, version: int) -> Event:
        event = registry.EVENTS.decode(golden("foreign_session", f"foreign_session.{name}.v1"))
        return msgspec.structs.replace(event, originator_version=version)

    table, life = Table(RowProjector(store, [foreign_session.VIEW])), 1_772_366_400
    first = await table.take(said("begun", life), said("patched", life + 1))
    assert (counted(first), store.reads) == ((1, 0, 0), 0)
    assert counted(await table.take(said("put", life + 2), said("ended", life + 3))) == (1, 0, 0)
    assert table.gone == ["foreign_session|FR*CPO|s1"]
    assert counted(await table.take(said("begun", 2 * life))) == (1, 0, 0)
    (document,) = (await store.find(Query(HUB, "sessions"))).items
    session = document["session"]
    assert isinstance(session, dict)
    assert (document["version"], session["status"]) == (2 * life, "ACTIVE")


async def test_a_batch_of_many_aggregates_is_one_write(store: Watched, table: Table) -> None:
    ids = [str(uuid.uuid4()) for _ in range(50)]
    await table.take(*(started(id=id) for id in ids))
    outcome = await table.take(*(used(version, version, version, id=id) for version in (2, 3) for id in ids))

    assert counted(outcome) == (50, 0, 0)
    assert [len(writes) for writes in store.batches] == [100, 100]


async def test_a_batch_that_comes_again_writes_nothing(store: Watched, table: Table) -> None:
    await table.take(*STORY[:3])
    outcome = await table.take(*STORY[:3])

    assert counted(outcome) == (0, 0, 3)
    assert len(store.batches) == 1


async def test_a_gap_is_left_to_the_sweeper_with_all_that_comes_after_it(
    store: Watched, table: Table
) -> None:
    outcome = await table.take(started(), used(3, 120, 250), used(4, 130, 260), put_token())

    assert counted(outcome) == (2, 2, 0)
    session = await store.get(HUB, "sessions", SESSION)
    assert session is not None and session["version"] == 1
    assert await store.count(Query(HUB, "tokens")) == 1

    outcome = await table.take(ended(5, 180, 300))
    assert counted(outcome) == (0, 1, 0)


async def test_where_the_sweeper_has_closed_the_gap_it_goes_on_from_the_documents(
    store: Watched, table: Table, tmp_path: Path
) -> None:
    await table.take(started())
    sweeper = Projector(store, EVENTS, VIEWS, ())
    for event in STORY[:3]:
        one = fact(decision(event, meta=meta()))
        await sweeper.handle(one.place, [one])
    store.reads = 0

    outcome = await table.take(*STORY[3:])

    assert counted(outcome) == (1, 0, 0)
    assert store.reads == 3, "one a collection"
    assert await documents(store) == await by_the_engine(STORY, tmp_path / "engine")


async def test_documents_of_different_versions_are_no_ground_to_go_on_from(
    store: Watched, table: Table
) -> None:
    """The sweeper is between its two writes."""
    await table.take(*STORY[:2])
    document = await store.get(HUB, "sessions", SESSION)
    assert document is not None
    await store.apply([Put(HUB, "sessions", SESSION, 3, {**document, "version": None})])
    table.clear()

    assert counted(await table.take(used(3, 120, 250))) == (0, 1, 0)


async def test_a_row_that_the_table_got_from_elsewhere_counts_and_not_the_one_it_made(
    store: Watched, table: Table, tmp_path: Path
) -> None:
    """Another node had the partition for a while: recovery replaces rows."""
    await table.take(*STORY[:2])
    older = dict(table)
    await table.take(*STORY[2:4])
    table.update(older)

    assert counted(await table.take(*STORY[2:])) == (1, 0, 0)
    assert await documents(store) == await by_the_engine(STORY, tmp_path / "engine")


async def test_a_row_of_another_release_is_made_anew_from_the_read_store(
    store: Watched, table: Table, tmp_path: Path
) -> None:
    await table.take(*STORY[:3])
    table[STORY[0].originator_id] = b'{"version":3,"documents":{}}'

    assert counted(await table.take(*STORY[3:])) == (1, 0, 0)
    assert await documents(store) == await by_the_engine(STORY, tmp_path / "engine")


async def test_while_the_store_is_away_the_batch_fails_whole_and_can_come_again(
    store: Watched, table: Table, tmp_path: Path
) -> None:
    await table.take(started())
    store.away = True
    with pytest.raises(TransientError):
        await table.take(*STORY[1:])
    with pytest.raises(StoreUnavailableError):
        await table.take(used(2, 60, 100, id=str(uuid.uuid4())))
    store.away = False

    assert counted(await table.take(*STORY[1:])) == (1, 0, 0)
    assert await documents(store) == await by_the_engine(STORY, tmp_path / "engine")


async def test_a_document_that_the_store_refuses_is_left_to_the_sweeper_and_the_others_are_written(
    store: Watched, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    store.refuses = SESSION
    outcome = await table.take(started(), used(2, 60, 100), put_token())

    assert counted(outcome) == (1, 2, 0)
    assert list(outcome.rows) == [put_token().originator_id]
    assert await store.count(Query(HUB, "tokens")) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"faust leaves session|{SESSION} to the sweeper: {SESSION} is refused"
    ]


async def test_a_view_that_raises_leaves_its_aggregate_to_the_sweeper_whole(store: Watched) -> None:
    def evolve(document: Document | None, event: object, of: object) -> Document | None:
        if document is not None:
            raise ValueError("a fault")
        return {}

    faulty = dataclasses.replace(cdr.VIEW, evolve=evolve)
    views: tuple[View, ...] = (*VIEWS[:2], faulty, token.VIEW)
    outcome = await Table(RowProjector(store, views)).take(
        started(), used(2, 60, 100), used(3, 120, 250), put_token()
    )

    assert counted(outcome) == (2, 2, 0)
    session = await store.get(HUB, "sessions", SESSION)
    assert session is not None and session["version"] == 1


async def test_a_credited_cdr_stays_as_it_was_when_its_session_goes_on(store: Watched, table: Table) -> None:
    """Each CDR is a document of its own; a later event moves the session's own one."""
    await table.take(*STORY)
    credit = msgspec.structs.replace(
        priced(6, 200), cdr_id="credit", cdr={"country_code": "DE", "party_id": "ABC", "id": "credit"}
    )
    await table.take(credit)
    await table.take(used(7, 220, 310))

    found = {str(document["_id"]): document for document in (await documents(store))[f"{HUB}/cdrs"]}
    assert {id: (document["cdr"]["id"], document["version"]) for id, document in found.items()} == {  # type: ignore[call-overload,index]
        SESSION: (SESSION, 7),
        "credit": ("credit", 6),
    }


def removed(version: int) -> TokenRemoved:
    return TokenRemoved(
        originator_id=put_token().originator_id, originator_version=version, timestamp=after(version)
    )


OTHER = "3f0c2d53-9f5c-45a4-8f63-6d83a3f5f2a1"
LINES: tuple[tuple[Event, ...], ...] = (
    STORY,
    (started(id=OTHER), *(used(version, version, version, id=OTHER) for version in range(2, 5))),
    (put_token(), put_token(2, 2), removed(3), put_token(4, 4), removed(5)),
)


@settings(max_examples=tried(25), deadline=None)
@given(
    order=st.permutations([index for index, line in enumerate(LINES) for _ in line]),
    batches=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), min_size=14, max_size=14),
)
@pytest.mark.long(20)
def test_batches_of_any_size_that_overlap_give_the_documents_of_the_engine(
    order: list[int], batches: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A batch begins up to two events before the end of the one before it."""
    lines = [iter(line) for line in LINES]
    asyncio.run(_law([next(lines[index]) for index in order], batches, tmp_path_factory.mktemp("law")))


async def _law(events: list[Event], batches: list[tuple[int, int]], folder: Path) -> None:
    store = Watched(folder / "rows")
    table = Table(RowProjector(store, VIEWS))
    end = 0
    for again, more in batches:
        begin, end = max(0, end - again), end + more
        assert (await table.take(*events[begin:end])).gaps == 0
    found = await documents(store)
    await store.close()
    assert found == await by_the_engine(events, folder / "engine")


async def test_the_row_of_a_session_that_is_over_leaves_the_table(table: Table) -> None:
    held = []
    for event in STORY:
        await table.take(event)
        held.append(ROW in table)
    assert held == [True, True, True, False, False]
    assert table.gone == [ROW, ROW]


async def test_what_comes_after_all_is_folded_on_what_the_store_has(
    store: Watched, table: Table, tmp_path: Path
) -> None:
    """A correction of an end, long after."""
    late = corrected(6, 4000, 320)
    for event in (*STORY, late):
        outcome = await table.take(event)
        assert (outcome.gaps, outcome.stale) == (0, 0)
    assert await documents(store) == await by_the_engine((*STORY, late), tmp_path / "engine")


async def test_what_comes_after_all_and_finds_no_documents_makes_none_and_is_left_to_the_sweeper(
    store: Watched, table: Table
) -> None:
    for event in STORY:
        await table.take(event)
    before = await documents(store)
    await store.drop_all([HUB, "ocpp_demo"])
    outcome = await table.take(corrected(6, 4000, 320))
    assert (outcome.rows, outcome.gaps) == ({}, 1)
    assert await documents(store) == {place: [] for place in before}


async def test_a_session_that_is_told_again_from_its_start_changes_no_document_and_its_row_leaves_again(
    store: Watched, table: Table
) -> None:
    """Faust begins again at what it has acknowledged."""
    for event in STORY:
        await table.take(event)
    before = await documents(store)
    for event in STORY:
        await table.take(event)
    assert (await documents(store), ROW in table) == (before, False)
