"""A charge point's calls and their answers over a real websocket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from application.ports import RegisteredChargePoint
from commands.charge_point import See, StartTransaction
from domain.charge_point import (
    ChargePointBooted,
    MeterValuesRecorded,
    NotificationReceived,
    StatusReported,
    StopUnmatched,
    TransactionStarted,
    TransactionStopped,
    session_id,
)
from domain.values import Authorization, TagRef
from tests.gateway.ocpp.fakes import QUICK, world

START = {"connectorId": 1, "idTag": "ALICE", "meterStart": 1000, "timestamp": "2026-03-01T12:00:00Z"}
METER = {
    "connectorId": 1,
    "transactionId": 1,
    "meterValue": [
        {
            "timestamp": "2026-03-01T12:00:30Z",
            "sampledValue": [
                {"value": "1.25", "unit": "kWh"},
                {"value": "7200", "unit": "W", "measurand": "Power.Active.Import"},
            ],
        }
    ],
}


async def test_a_cold_boot_TC_001() -> None:
    async with world() as w, w.connected() as cp:
        assert cp.socket.subprotocol == "ocpp1.6"
        boot = await cp.boot()
        assert boot == {"status": "Accepted", "currentTime": "2026-03-01T12:00:00Z", "interval": 300}
        for connector in (0, 1, 2):
            status = {"connectorId": connector, "errorCode": "NoError", "status": "Available"}
            assert await cp.call("StatusNotification", status) == {}
        assert await cp.call("Heartbeat", {}) == {"currentTime": "2026-03-01T12:00:00Z"}
        assert [event.connector_id for event in w.bus.all(StatusReported)] == [0, 1, 2]
        assert w.bus.all(ChargePointBooted)[0].vendor == "Acme"


async def test_a_boot_is_told_the_tenants_heartbeat_interval_BOOT_1() -> None:
    async with world() as w:
        w.tenant(heartbeat_interval=60)
        async with w.connected() as cp:
            assert (await cp.boot())["interval"] == 60


async def test_a_charge_from_authorize_to_stop_TC_003() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        authorized = await cp.call("Authorize", {"idTag": "alice"})
        assert authorized == {"idTagInfo": {"status": "Accepted", "parentIdTag": "FAMILY"}}
        started = await cp.call("StartTransaction", START)
        assert started == {
            "transactionId": 1,
            "idTagInfo": {"status": "Accepted", "parentIdTag": "FAMILY"},
        }
        assert await cp.call("MeterValues", METER) == {}
        stop = {"transactionId": 1, "meterStop": 5000, "timestamp": "2026-03-01T13:00:00Z", "idTag": "ALICE"}
        assert (await cp.call("StopTransaction", stop))["idTagInfo"]["status"] == "Accepted"
        (event,) = w.bus.all(TransactionStarted)
        assert event.tariffs == ({"id": "T1"},)
        (values,) = w.bus.all(MeterValuesRecorded)
        assert json.loads(bytes(values.values)) == METER["meterValue"]
        assert [(str(s.energy_wh), str(s.power_w)) for s in values.relay] == [("1250.00", "7200")]
        assert values.session_id == session_id("demo", "CP-1", 1)
        assert w.bus.all(TransactionStopped)[0].meter_stop == 5000


async def test_what_a_start_needs_is_read_at_once() -> None:
    """Neither the tag nor the charge point is waited for before the other is asked for."""
    async with world() as w, w.connected() as cp:
        await cp.boot()
        both = asyncio.Barrier(2)
        directory, authorizer = w.directory, w.gateway._services.authorizer
        listed, resolve = directory.charge_point, authorizer.resolve

        async def charge_point(tenant: str, charge_point_id: str) -> RegisteredChargePoint | None:
            await both.wait()
            return await listed(tenant, charge_point_id)

        async def resolved(
            tenant: str, charge_point_id: str, id_tag: str, for_start: bool
        ) -> tuple[TagRef, Authorization]:
            await both.wait()
            return await resolve(tenant, charge_point_id, id_tag, for_start)

        directory.charge_point = charge_point  # type: ignore[method-assign]
        authorizer.resolve = resolved  # type: ignore[method-assign]
        assert (await cp.call("StartTransaction", START))["transactionId"] == 1
        assert w.bus.all(TransactionStarted)[0].tariffs == ({"id": "T1"},)


async def test_a_repeated_start_gets_the_same_id_over_another_socket_START_6() -> None:
    async with world() as w:
        async with w.connected() as cp:
            await cp.boot()
            first = await cp.call("StartTransaction", START)
        async with w.connected() as cp:
            assert await cp.call("StartTransaction", START) == first
        starts = [m for c, m in zip(w.bus.told, w.bus.metas, strict=True) if isinstance(c, StartTransaction)]
        assert starts[0].command_id == starts[1].command_id
        assert len(w.bus.all(TransactionStarted)) == 1


@pytest.mark.parametrize(("tag", "status"), [("BLOCKED", "Blocked"), ("nobody", "Invalid")])
async def test_a_refused_tag_still_gets_a_transaction_id_START_1(tag: str, status: str) -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        assert await cp.call("Authorize", {"idTag": tag}) == {"idTagInfo": {"status": status}}
        started = await cp.call("StartTransaction", {**START, "idTag": tag})
        assert started == {"transactionId": 1, "idTagInfo": {"status": status}}


async def test_a_stop_without_a_tag_gets_no_id_tag_info_STOP_2() -> None:
    async with world() as w, w.connected() as cp:
        stop = {"transactionId": 77, "meterStop": 5, "timestamp": "2026-03-01T12:00:00Z"}
        assert await cp.call("StopTransaction", stop) == {}


@pytest.mark.parametrize(
    ("action", "payload", "answer"),
    [
        ("DataTransfer", {"vendorId": "acme", "data": "x"}, {"status": "UnknownVendorId"}),
        ("FirmwareStatusNotification", {"status": "Installed"}, {}),
        ("DiagnosticsStatusNotification", {"status": "Uploaded"}, {}),
        ("SecurityEventNotification", {"type": "X", "timestamp": "2026-03-01T12:00:00Z"}, {}),
        ("LogStatusNotification", {"status": "Uploaded", "requestId": 1}, {}),
        ("SignedFirmwareStatusNotification", {"status": "Installed", "requestId": 1}, {}),
        ("SignCertificate", {"csr": "x"}, {"status": "Rejected"}),
    ],
)
async def test_every_other_call_has_its_answer(
    action: str, payload: dict[str, Any], answer: dict[str, Any]
) -> None:
    async with world() as w, w.connected() as cp:
        assert await cp.call(action, payload) == answer
        if action != "DataTransfer":
            assert w.bus.all(NotificationReceived)[0].content == payload


async def test_heartbeat_takes_null_for_no_fields_J_11() -> None:
    async with world() as w, w.connected() as cp:
        assert "currentTime" in await cp.call("Heartbeat", None)


@pytest.mark.parametrize(
    ("action", "payload", "code"),
    [
        ("Frobnicate", {}, "NotImplemented"),
        ("RemoteStartTransaction", {"idTag": "A"}, "NotSupported"),
        ("StartTransaction", {"connectorId": 1}, "ProtocolError"),
        ("Authorize", [], "ProtocolError"),
        ("Authorize", {"idTag": {"deep": 1}}, "TypeConstraintViolation"),
    ],
)
async def test_what_cannot_be_understood_gets_its_error_code_J_13(
    action: str, payload: object, code: str
) -> None:
    async with world() as w, w.connected() as cp:
        assert (await cp.call(action, payload))[0] == code
        assert "currentTime" in await cp.call("Heartbeat", {})


async def test_a_strict_tenant_refuses_what_a_lenient_one_mends_J_26() -> None:
    payload = {"connectorId": "1", "status": "Available", "errorCode": "NoError"}
    async with world() as w:
        async with w.connected() as cp:
            assert await cp.call("StatusNotification", payload) == {}
            assert w.bus.all(StatusReported)[0].flags[0] == "$.connectorId: read as an integer"
        w.tenant(lenient=False)
        async with w.connected() as cp:
            assert (await cp.call("StatusNotification", payload))[0] == "TypeConstraintViolation"


STOP = {"transactionId": 1, "meterStop": 5000, "timestamp": "2026-03-01T13:00:00Z"}
VENDORS = {"value": "7", "measurand": "Acme.CableTemperature"}
"""A sample whose measurand no standard knows."""


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize(
    ("odd", "flag"),
    [
        ({"reason": "Lightning"}, "$.reason: unknown value read as Other"),
        ({"reason": None}, "$.reason: empty value read as absent"),
        ({"oddity": {"a": 1}}, "$.oddity: unknown field dropped"),
        ({"meterStop": "5000"}, "$.meterStop: read as an integer"),
        ({"idTag": 4711}, "$.idTag: number read as text"),
        ({"transactionData": "none"}, "$.transactionData: single value read as a list"),
        (
            {"transactionData": [{"timestamp": "2026-03-01T13:00:00Z", "sampledValue": [VENDORS]}]},
            "$.transactionData[0].sampledValue[0].measurand: item dropped: "
            "the value is not one of the enumeration",
        ),
    ],
)
async def test_no_stop_is_lost_for_an_odd_field_whatever_the_tenant_wants_STOP_1(
    lenient: bool, odd: dict[str, Any], flag: str
) -> None:
    async with world() as w:
        w.tenant(lenient=lenient)
        async with w.connected() as cp:
            await cp.boot()
            await cp.call("StartTransaction", START)
            assert isinstance(await cp.call("StopTransaction", {**STOP, **odd}), dict)
            event = w.bus.all(TransactionStopped)[0]
            assert (event.meter_stop, event.reason) == (5000, "Other" if odd.get("reason") else "Local")
            assert flag in event.flags


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize("transaction", [{"transactionId": None}, {"transactionId": "none"}])
async def test_a_stop_without_a_transaction_id_is_kept_as_an_orphan_START_5(
    lenient: bool, transaction: dict[str, Any]
) -> None:
    async with world() as w:
        w.tenant(lenient=lenient)
        async with w.connected() as cp:
            await cp.boot()
            assert await cp.call("StopTransaction", {**STOP, **transaction}) == {}
            event = w.bus.all(StopUnmatched)[0]
            assert (event.transaction_id, event.meter_stop) == (-1, 5000)
            assert event.flags[0].startswith("$.transactionId: unreadable, taken as not known")


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize(
    ("odd", "flag"),
    [
        ({"meterStart": "1000"}, "$.meterStart: read as an integer"),
        ({"oddity": True}, "$.oddity: unknown field dropped"),
        ({"reservationId": "none"}, "$.reservationId: field dropped: an integer is expected"),
        ({"timestamp": "yesterday"}, "$.timestamp: unreadable, time of receipt taken"),
        ({"idTag": None}, "$.idTag: unreadable, taken as not known: a text is expected"),
        ({"connectorId": None}, "$.connectorId: unreadable, taken as not known: an integer is expected"),
    ],
)
async def test_no_start_is_lost_for_an_odd_field_whatever_the_tenant_wants_START_1(
    lenient: bool, odd: dict[str, Any], flag: str
) -> None:
    async with world() as w:
        w.tenant(lenient=lenient)
        async with w.connected() as cp:
            await cp.boot()
            answer = await cp.call("StartTransaction", {**START, **odd})
            assert answer["transactionId"] == 1
            assert answer["idTagInfo"]["status"] == ("Accepted" if odd.get("idTag", "ALICE") else "Invalid")
            event = w.bus.all(TransactionStarted)[0]
            assert event.meter_start == 1000
            assert flag in event.flags


async def test_a_start_without_a_reading_is_refused_rather_than_billed_from_zero() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        assert (await cp.call("StartTransaction", {**START, "meterStart": "low"}))[0] == (
            "TypeConstraintViolation"
        )


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize(
    ("payload", "flag"),
    [
        (METER | {"transactionId": None}, "$.transactionId: empty value read as absent"),
        (METER | {"oddity": 1}, "$.oddity: unknown field dropped"),
        (METER | {"meterValue": None}, "$.meterValue: unreadable, taken as not known: a list is expected"),
        ([], "$: empty value read as an object"),
        (
            METER
            | {
                "meterValue": [
                    {"timestamp": "2026-03-01T12:00:30Z", "sampledValue": [VENDORS, {"value": "7"}]}
                ]
            },
            "$.meterValue[0].sampledValue[0].measurand: item dropped: the value is not one of the enumeration",
        ),
    ],
)
async def test_meter_values_are_always_answered_whatever_the_content_MV_2(
    lenient: bool, payload: Any, flag: str
) -> None:
    async with world() as w:
        w.tenant(lenient=lenient)
        async with w.connected() as cp:
            await cp.boot()
            await cp.call("StartTransaction", START)
            assert await cp.call("MeterValues", payload) == {}
            assert flag in w.bus.all(MeterValuesRecorded)[0].flags


async def test_malformed_frames_are_answered_by_their_id_or_ignored_then_the_socket_is_closed_J_12_J_17() -> (
    None
):
    async with world() as w, w.connected() as cp:
        await cp.socket.send('[2,"x1","Heartbeat"]')
        assert (await cp.frame())[:3] == [4, "x1", "FormationViolation"]
        await cp.socket.send('[7,"x2","Heartbeat",{}]')
        await cp.socket.send("")
        assert "currentTime" in await cp.call("Heartbeat", {})
        for _ in range(QUICK.faults):
            await cp.socket.send("{nonsense")
        assert await cp.closed() == (1002, "malformed frames")


async def test_an_answer_to_nothing_is_left_alone() -> None:
    async with world() as w, w.connected() as cp:
        await cp.socket.send('[3,"zz",{}]')
        assert "currentTime" in await cp.call("Heartbeat", {})


async def test_a_frame_above_the_limit_ends_the_connection_J_22() -> None:
    async with world() as w, w.connected() as cp:
        await cp.socket.send('[2,"x","DataTransfer",{"vendorId":"' + "v" * (1 << 20) + '"}]')
        assert (await cp.closed())[0] == 1009


async def test_a_fragmented_frame_is_read_as_one_J_22() -> None:
    async with world() as w, w.connected() as cp:
        await cp.socket.send(iter(['[2,"f1",', '"Heartbeat"', ",{}]"]))
        assert (await cp.frame())[:2] == [3, "f1"]


async def test_calls_sent_without_waiting_are_answered_in_order_J_10() -> None:
    async with world() as w, w.connected() as cp:
        w.bus.slow[StartTransaction] = 0.05
        ids = [await cp.send_call("StartTransaction", START)]
        ids += [await cp.send_call("Heartbeat", {}) for _ in range(40)]
        assert [(await cp.frame())[1] for _ in ids] == ids


async def test_before_the_boot_is_accepted_only_what_matters_is_taken_J_16_J_15() -> None:
    async with world() as w:
        w.tenant(active=False)
        async with w.connected() as cp:
            assert (await cp.boot())["status"] == "Rejected"
            assert (await cp.call("Heartbeat", {}))[0] == "SecurityError"
            assert (await cp.call("StartTransaction", START))["transactionId"] == 1
        w.tenant(active=True)
        async with w.connected() as cp:
            assert (await cp.call("Authorize", {"idTag": "A"}))[0] == "SecurityError"
            await cp.boot()
            assert "idTagInfo" in await cp.call("Authorize", {"idTag": "A"})


async def test_a_heartbeat_is_told_at_most_once_a_minute() -> None:
    async with world() as w, w.connected() as cp:
        for _ in range(5):
            await cp.call("Heartbeat", {})
        assert len([command for command in w.bus.told if isinstance(command, See)]) <= 1


async def test_a_handler_that_raises_is_an_internal_error_and_the_next_call_is_answered() -> None:
    async with world() as w, w.connected() as cp:

        async def broken(*_: object, **__: object) -> Any:
            raise RuntimeError("broken on purpose")

        w.gateway._services.authorizer.resolve = broken  # type: ignore[method-assign]
        assert (await cp.call("Authorize", {"idTag": "A"}))[0] == "InternalError"
        assert "currentTime" in await cp.call("Heartbeat", {})


async def test_each_call_is_recorded_with_its_answer_for_the_audit() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await cp.call("Frobnicate", {"secret": 1})
        boot, unknown = w.frames.frames
        assert (boot.action, boot.direction, boot.outcome) == ("BootNotification", "in", "ok")
        assert json.loads(boot.response)["status"] == "Accepted"
        assert boot.command_id.startswith("demo|CP-1|")
        assert (unknown.outcome, unknown.response) == ("NotImplemented", b"")


# -- the log is away: architecture, rule 3 ---------------------------------------------------------------------


async def test_while_the_log_is_away_heartbeat_and_authorize_are_answered() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        w.bus.away = True
        assert "currentTime" in await cp.call("Heartbeat", {})
        assert (await cp.call("Authorize", {"idTag": "ALICE"}))["idTagInfo"]["status"] == "Accepted"
        assert (await cp.call("Authorize", {"idTag": "BLOCKED"}))["idTagInfo"]["status"] == "Blocked"
        w.bus.away = False


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("StartTransaction", START),
        ("StopTransaction", {"transactionId": 1, "meterStop": 5, "timestamp": "2026-03-01T12:00:00Z"}),
        ("MeterValues", METER),
    ],
)
async def test_while_the_log_is_away_transactions_are_unanswered_and_the_socket_is_closed(
    action: str, payload: dict[str, Any]
) -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        w.bus.away = True
        await cp.send_call(action, payload)
        assert await cp.closed() == (1013, "log away")
        assert w.frames.frames[-1].outcome == "unanswered"
        w.bus.away = False


async def test_a_short_absence_of_the_log_is_waited_out() -> None:
    async with world() as w, w.connected() as cp:
        w.bus.away = True
        await cp.send_call("StartTransaction", START)
        asyncio.get_running_loop().call_later(0.1, setattr, w.bus, "away", False)
        assert (await cp.answer())["transactionId"] == 1
