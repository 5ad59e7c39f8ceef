"""The public topics on the embedded log: every public event once or more, in order, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from streams.effects.public import APPEND_BYTES, PublicTopics, chunks
from streams.following.group import Group
from streams.log import Log, LogError, LogUnavailableError, Record, Stored, TopicPartition
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import PUBLIC, topics
from tests.projections.facts import (
    EVENTS,
    SESSION,
    connected,
    ended,
    meta,
    priced,
    registered,
    started,
    used,
    withheld,
    write,
)
from tests.streams.harness import InHaste

KEY = f"session|{SESSION}"


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    yield log
    await log.close()


async def read(log: Log, topic: str, key: str, count: int) -> list[Stored]:
    """The first records of the key's partition of a public topic, as they come."""
    place = TopicPartition(PUBLIC[topic], Layout().partition_of(key))
    reader = log.reader()
    await reader.assign({place: 0})
    found: list[Stored] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found.extend((await reader.poll(1.0)).get(place, ()))
    await reader.close()
    return found


async def eventually(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if fact():
                return
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(log: Log, engine: PublicTopics) -> AsyncIterator[None]:
    task = asyncio.create_task(Group(log, "effects", "one", [engine.sink]).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def types(records: Sequence[Stored]) -> list[str]:
    return [dict(record.headers)["ce_type"].decode().removeprefix("chargesphere.") for record in records]


async def test_public_events_are_appended_in_order_under_their_aggregate(log: SqliteLog) -> None:
    await write(log, started(), used(2, 30, 10), ended(3, 60, 20), priced(4, 60), meta=meta())
    await write(log, registered(), connected(2), meta=meta())
    engine = PublicTopics(log, EVENTS)
    async with running(log, engine):
        sessions = await read(log, "sessions", KEY, 3)
        cdrs = await read(log, "cdrs", KEY, 1)
        points = await read(log, "charge-points", "charge_point|demo|CP-1", 1)
    assert types(sessions) == ["session.started.v1", "session.updated.v1", "session.ended.v1"]
    assert types(cdrs) == ["cdr.issued.v1"]
    assert types(points) == ["charge_point.connected.v1"]
    assert {record.key for record in sessions + cdrs} == {KEY.encode()}
    counts = {"sessions": 3, "cdrs": 1, "tokens": 0, "charge-points": 1, "meter-values": 0, "withheld": 0}
    assert engine.counts == counts


async def test_a_cdr_that_is_withheld_is_public_and_counted(log: SqliteLog) -> None:
    await write(log, started(), ended(2, 60, 20), withheld(3, 60), meta=meta())
    engine = PublicTopics(log, EVENTS)
    async with running(log, engine):
        cdrs = await read(log, "cdrs", KEY, 1)
        await eventually(lambda: engine.counts["withheld"] > 0)
    assert types(cdrs) == ["cdr.withheld.v1"]
    assert (engine.counts["cdrs"], engine.counts["withheld"]) == (1, 1)


async def test_after_a_restart_it_goes_on_where_it_was(log: SqliteLog) -> None:
    await write(log, started(), meta=meta())
    first = PublicTopics(log, EVENTS)
    async with running(log, first):
        await eventually(lambda: first.sink.handled == 1)
    await write(log, ended(2, 60, 20), meta=meta())
    second = PublicTopics(log, EVENTS)
    async with running(log, second):
        found = await read(log, "sessions", KEY, 2)
    assert types(found) == ["session.started.v1", "session.ended.v1"]


class Refusing(InHaste, SqliteLog):
    """Takes no append that holds a record of the session s-bad, as where one is too large for any."""

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        if topic in PUBLIC.values() and any(record.key == b"session|s-bad" for record in records):
            raise LogError("an append of 1 records has 1000001 bytes, over 1000000")
        return await super().append(topic, partition, records)


async def test_an_event_that_cannot_be_told_parks_its_aggregate_and_the_others_are_told(
    tmp_path: Path,
) -> None:
    log = Refusing(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    beside = next(
        id
        for n in range(999)
        if Layout().partition_of(f"session|{(id := f's-{n}')}") == Layout().partition_of("session|s-bad")
    )
    await write(log, started(id="s-bad"), started(id=beside), ended(2, 60, 20, id=beside), meta=meta())
    engine = PublicTopics(log, EVENTS)
    async with running(log, engine):
        found = await read(log, "sessions", f"session|{beside}", 2)
        await eventually(lambda: len(engine.sink.parked) == 1)
        assert engine.sink.parked[0].aggregate == "session|s-bad"
    await log.close()
    assert types(found) == ["session.started.v1", "session.ended.v1"]


class Silent(InHaste, SqliteLog):
    """Appends, and then says that it does not know whether it did: once."""

    silent = True

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        offsets = await super().append(topic, partition, records)
        if topic in PUBLIC.values() and self.silent:
            self.silent = False
            raise LogUnavailableError("no answer")
        return offsets


async def test_an_append_of_unknown_outcome_is_repeated_with_the_same_ids(tmp_path: Path) -> None:
    log = Silent(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    await write(log, started(), meta=meta())
    async with running(log, PublicTopics(log, EVENTS)):
        first, again = await read(log, "sessions", KEY, 2)
    await log.close()
    assert (first.headers, first.value) == (again.headers, again.value)


def test_appends_stay_well_below_what_a_broker_takes() -> None:
    records = [Record(b"k", bytes(APPEND_BYTES // 3)) for _ in range(7)]
    assert [len(chunk) for chunk in chunks(records)] == [2, 2, 2, 1]
