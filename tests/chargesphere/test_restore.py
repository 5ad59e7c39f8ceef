"""Restore drills: a backup made while all runs, a disaster, empty servers or an empty folder; then it goes on.

The scenario has a charge that is finished and told, one that runs, one that has just begun, one whose stop was
decided and nothing more; a remote command that is concluded, one that waits; a partner that keeps what it got.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chargesphere import registry
from chargesphere.backbone import Backbone, open_backbone
from chargesphere.cli import main
from chargesphere.settings import PREFIX, read_settings
from commands.base import Area, Command, Meta
from commands.charge_point import (
    Authorize,
    Boot,
    ConcludeCall,
    Connect,
    RecordMeterValues,
    Register,
    StartTransaction,
    StopTransaction,
)
from commands.remote_command import RequestRemoteCommand
from commands.tenant import CreateTenant
from domain.charge_point import ReadingTaken, charge_point_key, session_id
from domain.intents import Reset, ResetKind
from domain.values import Authorization, CallNumber, RegisterSample
from projections.store import HUB
from streams.deciding.decider import Decider
from streams.effects.deliveries import Deliveries
from streams.effects.originals import Originals
from streams.effects.public import PublicTopics
from streams.effects.pushes import Pushes
from streams.following.group import Group
from streams.following.readings import Readings
from streams.following.replay import places, readings_places
from streams.log import Log, LogUnavailableError, Record, Stored, TopicPartition
from streams.log.envelope import Fence, Reply
from streams.log.layout import Layout
from streams.log.ranges import stretch
from streams.log.topology import PUBLIC
from tests.chargesphere.installation import EMSP
from tests.chargesphere.serving import run as command_line
from tests.chargesphere.test_two_runtimes import documents, settled
from tests.commands.charge_point_case import ALICE, EVSES, SETTINGS, SITE
from tests.servers import Kafka, Mongo
from tests.streams.harness import until
from tests.streams.receiver import Receiver

TENANT = "demo"
FINISHED, RUNNING, BEGUN, STOPPED = "CP-1", "CP-2", "CP-3", "CP-4"
POINTS = (FINISHED, RUNNING, BEGUN, STOPPED)
COLLECTIONS = [f"{HUB}.{name}" for name in ("tenants", "sessions", "cdrs", "dead_letters")]
COLLECTIONS += [f"ocpp_{TENANT}.{name}" for name in ("sessions", "commands")]
MASTER = "bWFzdGVyLWtleS1vZi10aGUtcmVzdG9yZS1kcmlsbHMx"


@dataclass
class Partner(Receiver):
    """Takes whatever it is given and keeps it, over the disaster too."""

    @property
    def cdrs(self) -> dict[str, int]:
        return dict(Counter(job.object_id for job, _ in self.sent if job.module == "cdrs"))


class Life:
    """One life of an installation: its engines, and charge points that ask."""

    def __init__(self, backbone: Backbone, partner: Partner, life: str) -> None:
        self.backbone, self.partner, self.life = backbone, partner, life
        self.asked = 0

    def start(self) -> None:
        backbone = self.backbone
        backbone.start_channel()
        backbone.start_decider()
        backbone.start_projector()
        log, bus, store, clock = backbone.log, backbone.bus, backbone.store, backbone.clock
        pushes = Pushes(log, bus, registry.EVENTS, registry.PUSHED, store, self.partner, backbone.gate, clock)
        find = Originals(log, registry.EVENTS, registry.DELIVERED, store).find
        deliveries = Deliveries(log, bus, registry.EVENTS, find, self.partner, backbone.gate, clock)
        sinks = [pushes.sink, deliveries.sink, PublicTopics(log, registry.EVENTS).sink]
        backbone.start("effects", Group(backbone.log, "effects", backbone.node, sinks).run)

    async def ask(self, command: Command) -> Any:
        self.asked += 1
        meta = Meta(
            command_id=f"{self.life}-{self.asked}", at=datetime.now(UTC), tenant=TENANT, principal="drill"
        )
        reply = await insist(self.backbone, command, meta)
        return msgspec.json.decode(reply.result)

    async def begin(self, point: str, wh: int) -> int:
        now = datetime.now(UTC)
        known = Authorization(status="Accepted", source="stored", as_of=now, owner=EMSP, token_type="RFID")
        started = await self.ask(
            StartTransaction(
                tenant=TENANT,
                charge_point_id=point,
                connector_id=1,
                id_tag=ALICE,
                meter_start=wh,
                timestamp=now - timedelta(minutes=10),
                authorization=known,
                settings=SETTINGS,
            )
        )
        return int(started["transaction_id"])

    async def measure(self, point: str, transaction: int, wh: int) -> None:
        now = datetime.now(UTC)
        await self.ask(
            RecordMeterValues(
                tenant=TENANT,
                charge_point_id=point,
                connector_id=1,
                transaction_id=transaction,
                values=msgspec.Raw(b"[]"),
                samples=(RegisterSample(at=now, energy_wh=Decimal(wh)),),
                timestamp=now,
            )
        )

    async def read_beside(self, point: str, transaction: int, wh: int) -> None:
        now = datetime.now(UTC)
        reading = ReadingTaken(
            originator_id=charge_point_key(TENANT, point),
            timestamp=now,
            connector_id=1,
            transaction_id=transaction,
            session_id=session_id(TENANT, point, transaction),
            values=msgspec.Raw(b"[]"),
            samples=(RegisterSample(at=now, energy_wh=Decimal(wh)),),
            call=CallNumber(epoch=2, number=wh),
        )
        meta = Meta(command_id=f"beside-{wh}", at=now, tenant=TENANT)
        await Readings(self.backbone.log, registry.EVENTS).append(reading, meta)

    async def stop(self, point: str, transaction: int, wh: int) -> None:
        await self.ask(stop(point, transaction, wh))

    async def remote(self, id: str, point: str) -> None:
        await self.ask(
            RequestRemoteCommand(
                tenant=TENANT,
                command_id=id,
                charge_point_id=point,
                command_type="reset",
                intent=Reset(type=ResetKind.SOFT),
                fingerprint=id,
                by="operator:ann",
                expires_at=datetime.now(UTC) + timedelta(hours=10),
            )
        )

    async def installed(self) -> None:
        """A tenant and its charge points, connected."""
        await self.ask(CreateTenant(tenant=TENANT, name="Demo"))
        for point in POINTS:
            name: dict[str, Any] = {"tenant": TENANT, "charge_point_id": point}
            await self.ask(Register(**name, site=SITE, evses=EVSES))
            await self.ask(Connect(**name, node="gw", slot=1, boot="b1"))
            await self.ask(Boot(**name, vendor="Acme", model="Box"))

    async def scenario(self) -> None:
        """Up to the moment at which the backup is made."""
        await self.installed()
        await self.remote("concluded", FINISHED)
        await self.settled()
        done = ConcludeCall(
            tenant=TENANT,
            charge_point_id=FINISHED,
            command_id="concluded",
            status="accepted",
            response={"status": "Accepted"},
        )
        await self.ask(done)
        # More than the ids of commands that a charge point's replies are remembered by.
        await asyncio.gather(*(self.authorize() for _ in range(70)))
        finished = await self.begin(FINISHED, 1000)
        await self.measure(FINISHED, finished, 3000)
        await self.stop(FINISHED, finished, 6000)
        running = await self.begin(RUNNING, 0)
        for wh in (700, 1500):
            await self.measure(RUNNING, running, wh)
        await self.read_beside(RUNNING, running, 1600)
        await self.begin(STOPPED, 500)
        await self.remote("waits", RUNNING)
        await self.begin(BEGUN, 0)
        await until(lambda: self.partner.cdrs == {session_id(TENANT, FINISHED, finished): 1}, 30)
        await self.settled()

    async def authorize(self) -> None:
        known = Authorization(status="Accepted", source="stored", as_of=datetime.now(UTC))
        await self.ask(Authorize(tenant=TENANT, charge_point_id=FINISHED, id_tag=ALICE, authorization=known))

    async def settled(self) -> None:
        """Until everything that follows from everything was decided."""
        async with asyncio.timeout(60):
            await settled(self.backbone)


async def insist(backbone: Backbone, command: Command, meta: Meta) -> Reply:
    """As an edge whose caller comes again with the same id until there is a reply."""
    async with asyncio.timeout(90):
        while True:
            try:
                reply = await backbone.bus.ask(command, meta, timeout=20)
                break
            except LogUnavailableError:
                await asyncio.sleep(0.1)
    assert reply.refusal is None, reply.message
    return reply


def stop(point: str, transaction: int, wh: int) -> StopTransaction:
    now = datetime.now(UTC)
    return StopTransaction(
        tenant=TENANT,
        charge_point_id=point,
        transaction_id=transaction,
        meter_stop=wh,
        timestamp=now,
        samples=(RegisterSample(at=now, energy_wh=Decimal(wh)),),
    )


@contextlib.asynccontextmanager
async def living(backbone: Backbone, partner: Partner, life: str) -> AsyncIterator[Life]:
    site = Life(backbone, partner, life)
    try:
        site.start()
        yield site
    finally:
        await backbone.close()


async def decided_and_nothing_more(backbone: Backbone, command: Command) -> None:
    """The last moment: a decision that no process, no projector and no partner has seen."""
    backbone.start_channel()
    decider = Decider(backbone.log, registry.RULES, backbone.channel, backbone.node, backbone.clock)
    backbone.start("decider", decider.run)
    meta = Meta(command_id="last", at=datetime.now(UTC), tenant=TENANT, principal="drill")
    await insist(backbone, command, meta)
    await backbone.close()


History = dict[TopicPartition, list[Stored]]


async def history(log: Log) -> History:
    found: History = {}
    for place, end in (await log.ends([*places(log, Area), *readings_places(log, Area)])).items():
        if end:
            async with contextlib.aclosing(stretch(log, place, 0, end)) as batches:
                found[place] = [stored async for batch in batches for stored in batch]
    return found


def content(records: Sequence[Stored]) -> list[tuple[int, Record]]:
    return [(s.offset, Record(s.key, s.value, s.headers)) for s in records]


def events(past: History) -> list[dict[str, Any]]:
    """All valid events; the versions of each aggregate follow one another, from 1 or from where a life begins."""
    out: list[dict[str, Any]] = []
    versions: Counter[str] = Counter()
    for records in past.values():
        fence = Fence()
        for stored in records:
            decision = fence.admit(stored)
            for raw in decision.events if decision else ():
                event = msgspec.json.decode(raw)
                if event["type"] == "charge_point.reading_taken.v1":
                    continue  # beside the versions
                known = versions[event["aggregate"]]
                begins = registry.EVENTS.events[event["type"]].begins and event["version"] > known
                assert event["version"] == known + 1 or begins, event
                versions[event["aggregate"]] = event["version"]
                out.append(event)
    return out


def types(happened: Sequence[dict[str, Any]]) -> Counter[str]:
    """Without what the hub asks charge points for by itself, when it is time: their configuration."""
    return Counter(event["type"] for event in happened if not event.get("own"))


def counted(happened: Sequence[dict[str, Any]], type: str) -> Counter[str]:
    return Counter(event["aggregate"] for event in happened if event["type"] == type)


async def public_ids(log: Log) -> Counter[str]:
    """How often each public event was told."""
    found: Counter[str] = Counter()
    every = [
        TopicPartition(name, number) for name in PUBLIC.values() for number in range(Layout().partitions)
    ]
    for place, end in (await log.ends(every)).items():
        if end:
            async with contextlib.aclosing(stretch(log, place, 0, end)) as batches:
                async for batch in batches:
                    found.update(dict(stored.headers)["ce_id"].decode() for stored in batch)
    return found


async def goes_on(site: Life, before: History, *, told_public: int = 1) -> None:
    """Each clause, read from the log, the documents and what the partner got. An event is told in public so often."""
    log = site.backbone.log
    past = await history(log)
    for place, records in before.items():
        assert content(past[place][: len(records)]) == content(records), place
    known = len(events(before))
    happened = events(past)
    # What was decided and not followed up is followed up, once; nothing else happened by itself.
    lost = session_id(TENANT, STOPPED, 1)
    fresh = types(happened) - types(events(before))
    assert fresh["session.ended.v1"] == fresh["session.cdr_issued.v1"] == 1, fresh
    assert set(fresh) <= {
        "session.usage_recorded.v1",
        "session.ended.v1",
        "session.cdr_issued.v1",
        "delivery.wanted.v1",
        "delivery.attempt_due.v1",
        "delivery.delivered.v1",
        "delivery.attempt_failed.v1",
        "pushes.taken_over.v1",
        "pushes.reported.v1",
        "pushes.handed_over.v1",
    }, fresh
    assert counted(happened, "session.cdr_issued.v1")[f"session|{lost}"] == 1
    assert len(happened) > known
    # Charge points go on, and nothing is swallowed though each offset of a command was decided once before.
    numbers = [await site.begin(FINISHED, 6000)]
    await site.stop(FINISHED, numbers[0], 7000)
    await site.measure(RUNNING, 1, 2500)
    await site.stop(RUNNING, 1, 3000)
    await site.stop(BEGUN, 1, 900)
    numbers += [await site.begin(point, 9000) for point in (RUNNING, BEGUN, STOPPED)]
    assert numbers == [2, 2, 2, 2]
    await site.remote("concluded", FINISHED)  # the caller that missed its answer
    sessions = [(FINISHED, 1), (FINISHED, 2), (RUNNING, 1), (BEGUN, 1), (STOPPED, 1)]
    ended = {session_id(TENANT, point, number): 1 for point, number in sessions}
    await until(lambda: site.partner.cdrs == ended, 40)
    await site.settled()

    past = await history(log)
    happened = events(past)
    issued = counted(happened, "session.cdr_issued.v1")
    assert issued == {f"session|{id}": 1 for id in ended}
    started = counted(happened, "session.started.v1")
    begun = {f"session|{session_id(TENANT, point, 2)}" for point in (RUNNING, BEGUN, STOPPED)}
    assert started == dict.fromkeys(issued.keys() | begun, 1)
    calls = [e["command_id"] for e in happened if e["type"] == "charge_point.call_requested.v1"]
    assert Counter(id for id in calls if id in ("concluded", "waits")) == {"concluded": 1, "waits": 1}
    decided = Counter(
        decision.meta.command_id
        for records in past.values()
        for fence in [Fence()]
        for stored in records
        if (decision := fence.admit(stored)) is not None
        and decision.meta.command_id.startswith(site.life)
        and not decision.repeat
    )
    assert decided == {f"{site.life}-{number}": 1 for number in range(1, site.asked + 1)}
    assert site.partner.cdrs == ended
    told = await public_ids(log)
    assert max(told.values()) == told_public
    assert len(told) >= len(ended)


async def shown(backbone: Backbone) -> dict[str, dict[str, Any]]:
    return {name: dict(found) for name, found in (await documents(backbone, COLLECTIONS)).items()}


def emptied(server: Kafka | Mongo) -> None:
    """A new machine at the old address."""
    server.kill()
    shutil.rmtree(server.folder / "data")
    server.start()


@pytest.mark.long(50)
@pytest.mark.timeout(240)
async def test_charges_go_on_where_the_log_was_restored_into_an_empty_kafka_and_an_empty_mongodb(
    tmp_path: Path,
    own_kafka: Kafka,
    own_mongo: Mongo,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environ = {
        PREFIX + "KAFKA_BOOTSTRAP": own_kafka.bootstrap,
        PREFIX + "MONGO_URL": own_mongo.url,
        PREFIX + "MASTER_KEY": MASTER,
        PREFIX + "JWT_SECRET": "s" * 32,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    partner, folder = Partner(), tmp_path / "backup"

    async def opened() -> Backbone:
        return await open_backbone(read_settings(environ), "one", tmp_path)

    async def operator(*words: str) -> int:
        return await asyncio.to_thread(main, [*words])

    async with living(await opened(), partner, "before") as site:
        sealed = await site.backbone.vault.seal("somebody", "a uid")
        await site.scenario()
        before_documents = await shown(site.backbone)
    await decided_and_nothing_more(await opened(), stop(STOPPED, 1, 4000))
    assert await operator("backup", str(folder)) == 0
    backbone = await opened()
    before = await history(backbone.log)
    await backbone.close()
    assert await operator("restore", str(folder)) == 2
    assert "is not empty: a backup goes into topics that were never written to" in capsys.readouterr().err

    await asyncio.to_thread(emptied, own_kafka)
    await asyncio.to_thread(emptied, own_mongo)
    monkeypatch.setenv(PREFIX + "MASTER_KEY", MASTER[::-1])
    assert await operator("restore", str(folder)) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("chargesphere: CHARGESPHERE_MASTER_KEY is not")
    monkeypatch.setenv(PREFIX + "MASTER_KEY", MASTER)
    assert await operator("restore", str(folder)) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{sum(map(len, before.values()))} records stand where they stood"), said

    async with living(await opened(), partner, "after") as site:
        await site.settled()
        found = await shown(site.backbone)
        for name in (f"{HUB}.tenants", f"{HUB}.dead_letters", f"ocpp_{TENANT}.commands"):
            assert found[name] == before_documents[name], name
        for id in (session_id(TENANT, FINISHED, 1), session_id(TENANT, RUNNING, 1)):
            assert found[f"{HUB}.sessions"][id] == before_documents[f"{HUB}.sessions"][id]
        await goes_on(site, before)
        assert await site.backbone.vault.open(sealed) == b"a uid"
    assert partner.cdrs[session_id(TENANT, FINISHED, 1)] == 1


@pytest.mark.long(15)
async def test_charges_go_on_from_an_embedded_backup_that_was_made_while_they_ran(tmp_path: Path) -> None:
    partner, data, folder = Partner(), tmp_path / "data", tmp_path / "backup"

    async with living(await open_backbone(read_settings({}), "serve", data), partner, "before") as site:
        sealed = await site.backbone.vault.seal("somebody", "a uid")
        await site.scenario()

    await decided_and_nothing_more(
        await open_backbone(read_settings({}), "serve", data), stop(STOPPED, 1, 4000)
    )
    before_log = await open_backbone(read_settings({}), "serve", data)
    before = await history(before_log.log)
    busy = asyncio.create_task(_writing(before_log))
    done = await asyncio.to_thread(command_line, "backup", str(folder), "--data", str(data))
    busy.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await busy
    await before_log.close()
    assert (done.returncode, done.stderr) == (0, "")
    shutil.rmtree(data)
    folder.rename(data)
    # Where processes go on stands beside the decider's.
    _lose_positions(data / "log.db", "decider", "effects")

    async with living(await open_backbone(read_settings({}), "serve", data), partner, "after") as site:
        await site.settled()
        # What effects do begins at the beginning: partners get nothing again, public topics the same ids once more.
        await goes_on(site, before, told_public=2)
        assert await site.backbone.vault.open(sealed) == b"a uid"
    checked = await asyncio.to_thread(command_line, "check", "--data", str(data))
    assert checked.returncode == 0, checked.stdout


@pytest.mark.long(16)
async def test_a_backup_made_between_charges_that_go_on_holds_all_that_was_acknowledged_before_it(
    tmp_path: Path,
) -> None:
    partner, data, folder = Partner(), tmp_path / "data", tmp_path / "backup"
    acknowledged: list[str] = []

    async def charges(life: Life) -> None:
        while True:
            number = await life.begin(FINISHED, 0)
            await life.stop(FINISHED, number, 1000)
            acknowledged.append(session_id(TENANT, FINISHED, number))

    async with living(await open_backbone(read_settings({}), "serve", data), partner, "before") as life:
        await life.installed()
        going = asyncio.create_task(charges(life))
        await until(lambda: len(acknowledged) >= 3, 30)
        before = [*acknowledged]
        done = await asyncio.to_thread(command_line, "backup", str(folder), "--data", str(data))
        assert (done.returncode, done.stderr) == (0, "")
        after = len(acknowledged)
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
    assert after > len(before), "nothing was written while the backup was made"

    delivered = dict(partner.cdrs)
    partner.sent.clear()
    async with living(await open_backbone(read_settings({}), "serve", folder), partner, "after") as life:
        await until(lambda: set(before) <= {*delivered, *partner.cdrs}, 40)
        await life.settled()
        issued = counted(events(await history(life.backbone.log)), "session.cdr_issued.v1")
        assert {f"session|{id}" for id in before} <= issued.keys()
        assert set(issued.values()) == {1}
    assert set(partner.cdrs.values()) <= {1}


def _lose_positions(log: Path, *groups: str) -> None:
    with contextlib.closing(sqlite3.connect(log)) as connection:
        connection.executemany("DELETE FROM positions WHERE member_group = ?", [(group,) for group in groups])
        connection.commit()


async def _writing(backbone: Backbone) -> None:
    """Frames without end, as fast as the log takes them."""
    while True:
        await backbone.log.append("chargesphere.replies", 0, [Record(b"k", b"x" * 1000)] * 20)
