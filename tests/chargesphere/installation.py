"""A small embedded installation: a tenant, a charge point, and a charge that an eMSP has to be told of."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from application.frame_audit import FrameRecorder
from chargesphere import registry
from chargesphere.backbone import Backbone, open_backbone
from chargesphere.settings import read_settings
from commands.base import Area, Command, Meta
from commands.charge_point import (
    Boot,
    Connect,
    Register,
    ReportStatus,
    StartTransaction,
    StopTransaction,
)
from commands.delivery import Want
from commands.pushes import Report, TakeOver
from commands.tenant import CreateTenant
from domain.charge_point import ReadingTaken, charge_point_key, session_id
from domain.pushes import Mark, Waiting
from domain.session import session_aggregate_id
from domain.values import Authorization, CallNumber, PartyId, RegisterSample
from gateway.ocpp.ports import Frame
from projections.store import HUB, Document, Query, ReadStore
from projections.store.generations import GenerationStore
from projections.store.sqlite import SqliteReadStore
from streams.following.readings import Readings
from streams.following.replay import places, readings_places
from streams.log import TopicPartition
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import FRAMES, topics
from tests.commands.charge_point_case import ALICE, EVSES, SETTINGS, SITE

TENANT, CHARGE_POINT = "demo", "CP-1"
EMSP = PartyId(country_code="NL", party_id="TNM")
SESSION = session_id(TENANT, CHARGE_POINT, 1)
STORY = "story-1"
COLLECTIONS = {
    HUB: ("tenants", "sessions", "cdrs", "deliveries", "stories", "charge_point_ids", "dead_letters"),
    "ocpp_demo": ("charge_points", "sessions", "samples", "frames", "audit", "commands"),
}


async def open_installation(data: Path) -> Backbone:
    """What `serve` runs between its doors, without effects: nothing is ever sent."""
    backbone = await open_backbone(read_settings({}), "serve", data)
    backbone.start_channel()
    backbone.start_decider()
    backbone.start_projector()
    backbone.start_frames()
    return backbone


async def live(data: Path) -> None:
    """One charge of 5 kWh on a roaming token; nothing is delivered yet. A reading beside its events has two records,
    as where the outcome of an append was not known."""
    backbone = await open_installation(data)
    try:
        now = datetime.now(UTC)
        await charge(backbone, now)
        for number, command in enumerate(_pushes(backbone, now)):
            meta = Meta(command_id=f"p{number}", at=now, tenant=TENANT, correlation_id=STORY)
            assert (await backbone.bus.ask(command, meta)).refusal is None
        reading = _reading(now)
        meta = Meta(command_id="r1", at=now, tenant=TENANT, correlation_id=STORY)
        for _ in range(2):
            await Readings(backbone.log, registry.EVENTS).append(reading, meta)
        recorder = FrameRecorder(backbone.log, backbone.vault)
        recorder.record(_frame(now))
        backbone.start("recorder", recorder.run)
        await until_projected(backbone)
    finally:
        await backbone.close()


async def charge(backbone: Backbone, now: datetime) -> None:
    """A tenant with a charge point, and its charge of the last half an hour."""
    start = now - timedelta(minutes=30)
    known = Authorization(status="Accepted", source="stored", as_of=start, owner=EMSP, token_type="RFID")
    point: dict[str, Any] = {"tenant": TENANT, "charge_point_id": CHARGE_POINT}
    asked: list[Command] = [
        CreateTenant(tenant=TENANT, name="Demo"),
        Register(**point, site=SITE, evses=EVSES),
        # Its configuration is not asked for while a test lasts.
        Connect(**point, node="gw", slot=1, boot="b1", quiet_s=3600),
        Boot(**point, vendor="Acme", model="Box"),
        ReportStatus(**point, connector_id=1, status="Available", timestamp=start),
        StartTransaction(
            **point,
            connector_id=1,
            id_tag=ALICE,
            meter_start=1000,
            timestamp=start,
            authorization=known,
            settings=SETTINGS,
        ),
        StopTransaction(
            **point,
            transaction_id=1,
            meter_stop=6000,
            timestamp=now,
            samples=(RegisterSample(at=now, energy_wh=Decimal(6000)),),
        ),
    ]
    for number, command in enumerate(asked):
        meta = Meta(
            command_id=f"c{number}",
            at=start + timedelta(seconds=number),
            tenant=TENANT,
            correlation_id=STORY if number > 4 else f"setup-{number}",
            principal="operator:ann",
        )
        reply = await backbone.bus.ask(command, meta)
        assert reply.refusal is None, reply.message


def _pushes(backbone: Backbone, now: datetime) -> list[Command]:
    """What effects ask for while the partner answers nothing but the end of the session."""
    partition = backbone.log.layout.partition_of(session_aggregate_id(SESSION))
    account: dict[str, Any] = {"module": "sessions", "partition": partition}
    waiting = Waiting(
        to=EMSP,
        object_id=SESSION,
        tenant=TENANT,
        version=3,
        since=Mark(offset=1),
        attempts=1,
        first_tried_at=now,
        due=now + timedelta(seconds=5),
        outcome="refused",
        reason="HTTP 500",
    )
    return [
        TakeOver(**account, by="effects"),
        Report(**account, epoch=1, through=2, waiting=(waiting,)),
        Want(
            to=EMSP,
            module="cdrs",
            object_id=SESSION,
            tenant=TENANT,
            version=3,
            partition=partition,
            offset=1,
        ),
    ]


def _reading(now: datetime) -> ReadingTaken:
    return ReadingTaken(
        originator_id=charge_point_key(TENANT, CHARGE_POINT),
        timestamp=now,
        occurred_at=now,
        connector_id=1,
        transaction_id=1,
        session_id=SESSION,
        values=msgspec.Raw(b'[{"timestamp":"2026-03-01T12:00:00Z","sampledValue":[{"value":"3500"}]}]'),
        samples=(RegisterSample(at=now, energy_wh=Decimal(3500)),),
        call=CallNumber(epoch=3, number=4),
    )


def _frame(now: datetime) -> Frame:
    return Frame(
        tenant=TENANT,
        charge_point_id=CHARGE_POINT,
        epoch=1,
        direction="in",
        message_id="m1",
        action="Heartbeat",
        request=b"{}",
        response=b'{"currentTime":"2026-03-01T12:00:00Z"}',
        outcome="ok",
        at=now,
        seconds=0.01,
        command_id="",
    )


async def until_projected(backbone: Backbone) -> None:
    """Until the session and its CDR wait for their delivery, and everything is projected."""
    every = [*places(backbone.log, Area), *readings_places(backbone.log, Area)]
    frames = [TopicPartition(FRAMES, number) for number in range(Layout().partitions)]
    async with asyncio.timeout(20):
        while True:
            wanted = (await backbone.store.find(Query(HUB, "deliveries"))).items
            done = dict(await backbone.log.committed("projector", every))
            done |= await backbone.log.committed("frames", frames)
            ends = await backbone.log.ends([*every, *frames])
            behind = [
                place
                for place, end in ends.items()
                if end and (place not in done or done[place].offset < end)
            ]
            if (
                {found["module"] for found in wanted} == {"sessions", "cdrs"}
                and not behind
                and any(ends[place] for place in frames)
            ):
                return
            await asyncio.sleep(0.02)


async def documents(data: Path) -> dict[str, dict[str, Document]]:
    """Every document of every read model, by database and collection."""
    store = GenerationStore(SqliteReadStore(data / "read"))
    try:
        return {
            f"{db}.{collection}": {str(found["_id"]): found for found in await _all(store, db, collection)}
            for db, collections in COLLECTIONS.items()
            for collection in collections
        }
    finally:
        await store.close()


async def _all(store: ReadStore, db: str, collection: str) -> list[Document]:
    return list((await store.find(Query(db, collection, limit=500))).items)


async def log_ends(data: Path) -> dict[TopicPartition, int]:
    """How far every topic reaches."""
    log = SqliteLog(data / "log.db")
    await log.start()
    try:
        every = [
            TopicPartition(spec.name, number)
            for spec in topics(Layout())
            for number in range(spec.partitions)
        ]
        return dict(await log.ends(every))
    finally:
        await log.close()
