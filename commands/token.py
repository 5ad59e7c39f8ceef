"""What can be asked of a token: put it, take a tenant's tag away, note what its owner answered or who else has it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.token import (
    AuthorizationGiven,
    PersonalDataErased,
    Token,
    TokenContested,
    TokenPut,
    TokenRemoved,
    token_aggregate_id,
)
from domain.values import PartyId, Sealed, Value


class TokenReply(Value, frozen=True, kw_only=True):
    """`created` where it was not known before; `applied` is off where a newer one was known (or the same)."""

    created: bool = False
    applied: bool = True


class _OfToken(Command, frozen=True, kw_only=True):
    """A token is found by its owner (an eMSP, else the tenant) and its key; the key is the partition's."""

    area: ClassVar[Area] = Area.TOKEN
    owner: PartyId | None = None
    tenant: str = ""
    key: str

    @property
    def aggregate_id(self) -> str:
        return token_aggregate_id(self.owner, self.tenant, self.key)

    @property
    def group(self) -> str:
        return self.key


class PutToken(_OfToken, frozen=True, kw_only=True, tag="token.put.v1"):
    """The token as a whole, as its owner has it; one older than what is known is acknowledged and not applied.

    Where it was made by merging changes into the token as it was known, `merged_from` is that one's fingerprint:
    refused CONFLICT where the token has become another one meanwhile, whose changes would be lost.

    `shared`: it was pushed to the hub for all. What was told to all stays so until its content changes for one.

    `holder` is the platform that speaks for the owner now. What another one put for the same party before counts
    for nothing: the token is new.
    """

    holder: str = ""
    token_type: str
    valid: bool = True
    whitelist: str = ""
    status: str = ""
    expires_at: datetime | None = None
    group_key: str = ""
    group_sealed: Sealed = ""
    cdr_token: Sealed = ""
    body: Sealed
    last_updated: datetime
    fingerprint: str = ""
    merged_from: str = ""
    shared: bool = False


class RemoveToken(_OfToken, frozen=True, kw_only=True, tag="token.remove.v1"):
    """Take a tenant's tag away."""


class NoteConflict(_OfToken, frozen=True, kw_only=True, tag="token.note_conflict.v1"):
    """Others have put a token with this uid too; this one decides."""

    others: tuple[PartyId, ...]


class ErasePersonalData(_OfToken, frozen=True, kw_only=True, tag="token.erase_personal_data.v1"):
    """Take away what identifies a person: what is sealed for these subjects of the vault. The uid is used no more."""

    subjects: tuple[str, ...]


class NoteAuthorization(_OfToken, frozen=True, kw_only=True, tag="token.note_authorization.v1"):
    """The owner's answer to a real-time authorization, or ours from what is stored.

    `commanded`: by a command of its owner, for this charge point. `for_party`: for the foreign CPO that asked.
    """

    allowed: str
    authorization_reference: str = ""
    for_tenant: str = ""
    charge_point_id: str = ""
    location_id: str = ""
    late: bool = False
    commanded: bool = False
    for_party: PartyId | None = None
    stored: bool = False


def put(token: Token, command: PutToken, meta: Meta) -> Outcome:
    state = token.state
    if state.erased:
        return Rejected(
            Refusal.NOT_ALLOWED, "the personal data of this uid was erased: it can be used no more"
        )
    created = not state.present or command.holder != state.holder
    if not created and state.last_updated is not None:
        older = command.last_updated < state.last_updated
        same = command.last_updated == state.last_updated and command.fingerprint == state.fingerprint
        same = same and command.shared <= state.shared
        if older or same:
            return Accepted(TokenReply(applied=False))
    if command.merged_from and (created or command.merged_from != state.fingerprint):
        return Rejected(Refusal.CONFLICT, "the token is not what the changes were merged into")
    token.trigger(
        TokenPut,
        meta.at,
        owner=command.owner,
        holder=command.holder,
        tenant=command.tenant,
        key=command.key,
        token_type=command.token_type,
        valid=command.valid,
        whitelist=command.whitelist,
        status=command.status,
        expires_at=command.expires_at,
        group=command.group_key,
        group_sealed=command.group_sealed,
        cdr_token=command.cdr_token,
        body=command.body,
        last_updated=command.last_updated,
        fingerprint=command.fingerprint,
        shared=command.shared,
    )
    return Accepted(TokenReply(created=created))


def remove(token: Token, command: RemoveToken, meta: Meta) -> Outcome:
    if not token.state.present:
        return Rejected(Refusal.UNKNOWN, "no such token")
    token.trigger(TokenRemoved, meta.at)
    return Accepted(TokenReply())


def note_conflict(token: Token, command: NoteConflict, meta: Meta) -> Outcome:
    if not token.state.present:
        return Rejected(Refusal.UNKNOWN, "no such token")
    known = token.state.contested
    others = tuple(dict.fromkeys((*known, *command.others)))
    if others != known:
        token.trigger(TokenContested, meta.at, others=others)
    return Accepted()


def erase_personal_data(token: Token, command: ErasePersonalData, meta: Meta) -> Outcome:
    if set(command.subjects) <= set(token.state.erased):
        return Accepted(TokenReply(applied=False))
    if token.state.present:
        token.trigger(TokenRemoved, meta.at)
    token.trigger(PersonalDataErased, meta.at, subjects=command.subjects)
    return Accepted(TokenReply())


def note_authorization(token: Token, command: NoteAuthorization, meta: Meta) -> Outcome:
    if not token.exists:
        return Rejected(Refusal.UNKNOWN, "no such token")
    token.trigger(
        AuthorizationGiven,
        meta.at,
        allowed=command.allowed,
        authorization_reference=command.authorization_reference,
        tenant=command.for_tenant,
        charge_point_id=command.charge_point_id,
        location_id=command.location_id,
        late=command.late,
        commanded=command.commanded,
        party=command.for_party,
        stored=command.stored,
    )
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    PutToken: Route(Token, put),
    RemoveToken: Route(Token, remove),
    NoteConflict: Route(Token, note_conflict),
    ErasePersonalData: Route(Token, erase_personal_data),
    NoteAuthorization: Route(Token, note_authorization),
}
