"""Refused handshakes are counted together and told now and then: an attacker does not fill the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from commands.knocking import MOST_KNOCKS, ReportKnocks
from gateway.ocpp import Services
from gateway.ocpp.knocks import Knocks
from tests.gateway.ocpp.fakes import (
    QUICK,
    FakeAuthorizer,
    FakeDirectory,
    FakeFrames,
    FakeQuota,
    FakeTariffs,
    FakeVault,
    World,
    eventually,
)


@asynccontextmanager
async def telling(every: float = 3600.0) -> AsyncIterator[tuple[World, Knocks]]:
    """Knocks that are told at once, and then again after `every` seconds."""
    w = World()
    services = Services(
        channel=w.channel,
        bus=w.bus,
        readings=w.readings,
        directory=FakeDirectory(),
        quota=FakeQuota(),
        authorizer=FakeAuthorizer(),
        tariffs=FakeTariffs(),
        vault=FakeVault(),
        frames=FakeFrames(),
        clock=w.clock.now,
        options=replace(QUICK, knocks_pause=0.01, knocks_every=every),
    )
    knocks = Knocks(services)
    running = asyncio.create_task(knocks.run())
    try:
        yield w, knocks
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def reports(w: World) -> list[ReportKnocks]:
    return [command for command in w.bus.told if isinstance(command, ReportKnocks)]


def told(w: World, count: int) -> Callable[[], bool]:
    return lambda: len(reports(w)) >= count


async def test_a_storm_of_one_charge_point_is_one_entry_of_one_report() -> None:
    async with telling() as (w, knocks):
        for number in range(10_000):
            w.clock.move(0.001)
            knocks.note("demo", "CP-9", "unknown", f"192.0.2.{number % 7}")
        await eventually(told(w, 1))
        (report,) = reports(w)
        (knock,) = report.knocks
        assert (report.tenant, knock.count, knock.address) == ("demo", 10_000, "192.0.2.3")
        assert (knock.last - knock.first).total_seconds() == 9.999


async def test_a_storm_of_many_names_is_bounded_and_counted() -> None:
    async with telling() as (w, knocks):
        for number in range(10_000):
            knocks.note("demo", f"X-{number}", "unknown", "192.0.2.7")
        await eventually(told(w, 1))
        (report,) = reports(w)
        assert (len(report.knocks), report.left_out) == (MOST_KNOCKS, 10_000 - MOST_KNOCKS)


async def test_each_tenant_is_told_once_in_its_time_however_often_one_knocks() -> None:
    async with telling() as (w, knocks):
        knocks.note("demo", "CP-9", "unknown", "192.0.2.7")
        await eventually(told(w, 1))
        for number in range(100):
            knocks.note("demo", f"X-{number}", "unknown", "192.0.2.7")
        knocks.note("", "/ocpp/nobody/CP-1", "unknown", "192.0.2.7")
        await eventually(told(w, 2))
        assert [report.tenant for report in reports(w)] == ["demo", ""]


async def test_what_was_held_back_comes_with_the_next_report() -> None:
    async with telling(every=0.05) as (w, knocks):
        knocks.note("demo", "CP-9", "unknown", "192.0.2.7")
        await eventually(told(w, 1))
        for _ in range(3):
            knocks.note("demo", "CP-9", "unknown", "192.0.2.7")
        await eventually(told(w, 2))
        assert reports(w)[-1].knocks[0].count == 3


async def test_while_the_log_is_away_nothing_is_forgotten() -> None:
    async with telling(every=0.02) as (w, knocks):
        w.bus.away = True
        knocks.note("demo", "CP-9", "unknown", "192.0.2.7")
        await eventually(lambda: bool(knocks._told_at))
        w.bus.away = False
        await eventually(told(w, 1))
        assert reports(w)[0].knocks[0].count == 1


async def test_what_a_stranger_calls_itself_is_made_fit_for_a_list() -> None:
    async with telling() as (w, knocks):
        knocks.note("", "\x00\x1b[2J" + "x" * 1000, "unknown", "192.0.2.7")
        await eventually(told(w, 1))
        id = reports(w)[0].knocks[0].id
        assert id.startswith("??[2J") and len(id) == 100
