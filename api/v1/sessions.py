"""`/sessions`: charges that run and that are over, as their tenant sees them; the forced stop, the forced end, and
the CDR that was withheld."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.problems import FieldError, ProblemError, ProblemRoute, not_found, refused
from api.v1.caller import Caller, Operator, TenantAdmin, Viewer, result_of
from api.v1.commands import requested
from api.v1.lists import Page, answer, listed_of_tenant, shown
from api.v1.present import charge_point_of, evse_of, settings_of, site_of, tariffs_of
from commands.base import Meta, Refusal
from commands.charge_point import Closed, EndTransaction
from commands.session import EndSession, IssueCdr, Issuing
from domain.charge_point import Flag
from domain.metering.usable import REGISTER_WH
from domain.session import End
from projections.store import Document
from streams.log.envelope import Reply

routes = APIRouter(route_class=ProblemRoute, tags=["sessions"])

ON_ITS_WAY: Final = timedelta(minutes=1)
"""For how long after its transaction was over a session may still run in the read model."""


class ForcedEnd(BaseModel):
    """Why the session is ended without its charge point."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)


class EndedSession(BaseModel):
    """The end is in the log; the session and its CDR follow from it."""

    session_id: str
    charge_point_id: str
    transaction_id: int
    reason: str
    by: str = Field(description="role and name of who ended it")


class WithheldCdr(BaseModel):
    """Why the CDR can be issued now, and what a person says where the charge point said what cannot be."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500, examples=["the meter was read at its display"])
    energy_wh: int | None = Field(
        default=None, ge=0, lt=int(REGISTER_WH), description="Wh since the start", examples=[20_000]
    )
    end_date_time: AwareDatetime | None = Field(
        default=None, description="by our clock", examples=["2026-03-01T12:30:00Z"]
    )


class IssuedCdr(BaseModel):
    """The session's CDR is a fact."""

    session_id: str
    cdr_id: str


@routes.get("/sessions")
async def list_sessions(
    caller: Viewer,
    page: Page,
    status: Annotated[str | None, Query(pattern="^(active|completed|faulted)$")] = None,
    charge_point_id: str | None = None,
    cdr: Annotated[str | None, Query(pattern="^(issued|withheld)$")] = None,
) -> Response:
    asked = {"cdr": cdr, "status": status, "charge_point_id": charge_point_id}
    return await listed_of_tenant(caller, "sessions", page, "start_time", asked)


@routes.get("/sessions/{session_id}")
async def get_session(session_id: str, caller: Viewer) -> Response:
    document = await caller.services.store.get(caller.database, "sessions", session_id)
    if document is None:
        raise not_found(f"session {session_id}")
    return answer(await shown(caller, document))


@routes.post("/sessions/{session_id}/stop", status_code=202)
async def stop_session(session_id: str, caller: Operator) -> Response:
    """A remote stop of the session's transaction; what becomes of it is read by the command's id.

    One that began just now may not be readable yet: it is waited for as long as a write of ours would be.
    """
    document = await caller.visible(caller.database, "sessions", session_id, Reply())
    if document is None:
        raise not_found(f"session {session_id}")
    if document["stop_time"] is not None:
        raise ProblemError(409, f"session {session_id} is over", code="not_allowed")
    command_id = caller.idempotency_key or str(uuid4())
    charge_point_id = str(document["charge_point_id"])
    parameters = {"transaction_id": document["transaction_id"]}
    return await requested(caller, charge_point_id, "remote_stop", parameters, command_id)


@routes.post("/sessions/{session_id}/end", status_code=202, response_model=EndedSession)
async def end_session(session_id: str, body: ForcedEnd, caller: Operator) -> Response:
    """End it with what is known, whatever the charge point does; its own stop, if it comes, corrects that.

    The end is the last sign of the charge; the CDR follows, and says that nobody reported the stop.
    """
    document = await caller.services.store.get(caller.database, "sessions", session_id)
    if document is None:
        raise not_found(f"session {session_id}")
    if document["stop_time"] is not None:
        raise ProblemError(409, f"session {session_id} is over", code="not_allowed")
    meta = await caller.meta()
    charge_point_id, number = str(document["charge_point_id"]), document["transaction_id"]
    assert isinstance(number, int)
    command = EndTransaction(
        tenant=caller.own_tenant,
        charge_point_id=charge_point_id,
        transaction_id=number,
        reason=body.reason,
    )
    reply = await caller.services.bus.ask(command, meta)
    if reply.refusal not in (None, Refusal.UNKNOWN):
        raise refused(reply)
    closed = result_of(reply, Closed) if reply.refusal is None else None
    if closed is None or not closed.running:
        await _end_alone(caller, document, body.reason, meta, closed)
    content = {
        "session_id": session_id,
        "charge_point_id": charge_point_id,
        "transaction_id": number,
        "reason": body.reason,
        "by": caller.by,
    }
    return answer(content, 202, {"Location": f"/api/v1/sessions/{session_id}"})


@routes.post(
    "/sessions/{session_id}/cdr",
    response_model=IssuedCdr,
    responses={409: {"description": "It cannot be issued; `errors` names the field that stands in the way."}},
)
async def issue_cdr(session_id: str, body: WithheldCdr, caller: TenantAdmin) -> Response:
    """Issue the CDR that was withheld, by the site, the time zone, the settings and the tariffs as they are now.

    Asked again it is the same CDR. Where the charge point is gone, its place and tariffs are those of the charge.
    """
    document = await caller.services.store.get(caller.database, "sessions", session_id)
    if document is None:
        raise not_found(f"session {session_id}")
    meta = await caller.meta()
    reply = await caller.ask(await _issue_cdr(caller, document, body), meta)
    issuing = result_of(reply, Issuing)
    if issuing.field:
        raise ProblemError(
            409,
            f"{issuing.field}: {issuing.reason}",
            code="withheld",
            errors=(FieldError(place="cdr", path=issuing.field, message=issuing.reason),),
        )
    await caller.visible(caller.database, "sessions", session_id, reply)
    content = {"session_id": session_id, "cdr_id": issuing.cdr_id}
    return answer(content, 200, {"Location": f"/api/v1/cdrs/{issuing.cdr_id}"})


async def _issue_cdr(caller: Caller, document: Document, body: WithheldCdr) -> IssueCdr:
    number = document["connector_id"]
    assert isinstance(number, int)
    charge_point = await charge_point_of(caller, str(document["charge_point_id"]))
    evse = evse_of(charge_point, number) if charge_point is not None else None
    return IssueCdr(
        session_id=str(document["_id"]),
        tenant=caller.own_tenant,
        settings=await settings_of(caller),
        site=await site_of(caller, charge_point) if charge_point is not None else None,
        evse_uid=evse.uid if evse is not None else str(number),
        evse_id=evse.evse_id if evse is not None else "",
        connector=evse.connectors[0] if evse is not None and evse.connectors else None,
        tariffs=await tariffs_of(caller, evse),
        energy_wh=body.energy_wh,
        ended_at=body.end_date_time,
        by=caller.by,
        note=body.reason,
    )


async def _end_alone(
    caller: Caller, document: Document, reason: str, meta: Meta, closed: Closed | None
) -> None:
    """The transaction was over already and its session was never told: it ends at its last reading."""
    if closed is not None and closed.over_at is not None and meta.at - closed.over_at < ON_ITS_WAY:
        return
    values, offset = document["meter_values"], document["clock_offset_s"]
    last = values[-1] if isinstance(values, list) and values else None
    at = last["reported_at"] if isinstance(last, dict) else document["reported_start_time"]
    end = End(
        at=datetime.fromisoformat(str(at)),
        reason="Other",
        clock_offset_s=offset if isinstance(offset, int) else 0,
        by=caller.by,
        note=reason,
        flags=(Flag.BY_HAND,),
    )
    meta = msgspec.structs.replace(meta, command_id=f"{meta.command_id}|session")
    await caller.ask(EndSession(session_id=str(document["_id"]), end=end, after_all=True), meta)
