"""`/deliveries`: what partners are told, how often it was tried, and when it is tried next."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.problems import ProblemRoute
from api.v1.caller import Viewer
from api.v1.cdrs import States
from api.v1.lists import Page, listed, newest_first, plain
from projections.store import HUB, Condition, Document, eq

routes = APIRouter(route_class=ProblemRoute, tags=["deliveries"])


@routes.get("/deliveries")
async def list_deliveries(
    caller: Viewer,
    page: Page,
    state: States = None,
    module: Annotated[str | None, Query(max_length=36)] = None,
    to: Annotated[str | None, Query(alias="partner", max_length=6, description="CC*PID")] = None,
) -> Response:
    """A platform admin who names no tenant sees all."""
    where: list[Condition] = [*page.within("updated_at")]
    fields = (("tenant_id", caller.tenant), ("state", state), ("module", module), ("to", to))
    where += [eq(field, value) for field, value in fields if value is not None]

    async def show(document: Document) -> Document:
        return plain(document)

    return await listed(
        caller, HUB, "deliveries", page, where=where, sort=newest_first("updated_at"), show=show
    )
