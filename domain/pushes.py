"""What partners were told of the objects whose newest state replaces older ones: one account for each partition.

`pushes|{module}|{partition}` says up to which offset of the partition's events everything is told, except what it
names: objects that wait for another try, and partners that are behind from an offset on. Who holds the partition
takes the account over and is given an epoch; what anybody reports with an older one does not count. So a partition
has one teller, and the next one knows whether the one before it has ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import PartyId, Value

SPACING = {"sessions": timedelta(seconds=30)}
"""How long after an object was told its next version waits, by module; its beginning and its end do not wait."""


def pushes_id(module: str, partition: int) -> str:
    return f"pushes|{module}|{partition}"


class Mark(Value, frozen=True, kw_only=True):
    """A place in the partition's events: an offset, and the fence's epoch there."""

    offset: int
    epoch: int = -1


class OwedCdr(Value, frozen=True, kw_only=True):
    """A CDR that is sent once its session's end was answered: its id, the session's version that issued it, the
    offset of the fact, and when that was received (whole seconds)."""

    id: str
    version: int
    offset: int
    issued_at: datetime


class Waiting(Value, frozen=True, kw_only=True):
    """An object that is not told yet: which version at least, since which fact, and how often it was tried.

    `first_tried_at` and `due` are UTC; `outcome` is refused, unreachable, unknown or offline. `given_up`: only a
    person's word or a newer version has it tried again.
    """

    to: PartyId
    object_id: str
    tenant: str
    version: int
    since: Mark
    attempts: int = 0
    first_tried_at: datetime | None = None
    due: datetime | None = None
    outcome: str = ""
    reason: str = ""
    given_up: bool = False
    urgent: bool = False
    cdrs: tuple[OwedCdr, ...] = ()
    correlation_id: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """To whom, and which object."""
        return str(self.to), self.object_id


class Named(Value, frozen=True, kw_only=True):
    """An object of one partner."""

    to: PartyId
    object_id: str


class Asked(Value, frozen=True, kw_only=True):
    """An object of one partner that somebody wants tried again; `version` is the account's at which that was said."""

    to: PartyId
    object_id: str
    version: int


class PushesState(msgspec.Struct, omit_defaults=True):
    """`epoch` is that of who holds it, `before` that of the holder before; `clear` once nobody else sends. `number`
    is that of the holder's newest report."""

    holder: str = ""
    epoch: int = 0
    before: int = 0
    held: bool = False
    clear: bool = True
    number: int = 0
    through: int = 0
    waiting: dict[str, Waiting] = {}
    behind: dict[str, Mark] = {}
    retries: list[Asked] = []


class Pushes(Aggregate[PushesState]):
    """`pushes|{module}|{partition}`; there are as many as partitions, and they never end."""

    kind: ClassVar[str] = "pushes"
    state_type = PushesState


class TakenOver(Event, frozen=True, kw_only=True, tag="pushes.taken_over.v1"):
    """`by` (one life of one process) holds it now; its epoch is this event's version."""

    by: str

    def apply(self, aggregate: Pushes) -> None:
        state = aggregate.state
        if self.by != state.holder:
            state.clear = not state.held
        state.before = state.epoch
        state.holder, state.epoch, state.held = self.by, self.originator_version, True
        state.number = 0


class Reported(Event, frozen=True, kw_only=True, tag="pushes.reported.v1"):
    """Everything before `through` is told, except what waits and what is behind a mark. What was asked for up to the
    account's version `heard` is among that."""

    through: int
    waiting: tuple[Waiting, ...] = ()
    told: tuple[Named, ...] = ()
    """What waited, and does not any more."""
    behind: dict[str, Mark] = {}
    caught_up: tuple[str, ...] = ()
    heard: int = 0
    number: int = 0

    def apply(self, aggregate: Pushes) -> None:
        state = aggregate.state
        state.through, state.number = self.through, self.number
        for name in self.caught_up:
            state.behind.pop(name, None)
        state.behind.update(self.behind)
        for one in self.told:
            state.waiting.pop(_key(one), None)
        for waiting in self.waiting:
            state.waiting[_key(waiting)] = waiting
        state.retries = [one for one in state.retries if one.version > self.heard]


class HandedOver(Event, frozen=True, kw_only=True, tag="pushes.handed_over.v1"):
    """The holder of this epoch sends nothing any more."""

    epoch: int

    def apply(self, aggregate: Pushes) -> None:
        state = aggregate.state
        if self.epoch == state.epoch:
            state.held = False
        else:
            state.clear = True


class RetryRequested(Event, frozen=True, kw_only=True, tag="pushes.retry_requested.v1"):
    """Somebody asked for another try, now; the holder hears of it with its next report."""

    to: PartyId
    object_id: str
    by: str = ""

    def apply(self, aggregate: Pushes) -> None:
        asked = Asked(to=self.to, object_id=self.object_id, version=self.originator_version)
        others = [one for one in aggregate.state.retries if _key(one) != _key(asked)]
        aggregate.state.retries = [*others, asked]


def _key(one: Waiting | Named | Asked) -> str:
    return f"{one.to}|{one.object_id}"


AGGREGATE_EVENTS = (TakenOver, Reported, HandedOver, RetryRequested)
