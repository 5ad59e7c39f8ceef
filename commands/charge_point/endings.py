"""Transactions that end without their stop: a person says so, or nothing was heard of them for too long (BOOT-6).

With what is known of them; a stop that comes after all corrects it.
"""

from __future__ import annotations

from datetime import datetime

from commands.base import Accepted, Meta, Outcome, Refusal, Rejected
from commands.charge_point.models import Closed, EndTransaction
from domain.charge_point import ChargePoint, Flag, TransactionClosed
from domain.charge_point.state import OPEN_MOST, Ended


def end_transaction(charge_point: ChargePoint, command: EndTransaction, meta: Meta) -> Outcome:
    """A person ends it without its stop; one that is over already stays as it is."""
    state = charge_point.state
    number = command.transaction_id
    transaction = state.open.get(number) or state.ended.get(number)
    if transaction is None:
        message = f"charge point {command.charge_point_id} has no transaction {number}"
        return Rejected(Refusal.UNKNOWN, message)
    running = number in state.open
    if running:
        _close(charge_point, number, Flag.BY_HAND, meta.at, by=meta.principal, note=command.reason)
    over_at = transaction.at if isinstance(transaction, Ended) else None
    return Accepted(Closed(session_id=transaction.session_id, running=running, over_at=over_at))


def close_abandoned(charge_point: ChargePoint, due: datetime, at: datetime) -> None:
    """Transactions that were not heard of for longer than their tenant waits are over (BOOT-6)."""
    for number, one in list(charge_point.state.open.items()):
        abandoned_at = charge_point.abandoned_at(one)
        if abandoned_at is not None and abandoned_at <= due:
            _close(charge_point, number, Flag.ABANDONED, at)


def close_surplus(charge_point: ChargePoint, newest: int, at: datetime) -> None:
    """Beyond as many as a charge point can have, refused ones end, then the one that was longest not heard of."""
    running = charge_point.state.open
    while len(running) > OPEN_MOST:
        oldest = min(
            (number for number in running if number != newest),
            key=lambda number: (running[number].status == "Accepted", running[number].heard_at),
        )
        _close(charge_point, oldest, Flag.SURPLUS, at)


def _close(
    charge_point: ChargePoint, number: int, why: Flag, at: datetime, *, by: str = "", note: str = ""
) -> None:
    one = charge_point.state.open[number]
    charge_point.trigger(
        TransactionClosed,
        at,
        occurred_at=one.seen_at,
        clock_offset_s=charge_point.state.clock_offset_s,
        transaction_id=number,
        session_id=one.session_id,
        connector_id=one.connector_id,
        why=why,
        by=by,
        note=note,
        samples=tuple(one.pending),
        carried=one.carried,
    )
