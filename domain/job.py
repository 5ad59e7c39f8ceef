"""A job: one piece of work for many items, so many at a time, with progress, pause, cancel and another try.

An item is known by its number, from 0. It is pending → out → succeeded, failed, or waiting where what it is about
cannot be reached now; waiting → pending once that can. Of each the state holds three bytes: how it stands, how often
it was issued (`attempts`), and how often that failed since it was last asked for (`tries`). What an item is about
stands in portions of its own (`domain.job_items`); what is done for it is none of a job's business (`domain.work`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final

import msgspec

from domain.aggregate import Aggregate, Event
from domain.clock import lasting, later
from domain.values import JobItem, JSONObject, Value
from domain.work import Work

ITEMS_MOST: Final = 10_000
AT_ONCE_MOST: Final = 100
ATTEMPTS_MOST: Final = 60
"""How often an item is issued at most, all tries by hand and all times when it was not reached included."""
LONGEST: Final = timedelta(days=14)
"""After so long a job ends by itself; less than what is over is remembered."""

PENDING, OUT, WAITING, SUCCEEDED, FAILED = range(5)
OVER: Final = frozenset({"done", "failed", "cancelled"})


def job_aggregate_id(tenant: str, job_id: str) -> str:
    return f"job|{tenant}|{job_id}"


class Limits(Value, frozen=True, kw_only=True):
    """How a job goes about its items.

    `at_once`: so many are out at the same time. `pause_s`: seconds from one begin to the next, 0 for none.
    `stop_after`: it pauses once so many have failed since it began or was resumed, 0 for never. `attempts`: how often
    an item is tried. `patience_s`: seconds after which nothing is expected of an item that is out. `wait_until`:
    until when what cannot be reached is waited for, else that is a failed try.
    """

    at_once: int = 1
    pause_s: int = 0
    stop_after: int = 0
    attempts: int = 1
    patience_s: int
    wait_until: datetime | None = None


class Attempt(Value, frozen=True, kw_only=True):
    """The `attempt`-th time, from 1, that this item is issued."""

    item: int
    attempt: int


class JobState(msgspec.Struct, omit_defaults=True):
    """`out` is until when each item that is out has its time; `failures` those since it began or was resumed; the
    next item is looked for from `cursor` on and begins at `next_at` at the earliest. At `ends_by` it is cancelled."""

    tenant: str = ""
    job_id: str = ""
    listing: str = ""
    fingerprint: str = ""
    status: str = ""
    limits: Limits | None = None
    ends_by: datetime | None = None
    items: bytearray = msgspec.field(default_factory=bytearray)
    attempts: bytearray = msgspec.field(default_factory=bytearray)
    tries: bytearray = msgspec.field(default_factory=bytearray)
    out: dict[int, datetime] = {}
    failures: int = 0
    cursor: int = 0
    next_at: datetime | None = None

    def having(self, standing: int) -> list[int]:
        """The items that stand so, in their order."""
        return [item for item, one in enumerate(self.items) if one == standing]

    def next_pending(self, most: int) -> list[int]:
        """Up to so many items that wait for their turn: what failed comes after those that had none yet."""
        found: list[int] = []
        spans = ((self.cursor, len(self.items)), (0, self.cursor))
        for first, last in spans:
            while len(found) < most and (item := self.items.find(PENDING, first, last)) >= 0:
                found.append(item)
                first = item + 1
        return found

    def is_out(self, item: int, attempt: int) -> bool:
        return item in self.out and self.attempts[item] == attempt

    def is_waiting(self, item: int, attempt: int) -> bool:
        known = 0 <= item < len(self.items)
        return known and self.items[item] == WAITING and self.attempts[item] == attempt


class Job(Aggregate[JobState]):
    """`job|{tenant}|{job id}`."""

    kind: ClassVar[str] = "job"
    ends: ClassVar[bool] = True
    recurs: ClassVar[bool] = True  # clients choose its id
    state_type = JobState

    @property
    def over(self) -> bool:
        return self.state.status in OVER

    @property
    def goes_on(self) -> bool:
        """Whether it has begun and is not over."""
        return bool(self.state.status) and not self.over

    def next_due(self) -> datetime | None:
        """When an item has had its time, the next one may begin, nothing is waited for any more, or all is over."""
        state = self.state
        if state.limits is None or self.over:
            return None
        dues = list(state.out.values())
        if state.status != "cancelling":
            dues += [state.ends_by] if state.ends_by is not None else []
            if state.limits.wait_until is not None and WAITING in state.items:
                dues.append(state.limits.wait_until)
        room = state.status == "running" and len(state.out) < state.limits.at_once
        if room and state.next_at is not None and PENDING in state.items:
            dues.append(state.next_at)
        return min(dues, default=None)


class JobRequested(Event, frozen=True, kw_only=True, tag="job.requested.v1"):
    """The job is there, with all its items: so many, listed under `listing`.

    `selection` is how they were chosen, as it was asked for. `fingerprint` is a keyed hash of what was asked. What is
    not over by `ends_by` is cancelled then.
    """

    begins: ClassVar[bool] = True
    tenant: str
    job_id: str
    name: str = ""
    listing: str
    items: int
    selection: JSONObject
    work: Work
    limits: Limits
    ends_by: datetime
    fingerprint: str
    by: str

    def apply(self, aggregate: Job) -> None:
        aggregate.state = JobState(
            tenant=self.tenant,
            job_id=self.job_id,
            listing=self.listing,
            fingerprint=self.fingerprint,
            status="running",
            limits=self.limits,
            ends_by=self.ends_by,
            items=bytearray(self.items),
            attempts=bytearray(self.items),
            tries=bytearray(self.items),
        )


class JobItemsBegun(Event, frozen=True, kw_only=True, tag="job.items_begun.v1"):
    """These items are out from now on, until they end or until `until`; the next one begins at `next_at` at the
    earliest."""

    tenant: str
    job_id: str
    listing: str
    items: tuple[Attempt, ...]
    until: datetime
    next_at: datetime | None = None

    def apply(self, aggregate: Job) -> None:
        state = aggregate.state
        for one in self.items:
            state.items[one.item], state.attempts[one.item] = OUT, one.attempt
            state.out[one.item] = self.until
            state.cursor = one.item + 1
        state.next_at = self.next_at


class JobItemTriedInVain(Event, frozen=True, kw_only=True, tag="job.item_tried_in_vain.v1"):
    """This attempt failed, and the item gets another."""

    listing: str
    item: int
    reason: str = ""

    def apply(self, aggregate: Job) -> None:
        state = aggregate.state
        state.out.pop(self.item, None)
        state.items[self.item] = PENDING
        state.tries[self.item] += 1


class JobItemWaited(Event, frozen=True, kw_only=True, tag="job.item_waited.v1"):
    """What the item is about cannot be reached: that is waited for until `until`, and is no failure."""

    tenant: str
    item: JobItem
    until: datetime
    reason: str = ""

    def apply(self, aggregate: Job) -> None:
        state = aggregate.state
        state.out.pop(self.item.item, None)
        state.items[self.item.item] = WAITING


class JobItemReached(Event, frozen=True, kw_only=True, tag="job.item_reached.v1"):
    """What the item is about can be reached again: it waits for its turn."""

    listing: str
    item: int

    def apply(self, aggregate: Job) -> None:
        aggregate.state.items[self.item] = PENDING


class JobItemsEnded(Event, frozen=True, kw_only=True, tag="job.items_ended.v1"):
    """These items are done with, all alike. `waited`: they were not out, but waited for what they are about."""

    listing: str
    items: tuple[int, ...]
    succeeded: bool = False
    reason: str = ""
    waited: bool = False

    def apply(self, aggregate: Job) -> None:
        state = aggregate.state
        for item in self.items:
            state.out.pop(item, None)
            state.items[item] = SUCCEEDED if self.succeeded else FAILED
        state.failures += 0 if self.succeeded else len(self.items)


class JobPaused(Event, frozen=True, kw_only=True, tag="job.paused.v1"):
    """Nothing more begins; what is out runs to its end. `by` is empty where too many items had failed."""

    by: str = ""
    reason: str = ""

    def apply(self, aggregate: Job) -> None:
        aggregate.state.status = "paused"


class JobResumed(Event, frozen=True, kw_only=True, tag="job.resumed.v1"):
    """It goes on, and failures count anew."""

    by: str

    def apply(self, aggregate: Job) -> None:
        aggregate.state.status, aggregate.state.failures = "running", 0


class JobCancelled(Event, frozen=True, kw_only=True, tag="job.cancelled.v1"):
    """Nothing more begins, for good; what is out runs to its end. `by` is empty where its time was over."""

    by: str = ""
    reason: str = ""

    def apply(self, aggregate: Job) -> None:
        aggregate.state.status = "cancelling"


class JobRetried(Event, frozen=True, kw_only=True, tag="job.retried.v1"):
    """These items, which had failed, are tried once more; a job that was over runs again."""

    by: str
    listing: str
    items: tuple[int, ...]

    def apply(self, aggregate: Job) -> None:
        state = aggregate.state
        for item in self.items:
            state.items[item], state.tries[item] = PENDING, 0
        state.failures = 0
        if state.status == "failed":
            state.status = "running"


class JobEnded(Event, frozen=True, kw_only=True, tag="job.ended.v1"):
    """No item is open, or will begin any more: `done`, `failed` where some have failed, or `cancelled`."""

    status: str

    def apply(self, aggregate: Job) -> None:
        state = aggregate.state
        state.status = self.status
        if self.status != "failed":  # nothing is tried again: how it ended is all that is left
            state.items, state.attempts, state.tries = bytearray(), bytearray(), bytearray()


AGGREGATE_EVENTS = (
    JobRequested,
    JobItemsBegun,
    JobItemTriedInVain,
    JobItemWaited,
    JobItemReached,
    JobItemsEnded,
    JobPaused,
    JobResumed,
    JobCancelled,
    JobRetried,
    JobEnded,
)


def go_on(job: Job, at: datetime) -> None:
    """What follows from how it stands: it ends, pauses after too many failures, or begins as many items as it may."""
    state = job.state
    limits = state.limits
    if limits is None or not job.goes_on:
        return
    if state.status == "cancelling":
        if not state.out:
            job.trigger(JobEnded, at, status="cancelled")
        return
    if not state.out and PENDING not in state.items and WAITING not in state.items:
        job.trigger(JobEnded, at, status="failed" if FAILED in state.items else "done")
        return
    if state.status != "running":
        return
    if 0 < limits.stop_after <= state.failures:
        job.trigger(JobPaused, at, reason=f"{state.failures} items have failed")
        return
    items = _to_begin(state, limits, at)
    if items:
        job.trigger(
            JobItemsBegun,
            at,
            tenant=state.tenant,
            job_id=state.job_id,
            listing=state.listing,
            items=tuple(Attempt(item=item, attempt=state.attempts[item] + 1) for item in items),
            until=later(at, lasting(limits.patience_s)),
            next_at=later(at, lasting(limits.pause_s)) if limits.pause_s else None,
        )


def _to_begin(state: JobState, limits: Limits, at: datetime) -> Sequence[int]:
    room = limits.at_once - len(state.out)
    if limits.pause_s:
        room = 0 if state.next_at is not None and at < state.next_at else min(room, 1)
    return state.next_pending(room) if room > 0 else ()
