"""Bytes of charge points and tenants: who sends too many waits, and nobody else does."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from gateway.ocpp.volume import ENVELOPE, Volume, Volumes
from tests.gateway.ocpp.fakes import QUICK, world

LARGE = Volume(10**9, 10**9)


def test_a_charge_point_has_its_burst_and_then_its_rate(caplog: pytest.LogCaptureFixture) -> None:
    volumes, own = Volumes(), Volume(100, 1_000)
    size = 500 - ENVELOPE
    with caplog.at_level(logging.WARNING):
        waits = [volumes.wait("demo", "LOUD", size, 0.0, own, LARGE) for _ in range(4)]
    assert waits == pytest.approx([0, 0, 5, 10])
    assert volumes.wait("demo", "CP-1", size, 0.0, own, LARGE) == 0
    assert volumes.wait("demo", "LOUD", size, 20.0, own, LARGE) == 0
    assert [record.message for record in caplog.records] == [
        "the messages of charge point demo/LOUD wait: more than 100 bytes a second"
    ]


def test_all_charge_points_of_a_tenant_share_its_bytes() -> None:
    volumes, of_tenant = Volumes(), Volume(100, 1_000)
    size = 500 - ENVELOPE
    waits = [volumes.wait("demo", f"CP-{number}", size, 0.0, LARGE, of_tenant) for number in range(3)]
    assert waits == pytest.approx([0, 0, 5])
    assert volumes.wait("acme", "CP-1", size, 0.0, LARGE, of_tenant) == 0


def test_one_that_waits_for_its_own_bytes_takes_none_of_its_tenants() -> None:
    volumes, own, of_tenant = Volumes(), Volume(1, 1_000), Volume(100, 3_000)
    for _ in range(50):
        volumes.wait("demo", "LOUD", 200, 0.0, own, of_tenant)
    assert volumes.wait("demo", "CP-1", 200, 0.0, own, of_tenant) == 0


async def test_the_message_of_who_sent_too_much_waits_and_another_charge_points_does_not() -> None:
    options = dataclasses.replace(QUICK, charge_point_bytes=Volume(1, 2_000))
    async with world(options) as w:
        await w.charge_point("CP-2")
        async with w.connected() as loud, w.connected("CP-2") as quiet:
            await loud.boot()
            await quiet.boot()
            await loud.send_call("DataTransfer", {"vendorId": "v", "data": "x" * 3_000})
            for _ in range(5):
                assert "currentTime" in await quiet.call("Heartbeat", {})
            assert {frame.action for frame in w.frames.frames} == {"BootNotification", "Heartbeat"}
