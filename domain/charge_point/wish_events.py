"""The facts of what is wanted of a charge point beside what it is: variables, availability, reservations."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from domain.aggregate import Event
from domain.charge_point import availability as availabilities
from domain.charge_point import reservation as reservations
from domain.charge_point import wanted as wishes
from domain.charge_point.availability import AvailabilityState, AvailabilityWish, WantedAvailabilities
from domain.charge_point.reservation import Reservation, ReservationEnd
from domain.charge_point.state import ChargePointState
from domain.charge_point.wanted import Compared, Wish
from domain.values import TagRef

if TYPE_CHECKING:
    from domain.charge_point.aggregate import ChargePoint


class VariablesWanted(Event, frozen=True, kw_only=True, tag="charge_point.variables_wanted.v1"):
    """Its variables shall have these values, or nothing is wanted of them any more; the same again is tried anew."""

    wishes: tuple[Wish, ...]
    by: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        wishes.wish(aggregate.state.wanted, self.wishes)
        _forget_sets(aggregate.state)


class DefaultsWanted(Event, frozen=True, kw_only=True, tag="charge_point.defaults_wanted.v1"):
    """Its tenant wants this of all its charge points, and nothing else: the settings' `revision`, and the `mark` of
    these wishes."""

    wishes: tuple[Wish, ...] = ()
    revision: int
    mark: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        wishes.default(state.wanted, self.wishes)
        state.defaults_revision, state.defaults_mark = self.revision, self.mark
        _forget_sets(state)


class VariablesCompared(Event, frozen=True, kw_only=True, tag="charge_point.variables_compared.v1"):
    """What the charge point said of variables of which something is wanted, held against that."""

    found: tuple[Compared, ...]

    def apply(self, aggregate: ChargePoint) -> None:
        wishes.note(aggregate.state.wanted, self.found)


class AvailabilityWanted(Event, frozen=True, kw_only=True, tag="charge_point.availability_wanted.v1"):
    """A connector (0: all) shall be of use, or not, or nothing is wanted of it any more; the same again is tried
    anew."""

    wish: AvailabilityWish
    by: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        availabilities.wish(state.availability, self.wish)
        for call in (*state.calls.values(), *state.overdue.values()):
            if call.avails == self.wish.connector_id:
                call.avails = None  # its answer is of a former wish


class AvailabilityCompared(Event, frozen=True, kw_only=True, tag="charge_point.availability_compared.v1"):
    """What the charge point answered, or its connector said of itself, held against what is wanted."""

    connector_id: int
    state: AvailabilityState
    reason: str = ""
    answered: bool = False

    def apply(self, aggregate: ChargePoint) -> None:
        self.note(aggregate.state.availability)

    def note(self, wanted: WantedAvailabilities) -> None:
        """Where what is wanted stands with it."""
        at = self.timestamp if self.answered else None
        availabilities.note(wanted, self.connector_id, self.state, self.reason, at)


class ReservationRequested(Event, frozen=True, kw_only=True, tag="charge_point.reservation_requested.v1"):
    """The charge point is asked to hold a connector (0: any) for a tag or its group until `expires_at`.

    `number` is that by which the charge point knows it, `given` by us; `reservation_id` is everybody else's.
    `reference` is whose wish it is elsewhere, `parent` an HMAC key.
    """

    reservation_id: str
    tenant: str
    charge_point_id: str
    number: int
    given: bool = False
    connector_id: int
    evse_uid: str = ""
    id_tag: TagRef | None = None
    parent: str = ""
    expires_at: datetime
    reference: str = ""
    by: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        if self.given:
            state.last_reservation = self.number
        former = state.reservations.get(self.number)
        state.reservations[self.number] = Reservation(
            replaces=former is not None and (former.clearing or former.ended == ReservationEnd.REPLACED),
            id=self.reservation_id,
            connector_id=self.connector_id,
            tag=self.id_tag.key if self.id_tag is not None else "",
            parent=self.parent,
            expires_at=self.expires_at,
            reference=self.reference,
            since=self.timestamp,
            at=self.timestamp,
        )


class ReservationConfirmed(Event, frozen=True, kw_only=True, tag="charge_point.reservation_confirmed.v1"):
    """The charge point holds it; `late` where it was given up or over here already: then it is told so."""

    reservation_id: str
    number: int
    late: bool = False
    reference: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        one = aggregate.state.reservations.get(self.number)
        if one is not None and one.id == self.reservation_id:
            one.confirmed, one.at = True, self.timestamp
            one.clearing = one.clearing or self.late


class ReservationGivenUp(Event, frozen=True, kw_only=True, tag="charge_point.reservation_given_up.v1"):
    """Somebody does not want it any more; it ends once its charge point says so, or with its time."""

    reservation_id: str
    number: int
    by: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        one = aggregate.state.reservations.get(self.number)
        if one is not None and one.id == self.reservation_id:
            one.cancelling = True


class ReservationEnded(Event, frozen=True, kw_only=True, tag="charge_point.reservation_ended.v1"):
    """It is over, and `how`: used, cancelled, expired, refused, unanswered, replaced or lost.

    `reason` is the charge point's word, `session_id` that of the transaction which used it. `clearing`: the charge
    point may hold it, and is told that it is over.
    """

    reservation_id: str
    number: int
    how: ReservationEnd
    reason: str = ""
    session_id: str = ""
    clearing: bool = False
    reference: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        reservations.end(
            aggregate.state.reservations, self.number, self.how, self.timestamp, clearing=self.clearing
        )


def _forget_sets(state: ChargePointState) -> None:
    """What is on its way was asked for a former wish: its answer says nothing of this one."""
    for call in (*state.calls.values(), *state.overdue.values()):
        if call.own and call.sets and (call.sets not in state.wanted or not state.wanted[call.sets].pushes):
            call.sets = ""


WISH_EVENTS = (
    VariablesWanted,
    DefaultsWanted,
    VariablesCompared,
    AvailabilityWanted,
    AvailabilityCompared,
    ReservationRequested,
    ReservationConfirmed,
    ReservationGivenUp,
    ReservationEnded,
)
