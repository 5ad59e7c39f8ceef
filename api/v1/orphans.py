"""`/sessions/orphans`: stops that belong to no transaction of ours, and a person's word on whose they are."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from api.problems import ProblemRoute, invalid, not_found
from api.v1.caller import Caller, Operator, Viewer, result_of
from api.v1.lists import Page, answer, listed, newest_first, shown
from api.v1.present import charge_point_of, evse_of, settings_of, tariffs_of
from commands.charge_point import Settled, SettleStop, StartTransaction
from projections.store import Condition, Document, eq

routes = APIRouter(route_class=ProblemRoute, tags=["sessions"])


class Orphan(BaseModel):
    """A StopTransaction whose transaction we do not know: its start was lost, or has not come yet."""

    id: str
    charge_point_id: str
    transaction_id: int = Field(description="as it was sent; -1: the charge point never got our answer")
    stop_time: datetime = Field(description="by our clock")
    reported_stop_time: datetime = Field(description="by the charge point's")
    clock_offset_s: int
    received_at: datetime
    stop_meter_value: int = Field(description="Wh")
    id_tag: str | None
    reason: str = Field(description="OCPP's Reason")
    flags: list[str]
    state: str = Field(description="`open`, or `settled` once it was put to a session")
    session_id: str | None
    settled_transaction_id: int | None
    settled_at: datetime | None
    settled_by: str | None = Field(description="null where its start came after all")
    settled_reason: str | None


class OrphanPage(BaseModel):
    items: list[Orphan]
    next_cursor: str | None


class LostStart(BaseModel):
    """The start that nobody reported. Without an `id_tag` it is the stop's."""

    model_config = ConfigDict(extra="forbid")

    connector_id: int = Field(ge=1, le=10_000)
    timestamp: AwareDatetime
    meter_start: int = Field(ge=0, le=2**53, description="Wh")
    id_tag: str | None = Field(default=None, min_length=1, max_length=36)


class Settlement(BaseModel):
    """Which charge the stop ended: a transaction of ours, or one whose start was lost; and how that is known."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)
    transaction_id: int | None = Field(default=None, ge=1)
    start: LostStart | None = None

    @model_validator(mode="after")
    def _one(self) -> Settlement:
        if (self.transaction_id is None) == (self.start is None):
            raise ValueError("give transaction_id or start")
        return self


class SettledStop(BaseModel):
    """The session that the stop is charged with."""

    id: str
    session_id: str
    transaction_id: int


@routes.get("/sessions/orphans", response_model=OrphanPage)
async def list_orphans(
    caller: Viewer,
    page: Page,
    state: Annotated[str | None, Query(pattern="^(open|settled)$")] = None,
    charge_point_id: str | None = None,
) -> Response:
    """Newest first."""
    where: list[Condition] = [*page.within("received_at")]
    if state is not None:
        where.append(eq("state", state))
    if charge_point_id is not None:
        where.append(eq("charge_point_id", charge_point_id))

    async def show(document: Document) -> Document:
        return await _shown(caller, document)

    return await listed(
        caller, caller.database, "orphans", page, where=where, sort=newest_first("received_at"), show=show
    )


@routes.get("/sessions/orphans/{orphan_id}", response_model=Orphan)
async def get_orphan(orphan_id: str, caller: Viewer) -> Response:
    return answer(await _shown(caller, await _known(caller, orphan_id)))


@routes.post("/sessions/orphans/{orphan_id}/settle", status_code=201, response_model=SettledStop)
async def settle(orphan_id: str, body: Settlement, caller: Operator) -> Response:
    """Charge for it: its session ends, and has a CDR. 409 where it was put to a session before."""
    document = await _known(caller, orphan_id)
    meta = await caller.meta()
    command = SettleStop(
        tenant=caller.own_tenant,
        charge_point_id=str(document["charge_point_id"]),
        key=str(document["key"]),
        reason=body.reason,
        transaction_id=body.transaction_id or 0,
        start=await _start(caller, document, body.start) if body.start is not None else None,
    )
    reply = await caller.ask(command, meta)
    await caller.visible(caller.database, "orphans", orphan_id, reply)
    settled = result_of(reply, Settled)
    where = {"Location": f"/api/v1/sessions/{settled.session_id}"}
    content = {"id": orphan_id, "session_id": settled.session_id, "transaction_id": settled.transaction_id}
    return answer(content, 201, where)


async def _start(caller: Caller, document: Document, body: LostStart) -> StartTransaction:
    services, tenant = caller.services, caller.own_tenant
    charge_point_id = str(document["charge_point_id"])
    id_tag = body.id_tag
    if id_tag is None and document["id_tag"]:
        opened = await services.vault.open(str(document["id_tag"]))
        id_tag = opened.decode() if opened is not None else None
    if id_tag is None:
        raise invalid("body", "start.id_tag", "is needed: the stop named none")
    tag, authorization = await services.authorizer.resolve(tenant, charge_point_id, id_tag, False)
    charge_point = await charge_point_of(caller, charge_point_id)
    evse = evse_of(charge_point, body.connector_id) if charge_point is not None else None
    return StartTransaction(
        tenant=tenant,
        charge_point_id=charge_point_id,
        connector_id=body.connector_id,
        id_tag=tag,
        meter_start=body.meter_start,
        timestamp=body.timestamp,
        authorization=authorization,
        settings=await settings_of(caller),
        tariffs=await tariffs_of(caller, evse),
    )


async def _known(caller: Caller, orphan_id: str) -> Document:
    document = await caller.services.store.get(caller.database, "orphans", orphan_id)
    if document is None:
        raise not_found(f"orphan {orphan_id}")
    return document


async def _shown(caller: Caller, document: Document) -> Document:
    out = await shown(caller, document)
    del out["key"]
    return out
