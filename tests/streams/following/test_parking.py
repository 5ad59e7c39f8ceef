"""A follower that cannot go on with one aggregate goes on with all others, and with that one once it can."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from commands.base import Area
from streams.following import sink
from streams.following.facts import Fact
from streams.following.follower import Follower
from streams.following.parking import Parking
from streams.following.sink import Handle
from streams.log import Log, LogDamagedError, Record, TopicPartition
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import DEAD
from tests.streams.counting import added, write
from tests.streams.harness import place_of, until

A = place_of("counter|a")
BESIDE = next(f"b{i}" for i in range(10_000) if place_of(f"counter|b{i}") == A)


class Taker:
    """Takes facts, but raises on those of the aggregates that it cannot stand."""

    def __init__(self, *hated: str) -> None:
        self.hated = set(hated)
        self.ids: list[str] = []

    async def __call__(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if fact.aggregate in self.hated:
                raise ZeroDivisionError("a mistake of ours")
        self.ids.extend(fact.decision.meta.command_id for fact in facts)


@asynccontextmanager
async def following(log: Log, taker: Handle) -> AsyncIterator[Follower]:
    follower = Follower(log, "g", [Area.CHARGE_POINT], "one", taker, commit_every=0.02)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def position(log: Log) -> int:
    found = await log.committed("g", [A])
    return found[A].offset if A in found else 0


async def test_an_aggregate_that_raises_is_parked_and_its_neighbours_go_on(embedded: SqliteLog) -> None:
    await write(embedded, added("a", 1, 1), added(BESIDE, 1, 1), added("a", 2, 1), added(BESIDE, 2, 1))
    taker = Taker("counter|a")
    async with following(embedded, taker):
        await until(lambda: len(taker.ids) == 2)
        await until(lambda: _at(embedded, 4))
        [parked] = (await Parking(embedded).all()).values()

    assert taker.ids == [f"{BESIDE}-1", f"{BESIDE}-2"]
    assert (parked.aggregate, parked.offset) == ("counter|a", 0)
    assert "a mistake of ours" in parked.reason


async def _at(log: Log, offset: int) -> bool:
    return await position(log) == offset


async def test_it_stays_parked_over_a_restart_and_a_retry_hands_over_all_that_waited(
    embedded: SqliteLog,
) -> None:
    await write(embedded, added("a", 1, 1), added("a", 2, 1))
    first = Taker("counter|a")
    async with following(embedded, first) as follower:
        await until(lambda: follower.parked)
        await until(lambda: _at(embedded, 2))
    await write(embedded, added("a", 3, 1))
    second = Taker()
    async with following(embedded, second) as follower:
        await until(lambda: _at(embedded, 3))
        assert second.ids == []
        [id] = await Parking(embedded).all()
        assert await Parking(embedded).retry(id) is not None
        await until(lambda: not follower.parked)

    assert second.ids == ["a-1", "a-2", "a-3"]
    assert await Parking(embedded).all() == {}


async def test_what_a_newer_release_has_parked_halts_those_alone_that_it_was_parked_for(
    embedded: SqliteLog,
) -> None:
    """Its record has a form of its own; another group's, and another partition's, are nobody's business here."""
    elsewhere = next(f"c{i}" for i in range(10_000) if place_of(f"counter|c{i}") != A)
    for group, place in (("g", A), ("other", place_of(f"counter|{elsewhere}"))):
        id = f"{group}|{place.topic}|{place.partition}|counter|a"
        await embedded.append(DEAD, 0, [Record(id.encode(), b'{"v":2,"what":["nobody","knows"]}')])
    await write(embedded, added("a", 1, 1), added(elsewhere, 1, 1))
    taker = Taker()
    async with following(embedded, taker) as follower:
        await until(lambda: follower.halted and taker.ids)
        halted = dict(follower.halted)

    assert taker.ids == [f"{elsewhere}-1"]
    assert list(halted) == [A]
    assert halted[A].endswith("is of version 2: written by a newer release, upgrade this process")


async def test_a_retry_that_fails_leaves_it_parked_at_what_is_left(embedded: SqliteLog) -> None:
    await write(embedded, added("a", 1, 1), added("a", 2, 1))
    taker = Taker("counter|a")
    async with following(embedded, taker) as follower:
        await until(lambda: follower.parked)
        [id] = await Parking(embedded).all()
        await Parking(embedded).retry(id)
        await until(lambda: follower.parked and follower.parked[0].retries == 1)
        await until(lambda: follower.failures >= 7)

    assert taker.ids == []
    assert list(await Parking(embedded).all()) == [id]


async def test_what_is_asked_for_while_another_one_is_tried_again_is_tried_after_it(
    embedded: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "PARKED_EVERY", 0.05)
    aggregates = ["counter|a", f"counter|{BESIDE}"]
    await write(embedded, added("a", 1, 1), added(BESIDE, 1, 1))
    hates = Taker(*aggregates)
    trying, goes_on = asyncio.Event(), asyncio.Event()

    async def take(place: TopicPartition, facts: Sequence[Fact]) -> None:
        if not hates.hated:
            trying.set()
            await goes_on.wait()
        await hates(place, facts)

    async with following(embedded, take) as follower:
        await until(lambda: len(follower.parked) == 2)
        hates.hated.clear()
        first, second = await Parking(embedded).all()
        await Parking(embedded).retry(first)
        await trying.wait()
        await Parking(embedded).retry(second)
        await until(lambda: sum(one.retries for one in follower.parked) == 2)
        goes_on.set()
        await until(lambda: not follower.parked)
    assert sorted(hates.ids) == sorted(["a-1", f"{BESIDE}-1"])


async def test_a_partition_that_stands_still_holds_up_no_other_and_loses_nothing(
    embedded: SqliteLog,
) -> None:
    other = next(f"c{i}" for i in range(10_000) if place_of(f"counter|c{i}") != A)
    await write(embedded, *(added("a", version, 1) for version in range(1, 60)))
    open_ = asyncio.Event()
    taken: list[str] = []

    async def take(place: TopicPartition, facts: Sequence[Fact]) -> None:
        if place == A:
            await open_.wait()
        taken.extend(fact.decision.meta.command_id for fact in facts)

    follower = Follower(
        embedded, "g", [Area.CHARGE_POINT], "one", take, commit_every=0.02, batch=5, most_waiting=10
    )
    task = asyncio.create_task(follower.run())
    try:
        await until(lambda: len(follower.positions) == Layout().partitions)
        await write(embedded, added(other, 1, 1))
        await until(lambda: taken == [f"{other}-1"])
        open_.set()
        await until(lambda: len(taken) == 60)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    assert [id for id in taken if id.startswith("a-")] == [f"a-{version}" for version in range(1, 60)]


async def test_where_what_is_asked_for_cannot_be_read_it_is_looked_for_again(
    embedded: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: nobody else would try what is parked."""
    monkeypatch.setattr(sink, "PARKED_EVERY", 0.02)
    await write(embedded, added("a", 1, 1))
    taker, of_group = Taker("counter|a"), Parking.of_group

    async def damaged(self: Parking, group: str) -> object:
        monkeypatch.setattr(Parking, "of_group", of_group)
        raise LogDamagedError("records are missing")

    async with following(embedded, taker) as follower:
        await until(lambda: follower.parked)
        monkeypatch.setattr(Parking, "of_group", damaged)
        await until(lambda: Parking.of_group is of_group)
        taker.hated.clear()
        [id] = await Parking(embedded).all()
        assert await Parking(embedded).retry(id) is not None
        await until(lambda: not follower.parked)

    assert taker.ids == ["a-1"]
