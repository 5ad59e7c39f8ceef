"""`/sessions`: charges that run and that are over, as their tenant sees them; and the forced stop."""

from __future__ import annotations

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Response

from api.problems import Problem, ProblemRoute, not_found
from api.v1.caller import Operator, Viewer
from api.v1.commands import requested
from api.v1.lists import Page, answer, listed, newest_first, shown
from projections.store import Condition, eq
from streams.envelope import Reply

routes = APIRouter(route_class=ProblemRoute, tags=["sessions"])


@routes.get("/sessions")
async def list_sessions(
    caller: Viewer,
    page: Page,
    status: Annotated[str | None, Query(pattern="^(active|completed|faulted)$")] = None,
    charge_point_id: str | None = None,
) -> Response:
    where: list[Condition] = [*page.within("start_time")]
    if status is not None:
        where.append(eq("status", status))
    if charge_point_id is not None:
        where.append(eq("charge_point_id", charge_point_id))
    return await listed(
        caller,
        caller.database,
        "sessions",
        page,
        where=where,
        sort=newest_first("start_time"),
        show=lambda document: shown(caller, document),
    )


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
        raise Problem(409, f"session {session_id} is over", code="not_allowed")
    command_id = caller.idempotency_key or str(uuid4())
    charge_point_id = str(document["charge_point_id"])
    parameters = {"transaction_id": document["transaction_id"]}
    return await requested(caller, charge_point_id, "remote_stop", parameters, command_id)
