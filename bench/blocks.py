"""What readings and frames cost the read store: ``python -m bench.blocks [--mongo URL]``.

MeterValues with their frames come at a rate from many charge points, as the log would give them. Prints the
documents that were written, the commands that MongoDB was given, and the CPU time of the engines and of the server
for them; then what reading the newest frames of one of the charge points takes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from pymongo import AsyncMongoClient, monitoring
from rich.console import Console

from bench.tables import print_facts
from chargesphere import registry
from commands.base import Area, Meta
from domain.charge_point import ChargePointRegistered, MeterValuesRecorded, charge_point_key
from domain.values import Site
from projections import frame, sample
from projections.blocks import Search, page
from projections.frame import FRAMES, FrameRecord, by_charge_point, frames_of
from projections.store import Applied, PositionKey, ReadStore, Write
from projections.store.mongo import MongoReadStore
from projections.store.sqlite import SqliteReadStore
from streams.following.facts import Fact
from streams.log import Stored, TopicPartition
from streams.log.envelope import Decision, Reply, encode, raw
from streams.log.layout import Layout
from streams.log.topology import FRAMES as FRAMES_TOPIC
from streams.log.topology import events_topic
from streams.projecting.frames import GATHER_SECONDS, FrameWriter
from streams.projecting.projector import Projector

TICK = 0.05
VALUES = msgspec.Raw(
    msgspec.json.encode(
        [
            {
                "timestamp": "2126-03-01T12:00:00Z",
                "sampledValue": [
                    {"value": "1234.5", "unit": "Wh"},
                    {"value": "11034", "measurand": "Power.Active.Import", "unit": "W"},
                    {"value": "16.1", "measurand": "Current.Import", "phase": "L1", "unit": "A"},
                    {"value": "55", "measurand": "SoC", "unit": "Percent"},
                ],
            }
        ]
    )
)


class Commands(monitoring.CommandListener):
    """Counts what MongoDB is asked."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.counts[event.command_name] += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """It was counted when it began."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """It was counted when it began."""


class Counting:
    """Counts the documents that are written to a store, by collection."""

    def __init__(self, store: ReadStore) -> None:
        self.written: Counter[str] = Counter()
        self._apply = store.apply
        store.apply = self.apply  # type: ignore[method-assign]

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        self.written.update(write.collection for write in writes)
        return await self._apply(writes, positions)


class Log:
    """Hands out places, offsets and facts."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._ends: Counter[TopicPartition] = Counter()
        self._versions: Counter[str] = Counter()

    def fact(self, charge_point: str, **fields: Any) -> Fact:
        key = charge_point_key("demo", charge_point)
        place = TopicPartition(events_topic(Area.CHARGE_POINT), Layout().partition_of(key))
        self._versions[key] += 1
        common: dict[str, Any] = {
            "originator_id": key,
            "originator_version": self._versions[key],
            "timestamp": self.now,
        }
        event = MeterValuesRecorded(**common, **fields) if fields else _registered(charge_point, common)
        decision = Decision(
            command="charge_point.record_meter_values.v1",
            command_offset=self._ends[place],
            epoch=0,
            meta=Meta(command_id=f"{key}|{self._versions[key]}", at=self.now, tenant="demo"),
            reply=Reply(aggregate=key, version=self._versions[key]),
            events=[raw(event)],
        )
        return Fact(place, self._next(place), self.now, decision)

    def frame(self, charge_point: str, number: int) -> Stored:
        key = charge_point_key("demo", charge_point)
        place = TopicPartition(FRAMES_TOPIC, Layout().partition_of(key))
        record = FrameRecord(
            tenant="demo",
            charge_point_id=charge_point,
            epoch=1,
            direction="in",
            message_id=str(number),
            action="MeterValues",
            request=f'{{"connectorId":1,"transactionId":7,"meterValue":{bytes(VALUES).decode()}}}',
            response="{}",
            outcome="ok",
            at=self.now,
            seconds=0.004,
        )
        return Stored(
            *place, self._next(place), int(self.now.timestamp() * 1000), key.encode(), encode(record)
        )

    def _next(self, place: TopicPartition) -> int:
        self._ends[place] += 1
        return self._ends[place] - 1


def _registered(charge_point: str, common: Mapping[str, Any]) -> ChargePointRegistered:
    site = Site(id="yard", name="Yard", city="Kiel", country="DEU", time_zone="Europe/Berlin")
    return ChargePointRegistered(**common, tenant="demo", charge_point_id=charge_point, site=site)


async def handle(projector: Projector, facts: Sequence[Fact]) -> None:
    """As followers hand them over: each partition its own."""
    by_place: dict[TopicPartition, list[Fact]] = {}
    for fact in facts:
        by_place.setdefault(fact.place, []).append(fact)
    await asyncio.gather(*(projector.handle(place, own) for place, own in by_place.items()))


async def take(frames: FrameWriter, batch: Sequence[Stored]) -> None:
    by_place: dict[TopicPartition, list[Stored]] = {}
    for stored in batch:
        by_place.setdefault(stored.place, []).append(stored)
    for place, own in by_place.items():
        await frames.take(frames.kept.held(place), own)


async def run(options: argparse.Namespace, folder: Path) -> dict[str, int]:
    """What was counted and measured."""
    commands = Commands()
    monitoring.register(commands)
    database = f"bench{time.time_ns()}_"
    store: ReadStore = (
        MongoReadStore(options.mongo, database_prefix=database) if options.mongo else SqliteReadStore(folder)
    )
    await store.ensure([*frame.indexes("ocpp_demo"), *sample.indexes("ocpp_demo")])
    await store.ensure([sample.readings_expiry("ocpp_demo", 730)])
    projector = Projector(
        store, registry.EVENTS, registry.VIEWS, registry.FEEDS, registry.BLOCKS, stories=registry.told
    )
    frames = FrameWriter(store)
    log = Log(datetime(2126, 3, 1, 12, tzinfo=UTC))
    names = [f"CP-{number}" for number in range(options.charge_points)]
    await handle(projector, [log.fact(name) for name in names])
    counting = Counting(store)
    commands.counts.clear()
    server = await server_cpu(options.mongo)
    engine, waiting, next_frames = time.process_time(), list[Stored](), 0.0
    for first in range(0, options.messages, every := max(1, int(options.rate * TICK))):
        log.now += timedelta(seconds=TICK)
        some = [
            names[number * 7 % len(names)] for number in range(first, min(first + every, options.messages))
        ]
        meter = {"connector_id": 1, "transaction_id": 7, "session_id": "s", "values": VALUES}
        facts = [log.fact(name, **meter) for name in some]
        waiting += [log.frame(name, first + number) for number, name in enumerate(some)]
        await asyncio.gather(handle(projector, facts), asyncio.sleep(TICK))
        if (next_frames := next_frames + TICK) >= GATHER_SECONDS:
            await take(frames, waiting)
            waiting, next_frames = [], 0.0
            await asyncio.gather(frames.kept.write_due(), projector.kept.write_due())
    await take(frames, waiting)
    await asyncio.gather(frames.kept.write(), projector.kept.write())
    engine, server = time.process_time() - engine, await server_cpu(options.mongo) - server
    facts_: dict[str, int] = {f"documents written: {name}": count for name, count in counting.written.items()}
    facts_ |= {f"MongoDB: {name}": count for name, count in commands.counts.items() if name != "serverStatus"}
    facts_["CPU of this process, ms"] = round(engine * 1000)
    facts_["CPU of the server, ms"] = round(server * 1000)
    search = Search("ocpp_demo", FRAMES, by_charge_point(names[0]), 100)
    begun = time.process_time()
    found, _ = await page(store, search, frames_of, lambda one: one.record.charge_point_id == names[0])
    facts_[f"the newest {len(found)} frames of one, us of CPU here"] = round(
        (time.process_time() - begun) * 1e6
    )
    await store.close()
    return facts_


async def server_cpu(url: str | None) -> float:
    """Seconds that the server has worked."""
    if url is None:
        return 0.0
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url)
    try:
        told = (await client.admin.command("serverStatus"))["extra_info"]
        return float(told["user_time_us"] + told["system_time_us"]) / 1e6
    finally:
        await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.blocks")
    parser.add_argument("--mongo", metavar="URL", help="a MongoDB; without one, the embedded store")
    parser.add_argument("--charge-points", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=500, help="messages a second")
    parser.add_argument("--messages", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(options, Path(folder)))
    title = f"{options.messages} MeterValues, {options.rate} a second, {options.charge_points} charge points"
    print_facts(Console(), title, found)


if __name__ == "__main__":
    main()
