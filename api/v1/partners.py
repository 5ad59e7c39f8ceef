"""`/partners`: the platforms that the hub speaks OCPI with. Tokens are shown once, where they are made."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.problems import ProblemError, ProblemRoute, not_found
from api.v1.caller import Caller, PlatformAdmin, result_of, step_of, take
from api.v1.lists import Page, answer, empty, listed, newest_first, oldest_first
from application.vault import Vault
from commands.base import Command, Meta
from commands.directory import ClaimParties, ReleaseParties
from commands.partner import (
    TOKEN_DIGEST,
    CreatePartner,
    GrantRoles,
    PartnerReply,
    RefuseRoles,
    ReissueTokenA,
    Remove,
    Resume,
    Suspend,
    vault_subject,
)
from domain.directory import PartyRole
from domain.partner import PartnerRole, Roles, Secret
from domain.values import plain_json
from projections.moment import utc_text
from projections.store import HUB, Condition, Document, eq, is_in
from projections.store import Query as Find

routes = APIRouter(route_class=ProblemRoute, tags=["partners"])

_SHOWN: Final = (
    "name",
    "status",
    "roles",
    "granted_roles",
    "requested_roles",
    "versions_url",
    "ocpi_version",
    "hub_party_id",
    "endpoints",
    "registered_at",
    "created_at",
    "updated_at",
)
Id = Annotated[str, Path(max_length=64)]


class RoleInput(BaseModel):
    """A role of OCPI's CredentialsRole."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["CPO", "EMSP", "HUB", "NAP", "NSP", "OTHER", "SCSP", "PTP"]
    country_code: str = Field(pattern="^[A-Za-z]{2}$")
    party_id: str = Field(pattern="^[A-Za-z0-9]{3}$")
    business_details: Annotated[dict[str, Any], AfterValidator(plain_json)] = {}


class TheirSide(BaseModel):
    """`versions_url` and `token` are theirs, for a handshake that we start."""

    model_config = ConfigDict(extra="forbid")

    versions_url: str | None = Field(default=None, max_length=255, pattern=r"^https?://[^\s/]+(/\S*)?$")
    token: str | None = Field(default=None, min_length=1, max_length=64, pattern=r"^[!-~]+$")


class NewPartner(TheirSide):
    """Who it is, and what we need for a handshake that we start."""

    id: str = Field(pattern="^[A-Za-z0-9_-]{1,64}$")
    name: str = Field(min_length=1, max_length=200)
    roles: list[RoleInput] = Field(min_length=1, max_length=50)


class GrantedRoles(BaseModel):
    """Roles that the partner may have from now on, asked for or not."""

    model_config = ConfigDict(extra="forbid")

    roles: list[RoleInput] = Field(min_length=1, max_length=50)


class RefusedRoles(GrantedRoles):
    """Roles that wait and are refused; the reason stands in the log."""

    reason: str = Field(default="", max_length=500)


class Partner(BaseModel):
    """A platform that the hub speaks OCPI with. `roles` are those that count: named in its credentials and granted;
    `requested_roles` are named there and wait to be granted or refused."""

    id: str
    name: str
    status: str
    roles: list[RoleInput]
    granted_roles: list[RoleInput]
    requested_roles: list[RoleInput]
    versions_url: str | None
    ocpi_version: str | None
    hub_party_id: str | None
    endpoints: list[dict[str, Any]]
    registered_at: str | None
    created_at: str
    updated_at: str


class SelfTestStep(BaseModel):
    """One request to the partner; `http_status` and `ocpi_status` are 0 where there was no such answer."""

    name: str = Field(examples=["cdrs SENDER"])
    url: str
    verdict: Literal[
        "ok", "refused", "unreachable", "timed_out", "broken", "not_ocpi", "blocked", "not_called"
    ] = Field(description="`blocked` by our policy for URLs; `not_called`: it only takes what is sent")
    http_status: int
    ocpi_status: int
    milliseconds: int
    message: str = Field(examples=["a list has the header X-Total-Count"])


class FailingDelivery(BaseModel):
    """Something that this partner could not be told, and why."""

    id: str
    module: str
    state: str
    attempts: int
    last_error: str | None
    updated_at: str


class PartnerTested(BaseModel):
    """What was asked, what came, and what could not be told of late."""

    partner_id: str
    tested_at: str
    ok: bool
    steps: list[SelfTestStep]
    handshake_error: str | None = Field(description="of our last handshake")
    failing_deliveries: list[FailingDelivery] = Field(
        description="at most five of each of its parties, newest first"
    )


class Suspension(BaseModel):
    """Why; it stands in the log."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500)


@routes.post("/partners", status_code=201)
async def create(body: NewPartner, caller: PlatformAdmin) -> Response:
    """409 where the id exists or a party is spoken for by another platform. `token_a` is in this answer only."""
    if body.id == "hub":
        raise ProblemError(409, "hub is the hub itself", code="already_exists")
    vault = caller.services.vault
    meta = await caller.meta("")
    roles = _roles(body.roles)
    await caller.ask(ClaimParties(owner=body.id, roles=_parties(roles), first=True), step_of(meta, "claim"))
    token_a = vault.digest("token_a", meta.command_id)
    command = CreatePartner(
        partner_id=body.id,
        name=body.name,
        roles=roles,
        token_a=await _secret(vault, body.id, token_a),
        versions_url=body.versions_url or "",
        their_token_a=await _theirs(vault, body.id, body),
    )
    planned = await _planned(caller, command, meta, token_a)
    return answer(planned, 201, {"Location": f"/api/v1/partners/{body.id}"})


@routes.post("/partners/{partner_id}/token")
async def reissue(partner_id: Id, caller: PlatformAdmin, body: TheirSide | None = None) -> Response:
    """A new token A for a partner that is not registered, such as one that has unregistered; 409 for one that is.

    `token_a` is in this answer only, and the one before it is dead. What the body names of their side replaces what
    was known of it.
    """
    theirs = body or TheirSide()
    vault, meta = caller.services.vault, await caller.meta("")
    token_a = vault.digest("token_a", meta.command_id)
    command = ReissueTokenA(
        partner_id=partner_id,
        token_a=await _secret(vault, partner_id, token_a),
        versions_url=theirs.versions_url or "",
        their_token_a=await _theirs(vault, partner_id, theirs),
    )
    return answer(await _planned(caller, command, meta, token_a))


@routes.get("/partners")
async def list_partners(
    caller: PlatformAdmin,
    page: Page,
    status: Annotated[str | None, Query(pattern="^(PLANNED|CONNECTED|OFFLINE|SUSPENDED)$")] = None,
    waiting: Annotated[bool | None, Query(description="whether it waits for roles to be granted")] = None,
) -> Response:
    where: list[Condition] = [*page.within("created_at")]
    if waiting is not None:
        where.append(eq("waiting", waiting))
    if status is not None:
        where.append(eq("status", status))

    async def show(document: Document) -> Document:
        return _shown(document)

    return await listed(
        caller, HUB, "partners", page, where=where, sort=oldest_first("created_at"), show=show
    )


@routes.get("/partners/{partner_id}")
async def get(partner_id: Id, caller: PlatformAdmin) -> Response:
    return answer(_shown(await _known(caller, partner_id)))


@routes.post("/partners/{partner_id}/register")
async def register(partner_id: Id, caller: PlatformAdmin) -> Response:
    """The whole handshake, from our side; 409 where there is nothing to begin with, 502 where the partner did not go
    along."""
    document = await _known(caller, partner_id)
    if document.get("versions_url") is None and document.get("digest_c") is None:
        raise ProblemError(409, "give the partner's versions_url and token first: POST …/token")
    outcome = await caller.services.registrar.register(partner_id)
    if not outcome.ok:
        raise ProblemError(502, outcome.reason, code="registration_failed")
    return answer(_shown(await _known(caller, partner_id)))


@routes.post("/partners/{partner_id}/rotate", response_model=Partner)
async def rotate(partner_id: Id, caller: PlatformAdmin) -> Response:
    """New tokens both ways for a registered partner, by new credentials (PUT) from our side; the partner's old one
    is accepted for another 30 s. 409 where it is not registered, 502 where it did not go along: all is as before."""
    await _registered(caller, partner_id)
    outcome = await caller.services.registrar.rotate(partner_id)
    if not outcome.ok:
        raise ProblemError(502, outcome.reason, code="registration_failed")
    return answer(_shown(await _known(caller, partner_id)))


@routes.post("/partners/{partner_id}/unregister", response_model=Partner)
async def unregister(partner_id: Id, caller: PlatformAdmin) -> Response:
    """End the registration on both sides: its tokens are dead here, whatever the partner answers, and it is OFFLINE;
    a new token A lets it come back. 409 where it is not registered."""
    await _registered(caller, partner_id)
    outcome = await caller.services.registrar.unregister(partner_id)
    document = await _known(caller, partner_id)
    if not outcome.ok and document.get("digest_c") is not None:
        raise ProblemError(502, outcome.reason, code="registration_failed")
    return answer(_shown(document))


@routes.post("/partners/{partner_id}/test", response_model=PartnerTested)
async def test(partner_id: Id, caller: PlatformAdmin) -> Response:
    """Ask it for its versions, its details and one object of each list that it offers; nothing changes anywhere.

    409 where it is not registered, 429 after six of one partner in a minute.
    """
    document = await _registered(caller, partner_id)
    what = "a partner is tested at most six times a minute"
    await take(caller.services, f"partner-test|{partner_id}", 6.0, 0.1, what)
    steps = await caller.services.partner_test.run(partner_id)
    if steps is None:  # it has gone meanwhile
        raise _not_registered(partner_id)
    parties = document["parties"] if isinstance(document["parties"], list) else []
    failing = await _failing(caller, [str(party) for party in parties])
    return answer(
        {
            "partner_id": partner_id,
            "tested_at": utc_text(caller.services.clock()),
            "ok": all(step.verdict in ("ok", "not_called") for step in steps),
            "steps": [{name: getattr(step, name) for name in SelfTestStep.model_fields} for step in steps],
            "handshake_error": document.get("handshake_error"),
            "failing_deliveries": failing,
        }
    )


@routes.post("/partners/{partner_id}/roles/grant", response_model=Partner)
async def grant(partner_id: Id, caller: PlatformAdmin, body: GrantedRoles) -> Response:
    """Those that its credentials name count at once; 409 where a party is spoken for by another platform."""
    await _known(caller, partner_id)
    roles, meta = _roles(body.roles), await caller.meta("")
    await caller.ask(ClaimParties(owner=partner_id, roles=_parties(roles), more=True), step_of(meta, "claim"))
    return await _changed(caller, partner_id, GrantRoles(partner_id=partner_id, roles=roles), meta)


@routes.post("/partners/{partner_id}/roles/refuse", response_model=Partner)
async def refuse(partner_id: Id, caller: PlatformAdmin, body: RefusedRoles) -> Response:
    """Roles that wait; 404 where one does not."""
    command = RefuseRoles(partner_id=partner_id, roles=_roles(body.roles), reason=body.reason)
    return await _changed(caller, partner_id, command)


@routes.post("/partners/{partner_id}/suspend")
async def suspend(partner_id: Id, caller: PlatformAdmin, body: Suspension | None = None) -> Response:
    reason = body.reason if body is not None else ""
    return await _changed(caller, partner_id, Suspend(partner_id=partner_id, reason=reason))


@routes.post("/partners/{partner_id}/resume")
async def resume(partner_id: Id, caller: PlatformAdmin) -> Response:
    return await _changed(caller, partner_id, Resume(partner_id=partner_id))


@routes.delete("/partners/{partner_id}", status_code=204)
async def remove(partner_id: Id, caller: PlatformAdmin) -> Response:
    """Its tokens die, and its parties are free again."""
    meta = await caller.meta("")
    await caller.ask(Remove(partner_id=partner_id), meta)
    await caller.ask(ReleaseParties(owner=partner_id), step_of(meta, "release"))
    await caller.gone(HUB, "partners", partner_id)
    return empty()


async def _failing(caller: Caller, parties: list[str]) -> list[dict[str, Any]]:
    """The newest of what each party could not be told."""
    found: list[dict[str, Any]] = []
    for party in parties:
        where = (eq("to", party), is_in("state", ["waiting", "failed", "behind"]))
        page = await caller.services.store.find(Find(HUB, "deliveries", where, newest_first("updated_at"), 5))
        for one in page.items:
            if one["attempts"]:
                names = [name for name in FailingDelivery.model_fields if name != "id"]
                found.append({"id": one["_id"], **{name: one.get(name) for name in names}})
    return found


def _roles(given: list[RoleInput]) -> Roles:
    return tuple(
        PartnerRole(
            role=one.role,
            country_code=one.country_code.upper(),
            party_id=one.party_id.upper(),
            business_details=one.business_details,
        )
        for one in given
    )


def _parties(roles: Roles) -> tuple[PartyRole, ...]:
    return tuple(
        PartyRole(role=one.role, country_code=one.country_code, party_id=one.party_id) for one in roles
    )


async def _planned(
    caller: Caller, command: CreatePartner | ReissueTokenA, meta: Meta, token_a: str
) -> dict[str, str]:
    """What a partner has to be told, so that it can register."""
    reply = await caller.ask(command, meta)
    await caller.visible(HUB, "partners", command.partner_id, reply)
    return {
        "id": command.partner_id,
        "token_a": token_a,
        "versions_url": f"{caller.services.public_url}/ocpi/versions",
        "status": result_of(reply, PartnerReply).status,
    }


async def _theirs(vault: Vault, partner_id: str, theirs: TheirSide) -> str:
    """Their token as the log keeps it; empty where none is given."""
    return await vault.seal(vault_subject(partner_id), theirs.token) if theirs.token else ""


async def _secret(vault: Vault, partner_id: str, token: str) -> Secret:
    """A token as the log keeps it."""
    sealed = await vault.seal(vault_subject(partner_id), token)
    return Secret(digest=vault.digest(TOKEN_DIGEST, token), sealed=sealed)


async def _changed(caller: Caller, partner_id: str, command: Command, meta: Meta | None = None) -> Response:
    reply = await caller.ask(command, meta or await caller.meta(""))
    document = await caller.visible(HUB, "partners", partner_id, reply)
    return answer(_shown(document) if document is not None else {"id": partner_id})


async def _known(caller: Caller, partner_id: str) -> Document:
    document = await caller.services.store.get(HUB, "partners", partner_id)
    if document is None:
        raise not_found(f"partner {partner_id}")
    return document


async def _registered(caller: Caller, partner_id: str) -> Document:
    document = await _known(caller, partner_id)
    if document.get("digest_c") is None:
        raise _not_registered(partner_id)
    return document


def _not_registered(partner_id: str) -> ProblemError:
    return ProblemError(409, f"partner {partner_id} is not registered", code="not_allowed")


def _shown(document: Document) -> Document:
    """Without tokens and their digests."""
    return {"id": document["_id"], **{name: document.get(name) for name in _SHOWN}}
