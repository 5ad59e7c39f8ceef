"""`/chargepoints/knocking`: who asked to be let in and was refused, with the reason."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.problems import ProblemRoute
from api.v1.caller import Operator
from api.v1.lists import Page
from domain.knocking import Reason
from projections.knocking import MOST, knocking_document_id
from projections.moment import utc_text
from projections.store import HUB

routes = APIRouter(route_class=ProblemRoute, tags=["charge points"])

PATH: Final = "knocking"
"""No charge point may have this id: its path is taken."""


class KnockShown(BaseModel):
    """One charge point that is refused for one reason, over all gateways."""

    id: str = Field(
        description="the charge point's id; of one that fits no tenant, the path that it asked for"
    )
    reason: Reason
    address: str = Field(description="where the last one came from")
    count: int = Field(ge=1)
    first_at: datetime
    last_at: datetime


class KnocksShown(BaseModel):
    """Newest first; `left_out` counts refusals of more charge points than a gateway lists in a minute."""

    items: list[KnockShown] = Field(max_length=MOST)
    next_cursor: None = None
    left_out: int = Field(ge=0)


@routes.get("/chargepoints/knocking", response_model=KnocksShown)
async def list_knocking(
    caller: Operator, page: Page, reason: Annotated[Reason | None, Query()] = None
) -> dict[str, Any]:
    """Refused handshakes, at most a minute old and at most 200.

    A platform admin who names no tenant sees those that fit none: their URL names no tenant that exists, or no
    tenant is found by their id.
    """
    id = knocking_document_id(caller.tenant or "")
    document = await caller.services.store.get(HUB, "knocking", id) or {"knocks": [], "left_out": 0}
    knocks = document["knocks"]
    assert isinstance(knocks, list)
    since, until = utc_text(page.since) or "", utc_text(page.until) or "~"
    items = [
        one
        for one in knocks
        if isinstance(one, dict)
        and (reason is None or one["reason"] == reason)
        and since <= str(one["last_at"]) < until
    ]
    return {"items": items[: page.limit], "left_out": document["left_out"]}
