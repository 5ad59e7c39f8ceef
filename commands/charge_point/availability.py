"""Availability that is wanted of connectors: told, told again where a connector says otherwise, and shown."""

from __future__ import annotations

from datetime import datetime

from commands.base import Accepted, Meta, Outcome, Refusal, Rejected
from commands.charge_point.models import WantAvailability
from commands.charge_point.provisioning import unknown
from domain.charge_point import AvailabilityCompared, AvailabilityWanted, ChargePoint
from domain.charge_point.availability import CONNECTORS_MOST, AvailabilityState, after_status, again, agrees
from domain.charge_point.state import OpenCall
from domain.charge_point.wanted import REASON_MOST
from domain.texts import shortened


def want_availability(charge_point: ChargePoint, command: WantAvailability, meta: Meta) -> Outcome:
    """Noted for whenever it is there; the same wish again is tried anew."""
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    connectors = {*state.availability, command.wish.connector_id}
    if command.wish.availability is not None and len(connectors) > CONNECTORS_MOST:
        message = f"charge point {command.charge_point_id} has wishes for {CONNECTORS_MOST} connectors"
        return Rejected(Refusal.NOT_ALLOWED, message)
    charge_point.trigger(AvailabilityWanted, meta.at, wish=command.wish, by=meta.principal)
    return Accepted()


def availability_answered(
    charge_point: ChargePoint,
    call: OpenCall | None,
    status: str,
    reason: str,
    at: datetime,
    *,
    scheduled: bool = False,
) -> None:
    """What became of our own call; where nothing is known of that, it is told again."""
    one = None if call is None or call.avails is None else charge_point.state.availability.get(call.avails)
    if call is None or call.avails is None or one is None:
        return
    if status == "accepted":
        state = AvailabilityState.SCHEDULED if scheduled else AvailabilityState.IN_SYNC
    else:
        state = AvailabilityState.REFUSED if status == "rejected" else again(one)
    _compared(charge_point, call.avails, state, reason, at, answered=True)


def availability_seen(
    charge_point: ChargePoint, connector_id: int, status: str, at: datetime, received: datetime
) -> None:
    """What its connector says of itself now."""
    one = charge_point.state.availability.get(connector_id)
    if one is None:
        return
    state = after_status(one, status, at)
    shown = state is AvailabilityState.IN_SYNC and one.pushes > 0 and agrees(one, status)
    if state is not one.state or shown:
        _compared(charge_point, connector_id, state, status, received)


_GOOD = frozenset({AvailabilityState.IN_SYNC, AvailabilityState.SCHEDULED})


def _compared(
    charge_point: ChargePoint,
    connector_id: int,
    state: AvailabilityState,
    reason: str,
    at: datetime,
    *,
    answered: bool = False,
) -> None:
    charge_point.trigger(
        AvailabilityCompared,
        at,
        connector_id=connector_id,
        state=state,
        reason="" if state in _GOOD else shortened(reason, REASON_MOST),
        answered=answered,
    )
