"""Every read model of the product: made anew from the log, in another order, it is what it was."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chargesphere import registry
from commands.base import Area
from domain import delivery
from domain.aggregate import Event, kind_of
from domain.charge_point import ChargePointChanged, ChargePointRemoved, StopSettled
from projections.store import HUB, Document, Query
from projections.store.sqlite import SqliteReadStore
from streams.following.facts import Fact
from streams.following.replay import facts, places
from streams.log.envelope import record
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import events_topic, topics
from streams.projecting.projector import Projector
from streams.projecting.rebuild import Rebuild
from tests.domain.golden import golden
from tests.projections.facts import (
    EVSES,
    MSP,
    SESSION,
    SITE,
    after,
    concluded,
    connected,
    decision,
    disconnected,
    ended,
    meta,
    metered,
    of_charge_point,
    priced,
    put_token,
    registered,
    requested,
    started,
    status,
    unmatched,
    used,
)

OTHERS = {"samples", "orphans", "credentials", "stories", "audit", "placements", "job_items"}
COLLECTIONS = sorted({view.collection for view in registry.VIEWS} | OTHERS)
READINGS = [{"timestamp": "2026-03-01T12:00:04Z", "sampledValue": [{"value": "1500"}]}]
AREAS = {
    "charge_point": Area.CHARGE_POINT,
    "delivery": Area.DELIVERY,
    "foreign_cdr": Area.SESSION,
    "foreign_session": Area.SESSION,
    "key": Area.KEY,
    "job": Area.JOB,
    "job_items": Area.JOB,
    "knocking": Area.PARTY,
    "location": Area.LOCATION,
    "remote_command": Area.REMOTE_COMMAND,
    "session": Area.SESSION,
    "subject": Area.KEY,
    "tariff": Area.PARTY,
    "tenant": Area.PARTY,
    "token": Area.TOKEN,
}


def of_delivery(type: type[Event], version: int, **fields: Any) -> Event:
    id = delivery.delivery_id(MSP, "cdrs", SESSION)
    return type(originator_id=id, originator_version=version, timestamp=after(90 + version), **fields)


def told_once(kind: str, name: str, version: int) -> Event:
    event = registry.EVENTS.decode(golden(kind, name))
    return msgspec.structs.replace(event, originator_version=version)


def everything() -> list[list[Event]]:
    """What happened, aggregate by aggregate."""
    cdr: dict[str, Any] = {"to": MSP, "module": "cdrs", "object_id": SESSION, "tenant": "demo", "wanted": 1}
    cdr |= {"partition": 0, "offset": 7}
    return [
        [told_once("tenant", "tenant.created.v1", 1), told_once("tenant", "tenant.configured.v1", 2)],
        [told_once("tariff", "tariff.put.v1", 1)],
        [
            told_once("key", f"key.{name}.v1", n)
            for n, name in enumerate(("created", "rotated", "revoked"), 1)
        ],
        [told_once("subject", "subject.tokens_revoked.v1", 1)],
        [
            told_once("location", f"location.{name}.v1", version)
            for version, name in enumerate(("put", "changed", "evse_put", "evse_status_changed"), start=1)
        ],
        [
            told_once("location", f"location.{name}.v1", n)
            for n, name in enumerate(("site_said", "removed"), 1)
        ],
        [told_once("knocking", "knocking.heard.v1", version) for version in (1, 2)],
        [
            registered(),
            connected(2),
            status(3, "Available", 1),
            status(4, "Charging", 2),
            metered(5, READINGS, 5),
            disconnected(6, 2, 40),
            unmatched(7, 50),
            unmatched(8, 51),
            of_charge_point(StopSettled, 9, 60, key="-1|50|6000", transaction_id=3, session_id=SESSION),
        ],
        [
            registered(id="CP-2"),
            of_charge_point(ChargePointChanged, 2, 9, id="CP-2", site=SITE, evses=EVSES),
            of_charge_point(ChargePointRemoved, 3, 10, id="CP-2"),
        ],
        [started(), used(2, 5, 500), used(3, 30, 900), ended(4, 60, 4200), priced(5, 61)],
        [
            of_delivery(delivery.Wanted, 1, **cdr),
            of_delivery(delivery.AttemptDue, 2, **cdr, attempt=1, lease=after(120)),
            of_delivery(delivery.AttemptFailed, 3, attempt=1, outcome="unknown", reason="x", due=after(130)),
            of_delivery(delivery.AttemptDue, 4, **cdr, attempt=2, lease=after(150)),
            of_delivery(delivery.Delivered, 5, attempt=2, sent=1, http_status=201),
        ],
        [
            told_once("foreign_session", f"foreign_session.{name}.v1", version)
            for version, name in enumerate(("begun", "patched", "put", "ended"), start=1_772_366_400)
        ],
        [
            told_once("foreign_cdr", f"foreign_cdr.{name}.v1", n)
            for n, name in enumerate(("posted", "checked"), 1)
        ],
        [requested(), concluded(version=2)],
        [put_token()],
        [told_once("job_items", "job_items.listed.v1", 1)],
        [
            told_once("job", f"job.{name}.v1", version)
            for version, name in enumerate(("requested", "items_begun", "items_ended", "paused"), start=1)
        ],
    ]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    for event in itertools.chain.from_iterable(everything()):
        place = events_topic(AREAS[kind_of(event.originator_id)]), Layout().partition_of(event.originator_id)
        made = decision(
            event, command=f"{kind_of(event.originator_id)}.any.v1", meta=meta(principal="operator:ann")
        )
        await log.append(*place, [record(event.originator_id, made, "demo")])
    yield log
    await log.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteReadStore]:
    store = SqliteReadStore(tmp_path / "read")
    await store.ensure(spec for make in registry.HUB_INDEXES for spec in make())
    yield store
    await store.close()


def projector(store: SqliteReadStore) -> Projector:
    return Projector(
        store, registry.EVENTS, registry.VIEWS, registry.FEEDS, registry.BLOCKS, stories=registry.told
    )


async def kept(store: SqliteReadStore) -> dict[tuple[str, str], list[Document]]:
    found = {
        (db, collection): (await store.find(Query(db, collection, limit=500))).items
        for db in (HUB, "ocpp_demo")
        for collection in COLLECTIONS
    }
    return {place: items for place, items in found.items() if items}


async def one_by_one(store: SqliteReadStore, given: Sequence[Fact]) -> None:
    """As it happens live: each decision by itself."""
    live = projector(store)
    for fact in given:
        await live.handle(fact.place, [fact])
        await live.kept.write()


async def in_log(log: SqliteLog) -> list[list[Fact]]:
    """The decisions of each partition in order."""
    return [[fact async for batch in facts(log, place) for fact in batch] for place in places(log, Area)]


async def test_every_collection_is_the_same_after_a_rebuild(log: SqliteLog, store: SqliteReadStore) -> None:
    by_turns = [fact for row in itertools.zip_longest(*await in_log(log)) for fact in row if fact]
    await one_by_one(store, by_turns)
    live = await kept(store)
    await store.drop_all([HUB, "ocpp_demo"])
    assert await kept(store) == {}

    await Rebuild(log, projector(store)).go_on()

    assert await kept(store) == live
    names = {collection for _, collection in live}
    assert names >= {
        "charge_points",
        "samples",
        "sessions",
        "cdrs",
        "deliveries",
        "locations",
        "placements",
        "tokens",
        "orphans",
    }
    assert names >= {"tenants", "tariffs", "stories", "audit", "credentials", "commands"}


async def test_the_last_partition_may_come_first(log: SqliteLog, store: SqliteReadStore) -> None:
    """No read model depends on the order between aggregates: a CDR's delivery may be known before the CDR."""
    await Rebuild(log, projector(store)).go_on()
    before = await kept(store)
    await store.drop_all([HUB, "ocpp_demo"])

    backwards = [fact for partition in reversed(await in_log(log)) for fact in partition]
    await one_by_one(store, backwards)

    assert await kept(store) == before


async def test_what_comes_again_changes_nothing(log: SqliteLog, store: SqliteReadStore) -> None:
    given = [fact for partition in await in_log(log) for fact in partition]
    await one_by_one(store, given)
    before = await kept(store)

    await one_by_one(store, given)

    assert await kept(store) == before


async def test_the_story_of_a_session_ends_with_its_delivered_cdr(
    log: SqliteLog, store: SqliteReadStore
) -> None:
    await Rebuild(log, projector(store)).go_on()

    lines = [one for one in (await kept(store))[HUB, "stories"] if one["correlation_id"] == SESSION]

    types = [event["type"] for line in lines for event in line["events"]]  # type: ignore[union-attr,index,call-overload]
    assert {"session.started.v1", "session.cdr_issued.v1", "delivery.delivered.v1"} <= set(types)
