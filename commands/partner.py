"""What can be asked of a partner: to be planned, to register, to change or end its registration, to be suspended.

The handshake's HTTP calls happen before: a command carries what they led to, with tokens as sealed text and keyed
digests. NOT_ALLOWED is what OCPI answers with HTTP 405 (chapter Credentials): POST when registered, PUT and DELETE
when not.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar, Final

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.partner import (
    CredentialsUpdated,
    HandshakeBegun,
    HandshakeFailed,
    Partner,
    PartnerConnection,
    PartnerCreated,
    PartnerRegistered,
    PartnerRemoved,
    PartnerResumed,
    PartnerRole,
    PartnerSuspended,
    PartnerUnregistered,
    Roles,
    RolesGranted,
    RolesRefused,
    RolesRequested,
    Secret,
    TokenAReissued,
    partner_aggregate_id,
    within,
    without,
)
from domain.values import JSONObject, Sealed, plain_json
from protocols.ocpi import OcpiInvalidError, dump_json, v2_2_1, v2_3_0
from protocols.ocpi.types import JSON

GRACE: Final = timedelta(seconds=30)
"""How long the old token C is accepted after new credentials were given: until the answer has surely arrived."""


PARTNER_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


TOKEN_DIGEST: Final = "ocpi"
"""The kind of digest that tokens of OCPI are found by: `vault.digest(TOKEN_DIGEST, token)`."""


def vault_subject(partner_id: str) -> str:
    """Whom a partner's tokens are sealed for: `vault.seal(vault_subject(id), token)`."""
    return f"partner-{partner_id}"


def roles_of(credentials: v2_3_0.Credentials | v2_2_1.Credentials) -> Roles:
    """The roles in a credentials object, as the log holds them. Raises OcpiInvalidError."""
    return tuple(
        PartnerRole(
            role=role.role.value,
            country_code=role.country_code.upper(),
            party_id=role.party_id.upper(),
            business_details=_plain(dump_json(role.business_details)),
        )
        for role in credentials.roles
    )


def _plain(details: dict[str, JSON]) -> JSONObject:
    try:
        plain: JSONObject = plain_json(details)
    except ValueError as error:
        raise OcpiInvalidError("roles.business_details", str(error)) from None
    return plain


def hub_party_of(credentials: v2_3_0.Credentials | v2_2_1.Credentials) -> str:
    """The hub that the partner is itself, as five characters; empty where it is none."""
    if isinstance(credentials, v2_3_0.Credentials):
        return (credentials.hub_party_id or "").upper()
    return next((f"{r.country_code}{r.party_id}".upper() for r in credentials.roles if r.role == "HUB"), "")


class _OfPartner(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.PARTY
    partner_id: str

    @property
    def aggregate_id(self) -> str:
        return partner_aggregate_id(self.partner_id)


class CreatePartner(_OfPartner, frozen=True, kw_only=True, tag="partner.create.v1"):
    """A planned partner, whose parties were claimed before and are granted by this; its id is `[A-Za-z0-9_-]{1,64}`.

    A removed one may be created anew.
    """

    name: str
    roles: Roles
    token_a: Secret
    versions_url: str = ""
    their_token_a: Sealed = ""


class ReissueTokenA(_OfPartner, frozen=True, kw_only=True, tag="partner.reissue_token_a.v1"):
    """A new token A for a partner that is not registered; perhaps new data for a handshake from our side."""

    token_a: Secret
    versions_url: str = ""
    their_token_a: Sealed = ""


class BeginHandshake(_OfPartner, frozen=True, kw_only=True, tag="partner.begin_handshake.v1"):
    """We are about to send our credentials (POST, or PUT with `update`), with this token C in them."""

    token_c: Secret
    update: bool = False


class FailHandshake(_OfPartner, frozen=True, kw_only=True, tag="partner.fail_handshake.v1"):
    """Our handshake with this token C (its digest) came to nothing."""

    digest: str
    reason: str


class Register(_OfPartner, frozen=True, kw_only=True, tag="partner.register.v1"):
    """The handshake went well. Theirs names the digest of the token A that it used, which must still live."""

    connection: PartnerConnection
    initiator: str = "them"
    token_a_digest: str = ""


class UpdateCredentials(_OfPartner, frozen=True, kw_only=True, tag="partner.update_credentials.v1"):
    """New credentials both ways. `instead_of` is the digest of the token C that they replace."""

    connection: PartnerConnection
    initiator: str = "them"
    instead_of: str = ""


class RequestRoles(_OfPartner, frozen=True, kw_only=True, tag="partner.request_roles.v1"):
    """Its credentials name these roles, and the registration came to nothing because none of them is granted."""

    roles: Roles


class GrantRoles(_OfPartner, frozen=True, kw_only=True, tag="partner.grant_roles.v1"):
    """The operator grants more roles, asked for or not; their parties were claimed before."""

    roles: Roles


class RefuseRoles(_OfPartner, frozen=True, kw_only=True, tag="partner.refuse_roles.v1"):
    """The operator refuses roles that wait."""

    roles: Roles
    reason: str = ""


class Unregister(_OfPartner, frozen=True, kw_only=True, tag="partner.unregister.v1"):
    """The registration is over."""

    initiator: str = "them"


class Suspend(_OfPartner, frozen=True, kw_only=True, tag="partner.suspend.v1"):
    """Nothing goes to it and nothing is taken from it until it is resumed."""

    reason: str = ""


class Resume(_OfPartner, frozen=True, kw_only=True, tag="partner.resume.v1"):
    """Undoes a suspension."""


class Remove(_OfPartner, frozen=True, kw_only=True, tag="partner.remove.v1"):
    """Its tokens die; its parties are to be released in the directory."""


class PartnerReply(msgspec.Struct, frozen=True, kw_only=True):
    """The partner's status after the decision: PLANNED, CONNECTED, OFFLINE, SUSPENDED or REMOVED."""

    partner_id: str
    status: str


def create(partner: Partner, command: CreatePartner, meta: Meta) -> Outcome:
    if partner.exists and not partner.removed:
        return Rejected(Refusal.ALREADY_EXISTS, f"partner {command.partner_id} exists")
    if not PARTNER_ID.fullmatch(command.partner_id):
        return Rejected(
            Refusal.INVALID, f"id: must match {PARTNER_ID.pattern}, got {command.partner_id[:40]!r}"
        )
    if not command.roles:
        return Rejected(Refusal.INVALID, "roles: must have at least one entry")
    if command.their_token_a and not command.versions_url:
        return Rejected(Refusal.INVALID, "versions_url: is required with a token of theirs")
    partner.trigger(
        PartnerCreated,
        meta.at,
        partner_id=command.partner_id,
        name=command.name,
        roles=command.roles,
        token_a=command.token_a,
        versions_url=command.versions_url,
        their_token_a=command.their_token_a,
    )
    return _reply(partner, command)


def reissue_token_a(partner: Partner, command: ReissueTokenA, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    if partner.registered:
        return Rejected(Refusal.NOT_ALLOWED, "it is registered: new tokens come with new credentials (PUT)")
    partner.trigger(
        TokenAReissued,
        meta.at,
        token_a=command.token_a,
        versions_url=command.versions_url,
        their_token_a=command.their_token_a,
    )
    return _reply(partner, command)


def begin_handshake(partner: Partner, command: BeginHandshake, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    if partner.state.suspended:
        return Rejected(Refusal.NOT_ALLOWED, "it is suspended")
    if partner.registered and not command.update:
        return Rejected(Refusal.NOT_ALLOWED, "it is registered already")
    if command.update and not partner.registered:
        return Rejected(Refusal.NOT_ALLOWED, "it is not registered")
    partner.trigger(HandshakeBegun, meta.at, token_c=command.token_c)
    return _reply(partner, command)


def fail_handshake(partner: Partner, command: FailHandshake, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    pending = partner.state.pending_c
    if pending is not None and pending.digest == command.digest:
        partner.trigger(HandshakeFailed, meta.at, reason=command.reason)
    return _reply(partner, command)


def register(partner: Partner, command: Register, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    state = partner.state
    if partner.registered:
        return Rejected(Refusal.NOT_ALLOWED, "it is registered already")
    if command.initiator == "them" and (
        state.token_a is None or state.token_a.digest != command.token_a_digest
    ):
        return Rejected(Refusal.NOT_ALLOWED, "the token A of this handshake is not valid any more")
    if command.initiator == "us" and not _begun(partner, command.connection):
        return Rejected(Refusal.CONFLICT, "another handshake was begun meanwhile")
    if refused := _suspended(partner) or _none_granted(partner, command.connection):
        return refused
    partner.trigger(
        PartnerRegistered, meta.at, initiator=command.initiator, **_limited(partner, command.connection)
    )
    return _reply(partner, command)


def update_credentials(partner: Partner, command: UpdateCredentials, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    connection = partner.state.connection
    if connection is None:
        return Rejected(Refusal.NOT_ALLOWED, "it is not registered")
    if command.instead_of and command.instead_of != connection.token_c.digest:
        return Rejected(Refusal.CONFLICT, "its credentials were changed meanwhile")
    if command.initiator == "us" and not _begun(partner, command.connection):
        return Rejected(Refusal.CONFLICT, "another handshake was begun meanwhile")
    if refused := _suspended(partner) or _none_granted(partner, command.connection):
        return refused
    partner.trigger(
        CredentialsUpdated,
        meta.at,
        previous_until=meta.at + GRACE,
        initiator=command.initiator,
        **_limited(partner, command.connection),
    )
    return _reply(partner, command)


def request_roles(partner: Partner, command: RequestRoles, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    state = partner.state
    requested = without(command.roles, state.granted)
    if without(requested, state.requested):
        partner.trigger(RolesRequested, meta.at, roles=(*without(state.requested, requested), *requested))
    return _reply(partner, command)


def grant_roles(partner: Partner, command: GrantRoles, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    roles = without(command.roles, partner.state.granted)
    if roles:
        partner.trigger(RolesGranted, meta.at, roles=roles)
    return _reply(partner, command)


def refuse_roles(partner: Partner, command: RefuseRoles, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    if missing := without(command.roles, partner.state.requested):
        return Rejected(Refusal.UNKNOWN, f"it does not wait for {_said(missing)}")
    partner.trigger(RolesRefused, meta.at, roles=command.roles, reason=command.reason)
    return _reply(partner, command)


def unregister(partner: Partner, command: Unregister, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    if not partner.registered:
        return Rejected(Refusal.NOT_ALLOWED, "it is not registered")
    partner.trigger(PartnerUnregistered, meta.at, initiator=command.initiator)
    return _reply(partner, command)


def suspend(partner: Partner, command: Suspend, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    if not partner.state.suspended:
        partner.trigger(PartnerSuspended, meta.at, reason=command.reason)
    return _reply(partner, command)


def resume(partner: Partner, command: Resume, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    if partner.state.suspended:
        partner.trigger(PartnerResumed, meta.at)
    return _reply(partner, command)


def remove(partner: Partner, command: Remove, meta: Meta) -> Outcome:
    if refused := _unknown(partner, command):
        return refused
    partner.trigger(PartnerRemoved, meta.at)
    return _reply(partner, command)


def _limited(partner: Partner, connection: PartnerConnection) -> dict[str, Any]:
    """The connection with the roles that are granted, and the others as a request."""
    granted = partner.state.granted
    counting = msgspec.structs.replace(connection, roles=within(connection.roles, granted))
    return {"connection": counting, "requested": without(connection.roles, granted)}


def _none_granted(partner: Partner, connection: PartnerConnection) -> Rejected | None:
    if within(connection.roles, partner.state.granted):
        return None
    return Rejected(
        Refusal.INVALID, f"roles: none is granted to this platform, got {_said(connection.roles)}"
    )


def _suspended(partner: Partner) -> Rejected | None:
    return Rejected(Refusal.NOT_ALLOWED, "it is suspended") if partner.state.suspended else None


def _said(roles: Roles) -> str:
    return ", ".join(f"{role.role} {role.party}" for role in roles)


def _begun(partner: Partner, connection: PartnerConnection) -> bool:
    pending = partner.state.pending_c
    return pending is not None and pending.digest == connection.token_c.digest


def _unknown(partner: Partner, command: _OfPartner) -> Rejected | None:
    if partner.exists and not partner.removed:
        return None
    return Rejected(Refusal.UNKNOWN, f"there is no partner {command.partner_id[:40]}")


def _reply(partner: Partner, command: _OfPartner) -> Accepted:
    return Accepted(PartnerReply(partner_id=command.partner_id, status=partner.state.status))


ROUTES: dict[type[Command], Route] = {
    CreatePartner: Route(Partner, create),
    ReissueTokenA: Route(Partner, reissue_token_a),
    BeginHandshake: Route(Partner, begin_handshake),
    FailHandshake: Route(Partner, fail_handshake),
    Register: Route(Partner, register),
    UpdateCredentials: Route(Partner, update_credentials),
    RequestRoles: Route(Partner, request_roles),
    GrantRoles: Route(Partner, grant_roles),
    RefuseRoles: Route(Partner, refuse_roles),
    Unregister: Route(Partner, unregister),
    Suspend: Route(Partner, suspend),
    Resume: Route(Partner, resume),
    Remove: Route(Partner, remove),
}
