"""What can be asked of a charge point, and what each is answered.

Everything that a decision needs from elsewhere is in the command: authorizations, settings and tariffs as the edge
knew them, id tags as `TagRef`, payloads as on the wire. `timestamp` is always the charge point's own time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from commands.base import Area, Command
from domain.charge_point import charge_point_key
from domain.charge_point.announced import Learned
from domain.charge_point.availability import AvailabilityWish
from domain.charge_point.wanted import Wish
from domain.intents import Intent
from domain.values import (
    Authorization,
    CallNumber,
    Carried,
    Evse,
    JobItem,
    JSONObject,
    RegisterSample,
    Settings,
    Site,
    TagRef,
)


class ChargePointCommand(Command, frozen=True, kw_only=True):
    """The base: which charge point of which tenant."""

    area: ClassVar[Area] = Area.CHARGE_POINT

    tenant: str
    charge_point_id: str

    @property
    def aggregate_id(self) -> str:
        return charge_point_key(self.tenant, self.charge_point_id)


class Register(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.register.v1"):
    """Take the charge point in; refused ALREADY_EXISTS. `password_hash` may come along, never a password.

    `automatic` where it names its connectors itself, as one that is taken in by its first `Connect`.
    """

    site: Site
    evses: tuple[Evse, ...] = ()
    automatic: bool = False
    password_hash: str = ""


class Change(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.change.v1"):
    """New site, new EVSEs, or both; what is None stays."""

    site: Site | None = None
    evses: tuple[Evse, ...] | None = None


class Remove(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.remove.v1"):
    """Forget the charge point; refused NOT_ALLOWED while a transaction runs."""


class Find(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.find.v1"):
    """Ask the log itself whether the charge point is known, and with a `session_id` for its transaction.

    Answered with `Found`, or refused UNKNOWN: for an edge whose read model may not show it yet.
    """

    remembered: ClassVar[bool] = False

    session_id: str = ""


class SetCredentials(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.set_credentials.v1"):
    """A new password as scrypt text (`domain.charge_point.passwords`)."""

    password_hash: str


class OfferCredentials(
    ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.offer_credentials.v1"
):
    """This password is about to be told to the charge point: right beside the old one until a login, an answer or
    `SetCredentials` decides. Empty: it refused it, so only the old one is."""

    password_hash: str = ""


class Connect(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.connect.v1"):
    """A websocket was opened and authenticated. Answered with `ConnectedReply`.

    With a `site` it is the first handshake of one that nobody knows: it is taken in there, or refused ALREADY_EXISTS.
    A `password_hash` is the one to keep from now on, empty for none: a first one, refused CONFLICT once it is not new
    any more, or the one of two that it used. Our own calls leave it alone for `quiet_s` seconds. `asked_at` is when
    its gateway asked: one that was asked before the connection that stands is refused CONFLICT.
    """

    node: str
    slot: int
    boot: str
    address: str = ""
    site: Site | None = None
    password_hash: str | None = None
    quiet_s: int = 0
    asked_at: datetime | None = None


class Disconnect(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.disconnect.v1"):
    """That websocket is gone; without effect unless it is the current one.

    With `except_boot` it is the word of a gateway process that has just begun, about the connections of the process
    before it under the same name: one of its own boot id lives.
    """

    epoch: int
    reason: str = ""
    except_boot: str = ""


class Boot(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.boot.v1"):
    """BootNotification. Answered with `BootReply`; `status` is what the tenant's settings want to be answered."""

    vendor: str
    model: str
    charge_point_serial_number: str = ""
    charge_box_serial_number: str = ""
    firmware_version: str = ""
    iccid: str = ""
    imsi: str = ""
    meter_type: str = ""
    meter_serial_number: str = ""
    status: str = "Accepted"
    interval: int = 300
    flags: tuple[str, ...] = ()


class See(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.see.v1"):
    """A Heartbeat, or any sign of life, on the connection `epoch` (0: not said)."""

    remembered: ClassVar[bool] = False

    epoch: int = 0


class ReportStatus(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.report_status.v1"):
    """StatusNotification."""

    remembered: ClassVar[bool] = False

    connector_id: int
    status: str
    error_code: str = "NoError"
    info: str = ""
    vendor_id: str = ""
    vendor_error_code: str = ""
    timestamp: datetime | None = None
    call: CallNumber | None = None
    flags: tuple[str, ...] = ()


class Authorize(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.authorize.v1"):
    """Authorize. Answered with `TagReply`."""

    id_tag: TagRef
    authorization: Authorization
    flags: tuple[str, ...] = ()


class StartTransaction(
    ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.start_transaction.v1"
):
    """StartTransaction. Always answered with `StartReply`; command id: `start_id`. `charges_elsewhere`: its tag has a
    transaction at another charge point of a tenant that allows one at a time. `site`: where it stands by the master
    data of its Location, which win over its own word; None where there are none."""

    connector_id: int
    id_tag: TagRef
    meter_start: int
    timestamp: datetime
    reservation_id: int | None = None
    authorization: Authorization
    settings: Settings
    tariffs: tuple[JSONObject, ...] = ()
    charges_elsewhere: bool = False
    site: Site | None = None
    flags: tuple[str, ...] = ()


class RecordMeterValues(
    ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.record_meter_values.v1"
):
    """MeterValues: `values` is the wire's `meterValue`, `samples` the energy registers in it, `timestamp` the newest.

    The session is told at most every `relay_every` seconds. `gathered` are register samples of its transaction that
    stand beside the events and are carried into them by this, up to where `carried` says.
    """

    remembered: ClassVar[bool] = False

    connector_id: int
    transaction_id: int | None = None
    values: msgspec.Raw
    samples: tuple[RegisterSample, ...] = ()
    timestamp: datetime | None = None
    relay_every: int = 30
    gathered: tuple[RegisterSample, ...] = ()
    carried: Carried | None = None
    call: CallNumber | None = None
    flags: tuple[str, ...] = ()


class TakeOver(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.take_over.v1"):
    """What is known of a transaction that began on a connection before. Answered with `TakenOver`."""

    remembered: ClassVar[bool] = False

    transaction_id: int


class StopTransaction(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.stop_transaction.v1"):
    """StopTransaction. Always answered with `Stopped`; command id: `stop_id`.

    `gathered` and `carried` as in `RecordMeterValues`.
    """

    transaction_id: int
    meter_stop: int
    timestamp: datetime
    id_tag: TagRef | None = None
    authorization: Authorization | None = None
    reason: str = "Local"
    samples: tuple[RegisterSample, ...] = ()
    gathered: tuple[RegisterSample, ...] = ()
    carried: Carried | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    flags: tuple[str, ...] = ()


class EndTransaction(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.end_transaction.v1"):
    """End a running transaction by a person's word, with what is known of it. Answered with `Closed`.

    A stop that comes after all corrects it.
    """

    transaction_id: int
    reason: str


class SettleStop(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.settle_stop.v1"):
    """Charge for a stop that belongs to no transaction, by a person's word. Answered with `Settled`.

    It ended `transaction_id`, or, with a `start`, a charge of which no start ever came: its `timestamp` is by our
    clock. `key` is that of `charge_point.stop_unmatched`.
    """

    key: str
    reason: str
    transaction_id: int = 0
    start: StartTransaction | None = None


class TransferData(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.transfer_data.v1"):
    """DataTransfer, without its data. Answered with `DataReply`; `status` is what the edge wants to answer."""

    vendor_id: str
    message_id: str = ""
    status: str
    size: int = 0


class Notify(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.notify.v1"):
    """A notification of firmware, diagnostics, logs or security: `content` as on the wire."""

    action: str
    content: JSONObject
    timestamp: datetime | None = None
    call: CallNumber | None = None
    flags: tuple[str, ...] = ()


class RequestCall(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.request_call.v1"):
    """Call the charge point. Answered with `CallReply` and a downlink, or refused.

    Every text of the intent that is personal or secret (an id tag, a password) is a sealed text, which the gateway
    opens before it sends. For a remote start `id_tag` names the tag and `authorization` what is known of it: both
    serve the Authorize and StartTransaction that follow, for as long as the charge point waits for a vehicle (its
    connection timeout) after it may answer. `expires_at` is until when the
    call may wait to be sent; how long its answer may take is the gateway's to say (`NoteCallSent`). `holder` is the
    platform of the partner that asks for it: it lets go of no cable of somebody else's charge.
    """

    command_id: str
    intent: Intent
    expires_at: datetime
    id_tag: TagRef | None = None
    authorization: Authorization | None = None
    override: bool = False  # send it although the charge point says that it lacks the feature profile
    holder: str = ""


class AwaitConnection(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.await_connection.v1"):
    """An item of a job waits for the charge point until `until`: it is told at the next connection, or at once."""

    recognised: ClassVar[bool] = True  # said again it is as true
    item: JobItem
    until: datetime


class NoteCallSent(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.note_call_sent.v1"):
    """The call is on the wire since the time of receipt; its answer may come until `answer_by`."""

    remembered: ClassVar[bool] = False  # the state knows what was sent

    command_id: str
    answer_by: datetime


class ConcludeCall(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.conclude_call.v1"):
    """What came of a call: `status` accepted, rejected, failed, timed_out or expired.

    `response` is its answer in its own words, `learned` what that teaches. `answered`: by the charge point itself,
    which corrects what was concluded without its word.
    """

    command_id: str
    status: str
    reason: str = ""
    response: JSONObject | None = None
    learned: Learned = Learned()
    answered: bool = False


class WantVariables(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.want_variables.v1"):
    """Its configuration variables shall have these values, or nothing is wanted of them any more."""

    wishes: tuple[Wish, ...]


class WantAvailability(
    ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.want_availability.v1"
):
    """A connector (0: all) shall be of use, or not, or nothing is wanted of it any more."""

    wish: AvailabilityWish


class WantDefaults(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.want_defaults.v1"):
    """This is all that its tenant wants of every charge point, by the settings' `revision`; `mark` tells one set of
    wishes from another."""

    recognised: ClassVar[bool] = True  # by the mark and the revision
    wishes: tuple[Wish, ...] = ()
    revision: int
    mark: str = ""


class Reserve(ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.reserve.v1"):
    """Hold a connector (0: any) for a tag, or its group, until `expires_at`. Answered with `Reserved`, or refused
    where it could not be told.

    `sealed_tag` and `sealed_parent` are the texts for the wire, `parent` is the group's HMAC key. A `reference` is
    the asker's own name for it: the same in the same words is the same, in others it takes the former's place.
    """

    connector_id: int
    id_tag: TagRef
    sealed_tag: str
    sealed_parent: str | None = None
    parent: str = ""
    expires_at: datetime
    reference: str = ""
    override: bool = False


class GiveUpReservation(
    ChargePointCommand, frozen=True, kw_only=True, tag="charge_point.give_up_reservation.v1"
):
    """A reservation is not wanted any more, by its id or by the reference under which it runs."""

    reservation_id: str = ""
    reference: str = ""


class Reserved(msgspec.Struct, frozen=True, kw_only=True):
    """`number` is that by which the charge point knows it; `status` is pending, active, cancelling or how it
    ended."""

    reservation_id: str
    number: int
    status: str


class ConnectedReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The connection's epoch, and the last answer to a BootNotification (empty: none yet; J-21).

    With the number that the next transaction will get, how far its clock is ahead, and which wishes of its tenant it
    was told.
    """

    epoch: int
    registration: str = ""
    interval: int = 0
    next_transaction_id: int = 1
    clock_offset_s: int = 0
    defaults_mark: str = ""


class Found(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`transaction_id` where a session was asked for, else 0."""

    transaction_id: int = 0


class BootReply(msgspec.Struct, frozen=True, kw_only=True):
    """`interval` in seconds."""

    status: str
    interval: int


class TagReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """idTagInfo, the parent id tag as sealed text."""

    status: str
    expires_at: datetime | None = None
    parent_sealed: str = ""


class StartReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The transaction id, always a positive int32, idTagInfo, and how far the charge point's clock is ahead."""

    transaction_id: int
    session_id: str
    status: str
    expires_at: datetime | None = None
    parent_sealed: str = ""
    clock_offset_s: int = 0


class TakenOver(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether it is open, on which connector, and behind which mark readings of it may stand beside the events (None:
    none can)."""

    running: bool = False
    connector_id: int = 0
    carried: Carried | None = None


class Stopped(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """idTagInfo, `status` empty where no id tag was sent (STOP-2)."""

    session_id: str = ""
    status: str = ""
    expires_at: datetime | None = None
    parent_sealed: str = ""


class Closed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The session that ends; `running` whether its transaction was open, `over_at` since when it was not."""

    session_id: str
    running: bool = True
    over_at: datetime | None = None


class Settled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The transaction and the session that the stop is charged with."""

    transaction_id: int
    session_id: str


class DataReply(msgspec.Struct, frozen=True, kw_only=True):
    """The status that DataTransfer is answered."""

    status: str


class CallReply(msgspec.Struct, frozen=True, kw_only=True):
    """The call is on its way to this connection."""

    command_id: str
    epoch: int


def start_key(command: StartTransaction) -> str:
    """What makes two StartTransactions the same one (START-6); the tag's HMAC key stands for its folded text."""
    reservation = "" if command.reservation_id is None else str(command.reservation_id)
    return "|".join(
        (
            str(command.connector_id),
            command.id_tag.key,
            _instant(command.timestamp),
            str(command.meter_start),
            reservation,
        )
    )


def stop_key(command: StopTransaction) -> str:
    """What makes two StopTransactions the same one (STOP-4)."""
    return f"{command.transaction_id}|{_instant(command.timestamp)}|{command.meter_stop}"


def start_id(command: StartTransaction) -> str:
    """The command id of a StartTransaction, from its content."""
    return f"start|{command.tenant}|{command.charge_point_id}|{start_key(command)}"


def stop_id(command: StopTransaction) -> str:
    """The command id of a StopTransaction, from its content."""
    return f"stop|{command.tenant}|{command.charge_point_id}|{stop_key(command)}"


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
