"""Blocks that are kept: whatever is killed, cut, late or said again, they are what a fold of the log is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections import blocks as projected
from projections.blocks import Block, Entry, List
from projections.store import (
    Applied,
    Document,
    Page,
    PositionKey,
    Query,
    StoreRejectedError,
    StoreUnavailableError,
    Write,
)
from projections.store.sqlite import SqliteReadStore
from streams.following.facts import TransientError
from streams.log import TopicPartition
from streams.projecting import blocks
from streams.projecting.blocks import BlockWriter, Spot
from tests.laws import tried
from tests.projections.blocks import blocks_of
from tests.simulation.store import Shelf, SimReadStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACE = TopicPartition("chargesphere.frames", 3)
LIST = List("frames", minutes=5, newest_first=True)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks of about four entries."""
    monkeypatch.setattr(projected, "BLOCK_SIZE", 100)
    yield


def entry(offset: int, minute: int = 0, tenant: str = "demo") -> Entry:
    at = NOON + timedelta(minutes=minute, milliseconds=offset)
    text = f'{{"number":{offset:08d}}}'.replace(":0", ":1")
    return Entry(f"ocpp_{tenant}", LIST, at, NOON + timedelta(minutes=minute), (f"cp{offset % 3}",), text)


def spot(offset: int, minute: int = 0, tenant: str = "demo") -> Spot:
    return Spot(offset, 0, (entry(offset, minute, tenant),))


async def refused(block: Block, new: int, error: StoreRejectedError) -> None:
    raise error


def stored(shelf: Shelf, *tenants: str) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for tenant in tenants or ("demo",):
        query = Query(f"ocpp_{tenant}", "frames", limit=500)
        found |= {f"{tenant} {document['_id']}": document for document in shelf.find(query).items}
    return found


def folded(spots: Sequence[Spot]) -> dict[str, Document]:
    """A fold of the whole log, written once."""
    shelf = Shelf()
    shelf.apply(blocks_of([(one.offset, entry) for one in spots for entry in one.entries], "frames-3"))
    return stored(shelf, "demo", "acme")


class Cutting:
    """Of the next bulks so many steps are done, and then the answer is lost; None: all are, and it comes."""

    def __init__(self) -> None:
        self.next: int | None = None

    async def request(self, kind: str) -> None:
        await asyncio.sleep(0)

    async def response(self, kind: str) -> None:
        if kind == "apply" and self.next is not None:
            raise StoreUnavailableError("sim", "no answer")

    def cut(self, count: int) -> int:
        return count if self.next is None else min(self.next, count)


LOG = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["demo", "demo", "acme"])), min_size=1, max_size=40
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 12)),
        st.tuples(st.just("write"), st.none() | st.integers(0, 4)),
        st.tuples(st.just("commit"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("other"), st.just(0)),
        st.tuples(st.just("shrink"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=tried(400), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=LOG, steps=STEPS)
def test_blocks_are_the_fold_of_the_log_whatever_is_cut_killed_or_frozen(
    log: list[tuple[int, str]], steps: list[tuple[str, int | None]]
) -> None:
    """Two holders share one position; one takes over from the other, which may go on as if nothing had been."""
    spots = [spot(2 * number, minute, tenant) for number, (minute, tenant) in enumerate(log)]

    async def run() -> None:
        shelf, network = Shelf(), Cutting()
        committed = 0

        def begin() -> tuple[BlockWriter, int]:
            return BlockWriter(SimReadStore(shelf, network), refused), committed

        holder, at = begin()
        frozen = begin()

        async def take(writer: BlockWriter, at: int, count: int) -> int:
            some = [one for one in spots if one.offset >= at][:count]
            await writer.take(writer.held(PLACE), some)
            return some[-1].offset + 1 if some else at

        for step, number in steps:
            if step == "take":
                assert number is not None
                at = await take(holder, at, number)
            elif step == "write":
                network.next = number
                try:
                    await holder.write()
                except TransientError:
                    assert number is not None
                network.next = None
            elif step == "commit":
                unwritten = holder.unwritten(PLACE)
                committed = max(committed, at if unwritten is None else unwritten[0])
            elif step == "restart":
                holder, at = begin()
            elif step == "other":
                (holder, at), frozen = frozen, (holder, at)
            else:
                holder._kept += blocks.MOST_KEPT
                holder._drop()
        for writer, offset in ((holder, at), begin(), frozen):
            await take(writer, offset, len(spots))
            await writer.write()
            assert writer.unwritten(PLACE) is None
        assert stored(shelf, "demo", "acme") == folded(spots)
        assert shelf.false_beliefs == []

    asyncio.run(run())


async def test_a_block_that_a_cut_bulk_left_old_is_folded_to_its_end() -> None:
    """The bulk brought a newer block of the same lane, and not what had come to the older one."""
    shelf, network = Shelf(), Cutting()
    spots = [spot(number) for number in range(6)]
    first = BlockWriter(SimReadStore(shelf, network), refused)
    await first.take(first.held(PLACE), spots[:2])
    await first.write()
    await first.take(first.held(PLACE), spots[2:])
    network.next = 1
    with pytest.raises(TransientError):
        await first.write()
    assert first.unwritten(PLACE) == (2, 0)
    network.next = None
    assert [document["version"] for document in stored(shelf).values()] == [1, 5]

    second = BlockWriter(SimReadStore(shelf, network), refused)
    await second.take(second.held(PLACE), spots[2:])
    await second.write()

    assert stored(shelf) == folded(spots)


async def test_what_was_read_of_a_partition_before_it_went_is_not_taken() -> None:
    """Between the reading and the taking it was lost and gained: what had not been written comes again first."""
    shelf = Shelf()
    writer = BlockWriter(SimReadStore(shelf), refused)
    await writer.take(writer.held(PLACE), [spot(0)])
    held = writer.held(PLACE)
    writer.forget(PLACE)
    assert writer.unwritten(PLACE) is None

    await writer.take(held, [spot(1)])
    await writer.take(writer.held(PLACE), [spot(0), spot(1)])
    await writer.write()

    assert stored(shelf) == folded([spot(0), spot(1)])


class Slow(SimReadStore):
    """Writes when it is told to, or fails then."""

    def __init__(self, shelf: Shelf, *, fails: bool) -> None:
        super().__init__(shelf)
        self.fails = fails
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        self.begun.set()
        await self.go_on.wait()
        if self.fails:
            raise StoreUnavailableError("sim", "gone")
        return await super().apply(writes, positions)


async def test_a_block_that_is_being_written_is_never_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is short meanwhile: what stands in the store is older."""
    shelf = Shelf()
    store = Slow(shelf, fails=False)
    writer = BlockWriter(store, refused)
    await writer.take(writer.held(PLACE), [spot(0)])
    writing = asyncio.create_task(writer.write())
    await store.begun.wait()
    monkeypatch.setattr(blocks, "MOST_KEPT", 0)
    await writer.take(writer.held(PLACE), [spot(1, minute=5)])
    await writer.take(writer.held(PLACE), [spot(2)])
    store.go_on.set()
    await writing
    await writer.write()
    assert stored(shelf) == folded([spot(0), spot(1, minute=5), spot(2)])


class SlowReads(SimReadStore):
    """One reading waits until it is told to go on."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.waits = False
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def find(self, query: Query) -> Page:
        if self.waits:
            self.waits = False
            self.begun.set()
            await self.go_on.wait()
        return await super().find(query)


async def test_a_block_that_is_needed_at_once_is_not_dropped_while_another_one_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where memory is short for another partition meanwhile: a block that began anew would be no fold."""
    shelf = Shelf()
    store = SlowReads(shelf)
    writer = BlockWriter(store, refused)
    await writer.take(writer.held(PLACE), [spot(0)])
    await writer.write()
    monkeypatch.setattr(blocks, "MOST_KEPT", 0)
    store.waits = True
    taking = asyncio.create_task(writer.take(writer.held(PLACE), [spot(1), spot(2, minute=5)]))
    await store.begun.wait()
    await writer.take(writer.held(PLACE._replace(partition=4)), [spot(3)])
    store.go_on.set()
    await taking
    await writer.write()
    ours = {id: document for id, document in stored(shelf).items() if "frames-3" in id}
    assert ours == folded([spot(0), spot(1), spot(2, minute=5)])


async def test_a_write_that_was_under_way_when_the_partition_went_says_nothing_of_its_next_life() -> None:
    store = Slow(Shelf(), fails=True)
    writer = BlockWriter(store, refused)
    await writer.take(writer.held(PLACE), [spot(4)])
    writing = asyncio.create_task(writer.write())
    await store.begun.wait()
    assert writer.unwritten(PLACE) == (4, 0)
    writer.forget(PLACE)
    await writer.take(writer.held(PLACE), [spot(9)])
    store.go_on.set()
    with pytest.raises(TransientError):
        await writing
    assert writer.unwritten(PLACE) == (9, 0)


async def test_what_comes_while_a_write_is_under_way_is_written_by_the_next(tmp_path: Path) -> None:
    store = SqliteReadStore(tmp_path / "read")
    writer = BlockWriter(store, refused)
    await writer.take(writer.held(PLACE), [spot(0)])
    writing = asyncio.create_task(writer.write())
    await asyncio.sleep(0)
    await writer.take(writer.held(PLACE), [spot(1)])
    await writing
    assert writer.unwritten(PLACE) == (1, 0)
    await writer.write()
    assert writer.unwritten(PLACE) is None
    [block] = (await store.find(Query("ocpp_demo", "frames"))).items
    assert (block["version"], block["entries"]) == (1, f"{entry(0).text},{entry(1).text}")
    assert writer.entries == 2
    await store.close()


async def test_more_than_may_wait_is_written_at_once_and_memory_has_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocks, "MOST_WAITING", 3 * blocks.OVERHEAD)
    monkeypatch.setattr(blocks, "MOST_KEPT", 5 * blocks.OVERHEAD)
    shelf = Shelf()
    writer = BlockWriter(SimReadStore(shelf), refused)
    spots = [spot(number, minute=5 * (number % 40)) for number in range(200)]
    for one in spots:
        await writer.take(writer.held(PLACE), [one])
        assert len(writer.held(PLACE).changed) < 3
        assert len(writer.held(PLACE).lanes) <= 5
    await writer.write()
    assert stored(shelf) == folded(spots)


async def test_blocks_of_two_tenants_are_two() -> None:
    shelf = Shelf()
    writer = BlockWriter(SimReadStore(shelf), refused)
    await writer.take(writer.held(PLACE), [spot(0), spot(1, tenant="acme"), spot(2)])
    await writer.write()
    assert {name: block["version"] for name, block in stored(shelf, "demo", "acme").items()} == {
        "demo 2026-03-01T12:00:00.000Z|2026-03-01T12:00:00.000Z|frames-3|0000000000000000": 2,
        "acme 2026-03-01T12:00:00.000Z|2026-03-01T12:00:00.000Z|frames-3|0000000000000001": 1,
    }


async def test_an_entry_larger_than_a_block_is_a_block_of_its_own() -> None:
    shelf = Shelf()
    writer = BlockWriter(SimReadStore(shelf), refused)
    large = entry(1)._replace(text='"' + "x" * 500 + '"')
    await writer.take(writer.held(PLACE), [spot(0), Spot(1, 0, (large,)), spot(2)])
    await writer.write()
    assert [block["version"] for block in stored(shelf).values()] == [0, 1, 2]


async def test_a_block_that_the_store_refuses_holds_up_no_other_and_is_told_once_somebody_can_be() -> None:
    class Refusing(SimReadStore):
        async def apply(
            self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
        ) -> Applied:
            if any(write.db == "ocpp_acme" for write in writes):
                raise StoreRejectedError("this block cannot be")
            return await super().apply(writes, positions)

    told: list[tuple[str, int]] = []
    away = True

    async def tell(block: Block, new: int, error: StoreRejectedError) -> None:
        if away:
            raise StoreUnavailableError("sim", "away")
        told.append((block.db, new))

    shelf = Shelf()
    writer = BlockWriter(Refusing(shelf), tell)
    await writer.take(writer.held(PLACE), [spot(0), spot(1, tenant="acme"), spot(2, tenant="acme")])
    with pytest.raises(TransientError):
        await writer.write()
    assert writer.unwritten(PLACE) == (0, 0)
    away = False
    await writer.write()
    assert writer.unwritten(PLACE) is None
    assert told == [("ocpp_acme", 2)]
    assert stored(shelf) == folded([spot(0)])
