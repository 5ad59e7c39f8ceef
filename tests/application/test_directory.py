"""Tenants, charge points and tariffs out of the read models, also while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from application.directory import StoreDirectory, StoreTariffs
from application.ports import DirectoryUnavailableError, RegisteredChargePoint, Tenant
from commands.base import Meta
from domain.charge_point import ChargePointConnected, ChargePointRegistered, CredentialsSet
from domain.location import location_key
from domain.tariff import TariffPut as PutTariff
from domain.tenant import Configuration, TenantCreated, TenantParty
from domain.values import Coordinates, PartyId, Site
from projections import charge_point, tariff, tenant
from projections.store import HUB, Document, Put, Query, Remove, StoreUnavailableError
from projections.store.sqlite import SqliteReadStore
from tests.gateway.ocpp.fakes import EVSES, NOON, SITE

HUB_PARTY = PartyId(country_code="DE", party_id="HUB")
PARTY = TenantParty(country_code="DE", party_id="ABC")
META = Meta(command_id="x", at=NOON)


class Away(SqliteReadStore):
    """A store that can go away and counts what it is asked; there `get` is a `get_many` of one."""

    away = False
    hangs = False
    asked = 0

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        await self._read_or_not()
        return await super().get_many(db, collection, ids)

    async def count(self, query: Query) -> int:
        await self._read_or_not()
        return await super().count(query)

    async def _read_or_not(self) -> None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise StoreUnavailableError("sqlite", "gone for a test")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Away]:
    made = Away(tmp_path / "read")
    yield made
    await made.close()


async def put_tenant(store: Away, id: str = "demo", version: int = 3, **values: object) -> None:
    created = TenantCreated(
        originator_id=f"tenant|{id}",
        originator_version=1,
        timestamp=NOON,
        tenant=id,
        name=id,
        configuration=Configuration(**values),  # type: ignore[arg-type]
    )
    document = tenant.evolve(None, created, META)
    assert document is not None
    await store.apply([Put(HUB, "tenants", id, version, document)])


async def put_charge_point(
    store: Away,
    id: str = "CP-1",
    stored: str | None = "scrypt$x",
    tenant_id: str = "demo",
    seconds: float = 0,
    automatic: bool = False,
) -> None:
    registered = ChargePointRegistered(
        originator_id=f"charge_point|{tenant_id}|{id}",
        originator_version=1,
        timestamp=NOON + timedelta(seconds=seconds),
        tenant=tenant_id,
        automatic=automatic,
        charge_point_id=id,
        site=SITE,
        evses=EVSES,
    )
    document = charge_point.evolve(None, registered, META)
    assert document is not None
    await store.apply([Put(f"ocpp_{tenant_id}", "charge_points", id, 1, document)])
    if stored is not None:
        event = CredentialsSet(
            originator_id=registered.originator_id,
            originator_version=2,
            timestamp=NOON,
            password_hash=stored,
        )
        await store.apply(charge_point.credentials(event, META))


async def test_a_tenant_has_the_settings_of_its_configuration_and_revision(store: Away) -> None:
    await put_tenant(
        store,
        ocpi=PARTY,
        currency="CHF",
        validation="strict",
        auto_register=True,
        default_location=SITE,
        ocpp_rate_limit=7,
        default_tariff_id="T1",
        heartbeat_interval=60,
    )
    found = await StoreDirectory(store, HUB_PARTY).tenant("demo")
    assert isinstance(found, Tenant)
    assert (found.settings.revision, found.settings.party, found.settings.currency) == (3, PARTY.id, "CHF")
    assert (found.lenient, found.auto_register, found.default_location) == (False, True, SITE)
    assert (found.messages_per_second, found.default_tariff_id, found.call_timeout) == (7.0, "T1", 30.0)
    assert found.heartbeat_interval == 60


async def test_a_tenant_that_is_no_party_charges_under_the_hubs(store: Away) -> None:
    await put_tenant(store)
    found = await StoreDirectory(store, HUB_PARTY).tenant("demo")
    assert found is not None
    assert (found.settings.party, found.lenient, found.active) == (HUB_PARTY, True, True)


async def whose(store: Away, *ids: str) -> list[list[str]]:
    directory = StoreDirectory(store, HUB_PARTY)
    return [[tenant.id for tenant in await directory.tenants_of(id)] for id in ids]


async def test_an_id_that_nobody_knows_is_found_by_its_prefix(store: Away) -> None:
    await put_tenant(store, "plain")
    await put_tenant(store, "a", id_prefix="AC-")
    await put_tenant(store, "b", id_prefix="ACME-")
    assert await whose(store, "ACME-1", "AC-1", "X-1", "ACME") == [["b"], ["a"], [], []]


async def test_a_charge_point_that_is_registered_stays_there_whatever_the_prefixes_are(store: Away) -> None:
    await put_tenant(store, "acme")
    await put_tenant(store, "evil", id_prefix="TA-1")
    await put_charge_point(store, "TA-1", tenant_id="acme")
    assert await whose(store, "TA-1", "TA-10") == [["acme"], ["evil"]]


async def test_of_two_tenants_that_know_an_id_nothing_says_which(store: Away) -> None:
    await put_tenant(store, "acme")
    await put_tenant(store, "other")
    for tenant_id in ("acme", "other"):
        await put_charge_point(store, "TA-1", tenant_id=tenant_id)
    assert sorted((await whose(store, "TA-1"))[0]) == ["acme", "other"]


@pytest.mark.parametrize(("first", "found"), [("acme", ["acme"]), ("evil", ["acme", "evil"])])
async def test_who_registers_an_id_of_anothers_prefix_keeps_nobody_away(
    store: Away, first: str, found: list[str]
) -> None:
    await put_tenant(store, "acme", id_prefix="TA-")
    await put_tenant(store, "evil")
    for seconds, tenant_id in enumerate((first, *({"acme", "evil"} - {first}))):
        await put_charge_point(store, "TA-1", tenant_id=tenant_id, seconds=seconds)
    assert sorted((await whose(store, "TA-1"))[0]) == found


async def test_a_charge_point_comes_with_its_password_hash_and_its_evses(store: Away) -> None:
    await put_charge_point(store)
    found = await StoreDirectory(store, HUB_PARTY).charge_point("demo", "CP-1")
    assert found == RegisteredChargePoint(
        charge_point_id="CP-1", password_hash="scrypt$x", evses=EVSES, new=True
    )


async def test_a_charge_point_is_new_until_it_was_connected(store: Away) -> None:
    await put_charge_point(store)
    document = await store.get("ocpp_demo", "charge_points", "CP-1")
    connected = ChargePointConnected(
        originator_id="charge_point|demo|CP-1",
        originator_version=3,
        timestamp=NOON,
        node="n",
        slot=1,
        boot="b",
    )
    known = charge_point.evolve(document, connected, META)
    assert known is not None
    await store.apply([Put("ocpp_demo", "charge_points", "CP-1", 3, known)])
    found = await StoreDirectory(store, HUB_PARTY).charge_point("demo", "CP-1")
    assert found is not None and not found.new


async def test_a_charge_point_whose_credentials_are_not_there_yet_is_not_let_in(store: Away) -> None:
    await put_charge_point(store, stored=None)
    assert await StoreDirectory(store, HUB_PARTY).charge_point("demo", "CP-1") is None


async def test_what_was_read_before_serves_while_the_store_is_away(store: Away) -> None:
    await put_tenant(store)
    await put_charge_point(store)
    directory = StoreDirectory(store, HUB_PARTY)
    directory._charge_points._ttl = directory._tenants._ttl = 0.0
    before = (await directory.tenant("demo"), await directory.charge_point("demo", "CP-1"))
    store.away = True
    assert (await directory.tenant("demo"), await directory.charge_point("demo", "CP-1")) == before
    with pytest.raises(DirectoryUnavailableError):
        await directory.charge_point("demo", "CP-2")


async def test_a_store_that_hangs_delays_nobody_whose_answer_was_known(store: Away) -> None:
    await put_tenant(store)
    directory = StoreDirectory(store, HUB_PARTY)
    directory._tenants._ttl = 0.0
    before = await directory.tenant("demo")
    store.hangs = True
    async with asyncio.timeout(2):
        assert await directory.tenant("demo") == before
    store.hangs = False


async def test_ten_who_ask_at_once_are_one_read_and_lately_read_is_not_read_again(store: Away) -> None:
    await put_tenant(store)
    directory = StoreDirectory(store, HUB_PARTY)
    await asyncio.gather(*(directory.tenant("demo") for _ in range(10)))
    await directory.tenant("demo")
    assert store.asked == 1


async def test_many_names_of_tenants_that_do_not_exist_are_read_together(store: Away) -> None:
    directory = StoreDirectory(store, HUB_PARTY)
    found = await asyncio.gather(*(directory.tenant(f"t-{number}") for number in range(100)))
    assert (set(found), store.asked) == ({None}, 1)


async def test_a_herd_is_read_together(store: Away) -> None:
    for number in range(3):
        await put_charge_point(store, f"CP-{number}")
    directory = StoreDirectory(store, HUB_PARTY)
    found = await asyncio.gather(*(directory.charge_point("demo", f"CP-{n}") for n in range(100)))
    assert [one.charge_point_id for one in found if one] == ["CP-0", "CP-1", "CP-2"]
    assert store.asked == 3  # charge points, their credentials, their Locations


async def test_what_this_process_did_is_believed_before_the_read_models_show_it(store: Away) -> None:
    await put_charge_point(store)
    directory = StoreDirectory(store, HUB_PARTY)
    changed = RegisteredChargePoint(charge_point_id="CP-1", password_hash="scrypt$new")
    reading = asyncio.create_task(directory.charge_point("demo", "CP-1"))
    await asyncio.sleep(0)
    directory.learn("demo", changed)
    await reading
    assert await directory.charge_point("demo", "CP-1") == changed


async def test_a_removed_charge_point_is_soon_unknown(store: Away) -> None:
    await put_charge_point(store)
    directory = StoreDirectory(store, HUB_PARTY)
    directory._charge_points._ttl = 0.0
    assert await directory.charge_point("demo", "CP-1") is not None
    await store.apply([Remove("ocpp_demo", "charge_points", "CP-1", 5)])
    assert await directory.charge_point("demo", "CP-1") is None


async def test_tariffs_are_the_tenants_own_as_they_are_now(store: Away) -> None:
    await put_tenant(store, ocpi=PARTY)
    body = {"id": "T1", "currency": "EUR", "elements": [], "last_updated": "2026-03-01T12:00:00Z"}
    event = msgspec.convert(
        {
            "type": "tariff.put.v1",
            "aggregate": "tariff|DE*ABC|t1",
            "version": 1,
            "received_at": NOON,
            "owner": {"country_code": "DE", "party_id": "ABC"},
            "tenant": "demo",
            "tariff": body,
        },
        PutTariff,
    )
    document = tariff.evolve(None, event, META)
    assert document is not None
    await store.apply([Put(HUB, "tariffs", tariff.tariff_document_id(PARTY.id, "T1"), 1, document)])
    tariffs = StoreTariffs(store, StoreDirectory(store, HUB_PARTY))
    assert await tariffs.snapshot("demo", ["T1", "none"]) == [body]
    assert await tariffs.snapshot("nobody", ["T1"]) == []
    before = {**document, "tenant_id": None, "holder": "cpo@1"}  # of a partner that spoke for the party
    await store.apply([Put(HUB, "tariffs", tariff.tariff_document_id(PARTY.id, "T3"), 1, before)])
    assert await tariffs.snapshot("demo", ["T3"]) == []
    store.away = True
    assert await tariffs.snapshot("demo", ["T1", "T2"]) == [body]


async def test_the_connections_of_a_node_are_found_in_every_tenant(store: Away) -> None:
    await put_tenant(store)
    await put_tenant(store, "other")
    for id, node in (("CP-1", "gw-1"), ("CP-2", "gw-2"), ("CP-3", "")):
        document: Document = {
            "connected": bool(node),
            "connection": None,
            "created_at": "2026-03-01T12:00:00Z",
        }
        if node:
            document["connection"] = {"node": node, "epoch": 7}
        await store.apply([Put("ocpp_demo", "charge_points", id, 1, document)])
    found = [one async for one in StoreDirectory(store, HUB_PARTY).connected_on("gw-1")]
    assert found == [("demo", "CP-1", 7)]


async def test_a_charge_point_stands_where_the_master_data_of_its_location_say(store: Away) -> None:
    await put_tenant(store)
    await put_charge_point(store)
    directory = StoreDirectory(store, HUB_PARTY)
    unmanaged = await directory.charge_point("demo", "CP-1")
    assert unmanaged is not None
    assert unmanaged.site is None
    master: Document = {
        "id": SITE.id,
        "publish": True,
        "name": "Yard",
        "address": "Kai 1",
        "city": "Kiel",
        "country": "DEU",
        "coordinates": {"latitude": "54.32000", "longitude": "10.13000"},
        "time_zone": "Europe/Berlin",
        "facilities": ["CAFE"],
    }
    managed: Document = {"location": master, "removed": False}
    await store.apply([Put(HUB, "locations", location_key(None, "demo", SITE.id), 1, managed)])
    listed = await StoreDirectory(store, HUB_PARTY).charge_point("demo", "CP-1")
    assert listed is not None
    assert listed.site == Site(
        id=SITE.id,
        name="Yard",
        address="Kai 1",
        city="Kiel",
        country="DEU",
        coordinates=Coordinates(latitude="54.32000", longitude="10.13000"),
        time_zone="Europe/Berlin",
    )
    await store.apply(
        [Put(HUB, "locations", location_key(None, "demo", SITE.id), 2, {**managed, "removed": True})]
    )
    alone = await StoreDirectory(store, HUB_PARTY).charge_point("demo", "CP-1")
    assert alone is not None
    assert alone.site is None
