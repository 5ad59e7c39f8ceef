"""The process engine: events lead to commands whose ids never change, so that sending them twice is harmless."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
import pytest

from commands.base import Area, Command, Meta, Policy, Refusal
from streams.deciding.feed import Feed
from streams.deciding.processes import Processes
from streams.following.parking import Parking
from streams.log import Listener, Log, Member, Position, Reader, TopicPartition
from streams.log.envelope import CommandRecord, Decision, decode_command
from streams.log.layout import Layout
from streams.log.sqlite import log as sqlite_log
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import commands_topic, events_topic
from tests.streams.counter import EVENTS, RULES, Add, Added
from tests.streams.counting import added, write
from tests.streams.harness import FlakyLog, Node, decisions, now, place_of, records, totals, until


def mirror(event: Added, meta: Meta) -> Sequence[Command]:
    """Whatever is added to a counter is added to its mirror, twice."""
    name = event.originator_id.partition("|")[2]
    if name.startswith("mirror"):
        return ()
    return [Add(counter=f"mirror-{name}", amount=event.amount)] * 2


def sorry(cause: str, refusal: Refusal, message: str) -> Sequence[Command]:
    return [Add(counter="mirror-sorry", amount=1)]


@asynccontextmanager
async def running(log: Log) -> AsyncIterator[Processes]:
    """Beside a decider, which feeds them."""
    feed = Feed()
    async with Node(log, feed=feed), beside(log, feed.join) as processes:
        yield processes


@asynccontextmanager
async def alone(log: Log, policy: Policy = mirror) -> AsyncIterator[Processes]:
    """Without a decider, as a group of the log's."""
    topics = [events_topic(Area.CHARGE_POINT)]

    def join(listener: Listener) -> Member:
        return log.member("processes", topics, "one", listener)

    async with beside(log, join, policy) as processes:
        yield processes


@asynccontextmanager
async def beside(
    log: Log, join: Callable[[Listener], Member], policy: Policy = mirror
) -> AsyncIterator[Processes]:
    processes = Processes(
        log,
        {Added: [("mirror", policy)]},
        {Add: sorry},
        EVENTS,
        RULES.commands,
        "one",
        now,
        join,
        areas=[Area.CHARGE_POINT],
    )
    task = asyncio.create_task(processes.run())
    try:
        yield processes
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def commanded(log: Log, counter: str) -> list[CommandRecord]:
    place = TopicPartition(commands_topic(Area.CHARGE_POINT), Layout().partition_of(f"counter|{counter}"))
    return [decode_command(stored) for stored in await records(log, place)]


async def test_a_policys_commands_carry_ids_made_from_process_instance_and_step(embedded: SqliteLog) -> None:
    await write(embedded, added("a", 1, 5))
    async with running(embedded) as processes:
        await until(lambda: processes.commanded == 2)

    found = await commanded(embedded, "mirror-a")
    assert [record.meta.command_id for record in found] == ["mirror|counter|a|1|0", "mirror|counter|a|1|1"]
    assert [(record.meta.causation_id, record.meta.principal, record.meta.tenant) for record in found] == [
        ("a-1", "process", "t")
    ] * 2


async def test_an_event_handled_twice_changes_nothing_the_second_time(embedded: SqliteLog) -> None:
    await write(embedded, *(added("a", version, 1) for version in range(1, 11)))
    place = TopicPartition(commands_topic(Area.CHARGE_POINT), Layout().partition_of("counter|a"))
    for _ in range(2):
        async with running(embedded) as processes:
            await until(lambda: processes.commanded == 20)
            await until(lambda: mirrored(embedded))
            await until(lambda: noted(embedded, place))
        decided = await embedded.committed("decider", [place])
        await embedded.commit("decider", {place: Position(decided[place].offset)})

    assert (await totals_of(embedded))["counter|mirror-a"] == 20


async def noted(log: Log, place: TopicPartition) -> bool:
    """Whether the decider's position says how far processes are."""
    return bool((await log.committed("decider", [place])).get(place, Position(0)).note)


async def test_a_refusal_leads_to_what_its_process_does_about_it_once(embedded: SqliteLog) -> None:
    feed = Feed()
    async with Node(embedded, feed=feed) as node, beside(embedded, feed.join) as processes:
        for _ in range(2):
            await node.ask(Add(counter="a", amount=0), "1")
        await node.ask(Add(counter="b", amount=1), "2")
        await until(lambda: processes.commanded == 3)

    assert [record.meta.command_id for record in await commanded(embedded, "mirror-sorry")] == ["refused|1|0"]


async def test_more_commands_than_one_append_takes_go_in_portions(embedded: SqliteLog) -> None:
    def heavy(event: Added, meta: Meta) -> Sequence[Command]:
        return [Add(counter="mirror-" + "x" * 300_000, amount=1)]

    await write(embedded, *(added("a", version, 1) for version in range(1, 11)))
    feed = Feed()
    processes = Processes(
        embedded,
        {Added: [("heavy", heavy)]},
        {},
        EVENTS,
        RULES.commands,
        "one",
        now,
        feed.join,
        areas=[Area.CHARGE_POINT],
    )
    async with Node(embedded, feed=feed):
        task = asyncio.create_task(processes.run())
        await until(lambda: processes.follower.handled >= 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert len(await commanded(embedded, "mirror-" + "x" * 300_000)) == 10


class Counted(FlakyLog):
    """Counts how often the events of one partition are read from their beginning."""

    def __init__(self, log: Log, place: TopicPartition) -> None:
        super().__init__(log, "")
        self.place = place
        self.readings = 0

    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.readings += self.place in places
        return await super().beginnings(places)


async def test_what_went_into_lost_ends_is_sent_again_to_all_of_them_by_few_readings(
    embedded: SqliteLog,
) -> None:
    """Each gets its own and nobody else's; those that ask while the events are read are served together."""
    names = [str(number) for number in range(100)]
    await write(embedded, *(added(name, 1, 5) for name in names))
    log = Counted(embedded, place_of("counter|0"))
    processes = Processes(
        log,
        {Added: [("mirror", mirror)]},
        {},
        EVENTS,
        RULES.commands,
        "one",
        now,
        Feed().join,
        areas=[Area.CHARGE_POINT],
    )
    lost = [
        TopicPartition(commands_topic(Area.CHARGE_POINT), number) for number in range(Layout().partitions)
    ]
    await asyncio.gather(*(processes.again(place, None) for place in lost[:-1]))

    assert log.readings == 4  # each time the newest record is looked at first
    sent: list[str] = []
    for place in lost:
        ids = [decode_command(stored).meta.command_id for stored in await records(embedded, place)]
        assert len(ids) == len(set(ids))
        sent += ids
    wanted = [
        name for name in names if Layout().partition_of(f"counter|mirror-{name}") != Layout().partitions - 1
    ]
    assert sorted(sent) == sorted(f"mirror|counter|{name}|1|{step}" for name in wanted for step in range(2))


async def totals_of(log: Log) -> dict[str, int]:
    return totals([d for d in await decisions(log, "counter|mirror-a") if "mirror" in d.reply.aggregate])


async def mirrored(log: Log) -> bool:
    return (await totals_of(log)).get("counter|mirror-a") == 20


class Clock:
    """The embedded log's, so many days before now."""

    def __init__(self) -> None:
        self.ago = timedelta(0)
        self.monotonic = time.monotonic

    def time_ns(self) -> int:
        return int((now() - self.ago).timestamp() * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sqlite_log, "time", clock)
    return clock


async def written(log: SqliteLog, clock: Clock, days: int, version: int, name: str = "a") -> None:
    """Received, decided and taken by the log so many days ago."""
    clock.ago = timedelta(days=days)
    await write(log, received(days, version, name))


def received(days: int, version: int, name: str = "a") -> Decision:
    decision = added(name, version, 1)
    meta = msgspec.structs.replace(decision.meta, at=now() - timedelta(days=days))
    return msgspec.structs.replace(decision, meta=meta)


async def committed(log: SqliteLog) -> int:
    place = place_of("counter|a")
    return (await log.committed("processes", [place])).get(place, Position(0)).offset


async def test_a_command_says_when_its_cause_was_received(embedded: SqliteLog, clock: Clock) -> None:
    await written(embedded, clock, 2, 1)
    async with alone(embedded) as processes:
        await until(lambda: processes.commanded == 2)

    [first, _] = await commanded(embedded, "mirror-a")
    assert first.meta.caused_at is not None
    assert timedelta(days=1) < now() - first.meta.caused_at < timedelta(days=3)
    assert first.meta.caused_at.microsecond == 0


async def test_from_the_beginning_of_the_log_only_what_commands_are_kept_for_is_followed(
    embedded: SqliteLog, clock: Clock
) -> None:
    """A position that the log's servers forgot, or that no backup holds: what is older had been decided."""
    for version, days in enumerate((60, 50, 20, 10), 1):
        await written(embedded, clock, days, version)
    end = (await embedded.ends([place_of("counter|a")]))[place_of("counter|a")]
    async with alone(embedded) as processes:
        await until(lambda: processes.follower.handled == 4)
        await until(lambda: position(embedded, end))

    ids = [record.meta.command_id for record in await commanded(embedded, "mirror-a")]
    assert ids == [f"mirror|counter|a|{version}|{step}" for version in (3, 4) for step in (0, 1)]


async def test_a_restore_that_writes_all_records_anew_makes_no_fact_young(embedded: SqliteLog) -> None:
    await write(embedded, *(received(days, version) for version, days in enumerate((60, 50, 20, 10), 1)))
    async with alone(embedded) as processes:
        await until(lambda: processes.follower.handled == 4)

    made = await commanded(embedded, "mirror-a")
    assert [record.meta.command_id for record in made] == [
        f"mirror|counter|a|{version}|{step}" for version in (3, 4) for step in (0, 1)
    ]
    assert made[0].meta.caused_at is not None
    assert timedelta(days=19) < now() - made[0].meta.caused_at < timedelta(days=21)


async def position(log: SqliteLog, wanted: int) -> bool:
    return await committed(log) == wanted


async def test_a_log_that_stood_still_for_long_is_followed_up_to_where_it_stands(
    embedded: SqliteLog, clock: Clock
) -> None:
    """Its age is measured against its own end: a season without power halts nobody."""
    await written(embedded, clock, 90, 1)
    await written(embedded, clock, 89, 2)
    clock.ago = timedelta(0)
    async with alone(embedded) as processes:
        await until(lambda: processes.commanded == 4)


async def test_a_position_that_is_older_than_commands_are_kept_halts_with_one_line(
    embedded: SqliteLog, clock: Clock
) -> None:
    await written(embedded, clock, 50, 1)
    end = (await embedded.ends([place_of("counter|a")]))[place_of("counter|a")]
    async with alone(embedded) as processes:
        await until(lambda: position(embedded, end))
    await written(embedded, clock, 49, 2)
    await written(embedded, clock, 1, 3)
    async with alone(embedded) as processes:
        await until(lambda: processes.follower.halted)
        assert processes.follower.halted[place_of("counter|a")].startswith("our position")
        assert processes.commanded == 0
        assert not processes.follower.parked
    assert await committed(embedded) == end


async def test_what_was_parked_for_longer_than_commands_are_kept_goes_on_when_it_is_tried_again(
    embedded: SqliteLog, clock: Clock
) -> None:
    """It is not our position that is old."""

    def mistaken(event: Added, meta: Meta) -> Sequence[Command]:
        if event.originator_id == "counter|a":
            raise ZeroDivisionError("a mistake of ours")
        return ()

    neighbour = next(f"b{i}" for i in range(10_000) if place_of(f"counter|b{i}") == place_of("counter|a"))
    await written(embedded, clock, 50, 1)
    async with alone(embedded, mistaken) as processes:
        await until(lambda: processes.follower.parked)
        await written(embedded, clock, 1, 1, neighbour)
        end = (await embedded.ends([place_of("counter|a")]))[place_of("counter|a")]
        await until(lambda: position(embedded, end))
    async with alone(embedded) as processes:
        await until(lambda: processes.follower.parked)
        await Parking(embedded).retry(processes.follower.parked[0].id)
        await until(lambda: processes.follower.halted or not processes.follower.parked)
        assert processes.follower.halted == {}

    ids = [record.meta.command_id for record in await commanded(embedded, "mirror-a")]
    assert ids == ["mirror|counter|a|1|0", "mirror|counter|a|1|1"]


class Readers(FlakyLog):
    """Counts its readers."""

    opened = 0

    def reader(self, gather: float = 0.0) -> Reader:
        self.opened += 1
        return super().reader(gather)


async def test_what_is_young_by_itself_opens_no_reader(embedded: SqliteLog) -> None:
    """With many partitions at the start that were many connections to Kafka."""
    log = Readers(embedded, "")
    async with alone(log) as processes:
        await until(lambda: len(processes.follower.positions) == Layout().partitions)
        await write(embedded, *(received(29, 1, str(number)) for number in range(100)))
        await until(lambda: processes.commanded == 200)
        assert log.opened == 0


async def test_what_went_into_a_lost_end_is_sent_again_as_far_back_as_commands_are_kept(
    embedded: SqliteLog, clock: Clock
) -> None:
    for version, days in enumerate((80, 60, 20), 1):
        await written(embedded, clock, days, version)
    processes = Processes(
        embedded,
        {Added: [("mirror", mirror)]},
        {},
        EVENTS,
        RULES.commands,
        "one",
        now,
        Feed().join,
        areas=[Area.CHARGE_POINT],
    )
    target = TopicPartition(commands_topic(Area.CHARGE_POINT), Layout().partition_of("counter|mirror-a"))
    await processes.again(target, None)

    ids = [record.meta.command_id for record in await commanded(embedded, "mirror-a")]
    assert ids == ["mirror|counter|a|3|0", "mirror|counter|a|3|1"]
