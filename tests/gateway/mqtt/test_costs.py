"""What a thousand facts cost the effects: reads, writes, decodes and publishes are counted, not timed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from commands.base import Area, Command, Meta
from domain import charge_point, delivery, remote_command, session, token
from domain.aggregate import Event, EventRegistry, event_name
from domain.charge_point import AGGREGATE_EVENTS, ChargePoint
from gateway.mqtt import Broker
from gateway.mqtt.connection import Outgoing
from gateway.mqtt.publisher import Teller, sink_of
from projections.mqtt import TOLD
from projections.public import TOLD as PUBLIC
from projections.store import Applied, Document, PositionKey, Write
from projections.store.sqlite import SqliteReadStore
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.effects.deliveries import Deliveries
from streams.effects.gate import LocalGate
from streams.effects.public import PublicTopics
from streams.following.group import Group
from streams.log import Record
from streams.log.envelope import record
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import events_topic, topics
from tests.gateway.mqtt.conftest import eventually, running
from tests.projections.facts import AREAS as AREA_OF
from tests.projections.facts import (
    MSP,
    NOON,
    connected,
    decision,
    ended,
    meta,
    metered,
    of_charge_point,
    priced,
    started,
    status,
    used,
)
from tests.streams.harness import InHaste
from tests.streams.receiver import Receiver, original

POINTS = 25


class Registry(EventRegistry):
    """Counts what is decoded."""

    decoded = 0

    def decode(self, data: bytes | msgspec.Raw) -> Event:
        self.decoded += 1
        return super().decode(data)


class Store(SqliteReadStore):
    """Counts its round trips."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.counts = Counter[str]()

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        self.counts["written"] += len(writes)
        return await super().apply(writes, positions)

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        wanted = list(ids)
        self.counts["reads"] += 1
        self.counts["read"] += len(wanted)
        return await super().get_many(db, collection, wanted)


class Log(InHaste, SqliteLog):
    """Counts appends."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.appends = 0

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        self.appends += 1
        return await super().append(topic, partition, records)


class Taking(Broker):
    def __init__(self) -> None:
        self.calls = self.messages = 0

    async def publish(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        self.calls += 1
        self.messages += len(messages)
        acknowledged.update(message.event_id for message in messages)


class Reports(CommandBus):
    def __init__(self, log: SqliteLog) -> None:
        super().__init__(log, LocalChannel("one"))
        self.told = 0

    async def tell(self, command: Command, meta: Meta) -> None:
        self.told += 1


def facts_of(number: int) -> list[list[Event]]:
    """One charge in forty decisions: 26 of its charge point, 6 of its session, 8 of its deliveries."""
    cp, id = f"CP-{number}", f"{number:08d}-e03e-509e-be72-d000721e9d18"
    sample = {"measurand": "Power.Active.Import", "unit": "kW"}
    values = [
        [{"timestamp": "2026-03-01T12:00:00Z", "sampledValue": [{"value": str(i), **sample}]}]
        for i in range(20)
    ]
    point: list[Event] = [connected(1, id=cp)]
    point += [status(2, "Preparing", id=cp), status(3, "Charging", id=cp)]
    point += [metered(4 + i, values[i], i, id=cp, session_id=id) for i in range(20)]
    point += [of_charge_point(charge_point.ChargePointSeen, 24, 95, id=cp)]
    point += [status(25, "Finishing", 96, id=cp), status(26, "Available", 97, id=cp)]
    charge: list[list[Event]] = [[started(id=id, cp=cp)]]
    charge += [[used(2 + i, 30.0 * (i + 1), 100 * i, id=id)] for i in range(4)]
    charge += [[ended(6, 130, 1000, id=id), priced(7, 130, id=id)]]
    sent: list[list[Event]] = []
    for module in ("sessions", "cdrs", "tariffs", "locations"):
        whose: dict[str, Any] = {"originator_id": delivery.delivery_id(MSP, module, id), "timestamp": NOON}
        what: dict[str, Any] = {"to": MSP, "module": module, "object_id": id, "tenant": "demo", "wanted": 1}
        what |= {"partition": 0, "offset": 7}
        lease = NOON + timedelta(seconds=30)
        sent += [
            [
                delivery.Wanted(originator_version=1, **whose, **what),
                delivery.AttemptDue(originator_version=2, attempt=1, lease=lease, **whose, **what),
            ],
            [delivery.Wanted(originator_version=3, **whose, **{**what, "wanted": 2})],
        ]
    return [[event] for event in point] + charge + sent


async def test_a_thousand_facts_are_decoded_once_and_cost_few_round_trips(tmp_path: Path) -> None:
    """Before batches they cost 1,950 decodes of events, 50 documents read and 725 publishes that were awaited one by
    one, with about four system calls each."""
    log, store, broker = Log(tmp_path / "log.db"), Store(tmp_path / "store"), Taking()
    await log.start()
    await log.ensure(topics(Layout()))
    facts = [fact for number in range(POINTS) for fact in facts_of(number)]
    assert len(facts) == 1000
    places: dict[tuple[str, int], list[Record]] = {}
    for events in facts:
        id = events[0].originator_id
        place = events_topic(AREA_OF[id.partition("|")[0]]), Layout().partition_of(id)
        places.setdefault(place, []).append(record(id, decision(*events, meta=meta()), "demo"))
    for (topic, partition), records in places.items():
        await SqliteLog.append(log, topic, partition, records)
    registry = Registry(
        {
            ChargePoint: AGGREGATE_EVENTS,
            session.Session: session.AGGREGATE_EVENTS,
            token.Token: token.AGGREGATE_EVENTS,
            remote_command.RemoteCommand: remote_command.AGGREGATE_EVENTS,
            delivery.Delivery: delivery.AGGREGATE_EVENTS,
        }
    )
    reports = Reports(log)
    teller = Teller(store, registry, broker)
    mqtt, public = sink_of(log, teller, teller.handle), PublicTopics(log, registry).sink
    deliveries = Deliveries(log, reports, registry, original, Receiver(), LocalGate(), lambda: NOON)
    effects = Group(log, "effects", "one", [deliveries.sink, public, mqtt])
    read = sum(not events[0].originator_id.startswith("delivery|") for events in facts)
    async with running(effects.run()):
        await eventually(lambda: mqtt.handled == public.handled == read and reports.told == 4 * POINTS)
    await log.close()
    await store.close()

    told = TOLD | PUBLIC | {event_name(delivery.AttemptDue)}
    wanted = [event for events in facts for event in events if event_name(event) in told]
    of_points = len({place for place in places if place[0] == events_topic(Area.CHARGE_POINT)})
    of_sessions = len({place for place in places if place[0] == events_topic(Area.SESSION)})
    assert registry.decoded == len(wanted)
    assert (store.counts["read"], store.counts["reads"]) == (POINTS, of_points)
    assert store.counts["written"] == 2 * POINTS
    assert (broker.calls, broker.messages) == (of_points + of_sessions, 725)
    assert log.appends <= 2 * (of_points + of_sessions)
