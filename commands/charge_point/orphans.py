"""Stops and readings of transactions that we do not know: put to a start that comes later, or by a person (START-5).

They are never put to a transaction that runs: only a start that comes after the stop, and began before it, can be
the one that was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from commands.base import Accepted, Meta, Outcome, Refusal, Rejected
from commands.charge_point.models import Settled, SettleStop, StartTransaction
from domain.charge_point import ChargePoint, Flag, StopSettled, TransactionStopped
from domain.charge_point.state import KEEP, Ended, Orphan
from domain.clock import by_its_clock, by_our_clock
from domain.values import RegisterSample

Begin = Callable[[ChargePoint, StartTransaction, Meta, int], int]
"""Starts a transaction by a person's word, at a time by a clock that was so many seconds ahead; its number."""


def merged(*groups: Iterable[RegisterSample]) -> tuple[RegisterSample, ...]:
    """All samples once, oldest first; of equal times in the order given."""
    unique = {sample: None for group in groups for sample in group}
    return tuple(sorted(unique, key=lambda sample: sample.at))


def orphan_of(charge_point: ChargePoint, command: StartTransaction, at: datetime) -> str:
    """The key of the stop that ended this start before it came; empty where there is none.

    Tag or group, meter and time must agree. Of several with a tag it is the first one after the start; one without
    a tag must be the only one.
    """
    state = charge_point.state
    began = state.corrected(command.timestamp, at)
    tagged: list[tuple[datetime, str]] = []
    untagged: list[str] = []
    for key, one in state.orphans.items():
        if one.session_id or one.meter_stop < command.meter_start:
            continue
        stopped = min(by_our_clock(one.stopped_at, one.clock_offset_s), one.at)
        if one.stopped_at < command.timestamp or not began <= stopped <= began + KEEP:
            continue
        if one.id_tag is None:
            untagged.append(key)
        elif _same_tag(one, command):
            tagged.append((one.stopped_at, key))
    if tagged:
        return min(tagged)[1]
    return untagged[0] if len(untagged) == 1 else ""


def strays_of(
    charge_point: ChargePoint, command: StartTransaction, until: datetime | None
) -> tuple[RegisterSample, ...]:
    """The register samples of its connector that came before the start itself, up to its stop."""
    return merged(
        one.sample
        for one in charge_point.state.strays
        if one.connector_id == command.connector_id
        and command.timestamp <= one.sample.at
        and (until is None or one.sample.at <= until)
        and one.sample.energy_wh >= command.meter_start
    )


def put_to(
    charge_point: ChargePoint,
    number: int,
    key: str,
    at: datetime,
    how: Flag = Flag.JOINED,
    *,
    by: str = "",
    note: str = "",
) -> str:
    """The orphan is the stop of this transaction, which may be over already; its session's id."""
    state = charge_point.state
    orphan = state.orphans[key]
    transaction = state.open.get(number) or state.ended[number]
    charge_point.trigger(
        TransactionStopped,
        at,
        occurred_at=orphan.stopped_at,
        clock_offset_s=orphan.clock_offset_s,
        transaction_id=number,
        session_id=transaction.session_id,
        connector_id=transaction.connector_id,
        meter_stop=orphan.meter_stop,
        id_tag=orphan.id_tag,
        reason=orphan.reason,
        samples=merged(transaction.pending, orphan.samples),
        carried=transaction.carried,
        assumed=True,
        after_all=isinstance(transaction, Ended),
        key=key,
        flags=(how,),
    )
    charge_point.trigger(
        StopSettled,
        at,
        key=key,
        transaction_id=number,
        session_id=transaction.session_id,
        by=by,
        note=note,
    )
    return transaction.session_id


def settle(charge_point: ChargePoint, command: SettleStop, meta: Meta, begin: Begin) -> Outcome:
    """A person says which charge it was: one of ours, or one that nobody reported."""
    state, name = charge_point.state, command.charge_point_id
    orphan = state.orphans.get(command.key)
    if orphan is None:
        return Rejected(Refusal.UNKNOWN, f"charge point {name} has no such stop, or too old a one")
    if orphan.session_id:
        return Rejected(Refusal.CONFLICT, f"the stop was put to session {orphan.session_id} already")
    start = command.start
    if start is None:
        number = command.transaction_id
        transaction = state.open.get(number) or state.ended.get(number)
        if transaction is None:
            return Rejected(Refusal.UNKNOWN, f"charge point {name} has no transaction {number}")
        if isinstance(transaction, Ended) and transaction.stop:
            return Rejected(Refusal.NOT_ALLOWED, f"transaction {number} has a stop already")
        wrong = _wrong(orphan, transaction.started_at, transaction.meter_start)
    else:
        authorization = start.authorization
        if authorization.owner is not None and authorization.status != "Accepted":
            owner, status = authorization.owner, authorization.status
            return Rejected(Refusal.NOT_ALLOWED, f"the id tag is {status}: {owner} would not pay for it")
        wrong = _wrong(orphan, start.timestamp, start.meter_start)
    if wrong:
        return Rejected(Refusal.INVALID, wrong)
    if start is not None:
        shown = by_its_clock(start.timestamp, orphan.clock_offset_s)
        start = msgspec.structs.replace(start, timestamp=shown)
        number = begin(charge_point, start, meta, orphan.clock_offset_s)
    session = put_to(
        charge_point,
        number,
        command.key,
        meta.at,
        Flag.BY_HAND,
        by=meta.principal,
        note=command.reason,
    )
    return Accepted(Settled(transaction_id=number, session_id=session))


def _wrong(orphan: Orphan, started_at: datetime, meter_start: int) -> str:
    if by_our_clock(orphan.stopped_at, orphan.clock_offset_s) < started_at:
        return "the charge began after the stop"
    if orphan.meter_stop < meter_start:
        return f"the meter stood at {meter_start} Wh at the start, above {orphan.meter_stop} Wh at the stop"
    return ""


def _same_tag(orphan: Orphan, command: StartTransaction) -> bool:
    if orphan.id_tag is not None and orphan.id_tag.key == command.id_tag.key:
        return True
    return bool(orphan.parent) and orphan.parent == command.authorization.parent
