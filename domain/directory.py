"""The hub's directory of parties: which platform speaks for which party.

Nothing in OCPI authenticates a party, so the first platform that claims it has it: a partner, a tenant of ours
(`tenant:{id}`) or the hub itself (`hub`). Routing headers name no role, therefore a party belongs to one platform
whatever roles it plays.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import Value

DIRECTORY_ID: Final = "directory|hub"


class PartyRole(Value, frozen=True, kw_only=True):
    """A party in a role (CPO, EMSP, HUB …); country code and party id upper case."""

    role: str
    country_code: str
    party_id: str

    @property
    def party(self) -> str:
        return f"{self.country_code}*{self.party_id}"


class DirectoryState(msgspec.Struct, omit_defaults=True):
    claims: dict[str, tuple[PartyRole, ...]] = {}

    def owner_of(self, party: str) -> str:
        """The platform that speaks for the party `CC*PID`; empty where none does."""
        for owner, roles in self.claims.items():
            if any(role.party == party for role in roles):
                return owner
        return ""


class Directory(Aggregate[DirectoryState]):
    """`directory|hub`, the only one."""

    kind: ClassVar[str] = "directory"
    state_type = DirectoryState


class Claimed(Event, frozen=True, kw_only=True, tag="directory.claimed.v1"):
    """From now on the platform speaks for exactly these parties."""

    owner: str
    roles: tuple[PartyRole, ...]

    def apply(self, aggregate: Directory) -> None:
        aggregate.state.claims = {**aggregate.state.claims, self.owner: self.roles}


class Released(Event, frozen=True, kw_only=True, tag="directory.released.v1"):
    """The platform speaks for nobody any more."""

    owner: str

    def apply(self, aggregate: Directory) -> None:
        claims = dict(aggregate.state.claims)
        claims.pop(self.owner, None)
        aggregate.state.claims = claims


AGGREGATE_EVENTS = (Claimed, Released)
