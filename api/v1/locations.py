"""`/locations/search`: where one can charge near a point, nearest first."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from api.problems import ProblemRoute
from api.v1.caller import Viewer
from api.v1.lists import answer
from projections.location import told_as_locations
from projections.store import HUB, JSON, Condition, Document, eq, gte, has
from protocols.ocpi.v2_3_0.enums import ConnectorType

routes = APIRouter(route_class=ProblemRoute, tags=["locations"])

MOST: Final = 500


@routes.get("/locations/search")
async def search(
    caller: Viewer,
    latitude: Annotated[float, Query(ge=-90, le=90)],
    longitude: Annotated[float, Query(ge=-180, le=180)],
    radius: Annotated[float, Query(gt=0, le=200_000, description="metres")] = 5_000,
    standard: Annotated[ConnectorType | None, Query(description="OCPI ConnectorType")] = None,
    min_power: Annotated[int, Query(ge=0, description="watts")] = 0,
    available: Annotated[bool, Query(description="only what is free now")] = False,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> Response:
    """Locations with an EVSE that fits, and only such EVSEs in them. `distance_m` in metres.

    The tenant's own; a platform admin who names no tenant searches all. The 500 nearest charge points that have
    what is asked for are looked at.
    """
    store = caller.services.store
    where: list[Condition] = [gte("max_power", min_power)]
    if caller.tenant is not None:
        where.append(eq("tenant_id", caller.tenant))
    if standard is not None:
        where.append(has("standards", standard.value))
    near = await store.near(
        HUB, "locations", lon=longitude, lat=latitude, radius_m=radius, where=tuple(where), limit=MOST
    )
    tenants = await store.get_many(HUB, "tenants", {str(document["tenant_id"]) for document in near})
    parties = {id: str(tenant.get("party") or "") for id, tenant in tenants.items()}
    distances: dict[str, JSON] = {}
    for document in near:
        distances.setdefault(str(document["key"]), document["distance_m"])
    found = []
    for key, location in told_as_locations(near, parties, caller.services.clock()).items():
        evses = [evse for evse in _objects(location["evses"]) if _fits(evse, standard, min_power, available)]
        if evses:
            found.append({"distance_m": distances[key], "location": {**location, "evses": evses}})
    return answer({"items": found[:limit], "next_cursor": None})


def _fits(evse: Document, standard: ConnectorType | None, min_power: int, available: bool) -> bool:
    return (not available or evse["status"] == "AVAILABLE") and any(
        (standard is None or connector["standard"] == standard.value)
        and int(str(connector["max_electric_power"])) >= min_power
        for connector in _objects(evse["connectors"])
    )


def _objects(value: JSON) -> list[Document]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
