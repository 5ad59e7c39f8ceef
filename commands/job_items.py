"""What can be asked of a portion of a job's items: to hold them, and to have their work done, once an attempt."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.job import ATTEMPTS_MOST, Attempt, job_aggregate_id
from domain.job_items import (
    PORTION,
    JobItems,
    JobItemsIssued,
    JobItemsListed,
    job_items_aggregate_id,
)
from domain.values import JobItem
from domain.work import Work


class _OfPortion(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.JOB
    tenant: str
    job_id: str
    listing: str
    portion: int

    @property
    def aggregate_id(self) -> str:
        return job_items_aggregate_id(self.tenant, self.listing, self.portion)

    @property
    def group(self) -> str:
        """In the partition of its job: what is lost of one of them, or copied, is so of both."""
        return job_aggregate_id(self.tenant, self.job_id)


class ListItems(_OfPortion, frozen=True, kw_only=True, tag="job_items.list.v1"):
    """Hold these items, of which each is `about` a charge point, and what is to be done for them."""

    recognised: ClassVar[bool] = True  # a portion is listed once
    about: tuple[str, ...]
    work: Work


class IssueItems(_OfPortion, frozen=True, kw_only=True, tag="job_items.issue.v1"):
    """Have the work done for these items, each once an attempt. They began at `begun_at`."""

    recognised: ClassVar[bool] = True  # by the attempt
    items: tuple[Attempt, ...]
    begun_at: datetime


def list_items(portion: JobItems, command: ListItems, meta: Meta) -> Outcome:
    if not 1 <= len(command.about) <= PORTION:
        return Rejected(Refusal.INVALID, f"a portion has 1 to {PORTION} items")
    if not portion.exists:
        portion.trigger(
            JobItemsListed,
            meta.at,
            tenant=command.tenant,
            job_id=command.job_id,
            listing=command.listing,
            first=command.portion * PORTION,
            about=command.about,
            work=command.work,
        )
    return Accepted()


def issue(portion: JobItems, command: IssueItems, meta: Meta) -> Outcome:
    state = portion.state
    items: list[JobItem] = []
    for one in command.items:
        number = one.item - state.first
        known = 0 <= number < len(state.about) and one.attempt <= ATTEMPTS_MOST
        if known and one.attempt > state.issued[number]:
            items.append(
                JobItem(
                    job_id=state.job_id,
                    listing=state.listing,
                    item=one.item,
                    attempt=one.attempt,
                    about=state.about[number],
                )
            )
    if items:
        portion.trigger(
            JobItemsIssued,
            meta.at,
            tenant=state.tenant,
            items=tuple(items),
            begun_at=command.begun_at,
            work=state.work,
        )
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    ListItems: Route(JobItems, list_items),
    IssueItems: Route(JobItems, issue),
}
