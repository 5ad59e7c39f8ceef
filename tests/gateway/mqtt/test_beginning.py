"""MQTT begins to tell where it is switched on; what was before is known, and told only where that was asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from gateway.mqtt import BrokerConnection, Publisher
from gateway.mqtt.beginning import SOON, Beginning
from gateway.mqtt.connection import Outgoing
from projections.store.sqlite import SqliteReadStore
from streams.log import TopicPartition
from streams.log.sqlite.log import SqliteLog
from tests.gateway.mqtt.conftest import eventually, telling
from tests.projections.facts import EVENTS, connected, ended, meta, registered, started, status, write

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACE, OTHER = TopicPartition("events", 0), TopicPartition("events", 1)


class Willing(BrokerConnection):
    """A broker that takes everything, in this process."""

    def __init__(self) -> None:
        super().__init__("mqtt://user:password@127.0.0.1:1")
        self.told: list[tuple[str, object]] = []

    async def run(self) -> None:
        self.away.clear()
        self.connected.set()
        await asyncio.Event().wait()

    async def publish(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        for message in messages:
            body = json.loads(message.payload) if message.payload else {}
            self.told.append((message.topic, body.get("event_type") or body.get("status")))
            acknowledged.add(message.event_id)


SESSION_TOPIC, STATUS_TOPIC = "ocpp/events/demo/CP-1/session", "ocpp/status/demo/CP-1"
HISTORY = [registered(), connected(2), status(3, "Available"), status(4, "Charging"), started()]


async def test_what_was_before_it_is_switched_on_is_not_told_and_the_status_is_told_as_it_is(
    log: SqliteLog, store: SqliteReadStore
) -> None:
    await write(log, *HISTORY, meta=meta())
    broker = Willing()
    async with telling(log, Publisher(log, store, EVENTS, broker)):
        await eventually(lambda: bool(broker.told))
        # A session that began before is known when it ends.
        await write(log, ended(2, 60, 30), meta=meta())
        await eventually(lambda: len(broker.told) == 2)
    assert broker.told == [(STATUS_TOPIC, "Occupied"), (SESSION_TOPIC, "session_stopped")]


async def test_all_is_told_where_it_was_asked_for(log: SqliteLog, store: SqliteReadStore) -> None:
    await write(log, *HISTORY, meta=meta())
    broker = Willing()
    async with telling(log, Publisher(log, store, EVENTS, broker, tell_history=True)):
        await eventually(lambda: len(broker.told) == 5)
    assert (SESSION_TOPIC, "session_started") in broker.told
    assert [what for topic, what in broker.told if topic == STATUS_TOPIC][-1] == "Occupied"


async def test_after_a_restart_what_happened_meanwhile_is_told(
    log: SqliteLog, store: SqliteReadStore
) -> None:
    first, second = Willing(), Willing()
    engine = Publisher(log, store, EVENTS, first)
    async with telling(log, engine):
        await eventually(lambda: not engine.beginning.awaited.is_set() and engine.beginning.known.is_set())
        await write(log, started(), meta=meta())
        await eventually(lambda: bool(first.told))
    await write(log, ended(2, 60, 30), meta=meta())
    async with telling(log, Publisher(log, store, EVENTS, second)):
        await eventually(lambda: bool(second.told))
    assert first.told == [(SESSION_TOPIC, "session_started")]
    assert second.told == [(SESSION_TOPIC, "session_stopped")]


async def test_it_is_ready_once_it_is_known_from_where_on_it_tells(
    log: SqliteLog, store: SqliteReadStore
) -> None:
    engine = Publisher(log, store, EVENTS, Willing())
    try:
        await engine.ready()
        raise AssertionError("nothing was gained yet")
    except RuntimeError as error:
        assert "from where on" in str(error)
    async with telling(log, engine):
        await eventually(engine.beginning.known.is_set)
        await engine.ready()


# -- what stands in the store ----------------------------------------------------------------------------------------


class Offsets(SqliteLog):
    """A log of which only ends are asked; a test sets them."""

    def __init__(self) -> None:
        self.end: dict[TopicPartition, int] = {PLACE: 10, OTHER: 20}

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {place: self.end[place] for place in places}


class Clock:
    now = NOON

    def __call__(self) -> datetime:
        return self.now


def beginning(log: Offsets, store: SqliteReadStore, clock: Clock) -> Beginning:
    return Beginning(log, store, "chargesphere_mqtt", clock)


async def test_it_begins_at_the_end_of_then_and_a_restart_before_that_changes_nothing(
    store: SqliteReadStore,
) -> None:
    log, clock = Offsets(), Clock()
    first = beginning(log, store, clock)
    await first.gained({PLACE: False, OTHER: False})
    assert (first.of(PLACE), first.of(OTHER)) == (10, 20)
    assert first.reached({PLACE: 9, OTHER: 20}) == [OTHER]
    log.end = {PLACE: 100, OTHER: 100}
    # Killed before its first position was kept, and after it.
    for kept in (False, True):
        clock.now += timedelta(hours=1)
        again = beginning(log, store, clock)
        await again.gained({PLACE: kept, OTHER: kept})
        assert (again.of(PLACE), again.of(OTHER)) == (10, 20)


async def test_once_begun_it_goes_on_at_its_position(store: SqliteReadStore) -> None:
    log, clock = Offsets(), Clock()
    first = beginning(log, store, clock)
    await first.gained({PLACE: False})
    clock.now += timedelta(seconds=1)
    await first.begun([PLACE])
    assert not first.awaited.is_set()
    again = beginning(log, store, clock)
    await again.gained({PLACE: True})
    assert again.of(PLACE) == 0


async def test_killed_before_its_first_position_was_kept_it_begins_where_it_began(
    store: SqliteReadStore,
) -> None:
    log, clock = Offsets(), Clock()
    first = beginning(log, store, clock)
    await first.gained({PLACE: False})
    clock.now += timedelta(seconds=1)
    await first.begun([PLACE])
    log.end[PLACE] = 12
    again = beginning(log, store, clock)
    await again.gained({PLACE: False})
    assert again.of(PLACE) == 10


async def test_a_group_whose_positions_are_gone_begins_at_the_end_again(store: SqliteReadStore) -> None:
    """Kafka forgets the positions of a group that nobody has been a member of for a week."""
    log, clock = Offsets(), Clock()
    first = beginning(log, store, clock)
    await first.gained({PLACE: False})
    clock.now += timedelta(seconds=1)
    await first.begun([PLACE])
    log.end[PLACE] = 1000
    clock.now += SOON + timedelta(seconds=1)
    again = beginning(log, store, clock)
    await again.gained({PLACE: False})
    assert again.of(PLACE) == 1000


async def test_where_the_log_is_shorter_than_then_it_begins_at_its_end(store: SqliteReadStore) -> None:
    """A log that was restored, beside a store that was not."""
    log, clock = Offsets(), Clock()
    await beginning(log, store, clock).gained({PLACE: False})
    log.end[PLACE] = 4
    again = beginning(log, store, clock)
    await again.gained({PLACE: False})
    assert again.of(PLACE) == 4


async def test_a_partition_that_another_node_has_now_is_not_waited_for(store: SqliteReadStore) -> None:
    first = beginning(Offsets(), store, Clock())
    await first.gained({PLACE: False})
    first.forget([PLACE])
    assert not first.awaited.is_set()
    await first.begun([PLACE])
