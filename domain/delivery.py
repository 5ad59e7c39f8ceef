"""A delivery: a CDR, or what became of a command, on its way to one partner, as a state that survives everything.

The state is keyed by (party, module, object): which version is wanted, which was sent, how often it was tried, when
it is due again. Objects whose newest state replaces older ones have no delivery each (`domain.pushes`). Attempts are
leased: one whose outcome nobody reported in time counts as unknown and is repeated.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.partner_command import CommandOutcome
from domain.values import PartyId

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=15)
GIVE_UP_AFTER = timedelta(hours=24)
COMMANDS = "commands"
"""The module by which is told what became of a command."""
OUTCOME_GIVE_UP_AFTER = timedelta(minutes=5)
"""Who asked for a charge wants to know what became of it soon, or not at all."""
LEASE = timedelta(seconds=30)


def delivery_id(to: PartyId, module: str, object_id: str) -> str:
    return f"delivery|{to}|{module}|{object_id}"


def wait_before(attempt: int) -> timedelta:
    """The wait before try number `attempt` (2 = the first repeat): 5 s doubling to 15 minutes."""
    return min(FIRST_WAIT * int(2 ** min(attempt - 2, 20)), LONGEST_WAIT)


class DeliveryState(msgspec.Struct, omit_defaults=True):
    """What is delivered to whom is said by the id alone."""

    tenant: str = ""
    phase: str = "idle"  # idle, waiting, in_flight, failed
    wanted: int = 0
    sent: int = 0
    attempt: int = 0  # of the current run; 0 once delivered
    begun: int = 0  # the version at which the last attempt began
    sending: int = 0  # the version in flight
    first_tried_at: datetime | None = None
    due: datetime | None = None
    partition: int = 0
    offset: int = -1  # of the fact that issued it, in that partition of its area's events
    result: CommandOutcome | None = None  # what is told, where it is no document


class Delivery(Aggregate[DeliveryState]):
    """`delivery|{party}|{module}|{object id}`; phases idle → in_flight → idle | waiting → in_flight … | failed."""

    kind: ClassVar[str] = "delivery"
    ends: ClassVar[bool] = True
    state_type = DeliveryState

    @property
    def over(self) -> bool:
        """What is wanted was sent, or given up."""
        return self.exists and self.state.phase in ("idle", "failed")

    def next_due(self) -> datetime | None:
        return self.state.due

    @property
    def job(self) -> tuple[PartyId, str, str]:
        """To whom, the module and the object."""
        _, to, module, object_id = self.id.split("|", 3)
        return PartyId.of(to), module, object_id


class Wanted(Event, frozen=True, kw_only=True, tag="delivery.wanted.v1"):
    """The party shall have this version, or a newer one: the fact at `offset` of `partition` issued it, or it is
    this `result` of a command."""

    to: PartyId
    module: str
    object_id: str
    tenant: str
    wanted: int
    partition: int = 0
    offset: int = -1
    result: CommandOutcome | None = None

    def apply(self, aggregate: Delivery) -> None:
        state = aggregate.state
        state.tenant, state.result = self.tenant, self.result
        state.wanted, state.partition, state.offset = self.wanted, self.partition, self.offset


class AttemptDue(Event, frozen=True, kw_only=True, tag="delivery.attempt_due.v1"):
    """Send it now. `attempt` counts from 1; `lease` is when an unreported outcome counts as unknown.

    The fact that issued it stands at `offset` of `partition`; the `result` of a command is told as it is.
    """

    to: PartyId
    module: str
    object_id: str
    tenant: str
    attempt: int
    wanted: int
    partition: int = 0
    offset: int = -1
    lease: datetime
    result: CommandOutcome | None = None

    def apply(self, aggregate: Delivery) -> None:
        state = aggregate.state
        state.phase, state.attempt, state.sending, state.due = (
            "in_flight",
            self.attempt,
            self.wanted,
            self.lease,
        )
        state.begun = self.originator_version
        if state.first_tried_at is None:
            state.first_tried_at = self.timestamp


class Delivered(Event, frozen=True, kw_only=True, tag="delivery.delivered.v1"):
    """The partner acknowledged the version `sent`. `due` is set where a newer version waits already."""

    attempt: int
    sent: int
    http_status: int = 0
    remote_url: str = ""  # the Location header of a CDR's receiver
    due: datetime | None = None

    def apply(self, aggregate: Delivery) -> None:
        state = aggregate.state
        state.sent, state.sending = max(state.sent, self.sent), 0
        state.attempt, state.first_tried_at = 0, None
        state.phase, state.due = ("waiting" if self.due else "idle"), self.due


class AttemptFailed(Event, frozen=True, kw_only=True, tag="delivery.attempt_failed.v1"):
    """It was not acknowledged. `outcome` is refused (an OCPI or HTTP error), unreachable, unknown, or offline: nobody
    is connected, and the day after which a CDR is given up begins anew."""

    attempt: int
    outcome: str
    reason: str
    due: datetime

    def apply(self, aggregate: Delivery) -> None:
        state = aggregate.state
        state.phase, state.due = "waiting", self.due
        if self.outcome == "offline" and state.result is None:
            state.first_tried_at = None


class GivenUp(Event, frozen=True, kw_only=True, tag="delivery.given_up.v1"):
    """Its time for tries is over: an alert; it goes on by hand, or when a newer version is wanted."""

    attempt: int
    outcome: str
    reason: str

    def apply(self, aggregate: Delivery) -> None:
        state = aggregate.state
        state.phase, state.due, state.attempt, state.first_tried_at = "failed", None, 0, None
        state.sending = 0


class RetryRequested(Event, frozen=True, kw_only=True, tag="delivery.retry_requested.v1"):
    """Somebody asked for another try, now."""

    by: str = ""

    def apply(self, aggregate: Delivery) -> None:
        state = aggregate.state
        state.phase, state.attempt, state.first_tried_at, state.due = "waiting", 0, None, self.timestamp


AGGREGATE_EVENTS = (Wanted, AttemptDue, Delivered, AttemptFailed, GivenUp, RetryRequested)
