"""Several sinks of one group: each at its own pace, from its own position, and none waits for another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest

from commands.base import Area
from domain.aggregate import UnknownEventError
from streams.following.facts import Fact, TransientError
from streams.following.group import Group
from streams.following.parking import Parking
from streams.following.sink import Gained, Sink
from streams.log import Listener, Log, LogUnavailableError, Member, Position, Reader, TopicPartition
from streams.log.envelope import Decision
from streams.log.sqlite.log import SqliteLog
from tests.streams.counting import added, claim, write
from tests.streams.damaged import damage, opened
from tests.streams.harness import FlakyLog, place_of, until

A = place_of("counter|a")
ELSEWHERE = next(f"c{i}" for i in range(100) if place_of(f"counter|c{i}") != A)


class Taker:
    """A sink's function: takes facts, unless its neighbour is away; raises on aggregates that it cannot stand."""

    def __init__(self, *, away: bool = False, hated: str = "") -> None:
        self.here = asyncio.Event()
        if not away:
            self.here.set()
        self.hated = hated
        self.decisions: list[Decision] = []
        self.tries = 0

    async def __call__(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        self.tries += 1
        await self.here.wait()
        for fact in facts:
            if fact.aggregate == self.hated:
                raise ZeroDivisionError("a mistake of ours")
            if any(b"unheard-of" in bytes(event) for event in fact.decision.events):
                raise UnknownEventError("unheard-of")
        self.decisions.extend(fact.decision for fact in facts)

    @property
    def ids(self) -> list[str]:
        return [decision.meta.command_id for decision in self.decisions]


class Watched(FlakyLog):
    """Notes from where on members and readers read, and how many readers there were."""

    def __init__(self, log: Log) -> None:
        super().__init__(log, "")
        self.members: list[list[int]] = []
        self.readers = 0

    def member(
        self, group: str, topics: Sequence[str], node: str, listener: Listener, gather: float = 0.0
    ) -> Member:
        member = super().member(group, topics, node, listener, gather)
        poll, offsets = member.poll, list[int]()
        self.members.append(offsets)

        async def noted(timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[object]]:
            found = await poll(timeout, limit)
            offsets.extend(stored.offset for stored in found.get(A, ()))
            return found

        member.poll = noted  # type: ignore[assignment, method-assign]
        return member

    def reader(self, gather: float = 0.0) -> Reader:
        self.readers += 1
        return super().reader(gather)


@asynccontextmanager
async def following(
    log: Log,
    takers: Mapping[str, Taker],
    *,
    most: int = 5_000,
    batch: int = 500,
    gained: Mapping[str, Gained] | None = None,
    node: str = "one",
) -> AsyncIterator[Mapping[str, Sink]]:
    sinks = [
        Sink(
            log,
            name,
            [Area.CHARGE_POINT],
            taker,
            batch=batch,
            most_in_all=most,
            gained=(gained or {}).get(name),
        )
        for name, taker in takers.items()
    ]
    group = Group(log, "g", node, sinks, commit_every=0.02, most_apart=most)
    task = asyncio.create_task(group.run())
    try:
        yield {sink.name: sink for sink in sinks}
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def committed(log: Log) -> tuple[int, dict[str, tuple[int, int]]]:
    """The offset of the group's position, and what its note says of each sink."""
    at = (await log.committed("g", [A])).get(A, Position(0, ""))
    note = msgspec.json.decode(at.note or b"{}", type=dict[str, tuple[int, int]])
    return at.offset, note


async def noted(log: Log, **offsets: int) -> bool:
    note = (await committed(log))[1]
    return {name: offset for name, (offset, _) in note.items()} == offsets


def ids(first: int, last: int, name: str = "a") -> list[str]:
    return [f"{name}-{version}" for version in range(first, last + 1)]


async def test_a_fact_is_read_once_and_decoded_once_for_all_sinks(embedded: SqliteLog) -> None:
    log = Watched(embedded)
    one, two = Taker(), Taker()
    async with following(log, {"one": one, "two": two}):
        await write(embedded, *(added("a", version, 1) for version in range(1, 6)))
        await until(lambda: len(one.ids) == len(two.ids) == 5)

    assert log.members == [[0, 1, 2, 3, 4]]
    assert log.readers == 0
    assert all(a is b for a, b in zip(one.decisions, two.decisions, strict=True))


async def test_what_moves_after_a_rest_is_committed_and_at_rest_nobody_asks_whether_it_has(
    embedded: SqliteLog,
) -> None:
    one, two = Taker(), Taker(away=True)
    async with following(embedded, {"one": one, "two": two}) as sinks:
        for version in (1, 2, 3):
            await write(embedded, added("a", version, 1))
            two.here.set()
            await until(partial(noted, embedded, one=version, two=version))
            # All is committed: until something moves nothing is to be done.
            await until(lambda: not sinks["one"].moved.is_set())
            assert sinks["one"].rests and sinks["two"].rests
            two.here.clear()
        await write(embedded, added("a", 4, 1))
        await until(lambda: noted(embedded, one=4, two=3))


async def test_a_sink_whose_neighbour_is_away_delays_no_other_and_each_goes_on_where_it_was(
    embedded: SqliteLog,
) -> None:
    await write(embedded, *(added("a", version, 1) for version in range(1, 4)))
    quick, away = Taker(), Taker(away=True)
    async with following(embedded, {"quick": quick, "away": away}):
        await until(lambda: noted(embedded, quick=3, away=0))
        assert (await committed(embedded))[0] == 0
    await write(embedded, added("a", 4, 1))
    quick2, back = Taker(), Taker()
    async with following(embedded, {"quick": quick2, "away": back}):
        await until(lambda: noted(embedded, quick=4, away=4))

    assert (quick.ids, away.ids) == (ids(1, 3), [])
    assert (quick2.ids, back.ids) == (ids(4, 4), ids(1, 4))
    assert (await committed(embedded))[0] == 4


async def test_a_sink_holds_no_more_than_it_may_and_reads_the_rest_itself_once_it_can(
    embedded: SqliteLog,
) -> None:
    """Also where it stands still in one partition only: the others go on."""
    log = Watched(embedded)
    quick, away = Taker(), Taker(away=True)
    async with following(log, {"quick": quick, "away": away}, most=10, batch=5) as sinks:
        for version in range(1, 101):
            await write(embedded, added("a", version, 1), added(ELSEWHERE, version, 1))
        await until(lambda: len(quick.ids) == 200)
        assert sinks["away"].waiting <= 10
        assert sinks["away"].behind == 2
        before = log.readers
        away.here.set()
        await until(lambda: len(away.ids) == 200 and not sinks["away"].behind)
        assert log.readers - before == 1
        await write(embedded, added("a", 101, 1))
        await until(lambda: len(away.ids) == 201)

    assert [id for id in away.ids if id.startswith("a-")] == ids(1, 101)
    assert [id for id in away.ids if not id.startswith("a-")] == ids(1, 100, ELSEWHERE)
    assert log.members[0] == list(range(101))


async def test_a_partition_of_a_sink_that_stands_still_holds_up_none_of_its_others(
    embedded: SqliteLog,
) -> None:
    class Choosy(Taker):
        async def __call__(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
            if place == A:
                await asyncio.Event().wait()
            await super().__call__(place, facts)

    taker = Choosy()
    async with following(embedded, {"choosy": taker}, most=10, batch=5) as sinks:
        await write(embedded, *(added("a", version, 1) for version in range(1, 60)))
        await until(lambda: sinks["choosy"].behind)
        await write(embedded, *(added(ELSEWHERE, version, 1) for version in range(1, 60)))
        await until(lambda: len(taker.ids) == 59)
        assert sinks["choosy"].waiting <= 10

    assert taker.ids == ids(1, 59, ELSEWHERE)


async def test_a_start_waits_for_no_sink_that_is_behind(embedded: SqliteLog) -> None:
    """What is read for all begins where the foremost one is."""
    await write(embedded, *(added("a", version, 1) for version in range(1, 51)))
    quick, away = Taker(), Taker(away=True)
    async with following(embedded, {"quick": quick, "away": away}, most=10):
        await until(lambda: noted(embedded, quick=50, away=0))
    log = Watched(embedded)
    quick, away = Taker(), Taker(away=True)
    async with following(log, {"quick": quick, "away": away}, most=10) as sinks:
        await write(embedded, added("a", 51, 1))
        await until(lambda: quick.ids)
        assert (log.members, away.ids, sinks["away"].behind) == ([[50]], [], 1)
        away.here.set()
        await until(lambda: len(away.ids) == 51)

    assert (quick.ids, away.ids) == (ids(51, 51), ids(1, 51))


async def test_sinks_that_stand_close_together_are_given_what_one_reading_brings(embedded: SqliteLog) -> None:
    await write(embedded, *(added("a", version, 1) for version in range(1, 6)))
    one, two = Taker(), Taker(away=True)
    async with following(embedded, {"one": one, "two": two}):
        await until(lambda: noted(embedded, one=5, two=0))
    log = Watched(embedded)
    one, two = Taker(), Taker()
    async with following(log, {"one": one, "two": two}):
        await write(embedded, added("a", 6, 1))
        await until(lambda: one.ids and len(two.ids) == 6)

    assert (log.members, log.readers) == ([[0, 1, 2, 3, 4, 5]], 0)
    assert (one.ids, two.ids) == (ids(6, 6), ids(1, 6))


async def test_a_new_sink_begins_at_the_beginning_and_the_others_where_they_are(embedded: SqliteLog) -> None:
    await write(embedded, *(added("a", version, 1) for version in range(1, 4)))
    async with following(embedded, {"old": Taker()}):
        await until(lambda: noted(embedded, old=3))
    old, new = Taker(), Taker()
    async with following(embedded, {"old": old, "new": new}):
        await until(lambda: noted(embedded, old=3, new=3))

    assert (old.ids, new.ids) == ([], ids(1, 3))


async def test_a_sink_that_is_gone_is_not_waited_for_and_goes_on_where_it_was_when_it_is_back(
    embedded: SqliteLog,
) -> None:
    await write(embedded, added("a", 1, 1))
    async with following(embedded, {"stays": Taker(), "goes": Taker()}):
        await until(lambda: noted(embedded, stays=1, goes=1))
    await write(embedded, added("a", 2, 1))
    async with following(embedded, {"stays": Taker()}):
        await until(lambda: noted(embedded, stays=2, goes=1))
        assert (await committed(embedded))[0] == 2
    await write(embedded, added("a", 3, 1))
    stays, back = Taker(), Taker()
    async with following(embedded, {"stays": stays, "goes": back}):
        await until(lambda: noted(embedded, stays=3, goes=3))

    assert (stays.ids, back.ids) == (ids(3, 3), ids(2, 3))


async def test_a_sink_that_must_learn_where_it_begins_delays_no_other_and_is_not_noted_before(
    embedded: SqliteLog,
) -> None:
    """Killed before it knows, it is new again."""
    await write(embedded, added("a", 1, 1))
    told: list[bool] = []
    known = asyncio.Event()

    async def gained(places: Mapping[TopicPartition, bool]) -> None:
        told.append(places[A])
        await known.wait()

    first, asks = Taker(), Taker()
    async with following(embedded, {"first": first, "asks": asks}, gained={"asks": gained}):
        await until(lambda: noted(embedded, first=1))
    known.set()
    async with following(embedded, {"first": Taker(), "asks": asks}, gained={"asks": gained}):
        await until(lambda: noted(embedded, first=1, asks=1))
    async with following(embedded, {"first": Taker(), "asks": Taker()}, gained={"asks": gained}):
        await until(lambda: len(told) == 3)

    assert told == [False, False, True]
    assert (first.ids, asks.ids) == (ids(1, 1), ids(1, 1))


async def test_where_a_sink_cannot_learn_yet_where_it_begins_it_asks_again(embedded: SqliteLog) -> None:
    await write(embedded, added("a", 1, 1))
    asked = 0

    async def gained(places: Mapping[TopicPartition, bool]) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise TransientError("a neighbour is away")

    taker = Taker()
    async with following(embedded, {"asks": taker}, gained={"asks": gained}):
        await until(lambda: taker.ids)

    assert (asked, taker.ids) == (2, ids(1, 1))


async def test_a_sink_that_halts_keeps_its_place_and_the_others_go_on(embedded: SqliteLog) -> None:
    unknown = msgspec.structs.replace(added("a", 2, 1), events=[msgspec.Raw(b'{"type":"unheard-of.v1"}')])
    await write(embedded, added("a", 1, 1))

    class Taking(Taker):
        async def __call__(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
            self.decisions.extend(fact.decision for fact in facts)

    halting, taking = Taker(), Taking()
    async with following(embedded, {"halting": halting, "taking": taking}) as sinks:
        await until(lambda: noted(embedded, halting=1, taking=1))
        await write(embedded, unknown, added("a", 3, 1))
        await until(lambda: noted(embedded, halting=1, taking=3))
        assert list(sinks["halting"].halted) == [A]
        assert not sinks["taking"].halted
    better = Taking()
    async with following(embedded, {"halting": better, "taking": Taking()}):
        await until(lambda: noted(embedded, halting=3, taking=3))

    assert (halting.ids, better.ids) == (ids(1, 1), ids(2, 3))


async def test_an_aggregate_is_parked_for_the_sink_alone_that_raises_on_it_and_is_retried_by_its_name(
    embedded: SqliteLog,
) -> None:
    await write(embedded, added("a", 1, 1), added("a", 2, 1))
    one, other = Taker(hated="counter|a"), Taker()
    async with following(embedded, {"one": one, "other": other}) as sinks:
        await until(lambda: noted(embedded, one=2, other=2))
        [id] = await Parking(embedded).all()
        assert [parked.group for parked in sinks["one"].parked] == ["one"]
        assert not sinks["other"].parked
        one.hated = ""
        await Parking(embedded).retry(id)
        await until(lambda: not sinks["one"].parked)

    assert id == f"one|{A.topic}|{A.partition}|counter|a"
    assert (one.ids, other.ids) == (ids(1, 2), ids(1, 2))


async def test_each_sinks_epoch_stands_beside_its_position_so_that_a_stale_decider_is_seen_by_each(
    embedded: SqliteLog,
) -> None:
    old = await claim(embedded, "a")
    await write(embedded, added("a", 1, 1, old))
    slow = Taker()
    async with following(embedded, {"quick": Taker(), "slow": slow}):
        await until(lambda: slow.ids)
        slow.here.clear()
        await write(embedded, added("a", 2, 1, old))
        await until(lambda: slow.tries == 2)
        new = await claim(embedded, "a")
        await write(embedded, added("a", 3, 1, new))
        await until(lambda: noted(embedded, quick=5, slow=2))
    note = (await committed(embedded))[1]
    stale = msgspec.structs.replace(added("a", 3, 99, old), command="stale")
    await write(embedded, stale, added("a", 4, 1, new))
    quick, slow = Taker(), Taker()
    async with following(embedded, {"quick": quick, "slow": slow}):
        await until(lambda: noted(embedded, quick=7, slow=7))

    assert note == {"quick": (5, new), "slow": (2, old)}
    assert (quick.ids, slow.ids) == (ids(4, 4), ids(2, 4))


async def test_a_partition_that_is_damaged_halts_all_sinks_there_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path) as log:
        await write(log, added("a", 1, 1), added("a", 2, 1), added(ELSEWHERE, 1, 1))
    damage(path, A, 1)
    one, two = Taker(), Taker()
    async with opened(path) as log, following(log, {"one": one, "two": two}) as sinks:
        await until(lambda: sinks["one"].halted and sinks["two"].halted and one.ids and two.ids)
        halted = [list(sink.halted) for sink in sinks.values()]

    assert halted == [[A], [A]]
    assert one.ids == two.ids == ids(1, 1, ELSEWHERE)


async def test_what_is_read_again_is_damaged_in_one_partition_and_the_others_of_the_sink_go_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.db"
    async with opened(path) as log:
        facts = (added(name, version, 1) for version in range(1, 41) for name in ("a", ELSEWHERE))
        await write(log, *facts)
        async with following(log, {"quick": Taker(), "away": Taker(away=True)}, most=10):
            await until(lambda: noted(log, quick=40, away=0))
    damage(path, A, 5)
    away = Taker()
    async with opened(path) as log, following(log, {"quick": Taker(), "away": away}, most=10) as sinks:
        await until(lambda: sinks["away"].halted and len(away.ids) >= 40)
        assert (list(sinks["away"].halted), sinks["quick"].halted) == ([A], {})

    assert [id for id in away.ids if not id.startswith("a-")] == ids(1, 40, ELSEWHERE)


class Unreadable(FlakyLog):
    """A log whose readers find it away, until it is told to answer."""

    away = True

    def reader(self, gather: float = 0.0) -> Reader:
        reader = super().reader(gather)
        poll = reader.poll

        async def answered(timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[object]]:
            if self.away:
                raise LogUnavailableError("away")
            return await poll(timeout, limit)

        reader.poll = answered  # type: ignore[assignment, method-assign]
        return reader


async def test_a_sink_that_is_behind_while_the_log_is_away_goes_on_when_it_answers(
    embedded: SqliteLog, caplog: pytest.LogCaptureFixture
) -> None:
    await write(embedded, *(added("a", version, 1) for version in range(1, 51)))
    async with following(embedded, {"quick": Taker(), "slow": Taker(away=True)}, most=10):
        await until(lambda: noted(embedded, quick=50, slow=0))
    log = Unreadable(embedded, "")
    slow = Taker()
    async with following(log, {"quick": Taker(), "slow": slow}, most=10):
        await until(lambda: "slow waits at" in caplog.text)
        log.away = False
        await until(lambda: len(slow.ids) == 50)

    assert slow.ids == ids(1, 50)


async def test_partitions_that_move_between_nodes_take_each_sinks_place_along(embedded: SqliteLog) -> None:
    await write(embedded, *(added("a", version, 1) for version in range(1, 4)))
    quick, away = Taker(), Taker(away=True)
    async with following(embedded, {"quick": quick, "away": away}, node="z") as first:
        await until(lambda: noted(embedded, quick=3, away=0))
        other_quick, other = Taker(), Taker()
        async with following(embedded, {"quick": other_quick, "away": other}, node="a") as second:
            await until(lambda: A in second["away"].lanes or A in first["away"].lanes)
            away.here.set()
            await until(lambda: noted(embedded, quick=3, away=3))

    assert quick.ids == ids(1, 3)
    assert other_quick.ids == []
    assert sorted({*away.ids, *other.ids}) == ids(1, 3)
