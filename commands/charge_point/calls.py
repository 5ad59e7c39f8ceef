"""Our calls to the charge point: when they may be made, and how they end."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from commands.base import Accepted, Downlink, Meta, Outcome, Refusal, Rejected, TimerDue
from commands.charge_point.availability import availability_answered
from commands.charge_point.call_rules import forbidden
from commands.charge_point.configuring import compare
from commands.charge_point.endings import close_abandoned
from commands.charge_point.models import CallReply, ConcludeCall, NoteCallSent, RequestCall, Reserve
from commands.charge_point.presence import end_connection
from commands.charge_point.provisioning import unknown
from commands.charge_point.reserving import answered, begin, expire, is_same, known, reply_of
from domain.charge_point import CallConcluded, CallRequested, CallSent, ChargePoint, StatusesLapsed
from domain.charge_point.state import BROKEN, CALL_GRACE, SILENT, ConnectionState, OpenCall
from domain.clock import later
from domain.intents import Intent, RemoteStart, ReserveNow, Unlock, kind_of

_REMOTE_START = RemoteStart.__struct_config__.tag
OWN_CALL_PATIENCE = timedelta(minutes=2)
"""How long a charge point may take to answer what the system asks by itself."""


def request_call(charge_point: ChargePoint, command: RequestCall, meta: Meta) -> Outcome:
    """Sent to the current connection; refused with one line where it could not be answered."""
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    connection = state.connection
    if command.command_id in state.asked or command.command_id in state.calls:
        # Asked again, as after a restore: whatever became of it, it is not made a second time.
        return Accepted(CallReply(command_id=command.command_id, epoch=connection.epoch if connection else 0))
    if connection is None:
        return Rejected(Refusal.NOT_CONNECTED, f"charge point {command.charge_point_id} is not connected")
    if command.expires_at <= meta.at:
        return Rejected(Refusal.EXPIRED, f"{kind_of(command.intent)} expired before it could be sent")
    wrong = forbidden(state, command.intent, override=command.override) or _somebody_elses(
        charge_point, command
    )
    if wrong:
        return Rejected(Refusal.NOT_ALLOWED, wrong)
    if isinstance(command.intent, ReserveNow):
        parent = command.authorization.parent if command.authorization is not None else ""
        number = begin(
            charge_point, command.intent, meta.at, id_tag=command.id_tag, parent=parent, by=meta.principal
        )
        numbered = msgspec.structs.replace(command.intent, reservation_id=number)
        command = msgspec.structs.replace(command, intent=numbered)
    downlink = _call(charge_point, connection, command, meta.at)
    return Accepted(CallReply(command_id=command.command_id, epoch=connection.epoch), (downlink,))


def _somebody_elses(charge_point: ChargePoint, command: RequestCall) -> str:
    """Why a partner may not unlock: the cable there is of a charge, running or over, that is none of its tokens'."""
    if not command.holder or not isinstance(command.intent, Unlock):
        return ""
    if charge_point.holders_of_cable(command.intent.connector_id) <= {command.holder}:
        return ""
    return f"connector {command.intent.connector_id} holds the cable of somebody else's charge"


def reserve(charge_point: ChargePoint, command: Reserve, meta: Meta) -> Outcome:
    """As a remote command, but answered at once with the number that it has."""
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    running = known(charge_point, command)
    if running is not None and is_same(running[1], command):
        return Accepted(reply_of(*running))
    connection = state.connection
    if connection is None:
        return Rejected(Refusal.NOT_CONNECTED, f"charge point {command.charge_point_id} is not connected")
    if command.expires_at <= meta.at:
        return Rejected(Refusal.INVALID, "the reservation would be over already")
    intent = ReserveNow(
        connector_id=command.connector_id,
        expiry_date=command.expires_at,
        id_tag=command.sealed_tag,
        parent_id_tag=command.sealed_parent,
        reservation_id=None if running is None else running[0],
    )
    wrong = forbidden(state, intent, override=command.override)
    if wrong:
        return Rejected(Refusal.NOT_ALLOWED, wrong)
    number = begin(
        charge_point,
        intent,
        meta.at,
        id_tag=command.id_tag,
        parent=command.parent,
        reference=command.reference,
        by=meta.principal,
    )
    reservation = state.reservations[number]
    call = RequestCall(
        tenant=command.tenant,
        charge_point_id=command.charge_point_id,
        command_id=f"reserve-{reservation.id}",
        intent=msgspec.structs.replace(intent, reservation_id=number),
        expires_at=min(later(meta.at, OWN_CALL_PATIENCE), command.expires_at),
        id_tag=command.id_tag,
    )
    downlink = _call(charge_point, connection, call, meta.at, own=True)
    return Accepted(reply_of(number, reservation), (downlink,))


def _call(
    charge_point: ChargePoint,
    connection: ConnectionState,
    command: RequestCall,
    at: datetime,
    *,
    own: bool = False,
) -> Downlink:
    charge_point.trigger(
        CallRequested,
        at,
        command_id=command.command_id,
        intent=command.intent,
        id_tag=command.id_tag,
        authorization=command.authorization,
        epoch=connection.epoch,
        slot=connection.slot,
        boot=connection.boot,
        expires_at=command.expires_at,
        own=own,
        remote_start_until=_remote_start_until(charge_point, kind_of(command.intent), command.expires_at),
    )
    return Downlink(
        slot=connection.slot,
        boot=connection.boot,
        tenant=command.tenant,
        charge_point_id=command.charge_point_id,
        connection_epoch=connection.epoch,
        command_id=command.command_id,
        intent=command.intent,
        expires_at=command.expires_at,
        own=own,
    )


def note_call_sent(charge_point: ChargePoint, command: NoteCallSent, meta: Meta) -> Outcome:
    """From now on it waits for its answer, no longer in a queue."""
    call = charge_point.state.calls.get(command.command_id)
    if call is not None and not call.sent:
        charge_point.trigger(
            CallSent,
            meta.at,
            command_id=command.command_id,
            answer_by=command.answer_by,
            remote_start_until=_remote_start_until(charge_point, call.kind, command.answer_by),
        )
    return Accepted()


def conclude_call(charge_point: ChargePoint, command: ConcludeCall, meta: Meta) -> Outcome:
    """The first conclusion stands, except that the charge point's own answer corrects one without it."""
    state = charge_point.state
    call = state.calls.get(command.command_id)
    late = call is None and command.answered
    if late:
        call = state.overdue.get(command.command_id)
    if call is not None:
        if call.own and command.status == "failed" and not command.answered and command.reason not in BROKEN:
            # It never got there: not the charge point's word, and no reason to ask it again at once.
            command = msgspec.structs.replace(command, status="expired")
        charge_point.trigger(
            CallConcluded,
            meta.at,
            command_id=command.command_id,
            kind=call.kind,
            status=command.status,
            reason=command.reason,
            response=command.response,
            learned=command.learned,
            own=call.own,
            late=late,
            obstacle=_obstacle(charge_point, call) if command.status == "rejected" else "",
        )
        if not late or command.status == "accepted":  # a refusal of before says nothing of what it has since
            compare(charge_point, call, command, meta.at)
            availability_answered(
                charge_point,
                call,
                command.status,
                command.reason,
                meta.at,
                scheduled=command.learned.scheduled,
            )
        word = command.answered or command.status in ("accepted", "rejected")
        answered(charge_point, call, command.status, command.reason, meta.at, word=word)
    return Accepted()


def _obstacle(charge_point: ChargePoint, call: OpenCall) -> str:
    """What is known of the connector on which a start was refused."""
    if call.starts_on is None:
        return ""
    status = charge_point.state.connectors.get(call.starts_on)
    if status is not None and status.status in ("Unavailable", "Faulted"):
        return "inoperative"
    busy = status is not None and status.status in ("Charging", "SuspendedEV", "SuspendedEVSE", "Reserved")
    return "occupied" if busy or charge_point.running_on(call.starts_on) else ""


def timer_due(charge_point: ChargePoint, command: TimerDue, meta: Meta) -> Outcome:
    """Calls that nobody answered in time have timed out, and those that were never sent have expired: their gateway
    is gone or their downlink was lost.

    So is a connection on which nothing came for too long (J-19): its gateway would have said so, were it there.
    And what the system wants of it by itself is asked for. Of one that has been away for long, the statuses are old
    (ST-4).
    """
    silent_at = charge_point.silent_at  # our own conclusions are no sign of life
    for command_id, call in list(charge_point.state.calls.items()):
        if later(call.expires_at, CALL_GRACE) <= command.due:
            charge_point.trigger(
                CallConcluded,
                meta.at,
                command_id=command_id,
                kind=call.kind,
                status="timed_out" if call.sent or call.own else "expired",
                reason="no answer in time" if call.sent or call.own else "it could not be sent in time",
                own=call.own,
            )
            answered(charge_point, call, "timed_out", "no answer in time", meta.at, word=False)
            availability_answered(charge_point, call, "timed_out", "no answer in time", meta.at)
    expire(charge_point, command.due, meta.at)
    close_abandoned(charge_point, command.due, meta.at)
    connection = charge_point.state.connection
    if connection is not None and silent_at is not None and silent_at <= command.due:
        end_connection(charge_point, connection.epoch, SILENT, meta.at)
    lapses_at = charge_point.lapses_at
    if lapses_at is not None and lapses_at <= command.due:
        charge_point.trigger(StatusesLapsed, meta.at, location_id=charge_point.state.location_id)
    own = charge_point.own_call
    if connection is None or own is None or own.due > command.due:
        return Accepted()
    return Accepted(None, (_call_by_ourselves(charge_point, connection, own.intent, meta.at),))


def _call_by_ourselves(
    charge_point: ChargePoint, connection: ConnectionState, intent: Intent, at: datetime
) -> Downlink:
    """Whatever features it is known to have."""
    command = RequestCall(
        tenant=charge_point.state.tenant,
        charge_point_id=charge_point.state.charge_point_id,
        command_id=f"own-{charge_point.version}",
        intent=intent,
        expires_at=at + OWN_CALL_PATIENCE,
    )
    return _call(charge_point, connection, command, at, own=True)


def _remote_start_until(charge_point: ChargePoint, kind: str, at: datetime) -> datetime | None:
    """Until when a start may still be the one that was asked for; None for a call that asks for none."""
    if kind != _REMOTE_START:
        return None
    return later(at, charge_point.state.connection_timeout())
