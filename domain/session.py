"""A charging session of ours and its CDR: one aggregate, from the first fact of the transaction to the priced record.

Facts may arrive in any order across areas: usage and the end that come before the start are held and used when the
start comes. The CDR is issued in the same decision as the end, so that one charge has one CDR. Only an end that the
charge point did not report can be corrected, by a surer one: the CDR is credited then and another takes its place.
A CDR that cannot be a fact never undoes the end: it is withheld with what stands in its way, until that is mended.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID, uuid5

import msgspec

from domain.aggregate import Aggregate, Event
from domain.clock import by_our_clock, earlier, shift
from domain.kept import Judged, Kept, Thinned, merged
from domain.parking import StatusChange, fewer, flips, with_change
from domain.pricing.running import Running
from domain.values import (
    Authorization,
    Connector,
    JSONObject,
    PartyId,
    RegisterSample,
    Sealed,
    Settings,
    Site,
    TagRef,
    Value,
)

CORRECTIONS = UUID("5b9a2f0e-3d57-4c53-8f39-6a1d2f7c9e04")
"""The namespace of the ids of CDRs that take a credited one's place. For ever."""


def credit_id(cdr_id: str) -> str:
    """The id of a CDR's credit: at most 39 characters, as OCPI allows it."""
    return f"{cdr_id}-C1"


def replacement_id(cdr_id: str) -> str:
    """The id of the CDR that takes the place of a credited one: 36 characters."""
    return str(uuid5(CORRECTIONS, cdr_id))


def session_aggregate_id(session_id: str) -> str:
    return f"session|{session_id}"


class End(Value, frozen=True, kw_only=True):
    """How the transaction ended, as the charge point said it, at a time by its own clock.

    `assumed` where it said so of another transaction than ours, or of none. `by` and `note` are those of a person who
    ended it.
    """

    at: datetime
    meter_stop: int | None = None  # Wh; None where nobody said it: the last sample is the last reading
    reason: str = "Local"
    clock_offset_s: int = 0
    assumed: bool = False
    by: str = ""
    note: str = ""
    flags: tuple[str, ...] = ()

    @property
    def reported(self) -> bool:
        """Whether the charge point itself said it of this transaction."""
        return self.meter_stop is not None and not self.assumed

    @property
    def certainty(self) -> int:
        """A report counts more than what is assumed, and that more than nothing."""
        return 2 if self.reported else int(self.assumed)


class Obstacle(Value, frozen=True, kw_only=True):
    """Why there is no CDR: the field that pricing or OCPI refuses, its value in at most 40 characters and without
    personal data, and the reason in one line.

    `field` is a path in the CDR, or `meter_start`, `meter_stop`, `time_zone`.
    """

    field: str
    value: str = ""
    reason: str


class Withheld(Value, frozen=True, kw_only=True):
    """The CDR that is to be issued, by its id, what stands in its way, and the end that it is of."""

    cdr_id: str
    obstacle: Obstacle
    end: End


class Tally(Value, frozen=True, kw_only=True):
    """What a running charge came to at its newest reading, to be followed on: how far, by which register, with what
    correction of its times.

    A register that falls, or comes up to `until_wh`, changes what was counted before: then it is counted anew.
    """

    running: Running
    register_wh: Decimal
    until_wh: Decimal | None = None
    shift_s: int = 0

    @property
    def energy_wh(self) -> Decimal:
        """Since the start."""
        return Decimal(self.running.read.energy_wh)

    def second(self, at: datetime) -> datetime:
        """The whole second of a time of the charge point's, by our clock as it was known."""
        return earlier(at, shift(self.shift_s)).replace(microsecond=0)


class SessionState(msgspec.Struct, omit_defaults=True):
    """Times are the charge point's own, uncorrected; `clock_offset_s` is what was told last of its clock.

    It is bounded, however long the charge: `samples` are the readings that are kept, `tally` is what the others came
    to; `rough` where that may not be said exactly. Of an end that nothing can correct any more a stub is left.
    """

    started: bool = False
    tenant: str = ""
    charge_point_id: str = ""
    connector_id: int = 0
    transaction_id: int = 0
    start: datetime | None = None
    clock_offset_s: int = 0
    meter_start: int = 0
    status: str = ""
    tag: TagRef | None = None
    settings: Settings | None = None
    site: Site | None = None
    evse_uid: str = ""
    evse_id: str = ""
    connector: Connector | None = None
    authorization: Authorization | None = None
    tariffs: list[JSONObject] = []
    samples: list[Kept] = []
    left_out: int = 0
    judged: Judged | None = None
    rough: bool = False
    tally: Tally | None = None
    states: list[StatusChange] = []
    held_end: End | None = None
    ended_at: datetime | None = None
    provisional: bool = False  # the charge point did not report the end: the true one may still come
    assumed: bool = False  # the provisional end is what it said of another transaction, or of none
    cdr: JSONObject | None = None  # while it may have to be credited
    cdr_id: str = ""
    withheld: Withheld | None = None
    energy_by_hand_wh: int | None = None
    end_by_hand: datetime | None = None  # by our clock
    unusable: bool = False  # readings came that no meter holds


class Session(Aggregate[SessionState]):
    """`session|{session id}`."""

    kind: ClassVar[str] = "session"
    ends: ClassVar[bool] = True
    state_type = SessionState

    @property
    def over(self) -> bool:
        """Also where its end may be corrected, or its CDR is withheld: who comes with that comes after all."""
        return self.state.ended_at is not None

    def keep(self, samples: tuple[RegisterSample, ...], less: Thinned | None) -> None:
        """Take in readings, and leave out what is not kept any longer."""
        state = self.state
        state.samples = merged(state.samples, samples, () if less is None else less.left_out)
        if less is not None:
            state.left_out += len(less.left_out)
            state.judged = less.judged
            state.rough = state.rough or less.rough

    def end(self) -> None:
        """Nothing will be priced or corrected any more: what stays is how it ended, by which all that is said again
        is known."""
        state = self.state
        self.state = SessionState(
            started=True,
            tenant=state.tenant,
            status=state.status,
            ended_at=state.ended_at,
            cdr_id=state.cdr_id,
        )

    @property
    def told_to(self) -> PartyId | None:
        """The eMSP that is told of it: the token's owner, unless the session is invalid."""
        authorization = self.state.authorization
        return authorization.owner if authorization is not None and self.state.status != "INVALID" else None


class Timed(Event, frozen=True, kw_only=True):
    """The base of what happened at the charge point: `occurred_at` is by our clock, `reported_at` by its own where
    the two differ, by `clock_offset_s`. Samples keep its time."""

    reported_at: datetime | None = None
    clock_offset_s: int = 0

    @property
    def shown_at(self) -> datetime:
        """By the charge point's clock."""
        return self.reported_at or self.happened_at

    def corrected(self, at: datetime) -> datetime:
        """A time of the charge point's, by our clock."""
        return by_our_clock(at, self.clock_offset_s)


class SessionStarted(Timed, frozen=True, kw_only=True, tag="session.started.v1"):
    """The transaction runs. `status` is OCPI's SessionStatus, `occurred_at` the start.

    A session whose tag was not accepted is INVALID: it is shown to the tenant, and told to no partner.
    """

    session_id: str
    tenant: str
    charge_point_id: str
    connector_id: int
    transaction_id: int
    evse_uid: str
    evse_id: str = ""
    connector: Connector | None = None
    site: Site
    id_tag: TagRef
    authorization: Authorization
    status: str
    meter_start: int
    settings: Settings
    tariffs: tuple[JSONObject, ...] = ()
    remote_command_id: str = ""
    flags: tuple[str, ...] = ()

    def apply(self, aggregate: Session) -> None:
        state = aggregate.state
        state.started = True
        state.tenant, state.charge_point_id = self.tenant, self.charge_point_id
        state.connector_id, state.transaction_id = self.connector_id, self.transaction_id
        state.start, state.meter_start, state.status = self.shown_at, self.meter_start, self.status
        state.clock_offset_s, state.tag = self.clock_offset_s, self.id_tag
        state.settings, state.site = self.settings, self.site
        state.evse_uid, state.evse_id, state.connector = self.evse_uid, self.evse_id, self.connector
        state.authorization, state.tariffs = self.authorization, list(self.tariffs)


class UsageRecorded(Timed, frozen=True, kw_only=True, tag="session.usage_recorded.v1"):
    """Register samples, oldest first. `energy_wh` and `total_cost` (OCPI Price) are those of the whole session.

    `thinned` are readings that are not kept any longer, `tally` is what the next ones are priced with.
    """

    charge_point_id: str = ""
    samples: tuple[RegisterSample, ...]
    energy_wh: Decimal
    total_cost: JSONObject | None = None
    owner: PartyId | None = None  # whom it is told to
    early: bool = False  # it came before the start
    thinned: Thinned | None = None
    tally: Tally | None = None

    def apply(self, aggregate: Session) -> None:
        aggregate.keep(self.samples, self.thinned)
        aggregate.state.tally = self.tally
        aggregate.state.clock_offset_s = self.clock_offset_s


class ConnectorChanged(Timed, frozen=True, kw_only=True, tag="session.connector_changed.v1"):
    """The connector's status while the session runs; SuspendedEV and Finishing are parking."""

    status: str

    def apply(self, aggregate: Session) -> None:
        state = aggregate.state
        before = flips(state.states)
        changes = with_change(state.states, StatusChange(at=self.shown_at, status=self.status))
        state.states = fewer(changes)
        state.rough = state.rough or len(state.states) < len(changes)
        tally = state.tally
        if tally is not None and any(
            tally.second(at) < tally.running.read.at for at in set(before) ^ set(flips(state.states))
        ):
            state.tally = None  # what was priced without it


class EndHeld(Event, frozen=True, kw_only=True, tag="session.end_held.v1"):
    """The end came before the start."""

    end: End

    def apply(self, aggregate: Session) -> None:
        aggregate.state.held_end = self.end


class SessionEnded(Timed, frozen=True, kw_only=True, tag="session.ended.v1"):
    """The transaction stopped; `occurred_at` is when. `status` is COMPLETED, or INVALID as at the start.

    `provisional` where the charge point did not report the stop itself: its word may still come. `by` and `note` are
    those of a person who ended it. `started_at` is the start by what is known of the clock now.
    """

    charge_point_id: str = ""
    started_at: datetime | None = None
    status: str
    meter_stop: int
    energy_wh: Decimal
    reason: str
    total_cost: JSONObject | None = None
    owner: PartyId | None = None
    flags: tuple[str, ...] = ()
    provisional: bool = False
    assumed: bool = False
    by: str = ""
    note: str = ""

    def apply(self, aggregate: Session) -> None:
        state = aggregate.state
        state.status, state.ended_at = self.status, self.happened_at
        state.provisional, state.assumed = self.provisional, self.assumed
        state.clock_offset_s = self.clock_offset_s
        if self.status == "INVALID" and not self.provisional:
            aggregate.end()


class EndCorrected(Timed, frozen=True, kw_only=True, tag="session.end_corrected.v1"):
    """The stop was reported after all; `occurred_at` is when it was. What was said provisionally before is void.

    `assumed` where the charge point said it of another transaction, or of none: this is provisional too.
    `samples` are those that the session was not told before. A CDR that was issued is credited in this decision.
    Where the session stands is said again: whoever tells of it may have forgotten it.
    """

    charge_point_id: str = ""
    connector_id: int = 0
    started_at: datetime | None = None
    status: str
    meter_stop: int
    energy_wh: Decimal
    reason: str
    total_cost: JSONObject | None = None
    owner: PartyId | None = None
    samples: tuple[RegisterSample, ...] = ()
    flags: tuple[str, ...] = ()
    assumed: bool = False
    thinned: Thinned | None = None

    def apply(self, aggregate: Session) -> None:
        state = aggregate.state
        state.status, state.ended_at = self.status, self.happened_at
        state.provisional = state.assumed = self.assumed
        state.clock_offset_s = self.clock_offset_s
        state.energy_by_hand_wh = state.end_by_hand = None
        aggregate.keep(self.samples, self.thinned)
        if self.status == "INVALID" and not self.assumed:
            aggregate.end()


class ReadingsRefused(Timed, frozen=True, kw_only=True, tag="session.readings_refused.v1"):
    """Readings that no meter holds: nothing is counted by them. `field` and `value` are those of the first one."""

    count: int
    field: str
    value: str

    def apply(self, aggregate: Session) -> None:
        aggregate.state.unusable = True


class CdrWithheld(Event, frozen=True, kw_only=True, tag="session.cdr_withheld.v1"):
    """The session has ended, and its CDR has no price or is none that OCPI allows: it is issued as `cdr_id` once what
    stands in its way is mended."""

    charge_point_id: str = ""
    cdr_id: str
    field: str
    value: str = ""
    reason: str
    end: End

    def apply(self, aggregate: Session) -> None:
        state = aggregate.state
        obstacle = Obstacle(field=self.field, value=self.value, reason=self.reason)
        state.withheld = Withheld(cdr_id=self.cdr_id, obstacle=obstacle, end=self.end)
        state.cdr, state.tally = None, None


class SessionMended(Event, frozen=True, kw_only=True, tag="session.mended.v1"):
    """What the CDR is made of is now this; `by` and `note` are those of the person who had it issued again.

    `energy_wh` (Wh since the start) and `ended_at` (by our clock) were given by hand.
    """

    settings: Settings
    site: Site
    evse_uid: str
    evse_id: str = ""
    connector: Connector | None = None
    tariffs: tuple[JSONObject, ...] = ()
    energy_wh: int | None = None
    ended_at: datetime | None = None
    by: str = ""
    note: str = ""

    def apply(self, aggregate: Session) -> None:
        state = aggregate.state
        state.settings, state.site, state.tariffs = self.settings, self.site, list(self.tariffs)
        state.evse_uid, state.evse_id, state.connector = self.evse_uid, self.evse_id, self.connector
        state.energy_by_hand_wh, state.end_by_hand = self.energy_wh, self.ended_at


class CdrIssued(Event, frozen=True, kw_only=True, tag="session.cdr_issued.v1"):
    """The CDR: an OCPI 2.3.0 CDR object without its `cdr_token`, which stands sealed beside it.

    One a session; where a provisional end was corrected, its credit (`credit` in the object) and one more follow.

    `explanation` says for a person how each amount came about; `warnings` what should be looked at. `token_key` is
    the keyed hash of the token.
    """

    charge_point_id: str = ""
    cdr_id: str
    cdr: JSONObject
    cdr_token: Sealed = ""
    token_key: str = ""
    token_type: str = ""
    owner: PartyId | None = None
    holder: str = ""  # the platform that spoke for the owner
    explanation: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    was_withheld: bool = False  # the session's energy and cost are those of the CDR

    def apply(self, aggregate: Session) -> None:
        state = aggregate.state
        if self.cdr.get("credit"):
            return
        state.cdr_id, state.withheld = self.cdr_id, None
        state.cdr = self.cdr if state.provisional else None
        if not state.provisional:
            aggregate.end()


AGGREGATE_EVENTS = (
    SessionStarted,
    UsageRecorded,
    ReadingsRefused,
    ConnectorChanged,
    EndHeld,
    SessionEnded,
    EndCorrected,
    CdrWithheld,
    SessionMended,
    CdrIssued,
)
