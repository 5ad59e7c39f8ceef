"""Who knocked at a tenant's door and was refused; the platform's own list is of those that fit no tenant.

The aggregate only numbers what gateways report: it knows nothing of it, so it needs no memory.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import Value


def knocking_aggregate_id(tenant: str) -> str:
    """`tenant` is empty for the platform's own."""
    return f"knocking|{tenant}"


class Reason(StrEnum):
    """Why a charge point was not let in."""

    UNKNOWN = "unknown"  # nobody knows this tenant, or this charge point
    AMBIGUOUS = "ambiguous"  # several tenants know this id, and the URL names none
    NO_ROOM = "no_room"  # auto_register, and its quota is used up
    UNAUTHORIZED = "unauthorized"
    TOO_OFTEN = "too_often"
    STORM = "storm"  # two devices take the id from each other
    NO_SUBPROTOCOL = "no_subprotocol"


class Knock(Value, frozen=True, kw_only=True):
    """Refused `count` times for one reason, from the `first` to the `last`, which came from this address."""

    id: str
    reason: str
    address: str
    count: int
    first: datetime
    last: datetime


class KnockingState(msgspec.Struct, omit_defaults=True):
    """Nothing."""


class Knocking(Aggregate[KnockingState]):
    """`knocking|{tenant}`."""

    kind: ClassVar[str] = "knocking"
    state_type = KnockingState


class HandshakesRefused(Event, frozen=True, kw_only=True, tag="knocking.heard.v1"):
    """One gateway's refusals of about a minute; `left_out` are those of more charge points than are listed."""

    knocks: tuple[Knock, ...]
    left_out: int = 0

    def apply(self, aggregate: Knocking) -> None:
        """Nothing is remembered."""


AGGREGATE_EVENTS = (HandshakesRefused,)
