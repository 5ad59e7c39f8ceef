"""What is read through of a log: each promise of it broken once, one line each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from commands.base import Area, Meta
from projections.frame import FrameRecord
from streams.log import Record, TopicPartition
from streams.log.envelope import Claim, CommandRecord, Decision, Reply, encode
from streams.log.layout import Layout
from streams.log.sqlite.beside import SqliteLogBeside
from streams.log.sqlite.log import SqliteLog
from streams.log.sqlite.rows import Span
from streams.log.topology import FRAMES, commands_topic, events_topic, topics
from streams.log.verify import damages
from tests.projections.facts import EVENTS, NOON, connected, registered, status

TOPIC = events_topic(Area.CHARGE_POINT)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    yield log
    await log.close()


def claim() -> Record:
    return Record(None, encode(Claim(owner="one")))


def decided(*events: object, epoch: int = 0) -> Record:
    decision = Decision(
        command="x",
        command_offset=0,
        epoch=epoch,
        meta=Meta(command_id="c", at=NOON),
        reply=Reply(),
        events=[msgspec.Raw(msgspec.json.encode(event)) for event in events],
    )
    return Record(b"k", encode(decision))


async def lines(log: SqliteLog, *, dense: bool = True) -> list[str]:
    async with contextlib.aclosing(damages(log, EVENTS, dense=dense)) as found:
        return [line async for line in found]


async def append(log: SqliteLog, *records: Record, topic: str = TOPIC) -> None:
    await log.append(topic, 0, records)


async def test_a_log_as_it_should_be_has_no_damage(log: SqliteLog) -> None:
    await append(log, claim(), decided(registered()), decided(connected(2), status(3, "Available")))
    meta = Meta(command_id="c", at=NOON)
    command = CommandRecord(aggregate="a", meta=meta, command=msgspec.Raw(b"{}"))
    await append(log, Record(b"k", encode(command)), topic=commands_topic(Area.CHARGE_POINT))
    frame = FrameRecord(
        tenant="demo",
        charge_point_id="CP-1",
        epoch=1,
        direction="in",
        message_id="m",
        action="Heartbeat",
        outcome="ok",
        at=NOON,
        seconds=0.1,
    )
    await append(log, Record(b"k", encode(frame)), topic=FRAMES)
    assert await lines(log) == []


async def test_what_a_decider_wrote_after_it_had_lost_the_partition_is_no_damage(log: SqliteLog) -> None:
    await append(log, claim(), decided(registered()), claim(), decided(connected(2), epoch=2))
    await append(log, decided(connected(2), epoch=0))
    assert await lines(log) == []


async def test_each_record_that_cannot_be_read_is_a_line(log: SqliteLog) -> None:
    await append(log, claim(), Record(b"k", b"{}"), decided({"type": "charge_point.booted.v1"}))
    await append(log, Record(b"k", b"no json"), topic=commands_topic(Area.CHARGE_POINT))
    await append(log, Record(b"k", b"\xff"), topic=FRAMES)
    found = await lines(log)
    begins = [line.partition(": ")[0] for line in found]
    assert begins == [
        f"{commands_topic(Area.CHARGE_POINT)}[0]@0",
        f"{TOPIC}[0]@1",
        f"{TOPIC}[0]@2",
        f"{FRAMES}[0]@0",
    ]
    assert all("cannot be read: " in line and "\n" not in line for line in found)


async def test_an_event_of_a_newer_release_is_a_line(log: SqliteLog) -> None:
    await append(log, claim(), decided({"type": "charge_point.flew.v1"}))
    [line] = await lines(log)
    assert line.startswith(f"{TOPIC}[0]@1: it holds what this release does not know: ")


async def test_an_epoch_that_nobody_claimed_is_a_line(log: SqliteLog) -> None:
    await append(log, claim(), decided(registered(), epoch=7))
    assert await lines(log) == [f"{TOPIC}[0]@1: its epoch 7 is no claim before it"]


async def test_versions_that_do_not_follow_one_another_are_lines(log: SqliteLog) -> None:
    await append(log, claim(), decided(registered()), decided(connected(3)), decided(status(3, "Available")))
    id = "charge_point|demo|CP-1"
    assert await lines(log) == [
        f"{TOPIC}[0]@2: version 3 of {id} follows version 1",
        f"{TOPIC}[0]@3: version 3 of {id} follows version 3",
    ]


async def test_records_that_are_missing_are_lines_but_not_what_retention_deleted(log: SqliteLog) -> None:
    await append(log, claim(), decided(registered()), decided(connected(2)), decided(status(3, "Available")))
    await append(log, claim(), topic=TOPIC)
    await append(log, *(claim() for _ in range(4)), topic=FRAMES)

    def spoil(offsets: str, topic: str) -> int:
        connection = log._connect()
        (id,) = connection.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchone()
        connection.execute(f"DELETE FROM log WHERE topic = {id} AND offset IN ({offsets})")  # noqa: S608
        return int(id)

    spoil("2, 3", TOPIC)
    swept = spoil("0, 1", FRAMES)
    log._rows.put_spans(log._connect(), {(swept, 0): Span(2, 4)})
    await log.close()
    again = SqliteLog(log._path)
    await again.start()
    found = await lines(again)
    await again.close()
    [line] = [line for line in found if line.startswith(TOPIC)]
    assert f"{log._path} is damaged at {TOPIC}[0]: offset 2 is missing" in line
    assert not any(line.startswith(FRAMES) and "is missing;" in line for line in found)


class Swept(SqliteLogBeside):
    """The holder's sweep takes the records of a partition before an offset, once it was asked where that begins."""

    def __init__(self, holder: SqliteLog, place: TopicPartition, to: int) -> None:
        super().__init__(holder._path)
        self._holder, self._swept, self._until = holder, place, to

    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        found = await super().beginnings(places)
        if self._swept in places:
            topic = self._holder._topics[self._swept.topic].id
            connection, end = self._holder._connect(), self._holder.tail(self._swept).end
            connection.execute("DELETE FROM log WHERE topic = ? AND offset < ?", (topic, self._until))
            self._holder._rows.put_spans(connection, {(topic, 0): Span(self._until, end)})
        return found


@pytest.mark.parametrize("to", [2, 4], ids=["some of it", "all of it"])
async def test_what_the_holder_deletes_while_it_is_read_beside_is_no_damage(log: SqliteLog, to: int) -> None:
    meta = Meta(command_id="c", at=NOON)
    command = CommandRecord(aggregate="a", meta=meta, command=msgspec.Raw(b"{}"))
    place = TopicPartition(commands_topic(Area.CHARGE_POINT), 0)
    await append(log, *(Record(b"k", encode(command)) for _ in range(4)), topic=place.topic)
    beside = Swept(log, place, to)
    await beside.start()
    assert await lines(beside) == []
    await beside.close()


async def test_records_that_are_missing_at_the_end_are_a_line(log: SqliteLog) -> None:
    await append(log, claim(), decided(registered()), decided(connected(2)))
    log._connect().execute("DELETE FROM log WHERE offset = 2")
    await log.close()
    again = SqliteLog(log._path)
    await again.start()
    [line] = await lines(again)
    assert f"{log._path} is damaged at {TOPIC}[0]: offset 2 is missing" in line
    await again.close()
