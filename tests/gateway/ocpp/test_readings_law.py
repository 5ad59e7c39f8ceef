"""ADR 19's law: whatever is killed, repeated or read beside the events, a charge costs what its whole series costs.

A charge point is told twice over: to gateways that die, in a world where readings stand beside the events; and, each
message once, to one gateway that makes a command of everything. The real handlers of the gateway, of the charge point
and of the session run in both; what both charges came to must be the same.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import event as note
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chargesphere import registry
from commands.base import Meta, TimerDue
from commands.charge_point import TIMER, Boot, Connect, ConnectedReply, EndTransaction
from commands.processes import charging_session
from commands.session import ROUTES as SESSION
from domain.aggregate import Event
from domain.charge_point import charge_point_key
from domain.session import CdrIssued, EndCorrected, Session, SessionEnded
from domain.values import JSONObject
from gateway.ocpp.connection import ChargePointConnection
from gateway.ocpp.inbound_call import InboundCall
from gateway.ocpp.v16 import V16
from gateway.ocpp.v16.handlers import HANDLERS
from protocols.ocpp.message import Mode
from protocols.ocpp.v16.codec import decode_request
from streams.following.readings import TOPIC, Readings, completed
from streams.log import TopicPartition
from streams.log.layout import Layout
from tests.gateway.ocpp.fakes import NOON, QUICK, World
from tests.gateway.ocpp.memory_log import MemoryLog
from tests.laws import tried

KEY = charge_point_key("demo", "CP-1")
PLACE = TopicPartition(TOPIC, Layout().partition_of(KEY))
TARIFF: JSONObject = {
    "country_code": "DE",
    "party_id": "ABC",
    "id": "T1",
    "currency": "EUR",
    "tax_included": "NO",
    "elements": [
        {
            "price_components": [{"type": "ENERGY", "price": 0.61, "step_size": 1}],
            "restrictions": {"min_power": 20},
        },
        {
            "price_components": [
                {"type": "ENERGY", "price": 0.25, "step_size": 1},
                {"type": "TIME", "price": 1.3, "step_size": 60},
            ],
            "restrictions": {"max_duration": 240},
        },
        {"price_components": [{"type": "ENERGY", "price": 0.37, "step_size": 1}]},
    ],
    "last_updated": "2026-01-01T00:00:00Z",
}


class _Tariffs:
    async def snapshot(self, tenant: str, tariff_ids: Sequence[str]) -> list[JSONObject]:
        return [TARIFF]


class Charging:
    """One charge point with its meter, and the gateway that it speaks with."""

    def __init__(self, *, beside: bool) -> None:
        self.world = World(dataclasses.replace(QUICK, patience=60.0, authorize_patience=60.0))
        self.beside = beside
        self.log = MemoryLog()
        self.seconds = 0.0
        self.wh = 1000
        self.transaction = 0
        self.connections = 0
        self.connection: ChargePointConnection | None = None
        self.numbers = iter(range(1, 10**6))

    async def begin(self) -> None:
        self.world.tenant(relay_every=30)
        await self.world.charge_point(password="")
        made: Any = Readings(self.log, registry.EVENTS)  # type: ignore[arg-type]
        self.services = dataclasses.replace(self.world.gateway._services, readings=made, tariffs=_Tariffs())
        await self.connect()
        await self.bus(Boot(tenant="demo", charge_point_id="CP-1", vendor="Acme", model="Box"))
        await self.start()

    def at(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        self.world.clock.time = self.at()
        self.log.now_ms = int(self.at().timestamp() * 1000)

    async def bus(self, command: Any) -> Any:
        meta = Meta(command_id=f"x{next(self.numbers)}", at=self.at(), tenant="demo")
        return await self.world.bus.ask(command, meta)

    async def connect(self) -> None:
        self.connections += 1
        command = Connect(
            tenant="demo",
            charge_point_id="CP-1",
            node=f"gw-{self.connections}",
            slot=1,
            boot="b",
            quiet_s=10**7,
        )
        reply = await self.bus(command)
        connected = msgspec.json.decode(reply.result, type=ConnectedReply)
        tenant, listed = self.world.directory.tenants["demo"], self.world.directory.listed[("demo", "CP-1")]
        self.connection = ChargePointConnection(self.services, None, tenant, listed, connected, V16)  # type: ignore[arg-type]

    async def say(self, action: str, payload: JSONObject) -> Any:
        if self.connection is None:
            await self.connect()
        assert self.connection is not None
        raw = msgspec.json.encode(payload)
        decoded: Any = decode_request(action, raw, mode=Mode.LENIENT, received_at=self.at())
        exchange = InboundCall(
            self.connection, next(self.connection._numbers), self.at(), decoded.raw, decoded.flags
        )
        if not self.beside:
            self.connection.transactions.doubt()
        return await HANDLERS[action](exchange, decoded.message)

    async def start(self) -> None:
        payload = {
            "connectorId": 1,
            "idTag": "ALICE",
            "meterStart": self.wh,
            "timestamp": _z(self.at()),
        }
        confirmed = await self.say("StartTransaction", payload)
        self.transaction = confirmed.transaction_id

    def reading(self, wh: int, power: int) -> JSONObject:
        self.wh += wh
        sampled = [
            {"value": str(self.wh), "context": "Sample.Periodic"},
            {"value": str(power), "measurand": "Power.Active.Import", "unit": "W"},
        ]
        return {
            "connectorId": 1,
            "transactionId": self.transaction,
            "meterValue": [{"timestamp": _z(self.at()), "sampledValue": sampled}],
        }

    async def read(self, wh: int, power: int) -> None:
        await self.say("MeterValues", self.reading(wh, power))

    async def read_unheard(self, wh: int, power: int) -> None:
        """Its answer is lost with the gateway: it says it again to the next one."""
        payload = self.reading(wh, power)
        await self.say("MeterValues", payload)
        if self.beside:
            self.kill()
            await self.say("MeterValues", payload)

    async def read_twice_over(self, wh: int, power: int) -> None:
        """It gave the connection up and says it on the next one; then the first gateway takes it after all."""
        payload, first = self.reading(wh, power), self.connection
        if not self.beside or first is None:
            await self.say("MeterValues", payload)
            return
        await self.connect()
        await self.say("MeterValues", payload)
        second, self.connection = self.connection, first
        await self.say("MeterValues", payload)
        self.connection = second

    async def status(self) -> None:
        payload = {"connectorId": 1, "errorCode": "NoError", "status": "Charging", "timestamp": _z(self.at())}
        await self.say("StatusNotification", payload)

    def kill(self) -> None:
        if self.beside:
            self.connection = None

    async def repeat(self) -> None:
        """The newest reading stands twice: its edge had not learnt of the first."""
        if self.beside and (held := self.log.records.get(PLACE)):
            last = held[-1]
            held.append(msgspec.structs.replace(last, offset=len(held)))

    async def stop(self) -> None:
        self.wh += 7
        payload = {
            "transactionId": self.transaction,
            "meterStop": self.wh,
            "timestamp": _z(self.at()),
            "reason": "Local",
        }
        await self.say("StopTransaction", payload)

    async def end_by_hand(self) -> None:
        await self.bus(
            EndTransaction(tenant="demo", charge_point_id="CP-1", transaction_id=self.transaction, reason="r")
        )

    async def abandon(self) -> None:
        """Its last connection ends with its gateway, and nothing comes for 80 hours."""
        self.connection = None
        back = self.seconds + 80 * 3600
        aggregate = self.world.bus.of(KEY)
        for _ in range(12):
            if (due := aggregate.next_due()) is None or not aggregate.state.open:
                break
            self.seconds = max(self.seconds, (due - NOON).total_seconds() + 1)
            meta = Meta(command_id=f"t{next(self.numbers)}", at=self.at(), tenant="demo")
            TIMER(aggregate, TimerDue(aggregate=KEY, due=due), meta)
            self.world.bus.log += list(aggregate.collect_events())  # type: ignore[arg-type]
        assert not aggregate.state.open
        self.pass_time(back - self.seconds)

    async def came_to(self, again: int) -> list[Event]:
        """What its sessions came to; the processes read the last `again` facts once more."""
        sessions: dict[str, Session] = {}
        facts: list[Event] = []
        history = self.world.bus.log
        for event in (*history, *history[len(history) - again :]):
            whole = await completed(self.log, registry.EVENTS, event)  # type: ignore[arg-type]
            policy = charging_session.POLICIES.get(type(whole))
            meta = Meta(command_id="c", at=whole.timestamp, tenant="demo")
            for command in policy(whole, meta) if policy else ():
                session = sessions.setdefault(command.aggregate_id, Session.blank(command.aggregate_id))
                SESSION[type(command)].handler(session, command, meta)
                facts += session.collect_events()  # type: ignore[arg-type]
        return facts


def bill(facts: Sequence[Event]) -> dict[str, list[tuple[object, ...]]]:
    """By session its ends: when, how much energy and what it costs; and its CDRs' totals."""
    out: dict[str, list[tuple[object, ...]]] = {}
    for fact in facts:
        if isinstance(fact, SessionEnded | EndCorrected):
            line: tuple[object, ...] = (fact.happened_at, fact.energy_wh, fact.meter_stop, fact.total_cost)
            out.setdefault(fact.originator_id, []).append(line)
        elif isinstance(fact, CdrIssued):
            cdr = fact.cdr
            line = (cdr["total_energy"], cdr["total_cost"], cdr["total_time"], cdr["charging_periods"])
            out.setdefault(fact.originator_id, []).append(line)
    return out


def _z(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


readings = st.tuples(
    st.sampled_from(["read", "read", "read", "read", "read_unheard", "read_twice_over"]),
    st.integers(0, 400),
    st.sampled_from([3_000, 11_000, 19_999, 20_000, 43_000]),
)
others = st.sampled_from([("kill",), ("repeat",), ("status",)])
steps = st.lists(
    st.tuples(st.sampled_from([10, 15, 40]), st.one_of(readings, readings, readings, others)), max_size=25
)
ends = st.sampled_from(["stop", "end_by_hand", "abandon", "start"])


async def course(
    charging: Charging, taken: Sequence[Any], end: str, killed: bool, after: Sequence[Any]
) -> None:
    await charging.begin()
    await play(charging, taken)
    charging.pass_time(20)
    if killed:
        charging.kill()
    first = charging.transaction
    await getattr(charging, end)()
    charging.transaction = first
    if end != "stop":
        # The charge point knows nothing of that end, charges on and, where it said anything, stops.
        await play(charging, after)
        charging.pass_time(20)
        if after:
            await charging.stop()


async def play(charging: Charging, taken: Sequence[Any]) -> None:
    for wait, (name, *values) in taken:
        charging.pass_time(wait)
        done = getattr(charging, name)(*values)
        if done is not None:
            await done


SERIES = [(10, ("read", 100, 11_000)), (10, ("read", 100, 43_000)), (10, ("read", 50, 3_000))]
"""A relay, and two readings beside the events in bands of power of their own."""


@settings(deadline=None, max_examples=tried(100))
@example([*SERIES, (10, ("read", 60, 11_000))], "stop", False, [], 0)
@example(SERIES, "stop", False, [], 0)
@example(SERIES, "stop", True, [], 5)
@example(SERIES, "end_by_hand", False, SERIES, 5)
@example(SERIES, "end_by_hand", True, [], 5)
@example(SERIES, "start", True, SERIES, 5)
@example(SERIES, "abandon", True, SERIES, 5)
@given(steps, ends, st.booleans(), steps, st.integers(0, 30))
def test_a_charge_costs_what_its_whole_series_costs_whatever_is_killed_or_repeated(
    taken: list[Any], end: str, killed: bool, after: list[Any], again: int
) -> None:
    async def both() -> None:
        ours, whole = Charging(beside=True), Charging(beside=False)
        for charging in (ours, whole):
            await course(charging, taken, end, killed, after)
        assert not whole.log.records
        beside = len(ours.log.records.get(PLACE, ()))
        note(f"readings beside: {min(beside, 5)}")
        assert bill(await ours.came_to(again)) == bill(await whole.came_to(0))

    asyncio.run(both())
