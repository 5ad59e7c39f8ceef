"""Reservations: asked for, taken or refused, used, given up, over; each ends once.

What the charge point may hold though it is over here is given up by the system's own call
(`domain.charge_point.own_calls`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from commands.base import Accepted, Meta, Outcome, Refusal, Rejected
from commands.charge_point.models import GiveUpReservation, Reserve, Reserved, StartTransaction
from domain.charge_point import (
    ChargePoint,
    ReservationConfirmed,
    ReservationEnded,
    ReservationGivenUp,
    ReservationRequested,
)
from domain.charge_point.aggregate import reservation_id
from domain.charge_point.reservation import RESERVATIONS_MOST, Reservation, ReservationEnd, next_number
from domain.charge_point.state import ChargePointState, OpenCall
from domain.clock import by_our_clock, earlier
from domain.intents import ReserveNow
from domain.values import TagRef

NEAR_ITS_END: Final = timedelta(minutes=2)
"""Who says Available so shortly before the end of a reservation has let it expire by its own clock."""

BEFORE: Final = timedelta(seconds=2)
"""What a connector said earlier than this before its charge point took a reservation says nothing of that."""

_GONE: Final = frozenset({"Faulted", "Unavailable"})


def give_up(charge_point: ChargePoint, command: GiveUpReservation, meta: Meta) -> Outcome:
    """It ends once its charge point says so, or was never told of it; one that is over stays as it ended."""
    state = charge_point.state
    found = next(
        (
            (number, one)
            for number, one in state.reservations.items()
            if (command.reservation_id and one.id == command.reservation_id)
            or (command.reference and one.reference == command.reference and one.runs)
        ),
        None,
    )
    if found is None:
        named = command.reservation_id or command.reference
        message = f"charge point {command.charge_point_id} has no reservation {named}"
        return Rejected(Refusal.UNKNOWN, message)
    number, one = found
    if one.runs and not one.cancelling:
        charge_point.trigger(
            ReservationGivenUp, meta.at, number=number, reservation_id=one.id, by=meta.principal
        )
    return Accepted(reply_of(number, one))


def known(charge_point: ChargePoint, command: Reserve) -> tuple[int, Reservation] | None:
    """The reservation that runs under this reference; without one, that which was asked for in the same words."""
    running = ((number, one) for number, one in charge_point.state.reservations.items() if one.runs)
    return next(
        (
            (number, one)
            for number, one in running
            if one.reference == command.reference and (command.reference or is_same(one, command))
        ),
        None,
    )


def is_same(one: Reservation, command: Reserve) -> bool:
    """Whether it was asked for in the same words."""
    asked = (command.connector_id, command.id_tag.key, command.expires_at)
    return not one.cancelling and (one.connector_id, one.tag, one.expires_at) == asked


def cannot_reserve(state: ChargePointState, intent: ReserveNow) -> str:
    """Why no other reservation can be made on its connector, or nothing."""
    running = {number: one for number, one in state.reservations.items() if one.runs}
    replaced = running.pop(intent.reservation_id or 0, None)
    if replaced is None and len(running) >= RESERVATIONS_MOST:
        return f"charge point {state.charge_point_id} has {RESERVATIONS_MOST} reservations"
    held = next(
        (one for one in running.values() if one.connector_id == intent.connector_id and not one.cancelling),
        None,
    )
    if held is not None and intent.connector_id > 0:
        return f"connector {intent.connector_id} of charge point {state.charge_point_id} is reserved already"
    return ""


def begin(
    charge_point: ChargePoint,
    intent: ReserveNow,
    at: datetime,
    *,
    id_tag: TagRef | None,
    parent: str,
    reference: str = "",
    by: str = "",
) -> int:
    """It runs from now on; its number. One that has the same number is replaced (OCPP 1.6, 5.13)."""
    state = charge_point.state
    number = intent.reservation_id or next_number(state.reservations, state.last_reservation)
    known = state.reservations.get(number)
    if known is not None and known.runs:
        _end(charge_point, number, ReservationEnd.REPLACED, at)
    charge_point.trigger(
        ReservationRequested,
        at,
        reservation_id=reservation_id(state.tenant, state.charge_point_id, charge_point.version + 1),
        tenant=state.tenant,
        charge_point_id=state.charge_point_id,
        number=number,
        given=intent.reservation_id is None,
        connector_id=intent.connector_id,
        evse_uid=evse.uid if (evse := state.evse(intent.connector_id)) is not None else "",
        id_tag=id_tag,
        parent=parent,
        expires_at=intent.expiry_date,
        reference=reference,
        by=by,
    )
    return number


def answered(
    charge_point: ChargePoint, call: OpenCall | None, status: str, reason: str, at: datetime, *, word: bool
) -> None:
    """What became of a call says this of a reservation; `word`: the charge point has answered it."""
    if call is None:
        return
    if call.reserves is not None:
        one = charge_point.state.reservations.get(call.reserves)
        if one is not None and one.id == call.reservation_id:
            _reserved(charge_point, call.reserves, one, status, reason, at, word=word)
    elif call.cancels is not None and word:
        one = call.gives_up(charge_point.state.reservations)
        if one is None or not one.runs:
            return
        if status == "accepted" or (one.cancelling and (status == "rejected" or not one.to_give_up)):
            # Rejected: it knows none of this number.
            _end(charge_point, call.cancels, ReservationEnd.CANCELLED, at)


def _reserved(
    charge_point: ChargePoint,
    number: int,
    one: Reservation,
    status: str,
    reason: str,
    at: datetime,
    *,
    word: bool,
) -> None:
    if word and status == "accepted":
        if not one.confirmed:
            charge_point.trigger(
                ReservationConfirmed,
                at,
                number=number,
                reservation_id=one.id,
                late=not one.runs or one.cancelling,
                reference=one.reference,
            )
    elif one.runs and word:
        _end(
            charge_point,
            number,
            ReservationEnd.CANCELLED if one.cancelling else ReservationEnd.REFUSED,
            at,
            reason=reason,
            clearing=one.replaces,
        )
    elif one.runs and not one.confirmed:
        how = ReservationEnd.CANCELLED if one.cancelling else ReservationEnd.UNANSWERED
        _end(charge_point, number, how, at, reason=reason, clearing=True)


def use(
    charge_point: ChargePoint,
    command: StartTransaction,
    status: str,
    parent: str,
    session_id: str,
    at: datetime,
) -> None:
    """The start ends the reservation that it names, or that was made for its tag; one that is refused uses none
    (START-8)."""
    running = {number: one for number, one in charge_point.state.reservations.items() if one.runs}
    if status != "Accepted" or not running:
        return
    number = command.reservation_id
    began = by_our_clock(command.timestamp, charge_point.state.clock_offset_s)
    if number not in running:
        fitting = [
            (number, one)
            for number, one in running.items()
            if one.fits(command.connector_id, command.id_tag.key, parent, began)
        ]
        number = min(fitting, key=lambda pair: (pair[1].connector_id == 0, pair[1].at), default=(None, None))[
            0
        ]
    if number is not None:
        _end(charge_point, number, ReservationEnd.USED, at, session_id=session_id)


def seen(charge_point: ChargePoint, connector_id: int, status: str, at: datetime, received: datetime) -> None:
    """What a connector says of itself: a fault ends its reservation (OCPP 1.6, 5.13), and one that says Available
    after it was Reserved, or after a reboot, holds none."""
    for number, one in list(charge_point.state.reservations.items()):
        if not one.runs or not one.confirmed or at < earlier(one.at, BEFORE):
            continue
        failed = status in _GONE and connector_id in (0, one.connector_id)
        free = status == "Available" and connector_id == one.connector_id > 0
        if failed or (free and (one.seen or one.rebooted)):
            _end(charge_point, number, _lost(one, at), received, reason=status, clearing=failed)


def expire(charge_point: ChargePoint, due: datetime, at: datetime) -> None:
    """Those whose time is over are over."""
    for number, one in list(charge_point.state.reservations.items()):
        if one.runs and one.over_at() <= due:
            _end(
                charge_point,
                number,
                ReservationEnd.CANCELLED if one.cancelling else ReservationEnd.EXPIRED,
                at,
            )


def end_all(charge_point: ChargePoint, at: datetime, reason: str) -> None:
    """The charge point is nobody's any more."""
    for number, one in list(charge_point.state.reservations.items()):
        if one.runs:
            _end(charge_point, number, ReservationEnd.LOST, at, reason=reason)


def reply_of(number: int, one: Reservation) -> Reserved:
    status = one.ended or ("cancelling" if one.cancelling else "active" if one.confirmed else "pending")
    return Reserved(reservation_id=one.id, number=number, status=status)


def _lost(one: Reservation, at: datetime) -> ReservationEnd:
    if one.cancelling:
        return ReservationEnd.CANCELLED
    return ReservationEnd.EXPIRED if at >= earlier(one.expires_at, NEAR_ITS_END) else ReservationEnd.LOST


def _end(
    charge_point: ChargePoint,
    number: int,
    how: ReservationEnd,
    at: datetime,
    *,
    reason: str = "",
    session_id: str = "",
    clearing: bool = False,
) -> None:
    one = charge_point.state.reservations[number]
    charge_point.trigger(
        ReservationEnded,
        at,
        number=number,
        reservation_id=one.id,
        how=how,
        reason=reason[:200],
        session_id=session_id,
        clearing=clearing,
        reference=one.reference,
    )
