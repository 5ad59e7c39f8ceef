"""Our calls to the charge point: when they may be made, and how they end."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from commands.base import Accepted, Downlink, Meta, Outcome, Refusal, Rejected, TimerDue
from commands.charge_point.endings import close_abandoned
from commands.charge_point.models import CallReply, ConcludeCall, RequestCall
from commands.charge_point.presence import end_connection
from commands.charge_point.provisioning import unknown
from domain.charge_point import CallConcluded, CallRequested, ChargePoint
from domain.charge_point.state import CALL_GRACE, SILENT, Connection
from protocols.ocpp.actions import Direction, Profile
from protocols.ocpp.v16 import DIRECTIONS, PROFILES

CONFIGURATION_PATIENCE = timedelta(minutes=2)
"""How long a charge point may take to tell its configuration."""


def request_call(charge_point: ChargePoint, command: RequestCall, meta: Meta) -> Outcome:
    """Sent to the current connection; refused with one line where it could not be answered."""
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    direction = DIRECTIONS.get(command.action)
    if direction is None or not direction.allows(Direction.FROM_CENTRAL_SYSTEM):
        return Rejected(Refusal.INVALID, f"{command.action} is no call of a central system in OCPP 1.6")
    connection = state.connection
    if connection is None:
        return Rejected(Refusal.NOT_CONNECTED, f"charge point {command.charge_point_id} is not connected")
    if command.expires_at <= meta.at:
        return Rejected(Refusal.EXPIRED, f"{command.action} expired before it could be sent")
    if command.command_id in state.calls:
        return Accepted(CallReply(command_id=command.command_id, epoch=connection.epoch))
    forbidden = _forbidden(charge_point, command)
    if forbidden:
        return Rejected(Refusal.NOT_ALLOWED, forbidden)
    downlink = _call(charge_point, connection, command, meta.at)
    return Accepted(CallReply(command_id=command.command_id, epoch=connection.epoch), (downlink,))


def _call(
    charge_point: ChargePoint,
    connection: Connection,
    command: RequestCall,
    at: datetime,
    *,
    own: bool = False,
) -> Downlink:
    charge_point.trigger(
        CallRequested,
        at,
        command_id=command.command_id,
        action=command.action,
        payload=command.payload,
        id_tag=command.id_tag,
        authorization=command.authorization,
        epoch=connection.epoch,
        slot=connection.slot,
        boot=connection.boot,
        expires_at=command.expires_at,
        own=own,
        remote_start_until=_remote_start_until(charge_point, command),
    )
    return Downlink(
        slot=connection.slot,
        boot=connection.boot,
        tenant=command.tenant,
        charge_point_id=command.charge_point_id,
        connection_epoch=connection.epoch,
        command_id=command.command_id,
        action=command.action,
        payload=msgspec.Raw(msgspec.json.encode(command.payload)),
        expires_at=command.expires_at,
    )


def conclude_call(charge_point: ChargePoint, command: ConcludeCall, meta: Meta) -> Outcome:
    """The first conclusion stands; one that comes after it changes nothing."""
    call = charge_point.state.calls.get(command.command_id)
    if call is not None:
        charge_point.trigger(
            CallConcluded,
            meta.at,
            command_id=command.command_id,
            action=call.action,
            status=command.status,
            reason=command.reason,
            response=command.response,
            own=call.own,
        )
    return Accepted()


def timer_due(charge_point: ChargePoint, command: TimerDue, meta: Meta) -> Outcome:
    """Calls whose answer would have come by now have timed out: their gateway is gone or their downlink was lost.

    So is a connection on which nothing came for too long (J-19): its gateway would have said so, were it there.
    And a charge point of which the configuration is not known is asked for it.
    """
    silent_at = charge_point.silent_at  # our own conclusions are no sign of life
    for command_id, call in list(charge_point.state.calls.items()):
        if call.expires_at + CALL_GRACE <= command.due:
            charge_point.trigger(
                CallConcluded,
                meta.at,
                command_id=command_id,
                action=call.action,
                status="timed_out",
                reason="no answer in time",
                own=call.own,
            )
    close_abandoned(charge_point, command.due, meta.at)
    connection = charge_point.state.connection
    if connection is not None and silent_at is not None and silent_at <= command.due:
        end_connection(charge_point, connection.epoch, SILENT, meta.at)
    configuration_due = charge_point.configuration_due
    if connection is None or configuration_due is None or configuration_due > command.due:
        return Accepted()
    return Accepted(None, (_ask_configuration(charge_point, connection, meta.at),))


def _ask_configuration(charge_point: ChargePoint, connection: Connection, at: datetime) -> Downlink:
    """GetConfiguration of everything, whatever feature profiles it is known to have (TC_019)."""
    command = RequestCall(
        tenant=charge_point.state.tenant,
        charge_point_id=charge_point.state.charge_point_id,
        command_id=f"configuration-{charge_point.version}",
        action="GetConfiguration",
        payload={},
        expires_at=at + CONFIGURATION_PATIENCE,
    )
    return _call(charge_point, connection, command, at, own=True)


def _remote_start_until(charge_point: ChargePoint, command: RequestCall) -> datetime | None:
    """Until when a start may still be the one that was asked for; None for a call that asks for none."""
    if command.action != "RemoteStartTransaction" or command.id_tag is None:
        return None
    return command.expires_at + charge_point.state.connection_timeout()


def _forbidden(charge_point: ChargePoint, command: RequestCall) -> str:
    """Why this call may not be made now; empty when it may."""
    state, name, action = charge_point.state, command.charge_point_id, command.action
    status = state.registration.status if state.registration else ""
    if status == "Rejected":
        return f"charge point {name} was rejected at its boot: it takes no calls"
    if status == "Pending" and action in ("RemoteStartTransaction", "RemoteStopTransaction"):
        return f"charge point {name} is Pending: {action} is allowed once its boot was accepted"
    if action == "RemoteStopTransaction":
        number = command.payload.get("transactionId")
        if number not in state.open:
            return f"transaction {number} of charge point {name} is not running"
    if command.override:
        return ""
    if (
        status == "Accepted"
        and action == "TriggerMessage"
        and command.payload.get("requestedMessage") == "BootNotification"
    ):
        return f"charge point {name} is accepted: its BootNotification may not be triggered again"
    announced = state.configuration.get("supportedfeatureprofiles")
    profile = PROFILES[action]
    if announced and profile is not Profile.SECURITY:
        names = {part.strip().casefold() for part in announced.split(",")}
        if profile.value.casefold() not in names:
            return f"charge point {name} does not offer the feature profile {profile.value}"
    return ""
