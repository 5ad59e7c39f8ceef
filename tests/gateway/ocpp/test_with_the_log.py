"""The gateway on the embedded log with a real decider: answers follow from decisions that were read back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from application.ports import RegisteredChargePoint
from commands.base import Area, Meta
from commands.charge_point import ROUTES, TIMER, Register, RequestCall, Reserve, WantAvailability
from commands.creating import CREATING
from domain.aggregate import Event, EventRegistry
from domain.charge_point import (
    AGGREGATE_EVENTS,
    AvailabilityCompared,
    CallConcluded,
    ChargePoint,
    ChargePointConnected,
    Flag,
    MeterValuesRecorded,
    ReservationConfirmed,
    ReservationEnded,
    TransactionStarted,
    TransactionStopped,
    VariablesCompared,
    charge_point_key,
)
from domain.charge_point.availability import AvailabilityState, AvailabilityWish
from domain.charge_point.passwords import hash_password
from domain.charge_point.wanted import VariableState, mark_of, wishes_of
from domain.intents import Availability, RemoteStop
from domain.values import TagRef
from protocols.ocpp.frames import Limits
from streams.deciding.bus import CommandBus
from streams.deciding.decider import Decider
from streams.deciding.partition import Rules
from streams.log import TopicPartition
from streams.log.envelope import Fence, decode_events
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import events_topic, topics
from tests.gateway.ocpp.fakes import EVSES, PASSWORD, QUICK, SITE, World
from tests.gateway.ocpp.test_messages import METER, START

REGISTRY = EventRegistry({ChargePoint: AGGREGATE_EVENTS})
RULES = Rules(ROUTES, {ChargePoint.kind: TIMER}, REGISTRY, CREATING)
KEY = charge_point_key("demo", "CP-1")


def now() -> datetime:
    return datetime.now(UTC)


async def decided(log: SqliteLog) -> list[Event]:
    """Every event of CP-1, as the log holds them."""
    place = TopicPartition(events_topic(Area.CHARGE_POINT), Layout().partition_of(KEY))
    reader, fence, out = log.reader(), Fence(), []
    await reader.assign({place: 0})
    try:
        while batch := await reader.poll(0.05):
            for stored in batch.get(place, ()):
                decision = fence.admit(stored)
                out += decode_events(decision, REGISTRY) if decision else []
    finally:
        await reader.close()
    return out


@asynccontextmanager
async def on_the_log(folder: Path) -> AsyncIterator[tuple[World, CommandBus, SqliteLog]]:
    log = SqliteLog(folder / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    patient = replace(QUICK, patience=20.0)  # what is decided here is really written
    w = World(patient, bus=lambda channel: CommandBus(log, channel), clock=now)
    bus = CommandBus(log, w.channel)
    decider = Decider(log, RULES, w.channel, "one", now, areas=[Area.CHARGE_POINT])
    deciding = asyncio.create_task(decider.run())
    w.tenant()
    password_hash = hash_password(PASSWORD.encode(), bytes(16))
    register = Register(
        tenant="demo", charge_point_id="CP-1", site=SITE, evses=EVSES, password_hash=password_hash
    )
    await bus.ask(register, Meta(command_id="register", at=now()), 20)
    w.directory.learn(
        "demo", RegisteredChargePoint(charge_point_id="CP-1", password_hash=password_hash, evses=EVSES)
    )
    w.port = await w.gateway.start("127.0.0.1", 0)
    try:
        yield w, bus, log
    finally:
        await w.gateway.stop()
        deciding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await deciding
        await log.close()


async def test_a_whole_charge_on_the_embedded_log_TC_001_TC_003_TC_013(tmp_path: Path) -> None:
    async with on_the_log(tmp_path) as (w, bus, log), w.connected() as cp:
        assert (await cp.boot())["status"] == "Accepted"
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Charging"}
        assert await cp.call("StatusNotification", status) == {}
        assert (await cp.call("Authorize", {"idTag": "ALICE"}))["idTagInfo"]["status"] == "Accepted"
        first = await cp.call("StartTransaction", START)
        assert first["transactionId"] == 1
        assert await cp.call("StartTransaction", START) == first
        assert await cp.call("MeterValues", METER) == {}

        command = RequestCall(
            tenant="demo",
            charge_point_id="CP-1",
            command_id="r1",
            intent=RemoteStop(transaction_id=1),
            expires_at=now() + timedelta(seconds=20),
        )
        asked = asyncio.create_task(bus.ask(command, Meta(command_id="request r1", at=now())))
        frame = await cp.frame()
        assert frame[2:] == ["RemoteStopTransaction", {"transactionId": 1}]
        await cp.socket.send(json.dumps([3, frame[1], {"status": "Accepted"}]))
        assert (await asked).refusal is None

        stop = {
            "transactionId": 1,
            "meterStop": 5000,
            "timestamp": "2026-03-01T13:00:00Z",
            "reason": "Remote",
        }
        assert await cp.call("StopTransaction", stop) == {}

        events = await decided(log)
        assert [e.originator_version for e in events] == list(range(1, len(events) + 1))
        kinds = [type(event) for event in events]
        for kind in (ChargePointConnected, TransactionStarted, TransactionStopped, CallConcluded):
            assert kinds.count(kind) == 1


async def test_a_stop_of_the_largest_frame_ends_its_transaction(tmp_path: Path) -> None:
    """The frame limit is 1 MiB, a decision's 0.9 MB: the stop wins, its readings are thinned, and that is said."""
    sample = {"value": "1000.5", "unit": "Wh", "context": "Sample.Periodic"}
    moment = {"timestamp": "2026-03-01T12:30:00Z", "sampledValue": [sample]}
    readings = [moment] * ((Limits().size - 1000) // (len(json.dumps(moment, separators=(",", ":"))) + 1))
    stop = {
        "transactionId": 1,
        "meterStop": 5000,
        "timestamp": "2026-03-01T13:00:00Z",
        "transactionData": readings,
    }
    async with on_the_log(tmp_path) as (w, _, log), w.connected() as cp:
        await cp.boot()
        await cp.call("StartTransaction", START)
        frame = json.dumps([2, "large", "StopTransaction", stop], separators=(",", ":"))
        assert Limits().size - 2000 < len(frame) < Limits().size
        await cp.socket.send(frame)
        assert (await cp.reply())[:2] == [3, "large"]
        [stopped] = [event for event in await decided(log) if isinstance(event, TransactionStopped)]
        assert stopped.meter_stop == 5000
        assert Flag.DATA_THINNED in stopped.flags
        large = {"connectorId": 1, "transactionId": 1, "meterValue": readings}
        await cp.socket.send(json.dumps([2, "values", "MeterValues", large], separators=(",", ":")))
        assert await cp.reply() == [3, "values", {}]
        await cp.call("StartTransaction", {**START, "timestamp": "2026-03-01T14:00:00Z"})
        [values] = [event for event in await decided(log) if isinstance(event, MeterValuesRecorded)]
        assert Flag.DATA_THINNED in values.flags


async def test_a_variable_that_its_tenant_wants_is_read_pushed_and_read_back_TC_019_TC_021(
    tmp_path: Path,
) -> None:
    values = {"MeterValueSampleInterval": "900", "LocalPreAuthorize": "false"}
    wishes = wishes_of({"MeterValueSampleInterval": "60"})
    async with on_the_log(tmp_path) as (w, _, log):
        w.tenant(wishes=wishes, wishes_mark=mark_of(wishes))
        async with w.connected() as cp:
            assert (await cp.boot())["status"] == "Accepted"
            asked = []
            for _ in range(3):
                _, id, action, payload = await cp.frame()
                asked.append((action, payload.get("key")))
                answer: object = {"status": "Accepted"}
                if action == "ChangeConfiguration":
                    values[payload["key"]] = payload["value"]
                else:
                    names = payload.get("key", values)
                    keys = [{"key": name, "readonly": False, "value": values[name]} for name in names]
                    answer = {"configurationKey": keys}
                await cp.socket.send(json.dumps([3, id, answer]))
            key = "MeterValueSampleInterval"
            assert asked == [
                ("GetConfiguration", None),
                ("ChangeConfiguration", key),
                ("GetConfiguration", [key]),
            ]
            async with asyncio.timeout(10):
                while True:
                    found = [one for one in await decided(log) if isinstance(one, VariablesCompared)]
                    if found and found[-1].found[0].state is VariableState.IN_SYNC:
                        break


async def test_a_reservation_is_told_confirmed_and_used_by_its_start_TC_046(tmp_path: Path) -> None:
    async with on_the_log(tmp_path) as (w, bus, log), w.connected() as cp:
        assert (await cp.boot())["status"] == "Accepted"
        until = now() + timedelta(hours=1)
        wish = Reserve(
            tenant="demo",
            charge_point_id="CP-1",
            connector_id=1,
            id_tag=TagRef(key="k-ALICE"),
            sealed_tag="s1.0123456789.alice-sealed",
            expires_at=until,
        )
        reply = await bus.ask(wish, Meta(command_id="reserve", at=now(), tenant="demo"), 20)
        reserved = json.loads(bytes(reply.result))
        _, id, action, payload = await cp.frame()
        assert (action, payload["idTag"], payload["reservationId"]) == (
            "ReserveNow",
            "ALICE",
            reserved["number"],
        )
        await cp.socket.send(json.dumps([3, id, {"status": "Accepted"}]))
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Reserved"}
        assert await cp.call("StatusNotification", status) == {}
        start = {**START, "reservationId": reserved["number"], "timestamp": now().isoformat()}
        assert (await cp.call("StartTransaction", start))["idTagInfo"]["status"] == "Accepted"
        events = await decided(log)
        (confirmed,) = (one for one in events if isinstance(one, ReservationConfirmed))
        (ended,) = (one for one in events if isinstance(one, ReservationEnded))
        (started,) = (one for one in events if isinstance(one, TransactionStarted))
        assert confirmed.reservation_id == ended.reservation_id == reserved["reservation_id"]
        assert (ended.how, ended.session_id) == ("used", started.session_id)


async def test_a_connector_that_shall_not_be_used_is_told_so_and_says_so(tmp_path: Path) -> None:
    async with on_the_log(tmp_path) as (w, bus, log), w.connected() as cp:
        wish = AvailabilityWish(connector_id=1, availability=Availability.INOPERATIVE)
        want = WantAvailability(tenant="demo", charge_point_id="CP-1", wish=wish)
        await bus.ask(want, Meta(command_id="want", at=now(), tenant="demo"), 20)
        assert (await cp.boot())["status"] == "Accepted"
        answers = {
            "GetConfiguration": {"configurationKey": []},
            "ChangeAvailability": {"status": "Scheduled"},
        }
        for expected in answers:
            _, id, action, payload = await cp.frame()
            assert action == expected
            await cp.socket.send(json.dumps([3, id, answers[action]]))
        assert payload == {"connectorId": 1, "type": "Inoperative"}
        async with asyncio.timeout(10):
            while not any(isinstance(one, AvailabilityCompared) for one in await decided(log)):
                pass
        (answered,) = (one for one in await decided(log) if isinstance(one, AvailabilityCompared))
        assert answered.state is AvailabilityState.SCHEDULED
