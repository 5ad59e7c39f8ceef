"""MQTT is away for long: what else effects do goes on, over a restart too, and MQTT is told everything in the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from commands.base import Area
from domain import delivery
from gateway.mqtt import BrokerConnection, Publisher
from gateway.mqtt.connection import Outgoing
from gateway.mqtt.publisher import Teller
from projections.store.sqlite import SqliteReadStore
from streams.effects.deliveries import Deliveries
from streams.effects.gate import LocalGate
from streams.effects.public import PublicTopics
from streams.following.group import Group
from streams.log import Log, TopicPartition
from streams.log.envelope import record
from streams.log.kafka.log import KafkaLog
from streams.log.layout import Layout
from streams.log.ranges import stretch
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import DEAD, PUBLIC, events_topic, readings_topic, topics
from tests.gateway.mqtt.conftest import running
from tests.gateway.mqtt.test_costs import Reports
from tests.projections.facts import EVENTS, MSP, NOON, decision, ended, fact, meta, started, used, write
from tests.servers import Kafka
from tests.streams.harness import until
from tests.streams.receiver import Receiver, original

READINGS = 60
KEPT = 10
"""Records that a sink keeps here."""
AREAS = (Area.CHARGE_POINT, Area.SESSION, Area.TOKEN, Area.REMOTE_COMMAND, Area.DELIVERY)
SESSION_KEY = "session|0c1d9f6e-0000-4000-8000-000000000001"
ID = SESSION_KEY.removeprefix("session|")


class Away(BrokerConnection):
    """A broker that is away until it is let in, in this process."""

    def __init__(self) -> None:
        super().__init__("mqtt://user:password@127.0.0.1:1")
        self.back = asyncio.Event()
        self.told: list[tuple[str, str]] = []

    async def run(self) -> None:
        await self.back.wait()
        self.away.clear()
        self.connected.set()
        await asyncio.Event().wait()

    async def publish(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        for message in messages:
            self.told.append((str(json.loads(message.payload)["event_type"]), message.event_id))
            acknowledged.add(message.event_id)


class Effects:
    """One life of the process."""

    def __init__(self, log: Log, store: SqliteReadStore, connection: Away) -> None:
        self.reports = Reports(log)  # type: ignore[arg-type]
        self.deliveries = Deliveries(
            log, self.reports, EVENTS, original, Receiver(), LocalGate(), lambda: NOON
        )
        self.public = PublicTopics(log, EVENTS)
        self.mqtt = Publisher(log, store, EVENTS, connection, tell_history=True)
        sinks = [self.deliveries.sink, self.public.sink, self.mqtt.sink]
        for sink in sinks:
            sink.most_in_all = KEPT
        self.group = Group(log, "effects", "one", sinks, most_apart=KEPT)

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        async with running(self.mqtt.run()), running(self.group.run()):
            yield


async def due(log: Log, version: int) -> None:
    """An attempt to deliver the session."""
    id = delivery.delivery_id(MSP, "sessions", ID)
    attempt = delivery.AttemptDue(
        originator_id=id,
        originator_version=version,
        timestamp=NOON,
        to=MSP,
        module="sessions",
        object_id=ID,
        tenant="demo",
        wanted=version,
        partition=0,
        offset=0,
        attempt=1,
        lease=NOON + timedelta(seconds=30),
    )
    place = events_topic(Area.DELIVERY), Layout().partition_of(id)
    await log.append(*place, [record(id, decision(attempt, meta=meta()), "demo")])


async def in_public(log: Log) -> list[str]:
    """The ids of the session's public events."""
    place = TopicPartition(PUBLIC["sessions"], Layout().partition_of(SESSION_KEY))
    found: list[str] = []
    async with contextlib.aclosing(stretch(log, place)) as batches:
        async for batch in batches:
            found.extend(dict(stored.headers)["ce_id"].decode() for stored in batch)
    return found


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    log: Log
    if request.param == "kafka":
        kafka: Kafka = request.getfixturevalue("own_kafka")
        log = KafkaLog(kafka.url, timeout=30.0)
    else:
        log = SqliteLog(tmp_path / "log.db")
    wanted = {
        DEAD,
        *PUBLIC.values(),
        *(events_topic(area) for area in AREAS),
        readings_topic(Area.CHARGE_POINT),
    }
    await log.start()
    await log.ensure([spec for spec in topics(Layout()) if spec.name in wanted])
    yield log
    await log.close()


@pytest.mark.timeout(180)
async def test_mqtt_that_is_away_delays_neither_what_is_delivered_and_told_in_public_nor_a_start(
    log: Log, store: SqliteReadStore, tmp_path: Path
) -> None:
    readings = [used(2 + number, 30.0 * (number + 1), 100 * number, id=ID) for number in range(READINGS)]
    await write(log, started(id=ID), *readings, meta=meta())
    await due(log, 1)
    first = Effects(log, store, Away())
    async with first.living():
        await until(lambda: first.public.counts["sessions"] == 1 + READINGS, 60)
        await until(lambda: first.reports.told == 1, 60)
        assert (first.mqtt.sink.handled, first.mqtt.sink.behind) == (0, 1)
        assert first.mqtt.sink.waiting <= KEPT
        await until(lambda: _position(log, "public", 1 + READINGS), 60)

    last = ended(2 + READINGS, 1900, 6000, id=ID)
    await write(log, last, meta=meta())
    await due(log, 2)
    connection = Away()
    second = Effects(log, store, connection)
    async with second.living():
        await until(lambda: second.public.counts["sessions"] == 1, 60)
        await until(lambda: second.reports.told == 1, 60)
        assert (second.mqtt.sink.handled, second.public.sink.handled) == (0, 1)
        connection.back.set()
        await until(lambda: second.mqtt.sink.handled == 2 + READINGS and not second.mqtt.sink.behind, 60)

    told = await in_public(log)
    assert len(told) == len(set(told)) == 2 + READINGS
    alone = Away()
    facts = [fact(decision(event, meta=meta())) for event in (started(id=ID), *readings, last)]
    fresh = SqliteReadStore(tmp_path / "alone")
    await Teller(fresh, EVENTS, alone).handle(facts[0].place, facts)
    await fresh.close()
    assert connection.told == alone.told
    assert connection.told[-1][0] == "session_stopped"


async def _position(log: Log, sink: str, offset: int) -> bool:
    place = TopicPartition(events_topic(Area.SESSION), Layout().partition_of(SESSION_KEY))
    position = (await log.committed("effects", [place])).get(place)
    return position is not None and json.loads(position.note)[sink][0] == offset
