"""`/cdrs`: what charges at our charge points cost, whether that was delivered, and a new attempt by hand."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response

from api.problems import ProblemError, ProblemRoute, not_found
from api.v1.caller import Caller, Operator, Viewer
from api.v1.lists import MASK, Page, answer, listed, newest_first, plain
from commands.delivery import Retry
from domain.delivery import delivery_id
from domain.values import PartyId
from projections.store import HUB, JSON, Condition, Document, eq, gt

routes = APIRouter(route_class=ProblemRoute, tags=["CDRs"])

States = Annotated[str | None, Query(pattern="^(waiting|in_flight|delivered|failed)$")]


@routes.get("/cdrs")
async def list_cdrs(caller: Viewer, page: Page, state: States = None) -> Response:
    """`state` is that of the delivery. A platform admin who names no tenant sees those of all tenants."""
    where: list[Condition] = [*page.within("last_updated")]
    where.append(eq("tenant_id", caller.tenant) if caller.tenant is not None else gt("tenant_id", ""))
    if state is not None:
        where.append(eq("delivery.state", state))
    return await listed(
        caller,
        HUB,
        "cdrs",
        page,
        where=where,
        sort=newest_first("last_updated"),
        show=lambda document: _shown(caller, document),
    )


@routes.get("/cdrs/{cdr_id}")
async def get(cdr_id: str, caller: Viewer) -> Response:
    return answer(await _shown(caller, await _known(caller, cdr_id)))


@routes.post("/cdrs/{cdr_id}/retry", status_code=202)
async def retry(cdr_id: str, caller: Operator) -> Response:
    """Deliver it now, whatever became of it; 409 while an attempt is under way, or where nobody is to receive it."""
    document = await _known(caller, cdr_id)
    owner = document["owner"]
    if not isinstance(owner, str):
        raise ProblemError(
            409, f"CDR {cdr_id} goes to nobody: its token belongs to the tenant", code="not_allowed"
        )
    to = PartyId.of(owner)
    meta = await caller.meta(str(document["tenant_id"] or ""))
    reply = await caller.ask(Retry(to=to, module="cdrs", object_id=cdr_id, by=caller.by), meta)
    id = delivery_id(to, "cdrs", cdr_id).partition("|")[2]
    delivery = await caller.visible(HUB, "deliveries", id, reply)
    return answer(plain(delivery) if delivery is not None else {"id": id}, 202)


async def _known(caller: Caller, cdr_id: str) -> Document:
    document = await caller.services.store.get(HUB, "cdrs", cdr_id)
    if document is None or not document["tenant_id"]:
        raise not_found(f"CDR {cdr_id}")
    if caller.tenant is not None and document["tenant_id"] != caller.tenant:
        raise not_found(f"CDR {cdr_id}")
    return document


async def _shown(caller: Caller, document: Document) -> Document:
    """The OCPI CDR with its token for those who may see people."""
    out = plain(document)
    sealed = out.pop("cdr_token", None)
    token: JSON = None
    if sealed:
        opened = await caller.services.vault.open(str(sealed)) if caller.sees_people else None
        token = msgspec.json.decode(opened) if opened is not None else MASK
    cdr = out["cdr"]
    out["cdr"] = {**cdr, "cdr_token": token} if isinstance(cdr, dict) else cdr
    out.setdefault("delivery", None)
    return out
