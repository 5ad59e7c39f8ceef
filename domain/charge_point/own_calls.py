"""Which call the system makes next by itself to a charge point, and when: one at a time, while it is there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from domain.charge_point.availability import AvailabilityState
from domain.charge_point.state import (
    CONFIGURATION_AFTER,
    CONFIGURATION_EVERY,
    OWN_CALL_AGAIN,
    OWN_CALL_EVERY,
    ChargePointState,
)
from domain.charge_point.wanted import WISHES_MOST
from domain.clock import lasting
from domain.intents import CancelReservation, ChangeAvailability, GetVariables, Intent, SetVariable, kind_of


class OwnCall(NamedTuple):
    """What it is asked for, from when on."""

    due: datetime
    intent: Intent


def next_own_call(state: ChargePointState) -> OwnCall | None:
    """None where there is nothing to ask for, an own call is out, or it could not answer (BOOT-2, BOOT-3).

    What it may hold though nobody wants it any more is given up first (TC_051), then its connectors are told whether
    they may be used. All its variables are asked for where they are not known (TC_019), then those of which something
    is wanted, as many at once as it tells (GetConfigurationMaxKeys); then it is told what it has otherwise (TC_021),
    the least tried first. What it does not answer lets go first what it may answer.
    """
    registration, connection = state.registration, state.connection
    if registration is None or connection is None or not state.accepted():
        return None
    if any(call.own for call in state.calls.values()):
        return None
    due = max(registration.at, connection.since + lasting(connection.quiet_s)) + CONFIGURATION_AFTER
    last = state.own_call_at
    if last is not None:
        wait = _backoff(state.own_unanswered) if state.own_unanswered else OWN_CALL_EVERY
        due = max(due, last + wait)
    calls: list[OwnCall] = []
    out = {call.reserves for call in state.calls.values()}
    for number, reservation in state.reservations.items():
        if reservation.to_give_up and number not in out and due < reservation.expires_at:
            calls.append(OwnCall(due, CancelReservation(reservation_id=number)))
            break
    if state.configuration_wanted:
        asked = state.configuration_asked_at
        calls.append(OwnCall(max(due, asked + CONFIGURATION_EVERY) if asked else due, GetVariables()))
    told = [(id, one) for id, one in state.availability.items() if one.state is AvailabilityState.PENDING]
    if told:
        connector, wish = min(told, key=lambda pair: pair[1].pushes)
        intent = ChangeAvailability(connector_id=connector, type=wish.availability)
        again = max(due, last + _backoff(wish.pushes)) if last is not None and wish.pushes else due
        calls.append(OwnCall(again, intent))
    if unread := [one.key for one in state.wanted.values() if one.unread]:
        most = min(state.able().variables_at_once or WISHES_MOST, WISHES_MOST)
        calls.append(OwnCall(due, GetVariables(keys=tuple(unread[:most]))))
    to_push = [one for one in state.wanted.values() if one.to_push]
    if to_push:
        one = min(to_push, key=lambda one: one.pushes)
        again = max(due, last + _backoff(one.pushes)) if last is not None and one.pushes else due
        calls.append(OwnCall(again, SetVariable(key=one.key, value=one.value)))
    deaf = state.own_deaf
    return min(calls, key=lambda call: (call.due, deaf.get(kind_of(call.intent), 0)), default=None)


def _backoff(times: int) -> timedelta:
    return min(OWN_CALL_AGAIN * (1 << min(times - 1, 10)), CONFIGURATION_EVERY)
