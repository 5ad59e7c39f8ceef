"""What can be asked of the directory: a claim of parties or of a prefix of ids, its release, and who has a party.

A claim comes before what it is for: first the parties and the prefix, then the partner or tenant that has them.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.directory import (
    DIRECTORY_ID,
    Directory,
    PartyClaimed,
    PartyReleased,
    PartyRole,
    PrefixClaimed,
    PrefixesReleased,
)


class _OfDirectory(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.PARTY
    owner: str

    @property
    def aggregate_id(self) -> str:
        return DIRECTORY_ID


class ClaimParties(_OfDirectory, frozen=True, kw_only=True, tag="directory.claim.v1"):
    """The platform `owner` (a partner's id, `tenant:{id}` or `hub`) speaks for exactly these parties.

    `first`: it must not have any others yet, so that who makes a new platform cannot take over an existing one.
    `more`: besides those that it has.
    """

    roles: tuple[PartyRole, ...]
    first: bool = False
    more: bool = False


class ReleaseParties(_OfDirectory, frozen=True, kw_only=True, tag="directory.release.v1"):
    """The platform speaks for nobody any more."""


class AskOwner(Command, frozen=True, kw_only=True, tag="directory.ask_owner.v1"):
    """Who speaks for the party `CC*PID` now; answered with `OwnerReply`, and noted nowhere."""

    area: ClassVar[Area] = Area.PARTY
    remembered: ClassVar[bool] = False
    party: str

    @property
    def aggregate_id(self) -> str:
        return DIRECTORY_ID


class OwnerReply(msgspec.Struct, frozen=True, kw_only=True):
    """Empty where no platform does."""

    owner: str


class ClaimPrefix(_OfDirectory, frozen=True, kw_only=True, tag="directory.claim_prefix.v1"):
    """Ids that begin with this prefix are to lead to `owner`; what it holds besides stays until it is released.

    `first`: it must not have any other yet. Answered with `PrefixReply`.
    """

    prefix: str
    first: bool = False


class PrefixReply(msgspec.Struct, frozen=True, kw_only=True):
    """The number of the claim; not `new` where a first one had been made before."""

    number: int
    new: bool = True


class ReleasePrefixes(_OfDirectory, frozen=True, kw_only=True, tag="directory.release_prefixes.v1"):
    """Of the claims numbered `since` to `upto`, `owner` needs that of the prefix `keep` alone; empty: none."""

    keep: str = ""
    since: int = 0
    upto: int


def claim(directory: Directory, command: ClaimParties, meta: Meta) -> Outcome:
    """Refused as ALREADY_EXISTS where one of the parties, or with `first` the owner, is taken."""
    state = directory.state
    if not command.owner:
        return Rejected(Refusal.INVALID, "owner: must not be empty")
    for role in command.roles:
        if (
            len(role.country_code) != 2
            or not 1 <= len(role.party_id) <= 3
            or role.party != role.party.upper()
        ):
            return Rejected(Refusal.INVALID, f"roles: {role.party!r} is no party such as DE*ABC")
        if state.owner_of(role.party) not in ("", command.owner):
            return Rejected(Refusal.ALREADY_EXISTS, f"party {role.party} belongs to another platform")
    held = state.claims.get(command.owner)
    kept = (held or ()) if command.more else ()
    roles = tuple(dict.fromkeys((*kept, *command.roles)))
    if held is not None and set(held) == set(roles):
        return Accepted()
    if held and command.first:
        return Rejected(Refusal.ALREADY_EXISTS, f"{command.owner} exists with other parties")
    directory.trigger(PartyClaimed, meta.at, owner=command.owner, roles=roles)
    return Accepted()


def release(directory: Directory, command: ReleaseParties, meta: Meta) -> Outcome:
    if command.owner in directory.state.claims:
        directory.trigger(PartyReleased, meta.at, owner=command.owner)
    return Accepted()


def ask_owner(directory: Directory, command: AskOwner, meta: Meta) -> Outcome:
    return Accepted(OwnerReply(owner=directory.state.owner_of(command.party)))


def claim_prefix(directory: Directory, command: ClaimPrefix, meta: Meta) -> Outcome:
    """Refused as ALREADY_EXISTS where it lies within another platform's prefix, or another's within it."""
    if not command.owner or not command.prefix:
        return Rejected(Refusal.INVALID, "owner and prefix must not be empty")
    if other := directory.state.overlapping(command.prefix, command.owner):
        return Rejected(
            Refusal.ALREADY_EXISTS, f"prefix {command.prefix!r} overlaps {other!r}, which belongs to another"
        )
    held = directory.state.prefixes.get(command.owner, ())
    if command.first and held:
        if [one.prefix for one in held] != [command.prefix]:
            return Rejected(
                Refusal.ALREADY_EXISTS, f"{command.owner} exists with the prefix {held[-1].prefix!r}"
            )
        return Accepted(PrefixReply(number=held[0].number, new=False))
    directory.trigger(PrefixClaimed, meta.at, owner=command.owner, prefix=command.prefix)
    return Accepted(PrefixReply(number=directory.version))


def release_prefixes(directory: Directory, command: ReleasePrefixes, meta: Meta) -> Outcome:
    """A later claim stays: it belongs to a configuration that is being changed."""
    released = tuple(
        one.prefix
        for one in directory.state.prefixes.get(command.owner, ())
        if command.since <= one.number <= command.upto and one.prefix != command.keep
    )
    if released:
        directory.trigger(PrefixesReleased, meta.at, owner=command.owner, prefixes=released)
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    ClaimParties: Route(Directory, claim),
    ReleaseParties: Route(Directory, release),
    AskOwner: Route(Directory, ask_owner),
    ClaimPrefix: Route(Directory, claim_prefix),
    ReleasePrefixes: Route(Directory, release_prefixes),
}
