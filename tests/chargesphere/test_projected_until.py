"""On both runtimes, under traffic: whatever was received before the time that a list ends at stands in the list."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chargesphere.backbone import Backbone
from chargesphere.process import Plan, running
from chargesphere.settings import PREFIX, read_settings
from commands.base import Area, Command, Meta
from commands.charge_point import Boot, Connect, Register, StartTransaction, StopTransaction
from commands.tenant import CreateTenant
from domain.values import Authorization, PartyId, RegisterSample
from projections.moment import utc_text
from projections.store import HUB, Query, lt
from tests.commands.charge_point_case import ALICE, EVSES, SETTINGS, SITE
from tests.servers.kafka import Kafka
from tests.servers.mongo import Mongo

EMSP = PartyId(country_code="NL", party_id="TNM")
PATIENCE = 20.0
"""Of a machine that others use too; the doors' own is shorter."""


class Charges:
    """Charge points of one tenant that charge again and again."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._number = 0

    async def begin(self) -> None:
        await self._ask(CreateTenant(tenant="demo", name="Demo"))

    async def run(self, name: str) -> None:
        point: dict[str, Any] = {"tenant": "demo", "charge_point_id": name}
        await self._ask(Register(**point, site=SITE, evses=EVSES))
        await self._ask(Connect(**point, node="gw", slot=1, boot="b1"))
        await self._ask(Boot(**point, vendor="Acme", model="Box"))
        transaction = 0
        while True:
            transaction += 1
            now = datetime.now(UTC)
            known = Authorization(
                status="Accepted", source="stored", as_of=now, owner=EMSP, token_type="RFID"
            )
            await self._ask(
                StartTransaction(
                    **point,
                    connector_id=1,
                    id_tag=ALICE,
                    meter_start=1000,
                    timestamp=now,
                    authorization=known,
                    settings=SETTINGS,
                )
            )
            end = datetime.now(UTC)
            sample = RegisterSample(at=end, energy_wh=Decimal(6000))
            await self._ask(
                StopTransaction(
                    **point, transaction_id=transaction, meter_stop=6000, timestamp=end, samples=(sample,)
                )
            )

    async def _ask(self, command: Command) -> None:
        self._number += 1
        meta = Meta(command_id=f"c{self._number}", at=datetime.now(UTC), tenant="demo")
        reply = await self._backbone.bus.ask(command, meta, timeout=60)
        assert reply.refusal is None, reply.message


@asynccontextmanager
async def charging(backbone: Backbone, points: int) -> AsyncIterator[None]:
    charges = Charges(backbone)
    await charges.begin()
    tasks = [asyncio.create_task(charges.run(f"CP-{n}")) for n in range(points)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def cdrs_before(backbone: Backbone, until: datetime) -> set[str]:
    query = Query(HUB, "cdrs", (lt("last_updated", str(utc_text(until))),), limit=500)
    found: set[str] = set()
    while True:
        page = await backbone.store.find(query)
        found |= {str(document["_id"]) for document in page.items}
        if page.next_cursor is None:
            return found
        query = Query(HUB, "cdrs", query.where, limit=500, cursor=page.next_cursor)


async def lists_are_complete(backbone: Backbone) -> None:
    lists: list[tuple[datetime, set[str]]] = []
    async with charging(backbone, 5):
        for _ in range(4):
            until = await backbone.lag.reach(Area.SESSION, datetime.now(UTC), PATIENCE)
            lists.append((until, await cdrs_before(backbone, until)))
    asked = datetime.now(UTC)
    # Without traffic everything is projected, and the time is now.
    assert await backbone.lag.reach(Area.SESSION, asked, PATIENCE) >= asked
    for until, listed in lists:
        assert listed == await cdrs_before(backbone, until)
    assert lists[-1][1]


def plan(data: Path) -> Plan:
    return Plan(frozenset({"api", "decider", "projector"}), "serve", "127.0.0.1", 0, 0, data)


async def test_embedded_a_list_holds_all_that_was_received_before_its_end(tmp_path: Path) -> None:
    async with running(plan(tmp_path), read_settings({})) as process:
        await lists_are_complete(process.backbone)


@pytest.mark.long(30)
async def test_on_kafka_a_list_holds_all_that_was_received_before_its_end(
    tmp_path: Path, own_kafka: Kafka, own_mongo: Mongo
) -> None:
    """Sessions and CDRs are Faust's there, and a few seconds behind it the sweeper's."""
    settings = {
        "KAFKA_BOOTSTRAP": own_kafka.bootstrap,
        "MONGO_URL": own_mongo.url,
        "JWT_SECRET": "s" * 32,
        "MASTER_KEY": base64.b64encode(b"m" * 32).decode(),
    }
    environ = {PREFIX + name: value for name, value in settings.items()}
    async with running(plan(tmp_path), read_settings(environ)) as process:
        await lists_are_complete(process.backbone)
