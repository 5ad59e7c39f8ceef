"""Reservations of a charge point: which run, how they ended, and which it may hold though they are over here.

A reservation runs from its request to its one end. Its number is the charge point's (int32, OCPP 1.6, 6.39); its id
is that by which it is known to everybody else. All functions change the mapping that they are given.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from domain.clock import earlier, later

RESERVATIONS_MOST: Final = 64
"""Reservations of one charge point that run at once."""

REMEMBERED_MOST: Final = 64
"""Those that are over and remembered: a start may name one, an answer to one may be late."""

KEEP: Final = timedelta(days=7)
NUMBER_MOST: Final = 2**31 - 1

START_GRACE: Final = timedelta(minutes=1)
"""How long after its time a reservation is over here: the start that uses it may be on its way."""

CLOCK_UNSURE: Final = timedelta(minutes=1)
"""How much the clock of a charge point may be off that is not known."""

REFUSALS_MOST: Final = 3
"""How often it is told to give up one that it could not say anything of."""


class ReservationEnd(StrEnum):
    """How a reservation ended."""

    USED = "used"  # by a transaction
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"  # the charge point did not take it: Occupied, Faulted, Unavailable, Rejected
    UNANSWERED = "unanswered"  # whether it took it is not known
    REPLACED = "replaced"  # by another with its number
    LOST = "lost"  # the charge point has given it up


class Reservation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`tag` and `parent` are HMAC keys, `connector_id` 0 is any. Without `ended` it runs.

    `replaces`: it may hold another one of this number. `confirmed`: it holds it. `seen`: the connector said Reserved
    since. `cancelling`: somebody gave it up and it is still to say so. `clearing`: it is over here, and it may hold
    it. `refusals` of it to be told so. `since` is when it was asked for, `at` when it was last heard of.
    """

    id: str
    connector_id: int
    tag: str = ""
    parent: str = ""
    expires_at: datetime
    reference: str = ""
    confirmed: bool = False
    seen: bool = False
    rebooted: bool = False
    replaces: bool = False
    cancelling: bool = False
    clearing: bool = False
    refusals: int = 0
    ended: str = ""
    since: datetime
    at: datetime

    @property
    def runs(self) -> bool:
        return not self.ended

    @property
    def to_give_up(self) -> bool:
        """Whether the charge point is to be told that it is over."""
        return self.refusals < REFUSALS_MOST and (self.clearing or (self.cancelling and self.runs))

    def fits(self, connector_id: int, tag: str, parent: str, began: datetime) -> bool:
        """Whether a start of this tag, or of one of its group, is the one that it was made for; not one of before,
        which is told only now."""
        mine = bool(self.tag) and tag == self.tag
        grouped = bool(self.parent) and parent == self.parent
        here = self.connector_id in (0, connector_id)
        return here and (mine or grouped) and began >= earlier(self.since, CLOCK_UNSURE)

    def over_at(self) -> datetime:
        """When it is over whatever happens."""
        return later(self.expires_at, START_GRACE)


Reservations = dict[int, Reservation]


def next_number(reservations: Reservations, last: int) -> int:
    """The next that is not taken; after the highest comes the lowest."""
    number = last
    while True:
        number = number % NUMBER_MOST + 1
        if number not in reservations:
            return number


def end(reservations: Reservations, number: int, how: str, at: datetime, *, clearing: bool) -> None:
    """It is over; of those that are, the newest are remembered."""
    one = reservations.get(number)
    if one is None or one.ended:
        return
    one.ended, one.at, one.clearing, one.cancelling = how, at, clearing, False
    over = [(key, known) for key, known in reservations.items() if known.ended]
    for key, known in over:
        if known.at < earlier(at, KEEP):
            del reservations[key]
    surplus = len(over) - REMEMBERED_MOST
    for key, _ in sorted(over, key=lambda pair: pair[1].at)[: max(0, surplus)]:
        reservations.pop(key, None)
