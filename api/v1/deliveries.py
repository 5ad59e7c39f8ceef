"""`/deliveries`: what partners are told, how often it was tried, when it is tried next, and another try by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.problems import ProblemError, ProblemRoute, not_found
from api.v1.caller import Operator, Viewer
from api.v1.lists import Page, answer, listed, newest_first, plain
from commands.base import Command
from commands.delivery import Retry
from commands.pushes import RetryPush
from domain.pushes import SPACING
from domain.values import PartyId
from projections.store import HUB, Condition, Document, eq

routes = APIRouter(route_class=ProblemRoute, tags=["deliveries"])

States = Annotated[str | None, Query(pattern="^(waiting|in_flight|delivered|failed|behind)$")]


@routes.get("/deliveries")
async def list_deliveries(
    caller: Viewer,
    page: Page,
    state: States = None,
    module: Annotated[str | None, Query(max_length=36)] = None,
    to: Annotated[str | None, Query(alias="partner", max_length=6, description="CC*PID")] = None,
) -> Response:
    """CDRs, and the sessions that a partner was not told yet: what was told at once is not listed.

    `behind` is a partner that was away for long. A platform admin who names no tenant sees all.
    """
    where: list[Condition] = [*page.within("updated_at")]
    fields = (("tenant_id", caller.tenant), ("state", state), ("module", module), ("to", to))
    where += [eq(field, value) for field, value in fields if value is not None]

    async def show(document: Document) -> Document:
        return plain(document)

    return await listed(
        caller, HUB, "deliveries", page, where=where, sort=newest_first("updated_at"), show=show
    )


@routes.post("/deliveries/{delivery_id:path}/retry", status_code=202)
async def retry(delivery_id: str, caller: Operator) -> Response:
    """Try it again now, a session within some seconds; 409 while an attempt is under way, or where no one object is
    meant."""
    document = await caller.services.store.get(HUB, "deliveries", delivery_id)
    if document is None or (caller.tenant is not None and document["tenant_id"] != caller.tenant):
        raise not_found(f"delivery {delivery_id}")
    object_id, module = document["object_id"], str(document["module"])
    if not isinstance(object_id, str):
        raise ProblemError(
            409, f"{delivery_id} is a partner that is behind: it goes on by itself", code="not_allowed"
        )
    to = PartyId.of(str(document["to"]))
    command: Command = Retry(to=to, module=module, object_id=object_id, by=caller.by)
    if module in SPACING:
        command = RetryPush(
            module=module, partition=int(str(document["partition"])), to=to, object_id=object_id, by=caller.by
        )
    await caller.ask(command, await caller.meta(str(document["tenant_id"] or "")))
    return answer(plain(document), 202)
