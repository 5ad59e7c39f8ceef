"""What can be asked of the directory of parties: a claim, and its release.

A claim comes before what it is for: first the parties, then the partner or tenant that speaks for them.
"""

from __future__ import annotations

from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.directory import DIRECTORY_ID, Claimed, Directory, PartyRole, Released


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
    directory.trigger(Claimed, meta.at, owner=command.owner, roles=roles)
    return Accepted()


def release(directory: Directory, command: ReleaseParties, meta: Meta) -> Outcome:
    if command.owner in directory.state.claims:
        directory.trigger(Released, meta.at, owner=command.owner)
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    ClaimParties: Route(Directory, claim),
    ReleaseParties: Route(Directory, release),
}
