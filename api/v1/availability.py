"""`/chargepoints/{id}/availability`: whether connectors may be used, as it is wanted and as they say."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from api.problems import ProblemRoute, not_found
from api.v1.caller import Caller, Operator, Viewer
from api.v1.lists import answer, empty
from commands.charge_point import WantAvailability
from domain.charge_point.availability import AvailabilityState, AvailabilityWish, WantedAvailability
from domain.intents import Availability
from projections.charge_point import availability_of
from projections.store import Document

routes = APIRouter(route_class=ProblemRoute, tags=["charge points"])

Id = Annotated[str, Path(max_length=128)]
ConnectorId = Annotated[int, Path(ge=0, le=10_000)]
STATES: Final = "|".join(state.value for state in AvailabilityState)


class AvailabilityShown(BaseModel):
    """Of one connector; 0 is the charge point as a whole (OCPP 1.6, 5.2)."""

    connector_id: int
    status: str | None = Field(description="what it said last; Unavailable: it may not be used")
    wanted: Availability | None = Field(description="null where nothing is wanted of it")
    state: str | None = Field(description=f"{STATES.replace('|', ', ')}; null where nothing is wanted of it")
    reason: str | None = Field(description="the charge point's word where it is not as wanted")
    pushes: int = Field(description="how often it was told since it was in sync; three at most")


class Availabilities(BaseModel):
    items: list[AvailabilityShown]
    next_cursor: None = None


class WishedAvailability(BaseModel):
    model_config = ConfigDict(extra="forbid")

    availability: Availability


@routes.get("/chargepoints/{charge_point_id}/availability", response_model=Availabilities)
async def list_availability(charge_point_id: Id, caller: Viewer) -> Response:
    """Every connector that is known or of which something is wanted, in one page."""
    document = await caller.services.store.get(caller.database, "charge_points", charge_point_id)
    if document is None:
        raise not_found(f"charge point {charge_point_id}")
    return answer({"items": _shown(document), "next_cursor": None})


@routes.put("/chargepoints/{charge_point_id}/availability/{connector_id}", response_model=AvailabilityShown)
async def want(
    charge_point_id: Id, connector_id: ConnectorId, body: WishedAvailability, caller: Operator
) -> Response:
    """Told once it is connected, and again where it says otherwise. The same again is tried anew."""
    document = await _want(caller, charge_point_id, connector_id, body.availability)
    shown = next((one for one in _shown(document) if one["connector_id"] == connector_id), None)
    wished = WantedAvailability(availability=body.availability)
    return answer(shown or _item(connector_id, None, wished))  # not shown yet, or no more


@routes.delete("/chargepoints/{charge_point_id}/availability/{connector_id}", status_code=204)
async def want_no_more(charge_point_id: Id, connector_id: ConnectorId, caller: Operator) -> Response:
    """It stays as it is."""
    await _want(caller, charge_point_id, connector_id, None)
    return empty()


async def _want(
    caller: Caller, charge_point_id: str, connector_id: int, availability: Availability | None
) -> Document:
    command = WantAvailability(
        tenant=caller.own_tenant,
        charge_point_id=charge_point_id,
        wish=AvailabilityWish(connector_id=connector_id, availability=availability),
    )
    reply = await caller.ask(command, await caller.meta())
    document = await caller.visible(caller.database, "charge_points", charge_point_id, reply)
    if document is None:
        raise not_found(f"charge point {charge_point_id}")
    return document


def _shown(document: Document) -> list[Document]:
    connectors = document["connectors"]
    said: dict[int, object] = {0: document.get("status")}
    for one in connectors if isinstance(connectors, list) else []:
        if isinstance(one, dict) and isinstance(one["id"], int):
            said[one["id"]] = one.get("status")
    wanted = availability_of(document)
    return [_item(number, said.get(number), wanted.get(number)) for number in sorted({*said, *wanted})]


def _item(number: int, status: object, wanted: WantedAvailability | None) -> Document:
    return {
        "connector_id": number,
        "status": status if isinstance(status, str) else None,
        "wanted": wanted.availability.value if wanted is not None else None,
        "state": wanted.state.value if wanted is not None else None,
        "reason": wanted.reason or None if wanted is not None else None,
        "pushes": wanted.pushes if wanted is not None else 0,
    }
