"""Events of one charge from its first frame to its CDR, and their decisions, for tests of what follows from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from commands.base import Area, Meta, Refusal
from domain import delivery, remote_command, session, token
from domain.aggregate import Event, EventRegistry
from domain.charge_point import AGGREGATE_EVENTS, ChargePoint, charge_point_key
from domain.charge_point import events as charge_point
from domain.intents import RemoteStart
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
from streams.following.facts import Fact
from streams.log import Log, TopicPartition
from streams.log.envelope import Decision, Reply, raw, record
from streams.log.layout import Layout
from streams.log.topology import events_topic

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
EVSES = (Evse(uid="E1", evse_id="DE*ABC*E1", connectors=(TYPE2,)),)
OURS, MSP = PartyId(country_code="DE", party_id="ABC"), PartyId(country_code="NL", party_id="EMS")
SETTINGS = Settings(revision=3, party=OURS)
TAG = TagRef(key="9f2c", sealed="s1.9f2c.AAAA")
ROAMING = Authorization(
    status="Accepted",
    source="stored",
    as_of=NOON,
    owner=MSP,
    token_type="RFID",
    cdr_token="s1.9f2c.BBBB",
    auth_method="WHITELIST",
)
SESSION = "c5fa531c-e03e-509e-be72-d000721e9d18"
EVENTS = EventRegistry(
    {
        ChargePoint: AGGREGATE_EVENTS,
        session.Session: session.AGGREGATE_EVENTS,
        token.Token: token.AGGREGATE_EVENTS,
        remote_command.RemoteCommand: remote_command.AGGREGATE_EVENTS,
        delivery.Delivery: delivery.AGGREGATE_EVENTS,
    }
)
AREAS = {
    "charge_point": Area.CHARGE_POINT,
    "session": Area.SESSION,
    "token": Area.TOKEN,
    "remote_command": Area.REMOTE_COMMAND,
    "delivery": Area.DELIVERY,
}

E = TypeVar("E", bound=Event)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def meta(tenant: str = "demo", seconds: float = 0.0, **more: Any) -> Meta:
    return Meta(
        **{"command_id": "c-1", "at": after(seconds), "tenant": tenant, "correlation_id": "corr-1", **more}
    )


def of_charge_point(
    type: type[E],
    version: int,
    seconds: float = 0.0,
    *,
    id: str = "CP-1",
    tenant: str = "demo",
    **fields: Any,
) -> E:
    return type(
        originator_id=charge_point_key(tenant, id),
        originator_version=version,
        timestamp=after(seconds),
        **fields,
    )


def registered(
    version: int = 1, id: str = "CP-1", tenant: str = "demo"
) -> charge_point.ChargePointRegistered:
    return charge_point.ChargePointRegistered(
        originator_id=charge_point_key(tenant, id),
        originator_version=version,
        timestamp=NOON,
        tenant=tenant,
        charge_point_id=id,
        site=SITE,
        evses=EVSES,
    )


def connected(version: int, seconds: float = 0.0, **where: str) -> charge_point.ChargePointConnected:
    return of_charge_point(
        charge_point.ChargePointConnected, version, seconds, node="n1", slot=3, boot="b1", **where
    )


def disconnected(
    version: int, epoch: int, seconds: float = 0.0, **where: str
) -> charge_point.ChargePointDisconnected:
    return of_charge_point(
        charge_point.ChargePointDisconnected, version, seconds, epoch=epoch, reason="silent", **where
    )


def status(version: int, status: str, seconds: float = 0.0, **fields: Any) -> charge_point.StatusReported:
    fields = {"connector_id": 1, "occurred_at": after(seconds), **fields}
    return of_charge_point(charge_point.StatusReported, version, seconds, status=status, **fields)


def metered(
    version: int, values: object, seconds: float = 0.0, **fields: Any
) -> charge_point.MeterValuesRecorded:
    fields = {"connector_id": 1, "transaction_id": 7, "session_id": SESSION, **fields}
    encoded = msgspec.Raw(msgspec.json.encode(values))
    return of_charge_point(charge_point.MeterValuesRecorded, version, seconds, values=encoded, **fields)


def of_session(type: type[E], version: int, seconds: float, id: str = SESSION, **fields: Any) -> E:
    return type(
        originator_id=session.session_aggregate_id(id),
        originator_version=version,
        timestamp=after(seconds),
        **fields,
    )


def started(
    seconds: float = 0.0, *, version: int = 1, id: str = SESSION, tenant: str = "demo", cp: str = "CP-1"
) -> session.SessionStarted:
    return of_session(
        session.SessionStarted,
        version,
        seconds,
        id,
        occurred_at=after(seconds),
        session_id=id,
        tenant=tenant,
        charge_point_id=cp,
        connector_id=1,
        transaction_id=7,
        evse_uid="E1",
        evse_id="DE*ABC*E1",
        connector=TYPE2,
        site=SITE,
        id_tag=TAG,
        authorization=ROAMING,
        status="ACTIVE",
        meter_start=1000,
        settings=SETTINGS,
    )


def used(version: int, seconds: float, wh: int, id: str = SESSION, **fields: Any) -> session.UsageRecorded:
    sample = RegisterSample(at=after(seconds), energy_wh=Decimal(1000 + wh))
    return of_session(
        session.UsageRecorded,
        version,
        seconds,
        id,
        charge_point_id="CP-1",
        samples=(sample,),
        energy_wh=Decimal(wh),
        **fields,
    )


def ended(version: int, seconds: float, wh: int, id: str = SESSION, **fields: Any) -> session.SessionEnded:
    return of_session(
        session.SessionEnded,
        version,
        seconds,
        id,
        occurred_at=after(seconds),
        charge_point_id="CP-1",
        started_at=NOON,
        status="COMPLETED",
        meter_stop=1000 + wh,
        energy_wh=Decimal(wh),
        reason="Local",
        owner=MSP,
        **fields,
    )


def corrected(version: int, seconds: float, wh: int, id: str = SESSION) -> session.EndCorrected:
    return of_session(
        session.EndCorrected,
        version,
        seconds,
        id,
        occurred_at=after(seconds),
        charge_point_id="CP-1",
        connector_id=1,
        started_at=NOON,
        status="COMPLETED",
        meter_stop=1000 + wh,
        energy_wh=Decimal(wh),
        reason="Local",
        owner=MSP,
    )


def unmatched(version: int, seconds: float = 0.0, **fields: Any) -> charge_point.StopUnmatched:
    fields = {"occurred_at": after(seconds), "key": f"-1|{seconds}|6000", **fields}
    return of_charge_point(
        charge_point.StopUnmatched,
        version,
        seconds,
        transaction_id=-1,
        meter_stop=6000,
        id_tag=TAG,
        flags=("orphan",),
        **fields,
    )


def priced(version: int, seconds: float, id: str = SESSION) -> session.CdrIssued:
    return of_session(
        session.CdrIssued,
        version,
        seconds,
        id,
        charge_point_id="CP-1",
        cdr_id=id,
        cdr={"country_code": "DE", "party_id": "ABC", "id": id, "total_energy": 4.2},
        cdr_token="s1.9f2c.BBBB",
        token_key="9f2c",
        token_type="RFID",
        owner=MSP,
    )


def withheld(version: int, seconds: float, id: str = SESSION) -> session.CdrWithheld:
    return of_session(
        session.CdrWithheld,
        version,
        seconds,
        id,
        charge_point_id="CP-1",
        cdr_id=id,
        field="meter_stop",
        value="1000000000000000",
        reason="no meter holds so many Wh",
        end=session.End(at=after(seconds), meter_stop=10**15),
    )


def requested(
    command_id: str = "r-1", *, cp: str = "CP-1", tenant: str = "demo"
) -> remote_command.RemoteCommandRequested:
    return remote_command.RemoteCommandRequested(
        originator_id=remote_command.remote_command_aggregate_id(tenant, command_id),
        originator_version=1,
        timestamp=NOON,
        tenant=tenant,
        command_id=command_id,
        charge_point_id=cp,
        command_type="remote_start",
        intent=RemoteStart(id_tag="s1.9f2c.AAAA"),
        fingerprint="f",
        by="mqtt:demo",
        expires_at=after(30),
    )


def concluded(
    command_id: str = "r-1", *, version: int = 3, seconds: float = 2.0, tenant: str = "demo", **fields: Any
) -> remote_command.RemoteCommandConcluded:
    return remote_command.RemoteCommandConcluded(
        originator_id=remote_command.remote_command_aggregate_id(tenant, command_id),
        originator_version=version,
        timestamp=after(seconds),
        **{"status": "accepted", "reason": "Accepted", **fields},
    )


def put_token(version: int = 1, seconds: float = 0.0) -> token.TokenPut:
    return token.TokenPut(
        originator_id=token.token_aggregate_id(MSP, "", "9f2c"),
        originator_version=version,
        timestamp=after(seconds),
        owner=MSP,
        key="9f2c",
        token_type="RFID",
        whitelist="ALLOWED",
        cdr_token="s1.9f2c.BBBB",
        body="s1.9f2c.CCCC",
        last_updated=after(seconds),
    )


def decision(
    *events: Event,
    command: str = "charge_point.boot.v1",
    meta: Meta,
    refusal: Refusal | None = None,
    repeat: bool = False,
) -> Decision:
    aggregate = events[0].originator_id if events else "charge_point|demo|CP-1"
    reply = Reply(aggregate=aggregate, refusal=refusal, message="it said no" if refusal else "")
    return Decision(
        command=command,
        command_offset=1,
        epoch=0,
        meta=meta,
        reply=reply,
        repeat=repeat,
        events=[raw(event) for event in events],
    )


def fact(decision: Decision, offset: int = 5) -> Fact:
    kind = decision.reply.aggregate.partition("|")[0]
    place = TopicPartition(events_topic(AREAS[kind]), Layout().partition_of(decision.reply.aggregate))
    return Fact(place, offset, NOON, decision)


async def write(log: Log, *events: Event, meta: Meta) -> None:
    """Each event as a decision of its own, in the partition where it belongs."""
    for event in events:
        topic = events_topic(AREAS[event.originator_id.partition("|")[0]])
        entry = record(event.originator_id, decision(event, meta=meta), meta.tenant)
        await log.append(topic, Layout().partition_of(event.originator_id), [entry])
