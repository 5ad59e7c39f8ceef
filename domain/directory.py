"""The hub's directory: which platform speaks for which party, and whose charge points' ids begin with what.

Nothing in OCPI authenticates a party, so the first platform that claims it has it: a partner, a tenant of ours
(`tenant:{id}`) or the hub itself (`hub`). Routing headers name no role, therefore a party belongs to one platform
whatever roles it plays. Prefixes of ids are claimed alike, and none lies within another platform's.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import Value

DIRECTORY_ID: Final = "directory|hub"


def tenant_owner(tenant: str) -> str:
    """A tenant's name in the directory."""
    return f"tenant:{tenant}"


class PartyRole(Value, frozen=True, kw_only=True):
    """A party in a role (CPO, EMSP, HUB …); country code and party id upper case."""

    role: str
    country_code: str
    party_id: str

    @property
    def party(self) -> str:
        return f"{self.country_code}*{self.party_id}"


class PrefixClaim(Value, frozen=True, kw_only=True):
    """A claimed prefix; `number` is the version of its `directory.prefix_claimed`."""

    prefix: str
    number: int


class DirectoryState(msgspec.Struct, omit_defaults=True):
    claims: dict[str, tuple[PartyRole, ...]] = {}
    prefixes: dict[str, tuple[PrefixClaim, ...]] = {}

    def owner_of(self, party: str) -> str:
        """The platform that speaks for the party `CC*PID`; empty where none does."""
        for owner, roles in self.claims.items():
            if any(role.party == party for role in roles):
                return owner
        return ""

    def overlapping(self, prefix: str, owner: str) -> str:
        """A prefix of another platform that begins with this one or that this one begins with; empty for none."""
        for other, held in self.prefixes.items():
            for one in held:
                if other != owner and (one.prefix.startswith(prefix) or prefix.startswith(one.prefix)):
                    return one.prefix
        return ""


class Directory(Aggregate[DirectoryState]):
    """`directory|hub`, the only one."""

    kind: ClassVar[str] = "directory"
    state_type = DirectoryState


class PartyClaimed(Event, frozen=True, kw_only=True, tag="directory.claimed.v1"):
    """From now on the platform speaks for exactly these parties."""

    owner: str
    roles: tuple[PartyRole, ...]

    def apply(self, aggregate: Directory) -> None:
        aggregate.state.claims = {**aggregate.state.claims, self.owner: self.roles}


class PartyReleased(Event, frozen=True, kw_only=True, tag="directory.released.v1"):
    """The platform speaks for nobody any more."""

    owner: str

    def apply(self, aggregate: Directory) -> None:
        claims = dict(aggregate.state.claims)
        claims.pop(self.owner, None)
        aggregate.state.claims = claims


class PrefixClaimed(Event, frozen=True, kw_only=True, tag="directory.prefix_claimed.v1"):
    """Ids that begin with this prefix lead to the platform, once it uses it. What it held before it still holds."""

    owner: str
    prefix: str

    def apply(self, aggregate: Directory) -> None:
        prefixes = aggregate.state.prefixes
        held = [one for one in prefixes.get(self.owner, ()) if one.prefix != self.prefix]
        claim = PrefixClaim(prefix=self.prefix, number=self.originator_version)
        aggregate.state.prefixes = {**prefixes, self.owner: (*held, claim)}


class PrefixesReleased(Event, frozen=True, kw_only=True, tag="directory.prefixes_released.v1"):
    """The platform uses these prefixes no more: others may claim them."""

    owner: str
    prefixes: tuple[str, ...]

    def apply(self, aggregate: Directory) -> None:
        held = tuple(
            one for one in aggregate.state.prefixes.get(self.owner, ()) if one.prefix not in self.prefixes
        )
        others = {owner: claims for owner, claims in aggregate.state.prefixes.items() if owner != self.owner}
        aggregate.state.prefixes = {**others, self.owner: held} if held else others


AGGREGATE_EVENTS = (PartyClaimed, PartyReleased, PrefixClaimed, PrefixesReleased)
