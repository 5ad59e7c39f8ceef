"""Connections, boots, signs of life, statuses, authorizations and everything that is only noted."""

from __future__ import annotations

from datetime import datetime, timedelta

from commands.base import Accepted, Meta, Outcome, Refusal, Rejected
from commands.charge_point.availability import availability_answered, availability_seen
from commands.charge_point.awaiting import tell_who_waits
from commands.charge_point.configuring import wanted_interval
from commands.charge_point.models import (
    Authorize,
    Boot,
    BootReply,
    Connect,
    ConnectedReply,
    DataReply,
    Disconnect,
    Notify,
    ReportStatus,
    See,
    TagReply,
    TransferData,
)
from commands.charge_point.provisioning import already_known, learn_connector, misnamed, unknown
from commands.charge_point.reserving import answered, seen
from domain.charge_point import (
    CallConcluded,
    ChargePoint,
    ChargePointBooted,
    ChargePointConnected,
    ChargePointDisconnected,
    ChargePointRegistered,
    ChargePointSeen,
    ClockOffsetNoted,
    CredentialsSet,
    DataTransferred,
    Flag,
    NotificationReceived,
    StatusReported,
    TagAuthorized,
)
from domain.charge_point.state import DRIFT_AGREES_S, AwaitedStart, ChargePointState, Drift
from domain.values import Authorization

SEEN_EVERY = timedelta(minutes=1)
OFFSET_MATTERS_S = 60
OFFSET_MOST_S = 100 * 365 * 86_400
DRIFT_SETTLES = timedelta(seconds=30)
ZERO_STATUSES = frozenset({"Available", "Unavailable", "Faulted"})


def connect(charge_point: ChargePoint, command: Connect, meta: Meta) -> Outcome:
    """The newest connection wins; what was asked of an older one has failed (J-20).

    What its first handshake brings, a place and a password, is decided with it. A password that comes later is
    nobody's to set by a handshake. A handshake that its gateway had given up, and that the log took late, is not the
    newest: nobody would hold its connection.
    """
    state = charge_point.state
    if _overtaken(state, command, meta):
        return Rejected(Refusal.CONFLICT, f"charge point {command.charge_point_id} has connected since")
    if command.site is not None:
        if state.provisioned:
            return already_known(command.charge_point_id)
        if (refused := misnamed(command.charge_point_id)) is not None:
            return refused
        moved_from, gone = state.left_behind(command.site, ())
        charge_point.trigger(
            ChargePointRegistered,
            meta.at,
            tenant=command.tenant,
            charge_point_id=command.charge_point_id,
            site=command.site,
            automatic=True,
            moved_from=moved_from,
            gone=gone,
        )
    elif not state.provisioned:
        return unknown(command.charge_point_id)
    if command.password_hash is not None:
        if not _may_keep(state, command.password_hash):
            return Rejected(Refusal.CONFLICT, f"charge point {command.charge_point_id} has other credentials")
        charge_point.trigger(CredentialsSet, meta.at, password_hash=command.password_hash)
    charge_point.trigger(
        ChargePointConnected,
        meta.at,
        node=command.node,
        slot=command.slot,
        boot=command.boot,
        address=command.address,
        unconfigured=state.accepted() and state.announced is None,
        quiet_s=command.quiet_s,
        asked_at=command.asked_at,
        location_id=state.location_id,
    )
    epoch = charge_point.version
    _fail_calls(charge_point, "replaced", meta.at, before=epoch)
    tell_who_waits(charge_point, meta.at)
    registration = state.registration
    return Accepted(
        ConnectedReply(
            epoch=epoch,
            registration=registration.status if registration else "",
            interval=registration.interval if registration else 0,
            next_transaction_id=state.next_transaction_id,
            clock_offset_s=state.clock_offset_s,
            defaults_mark=state.defaults_mark,
        )
    )


def _overtaken(state: ChargePointState, command: Connect, meta: Meta) -> bool:
    """Whether a handshake that was asked for later has been decided. One that seems to be asked for after this one's
    deadline says only that its gateway's clock is ahead."""
    if state.handshake_at is None or command.asked_at is None or meta.deadline is None:
        return False
    return command.asked_at < state.handshake_at <= meta.deadline


def _may_keep(state: ChargePointState, password_hash: str) -> bool:
    """One of two that it may have is the one that it used (SEC-03); a first one is kept while it is new."""
    if state.password_hash or state.alternative_hash:
        return password_hash in (state.password_hash, state.alternative_hash)
    return not state.met


def disconnect(charge_point: ChargePoint, command: Disconnect, meta: Meta) -> Outcome:
    """The late end of a replaced connection changes nothing (J-20); statuses stay as they were (ST-4)."""
    connection = charge_point.state.connection
    if (
        connection is not None
        and connection.epoch == command.epoch
        and connection.boot != command.except_boot
    ):
        end_connection(charge_point, command.epoch, command.reason, meta.at)
    return Accepted()


def end_connection(charge_point: ChargePoint, epoch: int, reason: str, at: datetime) -> None:
    """The current connection is over, and with it every call on it."""
    charge_point.trigger(ChargePointDisconnected, at, epoch=epoch, reason=reason)
    _fail_calls(charge_point, "disconnected", at, before=epoch + 1)


def boot(charge_point: ChargePoint, command: Boot, meta: Meta) -> Outcome:
    """Open transactions stay open: their stops may still come (BOOT-6)."""
    if not charge_point.state.provisioned:
        return unknown(command.charge_point_id)
    interval = command.interval
    if command.status == "Accepted":
        interval = wanted_interval(charge_point, interval)
    charge_point.trigger(
        ChargePointBooted,
        meta.at,
        vendor=command.vendor,
        model=command.model,
        charge_point_serial_number=command.charge_point_serial_number,
        charge_box_serial_number=command.charge_box_serial_number,
        firmware_version=command.firmware_version,
        iccid=command.iccid,
        imsi=command.imsi,
        meter_type=command.meter_type,
        meter_serial_number=command.meter_serial_number,
        status=command.status,
        interval=interval,
        flags=command.flags,
    )
    return Accepted(BootReply(status=command.status, interval=interval))


def see(charge_point: ChargePoint, command: See, meta: Meta) -> Outcome:
    """Any event says that it is alive, so this makes one only when a minute passed without.

    On a connection that was thought silent it brings the connection back: only its signs of life were lost, e.g.
    while the log was away.
    """
    lost = charge_point.state.lost
    if lost is not None and lost.epoch == command.epoch:
        charge_point.trigger(
            ChargePointConnected,
            meta.at,
            node=lost.node,
            slot=lost.slot,
            boot=lost.boot,
            resumes=lost.epoch,
            location_id=charge_point.state.location_id,
        )
        tell_who_waits(charge_point, meta.at)
    elif charge_point.state.provisioned and meta.at - charge_point.modified_on >= SEEN_EVERY:
        charge_point.trigger(ChargePointSeen, meta.at)
    return Accepted()


def report_status(charge_point: ChargePoint, command: ReportStatus, meta: Meta) -> Outcome:
    """Every transition is taken; the newest by the charge point's own time is the present (ST-3)."""
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    if state.was_told(command.call):
        return Accepted()
    watch_clock(charge_point, command.timestamp, meta.at, queued=False)
    learn_connector(charge_point, command.connector_id, meta.at)
    at = state.corrected(command.timestamp, meta.at)
    last = state.connectors.get(command.connector_id)
    flags = [*command.flags, *_not_registered(charge_point)]
    if command.connector_id == 0 and command.status not in ZERO_STATUSES:
        flags.append(Flag.CONNECTOR_ZERO_STATUS)
    if command.connector_id > 0 and state.evse(command.connector_id) is None:
        flags.append(Flag.UNKNOWN_CONNECTOR)
    running = charge_point.running_on(command.connector_id)
    charge_point.trigger(
        StatusReported,
        meta.at,
        occurred_at=command.timestamp,
        clock_offset_s=state.clock_offset_s,
        connector_id=command.connector_id,
        session_id=running[-1][1].session_id if running else "",
        status=command.status,
        error_code=command.error_code,
        info=command.info,
        vendor_id=command.vendor_id,
        vendor_error_code=command.vendor_error_code,
        stale=last is not None and at < last.at,
        call=command.call,
        flags=tuple(flags),
        location_id=state.location_id,
    )
    if last is None or at >= last.at:
        seen(charge_point, command.connector_id, command.status, at, meta.at)
        availability_seen(charge_point, command.connector_id, command.status, at, meta.at)
    return Accepted()


def authorize(charge_point: ChargePoint, command: Authorize, meta: Meta) -> Outcome:
    """ConcurrentTx is no answer to Authorize (AUTH-1); a free connector does not matter (AUTH-4)."""
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    intent = awaited_start(charge_point, command.id_tag.key, None, meta.at)
    decided = by_intent(command.authorization, intent)
    charge_point.trigger(
        TagAuthorized,
        meta.at,
        id_tag=command.id_tag,
        authorization=decided,
        flags=(*command.flags, *_not_registered(charge_point)),
    )
    status = "Accepted" if decided.status == "ConcurrentTx" else decided.status
    return Accepted(
        TagReply(status=status, expires_at=decided.expires_at, parent_sealed=decided.parent_sealed)
    )


def transfer_data(charge_point: ChargePoint, command: TransferData, meta: Meta) -> Outcome:
    if not charge_point.state.provisioned:
        return unknown(command.charge_point_id)
    charge_point.trigger(
        DataTransferred,
        meta.at,
        vendor_id=command.vendor_id,
        message_id=command.message_id,
        status=command.status,
        size=command.size,
    )
    return Accepted(DataReply(status=command.status))


def notify(charge_point: ChargePoint, command: Notify, meta: Meta) -> Outcome:
    if not charge_point.state.provisioned:
        return unknown(command.charge_point_id)
    if charge_point.state.was_told(command.call):
        return Accepted()
    charge_point.trigger(
        NotificationReceived,
        meta.at,
        occurred_at=command.timestamp,
        clock_offset_s=charge_point.state.clock_offset_s,
        action=command.action,
        content=command.content,
        call=command.call,
        flags=command.flags,
    )
    return Accepted()


def watch_clock(charge_point: ChargePoint, timestamp: datetime | None, at: datetime, *, queued: bool) -> None:
    """Note how far the charge point's clock is off when that has changed by more than a minute.

    Nothing comes from the future, so a message that looks newer than the known offset allows proves a larger one at
    once. One that looks older may have waited in a queue: it counts only when it agrees with our clock, or when
    messages that are never queued have shown the same offset for half a minute. `queued` messages (transactions)
    prove the first alone. What is off by lifetimes is no clock but nonsense, and is left to the flags.
    """
    if timestamp is None:
        return
    state = charge_point.state
    seconds = round((timestamp - at).total_seconds())
    if abs(seconds) > OFFSET_MOST_S:
        return
    rises = seconds > state.clock_offset_s + OFFSET_MATTERS_S
    drift = state.drift
    falls = (
        not queued
        and seconds < state.clock_offset_s - OFFSET_MATTERS_S
        and (abs(seconds) <= OFFSET_MATTERS_S or _settled(drift, seconds, at))
    )
    if rises or falls:
        charge_point.trigger(ClockOffsetNoted, at, seconds=seconds)


def _settled(drift: Drift | None, seconds: int, at: datetime) -> bool:
    """Whether the messages before showed the same offset, for long enough."""
    agrees = drift is not None and abs(seconds - drift.seconds) <= DRIFT_AGREES_S
    return drift is not None and agrees and at - drift.at >= DRIFT_SETTLES


def awaited_start(
    charge_point: ChargePoint, tag: str, connector_id: int | None, at: datetime
) -> AwaitedStart | None:
    """The remote start that waits for this tag: one for this very connector first, then the oldest."""
    fitting = [
        one
        for one in charge_point.state.remote_starts
        if one.tag == tag
        and one.until > at
        and (connector_id is None or one.connector_id in (0, connector_id))
    ]
    return min(fitting, key=lambda one: one.connector_id != connector_id, default=None)


def by_intent(known: Authorization, intent: AwaitedStart | None) -> Authorization:
    """What counts of a tag that a remote start named: the remote start's, unless the tag is blocked or expired."""
    if intent is None or intent.authorization is None or known.status in ("Blocked", "Expired"):
        return known
    return intent.authorization


def _not_registered(charge_point: ChargePoint) -> tuple[str, ...]:
    return () if charge_point.state.accepted() else (Flag.NOT_REGISTERED,)


def _fail_calls(charge_point: ChargePoint, reason: str, at: datetime, *, before: int) -> None:
    for command_id, call in list(charge_point.state.calls.items()):
        if call.epoch < before:
            charge_point.trigger(
                CallConcluded,
                at,
                command_id=command_id,
                kind=call.kind,
                status="failed",
                reason=reason,
                own=call.own,
            )
            answered(charge_point, call, "failed", reason, at, word=False)
            availability_answered(charge_point, call, "failed", reason, at)
