"""A partner: another platform that speaks OCPI with the hub, and the state of that connection.

Three tokens, named as in a handshake that the partner begins: A lets it register, once; B is what we use with them;
C is what they use with us. In a handshake of ours C is made first, and until it ends lets them only call back. The
log holds each as sealed text, and those that we have to recognise as a keyed digest too; never in the clear.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import JSONObject, Sealed, Value


def partner_aggregate_id(partner_id: str) -> str:
    return f"partner|{partner_id}"


def holder_text(partner_id: str, since: datetime) -> str:
    """A platform in one of its lives: what a party's objects belong to.

    A partner that is removed and created anew, even with its old id, is another holder.
    """
    return f"{partner_id}@{since.astimezone(UTC).isoformat()}"


class Secret(Value, frozen=True, kw_only=True):
    """A token that others show us: keyed digest (hex) to find it by, sealed text to hand it out again."""

    digest: str
    sealed: Sealed


class PartnerRole(Value, frozen=True, kw_only=True):
    """A role of OCPI's CredentialsRole; country code and party id upper case."""

    role: str
    country_code: str
    party_id: str
    business_details: JSONObject = {}

    @property
    def party(self) -> str:
        return f"{self.country_code}*{self.party_id}"

    @property
    def name(self) -> tuple[str, str]:
        """What is granted: a role of a party, whatever its business details."""
        return self.role, self.party


Roles = tuple[PartnerRole, ...]


def within(roles: Roles, others: Roles) -> Roles:
    """Those of the roles that stand among the others too."""
    names = {role.name for role in others}
    return tuple(role for role in roles if role.name in names)


def without(roles: Roles, others: Roles) -> Roles:
    """Those of the roles that do not stand among the others."""
    names = {role.name for role in others}
    return tuple(role for role in roles if role.name not in names)


class Endpoint(Value, frozen=True, kw_only=True):
    """One endpoint of the partner: OCPI module, role SENDER or RECEIVER, absolute URL."""

    identifier: str
    role: str
    url: str


class PartnerConnection(Value, frozen=True, kw_only=True):
    """What a handshake leads to. `token_raw`: the partner wants its token without Base64."""

    version: str
    versions_url: str
    endpoints: tuple[Endpoint, ...]
    roles: Roles
    hub_party_id: str = ""
    token_b: Sealed
    token_c: Secret
    token_raw: bool = False


class PartnerState(msgspec.Struct, omit_defaults=True):
    name: str = ""
    status: str = ""  # PLANNED, CONNECTED, OFFLINE (has unregistered), SUSPENDED, REMOVED
    suspended: bool = False
    roles: Roles = ()  # those that count: named in its credentials, and granted
    granted: Roles = ()
    requested: Roles = ()  # named in its credentials, and not granted yet
    token_a: Secret | None = None
    versions_url: str = ""
    their_token_a: Sealed = ""
    connection: PartnerConnection | None = None
    previous_c: Secret | None = None
    previous_until: datetime | None = None
    pending_c: Secret | None = None


class Partner(Aggregate[PartnerState]):
    """`partner|{id}`; PLANNED → CONNECTED → OFFLINE → (a new token A) PLANNED, SUSPENDED from each, REMOVED last."""

    kind: ClassVar[str] = "partner"
    state_type = PartnerState

    @property
    def registered(self) -> bool:
        return self.state.connection is not None

    @property
    def removed(self) -> bool:
        return self.state.status == "REMOVED"


class PartnerCreated(Event, frozen=True, kw_only=True, tag="partner.created.v1"):
    """The partner is planned; its roles are granted.

    With `versions_url` and `their_token_a` the handshake can begin on our side.
    """

    partner_id: str
    name: str
    roles: Roles
    token_a: Secret
    versions_url: str = ""
    their_token_a: Sealed = ""

    def apply(self, aggregate: Partner) -> None:
        state = aggregate.state
        state.name, state.roles, state.status = self.name, self.roles, "PLANNED"
        state.granted, state.requested = self.roles, ()
        state.token_a, state.versions_url, state.their_token_a = (
            self.token_a,
            self.versions_url,
            self.their_token_a,
        )
        state.connection = None


class TokenAReissued(Event, frozen=True, kw_only=True, tag="partner.token_a_reissued.v1"):
    """A new token A; the one before it is dead. What the other side gave for our handshake may change with it."""

    token_a: Secret
    versions_url: str = ""
    their_token_a: Sealed = ""

    def apply(self, aggregate: Partner) -> None:
        state = aggregate.state
        state.token_a = self.token_a
        state.versions_url = self.versions_url or state.versions_url
        state.their_token_a = self.their_token_a or state.their_token_a
        if not state.suspended:
            state.status = "PLANNED"


class HandshakeBegun(Event, frozen=True, kw_only=True, tag="partner.handshake_begun.v1"):
    """We are about to send our credentials: with this token C they may call back meanwhile."""

    token_c: Secret

    def apply(self, aggregate: Partner) -> None:
        aggregate.state.pending_c = self.token_c


class HandshakeFailed(Event, frozen=True, kw_only=True, tag="partner.handshake_failed.v1"):
    """Our handshake came to nothing; everything is as before."""

    reason: str

    def apply(self, aggregate: Partner) -> None:
        aggregate.state.pending_c = None


class PartnerRegistered(Event, frozen=True, kw_only=True, tag="partner.registered.v1"):
    """The handshake is complete: token A is dead, B and C live. `initiator` is `them` or `us`.

    The roles in the connection are those that count; `requested` are those that were not granted.
    """

    connection: PartnerConnection
    initiator: str = "them"
    requested: Roles = ()

    def apply(self, aggregate: Partner) -> None:
        state = aggregate.state
        state.connection, state.roles = self.connection, self.connection.roles
        state.requested, state.versions_url = self.requested, self.connection.versions_url
        state.token_a, state.their_token_a, state.pending_c = None, "", None
        state.status = "SUSPENDED" if state.suspended else "CONNECTED"


class CredentialsUpdated(Event, frozen=True, kw_only=True, tag="partner.credentials_updated.v1"):
    """New tokens both ways, perhaps another version; the old token C is still accepted until `previous_until`.

    Roles as in `PartnerRegistered`.
    """

    connection: PartnerConnection
    previous_until: datetime
    initiator: str = "them"
    requested: Roles = ()

    def apply(self, aggregate: Partner) -> None:
        state = aggregate.state
        state.previous_c = state.connection.token_c if state.connection else None
        state.previous_until, state.pending_c = self.previous_until, None
        state.connection, state.roles = self.connection, self.connection.roles
        state.requested, state.versions_url = self.requested, self.connection.versions_url


class RolesRequested(Event, frozen=True, kw_only=True, tag="partner.roles_requested.v1"):
    """It wanted to register with roles of which none is granted: they wait, and nothing else has changed."""

    roles: Roles

    def apply(self, aggregate: Partner) -> None:
        aggregate.state.requested = self.roles


class RolesGranted(Event, frozen=True, kw_only=True, tag="partner.roles_granted.v1"):
    """The operator granted more roles. Those that its credentials name already count from now on."""

    roles: Roles

    def apply(self, aggregate: Partner) -> None:
        state = aggregate.state
        state.granted = (*without(state.granted, self.roles), *self.roles)
        if state.connection is not None:
            state.roles = (*state.roles, *without(within(state.requested, self.roles), state.roles))
            state.connection = msgspec.structs.replace(state.connection, roles=state.roles)
        state.requested = without(state.requested, self.roles)


class RolesRefused(Event, frozen=True, kw_only=True, tag="partner.roles_refused.v1"):
    """The operator refused roles that waited; credentials that name them again ask again."""

    roles: Roles
    reason: str = ""

    def apply(self, aggregate: Partner) -> None:
        aggregate.state.requested = without(aggregate.state.requested, self.roles)


class PartnerUnregistered(Event, frozen=True, kw_only=True, tag="partner.unregistered.v1"):
    """The connection is over and all tokens are dead. `initiator` is `them` or `us`."""

    initiator: str = "them"

    def apply(self, aggregate: Partner) -> None:
        state = aggregate.state
        state.connection, state.token_a, state.pending_c = None, None, None
        state.previous_c, state.previous_until, state.requested = None, None, ()
        if not state.suspended:
            state.status = "OFFLINE"


class PartnerSuspended(Event, frozen=True, kw_only=True, tag="partner.suspended.v1"):
    """Nothing is sent to it, and nothing but its credentials is taken from it."""

    reason: str = ""

    def apply(self, aggregate: Partner) -> None:
        aggregate.state.suspended, aggregate.state.status = True, "SUSPENDED"


class PartnerResumed(Event, frozen=True, kw_only=True, tag="partner.resumed.v1"):
    """It is as it was before it was suspended."""

    def apply(self, aggregate: Partner) -> None:
        state = aggregate.state
        state.suspended = False
        state.status = "CONNECTED" if state.connection else "PLANNED" if state.token_a else "OFFLINE"


class PartnerRemoved(Event, frozen=True, kw_only=True, tag="partner.removed.v1"):
    """It is gone: its tokens are dead, its parties are free."""

    def apply(self, aggregate: Partner) -> None:
        state = aggregate.state
        state.status, state.suspended, state.roles = "REMOVED", False, ()
        state.granted, state.requested = (), ()
        state.connection, state.token_a, state.pending_c = None, None, None
        state.previous_c, state.previous_until = None, None
        state.their_token_a = ""


AGGREGATE_EVENTS = (
    PartnerCreated,
    TokenAReissued,
    HandshakeBegun,
    HandshakeFailed,
    PartnerRegistered,
    CredentialsUpdated,
    RolesRequested,
    RolesGranted,
    RolesRefused,
    PartnerUnregistered,
    PartnerSuspended,
    PartnerResumed,
    PartnerRemoved,
)
