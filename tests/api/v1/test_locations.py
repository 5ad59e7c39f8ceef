"""The search for a place to charge."""

from __future__ import annotations

import pytest

from projections.store import HUB, Document, geo_index
from tests.api.v1.world import World

BERLIN = "latitude=52.52&longitude=13.405"


def evse(uid: str, status: str, standard: str, power_type: str, amperes: int, **more: int) -> Document:
    connector: Document = {"id": "1", "standard": standard, "power_type": power_type}
    connector |= {"max_voltage": 230, "max_amperage": amperes, **more}
    return {"uid": uid, "status": status, "connectors": [connector]}


@pytest.fixture
async def places(world: World) -> World:
    """`near` is 0.7 km and `far` 3.4 km from the point; `foreign` belongs to acme."""
    await world.store.ensure([geo_index(HUB, "locations")])
    ac = evse("A", "AVAILABLE", "IEC_62196_T2", "AC_3_PHASE", 32)
    dc = evse("D", "CHARGING", "IEC_62196_T2_COMBO", "DC", 200, max_electric_power=150_000)
    for id, lon, tenant, evses in (
        ("near", 13.415, "demo", [ac, dc]),
        ("far", 13.455, "demo", [dc]),
        ("foreign", 13.406, "acme", [ac]),
    ):
        point: Document = {"type": "Point", "coordinates": [lon, 52.52]}
        location: Document = {"id": id, "evses": list(evses)}
        await world.keep(HUB, "locations", id, {"tenant_id": tenant, "geo": point, "location": location})
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


async def test_places_are_found_by_standard_power_and_availability_now(places: World) -> None:
    assert await found(places, f"{BERLIN}&standard=IEC_62196_T2") == [("near", ["A"])]
    assert await found(places, f"{BERLIN}&min_power=22081") == [("near", ["D"]), ("far", ["D"])]
    assert await found(places, f"{BERLIN}&min_power=22080&available=true") == [("near", ["A"])]
    assert await found(places, f"{BERLIN}&standard=CHADEMO") == []


@pytest.mark.parametrize("query", ["latitude=91&longitude=0", "latitude=1", f"{BERLIN}&standard=SCHUKO"])
async def test_a_search_that_cannot_be_is_422(places: World, query: str) -> None:
    assert (await places.call("GET", f"/locations/search?{query}")).status_code == 422
