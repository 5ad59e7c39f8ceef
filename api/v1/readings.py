"""`…/readings`: everything that charge points measured, one item a message, oldest first.

Energy, power, current, state of charge and whatever else was sent, in base units; for as long as the tenant's
`readings_days` says.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from api.problems import ProblemRoute, not_found
from api.v1.caller import Caller, Viewer
from api.v1.lists import Page, Paging, listed_of_blocks
from projections.readings import readings_of
from projections.sample import SAMPLES, Sample, by_charge_point, by_session, by_unmatched, samples_of
from projections.store import JSON

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
    return await _listed(
        caller, page, by_session(session_id), lambda sample: sample.session_id == session_id, measurand
    )


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

    def wanted(sample: Sample) -> bool:
        return sample.charge_point_id == charge_point_id and unmatched in (None, sample.unmatched)

    key = (by_unmatched if unmatched else by_charge_point)(charge_point_id)
    return await _listed(caller, page, key, wanted, measurand)


async def _listed(
    caller: Caller, page: Paging, key: str, wanted: Callable[[Sample], bool], measurand: str | None
) -> Response:
    async def show(sample: Sample) -> object:
        return _shown(sample, measurand)

    return await listed_of_blocks(caller, SAMPLES, key, page, decode=samples_of, wanted=wanted, show=show)


def _shown(sample: Sample, measurand: str | None) -> dict[str, Any]:
    names = [name for name in Readings.model_fields if name != "readings"]
    received_at = datetime.fromisoformat(sample.received_at)
    readings = readings_of(sample.values, received_at, sample.clock_offset_s)
    kept: list[JSON] = [one for one in readings if measurand in (None, one["measurand"])]
    return {**{name: getattr(sample, name) for name in names}, "readings": kept}
