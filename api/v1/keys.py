"""`/keys`: API keys, with which services call `/api/v1` instead of a person's token; and tokens that are revoked.

A key's secret is in the answer that made it and nowhere else.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.moment import Moment
from api.problems import ProblemRoute, forbidden, invalid, not_found
from api.v1.caller import Caller, TenantAdmin, result_of, take
from api.v1.lists import Page, answer, empty, newest_first, plain
from application.key_text import ID_LENGTH, SECRET_LENGTH, key_text, letters
from application.keys import grant_of, secret_digest
from application.read_back import wait_visible
from commands.base import Meta
from commands.key import CreateKey, RevokeKey, RotateKey
from commands.subject import RevokedReply, RevokeSubject
from domain.access import MOST_ADDRESSES, SCOPES, Grant, exceeds, network_text, wrong_in
from domain.key import LONGEST_NAME, LONGEST_OVERLAP, OVERLAP
from domain.subject import LONGEST_SUBJECT
from projections import store
from projections.key import USES, USES_DATABASE
from projections.store import HUB, Condition, Document, eq
from streams.log.envelope import Reply

routes = APIRouter(route_class=ProblemRoute, tags=["keys"])

Id = Annotated[str, Path(max_length=64)]
AT_ONCE, RATE = 100, 0.1
"""How many secrets a tenant may have made at once, and how many a second over time: each stays in memory."""
HIDDEN: Final = ("secret_digest", "previous_digest")


class NewKey(BaseModel):
    """A key; it allows no more than whoever makes it may do."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=LONGEST_NAME, description="which service, for people")
    role: Literal["viewer", "operator", "tenant_admin", "platform_admin"]
    scopes: list[str] = Field(
        default_factory=list,
        max_length=len(SCOPES),
        description=f"what of its role it may do, all where it is left out: {', '.join(SCOPES)}",
    )
    expires_at: Moment | None = Field(default=None, description="for ever where it is left out")
    addresses: list[str] = Field(
        default_factory=list,
        max_length=MOST_ADDRESSES,
        description="addresses and networks, such as 192.0.2.0/24, from which alone it is accepted",
    )


class Rotation(BaseModel):
    """For how long the secret before still counts."""

    model_config = ConfigDict(extra="forbid")

    overlap_seconds: int = Field(
        default=int(OVERLAP.total_seconds()), ge=0, le=int(LONGEST_OVERLAP.total_seconds())
    )


class RevokedSubject(BaseModel):
    """The `sub` of the tokens that are to be refused."""

    model_config = ConfigDict(extra="forbid")

    subject: str = Field(min_length=1, max_length=LONGEST_SUBJECT)


@routes.post("/keys", status_code=201)
async def create(body: NewKey, caller: TenantAdmin) -> Response:
    """`key` is the secret: it is in this answer only. 403 where it would allow more than you may.

    A platform admin who names no tenant makes a key of the platform.
    """
    await _limited(caller)
    meta = await caller.meta()
    grant = _grant(body)
    if wrong := wrong_in(grant, caller.tenant or "", meta.at):
        raise invalid("body", *_parted(wrong))
    if more := exceeds(grant, caller.principal.grant):
        raise forbidden("body", *_parted(more))
    key_id = letters(_chance(caller, meta, "id"), ID_LENGTH)
    text = _made(caller, meta, key_id)
    command = CreateKey(
        tenant=caller.tenant or "",
        key_id=key_id,
        name=body.name,
        grant=grant,
        secret_digest=secret_digest(caller.services.vault, text),
    )
    reply = await caller.ask(command, meta)
    await _heard(caller, command.aggregate_id, reply)
    document = await caller.visible(HUB, "keys", key_id, reply)
    shown = await _shown(caller, document) if document is not None else {"id": key_id, "name": body.name}
    return answer({**shown, "key": text}, 201, {"Location": f"/api/v1/keys/{key_id}"})


@routes.get("/keys")
async def list_keys(
    caller: TenantAdmin,
    page: Page,
    state: Annotated[Literal["active", "revoked"] | None, Query()] = None,
    created_by: Annotated[str | None, Query(max_length=300, description="as in the audit")] = None,
) -> Response:
    """Never their secrets. A platform admin who names no tenant sees the platform's own."""
    where: list[Condition] = [eq("tenant_id", caller.tenant), *page.within("created_at")]
    if state is not None:
        where.append(eq("state", state))
    if created_by is not None:
        where.append(eq("created_by", created_by))
    query = store.Query(HUB, "keys", tuple(where), newest_first("created_at"), page.limit, page.cursor)
    found = await caller.services.store.find(query)
    ids = [str(document["_id"]) for document in found.items]
    uses = await caller.services.store.get_many(USES_DATABASE, USES, ids)
    items = [_visible(document, uses.get(str(document["_id"]))) for document in found.items]
    return answer({"items": items, "next_cursor": found.next_cursor})


@routes.get("/keys/{key_id}")
async def get(key_id: Id, caller: TenantAdmin) -> Response:
    """`last_used_at` is of the minute, and up to a minute late."""
    return answer(await _shown(caller, await _known(caller, key_id)))


@routes.post("/keys/{key_id}/rotate")
async def rotate(key_id: Id, caller: TenantAdmin, body: Rotation | None = None) -> Response:
    """Another secret for the same key, in this answer only; the one before counts for `overlap_seconds` more, an hour
    where nothing is said. 403 where the key allows more than you may, 409 where it was revoked or has expired."""
    document = await _known(caller, key_id)
    if more := exceeds(grant_of(document), caller.principal.grant):
        raise forbidden("path", *_parted(more))
    await _limited(caller)
    meta = await caller.meta()
    text = _made(caller, meta, key_id)
    command = RotateKey(
        tenant=caller.tenant or "",
        key_id=key_id,
        secret_digest=secret_digest(caller.services.vault, text),
        overlap_seconds=(body or Rotation()).overlap_seconds,
    )
    reply = await caller.ask(command, meta)
    await _heard(caller, command.aggregate_id, reply)
    changed = await caller.visible(HUB, "keys", key_id, reply)
    return answer({**await _shown(caller, changed or document), "key": text})


@routes.delete("/keys/{key_id}", status_code=204)
async def revoke(key_id: Id, caller: TenantAdmin) -> Response:
    """For good, and at every process within 10 s of this answer. Once more it is as true."""
    command = RevokeKey(tenant=caller.tenant or "", key_id=key_id)
    reply = await caller.ask(command, caller.repeatable())
    await _heard(caller, command.aggregate_id, reply)
    within = caller.services.visible_within
    await wait_visible(caller.services.store, HUB, "keys", key_id, reply.version, patience=within)
    return empty()


@routes.post("/keys/revoke-subject")
async def revoke_subject(body: RevokedSubject, caller: TenantAdmin) -> Response:
    """Tokens with this `sub` that were issued until now are refused: your tenant's, or the platform's where a
    platform admin names no tenant. Once more, under whatever Idempotency-Key, those until then are."""
    await _limited(caller)
    command = RevokeSubject(tenant=caller.tenant or "", subject=body.subject)
    reply = await caller.ask(command, caller.repeatable())
    await _heard(caller, command.aggregate_id, reply)
    before = result_of(reply, RevokedReply).before
    return answer({"subject": body.subject, "tenant_id": caller.tenant, "before": before})


async def _limited(caller: Caller) -> None:
    bucket = f"keys|{caller.tenant or ''}"
    await take(caller.services, bucket, AT_ONCE, RATE, "too many keys in too short a time")


async def _heard(caller: Caller, aggregate_id: str, reply: Reply) -> None:
    """Until this process goes by it, or for the longest wait."""
    services = caller.services
    await services.credentials.hear(aggregate_id, reply.version, services.visible_within)


def _grant(body: NewKey) -> Grant:
    addresses = []
    for number, text in enumerate(body.addresses):
        try:
            addresses.append(network_text(text))
        except ValueError:
            raise invalid(
                "body", f"addresses.{number}", "is no address and no network such as 192.0.2.0/24"
            ) from None
    return Grant(
        role=body.role,
        scopes=tuple(dict.fromkeys(body.scopes)),
        expires_at=body.expires_at,
        addresses=tuple(dict.fromkeys(addresses)),
    )


def _parted(wrong: str) -> tuple[str, str]:
    field, _, message = wrong.partition(": ")
    return field, message


def _chance(caller: Caller, meta: Meta, what: str) -> int:
    """128 bits that nobody can tell without the master key; the same again for a repeat of the same request."""
    return int(caller.services.vault.digest(f"api_key_{what}", meta.command_id), 16)


def _made(caller: Caller, meta: Meta, key_id: str) -> str:
    secret = _chance(caller, meta, "upper") << 128 | _chance(caller, meta, "lower")
    return key_text(key_id, letters(secret, SECRET_LENGTH))


async def _known(caller: Caller, key_id: str) -> Document:
    document = await caller.services.store.get(HUB, "keys", key_id)
    if document is None or document["tenant_id"] != caller.tenant:
        raise not_found(f"key {key_id}")
    return document


async def _shown(caller: Caller, document: Document) -> Document:
    return _visible(document, await caller.services.store.get(USES_DATABASE, USES, str(document["_id"])))


def _visible(document: Document, used: Document | None) -> Document:
    """Never what its secret is known by."""
    out = {name: value for name, value in plain(document).items() if name not in HIDDEN}
    return {**out, "last_used_at": used["at"] if used is not None else None}
