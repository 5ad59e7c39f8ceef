"""The same commands on the embedded runtime and on Kafka with MongoDB: per aggregate the same events, the same
replies, the same read models. What may differ is the order between aggregates, and so offsets."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pymongo import AsyncMongoClient

from chargesphere.backbone import Backbone, open_backbone
from chargesphere.settings import read_settings
from commands.base import Area, Command, Meta, Refusal
from commands.charge_point import (
    Authorize,
    Boot,
    ConcludeCall,
    Connect,
    Disconnect,
    RecordMeterValues,
    Register,
    Remove,
    ReportStatus,
    See,
    StartTransaction,
    StopTransaction,
    TransferData,
)
from commands.delivery import ReportAttempt, Retry, Want
from commands.directory import ClaimParties
from commands.job import RequestJob
from commands.job_items import ListItems
from commands.key import CreateKey, RevokeKey, RotateKey
from commands.location import PatchEvse, PatchLocation, PutEvse, PutLocation, RemoveLocation
from commands.partner import CreatePartner, Suspend
from commands.partner import Register as RegisterPartner
from commands.pushes import Report, RetryPush, TakeOver
from commands.remote_command import RequestRemoteCommand
from commands.subject import RevokeSubject
from commands.tariff import PutTariff
from commands.tenant import ConfigureTenant, CreateTenant
from commands.token import NoteAuthorization, PutToken, RemoveToken
from domain.access import Grant
from domain.charge_point import session_id
from domain.directory import PartyRole
from domain.intents import RemoteStart, Reset, ResetKind
from domain.job import Limits
from domain.partner import Endpoint, PartnerConnection, PartnerRole, Secret
from domain.pushes import Mark, Named, Waiting
from domain.session import session_aggregate_id
from domain.tenant import Configuration, TenantParty
from domain.values import (
    Authorization,
    Connector,
    Coordinates,
    Evse,
    JSONObject,
    PartyId,
    RegisterSample,
    Settings,
    Site,
    TagRef,
)
from domain.work import RemoteCommandWork
from projections.store import HUB, Document, Query
from streams.deciding.decider import followed
from streams.following.replay import places
from streams.log import Log
from streams.log.envelope import Decision, Fence, Reply
from streams.log.layout import Layout
from streams.log.topology import commands_topic
from tests.servers import Kafka, Mongo
from tests.streams.harness import until

NOON = datetime(2086, 3, 1, 12, tzinfo=UTC)
"""To come: a time long before the log takes a command is not believed (`envelope.decode_command`)."""
"""Where both clocks stand still: every command is received at it or later, so that no timer is ever due."""
TENANT, CHARGE_POINT, DATABASE = "demo", "CP-1", "ocpp_demo"
CPO, EMSP = PartyId(country_code="DE", party_id="ABC"), PartyId(country_code="NL", party_id="TNM")
FIRST, SECOND = (session_id(TENANT, CHARGE_POINT, number) for number in (1, 2))
ALICE = TagRef(key="a" * 32, sealed="s1.alice.dGhlIHVpZA==")
BOB = TagRef(key="b" * 32, sealed="s1.bob.YW5vdGhlcg==")
SETTINGS = Settings(revision=1, party=CPO)
BY_OFFSET = frozenset({"stories", "audit"})
"""Collections whose documents tell of decisions, under the decision's place in the log."""
TYPE2 = Connector(
    id="1",
    standard="IEC_62196_T2",
    format="SOCKET",
    power_type="AC_3_PHASE",
    max_voltage=230,
    max_amperage=32,
    tariff_ids=("T1",),
)
SITE = Site(
    id="LOC1",
    name="Yard",
    address="Weg 1",
    city="Kiel",
    country="DEU",
    coordinates=Coordinates(latitude="54.3233", longitude="10.1228"),
    time_zone="Europe/Berlin",
)
EVSES = (
    Evse(uid="E1", evse_id="DE*ABC*E1", connectors=(TYPE2,)),
    Evse(uid="E2", evse_id="DE*ABC*E2", connectors=(TYPE2,)),
)
TARIFF: JSONObject = {
    "country_code": "DE",
    "party_id": "ABC",
    "id": "T1",
    "currency": "EUR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.25, "step_size": 1}]}],
    "tax_included": "NO",
    "last_updated": "2086-03-01T11:00:00Z",
}
LOCATION: JSONObject = {
    "country_code": "NL",
    "party_id": "CPO",
    "id": "L9",
    "publish": True,
    "address": "Kade 1",
    "city": "Delft",
    "country": "NLD",
    "coordinates": {"latitude": "52.01000", "longitude": "4.36000"},
    "time_zone": "Europe/Amsterdam",
    "evses": [
        {
            "uid": "E1",
            "status": "AVAILABLE",
            "connectors": [
                {
                    "id": "1",
                    "standard": "IEC_62196_T2",
                    "format": "SOCKET",
                    "power_type": "AC_3_PHASE",
                    "max_voltage": 230,
                    "max_amperage": 32,
                    "last_updated": "2086-03-01T11:00:00Z",
                }
            ],
            "last_updated": "2086-03-01T11:00:00Z",
        }
    ],
    "last_updated": "2086-03-01T11:00:00Z",
}
EMSP_ROLE = PartnerRole(role="EMSP", country_code="NL", party_id="TNM", business_details={"name": "TNM"})


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Step:
    """One command, or (without one) a pause until everything that follows from those before has been decided."""

    command: Command | None = None
    id: str = ""
    received: float = 0.0
    deadline: datetime | None = None
    refusal: Refusal | None = None


SETTLE = Step()


@dataclass
class Script:
    """Steps, with ids in order unless one is given."""

    steps: list[Step] = field(default_factory=list)
    now: float = 0.0

    def do(
        self,
        command: Command,
        *,
        id: str = "",
        refusal: Refusal | None = None,
        deadline: datetime | None = None,
    ) -> None:
        self.now += 10
        self.steps.append(Step(command, id or f"c{len(self.steps)}", self.now, deadline, refusal))

    def settle(self) -> None:
        self.steps.append(SETTLE)


def scenario() -> Sequence[Step]:
    script = Script()
    parties(script)
    tokens(script)
    keys(script)
    script.settle()
    come_online(script)
    roaming_charge(script)
    deliveries(script)
    remote_commands(script)
    job(script)
    local_charge(script)
    farewell(script)
    return script.steps


def _locations(script: Script) -> None:
    """A partner's, in parts, and a tenant's master data."""
    about: dict[str, Any] = {
        "owner": PartyId(country_code="NL", party_id="CPO"),
        "holder": "cpo@1",
        "location_id": "L9",
    }
    script.do(PutLocation(**about, location=LOCATION))
    script.do(PutEvse(**about, evse={**LOCATION["evses"][0], "uid": "E2"}))
    status = {"status": "CHARGING", "last_updated": "2086-03-01T11:05:00Z"}
    script.do(PatchEvse(**about, evse_uid="e1", patch=status))
    late = {"name": "Late", "last_updated": "2086-03-01T10:00:00Z"}
    script.do(PatchLocation(**about, patch=late))
    script.do(PatchEvse(**about, evse_uid="E3", patch=status), refusal=Refusal.UNKNOWN)
    ours = {name: LOCATION[name] for name in LOCATION if name not in ("country_code", "party_id", "evses")}
    script.do(PutLocation(tenant=TENANT, location_id="LOC1", location={**ours, "id": "LOC1"}))
    script.do(RemoveLocation(tenant=TENANT, location_id="loc1"))


def parties(script: Script) -> None:
    claim = ClaimParties(owner="tnm", roles=(PartyRole(role="EMSP", country_code="NL", party_id="TNM"),))
    create = CreateTenant(
        tenant=TENANT,
        name="Demo",
        configuration=Configuration(ocpi=TenantParty(country_code="DE", party_id="ABC")),
    )
    own = ClaimParties(
        owner=f"tenant:{TENANT}", roles=(PartyRole(role="CPO", country_code="DE", party_id="ABC"),)
    )
    plan = CreatePartner(
        partner_id="tnm", name="TNM", roles=(EMSP_ROLE,), token_a=Secret(digest="a1", sealed="s1.k.a")
    )
    connection = PartnerConnection(
        version="2.3.0",
        versions_url="https://tnm.example/versions",
        endpoints=(Endpoint(identifier="cdrs", role="RECEIVER", url="https://tnm.example/cdrs"),),
        roles=(EMSP_ROLE,),
        token_b="s1.k.b",
        token_c=Secret(digest="c1", sealed="s1.k.c"),
    )
    script.do(own)
    script.do(create, id="create-tenant")
    script.do(create, id="create-tenant")
    script.do(create, refusal=Refusal.ALREADY_EXISTS)
    script.do(ConfigureTenant(tenant="nobody", configuration=Configuration()), refusal=Refusal.UNKNOWN)
    script.do(claim)
    script.do(ClaimParties(owner="other", roles=claim.roles), refusal=Refusal.ALREADY_EXISTS)
    script.do(plan)
    register = RegisterPartner(partner_id="tnm", connection=connection, token_a_digest="a1")
    script.do(register, id="handshake")
    script.do(register, id="handshake")
    script.do(register, refusal=Refusal.NOT_ALLOWED)
    script.do(PutTariff(owner=CPO, tariff_id="T1", tenant=TENANT, tariff=TARIFF))
    older = {**TARIFF, "last_updated": "2086-03-01T10:00:00Z"}
    script.do(PutTariff(owner=CPO, tariff_id="T1", tenant=TENANT, tariff=older), refusal=Refusal.STALE)
    _locations(script)


def keys(script: Script) -> None:
    grant = Grant(role="viewer", scopes=("cdrs:read",), addresses=("192.0.2.0/24",))
    create = CreateKey(tenant=TENANT, key_id="K1", name="Billing", grant=grant, secret_digest="d1")
    script.do(create, id="create-key")
    script.do(create, id="create-key")
    script.do(msgspec.structs.replace(create, name="Other"), refusal=Refusal.ALREADY_EXISTS)
    script.do(RotateKey(tenant=TENANT, key_id="K1", secret_digest="d2"))
    script.do(RotateKey(tenant=TENANT, key_id="K9", secret_digest="d2"), refusal=Refusal.UNKNOWN)
    script.do(RevokeKey(tenant=TENANT, key_id="K1"))
    script.do(RevokeKey(tenant=TENANT, key_id="K1"))
    script.do(RevokeSubject(tenant=TENANT, subject="ann"))


def tokens(script: Script) -> None:
    def put(updated: float, **more: object) -> PutToken:
        return msgspec.structs.replace(
            PutToken(
                owner=EMSP,
                key=ALICE.key,
                token_type="RFID",
                whitelist="ALLOWED",
                cdr_token="s1.alice.Y2Ry",
                body="s1.alice.Ym9keQ==",
                last_updated=after(updated),
                fingerprint=f"f{updated}",
            ),
            **more,
        )

    script.do(put(-60), id="put-alice")
    script.do(put(-60), id="put-alice")
    script.do(put(-30, whitelist="ALWAYS", expires_at=after(86_400)))
    script.do(put(-50))
    script.do(
        PutToken(
            tenant=TENANT,
            key=BOB.key,
            token_type="RFID",
            status="Accepted",
            body="s1.bob.Ym9keQ==",
            last_updated=after(-30),
        )
    )
    script.do(RemoveToken(tenant=TENANT, key="c" * 32), refusal=Refusal.UNKNOWN)
    script.do(
        NoteAuthorization(
            owner=EMSP,
            key=ALICE.key,
            allowed="ALLOWED",
            authorization_reference="ref-1",
            for_tenant=TENANT,
            charge_point_id=CHARGE_POINT,
            location_id="LOC1",
        )
    )


def roaming() -> Authorization:
    return Authorization(
        status="Accepted",
        source="real_time",
        as_of=NOON,
        owner=EMSP,
        token_id=f"token|NL*TNM|{ALICE.key}",
        token_version=3,
        token_type="RFID",
        cdr_token="s1.alice.Y2Ry",
        authorization_reference="ref-1",
        auth_method="AUTH_REQUEST",
    )


def come_online(script: Script) -> None:
    register = Register(tenant=TENANT, charge_point_id=CHARGE_POINT, site=SITE, evses=EVSES)
    script.do(
        Connect(tenant=TENANT, charge_point_id="CP-9", node="gw", slot=1, boot="b1"), refusal=Refusal.UNKNOWN
    )
    script.do(register)
    script.do(register, refusal=Refusal.ALREADY_EXISTS)
    script.settle()  # charge points are counted in no order of theirs
    script.do(Register(tenant=TENANT, charge_point_id="CP-2", site=SITE, automatic=True))
    script.do(Connect(tenant=TENANT, charge_point_id=CHARGE_POINT, node="gw", slot=1, boot="b1"))
    script.settle()
    script.do(Boot(tenant=TENANT, charge_point_id=CHARGE_POINT, vendor="Acme", model="Box"), id="boot")
    script.do(Boot(tenant=TENANT, charge_point_id=CHARGE_POINT, vendor="Acme", model="Box"), id="boot")
    script.settle()
    for connector in (0, 1, 2):
        status(script, connector, "Available")
    script.do(See(tenant=TENANT, charge_point_id=CHARGE_POINT))
    status(script, 1, "Preparing")


def status(script: Script, connector: int, text: str) -> None:
    script.do(
        ReportStatus(
            tenant=TENANT,
            charge_point_id=CHARGE_POINT,
            connector_id=connector,
            status=text,
            timestamp=after(script.now),
        )
    )


def meter(script: Script, transaction: int, wh: int, connector: int = 1) -> None:
    at = after(script.now)
    script.do(
        RecordMeterValues(
            tenant=TENANT,
            charge_point_id=CHARGE_POINT,
            connector_id=connector,
            transaction_id=transaction,
            values=msgspec.Raw(
                msgspec.json.encode(
                    [{"timestamp": at, "sampledValue": [{"value": str(wh), "unit": "Wh"}]}],
                )
            ),
            samples=(RegisterSample(at=at, energy_wh=Decimal(wh), power_w=Decimal("7400.5")),),
            timestamp=at,
        )
    )


def stop(script: Script, transaction: int, wh: int, id: str, times: int = 1) -> None:
    at = after(script.now)
    command = StopTransaction(
        tenant=TENANT,
        charge_point_id=CHARGE_POINT,
        transaction_id=transaction,
        meter_stop=wh,
        timestamp=at,
        samples=(RegisterSample(at=at, energy_wh=Decimal(wh)),),
    )
    for _ in range(times):
        script.do(command, id=id)


def roaming_charge(script: Script) -> None:
    script.do(
        Authorize(tenant=TENANT, charge_point_id=CHARGE_POINT, id_tag=ALICE, authorization=roaming()),
        id="authorize",
    )
    script.do(
        Authorize(tenant=TENANT, charge_point_id=CHARGE_POINT, id_tag=ALICE, authorization=roaming()),
        deadline=NOON - timedelta(seconds=3),
        refusal=Refusal.EXPIRED,
    )
    start = StartTransaction(
        tenant=TENANT,
        charge_point_id=CHARGE_POINT,
        connector_id=1,
        id_tag=ALICE,
        meter_start=1000,
        timestamp=after(script.now),
        authorization=roaming(),
        settings=SETTINGS,
        tariffs=(TARIFF,),
    )
    script.do(start, id="start-1")
    script.do(start, id="start-1")
    script.do(start, id="start-1-other-frame")
    status(script, 1, "Charging")
    for wh in (1400, 2100, 2950, 4000, 5200):
        meter(script, 1, wh)
    script.do(Remove(tenant=TENANT, charge_point_id=CHARGE_POINT), refusal=Refusal.NOT_ALLOWED)
    status(script, 1, "SuspendedEV")
    stop(script, 1, 6000, "stop-1", times=2)
    status(script, 1, "Available")
    script.settle()


def deliveries(script: Script) -> None:
    def report(
        module: str, object_id: str, outcome: str, attempt: int, sent: int = 0, begun: int = 2
    ) -> ReportAttempt:
        return ReportAttempt(
            to=EMSP,
            module=module,
            object_id=object_id,
            attempt=attempt,
            begun=begun,
            outcome=outcome,
            sent=sent,
            http_status=200 if sent else 400,
            reason="" if sent else "2001 Invalid or missing parameters",
        )

    partition = Layout().partition_of(session_aggregate_id(FIRST))
    account: dict[str, Any] = {"module": "sessions", "partition": partition}
    waiting = Waiting(
        to=EMSP,
        object_id=FIRST,
        tenant=TENANT,
        version=3,
        since=Mark(offset=1),
        attempts=1,
        first_tried_at=NOON,
        due=after(5),
        outcome="refused",
        reason="HTTP 400",
    )
    script.do(TakeOver(**account, by="one"))
    script.do(TakeOver(**account, by="two"))
    script.do(Report(**account, epoch=1, through=9), refusal=Refusal.STALE)
    script.do(Report(**account, epoch=2, through=1, waiting=(waiting,), behind={"NL*OTH": Mark(offset=1)}))
    script.do(RetryPush(**account, to=EMSP, object_id=FIRST, by="operator:ann"))
    script.do(Report(**account, epoch=2, through=4, told=(Named(to=EMSP, object_id=FIRST),), last=True))
    want = Want(
        to=EMSP, module="cdrs", object_id=FIRST, tenant=TENANT, version=99, partition=partition, offset=1
    )
    script.do(want, id="want-1")
    script.do(want, id="want-1")
    script.do(report("cdrs", FIRST, "refused", 1, begun=9), refusal=Refusal.STALE)
    script.do(report("cdrs", FIRST, "unreachable", 1))
    script.do(Retry(to=EMSP, module="cdrs", object_id=FIRST))
    script.do(report("cdrs", FIRST, "delivered", 2, sent=100))
    script.do(Retry(to=EMSP, module="cdrs", object_id="nothing"), refusal=Refusal.UNKNOWN)


def remote_commands(script: Script) -> None:
    reset = RequestRemoteCommand(
        tenant=TENANT,
        command_id="rc-1",
        charge_point_id=CHARGE_POINT,
        command_type="reset",
        intent=Reset(type=ResetKind.SOFT),
        fingerprint="f1",
        by="operator:ann",
        expires_at=after(36_000),
    )
    replace = msgspec.structs.replace
    script.do(reset)
    script.do(replace(reset, fingerprint="f2"), refusal=Refusal.CONFLICT)
    script.do(replace(reset, command_id="rc-2", charge_point_id="CP-2"))
    script.settle()
    script.do(
        ConcludeCall(
            tenant=TENANT,
            charge_point_id=CHARGE_POINT,
            command_id="rc-1",
            status="accepted",
            response={"status": "Accepted"},
        )
    )
    script.do(
        replace(
            reset,
            command_id="rc-3",
            command_type="remote_start_transaction",
            intent=RemoteStart(id_tag=ALICE.sealed, connector_id=2),
            id_tag=ALICE,
            authorization=replace(roaming(), source="remote", auth_method="COMMAND"),
            fingerprint="f3",
        )
    )
    script.settle()
    script.do(
        ConcludeCall(
            tenant=TENANT,
            charge_point_id=CHARGE_POINT,
            command_id="rc-3",
            status="accepted",
            response={"status": "Accepted"},
        )
    )
    script.settle()
    script.do(
        StartTransaction(
            tenant=TENANT,
            charge_point_id=CHARGE_POINT,
            connector_id=2,
            id_tag=ALICE,
            meter_start=0,
            timestamp=after(script.now),
            authorization=Authorization(status="Invalid", source="unavailable", as_of=NOON),
            settings=SETTINGS,
            tariffs=(TARIFF,),
        ),
        id="start-2",
    )
    meter(script, 2, 700, connector=2)
    stop(script, 2, 1500, "stop-2")


def job(script: Script) -> None:
    work = RemoteCommandWork(
        command_type="reset", intent=Reset(type=ResetKind.SOFT), expiry_s=3600, by="operator:ann"
    )
    listed = ListItems(
        tenant=TENANT, job_id="j-1", listing="l1", portion=0, about=(CHARGE_POINT, "CP-2"), work=work
    )
    script.do(listed)
    script.do(
        RequestJob(
            tenant=TENANT,
            job_id="j-1",
            listing="l1",
            items=2,
            selection={"ids": 2},
            work=work,
            limits=Limits(at_once=2, patience_s=36_000),
            fingerprint="f",
            by="operator:ann",
        )
    )
    script.settle()
    script.do(
        ConcludeCall(
            tenant=TENANT,
            charge_point_id=CHARGE_POINT,
            command_id="job-l1-0-1",
            status="accepted",
            response={"status": "Accepted"},
        )
    )
    script.settle()


def local_charge(script: Script) -> None:
    script.do(
        StartTransaction(
            tenant=TENANT,
            charge_point_id=CHARGE_POINT,
            connector_id=1,
            id_tag=BOB,
            meter_start=6000,
            timestamp=after(script.now),
            authorization=Authorization(status="Accepted", source="tag", as_of=NOON),
            settings=SETTINGS,
        ),
        id="start-3",
    )
    meter(script, 3, 6500)
    stop(script, 77, 9, "stop-unmatched")


def farewell(script: Script) -> None:
    script.do(
        TransferData(tenant=TENANT, charge_point_id=CHARGE_POINT, vendor_id="acme", status="UnknownVendorId")
    )
    script.do(RemoveToken(tenant=TENANT, key=BOB.key))
    script.do(Suspend(partner_id="tnm"))
    script.do(Disconnect(tenant=TENANT, charge_point_id=CHARGE_POINT, epoch=2, reason="closed"))
    script.settle()


@dataclass
class Outcome:
    """What a runtime made of the scenario."""

    asked: list[tuple[str, Reply]] = field(default_factory=list)
    replies: dict[str, Reply] = field(default_factory=dict)
    events: dict[str, list[object]] = field(default_factory=lambda: defaultdict(list))
    documents: dict[str, dict[str, Document]] = field(default_factory=dict)


async def play(backbone: Backbone, steps: Sequence[Step]) -> Outcome:
    """Every command asked for after the one before it was answered; then what stands in the log."""
    outcome = Outcome()
    backbone.clock = lambda: NOON
    await backbone.prepare_store([DATABASE])
    backbone.start_channel()
    decider = backbone.start_decider()
    backbone.start_projector()
    async with asyncio.timeout(50):
        await until(lambda: decider.held == len(Area) * backbone.log.layout.partitions and decider.ready, 40)
        for step in steps:
            if step.command is None:
                await settled(backbone)
                continue
            meta = Meta(
                command_id=step.id,
                at=after(step.received),
                tenant=TENANT,
                correlation_id=f"story-{step.id}",
                principal="operator:ann",
                deadline=step.deadline,
            )
            reply = await backbone.bus.ask(step.command, meta, timeout=20)
            assert reply.refusal is step.refusal, (step, reply)
            outcome.asked.append((step.id, reply))
    await read_all(backbone.log, outcome)
    return outcome


async def read_all(log: Log, outcome: Outcome) -> None:
    """Every admitted decision of the log, all partitions by one reader."""
    ends = {place: end for place, end in (await log.ends(places(log, Area))).items() if end}
    at = dict.fromkeys(ends, 0)
    fences = {place: Fence() for place in ends}
    reader = log.reader()
    await reader.assign(at)
    async with asyncio.timeout(20):
        while any(at[place] < end for place, end in ends.items()):
            for place, batch in (await reader.poll(1.0, 5000)).items():
                at[place] = batch[-1].offset + 1
                for stored in batch:
                    decision = fences[place].admit(stored)
                    if decision is not None:
                        note(outcome, decision)
    await reader.close()


def note(outcome: Outcome, decision: Decision) -> None:
    for event in decision.events:
        content = msgspec.json.decode(event)
        outcome.events[content["aggregate"]].append(content)
    if not decision.repeat:
        assert decision.meta.command_id not in outcome.replies, "a command was decided twice"
        outcome.replies[decision.meta.command_id] = decision.reply


async def settled(backbone: Backbone) -> None:
    """Until all commands are decided, and the processes and the projector have passed all decisions."""
    events = places(backbone.log, Area)
    commands = [place for area in Area for place in backbone.log.places(commands_topic(area))]
    while True:
        decided = await backbone.log.committed("decider", commands)
        projected = await backbone.log.committed("projector", events)
        processed = {
            event: followed(decided[command])
            for command, event in zip(commands, events, strict=True)
            if command in decided
        }
        # Read after the positions: where they agree, nothing was on its way.
        event_ends, command_ends = await backbone.log.ends(events), await backbone.log.ends(commands)
        passed = all(
            end == 0 or (place in done and done[place].offset >= end)
            for done in (processed, projected)
            for place, end in event_ends.items()
        )
        answered = all(
            end == 0 or (place in decided and decided[place].offset >= end)
            for place, end in command_ends.items()
        )
        if passed and answered:
            return
        await asyncio.sleep(0.05)


async def documents(backbone: Backbone, collections: Sequence[str]) -> dict[str, dict[str, Document]]:
    """Every document of these collections, `database.collection`, by id."""
    found = {}
    for name in collections:
        db, _, collection = name.partition(".")
        page = await backbone.store.find(Query(db, collection, limit=500))
        found[name] = {str(document["_id"]): document for document in page.items}
    return found


async def collections_of(mongo: Mongo, prefix: str) -> list[str]:
    """The read models that have documents, as `database.collection`."""
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(mongo.url)
    try:
        return [
            f"{db}.{collection}"
            for db in (HUB, DATABASE)
            for collection in sorted(await client[prefix + db].list_collection_names())
            if not collection.startswith("_") and collection not in BY_OFFSET
        ]
    finally:
        await client.close()


@pytest.mark.long(35)
async def test_both_runtimes_make_the_same_of_the_same_commands(
    tmp_path: Path, own_kafka: Kafka, mongo: Mongo, unique: Callable[[str], str]
) -> None:
    steps, prefix = scenario(), f"{unique('two')[-12:]}-"
    servers = {"CHARGESPHERE_KAFKA_BOOTSTRAP": own_kafka.bootstrap, "CHARGESPHERE_MONGO_URL": mongo.url}
    wide = await open_backbone(read_settings(servers), "wide", tmp_path / "wide", store_prefix=prefix)
    try:
        on_kafka = await play(wide, steps)
        read_models = await collections_of(mongo, prefix)
        on_kafka.documents = await documents(wide, read_models)
    finally:
        await wide.close()
    small = await open_backbone(read_settings({}), "small", tmp_path / "small")
    try:
        embedded = await play(small, steps)
        embedded.documents = await documents(small, read_models)
    finally:
        await small.close()

    assert on_kafka.events.keys() == embedded.events.keys()
    for aggregate, events in embedded.events.items():
        assert on_kafka.events[aggregate] == events, aggregate
    assert on_kafka.asked == embedded.asked
    assert on_kafka.replies == embedded.replies
    for name, expected in embedded.documents.items():
        assert on_kafka.documents[name] == expected, name
    kinds = {aggregate.partition("|")[0] for aggregate in embedded.events}
    assert kinds >= {"tenant", "directory", "partner", "tariff", "token", "charge_point", "session"}
    assert kinds >= {"remote_command", "delivery", "pushes", "key", "subject", "job", "job_items", "location"}
    states = [one["progress"] for one in embedded.documents[f"{DATABASE}.job_items"].values()]
    assert sorted(str(one["state"]) for one in states if isinstance(one, dict)) == ["failed", "succeeded"]
    assert embedded.documents[f"{DATABASE}.jobs"]["j-1"]["state"] == "failed"
    assert embedded.documents[f"{HUB}.cdrs"].keys() == {FIRST, SECOND}
    assert not embedded.documents.get(f"{HUB}.dead_letters")
