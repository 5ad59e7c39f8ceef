"""What can be asked of a job: request, pause, resume, cancel and retry it, and tell what became of an item.

How it goes on follows from how it stands (`domain.job.go_on`), after everything that is said of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route, TimerDue
from domain.clock import later
from domain.job import (
    AT_ONCE_MOST,
    ATTEMPTS_MOST,
    FAILED,
    ITEMS_MOST,
    LONGEST,
    WAITING,
    Job,
    JobCancelled,
    JobItemReached,
    JobItemsEnded,
    JobItemTriedInVain,
    JobItemWaited,
    JobPaused,
    JobRequested,
    JobResumed,
    JobRetried,
    Limits,
    go_on,
    job_aggregate_id,
)
from domain.values import JobItem, JSONObject, Value
from domain.work import Work

LONGEST_REASON = 200
"""Characters that are kept of why an item failed."""


class JobStatus(Value, frozen=True, kw_only=True):
    """What the edge answers."""

    job_id: str
    status: str


class _OfJob(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.JOB
    tenant: str
    job_id: str

    @property
    def aggregate_id(self) -> str:
        return job_aggregate_id(self.tenant, self.job_id)


class FindJob(_OfJob, frozen=True, kw_only=True, tag="job.find.v1"):
    """Ask whether the job is there: answered with its status, CONFLICT where it was asked for with something else,
    UNKNOWN where its id is free."""

    remembered: ClassVar[bool] = False
    fingerprint: str


class RequestJob(_OfJob, frozen=True, kw_only=True, tag="job.request.v1"):
    """Begin this job, whose items stand under `listing`; the same id again is the same job, or a conflict."""

    name: str = ""
    listing: str
    items: int
    selection: JSONObject
    work: Work
    limits: Limits
    fingerprint: str
    by: str


class PauseJob(_OfJob, frozen=True, kw_only=True, tag="job.pause.v1"):
    """Begin nothing more until it is resumed."""

    by: str


class ResumeJob(_OfJob, frozen=True, kw_only=True, tag="job.resume.v1"):
    """Go on, also where it had paused after too many failures."""

    by: str


class CancelJob(_OfJob, frozen=True, kw_only=True, tag="job.cancel.v1"):
    """Begin nothing more, for good; what is out runs to its end."""

    by: str


class RetryJob(_OfJob, frozen=True, kw_only=True, tag="job.retry.v1"):
    """Try what has failed once more."""

    by: str


class _OfItem(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.JOB
    recognised: ClassVar[bool] = True  # by the attempt that is out or waits
    tenant: str
    item: JobItem

    @property
    def aggregate_id(self) -> str:
        return job_aggregate_id(self.tenant, self.item.job_id)


class ConcludeItem(_OfItem, frozen=True, kw_only=True, tag="job.conclude_item.v1"):
    """What became of an attempt. `unreached`: nothing was done, because what it is about could not be reached."""

    succeeded: bool = False
    unreached: bool = False
    reason: str = ""


class NoteReached(_OfItem, frozen=True, kw_only=True, tag="job.note_reached.v1"):
    """What the item is about, and was not reached at this attempt, can be reached now."""


def _status(job: Job) -> Outcome:
    return Accepted(JobStatus(job_id=job.state.job_id, status=job.state.status))


def _unknown(command: _OfJob) -> Rejected:
    return Rejected(Refusal.UNKNOWN, f"no job {command.job_id!r}")


def _same(job: Job, command: FindJob | RequestJob) -> Outcome:
    """The job that is there, where it was asked for with the same."""
    if job.state.fingerprint == command.fingerprint:
        return _status(job)
    return Rejected(Refusal.CONFLICT, f"job id {command.job_id!r} was used for another job")


def find(job: Job, command: FindJob, meta: Meta) -> Outcome:
    return _same(job, command) if job.exists else _unknown(command)


def request(job: Job, command: RequestJob, meta: Meta) -> Outcome:
    if job.exists:
        return _same(job, command)
    limits = command.limits
    if not 1 <= command.items <= ITEMS_MOST:
        return Rejected(Refusal.INVALID, f"a job has 1 to {ITEMS_MOST} items")
    if not (1 <= limits.at_once <= AT_ONCE_MOST and 1 <= limits.attempts <= ATTEMPTS_MOST):
        return Rejected(Refusal.INVALID, f"at_once is 1 to {AT_ONCE_MOST}, attempts 1 to {ATTEMPTS_MOST}")
    job.trigger(
        JobRequested,
        meta.at,
        tenant=command.tenant,
        job_id=command.job_id,
        name=command.name,
        listing=command.listing,
        items=command.items,
        selection=command.selection,
        work=command.work,
        limits=limits,
        ends_by=later(meta.at, LONGEST),
        fingerprint=command.fingerprint,
        by=command.by,
    )
    go_on(job, meta.at)
    return _status(job)


def pause(job: Job, command: PauseJob, meta: Meta) -> Outcome:
    if not job.exists:
        return _unknown(command)
    if job.state.status == "running":
        job.trigger(JobPaused, meta.at, by=command.by)
    elif job.state.status != "paused":
        return _not_any_more(job, "paused")
    return _status(job)


def resume(job: Job, command: ResumeJob, meta: Meta) -> Outcome:
    if not job.exists:
        return _unknown(command)
    if job.state.status == "paused":
        job.trigger(JobResumed, meta.at, by=command.by)
        go_on(job, meta.at)
    elif job.state.status != "running":
        return _not_any_more(job, "resumed")
    return _status(job)


def cancel(job: Job, command: CancelJob, meta: Meta) -> Outcome:
    if not job.exists:
        return _unknown(command)
    if job.state.status in ("running", "paused"):
        job.trigger(JobCancelled, meta.at, by=command.by)
        go_on(job, meta.at)
    elif job.state.status not in ("cancelling", "cancelled"):
        return _not_any_more(job, "cancelled")
    return _status(job)


def retry(job: Job, command: RetryJob, meta: Meta) -> Outcome:
    if not job.exists:
        return _unknown(command)
    state = job.state
    if state.status not in ("running", "paused", "failed"):
        return _not_any_more(job, "retried")
    if state.ends_by is None or state.ends_by <= meta.at:
        return Rejected(Refusal.NOT_ALLOWED, f"a job lasts {LONGEST.days} days at most, which are over")
    items = tuple(item for item in state.having(FAILED) if state.attempts[item] < ATTEMPTS_MOST)
    if items:
        job.trigger(JobRetried, meta.at, by=command.by, listing=state.listing, items=items)
        go_on(job, meta.at)
    return _status(job)


def _not_any_more(job: Job, what: str) -> Rejected:
    return Rejected(Refusal.NOT_ALLOWED, f"a job that is {job.state.status} cannot be {what}")


def conclude_item(job: Job, command: ConcludeItem, meta: Meta) -> Outcome:
    """The first word on the attempt that is out counts; any other is of something that is over."""
    item, state = command.item, job.state
    if state.limits is None or state.listing != item.listing or not state.is_out(item.item, item.attempt):
        return Accepted()
    reason = command.reason[:LONGEST_REASON]
    until = state.limits.wait_until
    may_wait = until is not None and until > meta.at and state.attempts[item.item] < ATTEMPTS_MOST
    if command.succeeded:
        job.trigger(JobItemsEnded, meta.at, listing=state.listing, items=(item.item,), succeeded=True)
    elif command.unreached and may_wait and state.status != "cancelling":
        job.trigger(JobItemWaited, meta.at, tenant=state.tenant, item=item, until=until, reason=reason)
    else:
        _failed(job, item.item, reason, meta.at)
    go_on(job, meta.at)
    return Accepted()


def _failed(job: Job, item: int, reason: str, at: datetime) -> None:
    """It is tried again, or has failed for good."""
    state = job.state
    most = state.limits.attempts if state.limits is not None else 1
    again = state.tries[item] + 1 < most and state.attempts[item] < ATTEMPTS_MOST
    if again and state.status != "cancelling":
        job.trigger(JobItemTriedInVain, at, listing=state.listing, item=item, reason=reason)
    else:
        job.trigger(JobItemsEnded, at, listing=state.listing, items=(item,), reason=reason)


def note_reached(job: Job, command: NoteReached, meta: Meta) -> Outcome:
    item, state = command.item, job.state
    here = state.listing == item.listing and state.is_waiting(item.item, item.attempt)
    if here and state.status in ("running", "paused"):
        job.trigger(JobItemReached, meta.at, listing=state.listing, item=item.item)
        go_on(job, meta.at)
    return Accepted()


def timer_due(job: Job, command: TimerDue, meta: Meta) -> Outcome:
    """What is out has had its time, what was waited for did not come, the job has had its time, or it goes on."""
    state = job.state
    if state.limits is None or job.over:
        return Accepted()
    for item in [item for item, until in state.out.items() if until <= command.due]:
        _failed(job, item, "nothing was heard of it in time", meta.at)
    wait_until = state.limits.wait_until
    if state.status != "cancelling" and wait_until is not None and wait_until <= command.due:
        waiting = tuple(state.having(WAITING))
        if waiting:
            reason = "it could not be reached in time"
            job.trigger(
                JobItemsEnded, meta.at, listing=state.listing, items=waiting, reason=reason, waited=True
            )
    if state.status != "cancelling" and state.ends_by is not None and state.ends_by <= command.due:
        job.trigger(JobCancelled, meta.at, reason=f"its {LONGEST.days} days were over")
    go_on(job, max(meta.at, command.due))
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    FindJob: Route(Job, find),
    RequestJob: Route(Job, request),
    PauseJob: Route(Job, pause),
    ResumeJob: Route(Job, resume),
    CancelJob: Route(Job, cancel),
    RetryJob: Route(Job, retry),
    ConcludeItem: Route(Job, conclude_item),
    NoteReached: Route(Job, note_reached),
}
TIMER = timer_due
