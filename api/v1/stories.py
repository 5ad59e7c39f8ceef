"""`/stories/{correlation_id}`: everything that one cause led to, from the first frame to the delivered CDR."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.problems import ProblemRoute, not_found
from api.v1.caller import Viewer
from api.v1.lists import Page, answer, oldest_first, shown
from projections.store import HUB, Condition, Query, eq

routes = APIRouter(route_class=ProblemRoute, tags=["stories"])


@routes.get("/stories/{correlation_id:path}")
async def story(correlation_id: Annotated[str, Path(max_length=512)], caller: Viewer, page: Page) -> Response:
    """In order of time; a story of somebody else looks like one that never was."""
    where: list[Condition] = [eq("correlation_id", correlation_id), *page.within("at")]
    if caller.tenant is not None:
        where.append(eq("tenant_id", caller.tenant))
    query = Query(HUB, "stories", tuple(where), oldest_first("at"), page.limit, page.cursor)
    found = await caller.services.store.find(query)
    if not found.items and page.cursor is None and page.since is None and page.until is None:
        raise not_found(f"story {correlation_id}")
    items = [await shown(caller, document) for document in found.items]
    return answer({"items": items, "next_cursor": found.next_cursor})
