"""An id tag that may charge at one charge point of its tenant at a time: who has it.

A charge point has it from a claim on, which its start makes and which lapses by itself, or from the transaction that
followed until that is over. Only tenants that do not allow several have such aggregates.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event

CLAIM = timedelta(minutes=2)
"""How long a start that was let through may take to become a transaction that is known here."""
HELD_MOST = 128
"""Transactions that may have one tag at once: of starts that were not asked for, as those told late."""
TOLD_MOST = 16
"""Charge points of which is remembered up to where they were heard."""


def tag_aggregate_id(tenant: str, key: str) -> str:
    return f"tag|{tenant}|{key}"


class TagState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Which charge points have claimed it and until when; the sessions for which it is held, with their charge
    points; `told`: up to which version each charge point was heard, so that what it said again is known."""

    tenant: str = ""
    claims: dict[str, datetime] = {}
    holding: dict[str, str] = {}
    told: dict[str, int] = {}

    def note_told(self, charge_point_id: str, version: int) -> None:
        self.told[charge_point_id] = max(version, self.told.pop(charge_point_id, 0))
        while len(self.told) > TOLD_MOST:
            del self.told[next(iter(self.told))]


class Tag(Aggregate[TagState]):
    """`tag|{tenant}|{key}`."""

    kind: ClassVar[str] = "tag"
    state_type = TagState

    def is_elsewhere(self, charge_point_id: str, at: datetime) -> bool:
        """Whether another charge point has it."""
        state = self.state
        claiming = (who for who, until in state.claims.items() if until > at)
        return any(who != charge_point_id for who in (*state.holding.values(), *claiming))


class TagClaimed(Event, frozen=True, kw_only=True, tag="tag.claimed.v1"):
    """A start was let through: until then no other charge point's is, and once it is a transaction as long as that
    runs."""

    tenant: str
    charge_point_id: str
    until: datetime

    def apply(self, aggregate: Tag) -> None:
        state = aggregate.state
        state.tenant = self.tenant
        state.claims = {who: until for who, until in state.claims.items() if until > self.timestamp}
        state.claims[self.charge_point_id] = self.until


class TagHeld(Event, frozen=True, kw_only=True, tag="tag.held.v1"):
    """A transaction runs with it. `told` is the version of the charge point's fact."""

    tenant: str
    charge_point_id: str
    session_id: str
    told: int

    def apply(self, aggregate: Tag) -> None:
        state = aggregate.state
        state.tenant = self.tenant
        state.claims.pop(self.charge_point_id, None)
        state.holding[self.session_id] = self.charge_point_id
        while len(state.holding) > HELD_MOST:
            del state.holding[next(iter(state.holding))]
        state.note_told(self.charge_point_id, self.told)


class TagFreed(Event, frozen=True, kw_only=True, tag="tag.freed.v1"):
    """That transaction is over, or its connector is free again. `told` is the version of the charge point's fact."""

    charge_point_id: str
    session_id: str
    told: int

    def apply(self, aggregate: Tag) -> None:
        aggregate.state.holding.pop(self.session_id, None)
        aggregate.state.note_told(self.charge_point_id, self.told)


AGGREGATE_EVENTS = (TagClaimed, TagHeld, TagFreed)
