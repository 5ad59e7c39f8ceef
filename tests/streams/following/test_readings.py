"""Readings beside the events: appended, found behind a mark, taken once, and put to ends that nobody reported."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chargesphere import registry
from commands.base import Area, Meta
from domain.charge_point import (
    ChargePointRegistered,
    ChargePointSeen,
    MeterValuesRecorded,
    ReadingTaken,
    TransactionClosed,
    TransactionStopped,
    TransactionSuperseded,
)
from domain.values import CallNumber, Carried, RegisterSample, Site
from projections.blocks import Search, page
from projections.mqtt import tell
from projections.sample import SAMPLES, Sample, by_charge_point, samples_of
from projections.store import Document, Query, ReadStore, Write
from projections.store.sqlite import SqliteReadStore
from streams.effects.public import PublicTopics
from streams.following.facts import Fact
from streams.following.follower import Follower
from streams.following.group import Group
from streams.following.readings import LONGEST_APPEND, TOPIC, Readings, completed
from streams.following.replay import readings_places
from streams.log import Record, TopicPartition
from streams.log.envelope import (
    Claim,
    DamagedRecordError,
    Decision,
    Fence,
    Reading,
    decode_events,
    encode,
    record,
)
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import PUBLIC, events_topic, topics
from streams.log.verify import damages
from streams.projecting.projector import Projector
from streams.projecting.rebuild import Rebuild
from tests.projections.facts import write

NOW = datetime.now(UTC).replace(microsecond=0)
CP = "charge_point|demo|CP-1"
PLACE = TopicPartition(TOPIC, Layout().partition_of(CP))
NEIGHBOUR = next(
    id for n in range(1000) if Layout().partition_of(id := f"charge_point|demo|N-{n}") == PLACE.partition
)


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
    readings = Readings(log, registry.EVENTS)
    return [await readings.append(one, meta(one)) for one in every]


def mark(offset: int, number: int | None = None) -> Carried:
    call = None if number is None else CallNumber(epoch=7, number=number)
    return Carried(offset=offset, call=call, until=NOW + timedelta(seconds=30))


async def found(log: SqliteLog, carried: Carried) -> list[int]:
    return [one.reading.call.number for one in await Readings(log, registry.EVENTS).behind(CP, 1, carried)]


async def test_readings_of_one_transaction_are_found_behind_its_mark(embedded: SqliteLog) -> None:
    assert await Readings(embedded, registry.EVENTS).end(CP) == 0
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


async def test_a_log_that_was_restored_gives_the_readings_behind_a_mark(embedded: SqliteLog) -> None:
    """A restore appends all of it anew: the log's times are those of the restore, those of receipt are not."""
    then = NOW - timedelta(days=2)
    late = timedelta(seconds=30) + LONGEST_APPEND
    for number, seconds in enumerate((1, 2, late.total_seconds() + 1), 1):
        await put(embedded, reading(number, number, timestamp=then + timedelta(seconds=seconds)))
    carried = Carried(offset=-1, until=then + timedelta(seconds=30))
    assert await found(embedded, carried) == [1, 2]
    end = ended(TransactionClosed, why="abandoned", carried=carried, timestamp=then + timedelta(seconds=20))
    closed: Any = await completed(embedded, registry.EVENTS, end)
    assert {one.energy_wh for one in closed.samples} == {5, 1, 2}


class Herd:
    """Charge points of one partition with one reading each, and how often it has been read."""

    def __init__(self, log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
        every = (f"charge_point|demo|H-{number}" for number in range(2_000))
        self.ids = [id for id in every if Layout().partition_of(id) == PLACE.partition][:50]
        self.readings = Readings(log, registry.EVENTS)
        self.opened = 0
        self._reader = log.reader
        monkeypatch.setattr(log, "reader", self.reader)

    def reader(self) -> Any:
        self.opened += 1
        return self._reader()

    async def found(self, id: str, carried: Carried) -> list[int]:
        return [one.reading.call.number for one in await self.readings.behind(id, 1, carried)]


async def test_a_herd_that_comes_back_is_answered_by_few_readings_of_its_partition(
    embedded: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each from its own mark on; nobody waits for one whose reading is damaged, or who does not wait any more."""
    herd = Herd(embedded, monkeypatch)
    assert len(herd.ids) == 50
    await put(embedded, *(reading(n, n, of=id) for n in (1, 2) for id in herd.ids))
    await embedded.append(*PLACE, [Record(herd.ids[7].encode(), b"{")])
    # When what is damaged was received, the log alone can tell: by its own clock, now.
    until = datetime.now(UTC) + timedelta(seconds=30)
    marks = {id: msgspec.structs.replace(mark(n, 1), until=until) for n, id in enumerate(herd.ids)}
    gone = asyncio.create_task(herd.found(herd.ids[9], marks[herd.ids[9]]))
    asked = [asyncio.create_task(herd.found(id, marks[id])) for id in herd.ids]
    await asyncio.sleep(0)
    gone.cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers.pop(7), DamagedRecordError)
    assert answers == [[2]] * 49
    assert herd.opened == 1
    lost = await asyncio.gather(*(herd.found(id, mark(1_000, 1)) for id in herd.ids[:2]))
    assert lost == [[1, 2], [1, 2]]


async def test_marks_that_lie_far_apart_are_not_read_for_one_another(
    embedded: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day may lie between them."""
    monkeypatch.setattr("streams.following.readings.BATCH", 10)
    herd = Herd(embedded, monkeypatch)
    old, new = herd.ids[:2]
    await put(embedded, reading(1, 1, of=old), *(reading(n, n, of=herd.ids[2]) for n in range(2, 40)))
    await put(embedded, reading(40, 40, of=new), reading(41, 41, of=new))
    answers = await asyncio.gather(herd.found(old, mark(-1)), herd.found(new, mark(39, 40)))
    assert ([*answers], herd.opened) == ([[1], [41]], 2)


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
    return kind(**{**common, **values})


async def test_an_end_that_nobody_reported_comes_with_all_readings_before_it(embedded: SqliteLog) -> None:
    await put(embedded, reading(3, 30), reading(1, 10), reading(60, 90))
    closed: Any = await completed(embedded, registry.EVENTS, ended(TransactionClosed, why="abandoned"))
    assert [one.energy_wh for one in closed.samples] == [5, 10, 30]
    assert closed.occurred_at == NOW + timedelta(seconds=3)


async def test_a_superseded_transaction_ends_when_the_next_one_began_at_the_latest(
    embedded: SqliteLog,
) -> None:
    await put(embedded, reading(1, 10), reading(3, 30))
    began = NOW + timedelta(seconds=2)
    event: Any = await completed(
        embedded, registry.EVENTS, ended(TransactionSuperseded, by=2, began_at=began)
    )
    assert ([one.energy_wh for one in event.samples], event.occurred_at) == ([5, 10, 30], began)


async def test_only_a_stop_that_was_put_to_a_transaction_is_completed(embedded: SqliteLog) -> None:
    await put(embedded, reading(1, 10))
    own = ended(TransactionStopped, meter_stop=50, key="k")
    assert await completed(embedded, registry.EVENTS, own) is own
    put_to = ended(TransactionStopped, meter_stop=50, key="k", assumed=True)
    event: Any = await completed(embedded, registry.EVENTS, put_to)
    assert ([one.energy_wh for one in event.samples], event.occurred_at) == ([5, 10], NOW)
    seen = ChargePointSeen(originator_id=CP, originator_version=3, timestamp=NOW)
    assert await completed(embedded, registry.EVENTS, seen) is seen


async def test_a_second_record_of_one_call_is_a_repeat_to_its_readers(embedded: SqliteLog) -> None:
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
    assert [one and (one.meta.at, one.repeat) for one in admitted] == [
        (one.timestamp, False),
        (NOW + timedelta(seconds=2), False),
        (one.timestamp, True),
        (NOW + timedelta(days=1), False),
    ]
    assert admitted[2] is not None
    assert decode_events(admitted[2], registry.EVENTS) == []
    assert admitted[0] is not None
    assert admitted[0].command == "charge_point.reading_taken.v1"
    assert admitted[0].reply.aggregate == CP


def test_readings_are_kept_as_long_as_the_events_and_lie_beside_them(embedded: SqliteLog) -> None:
    spec = next(spec for spec in topics(Layout()) if spec.name == "chargesphere.readings.charge-point")
    assert (spec.partitions, spec.retention_ms, spec.compacted) == (Layout().partitions, None, False)
    assert readings_places(embedded, Area) == embedded.places(spec.name)


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
    assert [line async for line in damages(embedded, registry.EVENTS, dense=True)] == []
    await embedded.append(*PLACE, [Record(CP.encode(), value)])
    [line] = [line async for line in damages(embedded, registry.EVENTS, dense=True)]
    assert line.startswith(f"{TOPIC}[{PLACE.partition}]@1: ")
    assert said in line


async def test_a_reading_of_a_newer_release_is_named(embedded: SqliteLog) -> None:
    value = Reading(
        aggregate=CP, meta=meta(reading(1, 1)), event=msgspec.Raw(b'{"type":"charge_point.x.v1"}')
    )
    await embedded.append(*PLACE, [record(CP, value, "demo")])
    [line] = [line async for line in damages(embedded, registry.EVENTS, dense=True)]
    assert "this release does not know" in line


# -- who reads them ------------------------------------------------------------------------------------------------

VALUES = msgspec.Raw(b'[{"timestamp":"2026-03-01T12:00:00Z","sampledValue":[{"value":"10"}]}]')
PUBLISHED = TopicPartition(PUBLIC["meter-values"], Layout().partition_of(CP))


async def written(log: SqliteLog) -> None:
    """A charge point, one reading in two records, and one that was decided."""
    at: dict[str, Any] = {"originator_id": CP, "timestamp": NOW}
    site = Site(id="LOC1")
    registered = ChargePointRegistered(
        **at, originator_version=1, tenant="demo", charge_point_id="CP-1", site=site
    )
    recorded = MeterValuesRecorded(
        **at, originator_version=2, connector_id=1, transaction_id=1, session_id="s-1", values=VALUES
    )
    await log.append(
        events_topic(Area.CHARGE_POINT), PLACE.partition, [Record(None, encode(Claim(owner="n")))]
    )
    await write(log, registered, recorded, meta=Meta(command_id="c", at=NOW, tenant="demo"))
    one = reading(1, 10, values=VALUES)
    await put(log, one, one)


async def listed(store: ReadStore) -> list[Sample]:
    """All readings of the charge point, as the API lists them."""
    search = Search("ocpp_demo", SAMPLES, by_charge_point("CP-1"), 50)
    found, cursor = await page(store, search, samples_of, lambda sample: True)
    assert cursor is None
    return found


async def test_every_reading_is_listed_once_beside_the_charge_points_own(
    embedded: SqliteLog, read_store: SqliteReadStore, tmp_path: Path
) -> None:
    """Blocks hold second records too, so that they are the same whoever folds them, and from wherever."""
    await written(embedded)
    projector = Projector(read_store, registry.EVENTS, registry.VIEWS, registry.FEEDS, registry.BLOCKS)
    follower = Follower(
        embedded,
        "p",
        (Area.CHARGE_POINT,),
        "n",
        projector.handle,
        readings=True,
        gather=0.0,
        keeper=projector.kept,
    )
    async with running(follower.run):
        await eventually(lambda: follower.handled >= 4)
        await eventually(lambda: projector.kept.entries >= 3)
    found = await listed(read_store)
    assert sorted(sample.id for sample in found if sample.id.startswith("CP-1|")) == ["CP-1|7.1"]
    assert len(found) == 2
    [one] = [sample for sample in found if sample.id == "CP-1|7.1"]
    assert (one.session_id, one.unmatched, one.flags) == ("s-1", False, ())
    assert msgspec.json.decode(one.values) == msgspec.json.decode(VALUES)
    point = await read_store.get("ocpp_demo", "charge_points", "CP-1")
    assert point is not None
    assert point["version"] == 2

    rebuilt = SqliteReadStore(tmp_path / "again")
    await Rebuild(
        embedded, Projector(rebuilt, registry.EVENTS, registry.VIEWS, registry.FEEDS, registry.BLOCKS)
    ).go_on()
    assert await blocks_of(rebuilt) == await blocks_of(read_store)
    await rebuilt.close()


async def test_a_charge_point_on_which_a_projector_raises_costs_no_neighbour_a_reading(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    """What its facts were handed over with is handed over again, aggregate by aggregate: blocks have it by then."""
    same = [
        id for n in range(1000) if Layout().partition_of(id := f"charge_point|demo|M-{n}") == PLACE.partition
    ]
    ids = [CP, NEIGHBOUR, same[0]]
    await put(embedded, *(reading(n, n, of=ids[n % 3], values=VALUES) for n in range(1, 7)))

    def stories(fact: Fact) -> Sequence[Write]:
        if fact.aggregate == NEIGHBOUR:
            raise ZeroDivisionError("a mistake of ours")
        return []

    projector = Projector(
        read_store, registry.EVENTS, registry.VIEWS, registry.FEEDS, registry.BLOCKS, stories=stories
    )
    follower = Follower(
        embedded, "p", (Area.CHARGE_POINT,), "n", projector.handle, readings=True, keeper=projector.kept
    )
    async with running(follower.run):
        await eventually(lambda: [one.aggregate for one in follower.parked] == [NEIGHBOUR])
        await eventually(lambda: follower.positions.get(PLACE) == 6)
        await projector.kept.write()

    def is_of(name: str, sample: Sample) -> bool:
        return sample.charge_point_id == name

    for id in ids:
        name = id.rpartition("|")[2]
        search = Search("ocpp_demo", SAMPLES, by_charge_point(name), 50)
        items, _ = await page(read_store, search, samples_of, partial(is_of, name))
        assert len(items) == 2, name


async def blocks_of(store: ReadStore) -> dict[str, Document]:
    return {
        str(one["_id"]): one for one in (await store.find(Query("ocpp_demo", "samples", limit=500))).items
    }


async def test_every_reading_is_told_in_public_under_the_number_of_its_call(embedded: SqliteLog) -> None:
    await written(embedded)
    engine = PublicTopics(embedded, registry.EVENTS)
    async with running(Group(embedded, "effects", "n", [engine.sink]).run):
        await eventually(lambda: engine.counts["meter-values"] >= 2)
        await eventually(lambda: engine.sink.handled >= 4)
    reader = embedded.reader()
    await reader.assign({PUBLISHED: 0})
    told = [dict(stored.headers) for stored in (await reader.poll(1.0))[PUBLISHED]]
    await reader.close()
    assert {one["ce_id"]: one.get("ce_aggregateversion") for one in told} == {
        f"{CP}|2".encode(): b"2",
        f"{CP}|7.1".encode(): None,
    }
    assert len(told) == 2


def test_every_reading_is_told_by_mqtt_under_an_id_of_its_own() -> None:
    one, other = reading(1, 10, values=VALUES), reading(2, 10, values=VALUES)
    (first,) = tell(None, one, meta(one))[1]
    (again,) = tell(None, one, meta(one))[1]
    (second,) = tell(None, other, meta(other))[1]
    assert first.topic == "ocpp/events/demo/CP-1/meter_value"
    assert first == again
    assert first.event_id != second.event_id
    assert first.payload is not None
    assert first.payload["session_id"] == "s-1"


@contextlib.asynccontextmanager
async def running(run: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def eventually(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fact():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)
