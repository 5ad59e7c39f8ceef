"""The search for a place to charge."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from api.problems import ProblemError
from api.v1.locations import _decoded, _plain
from application.read_back import wait_visible
from commands.base import Meta
from commands.location import PatchLocation, PutLocation
from domain.aggregate import Event
from domain.charge_point import ChargePointRegistered, StatusReported, charge_point_key
from domain.location import location_key
from domain.values import Connector, Coordinates, Evse, PartyId, Site
from projections import location, placement
from projections.placement import PLACEMENTS
from projections.store import HUB
from tests.api.v1.world import NOW, World, problem

BERLIN = "latitude=52.52&longitude=13.405"


def evse(uid: str, standard: str, power_type: str, volts: int, amperes: int) -> Evse:
    connector = Connector(
        id="1",
        standard=standard,
        format="CABLE",
        power_type=power_type,
        max_voltage=volts,
        max_amperage=amperes,
    )
    return Evse(uid=uid, connectors=(connector,))


AC = evse("A", "IEC_62196_T2", "AC_3_PHASE", 230, 32)
DC = evse("D", "IEC_62196_T2_COMBO", "DC", 500, 300)


async def stands(
    world: World, id: str, tenant: str, site: str, longitude: str, *evses: tuple[Evse, str]
) -> None:
    """A charge point and what its connectors say."""
    place = Site(
        id=site,
        address="A 1",
        city="Berlin",
        country="DEU",
        coordinates=Coordinates(latitude="52.52000", longitude=longitude),
    )
    common: dict[str, Any] = {"originator_id": charge_point_key(tenant, id), "timestamp": NOW}
    charger = tuple(evse for evse, _ in evses)
    events: list[Event] = [
        ChargePointRegistered(
            **common, originator_version=1, tenant=tenant, charge_point_id=id, site=place, evses=charger
        )
    ]
    for number, (_, status) in enumerate(evses, 1):
        events.append(
            StatusReported(**common, originator_version=1 + number, connector_id=number, status=status)
        )
    meta = Meta(command_id="c", at=NOW, tenant=tenant)
    await world.store.apply([write for event in events for write in PLACEMENTS.writes(event, meta)])


@pytest.fixture
async def places(world: World) -> World:
    """`near` is 0.7 km and `far` 3.4 km from the point; `foreign` belongs to acme. At `near` stand two."""
    await world.store.ensure((*location.indexes(), *placement.indexes()))
    await stands(world, "CP1", "demo", "near", "13.415", (AC, "Available"))
    await stands(world, "CP2", "demo", "near", "13.415", (DC, "Charging"))
    await stands(world, "CP3", "demo", "far", "13.455", (DC, "Charging"))
    await stands(world, "CP4", "acme", "foreign", "13.406", (AC, "Available"))
    return world


async def found(world: World, query: str, role: str = "viewer") -> list[tuple[str, list[str]]]:
    response = await world.call("GET", f"/locations/search?{query}", role=role)
    assert response.status_code == 200, response.text
    items = response.json()["items"]
    return [(i["location"]["id"], [e["uid"] for e in i["location"]["evses"]]) for i in items]


async def test_the_nearest_comes_first_and_other_tenants_places_do_not(places: World) -> None:
    assert await found(places, BERLIN) == [("near", ["A", "D"]), ("far", ["D"])]
    assert await found(places, f"{BERLIN}&radius=1000") == [("near", ["A", "D"])]
    assert await found(places, f"{BERLIN}&limit=1", "platform_admin") == [("foreign", ["A"])]


async def test_the_distance_is_in_metres(places: World) -> None:
    response = await places.call("GET", f"/locations/search?{BERLIN}&radius=1000")

    [item] = response.json()["items"]
    assert item["distance_m"] == pytest.approx(678, abs=3)


async def test_a_place_names_the_party_of_its_tenant(places: World) -> None:
    response = await places.call("GET", f"/locations/search?{BERLIN}&radius=1000")

    [item] = response.json()["items"]
    location = item["location"]
    assert (location["country_code"], location["party_id"], location["id"]) == ("DE", "DEM", "near")
    assert [one["status"] for one in location["evses"]] == ["AVAILABLE", "CHARGING"]


async def test_places_are_found_by_standard_power_and_availability_now(places: World) -> None:
    assert await found(places, f"{BERLIN}&standard=IEC_62196_T2") == [("near", ["A"])]
    assert await found(places, f"{BERLIN}&min_power=22081") == [("near", ["D"]), ("far", ["D"])]
    assert await found(places, f"{BERLIN}&min_power=22080&available=true") == [("near", ["A"])]
    assert await found(places, f"{BERLIN}&standard=CHADEMO") == []


@pytest.mark.parametrize(
    "query",
    ["latitude=91&longitude=0", "latitude=1", f"{BERLIN}&standard=SCHUKO", f"{BERLIN}&min_power={2**63}"],
)
async def test_a_search_that_cannot_be_is_422(places: World, query: str) -> None:
    assert (await places.call("GET", f"/locations/search?{query}")).status_code == 422


MASTER: dict[str, Any] = {
    "publish": True,
    "name": "Yard",
    "address": "Kai 1",
    "city": "Kiel",
    "postal_code": "24103",
    "state": "SH",
    "country": "DEU",
    "coordinates": {"latitude": "54.32000", "longitude": "10.13000"},
    "related_locations": [
        {"latitude": "54.32100", "longitude": "10.13100", "name": {"language": "en", "text": "Gate"}}
    ],
    "parking_type": "PARKING_LOT",
    "directions": [{"language": "en", "text": "Behind the gate"}],
    "operator": {"name": "Yard Ltd", "website": "https://yard.example"},
    "suboperator": {"name": "Guards"},
    "owner": {"name": "Port"},
    "facilities": ["CAFE", "WIFI"],
    "time_zone": "Europe/Berlin",
    "opening_times": {
        "twentyfourseven": False,
        "regular_hours": [{"weekday": 1, "period_begin": "08:00", "period_end": "20:00"}],
    },
    "charging_when_closed": False,
    "images": [{"url": "https://yard.example/1.png", "category": "ENTRANCE", "type": "png"}],
    "energy_mix": {"is_green_energy": True, "supplier_name": "Wind"},
    "parking_places": [
        {
            "id": "P1",
            "vehicle_types": ["PERSONAL_VEHICLE"],
            "restricted_to_type": False,
            "reservation_required": False,
        }
    ],
    "help_phone": "+49 431 1",
}
HERE = "latitude=54.32&longitude=10.13"


@pytest.fixture
async def demo(real: World) -> World:
    """With the tenant demo, whose party is DE*DEM."""
    body = {
        "id": "demo",
        "name": "Demo",
        "configuration": {"ocpi": {"country_code": "DE", "party_id": "DEM"}},
    }
    assert (await real.call("POST", "/tenants", body, role="platform_admin")).status_code == 201
    return real


CONNECTOR: dict[str, Any] = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "SOCKET",
    "power_type": "AC_3_PHASE",
    "max_voltage": 230,
    "max_amperage": 32,
}


async def registered(world: World, id: str, location: dict[str, Any]) -> None:
    evses = [{"uid": f"{id}-1", "connectors": [CONNECTOR]}]
    body = {"id": id, "location": location, "evses": evses}
    assert (await world.call("POST", "/chargepoints", body)).status_code == 201


SAID: dict[str, Any] = {
    "id": "yard",
    "name": "Said",
    "address": "Weg 9",
    "city": "Kiel",
    "country": "DEU",
    "coordinates": {"latitude": "54.40000", "longitude": "10.40000"},
}


async def test_master_data_are_kept_read_changed_and_taken_away(demo: World) -> None:
    made = await demo.call("POST", "/locations", {"id": "YARD", **MASTER}, role="operator")
    assert (made.status_code, made.headers["Location"]) == (201, "/api/v1/locations/YARD")
    assert {name: made.json()[name] for name in MASTER} == MASTER
    assert (made.json()["party_id"], made.json()["evses"], made.json()["managed"]) == ("DEM", [], True)
    assert (await demo.call("POST", "/locations", {"id": "yard", **MASTER})).status_code == 409

    changed = await demo.call("PATCH", "/locations/yard", {"name": None, "city": "Kiel-Ost"})
    assert changed.status_code == 200, changed.text
    assert ("name" not in changed.json(), changed.json()["city"]) == (True, "Kiel-Ost")
    assert changed.json()["opening_times"] == MASTER["opening_times"]

    replaced = await demo.call("PUT", "/locations/YARD", MASTER)
    assert (replaced.status_code, replaced.json()["name"]) == (200, "Yard")
    assert (await demo.call("GET", "/locations/yard")).json() == replaced.json()
    assert (await demo.call("GET", "/locations")).json()["items"] == [replaced.json()]

    assert (await demo.call("DELETE", "/locations/YARD")).status_code == 204
    assert (await demo.call("GET", "/locations/YARD")).status_code == 404
    assert (await demo.call("GET", "/locations")).json()["items"] == []
    assert (await demo.call("DELETE", "/locations/YARD")).status_code == 404
    assert (await demo.call("PATCH", "/locations/YARD", {"name": "x"})).status_code == 404
    assert (await demo.call("PUT", "/locations/YARD", MASTER)).status_code == 201


async def test_master_data_win_over_what_a_charge_point_says_of_its_site(demo: World) -> None:
    await registered(demo, "CP1", SAID)
    async with asyncio.timeout(10):
        while not (items := (await demo.call("GET", "/locations")).json()["items"]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    [said] = items
    assert (said["name"], said["address"], said["managed"]) == ("Said", "Weg 9", False)
    assert (said["publish"], [one["uid"] for one in said["evses"]]) == (True, ["CP1-1"])

    managed = (await demo.call("PUT", "/locations/YARD", MASTER)).json()
    assert (managed["name"], managed["managed"]) == ("Yard", True)
    assert [one["uid"] for one in managed["evses"]] == ["CP1-1"]
    [found] = (await demo.call("GET", f"/locations/search?{HERE}&radius=100")).json()["items"]
    assert (found["distance_m"], found["location"]["name"]) == (0, "Yard")
    assert (await demo.call("GET", "/locations/search?latitude=54.4&longitude=10.4")).json()["items"] == []

    assert (await demo.call("DELETE", "/locations/yard")).status_code == 204
    assert (await demo.call("GET", "/locations/yard")).json()["name"] == "Said"

    assert (await demo.call("DELETE", "/chargepoints/CP1")).status_code == 204
    async with asyncio.timeout(10):
        while (await demo.call("GET", "/locations")).json()["items"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await demo.call("GET", "/locations/yard")).status_code == 404


async def test_a_tenant_neither_sees_nor_changes_anothers_locations(demo: World) -> None:
    acme = {"id": "acme", "name": "Acme"}
    assert (await demo.call("POST", "/tenants", acme, role="platform_admin")).status_code == 201
    assert (await demo.call("PUT", "/locations/YARD", MASTER)).status_code == 201
    assert (await demo.call("GET", "/locations", tenant="acme")).json()["items"] == []
    assert (await demo.call("GET", "/locations/YARD", tenant="acme")).status_code == 404
    assert (await demo.call("DELETE", "/locations/YARD", tenant="acme")).status_code == 404
    other = await demo.call("PUT", "/locations/YARD", {**MASTER, "name": "Acme"}, tenant="acme")
    assert (other.status_code, "party_id" in other.json()) == (201, False)
    assert (await demo.call("GET", "/locations/YARD")).json()["name"] == "Yard"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"coordinates": {"latitude": "north", "longitude": "10.13000"}}, "coordinates.latitude"),
    ({"time_zone": "Europe/Kiel"}, "time_zone"),
    ({"time_zone": ["Europe/Berlin"]}, "time_zone"),
    ({"x_wide": 2**63}, "body"),
    ({"evses": []}, "evses"),
    ({"party_id": "DEM"}, "party_id"),
    ({"address": None}, "address"),
    ({"help_phone": "1" * 26}, "help_phone"),
    ({"opening_times": {"twentyfourseven": False}}, "opening_times"),
    ({"publish_allowed_to": [{"group_id": "G"}]}, "publish_allowed_to"),
    ({"id": "other"}, "id"),
]


@pytest.mark.parametrize(("wrong", "path"), WRONG)
async def test_what_ocpi_would_not_take_is_refused_by_its_path(
    world: World, wrong: dict[str, Any], path: str
) -> None:
    response = await world.call("PUT", "/locations/YARD", {**MASTER, **wrong})
    assert response.status_code == 422, response.text
    [error] = msgspec.convert(problem(response)["errors"], list[dict[str, str]])
    assert error["path"] == path
    assert world.bus.asked == []


async def test_the_search_finds_what_partners_push_to_all_or_to_the_tenants_party(demo: World) -> None:
    body = {
        "id": "cpo",
        "name": "CPO",
        "roles": [{"role": "CPO", "country_code": "NL", "party_id": "CPO"}],
    }
    assert (await demo.call("POST", "/partners", body, role="platform_admin")).status_code == 201
    partner = await demo.store.get(HUB, "partners", "cpo")
    assert partner is not None
    cpo, us = (PartyId(country_code=code, party_id=id) for code, id in (("NL", "CPO"), ("DE", "DEM")))
    connector = {**CONNECTOR, "last_updated": "2026-05-01T12:00:00Z"}
    evse = {"uid": "F", "status": "AVAILABLE", "connectors": [connector]}
    for number, audience in enumerate((None, us, cpo)):
        whole = {
            **{name: MASTER[name] for name in ("publish", "address", "city", "country", "coordinates")},
            "country_code": "NL",
            "party_id": "CPO",
            "id": f"F{number}",
            "time_zone": "Europe/Berlin",
            "evses": [{**evse, "last_updated": "2026-05-01T12:00:00Z"}],
            "last_updated": "2026-05-01T12:00:00Z",
        }
        command = PutLocation(
            owner=cpo,
            audience=audience,
            holder=str(partner["holder"]),
            location_id=f"F{number}",
            location=whole,
        )
        reply = await demo.services.bus.ask(command, Meta(command_id=f"push-{number}", at=NOW))
        key = location_key(cpo, "", f"F{number}", audience)
        await wait_visible(demo.store, HUB, "locations", key, reply.version, patience=10)
    near = await demo.call("GET", f"/locations/search?{HERE}&radius=100&available=true&min_power=22000")
    assert sorted(one["location"]["id"] for one in near.json()["items"]) == ["F0", "F1"]
    far = await demo.call("GET", f"/locations/search?{HERE}&radius=100&standard=CHADEMO")
    assert far.json()["items"] == []
    withdrawn = PatchLocation(
        owner=cpo,
        holder=str(partner["holder"]),
        location_id="F0",
        patch={"publish": False, "last_updated": "2026-05-01T12:00:01Z"},
    )
    reply = await demo.services.bus.ask(withdrawn, Meta(command_id="withdraw", at=NOW))
    await wait_visible(demo.store, HUB, "locations", location_key(cpo, "", "F0"), reply.version, patience=10)
    near = await demo.call("GET", f"/locations/search?{HERE}&radius=100")
    assert [one["location"]["id"] for one in near.json()["items"]] == ["F1"]


def test_a_number_that_nothing_can_hold_is_refused_at_once() -> None:
    """Ten to the thousand millionth: as a whole number it would take the process for hours."""
    with pytest.raises(ProblemError):
        _plain(_decoded(b'{"x": 1e999999999}'))


async def test_the_search_is_no_location(world: World) -> None:
    assert (await world.call("PUT", "/locations/search", MASTER)).status_code == 422
    for dots in (".", ".."):
        assert (await world.call("POST", "/locations", {**MASTER, "id": dots})).status_code == 422
    assert (await world.call("POST", "/locations", {**MASTER, "id": "unassigned"})).status_code == 422


UNTELLABLE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"address": "Weg\n9"}, {}, "location.address"),
    ({"name": "\x85"}, {}, "location.name"),
    ({"id": "Search"}, {}, "location.id"),
    ({"id": ".."}, {}, "location.id"),
    ({}, {"evse_id": "D\u00c9*DEM*E1"}, "evses.0.evse_id"),
    ({}, {"connectors": [{**CONNECTOR, "tariff_ids": ["\u00e9"]}]}, "evses.0.connectors.0.tariff_ids.0"),
    ({}, {"connectors": [{**CONNECTOR, "id": "A"}, {**CONNECTOR, "id": "a"}]}, "evses"),
]


@pytest.mark.parametrize(("site", "evse", "path"), UNTELLABLE)
async def test_a_charge_point_says_nothing_that_would_hide_its_location_from_partners(
    world: World, site: dict[str, Any], evse: dict[str, Any], path: str
) -> None:
    """What OCPI does not take is no Location; ids that differ by case alone are one (CiString)."""
    evses: list[dict[str, Any]] = [{"uid": "E1", "connectors": [CONNECTOR], **evse}]
    response = await world.call(
        "POST", "/chargepoints", {"id": "CP1", "location": SAID | site, "evses": evses}
    )
    assert response.status_code == 422, response.text
    [error] = msgspec.convert(problem(response)["errors"], list[dict[str, str]])
    assert error["path"] == path
    assert world.bus.asked == []


async def test_a_charge_point_names_a_location_that_is_known(demo: World) -> None:
    evses = [{"uid": "E1", "connectors": [CONNECTOR]}]
    body = {"id": "CP1", "location_id": "yard", "evses": evses}
    unknown = await demo.call("POST", "/chargepoints", body)
    assert unknown.status_code == 422
    [error] = msgspec.convert(problem(unknown)["errors"], list[dict[str, str]])
    assert error["path"] == "location_id"
    both = await demo.call("POST", "/chargepoints", {**body, "location": SAID})
    assert both.status_code == 422
    assert (await demo.call("POST", "/locations", {"id": "YARD", **MASTER})).status_code == 201
    made = await demo.call("POST", "/chargepoints", body)
    assert made.status_code == 201, made.text
    assert (made.json()["location_id"], made.json()["location"]["address"]) == ("YARD", "Kai 1")
    shown = (await demo.call("GET", "/locations/YARD")).json()
    assert [one["uid"] for one in shown["evses"]] == ["E1"]
    dock = await demo.call("PUT", "/locations/DOCK", {**MASTER, "address": "Dock 5"})
    assert dock.status_code == 201
    moved = await demo.call("PATCH", "/chargepoints/CP1", {"location_id": "DOCK"})
    assert moved.json()["location_id"] == "DOCK"
    [left] = (await demo.call("GET", "/locations/YARD")).json()["evses"]
    assert (left["uid"], left["status"]) == ("E1", "REMOVED")
    assert [one["uid"] for one in (await demo.call("GET", "/locations/DOCK")).json()["evses"]] == ["E1"]
