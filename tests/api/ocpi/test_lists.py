"""A partner reads its sessions and CDRs and our tariffs: whose they are, pages, time windows, versions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from commands.base import Area
from commands.directory import ReleaseParties
from commands.partner import Remove
from commands.tariff import PutTariff, put_tariff
from commands.tenant import CreateTenant
from domain.tenant import Configuration, TenantParty
from domain.values import PartyId
from projections.store import HUB, Document, Put
from protocols.ocpi import parse, v2_3_0
from protocols.ocpi.envelope import next_link
from tests.api.ocpi.hub import NOON, Hub, checked, token_header

C = token_header("token-c")
PATH = "/ocpi/2.3.0/sender/sessions"
SESSIONS = f"{PATH}?date_from=2026-01-01T00:00:00Z"


def z(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"


def cdr_token(uid: str = "012345678") -> dict[str, str]:
    return {
        "country_code": "NL",
        "party_id": "TNM",
        "uid": uid,
        "type": "RFID",
        "contract_id": "NL-TNM-C1",
    }


async def keep_session(
    hub: Hub, id: str, at: datetime, owner: str | None = "NL*TNM", status: str = "COMPLETED", **more: Any
) -> None:
    sealed = await hub.vault.seal("some-token", msgspec.json.encode(cdr_token()))
    session: Document = {
        "country_code": "DE",
        "party_id": "DEM",
        "id": id,
        "start_date_time": z(at),
        "kwh": 12.5,
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "charging_periods": [],
        "total_cost": {"before_taxes": 3.1, "taxes": [{"name": "VAT", "amount": 0.62}]},
        "status": status,
        "last_updated": z(at),
    }
    document: Document = {
        "tenant_id": "demo",
        "party": more.pop("party", "DE*DEM"),
        "owner": owner,
        "holder": more.pop("holder", None) or await hub.holder(),
        "status": status,
        "start_date_time": z(at),
        "last_updated": z(at),
        "cdr_token": more.pop("cdr_token", sealed),
        "session": session,
    }
    await hub.store.apply([Put(HUB, "sessions", id, 1, document)])


async def ids(hub: Hub, url: str, **headers: str) -> list[str]:
    return [one["id"] for one in checked(await hub.client.get(url, headers={**C, **headers}))]


async def test_a_partner_sees_the_sessions_of_its_parties_and_no_others(hub: Hub) -> None:
    await hub.connect(parties=("NL*TNM", "BE*TNM"))
    await keep_session(hub, "s1", NOON)
    await keep_session(hub, "s2", NOON, owner="BE*TNM")
    await keep_session(hub, "s3", NOON, owner="FR*OTH")
    await keep_session(hub, "s4", NOON, owner=None)
    assert await ids(hub, SESSIONS) == ["s1", "s2"]


async def test_who_takes_a_party_over_sees_nothing_of_before(hub: Hub) -> None:
    """The party was another platform's, or the same one's in an earlier life: its charges stay where they were."""
    await hub.connect("before", "token-b")
    await keep_session(hub, "s1", NOON, holder=await hub.holder("before"))
    await hub.do(Remove(partner_id="before"))
    await hub.do(ReleaseParties(owner="before"))
    hub.later(60)
    await hub.connect()
    await keep_session(hub, "s2", NOON)
    assert await ids(hub, SESSIONS) == ["s2"]
    await hub.do(Remove(partner_id="tnm"))
    hub.later(60)
    await hub.do(ReleaseParties(owner="tnm"))
    await hub.connect(c="token-d")
    response = await hub.client.get(SESSIONS, headers=token_header("token-d"))
    assert checked(response) == []


async def test_a_session_whose_token_was_not_accepted_is_told_to_nobody(hub: Hub) -> None:
    await hub.connect()
    await keep_session(hub, "s1", NOON, status="INVALID")
    assert await ids(hub, SESSIONS) == []


async def test_the_token_of_a_session_is_opened_for_its_owner(hub: Hub) -> None:
    await hub.connect()
    await keep_session(hub, "s1", NOON)
    (session,) = checked(await hub.client.get(SESSIONS, headers=C))
    assert session["cdr_token"] == cdr_token()
    assert (session["kwh"], session["total_cost"]["before_taxes"]) == (12.5, 3.1)


async def test_erased_personal_data_stays_erased_and_the_session_stays(hub: Hub) -> None:
    await hub.connect()
    await keep_session(hub, "s1", NOON)
    await hub.vault.destroy("some-token")
    (session,) = checked(await hub.client.get(SESSIONS, headers=C))
    assert (session["cdr_token"]["uid"], session["cdr_token"]["party_id"]) == ("#NA", "TNM")


async def test_an_empty_list_is_an_empty_array_with_its_headers(hub: Hub) -> None:
    await hub.connect()
    response = await hub.client.get(SESSIONS, headers=C)
    assert checked(response) == []
    assert (response.headers["X-Total-Count"], response.headers["X-Limit"]) == ("0", "100")
    assert "Link" not in response.headers


async def test_pages_are_followed_by_their_links_in_the_order_of_creation(hub: Hub) -> None:
    await hub.connect()
    for n in (3, 1, 5, 2, 4):
        await keep_session(hub, f"s{n}", NOON + timedelta(minutes=n))
    url: str | None = f"{SESSIONS}&limit=2"
    found: list[list[str]] = []
    while url is not None:
        response = await hub.client.get(url, headers=C)
        found.append([one["id"] for one in checked(response)])
        assert (response.headers["X-Total-Count"], response.headers["X-Limit"]) == ("5", "100")
        url = next_link(response.headers.get("Link"))
        assert url is None or (url.startswith(f"http://hub.test{PATH}?") and "date_from" in url)
    assert found == [["s1", "s2"], ["s3", "s4"], ["s5"]]


async def test_a_limit_above_the_largest_page_is_clamped_and_an_offset_beyond_the_end_is_empty(
    hub: Hub,
) -> None:
    await hub.connect()
    await keep_session(hub, "s1", NOON)
    assert await ids(hub, f"{SESSIONS}&limit=5000") == ["s1"]
    assert await ids(hub, f"{SESSIONS}&offset=7") == []


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "offset=-1", "date_to=yesterday", "after=x"])
async def test_a_bad_filter_is_2001(hub: Hub, query: str) -> None:
    await hub.connect()
    checked(await hub.client.get(f"{SESSIONS}&{query}", headers=C), 200, 2001)


@pytest.mark.parametrize("query", ["", "?limit=1", "?date_to=2026-04-01T00:00:00Z"])
async def test_a_list_of_sessions_without_date_from_is_the_whole_list(hub: Hub, query: str) -> None:
    """The standard requires it of who asks; nothing is gained by refusing who leaves it out."""
    await hub.connect()
    await keep_session(hub, "s1", NOON - timedelta(seconds=1))
    assert await ids(hub, f"{PATH}{query}") == ["s1"]
    checked(await hub.client.get(f"{PATH}?date_from=yesterday", headers=C), 200, 2001)


async def test_date_from_is_inclusive_and_date_to_exclusive_to_the_microsecond(hub: Hub) -> None:
    await hub.connect()
    moments = [NOON, NOON + timedelta(milliseconds=500), NOON + timedelta(seconds=1)]
    for n, moment in enumerate(moments):
        await keep_session(hub, f"s{n}", moment)
    whole, half, next_second = map(z, moments)
    assert sorted(await ids(hub, f"{PATH}?date_from={whole}")) == ["s0", "s1", "s2"]
    assert sorted(await ids(hub, f"{PATH}?date_from={whole}&date_to={next_second}")) == ["s0", "s1"]
    assert await ids(hub, f"{PATH}?date_from={next_second}") == ["s2"]
    assert "s1" in await ids(hub, f"{PATH}?date_from={half}")
    assert await ids(hub, f"{SESSIONS}&date_to={whole}") == []


async def test_a_time_with_an_offset_is_understood_also_where_its_plus_is_not_encoded(hub: Hub) -> None:
    """The standard knows UTC only; peers send offsets all the same, and many do not encode them."""
    await hub.connect()
    await keep_session(hub, "s1", NOON)
    for offset in ("+00:00", "%2B00:00", "+02:00"):
        assert await ids(hub, f"{PATH}?date_from=2026-03-01T12:00:00{offset}") == ["s1"], offset
    assert (
        await ids(hub, f"{PATH}?date_from=2026-03-01T12:00:01+00:00&date_to=2026-03-01T13:00:00+00:00") == []
    )


async def test_a_2_2_1_partner_gets_prices_as_2_2_1_has_them(hub: Hub) -> None:
    await hub.connect(version="2.2.1")
    await keep_session(hub, "s1", NOON)
    (session,) = checked(await hub.client.get(f"{SESSIONS.replace('2.3.0', '2.2.1')}", headers=C))
    assert session["total_cost"] == {"excl_vat": 3.1, "incl_vat": 3.72}


async def keep_tenant(hub: Hub, tenant: str = "demo", party_id: str = "DEM") -> None:
    configuration = Configuration(ocpi=TenantParty(country_code="DE", party_id=party_id))
    await hub.do(CreateTenant(tenant=tenant, name=tenant, configuration=configuration))


async def test_a_list_asked_of_one_party_holds_that_partys_objects(hub: Hub) -> None:
    await hub.connect()
    await keep_tenant(hub)
    await keep_session(hub, "s1", NOON)
    await keep_session(hub, "s2", NOON, party="DE*OTH")
    to = {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "DEM"}
    assert await ids(hub, SESSIONS, **to) == ["s1"]
    response = await hub.client.get(SESSIONS, headers={**C, **to})
    assert response.headers["OCPI-from-party-id"] == "DEM"
    assert response.headers["OCPI-to-party-id"] == "TNM"


async def test_a_partner_reads_its_CDRs(hub: Hub) -> None:
    await hub.connect()
    sealed = await hub.vault.seal("some-token", msgspec.json.encode(cdr_token()))
    for id, owner in (("c1", "NL*TNM"), ("c2", "FR*OTH")):
        cdr: Document = {
            "country_code": "DE",
            "party_id": "DEM",
            "id": id,
            "start_date_time": z(NOON),
            "end_date_time": z(NOON + timedelta(hours=1)),
            "session_id": id,
            "auth_method": "WHITELIST",
            "cdr_location": {
                "id": "LOC1",
                "address": "Hafenstrasse 1",
                "city": "Kiel",
                "country": "DEU",
                "coordinates": {"latitude": "54.32330", "longitude": "10.12280"},
                "evse_uid": "E1",
                "evse_id": "DE*DEM*E1",
                "connector_id": "1",
                "connector_standard": "IEC_62196_T2",
                "connector_format": "SOCKET",
                "connector_power_type": "AC_3_PHASE",
            },
            "currency": "EUR",
            "charging_periods": [
                {"start_date_time": z(NOON), "dimensions": [{"type": "ENERGY", "volume": 12.5}]}
            ],
            "total_cost": {"before_taxes": 3.1},
            "total_energy": 12.5,
            "total_time": 1,
            "last_updated": z(NOON),
        }
        document: Document = {
            "owner": owner,
            "holder": await hub.holder(),
            "party": "DE*DEM",
            "tenant_id": "demo",
            "last_updated": z(NOON),
            "cdr_token": sealed,
            "cdr": cdr,
        }
        await hub.store.apply([Put(HUB, "cdrs", id, 6, document)])
    (found,) = checked(await hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=C))
    assert (found["id"], found["cdr_token"], found["total_energy"]) == ("c1", cdr_token(), 12.5)
    (older,) = checked(await hub.client.get("/ocpi/2.2.1/sender/cdrs", headers=C))
    assert older["total_cost"] == {"excl_vat": 3.1}


def tariff(
    id: str,
    party_id: str = "DEM",
    tenant: str = "demo",
    at: datetime = datetime(2026, 3, 1, 11, tzinfo=UTC),
    **changes: Any,
) -> PutTariff:
    body = {
        "country_code": "DE",
        "party_id": party_id,
        "id": id,
        "currency": "EUR",
        "elements": [{"price_components": [{"type": "ENERGY", "price": 0.25, "vat": 19, "step_size": 1}]}],
        "tax_included": "NO",
        "last_updated": z(at),
        **changes,
    }
    return put_tariff(parse(v2_3_0.Tariff, msgspec.json.encode(body)), tenant)


async def test_a_partner_reads_the_tariffs_of_our_tenants(hub: Hub) -> None:
    await hub.connect()
    await keep_tenant(hub)
    await keep_tenant(hub, "acme", "ACM")
    for command in (tariff("T2"), tariff("T1", "ACM", "acme")):
        await hub.do(command)
        hub.later(1)
    assert await ids(hub, "/ocpi/2.3.0/sender/tariffs") == ["T2", "T1"]
    to = {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "ACM"}
    assert await ids(hub, "/ocpi/2.3.0/sender/tariffs", **to) == ["T1"]
    older = checked(await hub.client.get("/ocpi/2.2.1/sender/tariffs", headers=C))
    assert "tax_included" not in older[0]
    assert older[0]["elements"][0]["price_components"][0]["price"] == 0.25


async def test_a_list_counts_what_its_version_can_say_and_a_gross_tariff_is_one_of_these(hub: Hub) -> None:
    """A tariff for bookings alone has no place in 2.2.1; a price with taxes in it has."""
    await hub.connect()
    await keep_tenant(hub)
    gross = [{"price_components": [{"type": "ENERGY", "price": 0.3, "vat": 21, "step_size": 1}]}]
    fee = {"type": "FLAT", "price": 5, "step_size": 1}
    booking = [{"price_components": [fee], "restrictions": {"booking": "BOOKING"}}]
    await hub.do(tariff("GROSS", elements=gross, tax_included="YES"))
    hub.later(1)
    await hub.do(tariff("BOOKING", elements=booking))
    newer = await hub.client.get("/ocpi/2.3.0/sender/tariffs", headers=C)
    older = await hub.client.get("/ocpi/2.2.1/sender/tariffs", headers=C)
    assert [one["id"] for one in checked(newer)] == ["GROSS", "BOOKING"]
    (listed,) = checked(older)
    assert listed["elements"][0]["price_components"][0]["price"] == 0.2479
    assert (newer.headers["X-Total-Count"], older.headers["X-Total-Count"]) == ("2", "1")


async def test_the_owner_of_a_tariff_is_the_party_that_put_it() -> None:
    assert tariff("T1").owner == PartyId(country_code="DE", party_id="DEM")


async def test_a_list_ends_at_the_time_up_to_which_everything_can_be_read(hub: Hub) -> None:
    """The next pull from the newest last_updated then misses nothing, whatever is projected meanwhile."""
    await hub.connect()
    await keep_session(hub, "s1", NOON - timedelta(seconds=10))
    await keep_session(hub, "s3", NOON - timedelta(seconds=2))
    hub.readable.until = NOON - timedelta(seconds=4)
    assert await ids(hub, SESSIONS) == ["s1"]
    assert await ids(hub, f"{SESSIONS}&date_to={z(NOON + timedelta(days=1))}") == ["s1"]
    # Received before s3, and projected after it.
    await keep_session(hub, "s2", NOON - timedelta(seconds=5))
    hub.readable.until = NOON
    assert await ids(hub, f"{PATH}?date_from={z(NOON - timedelta(seconds=10))}") == ["s1", "s2", "s3"]


async def test_a_list_is_waited_for_until_the_time_of_its_request_and_not_beyond_its_end(hub: Hub) -> None:
    """Who pulls from the time of its last pull misses nothing either; what is long past is not waited for."""
    await hub.connect()
    await ids(hub, SESSIONS)
    await ids(hub, f"{SESSIONS}&date_to=2026-02-01T00:00:00Z")
    await ids(hub, "/ocpi/2.3.0/sender/tariffs?date_from=2026-02-01T00:00:00Z")
    assert hub.readable.waited == [
        (Area.SESSION, NOON),
        (Area.SESSION, datetime(2026, 2, 1, tzinfo=UTC)),
        (Area.PARTY, NOON),
    ]


async def test_a_list_of_read_models_that_were_replaced_meanwhile_is_read_again(hub: Hub) -> None:
    """What was known of its end was true of those that were there before."""
    await hub.connect()
    hub.readable.replaced = [False, True]
    await ids(hub, SESSIONS)
    assert hub.readable.waited == [(Area.SESSION, NOON)] * 2


async def test_a_list_without_times_is_whole_and_waits_for_nothing(hub: Hub) -> None:
    await hub.connect()
    hub.readable.until = None
    assert await ids(hub, "/ocpi/2.3.0/sender/cdrs") == []
    assert hub.readable.waited == []


async def test_while_it_is_not_known_what_can_be_read_a_list_by_time_is_HTTP_503(hub: Hub) -> None:
    await hub.connect()
    hub.readable.until = None
    response = await hub.client.get(SESSIONS, headers=C)
    checked(response, 503, 3000)
    assert int(response.headers["Retry-After"]) >= 1


async def test_an_object_that_changes_between_two_pages_hides_no_other_one(hub: Hub) -> None:
    """It leaves the window, to come with the next pull; those behind it stay where the Links lead."""
    await hub.connect()
    hub.readable.until = NOON
    for n in range(1, 8):
        await keep_session(hub, f"s{n}", NOON - timedelta(minutes=10 - n))
    first = await hub.client.get(f"{SESSIONS}&limit=2", headers=C)
    for n in (1, 2):
        await hub.store.apply([_changed(await _kept(hub, f"s{n}"), NOON + timedelta(seconds=1))])
    hub.readable.until = NOON + timedelta(minutes=1)
    found, url = checked(first), next_link(first.headers["Link"])
    while url is not None:
        response = await hub.client.get(url, headers=C)
        found += checked(response)
        url = next_link(response.headers.get("Link"))
    assert [one["id"] for one in found] == [f"s{n}" for n in range(1, 8)]
    assert await ids(hub, f"{PATH}?date_from={z(NOON)}") == ["s1", "s2"]


async def test_pages_by_offsets_of_the_partners_own_are_served_too(hub: Hub) -> None:
    await hub.connect()
    for n in range(1, 6):
        await keep_session(hub, f"s{n}", NOON + timedelta(minutes=n))
    response = await hub.client.get(f"{SESSIONS}&limit=2&offset=2", headers=C)
    assert [one["id"] for one in checked(response)] == ["s3", "s4"]
    following = next_link(response.headers["Link"])
    assert following is not None and await ids(hub, following) == ["s5"]
    assert await ids(hub, f"{SESSIONS}&limit=2&offset=4") == ["s5"]


async def _kept(hub: Hub, id: str) -> Document:
    document = await hub.store.get(HUB, "sessions", id)
    assert document is not None
    return document


def _changed(document: Document, at: datetime) -> Put:
    """A later version, last updated at this time."""
    body = {name: value for name, value in document.items() if name not in ("_id", "version")}
    session = {**document["session"], "last_updated": z(at)}  # type: ignore[dict-item]
    return Put(HUB, "sessions", str(document["_id"]), 2, {**body, "last_updated": z(at), "session": session})
