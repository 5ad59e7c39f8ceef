"""The facts of one charge point. Names and fields are kept in the log for ever; a golden file holds each.

`received_at` is the gateway's time of receipt; `occurred_at` is the charge point's own time, raw and uncorrected,
where its message carries one, and `happened_at` that time corrected by what was known of its clock. No event
holds an id tag, a password or the body of a DataTransfer. Over 400 lines because every fact of a charge point stands
here, in one list, but those of what is wanted of it (`wish_events`).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from domain.aggregate import Event, Observation
from domain.charge_point import availability as availabilities
from domain.charge_point import profiles
from domain.charge_point import wanted as wishes
from domain.charge_point.announced import Learned
from domain.charge_point.state import (
    ASKED_MOST,
    AWAITING_MOST,
    BROKEN,
    CONFIGURATION_KEEPS,
    CONFLICTS_MOST,
    CONNECTORS_MOST,
    DRIFT_AGREES_S,
    ORPHAN_SAMPLES_MOST,
    OVERDUE_MOST,
    PENDING_MOST,
    SILENT,
    Answered,
    AwaitedStart,
    Awaiting,
    ChargePointState,
    ConnectionState,
    Drift,
    Ended,
    Flag,
    LastStatus,
    LastStop,
    Open,
    OpenCall,
    Orphan,
    Registration,
    Stray,
)
from domain.charge_point.variable_keys import folded
from domain.charge_point.wish_events import WISH_EVENTS
from domain.clock import by_its_clock, by_our_clock
from domain.intents import (
    CancelReservation,
    ChangeAvailability,
    ClearChargingProfile,
    GetVariables,
    Intent,
    RemoteStart,
    ReserveNow,
    SendLocalList,
    SetChargingProfile,
    SetVariable,
    kind_of,
)
from domain.schedules import end_transaction
from domain.thinning import thinned
from domain.values import (
    Authorization,
    CallNumber,
    Carried,
    Connector,
    Evse,
    JobItem,
    JSONObject,
    RegisterSample,
    Sealed,
    Settings,
    Site,
    TagRef,
)

if TYPE_CHECKING:
    from domain.charge_point.aggregate import ChargePoint


class Timed(Event, frozen=True, kw_only=True):
    """The base of facts with a time of the charge point's own. `clock_offset_s`: how far its clock was known to run
    ahead of ours then."""

    clock_offset_s: int = 0

    @property
    def happened_at(self) -> datetime:
        """By our clock."""
        return (
            self.timestamp
            if self.occurred_at is None
            else by_our_clock(self.occurred_at, self.clock_offset_s)
        )

    @property
    def shown_at(self) -> datetime:
        """By the charge point's clock."""
        return self.occurred_at or by_its_clock(self.timestamp, self.clock_offset_s)

    @property
    def showed_itself_at(self) -> datetime:
        """By the charge point's clock, and never after the receipt."""
        return min(self.shown_at, by_its_clock(self.timestamp, self.clock_offset_s))


class ChargePointRegistered(Event, frozen=True, kw_only=True, tag="charge_point.registered.v1"):
    """The tenant knows this charge point from now on; `automatic` when it was taken in at its first handshake.

    One that comes back stood somewhere before: `moved_from` and `gone` as if it had changed."""

    tenant: str
    charge_point_id: str
    site: Site
    evses: tuple[Evse, ...] = ()
    automatic: bool = False
    moved_from: str = ""
    gone: tuple[Evse, ...] = ()

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        state.tenant, state.charge_point_id = self.tenant, self.charge_point_id
        state.site, state.evses = self.site, self.evses
        state.automatic, state.provisioned, state.met = self.automatic, True, False


class ChargePointChanged(Event, frozen=True, kw_only=True, tag="charge_point.changed.v1"):
    """Where it stands and what it has, as a whole; `taken_over` where it had taken itself in, and an operator says
    from now on what it has. `moved_from` is the Location where it stood, if that was another one; `gone` are the
    EVSEs that are not there any more."""

    site: Site
    evses: tuple[Evse, ...] = ()
    taken_over: bool = False
    moved_from: str = ""
    gone: tuple[Evse, ...] = ()

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        state.automatic = state.automatic and not self.taken_over
        state.site, state.evses = self.site, self.evses


class ChargePointRemoved(Event, frozen=True, kw_only=True, tag="charge_point.removed.v1"):
    """The tenant knows it no more. Transaction ids go on counting if it comes back."""

    location_id: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        state.provisioned, state.registration = False, None
        state.password_hash = state.alternative_hash = ""
        state.wanted, state.availability, state.defaults_mark = {}, {}, ""


class CredentialsSet(Event, frozen=True, kw_only=True, tag="charge_point.credentials_set.v1"):
    """Its Basic password, as a salted scrypt text; empty: none is asked for (SEC-00).

    `alternative_hash` is one that it was told, and of which nobody knows whether it took it (SEC-03).
    """

    password_hash: str
    alternative_hash: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        state.password_hash, state.alternative_hash = self.password_hash, self.alternative_hash


class ChargePointConnected(Event, frozen=True, kw_only=True, tag="charge_point.connected.v1"):
    """A websocket was opened on `node`. The event's version is the connection's epoch; the newest wins (J-20).

    `resumes` is the epoch of a connection that was thought silent and is alive all the same, 0 for a new one.
    `unconfigured`: it was accepted at an earlier boot, and nothing of its configuration is known. For `quiet_s`
    seconds it is left alone with the system's own calls, as many others connected with it. `asked_at` is when its
    gateway asked for it.
    """

    node: str
    slot: int
    boot: str
    address: str = ""
    resumes: int = 0
    unconfigured: bool = False
    quiet_s: int = 0
    asked_at: datetime | None = None
    location_id: str = ""

    @property
    def epoch(self) -> int:
        """The connection's number among all of this charge point."""
        return self.resumes or self.originator_version

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        state.met = True
        state.connection = ConnectionState(
            epoch=self.epoch,
            node=self.node,
            slot=self.slot,
            boot=self.boot,
            since=self.timestamp,
            quiet_s=self.quiet_s,
        )
        state.lost = state.drift = state.offline_since = None
        state.lapsed = False
        state.handshake_at = self.asked_at or state.handshake_at
        if self.unconfigured:
            state.configuration_wanted = True


class ChargePointDisconnected(Event, frozen=True, kw_only=True, tag="charge_point.disconnected.v1"):
    """The current websocket is gone. `reason` says how, e.g. `closed 1000`, `silent`, `gateway lost`."""

    epoch: int
    reason: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        connection = state.connection
        if connection is not None and connection.epoch == self.epoch:
            state.connection, state.lost = None, connection if self.reason == SILENT else None
            state.offline_since = self.timestamp


class StatusesLapsed(Event, frozen=True, kw_only=True, tag="charge_point.statuses_lapsed.v1"):
    """It has been away for so long that its last statuses say nothing any more (ST-4)."""

    location_id: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        aggregate.state.lapsed = True


class ChargePointBooted(Event, frozen=True, kw_only=True, tag="charge_point.booted.v1"):
    """BootNotification and its answer: `status` Accepted, Pending or Rejected, `interval` in seconds."""

    vendor: str
    model: str
    charge_point_serial_number: str = ""
    charge_box_serial_number: str = ""
    firmware_version: str = ""
    iccid: str = ""
    imsi: str = ""
    meter_type: str = ""
    meter_serial_number: str = ""
    status: str
    interval: int
    flags: tuple[str, ...] = ()

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        before, asked = state.registration, state.configuration_asked_at
        state.registration = Registration(
            status=self.status,
            interval=self.interval,
            at=self.timestamp,
            model=self.model,
            firmware=self.firmware_version,
        )
        same = before is not None and (before.model, before.firmware) == (self.model, self.firmware_version)
        old = asked is None or self.timestamp - asked >= CONFIGURATION_KEEPS
        if not same or old or state.reboot_changes:
            state.configuration_wanted, state.reboot_changes = True, False
        wishes.boot(state.wanted, other_firmware=not same)
        availabilities.boot(state.availability, other_firmware=not same)
        for one in state.reservations.values():
            one.rebooted, one.seen = one.runs and one.confirmed, False
        state.own_unanswered = min(state.own_unanswered, 1)  # it may be our call that it boots from
        for transaction in state.open.values():
            transaction.rebooted = True


class ChargePointSeen(Event, frozen=True, kw_only=True, tag="charge_point.seen.v1"):
    """It is alive; at most one a minute."""

    def apply(self, aggregate: ChargePoint) -> None:
        """Every event moves the aggregate's time of last change; this one does nothing else."""


class StatusReported(Timed, frozen=True, kw_only=True, tag="charge_point.status_reported.v1"):
    """StatusNotification. `stale` when a newer one of this connector is known (ST-3): history, not the present."""

    connector_id: int
    status: str
    error_code: str = "NoError"
    info: str = ""
    vendor_id: str = ""
    vendor_error_code: str = ""
    session_id: str = ""  # of the transaction that runs on this connector
    stale: bool = False
    call: CallNumber | None = None
    flags: tuple[str, ...] = ()
    location_id: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        state.note_told(self.call)
        _watch_clock(state, self)
        if self.stale:
            return
        at = state.corrected(self.occurred_at, self.timestamp)
        state.connectors[self.connector_id] = LastStatus(
            status=self.status, error_code=self.error_code, at=at
        )
        if len(state.connectors) > CONNECTORS_MOST:
            del state.connectors[min(state.connectors, key=lambda id: state.connectors[id].at)]
        for reservation in state.reservations.values():
            if self.status == "Reserved" and reservation.connector_id == self.connector_id:
                reservation.seen, reservation.rebooted = reservation.runs, False
        for one in state.open.values():
            if one.connector_id != self.connector_id or at <= one.started_at:
                continue
            if self.status != "Available":
                one.left_at = None
                _heard(one, self)
            elif one.left_at is None:
                one.left_at = self.timestamp
                _heard(one, self)


class TagAuthorized(Event, frozen=True, kw_only=True, tag="charge_point.tag_authorized.v1"):
    """Authorize was answered with this; `status` differs from the authorization's where a remote start named it."""

    id_tag: TagRef
    authorization: Authorization
    flags: tuple[str, ...] = ()

    def apply(self, aggregate: ChargePoint) -> None:
        """Nothing here depends on it: a start is judged anew (START-2)."""


class DataTransferred(Event, frozen=True, kw_only=True, tag="charge_point.data_transferred.v1"):
    """DataTransfer from the charge point and the status that it was answered; the data itself is left out."""

    vendor_id: str
    message_id: str = ""
    status: str
    size: int = 0  # characters of the data

    def apply(self, aggregate: ChargePoint) -> None:
        """A fact for readers."""


class NotificationReceived(Timed, frozen=True, kw_only=True, tag="charge_point.notified.v1"):
    """A notification that only says something: firmware, diagnostics, log status, security event, CSR.

    `action` is OCPP's; `content` the payload as on the wire.
    """

    action: str
    content: JSONObject
    call: CallNumber | None = None
    flags: tuple[str, ...] = ()

    def apply(self, aggregate: ChargePoint) -> None:
        """A fact for readers."""
        aggregate.state.note_told(self.call)


class MeterValuesRecorded(Timed, frozen=True, kw_only=True, tag="charge_point.meter_values_recorded.v1"):
    """MeterValues. `values` is the wire's `meterValue`, compact JSON. `occurred_at` is the newest sample's time.

    `relay` is what its session shall be told now: the register samples since the last relay, oldest first.
    Otherwise `held` are this message's register samples: kept for the next relay or the stop, also where the
    transaction is over without it, or, of a transaction that we do not know, for its start. `session_id` is empty
    where no transaction of ours fits; `transaction_id` is ours after attaching (MV-3), else as sent, 0 for none.
    Readings beside the events (`charge_point.reading_taken`) are among them up to where `carried` says.
    """

    connector_id: int
    transaction_id: int = 0
    session_id: str = ""
    values: msgspec.Raw
    relay: tuple[RegisterSample, ...] = ()
    held: tuple[RegisterSample, ...] = ()
    carried: Carried | None = None
    call: CallNumber | None = None
    flags: tuple[str, ...] = ()

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        state.note_told(self.call)
        _watch_clock(state, self)
        transaction = state.open.get(self.transaction_id)
        if transaction is None:
            self._hold(state)
            return
        transaction.left_at = None
        transaction.carried = _newer(transaction.carried, self.carried)
        _heard(transaction, self)
        if self.relay:
            transaction.relayed_at, transaction.pending = self.timestamp, []
        else:
            transaction.pending = [*transaction.pending, *self.held]

    def _hold(self, state: ChargePointState) -> None:
        """Of a transaction that does not run: for the stop of one that is over, else for a start."""
        ended = state.ended.get(self.transaction_id)
        if ended is not None:
            room = PENDING_MOST - state.waiting() + len(ended.pending)
            ended.pending = list(thinned([*ended.pending, *self.held], max(2, room)))
            ended.carried = _newer(ended.carried, self.carried)
        elif self.held:
            strays = [
                Stray(connector_id=self.connector_id, at=self.timestamp, sample=one) for one in self.held
            ]
            state.strays += strays
            state.forget(self.timestamp)


class ReadingTaken(Observation, Timed, frozen=True, kw_only=True, tag="charge_point.reading_taken.v1"):
    """MeterValues that decide nothing: of a transaction that runs, with `samples` its register samples.

    It is command and event in one record of a topic beside the events, and the `call` is which one it is. Otherwise
    as `charge_point.meter_values_recorded`, whose next one, or the stop, carries the samples to the session.
    """

    connector_id: int
    transaction_id: int
    session_id: str
    values: msgspec.Raw
    samples: tuple[RegisterSample, ...] = ()
    call: CallNumber

    @property
    def ordinal(self) -> str:
        return f"{self.call.epoch}.{self.call.number}"


class TransactionStarted(Timed, frozen=True, kw_only=True, tag="charge_point.transaction_started.v1"):
    """StartTransaction was answered with `transaction_id` and `status`, the idTagInfo status (START-1).

    `occurred_at` is the charge point's timestamp, `meter_start` in Wh. A `status` other than Accepted is a
    transaction all the same: its stop will come. `superseded` is the transaction on the same connector that this
    one ended, 0 for none (START-7). `tariffs` are OCPI 2.3.0 Tariff objects as they were at the start. `held` are
    register samples of its connector that came before it, under a number that we did not know.
    """

    transaction_id: int
    session_id: str
    tenant: str
    charge_point_id: str
    connector_id: int
    evse_uid: str
    evse_id: str = ""
    ocpi_connector: Connector | None = None
    site: Site
    id_tag: TagRef
    authorization: Authorization
    status: str
    meter_start: int
    reservation_id: int | None = None
    settings: Settings
    tariffs: tuple[JSONObject, ...] = ()
    remote_command_id: str = ""
    superseded: int = 0
    held: tuple[RegisterSample, ...] = ()
    key: str  # START-6
    flags: tuple[str, ...] = ()

    @property
    def holds_tag(self) -> bool:
        """Whether its tag charges at no other charge point of the tenant meanwhile."""
        return self.status == "Accepted" and not self.settings.concurrent_transactions

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        state.next_transaction_id = max(state.next_transaction_id, self.transaction_id + 1)
        state.open[self.transaction_id] = Open(
            session_id=self.session_id,
            connector_id=self.connector_id,
            tag=self.id_tag.key,
            parent=self.authorization.parent,
            holder=self.authorization.holder,
            status=self.status,
            meter_start=self.meter_start,
            started_at=self.happened_at,
            seen_at=self.shown_at,
            heard_at=self.timestamp,
            left_at=self.timestamp if self._left(state) else None,
            abandoned_after_h=self.settings.abandoned_after_hours,
            key=self.key,
            pending=list(self.held),
        )
        if self.holds_tag:
            state.held_tags[self.session_id] = self.id_tag.key
        if self.held:
            taken = set(self.held)
            state.strays = [
                one
                for one in state.strays
                if one.connector_id != self.connector_id or one.sample not in taken
            ]
        state.starts[self.key] = Answered(
            transaction_id=self.transaction_id,
            session_id=self.session_id,
            status=self.status,
            expires_at=self.authorization.expires_at,
            parent_sealed=self.authorization.parent_sealed,
            at=self.timestamp,
        )
        state.remote_starts = [
            one
            for one in state.remote_starts
            if one.command_id != self.remote_command_id and one.until > self.timestamp
        ]
        state.forget(self.timestamp)

    def _left(self, state: ChargePointState) -> bool:
        """Whether its connector was free again before we heard of it."""
        last = state.connectors.get(self.connector_id)
        return last is not None and last.status == "Available" and last.at > self.happened_at


class TransactionStopped(Timed, frozen=True, kw_only=True, tag="charge_point.transaction_stopped.v1"):
    """StopTransaction of a transaction of ours; `occurred_at` is the charge point's timestamp, `meter_stop` in Wh.

    `samples` are the register samples that its session was not told yet, with those of transactionData, oldest
    first. `assumed`: the charge point named no transaction of ours, the stop was put to this one by what it says.
    `after_all`: the transaction had ended without it.
    Readings beside the events are among the samples up to where `carried` says.
    """

    transaction_id: int
    session_id: str
    connector_id: int
    meter_stop: int
    id_tag: TagRef | None = None
    status: str = ""  # idTagInfo answered, empty for none (STOP-2)
    expires_at: datetime | None = None
    parent_sealed: Sealed = ""
    reason: str = "Local"
    samples: tuple[RegisterSample, ...] = ()
    carried: Carried | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")  # transactionData as on the wire
    assumed: bool = False
    after_all: bool = False
    key: str  # STOP-4
    flags: tuple[str, ...] = ()

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        running = state.open.pop(self.transaction_id, None)
        if running is not None:
            state.ended[self.transaction_id] = _ended(running, self.timestamp)
        ended = state.ended.get(self.transaction_id)
        if ended is not None:
            ended.stop, ended.stop_status, ended.at = self.key, self.status, self.timestamp
            ended.stop_expires_at, ended.stop_parent_sealed = self.expires_at, self.parent_sealed
            ended.assumed, ended.pending = self.assumed, []
            ended.carried = ended.carried if self.assumed else None
        state.profiles = end_transaction(state.profiles, self.connector_id, self.transaction_id)
        last = state.last_stops.get(self.connector_id)
        if last is None or last.at <= self.happened_at:
            state.last_stops[self.connector_id] = LastStop(meter=self.meter_stop, at=self.happened_at)
        state.forget(self.timestamp)


class TransactionSuperseded(Timed, frozen=True, kw_only=True, tag="charge_point.transaction_superseded.v1"):
    """Another transaction began on its connector while it ran: its end is suspect (START-7).

    Its own StopTransaction may still come and is then taken as `transaction_stopped` with the flag `superseded`.
    `samples` are those that its session was not told yet, `occurred_at` is when it showed itself last, at the latest
    when the other one began (`began_at`, by the same clock). Readings beside the events are among the samples up to
    where `carried` says.
    """

    transaction_id: int
    session_id: str
    connector_id: int
    by: int
    began_at: datetime | None = None
    samples: tuple[RegisterSample, ...] = ()
    carried: Carried | None = None

    def apply(self, aggregate: ChargePoint) -> None:
        running = aggregate.state.open.pop(self.transaction_id, None)
        if running is not None:
            ended = aggregate.state.ended[self.transaction_id] = _ended(running, self.timestamp)
            ended.why = Flag.SUPERSEDED


class TransactionClosed(Timed, frozen=True, kw_only=True, tag="charge_point.transaction_closed.v1"):
    """It was ended without its stop, because `why` says so: a person wanted it, or nothing was heard of it (BOOT-6).

    Its own StopTransaction may still come and is then taken as `transaction_stopped` with `why` among its flags.
    `samples` are those that its session was not told yet, `occurred_at` is when it showed itself last. `by` and
    `note` are those of the person. Readings beside the events are among the samples up to where `carried` says.
    """

    transaction_id: int
    session_id: str
    connector_id: int
    why: str  # a Flag: by_hand, abandoned or surplus
    by: str = ""
    note: str = ""
    samples: tuple[RegisterSample, ...] = ()
    carried: Carried | None = None

    def apply(self, aggregate: ChargePoint) -> None:
        running = aggregate.state.open.pop(self.transaction_id, None)
        if running is not None:
            ended = aggregate.state.ended[self.transaction_id] = _ended(running, self.timestamp)
            ended.why = self.why
            aggregate.state.forget(self.timestamp)


class TagReleased(Event, frozen=True, kw_only=True, tag="charge_point.tag_released.v1"):
    """A transaction that kept its tag (an HMAC key) from charging elsewhere is over, or its connector is free."""

    tenant: str
    charge_point_id: str
    session_id: str
    tag: str

    def apply(self, aggregate: ChargePoint) -> None:
        aggregate.state.held_tags.pop(self.session_id, None)


class StopConflicted(Timed, frozen=True, kw_only=True, tag="charge_point.stop_conflicted.v1"):
    """A second StopTransaction with other values; the first stands (STOP-4)."""

    transaction_id: int
    session_id: str
    meter_stop: int
    id_tag: TagRef | None = None
    reason: str = "Local"
    key: str

    def apply(self, aggregate: ChargePoint) -> None:
        ended = aggregate.state.ended.get(self.transaction_id)
        if ended is not None:
            ended.conflicts = [*ended.conflicts, self.key][-CONFLICTS_MOST:]


class StopUnmatched(Timed, frozen=True, kw_only=True, tag="charge_point.stop_unmatched.v1"):
    """A StopTransaction that belongs to no transaction of ours: id -1 (START-5), or an id never given here (STOP-1).

    Everything that a person or a later rule needs to attach it is kept; `parent` is the key of the tag's group.
    """

    transaction_id: int
    meter_stop: int
    id_tag: TagRef | None = None
    parent: str = ""
    reason: str = "Local"
    samples: tuple[RegisterSample, ...] = ()
    data: msgspec.Raw = msgspec.Raw(b"null")
    key: str
    flags: tuple[str, ...] = ()

    def apply(self, aggregate: ChargePoint) -> None:
        aggregate.state.orphans[self.key] = Orphan(
            stopped_at=self.shown_at,
            at=self.timestamp,
            clock_offset_s=self.clock_offset_s,
            meter_stop=self.meter_stop,
            id_tag=self.id_tag,
            parent=self.parent,
            reason=self.reason,
            samples=list(thinned(self.samples, ORPHAN_SAMPLES_MOST)),
        )
        aggregate.state.forget(self.timestamp)


class StopSettled(Event, frozen=True, kw_only=True, tag="charge_point.stop_settled.v1"):
    """A stop that belonged to no transaction was put to one: to a start that came after it, or by a person.

    `key` is that of `stop_unmatched`; `by` and `note` are those of the person.
    """

    key: str
    transaction_id: int
    session_id: str
    by: str = ""
    note: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        orphan = aggregate.state.orphans.get(self.key)
        if orphan is not None:
            orphan.session_id = self.session_id


class CallRequested(Event, frozen=True, kw_only=True, tag="charge_point.call_requested.v1"):
    """We call the charge point. Personal data and secrets in the intent are sealed texts."""

    command_id: str
    intent: Intent
    id_tag: TagRef | None = None
    authorization: Authorization | None = None
    epoch: int
    slot: int
    boot: str
    expires_at: datetime
    remote_start_until: datetime | None = None
    own: bool = False  # the system's own wish, nobody's remote command

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        call = OpenCall(kind=kind_of(self.intent), epoch=self.epoch, expires_at=self.expires_at, own=self.own)
        if self.own:
            state.own_call_at = self.timestamp
        else:
            open_ = [(id, until) for id, until in state.asked.items() if until > self.timestamp]
            state.asked = dict([*open_, (self.command_id, self.expires_at)][-ASKED_MOST:])
        match self.intent:
            case GetVariables(keys=keys):
                call.reads = [folded(key) for key in keys or ()]
                if self.own and not keys:
                    state.configuration_asked_at, state.configuration_wanted = self.timestamp, False
            case ChangeAvailability(connector_id=connector) if self.own and connector in state.availability:
                call.avails = connector
                availabilities.push(state.availability, connector)
            case SetVariable(key=key):
                call.sets = folded(key)
                if self.own:
                    wishes.push(state.wanted, call.sets)
            case ReserveNow(reservation_id=number):
                call.reserves = number
                if number in state.reservations:
                    call.reservation_id = state.reservations[number].id
            case CancelReservation(reservation_id=number):
                call.cancels = number
                if number in state.reservations:
                    call.reservation_id = state.reservations[number].id
            case SendLocalList(list_version=version):
                call.list_version = version
            case SetChargingProfile():
                call.profile = profiles.set_by(self.intent)
            case ClearChargingProfile():
                call.clears = profiles.cleared_by(self.intent)
            case RemoteStart():
                call.starts_on = self.intent.connector_id
                self._await_start(state, self.intent)
        state.calls[self.command_id] = call

    def _await_start(self, state: ChargePointState, intent: RemoteStart) -> None:
        if self.id_tag is None or self.remote_start_until is None:
            return
        start = AwaitedStart(
            command_id=self.command_id,
            tag=self.id_tag.key,
            connector_id=intent.connector_id or 0,
            until=self.remote_start_until,
            authorization=self.authorization,
        )
        fresh = [one for one in state.remote_starts if one.until > self.timestamp]
        state.remote_starts = [*fresh, start][-32:]


class CallSent(Event, frozen=True, kw_only=True, tag="charge_point.call_sent.v1"):
    """The call is on the wire; its answer may come until `answer_by`.

    `remote_start_until` is until when a start may be the one that it asked for, where it asked for one.
    """

    command_id: str
    answer_by: datetime
    remote_start_until: datetime | None = None

    def apply(self, aggregate: ChargePoint) -> None:
        call = aggregate.state.calls.get(self.command_id)
        if call is not None:
            call.sent, call.expires_at = True, self.answer_by
        for start in aggregate.state.remote_starts:
            if start.command_id == self.command_id and self.remote_start_until is not None:
                start.until = self.remote_start_until


class ConnectionAwaited(Event, frozen=True, kw_only=True, tag="charge_point.connection_awaited.v1"):
    """It is not connected, and an item of a job waits for it until `until`."""

    item: JobItem
    until: datetime

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        fresh = [one for one in state.awaiting if one.until > self.timestamp]
        state.awaiting = [*fresh, Awaiting(item=self.item, until=self.until)][-AWAITING_MOST:]


class AwaitedConnectionMade(Event, frozen=True, kw_only=True, tag="charge_point.awaited_connection_made.v1"):
    """It is connected, for which these items of jobs waited."""

    items: tuple[JobItem, ...]

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        state.awaiting = []
        state.reached = [*state.reached, *self.items][-AWAITING_MOST:]


class CallConcluded(Event, frozen=True, kw_only=True, tag="charge_point.call_concluded.v1"):
    """How a call ended. `kind` is its intent's, `status` is accepted, rejected, failed, timed_out or expired.

    `reason` is the charge point's own status (`Rejected`, `UnlockFailed`), an error code (`NotSupported`),
    `disconnected` or `replaced`. `response` is the charge point's answer in its own words, for whoever asked;
    `learned` is what it teaches. `late`: the answer came after the call had been given up, and corrects what was
    concluded then. `obstacle`: a start was refused on a connector that we know as `occupied` or `inoperative`.
    """

    command_id: str
    kind: str
    status: str
    reason: str = ""
    response: JSONObject | None = None
    learned: Learned = Learned()
    own: bool = False  # nobody's remote command
    late: bool = False
    obstacle: str = ""

    def apply(self, aggregate: ChargePoint) -> None:
        state = aggregate.state
        call = state.calls.pop(self.command_id, None) or state.overdue.pop(self.command_id, None)
        if self.status in ("timed_out", "expired") and call is not None:
            state.overdue[self.command_id] = call
            for one in list(state.overdue)[:-OVERDUE_MOST]:
                del state.overdue[one]
        # A connection that broke says nothing about the call: it may have come through.
        unknown = self.status == "timed_out" or self.reason in BROKEN
        if self.status != "accepted" and not unknown:
            state.remote_starts = [one for one in state.remote_starts if one.command_id != self.command_id]
        if call is None:
            return
        unanswered = unknown or self.status == "expired"
        if call.own:
            state.own_unanswered = state.own_unanswered + 1 if unanswered else 0
            deaf = state.own_deaf.pop(call.kind, 0)
            if unanswered:
                state.own_deaf[call.kind] = deaf + 1
        if call.own and unanswered and call.kind == _READS and not call.reads:
            state.configuration_wanted = True
        if call.sets in state.wanted and (unanswered or not call.own):
            state.wanted[call.sets].unread = True
        learned = self.learned
        if learned.announced is not None:
            state.announced = state.able().then(learned.announced)
        if learned.after_reboot:
            state.reboot_changes = True
        if learned.list_version is not None:
            state.local_list_version = learned.list_version
        if learned.cleared and call.clears is not None:
            state.profiles = profiles.without(state.profiles, call.clears)
        given_up = call.gives_up(state.reservations)
        if given_up is not None and self.status in ("accepted", "rejected"):
            given_up.clearing = False  # it holds it no more, or never did
        elif given_up is not None and self.status == "failed" and not unknown:
            given_up.refusals += 1
        if self.status == "accepted":
            self._done(state, call)

    def _done(self, state: ChargePointState, call: OpenCall) -> None:
        """It does what it was asked for."""
        if call.list_version is not None:
            state.local_list_version = call.list_version
        elif call.profile is not None:
            state.profiles = profiles.with_one(state.profiles, call.profile)


class ClockOffsetNoted(Event, frozen=True, kw_only=True, tag="charge_point.clock_offset_noted.v1"):
    """The charge point's clock runs `seconds` ahead of ours (negative: behind)."""

    seconds: int

    def apply(self, aggregate: ChargePoint) -> None:
        aggregate.state.clock_offset_s, aggregate.state.drift = self.seconds, None


_READS = str(GetVariables.__struct_config__.tag)


def _watch_clock(state: ChargePointState, event: Event) -> None:
    """Keep the offset that the last messages agree on, and since when (see `ChargePoint.clock_offset`)."""
    if event.occurred_at is None:
        return
    seconds = round((event.occurred_at - event.timestamp).total_seconds())
    if state.drift is None or abs(seconds - state.drift.seconds) > DRIFT_AGREES_S:
        state.drift = Drift(seconds=seconds, at=event.timestamp)


def _heard(transaction: Open, event: Timed) -> None:
    """It showed itself."""
    transaction.heard_at = event.timestamp
    transaction.seen_at = max(transaction.seen_at, event.showed_itself_at)


def _newer(known: Carried | None, said: Carried | None) -> Carried | None:
    """A mark never goes back in time: the command of an earlier connection may come however late."""
    if known is None or said is None:
        return said or known
    return known if said.until < known.until else said


def _ended(running: Open, at: datetime) -> Ended:
    return Ended(
        session_id=running.session_id,
        connector_id=running.connector_id,
        tag=running.tag,
        parent=running.parent,
        holder=running.holder,
        status=running.status,
        meter_start=running.meter_start,
        started_at=running.started_at,
        at=at,
        carried=running.carried,
        rebooted=running.rebooted,
    )


AGGREGATE_EVENTS: tuple[type[Event], ...] = (
    ChargePointRegistered,
    ChargePointChanged,
    ChargePointRemoved,
    CredentialsSet,
    ChargePointConnected,
    ChargePointDisconnected,
    StatusesLapsed,
    ChargePointBooted,
    ChargePointSeen,
    StatusReported,
    TagAuthorized,
    DataTransferred,
    NotificationReceived,
    MeterValuesRecorded,
    ReadingTaken,
    TransactionStarted,
    TransactionStopped,
    TransactionSuperseded,
    TransactionClosed,
    TagReleased,
    StopConflicted,
    StopUnmatched,
    StopSettled,
    CallRequested,
    CallSent,
    CallConcluded,
    ConnectionAwaited,
    AwaitedConnectionMade,
    *WISH_EVENTS,
    ClockOffsetNoted,
)
