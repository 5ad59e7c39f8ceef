"""Items of jobs that wait for a charge point which is not connected."""

from __future__ import annotations

from datetime import datetime

from commands.base import Accepted, Meta, Outcome
from commands.charge_point.models import AwaitConnection
from commands.charge_point.provisioning import unknown
from domain.charge_point import AwaitedConnectionMade, ChargePoint, ConnectionAwaited


def await_connection(charge_point: ChargePoint, command: AwaitConnection, meta: Meta) -> Outcome:
    """Noted until it connects; told at once where it is connected, whatever it was when the item was refused. One
    that was removed meanwhile may come back."""
    state = charge_point.state
    if not charge_point.exists:
        return unknown(command.charge_point_id)
    if command.item in state.reached:
        return Accepted()
    if state.connection is not None:
        charge_point.trigger(AwaitedConnectionMade, meta.at, items=(command.item,))
    elif command.until > meta.at and all(one.item != command.item for one in state.awaiting):
        charge_point.trigger(ConnectionAwaited, meta.at, item=command.item, until=command.until)
    return Accepted()


def tell_who_waits(charge_point: ChargePoint, at: datetime) -> None:
    """It is connected: the items that wait for that go on."""
    items = tuple(one.item for one in charge_point.state.awaiting if one.until > at)
    if items:
        charge_point.trigger(AwaitedConnectionMade, at, items=items)
