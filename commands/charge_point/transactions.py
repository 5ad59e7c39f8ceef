"""StartTransaction, MeterValues and StopTransaction: always taken, always answered, never counted twice.

A charge point tells what has happened already, so nothing here refuses; what is odd is flagged (START-1, START-9,
STOP-1, MV-2).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from commands.base import Accepted, Meta, Outcome
from commands.charge_point.endings import close_surplus
from commands.charge_point.models import (
    RecordMeterValues,
    SettleStop,
    StartReply,
    StartTransaction,
    Stopped,
    StopTransaction,
    TakenOver,
    TakeOver,
    start_key,
    stop_key,
)
from commands.charge_point.oddities import start_flags, stop_flags, time_flags
from commands.charge_point.orphans import merged, orphan_of, put_to, settle, strays_of
from commands.charge_point.presence import OFFSET_MATTERS_S, awaited_start, by_intent, watch_clock
from commands.charge_point.provisioning import learn_connector, unknown
from commands.charge_point.reserving import use
from domain.charge_point import (
    ChargePoint,
    Flag,
    MeterValuesRecorded,
    StopConflicted,
    StopUnmatched,
    TransactionStarted,
    TransactionStopped,
    TransactionSuperseded,
    session_id,
)
from domain.charge_point.state import (
    PENDING_FEW,
    PENDING_MOST,
    AwaitedStart,
    ChargePointState,
    Ended,
    Open,
    tag_of,
)
from domain.clock import by_our_clock, lasting, later
from domain.values import Authorization, RegisterSample, Site

ORPHAN_ID = -1
UNSURE = timedelta(seconds=OFFSET_MATTERS_S)
"""How much its clock may be off that is not known."""
TOLD_AT_ONCE = timedelta(minutes=2)
"""How long after it began a start may come, at the latest, that was not kept while its charge point was offline."""
CARRYING = timedelta(seconds=1)
"""How much sooner a relay is due where its edge waited for it: the relay before was noted as the log took it."""


def start_transaction(charge_point: ChargePoint, command: StartTransaction, meta: Meta) -> Outcome:
    """A transaction id and a status, whatever is wrong (START-1); a repeat gets the first answer (START-6)."""
    state = charge_point.state
    if state.site is None:
        return unknown(command.charge_point_id)
    key = start_key(command)
    answered = state.starts.get(key)
    if answered is not None:
        return Accepted(
            StartReply(
                transaction_id=answered.transaction_id,
                session_id=answered.session_id,
                status=answered.status,
                expires_at=answered.expires_at,
                parent_sealed=answered.parent_sealed,
                clock_offset_s=state.clock_offset_s,
            )
        )
    watch_clock(charge_point, command.timestamp, meta.at, queued=True)
    learn_connector(charge_point, command.connector_id, meta.at)
    intent = awaited_start(charge_point, command.id_tag.key, command.connector_id, meta.at)
    authorization = by_intent(command.authorization, intent)
    status = authorization.status
    orphan = orphan_of(charge_point, command, meta.at)
    elsewhere = command.charges_elsewhere and not _kept(charge_point, command, meta.at)
    if status == "Accepted" and not orphan and (elsewhere or _charges_here(charge_point, command)):
        status = "ConcurrentTx"
    flags = [*command.flags, *start_flags(charge_point, command, meta.at)]
    number = _begin(
        charge_point, command, meta.at, authorization, status, flags, state.clock_offset_s, orphan, intent
    )
    if orphan:
        put_to(charge_point, number, orphan, meta.at)
    session = session_id(command.tenant, command.charge_point_id, number)
    use(charge_point, command, status, authorization.parent, session, meta.at)
    return Accepted(
        StartReply(
            transaction_id=number,
            session_id=session,
            status=status,
            expires_at=authorization.expires_at,
            parent_sealed=authorization.parent_sealed,
            clock_offset_s=state.clock_offset_s,
        )
    )


def settle_stop(charge_point: ChargePoint, command: SettleStop, meta: Meta) -> Outcome:
    return settle(charge_point, command, meta, _begin_by_hand)


def _begin_by_hand(
    charge_point: ChargePoint, command: StartTransaction, meta: Meta, clock_offset_s: int
) -> int:
    flags = [*command.flags, Flag.BY_HAND]
    return _begin(charge_point, command, meta.at, command.authorization, "Accepted", flags, clock_offset_s)


def _begin(
    charge_point: ChargePoint,
    command: StartTransaction,
    at: datetime,
    authorization: Authorization,
    status: str,
    flags: list[str],
    clock_offset_s: int,
    orphan: str = "",
    intent: AwaitedStart | None = None,
) -> int:
    """The transaction runs; its number. What ran on its connector before it is over (START-7)."""
    state = charge_point.state
    began = by_our_clock(command.timestamp, clock_offset_s)
    over = [
        (number, one)
        for number, one in charge_point.running_on(command.connector_id)
        if (status == "Accepted" or one.status != "Accepted") and one.started_at <= began
    ]
    evse = state.evse(command.connector_id)
    number = state.next_transaction_id
    charge_point.trigger(
        TransactionStarted,
        at,
        occurred_at=command.timestamp,
        clock_offset_s=clock_offset_s,
        transaction_id=number,
        session_id=session_id(command.tenant, command.charge_point_id, number),
        tenant=command.tenant,
        charge_point_id=command.charge_point_id,
        connector_id=command.connector_id,
        evse_uid=evse.uid if evse else str(command.connector_id),
        evse_id=evse.evse_id if evse else "",
        ocpi_connector=evse.connectors[0] if evse and evse.connectors else None,
        site=_site(state, command),
        id_tag=command.id_tag,
        authorization=authorization,
        status=status,
        meter_start=command.meter_start,
        reservation_id=command.reservation_id,
        settings=command.settings,
        tariffs=command.tariffs,
        remote_command_id=intent.command_id if intent else "",
        superseded=over[-1][0] if over else 0,
        held=strays_of(charge_point, command, state.orphans[orphan].stopped_at if orphan else None),
        key=start_key(command),
        flags=tuple(flags),
    )
    for old, one in over:
        charge_point.trigger(
            TransactionSuperseded,
            at,
            occurred_at=min(one.seen_at, command.timestamp),
            clock_offset_s=state.clock_offset_s,
            transaction_id=old,
            session_id=one.session_id,
            connector_id=one.connector_id,
            by=number,
            began_at=command.timestamp,
            samples=tuple(one.pending),
            carried=one.carried,
        )
    close_surplus(charge_point, number, at)
    return number


def _site(state: ChargePointState, command: StartTransaction) -> Site | None:
    """Where it charges: of a Location that it has left meanwhile nothing counts."""
    known = command.site
    return known if known is not None and known.id.lower() == state.location_id.lower() else state.site


def record_meter_values(charge_point: ChargePoint, command: RecordMeterValues, meta: Meta) -> Outcome:
    """Taken whatever it says (MV-2); its session is told of the register at most every `relay_every` seconds.

    Of a charge point that was removed only what carries readings from before is.
    """
    state = charge_point.state
    if not state.provisioned and not command.gathered:
        return unknown(command.charge_point_id)
    if state.was_told(command.call):
        return Accepted()
    watch_clock(charge_point, command.timestamp, meta.at, queued=command.transaction_id is not None)
    number, flags = _transaction_of(charge_point, command)
    running = state.open.get(number)
    ended = state.ended.get(number)
    news = merged(command.gathered, command.samples) if command.gathered else command.samples
    relay: tuple[RegisterSample, ...] = ()
    held: tuple[RegisterSample, ...] = ()
    if running is not None:
        now = max(meta.at, charge_point.modified_on)
        wait = lasting(command.relay_every) - (CARRYING if command.gathered else timedelta())
        due = running.relayed_at is None or now - running.relayed_at >= wait
        many = len(running.pending) + len(news) > PENDING_FEW
        if due or (many and state.waiting() + len(news) > PENDING_MOST):
            relay = merged(running.pending, news)
        else:
            held = news
    elif ended is not None:
        held = news if ended.may_be_stopped else ()
    elif command.connector_id > 0 and {Flag.ORPHAN, Flag.UNKNOWN_TRANSACTION} & set(flags):
        held = command.samples
    charge_point.trigger(
        MeterValuesRecorded,
        meta.at,
        occurred_at=command.timestamp,
        clock_offset_s=state.clock_offset_s,
        connector_id=command.connector_id,
        transaction_id=number,
        session_id=running.session_id if running else ended.session_id if ended else "",
        values=command.values,
        relay=relay,
        held=held,
        carried=command.carried,
        call=command.call,
        flags=(*command.flags, *flags),
    )
    return Accepted()


def take_over(charge_point: ChargePoint, command: TakeOver, meta: Meta) -> Outcome:
    """Asked by the gateway of a later connection: everything that was answered on those before has been decided."""
    state, number = charge_point.state, command.transaction_id
    running, ended = state.open.get(number), state.ended.get(number)
    if running is not None:
        return Accepted(TakenOver(running=True, connector_id=running.connector_id, carried=running.carried))
    if ended is not None and ended.may_be_stopped:
        return Accepted(TakenOver(connector_id=ended.connector_id, carried=ended.carried))
    return Accepted(TakenOver())


def stop_transaction(charge_point: ChargePoint, command: StopTransaction, meta: Meta) -> Outcome:
    """Taken whatever it says (STOP-1); the first one stands, others are conflicts (STOP-4)."""
    state = charge_point.state
    if state.site is None:
        return unknown(command.charge_point_id)
    key = stop_key(command)
    transaction = state.open.get(command.transaction_id) or state.ended.get(command.transaction_id)
    if isinstance(transaction, Ended) and _same_stop(transaction, key):
        return Accepted(
            Stopped(
                session_id=transaction.session_id,
                status=transaction.stop_status,
                expires_at=transaction.stop_expires_at,
                parent_sealed=transaction.stop_parent_sealed,
            )
        )
    reply = _stop_reply(transaction, command)
    if transaction is None:
        if key not in state.orphans:
            watch_clock(charge_point, command.timestamp, meta.at, queued=True)
            _trigger_unmatched(charge_point, command, key, meta)
    elif isinstance(transaction, Ended) and not transaction.may_be_stopped:
        if key not in transaction.conflicts:
            charge_point.trigger(
                StopConflicted,
                meta.at,
                occurred_at=command.timestamp,
                clock_offset_s=state.clock_offset_s,
                transaction_id=command.transaction_id,
                session_id=transaction.session_id,
                meter_stop=command.meter_stop,
                id_tag=command.id_tag,
                reason=command.reason,
                key=key,
            )
    else:
        watch_clock(charge_point, command.timestamp, meta.at, queued=True)
        charge_point.trigger(
            TransactionStopped,
            meta.at,
            occurred_at=command.timestamp,
            clock_offset_s=state.clock_offset_s,
            transaction_id=command.transaction_id,
            session_id=transaction.session_id,
            connector_id=transaction.connector_id,
            meter_stop=command.meter_stop,
            id_tag=command.id_tag,
            status=reply.status,
            expires_at=reply.expires_at,
            parent_sealed=reply.parent_sealed,
            reason=command.reason,
            samples=merged(transaction.pending, command.gathered, command.samples),
            carried=command.carried,
            data=command.data,
            after_all=isinstance(transaction, Ended),
            key=key,
            flags=(*command.flags, *stop_flags(charge_point, transaction, command, meta.at)),
        )
    return Accepted(reply)


def _kept(charge_point: ChargePoint, command: StartTransaction, at: datetime) -> bool:
    """Whether the start may have been kept while the charge point was offline: that charge is never refused. Until a
    minute after it has connected it cannot be told, because of its clock only so much is known."""
    began = by_our_clock(command.timestamp, charge_point.state.clock_offset_s)
    connection = charge_point.state.connection
    return connection is None or began <= later(connection.since, UNSURE) or at - began > TOLD_AT_ONCE


def _charges_here(charge_point: ChargePoint, command: StartTransaction) -> bool:
    """Whether the tag has an accepted transaction on another connector of this charge point.

    One whose connector has since become Available is over, its stop is only late: it must not lock the driver out.
    """
    return any(
        one.tag == command.id_tag.key
        and one.connector_id != command.connector_id
        and one.status == "Accepted"
        and one.left_at is None
        for one in charge_point.state.open.values()
    )


def _same_stop(transaction: Ended, key: str) -> bool:
    """A stop that was put to a transaction named another number, so only what it says counts."""
    if transaction.assumed:
        return transaction.stop.partition("|")[2] == key.partition("|")[2]
    return transaction.stop == key


def _stop_reply(transaction: Open | Ended | None, command: StopTransaction) -> Stopped:
    """What is known of the stopping tag. A tag that only the start knew (a remote start's) keeps that answer."""
    id = transaction.session_id if transaction else ""
    known = command.authorization
    if command.id_tag is None:
        return Stopped(session_id=id)
    same = transaction is not None and tag_of(command.id_tag) == transaction.tag
    if transaction is not None and same and (known is None or known.source in ("unknown", "unavailable")):
        status = "Accepted" if transaction.status == "ConcurrentTx" else transaction.status
        return Stopped(session_id=id, status=status)
    if known is None:
        return Stopped(session_id=id, status="Invalid")
    return Stopped(
        session_id=id,
        status=known.status,
        expires_at=known.expires_at,
        parent_sealed=known.parent_sealed,
    )


def _transaction_of(charge_point: ChargePoint, command: RecordMeterValues) -> tuple[int, list[str]]:
    """The number of the transaction that these values belong to (0: none), and what was odd (MV-3, START-5)."""
    state = charge_point.state
    number = command.transaction_id or 0
    if number == ORPHAN_ID:
        return number, [Flag.ORPHAN]
    if number == 0:
        fitting = [
            open
            for open, one in charge_point.running_on(command.connector_id)
            if command.timestamp is None
            or one.started_at <= by_our_clock(command.timestamp, state.clock_offset_s)
        ]
        return (
            (fitting[-1], [Flag.WITHOUT_TRANSACTION_ID]) if fitting and command.connector_id > 0 else (0, [])
        )
    running = state.open.get(number)
    if running is not None:
        return number, [] if running.connector_id == command.connector_id else [Flag.OTHER_CONNECTOR]
    if 0 < number < state.next_transaction_id:
        return number, [Flag.ENDED_TRANSACTION]
    return number, [Flag.UNKNOWN_TRANSACTION]


def _trigger_unmatched(charge_point: ChargePoint, command: StopTransaction, key: str, meta: Meta) -> None:
    number = command.transaction_id
    if number == ORPHAN_ID:
        why = Flag.ORPHAN
    elif 0 < number < charge_point.state.next_transaction_id:
        why = Flag.ENDED_TRANSACTION
    else:
        why = Flag.UNKNOWN_TRANSACTION
    charge_point.trigger(
        StopUnmatched,
        meta.at,
        occurred_at=command.timestamp,
        clock_offset_s=charge_point.state.clock_offset_s,
        transaction_id=number,
        meter_stop=command.meter_stop,
        id_tag=command.id_tag,
        parent=command.authorization.parent if command.authorization else "",
        reason=command.reason,
        samples=merged(command.samples),
        data=command.data,
        key=key,
        flags=(*command.flags, why, *time_flags(charge_point, command.timestamp, meta.at)),
    )
