"""`/chargepoints/{id}/commands` and `/commands`: ask a charge point for something, and read what became of it."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.problems import ProblemRoute, not_found
from api.v1.caller import Caller, Operator, Viewer, accepted
from api.v1.lists import Page, answer, listed_of_tenant, shown
from application.remote_commands import request_remote_command
from commands.remote_command import Status
from domain.remote_command import EXPIRY_LONGEST
from domain.values import JSONObject

routes = APIRouter(route_class=ProblemRoute, tags=["commands"])

STATUSES: Final = "^(pending|sent|accepted|rejected|failed|timed_out|expired)$"


class NewCommand(BaseModel):
    """`command_type` and the `parameters` that belong to it: docs/commands.md."""

    model_config = ConfigDict(extra="forbid")

    command_type: str = Field(max_length=64)
    parameters: dict[str, Any] = {}
    command_id: str | None = Field(default=None, min_length=1, max_length=128)
    expiry_seconds: int | None = Field(
        default=None,
        ge=1,
        le=int(EXPIRY_LONGEST.total_seconds()),
        description="how long it may wait to be sent; else as the tenant says",
    )
    override: bool = Field(
        default=False, description="send it although the charge point says that it cannot do this"
    )


@routes.post("/chargepoints/{charge_point_id}/commands", status_code=202)
async def request_command(charge_point_id: str, body: NewCommand, caller: Operator) -> Response:
    command_id = body.command_id or caller.idempotency_key or str(uuid4())
    return await requested(
        caller,
        charge_point_id,
        body.command_type,
        body.parameters,
        command_id,
        expiry_seconds=body.expiry_seconds,
        override=body.override,
    )


async def requested(
    caller: Caller,
    charge_point_id: str,
    command_type: str,
    parameters: JSONObject,
    command_id: str,
    *,
    expiry_seconds: int | None = None,
    override: bool = False,
) -> Response:
    """202 with the command's id and status, once it is in the log."""
    asked = await request_remote_command(
        caller.services.remote_commands,
        tenant=caller.own_tenant,
        charge_point_id=charge_point_id,
        command_type=command_type,
        parameters=parameters,
        command_id=command_id,
        principal=caller.by,
        role=caller.principal.role.text,
        expiry_seconds=expiry_seconds,
        override=override,
    )
    outcome = accepted(asked)
    await caller.visible(caller.database, "commands", command_id, outcome)
    status = msgspec.json.decode(outcome.result, type=Status)
    where = {"Location": f"/api/v1/commands/{quote(command_id)}"}
    warning = {"warning": status.warning} if status.warning else {}
    return answer({"command_id": status.command_id, "status": status.status, **warning}, 202, where)


@routes.get("/commands")
async def list_commands(
    caller: Viewer,
    page: Page,
    status: Annotated[str | None, Query(pattern=STATUSES)] = None,
    charge_point_id: str | None = None,
    partner: Annotated[
        str | None, Query(max_length=36, description="the id of the partner that asked for it by OCPI")
    ] = None,
) -> Response:
    asked = {"status": status, "charge_point_id": charge_point_id, "ocpi.partner_id": partner}
    return await listed_of_tenant(caller, "commands", page, "created_at", asked)


@routes.get("/commands/{command_id:path}")
async def get_command(command_id: Annotated[str, Path(max_length=128)], caller: Viewer) -> Response:
    document = await caller.services.store.get(caller.database, "commands", command_id)
    if document is None:
        raise not_found(f"command {command_id}")
    return answer(await shown(caller, document))
