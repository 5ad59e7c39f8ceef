"""What a batch of Faust acknowledges, without Kafka: nothing of which anything failed to follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from commands.base import Area
from domain.aggregate import Event, EventRegistry
from projections.store import HUB
from projections.store.sqlite import SqliteReadStore
from streams.faust.app import FaustProjector
from streams.log import Stored, TopicPartition
from streams.log.envelope import record
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import events_topic
from tests.projections.facts import EVENTS, decision, meta, put_token
from tests.streams.faust_worker import VIEWS

STRICKEN, OTHER = (TopicPartition(events_topic(Area.TOKEN), number) for number in (3, 4))


class Faulty(EventRegistry):
    """One that raises at the second version, as nobody expects."""

    def __init__(self) -> None:
        pass

    def decode(self, data: bytes | msgspec.Raw) -> Event:
        event = EVENTS.decode(data)
        if event.originator_version == 2:
            raise RuntimeError("a fault")
        return event


class Given:
    """An event as Faust gives it out."""

    def __init__(self, stored: Stored) -> None:
        self.message = SimpleNamespace(
            topic=stored.topic,
            partition=stored.partition,
            offset=stored.offset,
            timestamp=stored.timestamp / 1000,
            key=stored.key,
            value=stored.value,
        )
        self.acknowledged = False

    def ack(self) -> None:
        self.acknowledged = True


@pytest.fixture
async def projector(
    embedded: SqliteLog, read_store: SqliteReadStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FaustProjector]:
    async def keep(self: FaustProjector, table: Any, partition: int, key: bytes, row: bytes) -> None:
        table.data[key] = row

    monkeypatch.setattr(FaustProjector, "_keep", keep)
    yield FaustProjector("127.0.0.1:1", embedded, read_store, Faulty(), VIEWS, "one")


async def given(log: SqliteLog, place: TopicPartition, name: str, version: int) -> Given:
    event = msgspec.structs.replace(put_token(version, version), originator_id=f"token|{name}")
    written = record(event.originator_id, decision(event, meta=meta()), "demo")
    [offset] = await log.append(*place, [written])
    return Given(Stored(*place, offset, 0, written.key, written.value))


async def test_an_event_that_cannot_be_taken_in_halts_its_partition_and_is_never_passed_over(
    embedded: SqliteLog,
    read_store: SqliteReadStore,
    projector: FaustProjector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An agent that raises begins anew behind its batch, and what is acknowledged then is committed over it."""
    table = SimpleNamespace(data={})
    before, raises, behind = [await given(embedded, STRICKEN, "k", version) for version in (1, 2, 3)]
    other = await given(embedded, OTHER, "o", 1)

    await projector._take([before, raises, other], table)
    await projector._take([behind], table)

    assert before.acknowledged and other.acknowledged
    assert not raises.acknowledged and not behind.acknowledged
    token = await read_store.get(HUB, "tokens", "k")
    assert token is not None and token["version"] == 1
    [line] = [told for told in caplog.records if told.name == "streams.faust.app"]
    assert line.getMessage() == f"faust halts at {STRICKEN.topic}[{STRICKEN.partition}]"
