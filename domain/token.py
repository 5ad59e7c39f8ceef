"""A token: an eMSP's (OCPI Token) or a tenant's own id tag, and the authorizations that were given for it.

It is known by its owner and the keyed hash of its type and uid; all owners of one uid share a partition. What
identifies a person stands in sealed texts only.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import PartyId, Sealed


def owner_text(owner: PartyId | None, tenant: str) -> str:
    """`DE*MSP` for an eMSP, `tenant:demo` for a tenant."""
    return str(owner) if owner is not None else f"tenant:{tenant}"


def token_aggregate_id(owner: PartyId | None, tenant: str, key: str) -> str:
    return f"token|{owner_text(owner, tenant)}|{key}"


class TokenState(msgspec.Struct, omit_defaults=True):
    present: bool = False
    holder: str = ""
    contested: tuple[PartyId, ...] = ()
    last_updated: datetime | None = None
    fingerprint: str = ""
    shared: bool = False  # with all who ask the hub
    erased: tuple[str, ...] = ()  # for whom nothing is sealed any more


class Token(Aggregate[TokenState]):
    """`token|{owner}|{key}`."""

    kind: ClassVar[str] = "token"
    state_type = TokenState


class TokenPut(Event, frozen=True, kw_only=True, tag="token.put.v1"):
    """The token as a whole. `body` is the sealed OCPI Token, or the tenant's tag, as JSON.

    `status` is OCPP's for a tenant's tag and empty for an eMSP's token. `group` is the key of its group id or
    parent id tag. `last_updated` is the owner's. `fingerprint` is a keyed hash of the whole body. `holder` is the
    platform that spoke for the owner then (`domain.partner.holder_text`): when the party changes hands, the token
    is not the next one's. `shared`: it was pushed to the hub for all, not to one party of ours.
    """

    owner: PartyId | None = None
    holder: str = ""
    tenant: str = ""
    key: str
    token_type: str
    valid: bool = True
    whitelist: str = ""
    status: str = ""
    expires_at: datetime | None = None
    group: str = ""
    group_sealed: Sealed = ""
    cdr_token: Sealed = ""
    body: Sealed
    last_updated: datetime
    fingerprint: str = ""
    shared: bool = False

    def apply(self, aggregate: Token) -> None:
        state = aggregate.state
        if self.holder != state.holder:
            state.contested = ()
        state.present, state.holder = True, self.holder
        state.last_updated, state.fingerprint = self.last_updated, self.fingerprint
        state.shared = self.shared


class TokenRemoved(Event, frozen=True, kw_only=True, tag="token.removed.v1"):
    """A tenant took its tag away. An eMSP's token never goes: it becomes invalid."""

    def apply(self, aggregate: Token) -> None:
        aggregate.state.present = False


class TokenContested(Event, frozen=True, kw_only=True, tag="token.contested.v1"):
    """Other eMSPs have put a token with the same uid: this one was there first, or the tenant's order prefers it,
    and it alone decides. `others` are all of them that are known by now."""

    others: tuple[PartyId, ...]

    def apply(self, aggregate: Token) -> None:
        aggregate.state.contested = self.others


class PersonalDataErased(Event, frozen=True, kw_only=True, tag="token.personal_data_erased.v1"):
    """Its owner erased what identifies a person: the keys of these subjects of the vault go, and never come back.

    It may be the first fact of a token that was never put: its uid was seen at charge points all the same.
    """

    subjects: tuple[str, ...]

    def apply(self, aggregate: Token) -> None:
        state = aggregate.state
        state.erased = tuple(dict.fromkeys((*state.erased, *self.subjects)))


class AuthorizationGiven(Event, frozen=True, kw_only=True, tag="token.authorization_given.v1"):
    """Somebody was told whether it may charge; `allowed` is OCPI's AllowedType.

    Its owner answered a real-time authorization, or asked for a charge there by a command (`commanded`), or what is
    `stored` was the answer. `party` is the foreign CPO that asked, none where it is for a charge point of ours.
    """

    allowed: str
    authorization_reference: str = ""
    tenant: str = ""
    charge_point_id: str = ""
    location_id: str = ""
    late: bool = False  # it came after the charge point had been answered
    commanded: bool = False
    party: PartyId | None = None
    stored: bool = False

    def apply(self, aggregate: Token) -> None:
        """A fact for readers: the next request within 15 minutes is served from it."""


AGGREGATE_EVENTS = (TokenPut, TokenRemoved, TokenContested, PersonalDataErased, AuthorizationGiven)
