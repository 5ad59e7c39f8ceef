"""`/locations/search`: where one can charge near a point, nearest first."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from api.problems import ProblemRoute
from api.v1.caller import Viewer
from api.v1.lists import answer
from projections.store import HUB, JSON, Document, eq
from protocols.ocpi.v2_3_0.enums import ConnectorType

routes = APIRouter(route_class=ProblemRoute, tags=["locations"])

MOST: Final = 500
_PHASES: Final = {"AC_3_PHASE": 3, "AC_2_PHASE": 2, "AC_2_PHASE_SPLIT": 2}


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

    The tenant's own; a platform admin who names no tenant searches all. At most 500 of the nearest are looked at.
    """
    where = (eq("tenant_id", caller.tenant),) if caller.tenant is not None else ()
    near = await caller.services.store.near(
        HUB, "locations", lon=longitude, lat=latitude, radius_m=radius, where=where, limit=MOST
    )
    found = []
    for document in near:
        location = _fitting(document, standard, min_power, available)
        if location is not None:
            found.append({"distance_m": document["distance_m"], "location": location})
    return answer({"items": found[:limit], "next_cursor": None})


def _fitting(
    document: Document, standard: ConnectorType | None, min_power: int, available: bool
) -> Document | None:
    location = document["location"]
    assert isinstance(location, dict)
    evses = [
        evse
        for evse in _objects(location.get("evses"))
        if (not available or evse.get("status") == "AVAILABLE")
        and any(
            (standard is None or connector.get("standard") == standard.value)
            and power_of(connector) >= min_power
            for connector in _objects(evse.get("connectors"))
        )
    ]
    return {**location, "evses": list(evses)} if evses else None


def power_of(connector: Document) -> int:
    """Watts: what it says, else volts times amperes times phases."""
    said = connector.get("max_electric_power")
    if isinstance(said, int):
        return said
    volts, amperes = connector.get("max_voltage"), connector.get("max_amperage")
    if not isinstance(volts, int) or not isinstance(amperes, int):
        return 0
    return volts * amperes * _PHASES.get(str(connector.get("power_type")), 1)


def _objects(value: JSON) -> list[Document]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
