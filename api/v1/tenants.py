"""`/tenants`: who the customers of the central system are, and how each is configured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from api.problems import ProblemError, ProblemRoute, forbidden, invalid, not_found
from api.v1.caller import Caller, PlatformAdmin, TenantAdmin, Viewer, result_of, step_of
from api.v1.lists import Page, answer, listed, oldest_first, plain
from commands.base import Meta
from commands.directory import (
    ClaimParties,
    ClaimPrefix,
    PrefixReply,
    ReleaseParties,
    ReleasePrefixes,
)
from commands.tenant import ConfigureTenant, CreateTenant
from domain.access import Role
from domain.directory import PartyRole, tenant_owner
from domain.tenant import HELD_BY_PLATFORM, Configuration, held_back, wrong_in
from projections.store import HUB, Document, eq
from projections.tenant import configuration_of

routes = APIRouter(route_class=ProblemRoute, tags=["tenants"])

CPO: Final = "CPO"
Id = Annotated[str, Path(max_length=64)]


class NewTenant(BaseModel):
    """A tenant; what its configuration leaves out has its default."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern="^[a-z0-9-]{1,32}$")
    name: str = Field(min_length=1, max_length=200)
    configuration: dict[str, Any] = {}


@routes.post("/tenants", status_code=201)
async def create(body: NewTenant, caller: PlatformAdmin) -> Response:
    """409 where the id exists, or the party that its configuration names belongs to another platform."""
    configuration = _configuration(body.configuration, "configuration.")
    meta = await caller.meta(body.id)
    prefix = configuration.id_prefix
    async with _claimed(caller, body.id, prefix, meta, first=True) as number:
        if configuration.ocpi is not None:
            claim = ClaimParties(owner=tenant_owner(body.id), roles=_roles(configuration), first=True)
            await caller.ask(claim, step_of(meta, "claim"))
        command = CreateTenant(
            tenant=body.id, name=body.name, configuration=configuration, prefix_claim=number
        )
        reply = await caller.ask(command, meta)
    document = await caller.visible(HUB, "tenants", body.id, reply)
    shown = plain(document) if document is not None else {"id": body.id, "name": body.name}
    return answer(shown, 201, {"Location": f"/api/v1/tenants/{body.id}"})


@routes.get("/tenants")
async def list_tenants(caller: Viewer, page: Page) -> Response:
    """All for a platform admin, else the one that the token names."""
    where = [*page.within("created_at")]
    if caller.tenant is not None:
        where.append(eq("_id", caller.tenant))

    async def show(document: Document) -> Document:
        return plain(document)

    return await listed(caller, HUB, "tenants", page, where=where, sort=oldest_first("created_at"), show=show)


@routes.get("/tenants/{tenant_id}")
async def get(tenant_id: Id, caller: Viewer) -> Response:
    return answer(plain(await _known(caller, tenant_id)))


@routes.put("/tenants/{tenant_id}/config")
async def configure(tenant_id: Id, body: dict[str, Any], caller: TenantAdmin) -> Response:
    """The whole configuration anew; what is left out goes back to its default.

    Limits, quotas, the prefix of ids and the party are the platform's to grant: a tenant admin who leaves them out
    keeps them, and one who changes them gets 403.
    """
    document = await _known(caller, tenant_id)
    before = configuration_of(document)
    by_platform = caller.principal.role >= Role.PLATFORM_ADMIN
    configuration = _configuration(body if by_platform else {**_granted(document), **body}, "")
    if not by_platform and (held := held_back(before, configuration)):
        raise forbidden("body", held, "only a platform admin may change it")
    meta = await caller.meta(tenant_id)
    owner = tenant_owner(tenant_id)
    prefix = configuration.id_prefix if configuration.id_prefix != before.id_prefix else ""
    async with _claimed(caller, tenant_id, prefix, meta) as number:
        if configuration.ocpi is not None:
            claim = ClaimParties(owner=owner, roles=_roles(configuration))
            await caller.ask(claim, step_of(meta, "claim"))
        command = ConfigureTenant(
            tenant=tenant_id, configuration=configuration, prefix_claim=number, by_platform=by_platform
        )
        reply = await caller.ask(command, meta)
    if configuration.ocpi is None and before.ocpi is not None:
        await caller.ask(ReleaseParties(owner=owner), step_of(meta, "release"))
    changed = await caller.visible(HUB, "tenants", tenant_id, reply)
    return answer(plain(changed) if changed is not None else {"id": tenant_id})


@asynccontextmanager
async def _claimed(
    caller: Caller, tenant_id: str, prefix: str, meta: Meta, *, first: bool = False
) -> AsyncIterator[int]:
    """The number of the claim on a prefix, 0 for none; given back where what it is for is refused."""
    if not prefix:
        yield 0
        return
    owner = tenant_owner(tenant_id)
    claim = ClaimPrefix(owner=owner, prefix=prefix, first=first)
    claimed = result_of(await caller.ask(claim, step_of(meta, "prefix")), PrefixReply)
    try:
        yield claimed.number
    except ProblemError:
        if claimed.new:
            back = ReleasePrefixes(owner=owner, since=claimed.number, upto=claimed.number)
            await caller.ask(back, step_of(meta, "prefix back"))
        raise


def _granted(document: Document) -> Document:
    """What the platform gave, as the tenant has it."""
    configuration = document["configuration"]
    assert isinstance(configuration, dict)
    return {name: configuration[name] for name in HELD_BY_PLATFORM if name in configuration}


async def _known(caller: Caller, tenant_id: str) -> Document:
    if caller.tenant not in (None, tenant_id):
        raise not_found(f"tenant {tenant_id}")
    document = await caller.services.store.get(HUB, "tenants", tenant_id)
    if document is None:
        raise not_found(f"tenant {tenant_id}")
    return document


def _configuration(value: dict[str, Any], prefix: str) -> Configuration:
    """Strict: an unknown setting is refused, whatever its value."""
    unknown = next(_unknown(value, Configuration(), prefix), None)
    if unknown is not None:
        raise invalid("body", unknown, "there is no such setting")
    try:
        configuration = msgspec.convert(value, Configuration)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        field = (prefix + path.rstrip("`").lstrip(".")).rstrip(".")
        raise invalid("body", field or "body", message) from None
    if wrong := wrong_in(configuration):
        field, _, message = wrong.partition(": ")
        raise invalid("body", prefix + field, message)
    return configuration


_GROUPS: Final = ("features", "message_timeouts")


def _unknown(value: dict[str, Any], known: msgspec.Struct, prefix: str) -> Any:
    for name, item in value.items():
        if name not in known.__struct_fields__:
            yield prefix + name
        elif name in _GROUPS and isinstance(item, dict):
            yield from _unknown(item, getattr(known, name), f"{prefix}{name}.")


def _roles(configuration: Configuration) -> tuple[PartyRole, ...]:
    party = configuration.ocpi
    if party is None:
        raise ProblemError(500, "a tenant without a party claims none")
    return (PartyRole(role=CPO, country_code=party.country_code, party_id=party.party_id),)
