"""`/tokens`: the tenant's own id tags. They stand sealed in the log and in the read store."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.moment import Moment
from api.problems import ProblemRoute, not_found
from api.v1.caller import Caller, Operator, TenantAdmin, Viewer, result_of
from api.v1.lists import MASK, Page, answer, empty, listed, newest_first
from commands.token import ErasePersonalData, PutToken, RemoveToken, TokenReply
from domain.token import owner_text
from projections.moment import utc_text
from projections.store import HUB, Condition, Document, StoreUnavailableError, eq

routes = APIRouter(route_class=ProblemRoute, tags=["tokens"])

TYPE = "RFID"
IdTag = Annotated[
    str, Path(min_length=1, max_length=20, description="An OCPP idTag; its case does not matter.")
]
AnyTag = Annotated[str, Path(min_length=1, max_length=64, description="A uid; its case does not matter.")]
TagStatus = Literal["Accepted", "Blocked", "Expired"]


class Tag(BaseModel):
    """What holds of an id tag. Tags with the same parent may stop each other's charges."""

    model_config = ConfigDict(extra="forbid")

    status: TagStatus
    expiry_date: Moment | None = None
    parent_id_tag: str | None = Field(default=None, min_length=1, max_length=20)


class _Body(msgspec.Struct, omit_defaults=True):
    uid: str
    status: str
    expiry_date: datetime | None = None
    parent_id_tag: str | None = None


@routes.put("/tokens/{uid}")
async def put_token(uid: IdTag, body: Tag, caller: Operator) -> Response:
    """201 where the tag is new, else 200."""
    services, tenant = caller.services, caller.own_tenant
    vault, key = services.vault, services.vault.token_key(TYPE, uid)
    text = msgspec.json.encode(_Body(uid, body.status, body.expiry_date, body.parent_id_tag))
    group = vault.token_key(TYPE, body.parent_id_tag) if body.parent_id_tag else ""
    owner = owner_text(None, tenant)
    meta = await caller.meta()
    command = PutToken(
        tenant=tenant,
        key=key,
        token_type=TYPE,
        valid=body.status == "Accepted",
        status=body.status,
        expires_at=body.expiry_date,
        group_key=group,
        group_sealed=await vault.seal(vault.subject(owner, group), body.parent_id_tag)
        if body.parent_id_tag
        else "",
        body=await vault.seal(vault.subject(owner, key), text),
        last_updated=meta.at,
        fingerprint=vault.digest("token_body", text.decode()),
    )
    reply = await caller.ask(command, meta)
    document = await caller.visible(HUB, "tokens", _id(tenant, key), reply)
    created = result_of(reply, TokenReply).created
    shown = await _shown(caller, document) if document else {"uid": uid, **body.model_dump(mode="json")}
    return answer(shown, 201 if created else 200)


@routes.get("/tokens")
async def list_tokens(
    caller: Viewer, page: Page, status: Annotated[TagStatus | None, Query()] = None
) -> Response:
    where: list[Condition] = [eq("tenant_id", caller.own_tenant), *page.within("updated_at")]
    if status is not None:
        where.append(eq("status", status))
    return await listed(
        caller,
        HUB,
        "tokens",
        page,
        where=where,
        sort=newest_first("updated_at"),
        show=lambda document: _shown(caller, document),
    )


@routes.get("/tokens/{uid}")
async def get_token(uid: IdTag, caller: Operator) -> Response:
    key = caller.services.vault.token_key(TYPE, uid)
    document = await caller.services.store.get(HUB, "tokens", _id(caller.own_tenant, key))
    if document is None:
        raise not_found("this id tag")
    return answer(await _shown(caller, document))


@routes.delete("/tokens/{uid}", status_code=204)
async def delete_token(uid: IdTag, caller: Operator) -> Response:
    tenant, key = caller.own_tenant, caller.services.vault.token_key(TYPE, uid)
    await caller.ask(RemoveToken(tenant=tenant, key=key), await caller.meta())
    await caller.gone(HUB, "tokens", _id(tenant, key))
    return empty()


@routes.delete("/tokens/{uid}/personal-data", status_code=204)
async def erase_personal_data(uid: AnyTag, caller: TenantAdmin) -> Response:
    """Takes away what identifies a person behind a uid, whether it is a tag of yours or was only seen: in the log,
    in read models, in frames. Its charges stay, with amounts, energy and a keyed hash. The uid is used no more."""
    vault, tenant = caller.services.vault, caller.own_tenant
    key = vault.token_key(TYPE, uid)
    subjects = vault.subjects_of(owner_text(None, tenant), uid)
    command = ErasePersonalData(tenant=tenant, key=key, subjects=subjects)
    await caller.ask(command, await caller.meta())
    # What is decided is done by the projector too, and until it is done: here it is done before the answer.
    with contextlib.suppress(StoreUnavailableError):
        for subject in subjects:
            await vault.destroy(subject)
    await caller.gone(HUB, "tokens", _id(tenant, key))
    return empty()


def _id(tenant: str, key: str) -> str:
    return f"tenant:{tenant}|{key}"


async def _shown(caller: Caller, document: Document) -> Document:
    """The tag; who may not see people sees neither its uid nor its parent."""
    opened = await caller.services.vault.open(str(document["body"]))
    body = msgspec.json.decode(opened, type=_Body) if opened is not None else None
    visible = caller.sees_people and body is not None
    parent = body.parent_id_tag if body is not None else None
    return {
        "uid": body.uid if visible and body else MASK,
        "status": document["status"],
        "expiry_date": document["expiry_date"],
        "parent_id_tag": parent if visible or parent is None else MASK,
        "last_updated": utc_text(datetime.fromisoformat(str(document["last_updated"]))),
    }
