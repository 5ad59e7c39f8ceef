"""What a connection knows of its transactions, and what becomes of MeterValues by that (ADR 19, MV-2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from application.ports import Tenant
from commands.charge_point import RecordMeterValues, See, TakeOver
from domain.aggregate import UnknownEventError
from domain.charge_point import MeterValuesRecorded, TransactionStopped
from gateway.ocpp.limits import Shares
from streams.log import LogDamagedError
from streams.log.envelope import DamagedRecordError
from tests.gateway.ocpp.fakes import QUICK, Client, World, eventually, world


def values(w: World, wh: int, transaction: int = 1, **more: Any) -> dict[str, Any]:
    sampled = {"value": str(wh), **more}
    at = w.clock.now().isoformat().replace("+00:00", "Z")
    return {
        "connectorId": 1,
        "transactionId": transaction,
        "meterValue": [{"timestamp": at, "sampledValue": [sampled]}],
    }


async def begin(w: World, cp: Client) -> None:
    await cp.boot()
    at = w.clock.now().isoformat().replace("+00:00", "Z")
    start = {"connectorId": 1, "idTag": "ALICE", "meterStart": 1000, "timestamp": at}
    assert (await cp.call("StartTransaction", start))["transactionId"] == 1


async def read(w: World, cp: Client, wh: int, seconds: float = 10, **more: Any) -> None:
    w.clock.move(seconds)
    assert await cp.call("MeterValues", values(w, wh, **more)) == {}


def told(w: World) -> list[RecordMeterValues]:
    return [command for command in w.bus.told if isinstance(command, RecordMeterValues)]


def registers(samples: Any) -> list[int]:
    return [int(one.energy_wh) for one in samples]


async def test_readings_between_relays_are_no_commands_and_the_next_one_carries_them_MV_2() -> None:
    async with world() as w, w.connected() as cp:
        await begin(w, cp)
        for wh in (1010, 1020, 1030, 1040):
            await read(w, cp, wh)
        assert [registers(one.samples) for one in told(w)] == [[1010], [1040]]
        assert [registers(one.samples) for one in w.readings.taken] == [[1020], [1030]]
        relayed = w.bus.all(MeterValuesRecorded)[-1]
        assert registers(relayed.relay) == [1020, 1030, 1040]
        assert (relayed.carried.offset, relayed.carried.call) == (1, w.readings.taken[-1].call)


async def test_a_stop_carries_the_readings_since_the_last_relay_STOP_1() -> None:
    async with world() as w, w.connected() as cp:
        await begin(w, cp)
        for wh in (1010, 1020, 1030):
            await read(w, cp, wh)
        at = w.clock.now().isoformat().replace("+00:00", "Z")
        await cp.call("StopTransaction", {"transactionId": 1, "meterStop": 1031, "timestamp": at})
        assert registers(w.bus.all(TransactionStopped)[-1].samples) == [1020, 1030]


async def test_a_later_connection_reads_what_was_left_beside_before_it_stops() -> None:
    async with world() as w:
        async with w.connected() as cp:
            await begin(w, cp)
            for wh in (1010, 1020, 1030):
                await read(w, cp, wh)
        async with w.connected() as cp:
            at = w.clock.now().isoformat().replace("+00:00", "Z")
            await cp.call("StopTransaction", {"transactionId": 1, "meterStop": 1031, "timestamp": at})
            assert registers(w.bus.all(TransactionStopped)[-1].samples) == [1020, 1030]


async def test_a_later_connection_asks_once_and_takes_readings_beside_again() -> None:
    async with world() as w:
        async with w.connected() as cp:
            await begin(w, cp)
            for wh in (1010, 1020):
                await read(w, cp, wh)
        async with w.connected() as cp:
            for wh in (1030, 1040):
                await read(w, cp, wh)
        assert [registers(one.gathered) for one in told(w)] == [[], [1020]]
        assert [registers(one.samples) for one in w.readings.taken] == [[1020], [1040]]
        assert sum(isinstance(command, TakeOver) for command in w.bus.told) == 1
        assert w.readings.looked == [1]


async def test_meter_values_are_told_while_nobody_says_what_is_open_and_carry_the_rest_later() -> None:
    async with world() as w:
        async with w.connected() as cp:
            await begin(w, cp)
            for wh in (1010, 1020):
                await read(w, cp, wh)
        w.bus.refuse = TakeOver
        async with w.connected() as cp:
            await read(w, cp, 1030)
            w.bus.refuse = None
            await eventually(lambda: w.readings.looked == [1])
            await read(w, cp, 1040, seconds=30)
        assert [registers(one.gathered) for one in told(w)] == [[], [], [1020]]


async def test_what_takes_longer_than_meter_values_wait_is_asked_for_once_and_known_to_the_next_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However slow the log is for all that come back: none of them asks again with each message, nor takes the place
    of a message of its tenant meanwhile."""
    monkeypatch.setattr(Shares, "EACH", 1)
    async with world(replace(QUICK, patience=20.0)) as w:
        async with w.connected() as cp:
            await begin(w, cp)
            for wh in (1010, 1020):
                await read(w, cp, wh)
        w.readings.may_look.clear()
        tenants = w.directory.tenants
        tenants["demo"] = msgspec.structs.replace(tenants["demo"], worker_pool_size=1)
        async with w.connected() as cp:
            for wh in (1030, 1040):
                await read(w, cp, wh)
            assert w.readings.looked == []
            w.readings.may_look.set()
            await eventually(lambda: w.readings.looked == [1])
            await read(w, cp, 1050)
            await read(w, cp, 1060)
        assert [registers(one.gathered) for one in told(w)] == [[], [], [], [1020]]
        assert [registers(one.samples) for one in w.readings.taken] == [[1020], [1060]]
        assert sum(isinstance(command, TakeOver) for command in w.bus.told) == 1


async def test_what_was_said_before_another_start_of_what_runs_is_asked_again() -> None:
    async with world(replace(QUICK, patience=20.0)) as w:
        async with w.connected() as cp:
            await begin(w, cp)
            await read(w, cp, 1010)
        w.readings.may_look.clear()
        async with w.connected() as cp:
            await read(w, cp, 1020)
            at = w.clock.now().isoformat().replace("+00:00", "Z")
            start = {"connectorId": 1, "idTag": "ALICE", "meterStart": 1030, "timestamp": at}
            assert (await cp.call("StartTransaction", start))["transactionId"] == 2
            w.readings.may_look.set()
            await eventually(lambda: w.readings.looked == [1])
            for wh in (1040, 1050):
                await read(w, cp, wh)
        assert w.readings.taken == []
        assert [one.flags for one in w.bus.all(MeterValuesRecorded)[2:]] == [("ended_transaction",)] * 2


@pytest.mark.parametrize(
    "why", [DamagedRecordError("damaged"), LogDamagedError("damaged"), UnknownEventError("newer")]
)
async def test_a_stop_is_not_answered_while_what_was_left_beside_cannot_be_read(why: Exception) -> None:
    """Upon an error a charge point may forget its stop; meter values are told and carry nothing."""
    async with world() as w:
        async with w.connected() as cp:
            await begin(w, cp)
            for wh in (1010, 1020):
                await read(w, cp, wh)
        w.readings.unreadable = why
        stop = {"transactionId": 1, "meterStop": 1031, "timestamp": "2026-03-01T12:01:00Z"}
        async with w.connected() as cp:
            await read(w, cp, 1030)
            await cp.send_call("StopTransaction", stop)
            assert await cp.closed() == (1013, "log away")
        assert w.bus.all(TransactionStopped) == []
        w.readings.unreadable = None
        async with w.connected() as cp:
            await cp.call("StopTransaction", stop)
        assert registers(w.bus.all(TransactionStopped)[-1].samples) == [1020, 1030]


async def test_a_reading_that_waited_for_its_turn_until_a_relay_is_due_is_told() -> None:
    """Whoever looks for it behind the mark looks no further than soon after the mark's time."""
    async with world() as w, w.connected() as cp:
        await begin(w, cp)
        await read(w, cp, 1010)
        w.clock.move(10)
        known = w.directory.tenant

        async def much_later(id: str) -> Tenant | None:
            w.clock.move(31)
            return await known(id)

        w.directory.tenant = much_later  # type: ignore[method-assign]
        assert await cp.call("MeterValues", values(w, 1020)) == {}
        assert w.readings.taken == []
        assert [registers(one.samples) for one in told(w)] == [[1010], [1020]]


async def test_a_start_that_is_answered_again_after_its_stop_opens_nothing() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        at = w.clock.now().isoformat().replace("+00:00", "Z")
        start = {"connectorId": 1, "idTag": "ALICE", "meterStart": 1000, "timestamp": at}
        assert (await cp.call("StartTransaction", start))["transactionId"] == 1
        await cp.call("StopTransaction", {"transactionId": 1, "meterStop": 1031, "timestamp": at})
        assert (await cp.call("StartTransaction", start))["transactionId"] == 1
        for wh in (1040, 1050):
            await read(w, cp, wh)
        assert w.readings.taken == []
        assert [one.flags for one in w.bus.all(MeterValuesRecorded)] == [("ended_transaction",)] * 2


async def test_after_a_status_or_another_start_on_the_connector_the_next_reading_is_told() -> None:
    async with world() as w, w.connected() as cp:
        await begin(w, cp)
        await read(w, cp, 1010)
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
        await cp.call("StatusNotification", status)
        await read(w, cp, 1020)
        await read(w, cp, 1030)
        assert [registers(one.samples) for one in w.readings.taken] == [[1030]]
        at = w.clock.now().isoformat().replace("+00:00", "Z")
        start = {"connectorId": 1, "idTag": "ALICE", "meterStart": 1030, "timestamp": at}
        assert (await cp.call("StartTransaction", start))["transactionId"] == 2
        await read(w, cp, 1040)
        await read(w, cp, 1050)
        assert len(w.readings.taken) == 1


async def test_a_reading_of_another_context_is_told_at_once() -> None:
    async with world() as w, w.connected() as cp:
        await begin(w, cp)
        await read(w, cp, 1010)
        await read(w, cp, 1020, context="Trigger")
        assert w.readings.taken == []


async def test_readings_of_a_charge_point_that_was_removed_are_commands_again() -> None:
    async with world() as w, w.connected() as cp:
        await begin(w, cp)
        await read(w, cp, 1010)
        del w.directory.listed[("demo", "CP-1")]
        await read(w, cp, 1020)
        await read(w, cp, 1030, seconds=30)
        await read(w, cp, 1040)
        assert [registers(one.samples) for one in w.readings.taken] == [[1020]]


async def test_while_the_log_is_away_a_reading_is_not_answered_and_the_socket_is_closed() -> None:
    async with world() as w, w.connected() as cp:
        await begin(w, cp)
        await read(w, cp, 1010)
        w.bus.away = True
        w.clock.move(10)
        await cp.send_call("MeterValues", values(w, 1020))
        assert await cp.closed() == (1013, "log away")
        assert w.readings.taken == []


async def test_a_charge_point_that_only_reads_is_told_seen_at_its_own_pace_J_19() -> None:

    async with world(replace(QUICK, seen_every=0.0)) as w, w.connected() as cp:
        await begin(w, cp)
        await read(w, cp, 1010)
        await read(w, cp, 1020)
        await eventually(lambda: any(isinstance(command, See) for command in w.bus.told))
        await read(w, cp, 1030)
    async with world() as w, w.connected() as cp:
        await begin(w, cp)
        for wh in (1010, 1020, 1030):
            await read(w, cp, wh)
        assert not any(isinstance(command, See) for command in w.bus.told)
