"""The search for a place to charge."""

from __future__ import annotations

from typing import Any

import pytest

from commands.base import Meta
from domain.aggregate import Event
from domain.charge_point import ChargePointRegistered, StatusReported, charge_point_key
from domain.values import Connector, Coordinates, Evse, Site
from projections.location import LOCATIONS, indexes
from tests.api.v1.world import NOW, World

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
    await world.store.apply([write for event in events for write in LOCATIONS.writes(event, meta)])


@pytest.fixture
async def places(world: World) -> World:
    """`near` is 0.7 km and `far` 3.4 km from the point; `foreign` belongs to acme. At `near` stand two."""
    await world.store.ensure(indexes())
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


@pytest.mark.parametrize("query", ["latitude=91&longitude=0", "latitude=1", f"{BERLIN}&standard=SCHUKO"])
async def test_a_search_that_cannot_be_is_422(places: World, query: str) -> None:
    assert (await places.call("GET", f"/locations/search?{query}")).status_code == 422
