"""`…/readings`: everything that charge points measured, one item a message, oldest first.

Energy, power, current, state of charge and whatever else was sent, in base units; for as long as the tenant's
`readings_days` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from api.problems import ProblemRoute, not_found
from api.v1.caller import Caller, Viewer
from api.v1.lists import Page, Paging, listed, oldest_first
from projections.readings import readings_of
from projections.store import JSON, Condition, Document, eq

routes = APIRouter(route_class=ProblemRoute, tags=["readings"])

Measurand = Annotated[str | None, Query(max_length=64, description="only this one, e.g. `SoC`")]


class Reading(BaseModel):
    """One value: `value` is null where the charge point sent signed or unreadable data."""

    timestamp: datetime = Field(description="by our clock")
    measurand: str = Field(examples=["Power.Active.Import"])
    value: float | None
    unit: str | None = Field(description="a base unit: Wh, W, A, V, Percent …")
    phase: str | None
    context: str | None
    location: str | None
    signed: str | None = Field(default=None, description="signed data, as it was sent")
    raw: str | None = Field(default=None, description="what could not be read as a number")


class Readings(BaseModel):
    """One message with its readings. `timestamp` is the newest one's by our clock, `reported_at` by its own."""

    timestamp: datetime
    reported_at: datetime
    received_at: datetime
    charge_point_id: str
    connector_id: int
    transaction_id: int | None
    session_id: str | None
    unmatched: bool = Field(description="the charge point named a transaction that we do not know")
    flags: list[str]
    readings: list[Reading]


class ReadingsPage(BaseModel):
    items: list[Readings]
    next_cursor: str | None


@routes.get("/sessions/{session_id}/readings", response_model=ReadingsPage)
async def of_session(session_id: str, caller: Viewer, page: Page, measurand: Measurand = None) -> Response:
    """All that was measured while the session ran."""
    if await caller.services.store.get(caller.database, "sessions", session_id) is None:
        raise not_found(f"session {session_id}")
    return await _listed(caller, page, [eq("session_id", session_id)], measurand)


@routes.get("/chargepoints/{charge_point_id}/readings", response_model=ReadingsPage)
async def of_charge_point(
    charge_point_id: Annotated[str, Path(max_length=128)],
    caller: Viewer,
    page: Page,
    unmatched: Annotated[
        bool | None, Query(description="only those of transactions that we do not know, or none of them")
    ] = None,
    measurand: Measurand = None,
) -> Response:
    """All that a charge point measured, also where no session is known."""
    if await caller.services.store.get(caller.database, "charge_points", charge_point_id) is None:
        raise not_found(f"charge point {charge_point_id}")
    where = [eq("charge_point_id", charge_point_id)]
    if unmatched is not None:
        where.append(eq("unmatched", unmatched))
    return await _listed(caller, page, where, measurand)


async def _listed(
    caller: Caller, page: Paging, where: Sequence[Condition], measurand: str | None
) -> Response:
    async def show(document: Document) -> object:
        return _shown(document, measurand)

    return await listed(
        caller,
        caller.database,
        "samples",
        page,
        where=[*where, *page.within("timestamp")],
        sort=oldest_first("timestamp"),
        show=show,
    )


def _shown(document: Document, measurand: str | None) -> dict[str, Any]:
    names = [name for name in Readings.model_fields if name != "readings"]
    offset = document["clock_offset_s"]
    readings = readings_of(
        msgspec.Raw(msgspec.json.encode(document["values"])),
        datetime.fromisoformat(str(document["received_at"])),
        offset if isinstance(offset, int) else 0,
    )
    kept: list[JSON] = [one for one in readings if measurand in (None, one["measurand"])]
    return {**{name: document[name] for name in names}, "readings": kept}
