"""`/audit`: who asked for what, and what was decided."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.problems import ProblemRoute
from api.v1.caller import TenantAdmin
from api.v1.lists import Page, listed, newest_first, shown
from projections.store import HUB, Condition, eq

routes = APIRouter(route_class=ProblemRoute, tags=["audit"])


@routes.get("/audit")
async def list_audit(
    caller: TenantAdmin, page: Page, principal: Annotated[str | None, Query(max_length=256)] = None
) -> Response:
    """A platform admin who names no tenant sees what was asked of the platform itself."""
    where: list[Condition] = [*page.within("at")]
    if principal is not None:
        where.append(eq("principal", principal))
    return await listed(
        caller,
        caller.database if caller.tenant is not None else HUB,
        "audit",
        page,
        where=where,
        sort=newest_first("at"),
        show=lambda document: shown(caller, document),
    )
