"""`/reservations`: hold a connector for a tag, see what became of it, give it up."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.problems import ProblemRoute, not_found
from api.v1.caller import Caller, Operator, Viewer, accepted, result_of
from api.v1.lists import Page, answer, listed_of_tenant, shown
from application.reservations import give_up, reserve
from commands.charge_point import Reserved
from domain.charge_point.reservation import ReservationEnd
from projections.store import Document

routes = APIRouter(route_class=ProblemRoute, tags=["reservations"])

STATUSES: Final = ("pending", "active", "cancelling", *(how.value for how in ReservationEnd))
Id = Annotated[str, Path(max_length=64)]


class NewReservation(BaseModel):
    """A connector, or with 0 any of a charge point that says that it can, for a tag or its group."""

    model_config = ConfigDict(extra="forbid")

    charge_point: str = Field(min_length=1, max_length=128)
    connector: int = Field(ge=0, le=10_000)
    id_tag: str = Field(min_length=1, max_length=36)
    parent: str | None = Field(
        default=None,
        min_length=1,
        max_length=36,
        description="the group; else that of the tag, where it is known",
    )
    expires_at: AwareDatetime
    override: bool = Field(
        default=False, description="ask although the charge point says that it cannot do this"
    )


class Reservation(BaseModel):
    """`number` is the charge point's name for it (int32)."""

    id: str
    charge_point_id: str
    connector_id: int
    evse_uid: str | None
    number: int
    id_tag: str | None
    expires_at: datetime
    status: str = Field(description=", ".join(STATUSES))
    reason: str | None = Field(description="the charge point's word, such as Occupied")
    session_id: str | None = Field(description="of the charge that used it")
    reference: str | None = Field(description="whose wish it is elsewhere")
    requested_by: str | None
    correlation_id: str
    created_at: datetime
    updated_at: datetime
    over_at: datetime | None


class ReservationPage(BaseModel):
    items: list[Reservation]
    next_cursor: str | None


class Asked(BaseModel):
    """What was decided; what the charge point says of it is read by its id."""

    id: str
    number: int
    status: str
    warning: str | None = None


@routes.post("/reservations", status_code=202, response_model=Asked)
async def create(body: NewReservation, caller: Operator) -> Response:
    """The charge point was asked. 409 where it is not connected or cannot, or the connector is reserved already."""
    meta = await caller.meta(caller.own_tenant)
    reply, authorization = await reserve(
        caller.services.remote_commands,
        meta,
        charge_point_id=body.charge_point,
        connector_id=body.connector,
        id_tag=body.id_tag,
        expires_at=body.expires_at,
        parent_id_tag=body.parent,
        override=body.override,
    )
    outcome = accepted(reply)
    asked = result_of(outcome, Reserved)
    await caller.visible(caller.database, "reservations", asked.reservation_id, outcome)
    warning = {}
    if authorization is not None and authorization.status != "Accepted":
        warning = {"warning": f"the id tag is {authorization.status} now: its charge will be refused"}
    where = {"Location": f"/api/v1/reservations/{asked.reservation_id}"}
    return answer(_asked(asked) | warning, 202, where)


@routes.get("/reservations", response_model=ReservationPage)
async def list_reservations(
    caller: Viewer,
    page: Page,
    status: Annotated[str | None, Query(pattern=f"^({'|'.join(STATUSES)})$")] = None,
    charge_point_id: str | None = None,
) -> Response:
    """Newest first."""
    asked = {"status": status, "charge_point_id": charge_point_id}
    return await listed_of_tenant(caller, "reservations", page, "created_at", asked)


@routes.get("/reservations/{reservation_id}", response_model=Reservation)
async def get(reservation_id: Id, caller: Viewer) -> Response:
    return answer(await shown(caller, await _known(caller, reservation_id)))


@routes.delete("/reservations/{reservation_id}", status_code=202, response_model=Asked)
async def cancel(reservation_id: Id, caller: Operator) -> Response:
    """It ends once the charge point says so, at the latest with its time; one that is over stays as it ended."""
    document = await _known(caller, reservation_id)
    if document["over_at"] is not None:  # its charge point may have forgotten it since
        return answer({"id": reservation_id, "number": document["number"], "status": document["status"]}, 202)
    reply = await give_up(
        caller.services.remote_commands,
        await caller.meta(caller.own_tenant),
        charge_point_id=str(document["charge_point_id"]),
        reservation_id=reservation_id,
    )
    outcome = accepted(reply)
    await caller.visible(caller.database, "reservations", reservation_id, outcome)
    return answer(_asked(result_of(outcome, Reserved)), 202)


def _asked(one: Reserved) -> Document:
    return {"id": one.reservation_id, "number": one.number, "status": one.status}


async def _known(caller: Caller, reservation_id: str) -> Document:
    document = await caller.services.store.get(caller.database, "reservations", reservation_id)
    if document is None:
        raise not_found(f"reservation {reservation_id}")
    return document
