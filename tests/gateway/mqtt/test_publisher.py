"""The publisher against a real mosquitto: who sees what, and nothing lost."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import aiomqtt
import pytest

from gateway.mqtt import Broker, BrokerAwayError, BrokerConnection, Publisher
from gateway.mqtt.connection import Outgoing
from gateway.mqtt.publisher import Teller
from projections.mqtt import message_id
from projections.store import Applied, PositionKey, StoreRejectedError, Write
from projections.store.sqlite import SqliteReadStore
from streams.log.sqlite.log import SqliteLog
from tests.gateway.mqtt.conftest import Seen, client, eventually, listening, telling
from tests.projections.facts import (
    EVENTS,
    concluded,
    connected,
    decision,
    ended,
    fact,
    meta,
    registered,
    requested,
    started,
    status,
    used,
    write,
)
from tests.servers import Mosquitto

QUICK = (0.05, 0.2)


def publisher(log: SqliteLog, store: SqliteReadStore, url: str) -> Publisher:
    """One that tells what stands in the log already."""
    return Publisher(log, store, EVENTS, BrokerConnection(url, backoff_s=QUICK), tell_history=True)


async def test_a_charge_is_told_from_start_to_end_with_event_ids(
    log: SqliteLog, store: SqliteReadStore, mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    cp = unique("cp")
    events = [started(cp=cp), used(2, 30, 10), used(3, 45, 20), ended(4, 60, 30)]
    await write(log, *events, meta=meta())
    async with (
        listening(mosquitto.url_of("demo"), f"ocpp/events/demo/{cp}/#") as ear,
        telling(log, publisher(log, store, mosquitto.url)),
    ):
        seen = await ear.until(lambda one: _type(one) == "session_stopped")
    assert [_type(one) for one in seen] == ["session_started", "meter_value", "session_stopped"]
    assert [one.event_id for one in seen] == [_field(one, "event_id") for one in seen]
    assert not any(one.retained for one in seen)


async def test_a_tenant_sees_its_own_messages_and_nobody_elses(
    log: SqliteLog, store: SqliteReadStore, mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    mine, theirs = unique("mine"), unique("theirs")
    foreign = [
        registered(1, theirs, "acme"),
        connected(2, id=theirs, tenant="acme"),
        requested("x", tenant="acme"),
    ]
    foreign += [started(id="s-acme", tenant="acme", cp=theirs), concluded("x", tenant="acme")]
    await write(log, *foreign, meta=meta("acme"))
    async with (
        listening(mosquitto.url_of("acme"), "#") as acme,
        listening(mosquitto.url_of("demo"), "#", "ocpp/events/acme/#", "ocpp/status/acme/#") as demo,
        telling(log, publisher(log, store, mosquitto.url)),
    ):
        wanted = {f"ocpp/{what}/acme/{theirs}" for what in ("status",)} | {
            f"ocpp/events/acme/{theirs}/session"
        }
        while wanted:
            seen = await acme.until(lambda one: one.topic in wanted)
            wanted.discard(seen[-1].topic)
        # Everything of acme is out; the marker comes after it on the same connection.
        await write(log, started(id="s-demo", cp=mine), meta=meta())
        heard = await demo.until(lambda one: one.topic == f"ocpp/events/demo/{mine}/session")
    assert [
        one.topic for one in heard if not one.topic.startswith("ocpp/") or "/demo/" not in one.topic
    ] == []


async def test_the_status_is_there_for_who_comes_later(
    log: SqliteLog, store: SqliteReadStore, mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    cp = unique("cp")
    events = [registered(1, cp), connected(2, id=cp), status(3, "Charging", id=cp)]
    await write(log, *events, meta=meta())
    topic = f"ocpp/status/demo/{cp}"
    async with (
        listening(mosquitto.url_of("demo"), topic) as ear,
        telling(log, publisher(log, store, mosquitto.url)),
    ):
        await ear.until(lambda one: _field(one, "status") == "Occupied")
    async with listening(mosquitto.url_of("demo"), topic) as later:
        [seen] = await later.until(lambda one: True)
    assert seen.retained
    assert _field(seen, "connectors") == [
        {"id": 1, "status": "Charging", "last_update": "2026-03-01T12:00:00.000Z"}
    ]


async def test_the_outcome_of_a_command_reaches_its_tenant(
    log: SqliteLog, store: SqliteReadStore, mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    cp = unique("cp")
    await write(
        log, requested("r-9", cp=cp), concluded("r-9", status="timed_out", reason="late"), meta=meta()
    )
    async with (
        listening(mosquitto.url_of("demo"), f"ocpp/responses/demo/{cp}") as ear,
        telling(log, publisher(log, store, mosquitto.url)),
    ):
        [seen] = await ear.until(lambda one: True)
    assert (_field(seen, "command_id"), _field(seen, "status")) == ("r-9", "timed_out")


class Gated(BrokerConnection):
    """A connection that can be held back, and that knows what the broker has acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__(url, backoff_s=QUICK)
        self.acknowledged: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def _prepare(self, client: aiomqtt.Client) -> None:
        await self.gate.wait()

    async def publish(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        try:
            await super().publish(messages, acknowledged)
        finally:
            self.acknowledged |= acknowledged


async def test_a_broker_killed_in_the_middle_loses_nothing(
    log: SqliteLog, store: SqliteReadStore, own_mosquitto: Mosquitto
) -> None:
    sessions = [started(id=f"s-{number:04}", cp=f"CP-{number % 50}") for number in range(600)]
    ids = {message_id(event, "session") for event in sessions}
    connection = Gated(own_mosquitto.url)
    engine = Publisher(log, store, EVENTS, connection, tell_history=True)
    async with telling(log, engine):
        writing = asyncio.create_task(write(log, *sessions, meta=meta()))
        await eventually(lambda: len(connection.acknowledged) >= 100)
        connection.gate.clear()
        own_mosquitto.kill()
        await writing
        await eventually(lambda: not connection.connected.is_set())
        before = set(connection.acknowledged)
        assert before < ids

        own_mosquitto.restart()
        async with listening(own_mosquitto.url_of("demo"), "ocpp/events/demo/#") as ear:
            connection.gate.set()
            missing = ids - before
            while missing:
                missing -= {one.event_id for one in await ear.until(lambda one: True)}
        await eventually(lambda: engine.sink.handled == len(sessions))
    assert engine.counts["losses"] == 1


async def test_after_a_restart_it_goes_on_where_it_was(
    log: SqliteLog, store: SqliteReadStore, mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    cp = unique("cp")
    async with listening(mosquitto.url_of("demo"), f"ocpp/events/demo/{cp}/#") as ear:
        async with telling(log, publisher(log, store, mosquitto.url)):
            await write(log, started(cp=cp), meta=meta())
            await ear.until(lambda one: _type(one) == "session_started")
        async with telling(log, publisher(log, store, mosquitto.url)):
            await write(log, ended(2, 60, 30), meta=meta())
            seen = await ear.until(lambda one: _type(one) == "session_stopped")
    assert _field(seen[-1], "charge_point_id") == cp


async def test_a_broker_that_lost_what_it_retained_is_told_the_status_anew(
    log: SqliteLog, store: SqliteReadStore, own_mosquitto: Mosquitto
) -> None:
    """mosquitto saves retained messages only now and then: a kill loses them."""
    await write(log, registered(), connected(2), status(3, "Available"), meta=meta())
    engine = publisher(log, store, own_mosquitto.url)
    async with telling(log, engine):
        await eventually(lambda: engine.sink.handled == 3)
        own_mosquitto.kill()
        await engine.connection.away.wait()
        own_mosquitto.restart()
        async with listening(own_mosquitto.url_of("demo"), "ocpp/status/demo/#") as ear:
            seen = await ear.until(lambda one: True)
    assert (_field(seen[-1], "status"), _field(seen[-1], "connected")) == ("Available", True)


class Nowhere(BrokerConnection):
    """Tries a port on which nobody listens, again and again."""

    tries = 0

    def _make_client(self) -> aiomqtt.Client:
        self.tries += 1
        return super()._make_client()


async def test_a_broker_that_stays_away_is_one_line_for_all_partitions_together(
    log: SqliteLog, store: SqliteReadStore, caplog: pytest.LogCaptureFixture
) -> None:
    facts = [
        event for number in range(40) for event in (registered(id=f"CP-{number}"), requested(f"{number}"))
    ]
    await write(log, *facts, meta=meta())
    connection = Nowhere("mqtt://127.0.0.1:1", backoff_s=(0.05, 0.05))
    engine = Publisher(log, store, EVENTS, connection)
    async with telling(log, engine):
        await eventually(lambda: connection.tries >= 20 and engine.counts["waited"] >= 10)
    assert engine.sink.handled == 0
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "MQTT broker mqtt://127.0.0.1:1: [Errno 111] Connection refused; trying again until it answers"
    ]


class Refusing(SqliteReadStore):
    """Refuses to remember the session s-bad."""

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        if any(write.id == "session|s-bad" for write in writes):
            raise StoreRejectedError("this document cannot be")
        return await super().apply(writes, positions)


async def test_what_cannot_be_remembered_of_one_session_stops_no_other_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, broker = Refusing(tmp_path / "refusing"), Unsteady(-1)
    teller = Teller(store, EVENTS, broker)
    facts = [fact(decision(started(id=id), meta=meta())) for id in ("s-1", "s-bad", "s-2")]
    await teller.handle(facts[0].place, facts)
    assert len(broker.taken) == 3
    assert teller.counts["failed"] == 1
    kept = await store.get_many("chargesphere_mqtt", "sessions", [f"session|{id}" for id in ("s-1", "s-2")])
    assert len(kept) == 2
    await store.close()


class Unsteady(Broker):
    """Takes some messages, then is away for one."""

    def __init__(self, away_at: int) -> None:
        self.taken: list[tuple[str, str]] = []
        self.payloads: list[bytes] = []
        self.calls = 0
        self._away_at = away_at

    async def publish(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        self.calls += 1
        for message in messages:
            if len(self.taken) == self._away_at:
                self._away_at = -1
                raise BrokerAwayError("away")
            self.taken.append((message.topic, message.event_id))
            self.payloads.append(message.payload)
            acknowledged.add(message.event_id)


async def test_a_batch_handed_over_again_repeats_only_what_was_not_acknowledged(
    store: SqliteReadStore,
) -> None:
    broker = Unsteady(away_at=2)
    teller = Teller(store, EVENTS, broker)
    facts = [fact(decision(event, meta=meta())) for event in [started(), used(2, 30, 1), ended(3, 60, 2)]]
    try:
        await teller.handle(facts[0].place, facts)
        raise AssertionError("the broker was away")
    except BrokerAwayError:
        pass
    await teller.handle(facts[0].place, facts)
    assert len(broker.taken) == len(set(broker.taken)) == 3


async def test_a_new_process_tells_the_end_of_a_session_that_another_saw_begin(
    store: SqliteReadStore,
) -> None:
    first, second = Unsteady(-1), Unsteady(-1)
    begin, end = fact(decision(started(), meta=meta())), fact(decision(ended(2, 60, 9), meta=meta()))
    await Teller(store, EVENTS, first).handle(begin.place, [begin])
    await Teller(store, EVENTS, second).handle(end.place, [end])
    assert [topic for topic, _ in second.taken] == ["ocpp/events/demo/CP-1/session"]


async def test_a_partition_that_comes_back_is_read_anew(store: SqliteReadStore) -> None:
    """Another node held it meanwhile and went further."""
    broker = Unsteady(-1)
    here, there = Teller(store, EVENTS, broker), Teller(store, EVENTS, Unsteady(-1))
    facts = [
        fact(decision(event, meta=meta()))
        for event in (
            connected(2),
            status(3, "Charging"),
            connected(4),
            status(5, "Charging", connector_id=2),
        )
    ]
    place = facts[0].place
    await here.handle(place, facts[:1])
    await there.handle(place, facts[1:3])
    here.forget(place)
    await here.handle(place, facts[3:])
    payload = json.loads(broker.payloads[-1])
    assert [connector["id"] for connector in payload["connectors"]] == [1, 2]


async def test_a_broker_that_is_away_from_the_start_is_waited_for(
    log: SqliteLog, store: SqliteReadStore, own_mosquitto: Mosquitto
) -> None:
    own_mosquitto.kill()
    await write(log, registered(), connected(2), meta=meta())
    engine = publisher(log, store, own_mosquitto.url)
    async with telling(log, engine):
        await eventually(lambda: engine.counts["waited"] > 0)
        assert engine.sink.handled == 0
        own_mosquitto.restart()
        await eventually(lambda: engine.sink.handled == 2)
    async with client(own_mosquitto.url_of("demo")) as later:
        await later.subscribe("ocpp/status/demo/CP-1", qos=1)
        message = await anext(aiter(later.messages))
    assert message.retain


def _type(one: Seen) -> object:
    return _field(one, "event_type")


def _field(one: Seen, name: str) -> object:
    return one.payload.get(name) if isinstance(one.payload, dict) else None
