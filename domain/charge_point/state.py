"""What is remembered of one charge point: enough to decide the next message, and no more.

Only events change it. It stands in the compacted state topic as JSON, so every field has a default and all
collections are bounded: idempotence keys live `KEEP` after they were made and never more than `KEEP_MOST` of them.
All bounds reached at once, it is still smaller than one record of the log may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

import msgspec

from domain.charge_point.announced import NOTHING, Announced
from domain.charge_point.availability import WantedAvailability
from domain.charge_point.reservation import Reservation, Reservations
from domain.charge_point.wanted import Wanted
from domain.clock import by_our_clock, lasting
from domain.schedules import Installed, ProfileStack, Purpose
from domain.values import (
    ABANDONED_AFTER_H,
    Authorization,
    CallNumber,
    Carried,
    Evse,
    JobItem,
    RegisterSample,
    Site,
    TagRef,
)

KEEP = timedelta(days=7)
KEEP_MOST = 400

OPEN_MOST = 128
"""Transactions that may run at once; one that begins beyond it closes the one that was longest not heard of."""

PENDING_MOST, PENDING_FEW = 300, 2
"""Register samples that may wait for a relay, of all transactions together; one beyond it is relayed at once, unless
its transaction has only a few."""

CONFLICTS_MOST = 4
ORPHANS_KEEP = timedelta(days=90)
"""How long a stop that belongs to no transaction can be put to one."""

ORPHANS_MOST, ORPHAN_SAMPLES_MOST = 32, 16
STRAYS_MOST = 200
CONNECTORS_MOST = 256

PROFILES_MOST = 100
"""How many charging profiles of a charge point are remembered, the newest."""

OVERDUE_MOST = 16
"""How many calls that were given up are remembered for their late answers."""

ASKED_MOST = 64
"""How many calls that may still be asked for are remembered by their ids, once they are concluded too."""

CONNECTIONS_MOST = 8
"""Of so many connections, the last ones, it is remembered which calls were taken: more than a charge point makes
while an append whose outcome nobody learnt may still come into the log."""

CALL_GRACE = timedelta(seconds=5)
"""How long after a call's `expires_at` its answer may still be on the way."""


SILENT_LEAST, SILENT_MOST = timedelta(minutes=3), timedelta(days=3)
"""Bounds of how long a connected charge point may say nothing: otherwise three heartbeat intervals (J-19)."""

SILENT = "silent"
"""The reason of a disconnection that nobody saw: no sign of life came in time."""

BROKEN = ("disconnected", "replaced")
"""Reasons of a call whose connection is gone: whether it came through is not known (J-10, J-20)."""

STATUSES_LAST = timedelta(minutes=15)
"""How long after its connection ended a charge point's last statuses count (ST-4)."""

CONNECTION_TIMEOUT, CONNECTION_TIMEOUT_MOST = timedelta(seconds=120), timedelta(hours=1)
"""How long a charge point waits for a vehicle where it did not say, and the longest that counts."""

AWAITING_MOST = 50
"""How many items of jobs wait for its next connection at most; of more, the first ones are not told. As many that
were told are remembered."""

HEARTBEAT_S = 300
"""The heartbeat interval, in seconds, of a charge point that was told none yet."""

CONFIGURATION_AFTER = timedelta(seconds=2)
"""How long after its boot or connection a charge point is asked for its configuration, at the earliest."""

CONFIGURATION_EVERY, CONFIGURATION_KEEPS = timedelta(hours=1), timedelta(days=1)
"""How often it is asked for all of it at most, and how long what it told counts as known."""

OWN_CALL_EVERY, OWN_CALL_AGAIN = timedelta(seconds=2), timedelta(minutes=1)
"""How far our own calls are apart, and how long after one that came to nothing the next one is made: twice as long
after each further one, `CONFIGURATION_EVERY` at most."""

DRIFT_AGREES_S = 10
"""Two messages show the same clock offset when they differ by no more than this."""


class Flag(StrEnum):
    """What was odd about a message that was taken all the same. Stands in events' `flags`, among others."""

    LATE = "late"  # sent long after it happened: an offline queue, or a clock behind
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    BEFORE_PREVIOUS_STOP = "before_previous_stop"
    METER_BELOW_PREVIOUS_STOP = "meter_below_previous_stop"
    METER_GAP = "meter_gap"  # the register moved between two transactions
    UNKNOWN_CONNECTOR = "unknown_connector"
    UNKNOWN_RESERVATION = "unknown_reservation"
    OTHER_CONNECTOR = "other_connector"  # the transaction hangs on another connector
    UNKNOWN_TRANSACTION = "unknown_transaction"
    ORPHAN = "orphan"  # transaction id -1: the charge point never got our answer to its start
    ENDED_TRANSACTION = "ended_transaction"
    WITHOUT_TRANSACTION_ID = "without_transaction_id"  # attached by its connector
    METER_STOP_BELOW_START = "meter_stop_below_start"
    STOP_BEFORE_START = "stop_before_start"
    FOREIGN_TAG = "foreign_tag"  # stopped by a tag of another group
    SUPERSEDED = "superseded"  # another transaction had begun on its connector
    REBOOTED = "rebooted"  # the charge point booted while it ran
    NOT_REGISTERED = "not_registered"  # sent before BootNotification was accepted
    CONNECTOR_ZERO_STATUS = "connector_zero_status"  # a status that connector 0 cannot have
    JOINED = "joined"  # its stop came first, without its number: the two were put together by what they say
    BY_HAND = "by_hand"  # an operator's word, not the charge point's
    ABANDONED = "abandoned"  # nothing was heard of it for longer than its tenant waits
    SURPLUS = "surplus"  # more transactions ran at once than a charge point can have
    DATA_THINNED = "data_thinned"  # readings were left out: the message was too large to be kept whole
    SAMPLES_THINNED = "samples_thinned"  # registers were left out: there were too many
    TEXT_CUT = "text_cut"  # a text was far longer than OCPP allows


class ConnectionState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The current websocket. `epoch` is the version of its `charge_point.connected`.

    Our own calls leave it alone for `quiet_s` seconds.
    """

    epoch: int
    node: str
    slot: int
    boot: str
    since: datetime
    quiet_s: int = 0


class Registration(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The last answer to a BootNotification, and which `model` and `firmware` sent it; `interval` in seconds."""

    status: str
    interval: int
    at: datetime
    model: str = ""
    firmware: str = ""


class LastStatus(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The newest StatusNotification of one connector; `at` is the charge point's time less its clock's offset."""

    status: str
    error_code: str = "NoError"
    at: datetime


class Open(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A running transaction. `pending` are register samples that its session was not told yet; behind `carried` there
    may be more beside its events.

    `started_at` is by our clock. `seen_at` is the last time, by the charge point's clock, at which it showed itself;
    `heard_at` is when we last received anything of it. `left_at` is when we heard that its connector is free again.
    """

    session_id: str
    connector_id: int
    tag: str
    parent: str = ""
    holder: str = ""  # the platform of a roaming token
    status: str
    meter_start: int
    started_at: datetime
    seen_at: datetime
    heard_at: datetime
    left_at: datetime | None = None
    abandoned_after_h: int = ABANDONED_AFTER_H
    key: str
    relayed_at: datetime | None = None
    pending: list[RegisterSample] = []
    carried: Carried | None = None
    rebooted: bool = False


class Ended(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A transaction that is over: stopped (`stop` is the stop's content key), or ended without its stop, and `why`.

    `assumed` where the stop named no transaction of ours and was put to this one: the true one may still come, and
    carry what is behind `carried`.
    """

    session_id: str
    connector_id: int
    tag: str
    parent: str = ""
    holder: str = ""  # the platform of a roaming token
    status: str
    meter_start: int
    started_at: datetime
    at: datetime
    stop: str = ""
    stop_status: str = ""
    stop_expires_at: datetime | None = None
    stop_parent_sealed: str = ""
    assumed: bool = False
    why: str = ""
    conflicts: list[str] = []
    pending: list[RegisterSample] = []  # for the stop that may still come
    carried: Carried | None = None
    rebooted: bool = False

    @property
    def may_be_stopped(self) -> bool:
        """Whether its charge point has not said yet how it ended."""
        return not self.stop or self.assumed


class Orphan(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A stop of no transaction of ours (START-5, STOP-6). `stopped_at` is the charge point's own time.

    `session_id` is the charge that it was put to in the end; it stays so that a repeat is recognised.
    """

    stopped_at: datetime
    at: datetime
    clock_offset_s: int = 0
    meter_stop: int
    id_tag: TagRef | None = None
    parent: str = ""
    reason: str = "Local"
    samples: list[RegisterSample] = []
    session_id: str = ""


class Stray(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A register sample of a transaction that we do not know: its start may still come (MV-4)."""

    connector_id: int
    at: datetime
    sample: RegisterSample


class Answered(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a StartTransaction was answered; its content key stays after the end."""

    transaction_id: int
    session_id: str
    status: str
    expires_at: datetime | None = None
    parent_sealed: str = ""
    at: datetime


class Clears(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Which charging profiles are to be cleared, in the words of `domain.schedules.clear`."""

    charging_profile_id: int | None = None
    connector_id: int | None = None
    charging_profile_purpose: Purpose | None = None
    stack_level: int | None = None


class OpenCall(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A call of ours that has no result yet, with what its result changes here.

    `kind` is its intent's. `expires_at` is until when it may wait to be sent, and once it was `sent` until when
    it may be answered.
    """

    kind: str
    epoch: int
    expires_at: datetime
    sent: bool = False
    reserves: int | None = None  # the reservation that it asks for
    cancels: int | None = None  # the one that it gives up
    reservation_id: str = ""  # which one of this number
    list_version: int | None = None  # of the local list that it sends
    profile: Installed | None = None  # that it sets
    clears: Clears | None = None  # which profiles it clears
    starts_on: int | None = None  # the connector on which it asks for a start
    own: bool = False  # the system's own, nobody's remote command
    reads: list[str] = []  # the variables that it asks for; none: all
    sets: str = ""  # the variable that it sets
    avails: int | None = None  # the connector whose availability it changes

    def gives_up(self, reservations: Reservations) -> Reservation | None:
        """The reservation that it cancels; not another one that has taken its number since."""
        one = None if self.cancels is None else reservations.get(self.cancels)
        return one if one is not None and one.id == self.reservation_id else None


class AwaitedStart(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A remote start on its way: the next fitting start belongs to it (`connector_id` 0: any)."""

    command_id: str
    tag: str
    connector_id: int = 0
    until: datetime
    authorization: Authorization | None = None


class Awaiting(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An item of a job that waits until `until` for the next connection."""

    item: JobItem
    until: datetime


class LastStop(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where a connector's register stood at its last stop."""

    meter: int
    at: datetime


class Drift(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The clock offset (seconds) that the last messages showed, and when the first of them came."""

    seconds: int
    at: datetime


class ChargePointState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The state of the aggregate `charge_point`."""

    tenant: str = ""
    charge_point_id: str = ""
    provisioned: bool = False
    automatic: bool = False
    met: bool = False  # it was connected since it was registered
    site: Site | None = None
    evses: tuple[Evse, ...] = ()
    password_hash: str = ""
    alternative_hash: str = ""  # right too, until a login shows which of the two it uses
    registration: Registration | None = None
    connection: ConnectionState | None = None
    lost: ConnectionState | None = None  # thought silent: a sign of life on it brings it back
    offline_since: datetime | None = None
    lapsed: bool = False  # it has been away for so long that its statuses say nothing
    handshake_at: datetime | None = None  # when its last connection was asked for
    connectors: dict[int, LastStatus] = {}
    announced: Announced | None = None  # None: it never told anything of its configuration
    configuration_wanted: bool = False  # it is to be asked for it
    reboot_changes: bool = False  # its next boot changes its configuration
    next_transaction_id: int = 1
    open: dict[int, Open] = {}
    held_tags: dict[str, str] = {}  # by session: tags that charge nowhere else meanwhile
    ended: dict[int, Ended] = {}
    starts: dict[str, Answered] = {}
    orphans: dict[str, Orphan] = {}
    strays: list[Stray] = []
    last_stops: dict[int, LastStop] = {}
    remote_starts: list[AwaitedStart] = []
    awaiting: list[Awaiting] = []  # its next connection
    reached: list[JobItem] = []  # told of it last, so that who asks again is known
    reservations: dict[int, Reservation] = {}  # by number; those that are over too, for a while
    last_reservation: int = 0  # the number that we gave last
    local_list_version: int | None = None  # as last heard or sent; -1: it holds none
    profiles: ProfileStack = ProfileStack()  # what it took from us, without their schedules
    calls: dict[str, OpenCall] = {}
    asked: dict[str, datetime] = {}  # calls by id, until when they may be asked for: each is made once
    overdue: dict[str, OpenCall] = {}  # given up: an answer that comes all the same corrects the result
    configuration_asked_at: datetime | None = None  # for all of it, by the system itself
    own_call_at: datetime | None = None  # when the system last called it by itself
    own_unanswered: int = 0  # of the system's calls, since one was answered
    own_deaf: dict[str, int] = {}  # by kind: how many of these, since one of them was answered
    wanted: dict[str, Wanted] = {}  # by the folded keys
    availability: dict[int, WantedAvailability] = {}  # by connector
    defaults_mark: str = ""  # which wishes of its tenant it was told
    defaults_revision: int = 0  # of the tenant's settings in which they stood
    told: dict[int, int] = {}  # by epoch: the number of the last call that nobody asked a decision for
    clock_offset_s: int = 0
    drift: Drift | None = None

    @property
    def location_id(self) -> str:
        """Where it stands."""
        return self.site.id if self.site is not None else ""

    def left_behind(self, site: Site | None, evses: Sequence[Evse]) -> tuple[str, tuple[Evse, ...]]:
        """What it leaves when it stands there with these: its Location, if that is another one, and the EVSEs that
        are not there any more. One that was removed and comes back leaves where it stood before."""
        there = {one.uid.lower() for one in evses}
        moved = site is not None and site.id.lower() != self.location_id.lower()
        gone = tuple(one for one in self.evses if moved or one.uid.lower() not in there)
        return (self.location_id if moved else ""), gone

    def evse(self, connector_id: int) -> Evse | None:
        """The EVSE of an OCPP connector: number n is the n-th, 0 none."""
        return self.evses[connector_id - 1] if 0 < connector_id <= len(self.evses) else None

    def corrected(self, timestamp: datetime | None, received: datetime) -> datetime:
        """When it happened by our clock: the charge point's time less its offset, never after the receipt."""
        if timestamp is None:
            return received
        return min(by_our_clock(timestamp, self.clock_offset_s), received)

    def waiting(self) -> int:
        """How many register samples wait to be told."""
        every: list[Open | Ended] = [*self.open.values(), *self.ended.values()]
        return sum(len(one.pending) for one in every)

    def was_told(self, call: CallNumber | None) -> bool:
        """Whether this call, or one after it on its connection, has been taken: its edge says it again, because it
        never learnt that the log had it."""
        return call is not None and call.number <= self.told.get(call.epoch, 0)

    def note_told(self, call: CallNumber | None) -> None:
        """It was taken; of the last `CONNECTIONS_MOST` that is remembered."""
        if call is not None:
            self.told[call.epoch] = max(call.number, self.told.get(call.epoch, 0))
            while len(self.told) > CONNECTIONS_MOST:
                del self.told[min(self.told)]

    def accepted(self) -> bool:
        """Whether the last BootNotification was accepted."""
        return self.registration is not None and self.registration.status == "Accepted"

    def patience(self) -> timedelta:
        """How long it may say nothing while it is connected."""
        intervals = [self.registration.interval] if self.accepted() and self.registration else []
        intervals.append(self.able().heartbeat_interval or 0)
        seconds = 3 * max((one for one in intervals if one > 0), default=HEARTBEAT_S)
        return min(max(lasting(seconds), SILENT_LEAST), SILENT_MOST)

    def connection_timeout(self) -> timedelta:
        """How long it waits for a vehicle after a tag was presented: as it said, where it did."""
        known = timedelta(seconds=self.able().connection_timeout or 0)
        return min(known, CONNECTION_TIMEOUT_MOST) or CONNECTION_TIMEOUT

    def able(self) -> Announced:
        """What it said that it can do."""
        return self.announced or NOTHING

    def forget(self, now: datetime) -> None:
        """Drop what is too old or too many; the keys of open transactions stay."""
        before = now - KEEP
        running = {one.key for one in self.open.values()}
        for key in _surplus(
            [(key, one.at) for key, one in self.starts.items() if key not in running], before
        ):
            del self.starts[key]
        for number in _surplus([(number, one.at) for number, one in self.ended.items()], before):
            del self.ended[number]
        orphans = [(key, one.at) for key, one in self.orphans.items()]
        for key in _surplus(orphans, now - ORPHANS_KEEP, ORPHANS_MOST):
            del self.orphans[key]
        self.strays = [one for one in self.strays if one.at >= before][-STRAYS_MOST:]
        for connector in _surplus(
            [(id, one.at) for id, one in self.last_stops.items()], None, CONNECTORS_MOST
        ):
            del self.last_stops[connector]


def tag_of(tag: TagRef | None) -> str:
    """A tag's HMAC key, or nothing."""
    return "" if tag is None else tag.key


_Key = TypeVar("_Key", str, int)


def _surplus(
    entries: list[tuple[_Key, datetime]], before: datetime | None, most: int = KEEP_MOST
) -> list[_Key]:
    """The keys of what is older than `before`, and of the first ones beyond `most`."""
    surplus = len(entries) - most
    return [key for i, (key, at) in enumerate(entries) if (before is not None and at < before) or i < surplus]
