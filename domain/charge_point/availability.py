"""Availability that is wanted of connectors, beside what they say of themselves.

A connector that says Unavailable may not be used, one that says Available may; one whose transaction runs on does so
before it obeys. Connector 0 is the charge point as a whole (OCPP 1.6, 5.2). The functions change the mapping that
they are given.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from domain.charge_point.wanted import PUSHES_MOST
from domain.clock import later
from domain.intents import Availability
from domain.values import Value

CONNECTORS_MOST: Final = 64
"""Connectors of one charge point of which something is wanted."""

BEFORE: Final = timedelta(seconds=2)
"""What a connector said no later than this after its charge point answered may have been said before."""


class AvailabilityState(StrEnum):
    """How what it says stands to what is wanted."""

    PENDING = "pending"  # to be told
    SCHEDULED = "scheduled"  # it does so once its transaction is over
    IN_SYNC = "in_sync"
    DRIFT = "drift"  # it says otherwise though it was told as often as it is
    REFUSED = "refused"


WORST_FIRST: Final = (
    AvailabilityState.DRIFT,
    AvailabilityState.REFUSED,
    AvailabilityState.PENDING,
    AvailabilityState.SCHEDULED,
    AvailabilityState.IN_SYNC,
)


class AvailabilityWish(Value, frozen=True, kw_only=True):
    """Of a connector; None: nothing is wanted of it any more."""

    connector_id: int
    availability: Availability | None = None


class WantedAvailability(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is wanted of one connector. `pushes` since it was in sync or wished for; `at` is when it answered last."""

    availability: Availability
    state: AvailabilityState = AvailabilityState.PENDING
    pushes: int = 0
    reason: str = ""
    at: datetime | None = None

    def afresh(self) -> None:
        """Nothing was tried yet."""
        self.state, self.pushes, self.reason = AvailabilityState.PENDING, 0, ""


WantedAvailabilities = dict[int, WantedAvailability]


def wish(wanted: WantedAvailabilities, one: AvailabilityWish) -> None:
    """The same again is tried anew."""
    if one.availability is None:
        wanted.pop(one.connector_id, None)
    else:
        wanted[one.connector_id] = WantedAvailability(availability=one.availability)


def push(wanted: WantedAvailabilities, connector_id: int) -> None:
    """It is told once more."""
    if connector_id in wanted:
        wanted[connector_id].pushes += 1


def worst(wanted: Iterable[WantedAvailability]) -> AvailabilityState | None:
    """The state that says most; None where nothing is wanted."""
    states = {one.state for one in wanted}
    return next((state for state in WORST_FIRST if state in states), None)


def boot(wanted: WantedAvailabilities, *, other_firmware: bool) -> None:
    """What waited for the end of a transaction is told again, three times as all; other firmware may do what the
    former did not."""
    for one in wanted.values():
        one.at = None  # what its connectors say from now on is of after the boot, whatever its clock shows
        if other_firmware:
            one.afresh()
        elif one.state is AvailabilityState.SCHEDULED:
            one.state = again(one)


def note(
    wanted: WantedAvailabilities,
    connector_id: int,
    state: AvailabilityState,
    reason: str,
    answered_at: datetime | None,
) -> None:
    """This was found of it; a connector that says so itself has what is wanted."""
    one = wanted.get(connector_id)
    if one is None:
        return
    one.state, one.reason, one.at = state, reason, answered_at or one.at
    if answered_at is None and state is AvailabilityState.IN_SYNC:
        one.pushes = 0


def agrees(one: WantedAvailability, status: str) -> bool:
    """Whether a connector that says this is as it is wanted."""
    if one.availability is Availability.INOPERATIVE:
        return status == "Unavailable"
    return status not in ("Unavailable", "Faulted")


def after_status(one: WantedAvailability, status: str, at: datetime) -> AvailabilityState:
    """How it stands once its connector has said this of itself at this time. What is not told yet is told all the
    same, so that it lasts."""
    told = one.state in (AvailabilityState.IN_SYNC, AvailabilityState.SCHEDULED)
    if one.state is AvailabilityState.PENDING or (one.at is not None and at <= later(one.at, BEFORE)):
        return one.state
    if agrees(one, status):
        return AvailabilityState.IN_SYNC
    inoperative = one.availability is Availability.INOPERATIVE
    return again(one) if told and status == ("Available" if inoperative else "Unavailable") else one.state


def again(one: WantedAvailability) -> AvailabilityState:
    """To be told once more, unless it was told as often as it is."""
    return AvailabilityState.DRIFT if one.pushes >= PUSHES_MOST else AvailabilityState.PENDING
