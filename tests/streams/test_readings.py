"""Readings beside the events: appended, found behind a mark, taken once, and put to ends that nobody reported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from chargesphere import nouns
from commands.base import Area, Meta
from domain.charge_point import (
    ReadingTaken,
    Seen,
    TransactionClosed,
    TransactionStopped,
    TransactionSuperseded,
)
from domain.values import CallNumber, Carried, RegisterSample
from streams.envelope import Decision, Fence, Reading, record
from streams.log import Record, TopicPartition
from streams.readings import LONGEST_APPEND, TOPIC, Readings, completed
from streams.replay import readings_places
from streams.sqlite_log import SqliteLog
from streams.topology import PARTITIONS, partition_of, topics
from streams.verify import damages

NOW = datetime.now(UTC).replace(microsecond=0)
CP = "charge_point|demo|CP-1"
PLACE = TopicPartition(TOPIC, partition_of(CP))
NEIGHBOUR = next(id for n in range(1000) if partition_of(id := f"charge_point|demo|N-{n}") == PLACE.partition)


def reading(number: int, wh: int, *, of: str = CP, transaction: int = 1, **values: Any) -> ReadingTaken:
    at = NOW + timedelta(seconds=number)
    return ReadingTaken(
        **{
            "originator_id": of,
            "timestamp": at,
            "occurred_at": at,
            "connector_id": 1,
            "transaction_id": transaction,
            "session_id": "s-1",
            "values": msgspec.Raw(b"[]"),
            "samples": (RegisterSample(at=at, energy_wh=Decimal(wh)),),
            "call": CallNumber(epoch=7, number=number),
            **values,
        }
    )


def meta(one: ReadingTaken) -> Meta:
    return Meta(command_id=f"{one.originator_id}|{one.ordinal}", at=one.timestamp, tenant="demo")


async def put(log: SqliteLog, *every: ReadingTaken) -> list[int]:
    readings = Readings(log, nouns.EVENTS)
    return [await readings.append(one, meta(one)) for one in every]


def mark(offset: int, number: int | None = None) -> Carried:
    call = None if number is None else CallNumber(epoch=7, number=number)
    return Carried(offset=offset, call=call, until=NOW + timedelta(seconds=30))


async def found(log: SqliteLog, carried: Carried) -> list[int]:
    return [one.reading.call.number for one in await Readings(log, nouns.EVENTS).behind(CP, 1, carried)]


async def test_readings_of_one_transaction_are_found_behind_its_mark(embedded: SqliteLog) -> None:
    assert await Readings(embedded, nouns.EVENTS).end(CP) == 0
    every = [reading(1, 10), reading(2, 20, of=NEIGHBOUR), reading(3, 30, transaction=2), reading(4, 40)]
    assert await put(embedded, *every) == [0, 1, 2, 3]
    assert await found(embedded, mark(-1)) == [1, 4]
    assert await found(embedded, mark(0, 1)) == [4]
    assert await found(embedded, mark(3, 4)) == []
    assert await found(embedded, mark(3)) == []


async def test_a_mark_whose_reading_is_gone_with_the_topics_end_is_read_by_time(embedded: SqliteLog) -> None:
    await put(embedded, reading(5, 50), reading(6, 60))
    assert await found(embedded, mark(0, 4)) == [5, 6]
    assert await found(embedded, mark(40, 4)) == [5, 6]
    assert await found(embedded, mark(40)) == [5, 6]


async def test_what_the_log_took_long_after_a_marks_time_is_not_looked_for(embedded: SqliteLog) -> None:
    await put(embedded, reading(1, 10))
    old = Carried(offset=-1, until=NOW - LONGEST_APPEND - timedelta(minutes=1))
    assert await found(embedded, old) == []


def ended(kind: type[Any], **values: Any) -> Any:
    common = {
        "originator_id": CP,
        "originator_version": 9,
        "timestamp": NOW + timedelta(seconds=20),
        "occurred_at": NOW,
        "transaction_id": 1,
        "session_id": "s-1",
        "connector_id": 1,
        "samples": (RegisterSample(at=NOW, energy_wh=Decimal(5)),),
        "carried": mark(-1),
    }
    return kind(**common, **values)


async def test_an_end_that_nobody_reported_comes_with_all_readings_before_it(embedded: SqliteLog) -> None:
    await put(embedded, reading(3, 30), reading(1, 10), reading(60, 90))
    closed: Any = await completed(embedded, nouns.EVENTS, ended(TransactionClosed, why="abandoned"))
    assert [one.energy_wh for one in closed.samples] == [5, 10, 30]
    assert closed.occurred_at == NOW + timedelta(seconds=3)


async def test_a_superseded_transaction_ends_when_the_next_one_began_at_the_latest(
    embedded: SqliteLog,
) -> None:
    await put(embedded, reading(1, 10), reading(3, 30))
    began = NOW + timedelta(seconds=2)
    event: Any = await completed(embedded, nouns.EVENTS, ended(TransactionSuperseded, by=2, began_at=began))
    assert ([one.energy_wh for one in event.samples], event.occurred_at) == ([5, 10, 30], began)


async def test_only_a_stop_that_was_put_to_a_transaction_is_completed(embedded: SqliteLog) -> None:
    await put(embedded, reading(1, 10))
    own = ended(TransactionStopped, meter_stop=50, key="k")
    assert await completed(embedded, nouns.EVENTS, own) is own
    put_to = ended(TransactionStopped, meter_stop=50, key="k", assumed=True)
    event: Any = await completed(embedded, nouns.EVENTS, put_to)
    assert ([one.energy_wh for one in event.samples], event.occurred_at) == ([5, 10], NOW)
    seen = Seen(originator_id=CP, originator_version=3, timestamp=NOW)
    assert await completed(embedded, nouns.EVENTS, seen) is seen


async def test_a_second_record_of_one_call_is_dropped_by_its_readers(embedded: SqliteLog) -> None:
    one = reading(1, 10)
    await put(embedded, one, reading(2, 20), one)
    # Where events have lost their end, epochs come again: another time of receipt is another call.
    again = msgspec.structs.replace(one, timestamp=NOW + timedelta(days=1))
    await put(embedded, again)
    fence = Fence()
    admitted: list[Decision | None] = []
    reader = embedded.reader()
    await reader.assign({PLACE: 0})
    while len(admitted) < 4 and (batch := (await reader.poll(1.0)).get(PLACE)):
        admitted += [fence.admit(stored) for stored in batch]
    await reader.close()
    assert [None if one is None else one.meta.at for one in admitted] == [
        one.timestamp,
        NOW + timedelta(seconds=2),
        None,
        NOW + timedelta(days=1),
    ]
    assert admitted[0] is not None
    assert admitted[0].command == "charge_point.reading_taken.v1"
    assert admitted[0].reply.aggregate == CP


def test_readings_are_kept_as_long_as_the_events_and_lie_beside_them() -> None:
    spec = next(spec for spec in topics() if spec.name == "chargesphere.readings.charge-point")
    assert (spec.partitions, spec.retention_ms, spec.compacted) == (PARTITIONS, None, False)
    assert readings_places(Area) == [TopicPartition(spec.name, number) for number in range(PARTITIONS)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"{", "the reading cannot be read"),
        (b'{"kind":"claim","owner":"x"}', "it is no reading"),
        (b'{"kind":"reading","v":2,"aggregate":"a","meta":{},"event":{}}', "this release does not know"),
    ],
)
async def test_a_damaged_reading_is_named(embedded: SqliteLog, value: bytes, said: str) -> None:
    one = reading(1, 10)
    await put(embedded, one)
    assert [line async for line in damages(embedded, nouns.EVENTS, dense=True)] == []
    await embedded.append(*PLACE, [Record(CP.encode(), value)])
    [line] = [line async for line in damages(embedded, nouns.EVENTS, dense=True)]
    assert line.startswith(f"{TOPIC}[{PLACE.partition}]@1: ")
    assert said in line


async def test_a_reading_of_a_newer_release_is_named(embedded: SqliteLog) -> None:
    value = Reading(
        aggregate=CP, meta=meta(reading(1, 1)), event=msgspec.Raw(b'{"type":"charge_point.x.v1"}')
    )
    await embedded.append(*PLACE, [record(CP, value, "demo")])
    [line] = [line async for line in damages(embedded, nouns.EVENTS, dense=True)]
    assert "this release does not know" in line
