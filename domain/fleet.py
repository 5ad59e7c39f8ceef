"""A part of a tenant's charge points, each counted once: what the tenant's own count is made from.

The charge points of a tenant fall into parts by their ids, so that a million of them are no single state. A part
remembers of which fact of each charge point it has heard, removed ones too: a fact that comes again counts nothing.
"""

from __future__ import annotations

import zlib
from typing import ClassVar, Final

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import Value

PARTS: Final = 64
"""Kept for ever: with another number charge points would be counted in two parts."""


def part_of(charge_point_id: str) -> int:
    """The part that a charge point belongs to, from 0."""
    return zlib.crc32(charge_point_id.encode()) % PARTS


def fleet_aggregate_id(tenant: str, part: int) -> str:
    return f"fleet|{tenant}|{part}"


class Counts(Value, frozen=True, kw_only=True):
    """Charge points that are registered, and how many of these took themselves in and wait for an operator."""

    charge_points: int = 0
    automatic: int = 0


class Member(Value, frozen=True, kw_only=True):
    """A charge point by the newest of its facts that is counted: `version` is that fact's. One that is not
    `registered` was removed."""

    version: int
    registered: bool = False
    automatic: bool = False


class FleetState(msgspec.Struct, omit_defaults=True):
    members: dict[str, Member] = {}
    counts: Counts = Counts()

    def counts_with(self, charge_point_id: str, member: Member) -> Counts:
        """What there is once this is so of the charge point."""
        before = self.members.get(charge_point_id, Member(version=0))
        return Counts(
            charge_points=self.counts.charge_points + member.registered - before.registered,
            automatic=self.counts.automatic + member.automatic - before.automatic,
        )


class Fleet(Aggregate[FleetState]):
    """`fleet|{tenant}|{part}`."""

    kind: ClassVar[str] = "fleet"
    state_type = FleetState


class ChargePointCounted(Event, frozen=True, kw_only=True, tag="fleet.charge_point_counted.v1"):
    """A charge point was registered, removed or taken over by an operator; `counts` are the part's with it."""

    charge_point_id: str
    member: Member
    counts: Counts

    def apply(self, aggregate: Fleet) -> None:
        state = aggregate.state
        state.members[self.charge_point_id] = self.member
        state.counts = self.counts


AGGREGATE_EVENTS = (ChargePointCounted,)
