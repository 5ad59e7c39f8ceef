"""The backbone of a process: what it keeps of each tenant's readings, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path

from chargesphere.backbone import Backbone, end, open_backbone, utc_now
from chargesphere.settings import read_settings
from domain.tenant import Configuration
from projections.moment import utc_text
from projections.sample import readings_expiry
from projections.store import HUB, Document, Insert, Put
from projections.tenant import configuration_document


async def configure(backbone: Backbone, version: int, days: int) -> None:
    """The tenant demo keeps its readings for so many days."""
    document: Document = {
        "database_name": "ocpp_demo",
        "configuration": configuration_document(Configuration(readings_days=days)),
    }
    await backbone.store.apply([Put(HUB, "tenants", "demo", version, document)])


async def measured(backbone: Backbone, days_ago: int) -> str:
    """A reading that was received so long ago, whatever its charge point's clock said; its id."""
    id = f"{days_ago} days ago"
    document = {
        "kept_from": utc_text(utc_now() - timedelta(days=days_ago)),
        "first_at": "1970-01-01T00:00:00.000Z",
    }
    await backbone.store.apply([Insert("ocpp_demo", "samples", id, document)])
    return id


async def gone(backbone: Backbone, id: str) -> None:
    async with asyncio.timeout(60):
        while True:
            if await backbone.store.get("ocpp_demo", "samples", id) is None:
                return
            await asyncio.sleep(0.02)


async def test_readings_go_when_their_tenants_time_is_over_and_the_time_may_change(tmp_path: Path) -> None:
    backbone = await open_backbone(read_settings({}), "n1", tmp_path)
    old, recent = await measured(backbone, 31), await measured(backbone, 29)
    await configure(backbone, 1, days=30)
    keeping = asyncio.create_task(backbone.keep_indexes())
    try:
        await gone(backbone, old)
        assert await backbone.store.get("ocpp_demo", "samples", recent) is not None
        await configure(backbone, 2, days=10)
        await gone(backbone, recent)
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        await backbone.close()


def test_the_time_of_readings_counts_from_their_receipt() -> None:
    spec = readings_expiry("ocpp_demo", 2)
    assert (spec.fields[0].field, spec.expire_after) == ("kept_from", 172_800)


async def test_who_has_lost_a_cancellation_is_told_again_and_ends() -> None:
    told = 0

    async def lose_the_first() -> None:
        nonlocal told
        while told < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                told += 1

    tasks = [asyncio.create_task(lose_the_first()), asyncio.create_task(asyncio.sleep(60))]
    await asyncio.sleep(0)
    await end(tasks, again=0.01)

    assert told == 2 and all(task.done() for task in tasks)


async def test_nothing_is_waited_for_where_nothing_runs() -> None:
    await end([])


async def test_engines_are_told_to_end_in_the_order_that_is_given() -> None:
    """A decider that ended before its processes would not note how far they are."""
    ended: list[int] = []

    async def run(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    tasks = [asyncio.create_task(run(number)) for number in range(20)]
    await asyncio.sleep(0)
    await end(tasks[::-1])

    assert ended == list(range(20))[::-1]
