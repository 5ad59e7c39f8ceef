"""A simulated charge point behaves as OCPP 1.6 and real devices do, against a central system of a few lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from chargesphere.demo.charge_point import SimulatedChargePoint
from tests.demo.fakes import CentralSystem

TAG = "04A1B2C3"
PASSWORD = "secret"


@asynccontextmanager
async def connected(system: CentralSystem, password: str = PASSWORD) -> AsyncIterator[SimulatedChargePoint]:
    device = SimulatedChargePoint(
        system.url, "CP-1", password, meter_every=0.05, remote_seconds=30, patience=2, longest_wait=0.6
    )
    running = asyncio.create_task(device.run())
    try:
        yield device
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def system() -> AsyncIterator[CentralSystem]:
    system = CentralSystem()
    async with system.serving():
        yield system


async def test_it_boots_and_tells_the_state_of_every_connector(system: CentralSystem) -> None:
    """TC_001."""
    async with connected(system) as device:
        await asyncio.wait_for(device.ready.wait(), 10)

    assert [action for _, action, _ in system.calls] == ["BootNotification", *["StatusNotification"] * 3]
    assert [status["connectorId"] for status in system.of("StatusNotification")] == [0, 1, 2]


async def test_a_charge_is_authorized_started_metered_and_stopped(system: CentralSystem) -> None:
    """TC_003, TC_004."""
    async with connected(system) as device:
        await asyncio.wait_for(device.ready.wait(), 10)
        charge = await asyncio.wait_for(device.charge(1, TAG, 0.2), 10)

    assert charge is not None and charge.finished and charge.transaction_id == 41
    told = [action for _, action, _ in system.calls[4:] if action != "StatusNotification"]
    assert (told[0], told[1], told[-1]) == ("Authorize", "StartTransaction", "StopTransaction")
    (stop,) = system.of("StopTransaction")
    assert stop["transactionId"] == 41 and stop["meterStop"] == charge.meter_stop
    readings = system.of("MeterValues")
    assert len(readings) >= 3
    assert {reading["transactionId"] for reading in readings} == {41}


async def test_a_refused_card_starts_nothing(system: CentralSystem) -> None:
    """TC_023."""
    system.status = "Invalid"
    async with connected(system) as device:
        await asyncio.wait_for(device.ready.wait(), 10)
        charge = await asyncio.wait_for(device.charge(1, TAG, 0.2), 10)

    assert charge is None
    assert system.of("StartTransaction") == []


async def test_an_unanswered_start_is_sent_again_with_the_same_content_and_a_new_id(
    system: CentralSystem,
) -> None:
    """START-6: the answer was lost with the connection."""
    system.unanswered.add("StartTransaction")
    async with connected(system) as device:
        await asyncio.wait_for(device.ready.wait(), 10)
        charge = await asyncio.wait_for(device.charge(1, TAG, 0.2), 10)

    assert charge is not None and charge.finished
    starts = [(id, payload) for id, action, payload in system.calls if action == "StartTransaction"]
    assert len(starts) == 2
    assert starts[0][1] == starts[1][1]
    assert starts[0][0] != starts[1][0]


async def test_what_happened_offline_is_told_in_order_with_its_own_times(system: CentralSystem) -> None:
    """START-4, START-5: the queue goes out after the reconnection, the stop with the id of the late start."""
    async with connected(system) as device:
        await asyncio.wait_for(device.ready.wait(), 10)
        system.away = True
        await system.drop()
        await system.until(lambda: system.refused > 0)
        charging = asyncio.create_task(device.charge(2, TAG, 0.1))
        await system.until(lambda: system.refused > 2)
        system.away = False
        charge = await asyncio.wait_for(charging, 10)

    assert charge is not None and charge.finished
    told = [a for _, a, _ in system.calls if a in ("StartTransaction", "MeterValues", "StopTransaction")]
    assert told[0] == "StartTransaction" and told[-1] == "StopTransaction" and "MeterValues" in told
    (stop,) = system.of("StopTransaction")
    assert stop["transactionId"] == charge.transaction_id == 41
    assert datetime.fromisoformat(str(stop["timestamp"])) < datetime.now().astimezone()
    assert len(system.of("BootNotification")) == 1, "a reconnection is no boot (J-21)"


async def test_a_charge_is_started_and_stopped_from_afar(system: CentralSystem) -> None:
    """TC_010, TC_012."""
    async with connected(system) as device:
        await asyncio.wait_for(device.ready.wait(), 10)
        started = await system.call("RemoteStartTransaction", {"idTag": TAG, "connectorId": 1})
        await system.until(lambda: bool(system.of("MeterValues")))
        stopped = await system.call("RemoteStopTransaction", {"transactionId": 41})
        await system.until(lambda: bool(system.of("StopTransaction")))
        again = await system.call("RemoteStopTransaction", {"transactionId": 41})

    assert (started, stopped) == ({"status": "Accepted"}, {"status": "Accepted"})
    assert system.of("StopTransaction")[0]["reason"] == "Remote"
    assert again == {"status": "Rejected"}


async def test_the_other_calls_of_the_central_system_are_answered(system: CentralSystem) -> None:
    """TC_017, TC_019, TC_021, TC_054, TC_061."""
    async with connected(system) as device:
        await asyncio.wait_for(device.ready.wait(), 10)
        read = await system.call("GetConfiguration", {"key": ["heartbeatinterval", "Nonsense"]})
        changed = await system.call("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"})
        fixed = await system.call("ChangeConfiguration", {"key": "NumberOfConnectors", "value": "7"})
        unlocked = await system.call("UnlockConnector", {"connectorId": 1})
        unknown = await system.call("UnlockConnector", {"connectorId": 9})
        cleared = await system.call("ClearCache", {})
        available = await system.call("ChangeAvailability", {"connectorId": 1, "type": "Inoperative"})
        before = len(system.of("Heartbeat"))
        triggered = await system.call("TriggerMessage", {"requestedMessage": "Heartbeat"})
        await system.until(lambda: len(system.of("Heartbeat")) > before)

    assert read == {
        "configurationKey": [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}],
        "unknownKey": ["Nonsense"],
    }
    assert (changed, fixed) == ({"status": "Accepted"}, {"status": "Rejected"})
    assert (unlocked, unknown) == ({"status": "Unlocked"}, {"status": "NotSupported"})
    assert cleared == available == triggered == {"status": "Accepted"}


async def test_a_reset_ends_the_charge_and_boots_again(system: CentralSystem) -> None:
    """TC_013."""
    async with connected(system) as device:
        await asyncio.wait_for(device.ready.wait(), 10)
        charging = asyncio.create_task(device.charge(1, TAG, 30))
        await system.until(lambda: bool(system.of("MeterValues")))
        assert await system.call("Reset", {"type": "Hard"}) == {"status": "Accepted"}
        charge = await asyncio.wait_for(charging, 10)
        await system.until(lambda: len(system.of("BootNotification")) == 2)

    assert charge is not None and charge.finished
    assert system.of("StopTransaction")[0]["reason"] == "HardReset"


async def test_a_wrong_password_is_counted_and_tried_again(system: CentralSystem) -> None:
    """SEC-01."""
    async with connected(system, "wrong") as device:
        await system.until(lambda: system.refused > 1)

    assert device.refusals >= 1
    assert system.calls == []
