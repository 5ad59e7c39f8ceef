"""A charge point under test: commands go in by the routing table, replies and events come out.

After every command the events are folded anew from the beginning and must give the same state, and the state must
survive the trip to the state topic and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from commands.base import Accepted, Handler, Meta, Outcome, Refusal, Rejected, TimerDue
from commands.charge_point import (
    ROUTES,
    TIMER,
    Boot,
    ChargePointCommand,
    Connect,
    RecordMeterValues,
    Register,
    ReportStatus,
    StartReply,
    StartTransaction,
    Stopped,
    StopTransaction,
)
from domain.aggregate import Event, EventRegistry
from domain.charge_point import AGGREGATE_EVENTS, ChargePoint, ChargePointState
from domain.values import (
    Authorization,
    Connector,
    Evse,
    PartyId,
    RegisterSample,
    Settings,
    Site,
    TagRef,
)

TENANT, CP = "demo", "CP-1"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SITE = Site(id="LOC1", name="Yard", city="Kiel", country="DEU", time_zone="Europe/Berlin")
TYPE2 = Connector(
    id="1",
    standard="IEC_62196_T2",
    format="SOCKET",
    power_type="AC_3_PHASE",
    max_voltage=230,
    max_amperage=32,
)
EVSES = (
    Evse(uid="E1", evse_id="DE*ABC*E1", connectors=(TYPE2,)),
    Evse(uid="E2", evse_id="DE*ABC*E2", connectors=(TYPE2,)),
)
SETTINGS = Settings(revision=3, party=PartyId(country_code="DE", party_id="ABC"))
ALICE, BOB, CAROL = TagRef(key="k-alice"), TagRef(key="k-bob"), TagRef(key="k-carol")
REGISTRY = EventRegistry({ChargePoint: AGGREGATE_EVENTS})

_E = TypeVar("_E", bound=Event)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def known(status: str = "Accepted", source: str = "tag", **more: Any) -> Authorization:
    return Authorization(status=status, source=source, as_of=NOON, **more)


def sample(seconds: float, wh: int) -> RegisterSample:
    return RegisterSample(at=after(seconds), energy_wh=Decimal(wh))


class Case:
    """One charge point; `received` is when the next command is received, in seconds after noon."""

    def __init__(self) -> None:
        self.charge_point = ChargePoint.blank(f"charge_point|{TENANT}|{CP}")
        self.log: list[Event] = []
        self.outcome: Outcome = Accepted()
        self.numbers = 0

    @property
    def state(self) -> ChargePointState:
        return self.charge_point.state

    @classmethod
    def registered(cls) -> Case:
        case = cls()
        case.do(Register, site=SITE, evses=EVSES)
        return case

    @classmethod
    def online(cls) -> Case:
        """Registered, connected and accepted; the system itself has nothing to ask for days."""
        case = cls.registered()
        case.do(Connect, node="gw-1", slot=3, boot="b1", quiet_s=10**6)
        case.do(Boot, vendor="Acme", model="Box")
        return case

    def do(self, command: type[ChargePointCommand], received: float = 0, **values: Any) -> Sequence[Event]:
        """Decide one command; its events."""
        return self.decide(command(tenant=TENANT, charge_point_id=CP, **values), received)

    def decide(
        self, command: ChargePointCommand | TimerDue, received: float = 0, deadline: float | None = None
    ) -> Sequence[Event]:
        self.numbers += 1
        until = None if deadline is None else after(deadline)
        meta = Meta(command_id=f"c{self.numbers}", at=after(received), tenant=TENANT, deadline=until)
        handler: Handler = TIMER if isinstance(command, TimerDue) else ROUTES[type(command)].handler
        self.outcome = handler(self.charge_point, command, meta)
        events: list[Event] = list(self.charge_point.collect_events())  # type: ignore[arg-type]
        self.log += events
        assert not (isinstance(self.outcome, Rejected) and events), "refused and yet decided"
        self._check_fold()
        return events

    def start(self, received: float = 0, **values: Any) -> StartReply:
        """StartTransaction of ALICE on connector 1 with meter 1000, unless told otherwise."""
        values = {
            "connector_id": 1,
            "id_tag": ALICE,
            "meter_start": 1000,
            "timestamp": after(received),
            "authorization": known(),
            "settings": SETTINGS,
            **values,
        }
        self.do(StartTransaction, received, **values)
        assert isinstance(self.reply, StartReply)
        return self.reply

    def stop(self, number: int, received: float = 0, **values: Any) -> Stopped:
        values = {"meter_stop": 5000, "timestamp": after(received), **values}
        self.do(StopTransaction, received, transaction_id=number, **values)
        assert isinstance(self.reply, Stopped)
        return self.reply

    def meter(self, received: float, wh: int | None = None, **values: Any) -> Sequence[Event]:
        values = {
            "connector_id": 1,
            "values": msgspec.Raw(b"[]"),
            "samples": () if wh is None else (sample(received, wh),),
            "timestamp": after(received),
            **values,
        }
        return self.do(RecordMeterValues, received, **values)

    def status(self, received: float, status: str, connector_id: int = 1, **values: Any) -> Sequence[Event]:
        values = {"timestamp": after(received), **values}
        return self.do(ReportStatus, received, connector_id=connector_id, status=status, **values)

    @property
    def reply(self) -> object:
        assert isinstance(self.outcome, Accepted), self.outcome
        return self.outcome.reply

    @property
    def refusal(self) -> Refusal:
        assert isinstance(self.outcome, Rejected), self.outcome
        return self.outcome.refusal

    def all(self, event: type[_E]) -> list[_E]:
        return [one for one in self.log if isinstance(one, event)]

    def last(self, event: type[_E]) -> _E:
        return self.all(event)[-1]

    def _check_fold(self) -> None:
        again = ChargePoint.blank(self.charge_point.id)
        for event in self.log:
            REGISTRY.decode(msgspec.json.encode(event)).mutate(again)
        stored = msgspec.json.decode(msgspec.json.encode(self.state), type=ChargePointState)
        assert again.state == self.state == stored
        assert again.version == self.charge_point.version
