"""What is odd about a transaction message that is taken all the same (START-9, STOP-1): flags for whoever looks."""

from __future__ import annotations

from datetime import datetime, timedelta

from commands.charge_point.models import StartTransaction, StopTransaction
from domain.charge_point import ChargePoint, Flag
from domain.charge_point.state import Ended, Open
from domain.clock import by_our_clock

LATE_AFTER = timedelta(minutes=5)
FUTURE_AFTER = timedelta(minutes=1)


def start_flags(charge_point: ChargePoint, command: StartTransaction, at: datetime) -> list[str]:
    state = charge_point.state
    flags = time_flags(charge_point, command.timestamp, at)
    if state.evse(command.connector_id) is None:
        flags.append(Flag.UNKNOWN_CONNECTOR)
    last = state.last_stops.get(command.connector_id)
    if last is not None:
        began = by_our_clock(command.timestamp, state.clock_offset_s)
        if began < last.at:
            flags.append(Flag.BEFORE_PREVIOUS_STOP)
        elif command.meter_start > last.meter:
            flags.append(Flag.METER_GAP)
        if began >= last.at and command.meter_start < last.meter:
            flags.append(Flag.METER_BELOW_PREVIOUS_STOP)
    if command.reservation_id is not None and command.reservation_id not in state.reservations:
        flags.append(Flag.UNKNOWN_RESERVATION)
    if not state.accepted():
        flags.append(Flag.NOT_REGISTERED)
    return flags


def stop_flags(
    charge_point: ChargePoint, transaction: Open | Ended, command: StopTransaction, at: datetime
) -> list[str]:
    flags = time_flags(charge_point, command.timestamp, at)
    if isinstance(transaction, Ended) and transaction.why:
        flags.append(transaction.why)
    if command.meter_stop < transaction.meter_start:
        flags.append(Flag.METER_STOP_BELOW_START)
    if by_our_clock(command.timestamp, charge_point.state.clock_offset_s) < transaction.started_at:
        flags.append(Flag.STOP_BEFORE_START)
    if not _may_stop(transaction, command):
        flags.append(Flag.FOREIGN_TAG)
    if transaction.rebooted:
        flags.append(Flag.REBOOTED)
    return flags


def time_flags(charge_point: ChargePoint, timestamp: datetime, at: datetime) -> list[str]:
    if timestamp - at > FUTURE_AFTER:
        return [Flag.TIMESTAMP_IN_FUTURE]
    return [Flag.LATE] if at - charge_point.state.corrected(timestamp, at) > LATE_AFTER else []


def _may_stop(transaction: Open | Ended, command: StopTransaction) -> bool:
    """The same tag, or one of its group (STOP-3); a stop without a tag is always right."""
    if command.id_tag is None or command.id_tag.key == transaction.tag:
        return True
    parent = command.authorization.parent if command.authorization else ""
    return bool(transaction.parent) and parent == transaction.parent
