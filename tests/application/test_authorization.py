"""Who may charge: which reads and questions an id tag costs, and what they answer (AUTH-1, J-15)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from application.authorization import Answer, NoAnswer, TagAuthorizer
from application.roaming import Place
from application.vault import StoreKeys, Vault
from commands.base import Area, command_name
from commands.token import NoteAuthorization, NoteConflict
from domain.tenant import Configuration, TenantParty
from domain.values import PartyId
from projections.store import HUB, JSON, Document, Page, Put, Query, Remove, StoreUnavailableError
from projections.store.sqlite import SqliteReadStore
from projections.tenant import configuration_document
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.log import TopicPartition
from streams.log.envelope import decode_command
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import commands_topic, topics

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Store(SqliteReadStore):
    """Says which reads there were, and how many at once; `away` refuses them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reads: list[str] = []
        self.under_way = 0
        self.most_at_once = 0
        self.away = False

    async def find(self, query: Query) -> Page:
        self._begin(query.collection)
        page = await super().find(query)
        self.under_way -= 1
        return page

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        self._begin(collection)
        found = await super().get_many(db, collection, ids)
        self.under_way -= 1
        return found

    def _begin(self, collection: str) -> None:
        if self.away:
            raise StoreUnavailableError("the fake store", "away")
        self.reads.append(collection)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)


class Emsp:
    """Answers what it is told to, or not at all."""

    def __init__(self) -> None:
        self.answer: Answer | NoAnswer | None = Answer("ALLOWED", "REF-1")
        self.asked: list[str] = []
        self.places: list[Place] = []

    async def authorize(self, owner: PartyId, uid: str, type: str, place: Place) -> Answer | NoAnswer:
        self.asked.append(uid)
        self.places.append(place)
        if self.answer is None:
            await asyncio.Event().wait()
            raise AssertionError("nobody waits so long")
        return self.answer


class World:
    def __init__(self, store: Store, log: SqliteLog) -> None:
        self.store = store
        self.log = log
        self.now = NOON
        self.emsp = Emsp()
        self.vault = Vault(b"m" * 32, StoreKeys(store))
        self.authorizer = self.process()

    def process(self, vault: Vault | None = None, patience: float = 0.05) -> TagAuthorizer:
        """The authorizer of a process of its own."""
        bus = CommandBus(self.log, LocalChannel("one"))
        return TagAuthorizer(
            self.store, vault or self.vault, bus, self.emsp, lambda: self.now, patience=patience
        )

    async def partner(self, id: str, party: str, version: int = 1) -> None:
        """A platform that speaks for the party."""
        document: Document = {"parties": [party], "status": "CONNECTED", "holder": f"{id}@1"}
        await self.store.apply([Put(HUB, "partners", id, version, document)])

    async def token(self, uid: str, version: int = 1, type: str = "RFID", **values: JSON) -> None:
        """Its document, the data key that its first PUT made, and that of the tenant demo, which has seen it."""
        key = self.vault.token_key(type, uid)
        for owner in (str(values.get("owner", "NL*EMS")), "tenant:demo"):
            await self.vault.seal(self.vault.subject(owner, key), uid)
        document: Document = {
            "owner": "NL*EMS",
            "holder": "ems@1",
            "known_since": "2026-02-01T00:00:00.000Z",
            "key": key,
            "type": type,
            "valid": True,
            **values,
        }
        await self.store.apply([Put(HUB, "tokens", f"{document['owner']}|{key}", version, document)])

    async def tenant(self, id: str, configuration: Configuration) -> None:
        """Its document, as the projection makes it."""
        document: Document = {"configuration": configuration_document(configuration)}
        await self.store.apply([Put(HUB, "tenants", id, 1, document)])

    async def noted(self) -> list[dict[str, object]]:
        """The commands in the area of tokens."""
        places = [TopicPartition(commands_topic(Area.TOKEN), number) for number in range(Layout().partitions)]
        reader = self.log.reader()
        await reader.assign(dict.fromkeys(places, 0))
        batches = await reader.poll(0.5)
        await reader.close()
        records = [decode_command(stored) for batch in batches.values() for stored in batch]
        return [msgspec.json.decode(record.command) for record in records]

    async def status(self, uid: str, for_start: bool = False) -> tuple[str, str]:
        _, found = await self.authorizer.resolve("demo", "CP-1", uid, for_start)
        return found.status, found.source


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    store, log = Store(tmp_path / "read"), SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    world = World(store, log)
    await world.partner("ems", "NL*EMS")
    yield world
    await log.close()
    await store.close()


async def test_a_tag_that_a_process_sees_for_the_first_time_costs_two_reads_at_once_and_then_one(
    w: World,
) -> None:
    await w.token("ALICE", whitelist="ALWAYS")
    there = w.process(Vault(b"m" * 32, StoreKeys(w.store)))
    w.store.reads.clear()
    tag, found = await there.resolve("demo", "CP-1", "alice", False)
    assert (found.status, found.source) == ("Accepted", "stored")
    assert await w.vault.open(tag.sealed) == b"alice"
    assert (sorted(w.store.reads[:2]), w.store.most_at_once) == (["keys", "tokens"], 2)
    assert w.store.reads[2:] == ["partners"], "who speaks for its owner is read once in two seconds"
    for for_start in (False, True):
        await there.resolve("demo", "CP-1", "ALICE", for_start)
    assert w.store.reads[3:] == ["tokens", "tokens"]


async def test_what_is_entered_or_blocked_counts_at_once(w: World) -> None:
    assert await w.status("ALICE") == ("Invalid", "unknown")
    await w.token("ALICE", whitelist="ALWAYS")
    assert await w.status("ALICE") == ("Accepted", "stored")
    await w.token("ALICE", 2, whitelist="ALWAYS", valid=False)
    assert await w.status("ALICE") == ("Invalid", "stored")


async def test_tags_that_come_together_are_read_together(w: World) -> None:
    for number in range(60):
        await w.token(f"TAG{number}", whitelist="ALWAYS" if number % 2 else "NEVER", valid=number % 3 > 0)
    w.emsp.answer = Answer("BLOCKED")
    w.authorizer = w.process(patience=5.0)
    w.store.reads.clear()
    found = await asyncio.gather(*(w.status(f"TAG{number}") for number in range(61)))
    assert w.store.reads.count("tokens") <= 2
    assert w.store.reads.count("tenants") <= 2, "where they stand is read together too"
    assert w.store.reads.count("partners") <= 1, "who speaks for whom is read once for all"
    assert found == [
        *(
            (("Accepted" if number % 3 else "Invalid"), "stored") if number % 2 else ("Blocked", "real_time")
            for number in range(60)
        ),
        ("Invalid", "unknown"),
    ]


async def test_the_tenants_own_tag_comes_before_a_roaming_token(w: World) -> None:
    await w.token("ALICE", whitelist="NEVER")
    await w.token("ALICE", owner="tenant*demo", tenant_id="demo", status="Accepted")
    await w.token("ALICE", owner="tenant*other", tenant_id="other", status="Blocked")
    assert await w.status("ALICE") == ("Accepted", "tag")
    assert w.emsp.asked == []


async def test_an_owner_is_asked_where_its_whitelist_wants_it_and_noted(w: World) -> None:
    await w.token("ALICE", whitelist="NEVER")
    assert await w.status("ALICE") == ("Accepted", "real_time")
    assert await w.status("ALICE", for_start=True) == ("Accepted", "recent")
    assert w.emsp.asked == ["ALICE"]
    assert [note["type"] for note in await w.noted()] == [command_name(NoteAuthorization)]


@pytest.mark.parametrize(
    ("whitelist", "expected"),
    [("NEVER", ("Invalid", "unavailable")), ("ALLOWED_OFFLINE", ("Accepted", "stored"))],
)
async def test_a_silent_owner_is_not_waited_for_and_never_by_a_start(
    w: World, whitelist: str, expected: tuple[str, str]
) -> None:
    w.emsp.answer = None
    await w.token("ALICE", whitelist=whitelist)
    assert await w.status("ALICE") == expected
    assert await w.status("ALICE", for_start=True) == expected


async def test_while_the_store_is_away_what_was_read_before_serves(w: World) -> None:
    await w.token("ALICE", whitelist="ALWAYS")
    assert await w.status("ALICE") == ("Accepted", "stored")
    w.store.away = True
    w.now += timedelta(hours=1)
    assert await w.status("ALICE") == ("Accepted", "stored")
    tag, found = await w.authorizer.resolve("demo", "CP-1", "BOB", False)
    assert (found.status, found.source, tag.sealed) == ("Invalid", "unavailable", "")


async def test_of_two_emsps_with_one_uid_the_first_decides_and_the_conflict_is_a_fact(w: World) -> None:
    """Who puts another's uid later gains nothing by it, whatever its name and its token say."""
    await w.partner("aaa", "AT*AAA")
    await w.token("ALICE", whitelist="ALWAYS", valid=False)
    await w.token(
        "ALICE",
        owner="AT*AAA",
        holder="aaa@1",
        whitelist="ALWAYS",
        known_since="2026-02-01T00:00:00.001Z",
    )
    tag, found = await w.authorizer.resolve("demo", "CP-1", "ALICE", False)
    assert (found.status, str(found.owner), found.holder) == ("Invalid", "NL*EMS", "ems@1")
    await w.status("ALICE")
    (note,) = await w.noted()
    assert (note["type"], note["owner"]) == (
        command_name(NoteConflict),
        {"country_code": "NL", "party_id": "EMS"},
    )
    assert (note["key"], note["others"]) == (tag.key, [{"country_code": "AT", "party_id": "AAA"}])


async def test_another_type_of_the_same_uid_is_a_conflict_too(w: World) -> None:
    """An id tag has no type: RFID comes before OTHER for one owner, never before who was first."""
    await w.partner("aaa", "AT*AAA")
    await w.token("ALICE", type="OTHER", whitelist="ALWAYS", valid=False)
    later = "2026-02-02T00:00:00.000Z"
    await w.token("ALICE", owner="AT*AAA", holder="aaa@1", whitelist="ALWAYS", known_since=later)
    assert await w.status("ALICE") == ("Invalid", "stored")
    await w.token("ALICE", whitelist="ALWAYS", known_since=later)
    assert await w.status("ALICE") == ("Accepted", "stored")


async def test_a_conflict_that_the_log_knows_is_not_noted_again(w: World) -> None:
    await w.partner("aaa", "AT*AAA")
    await w.token("ALICE", whitelist="ALWAYS", contested_by=["AT*AAA"])
    later = "2026-02-02T00:00:00.000Z"
    await w.token("ALICE", owner="AT*AAA", holder="aaa@1", whitelist="ALWAYS", known_since=later)
    assert await w.status("ALICE") == ("Accepted", "stored")
    assert await w.noted() == []


async def test_the_order_of_a_tenant_comes_before_the_order_of_time(w: World) -> None:
    await w.partner("aaa", "AT*AAA")
    await w.token("ALICE", whitelist="ALWAYS")
    later = "2026-02-02T00:00:00.000Z"
    await w.token("ALICE", owner="AT*AAA", holder="aaa@1", whitelist="ALWAYS", valid=False, known_since=later)
    await w.tenant("demo", Configuration(roaming_owners=("AT*AAA", "NL*EMS")))
    _, here = await w.authorizer.resolve("demo", "CP-1", "ALICE", False)
    _, there = await w.authorizer.resolve("other", "CP-1", "ALICE", False)
    assert (here.status, str(here.owner)) == ("Invalid", "AT*AAA")
    assert (there.status, str(there.owner)) == ("Accepted", "NL*EMS")


async def test_a_token_counts_no_more_once_its_owner_is_another_platform(w: World) -> None:
    await w.token("ALICE", whitelist="ALWAYS", holder="before@1")
    assert await w.status("ALICE") == ("Invalid", "unknown")
    await w.token("BOB", owner="BE*GONE", holder="gone@1", whitelist="ALWAYS")
    assert await w.status("BOB") == ("Invalid", "unknown")


async def test_an_answer_to_the_platform_before_is_not_used_for_the_next_one(w: World) -> None:
    await w.token("ALICE", whitelist="NEVER")
    assert await w.status("ALICE") == ("Accepted", "real_time")
    document: Document = {"parties": ["NL*EMS"], "status": "CONNECTED", "holder": "next@1"}
    await w.store.apply([Remove(HUB, "partners", "ems", 2), Put(HUB, "partners", "next", 1, document)])
    await w.token("ALICE", 2, whitelist="NEVER", holder="next@1")
    w.emsp.answer = None
    there = w.process()
    there._recent.update(w.authorizer._recent)
    _, found = await there.resolve("demo", "CP-1", "ALICE", True)
    assert (found.status, found.source) == ("Invalid", "unavailable")


async def test_an_owner_is_asked_by_the_tenants_party_and_told_the_place(w: World) -> None:
    """Tokens, real-time authorization: the CPO asks, and LocationReferences say where the driver stands."""
    party = TenantParty(country_code="DE", party_id="DEM")
    await w.tenant("demo", Configuration(ocpi=party))
    place: Document = {"location_id": "LOC1", "evses": [{"uid": "E1"}, {"uid": "E2"}]}
    await w.store.apply([Put("ocpp_demo", "charge_points", "CP-1", 1, place)])
    await w.token("ALICE", whitelist="NEVER")
    await w.status("ALICE")
    assert w.emsp.places == [Place(party.id, "LOC1", ("E1", "E2"))]
    assert [note["location_id"] for note in await w.noted()] == ["LOC1"]


async def test_an_owner_that_has_just_asked_for_a_charge_there_is_not_asked_about_its_token(w: World) -> None:
    """Commands, StartSession: no real-time authorization at that charge point within 15 minutes."""
    commanded: Document = {
        "allowed": "ALLOWED",
        "at": "2026-03-01T11:50:00.000Z",
        "authorization_reference": "REF-9",
        "tenant_id": "demo",
        "charge_point_id": "CP-1",
    }
    await w.token("ALICE", whitelist="NEVER", commanded=commanded)
    _, found = await w.authorizer.resolve("demo", "CP-1", "ALICE", False)
    assert (found.status, found.authorization_reference, found.auth_method) == (
        "Accepted",
        "REF-9",
        "COMMAND",
    )
    assert w.emsp.asked == []
    await w.authorizer.resolve("demo", "CP-2", "ALICE", False)
    w.now += timedelta(minutes=6)
    await w.authorizer.resolve("demo", "CP-1", "ALICE", False)
    assert w.emsp.asked == ["ALICE", "ALICE"]


async def test_a_tag_is_referred_to_as_a_start_with_it_will_be_and_nobody_is_asked(w: World) -> None:
    await w.token("APP-1", type="APP_USER", whitelist="NEVER")
    for tag in ("APP-1", "NOBODY"):
        reference = await w.authorizer.refer("demo", tag)
        started, _ = await w.authorizer.resolve("demo", "CP-1", tag, True)
        assert reference.key == started.key


async def test_an_owner_that_says_why_it_does_not_answer_has_not_answered(w: World) -> None:
    w.emsp.answer = NoAnswer.UNKNOWN_TOKEN
    await w.token("ALICE", whitelist="ALLOWED_OFFLINE")
    assert await w.status("ALICE") == ("Accepted", "stored")
    assert await w.noted() == []
