"""A portion of a job's items: what each is about, what is to be done for it, and which attempts were issued.

It is listed before its job is asked for, so that a job is there whole or not at all. It is kept for as long as what
is over is remembered, which is longer than any job lasts.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import JobItem
from domain.work import Work

PORTION: Final = 500
"""Items of a portion, at most; all but the last of a job have so many. Kept for ever: items are found by it."""


def job_items_aggregate_id(tenant: str, listing: str, portion: int) -> str:
    return f"job_items|{tenant}|{listing}|{portion}"


def portion_of(item: int) -> int:
    """The portion that an item stands in, from 0."""
    return item // PORTION


class JobItemsState(msgspec.Struct, omit_defaults=True):
    """`issued` holds the newest attempt of each item, 0 for none."""

    tenant: str = ""
    job_id: str = ""
    listing: str = ""
    first: int = 0
    about: tuple[str, ...] = ()
    work: Work | None = None
    issued: bytearray = msgspec.field(default_factory=bytearray)


class JobItems(Aggregate[JobItemsState]):
    """`job_items|{tenant}|{listing}|{portion}`."""

    kind: ClassVar[str] = "job_items"
    ends: ClassVar[bool] = True
    state_type = JobItemsState

    @property
    def over(self) -> bool:
        """Always: it is asked for while its job lasts, which is not as long as it is remembered."""
        return True


class JobItemsListed(Event, frozen=True, kw_only=True, tag="job_items.listed.v1"):
    """These are the items from the `first` on, each by what it is `about`: a charge point's id."""

    tenant: str
    job_id: str
    listing: str
    first: int
    about: tuple[str, ...]
    work: Work

    def apply(self, aggregate: JobItems) -> None:
        state = aggregate.state
        state.tenant, state.job_id, state.listing = self.tenant, self.job_id, self.listing
        state.first, state.about, state.work = self.first, self.about, self.work
        state.issued = bytearray(len(self.about))


class JobItemsIssued(Event, frozen=True, kw_only=True, tag="job_items.issued.v1"):
    """The work is to be done for these items, once an attempt. Their time runs from `begun_at` on, however late this
    is."""

    tenant: str
    items: tuple[JobItem, ...]
    begun_at: datetime
    work: Work

    def apply(self, aggregate: JobItems) -> None:
        state = aggregate.state
        for one in self.items:
            state.issued[one.item - state.first] = one.attempt


AGGREGATE_EVENTS = (JobItemsListed, JobItemsIssued)
