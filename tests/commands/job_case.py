"""A job under test: what is asked of it, and what it says of itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from commands.base import Command, Meta, TimerDue
from commands.job import ROUTES, TIMER, ConcludeItem, NoteReached, RequestJob
from domain.intents import ClearCache
from domain.job import (
    AGGREGATE_EVENTS,
    FAILED,
    OUT,
    PENDING,
    SUCCEEDED,
    WAITING,
    Job,
    JobItemsBegun,
    Limits,
)
from domain.values import JobItem
from domain.work import RemoteCommandWork
from tests.commands.decide import NOON, Decide

WORK = RemoteCommandWork(command_type="clear_cache", intent=ClearCache(), expiry_s=120, by="operator:ann")
WHO: dict[str, Any] = {"tenant": "demo", "job_id": "j1"}
PATIENCE = 600
NAMES = {PENDING: "pending", OUT: "out", WAITING: "waiting", SUCCEEDED: "succeeded", FAILED: "failed"}


def about(item: int) -> str:
    return f"CP-{item}"


def request(items: int, fingerprint: str = "f", **limits: Any) -> RequestJob:
    known = {"patience_s": PATIENCE, **limits}
    return RequestJob(
        **WHO,
        listing="l1",
        items=items,
        selection={"ids": items},
        work=WORK,
        limits=Limits(**known),
        fingerprint=fingerprint,
        by="operator:ann",
    )


class JobCase(Decide):
    """A job of so many items, and who has its items."""

    def __init__(self, items: int, **limits: Any) -> None:
        super().__init__(Job, AGGREGATE_EVENTS, ROUTES)
        self.do(request(items, **limits))

    @property
    def job(self) -> Job:
        assert isinstance(self.aggregate, Job)
        return self.aggregate

    @property
    def status(self) -> str:
        return self.job.state.status

    def begun(self) -> list[tuple[int, int]]:
        """Items and attempts that began with the last decision."""
        return [
            (one.item, one.attempt)
            for event in self.new
            if isinstance(event, JobItemsBegun)
            for one in event.items
        ]

    def standing(self) -> list[str]:
        return [NAMES[one] for one in self.job.state.items]

    def ends(self, item: int, succeeded: bool = True, seconds: float = 1, **said: Any) -> JobCase:
        self.do(self.result(item, succeeded=succeeded, **said), seconds)
        return self

    def result(self, item: int, attempt: int | None = None, **said: Any) -> Command:
        of = self.item(item, attempt)
        return ConcludeItem(tenant="demo", item=of, **said)

    def reached(self, item: int, attempt: int | None = None) -> Command:
        return NoteReached(tenant="demo", item=self.item(item, attempt))

    def item(self, item: int, attempt: int | None = None) -> JobItem:
        known = attempt or self.job.state.attempts[item]
        return JobItem(job_id="j1", listing="l1", item=item, attempt=known, about=about(item))

    def rings(self) -> datetime:
        """Its timer rings, when it said."""
        due = self.job.next_due()
        assert due is not None
        self.ring(due)
        return due

    def ring(self, due: datetime) -> None:
        TIMER(self.job, TimerDue(aggregate=self.job.id, due=due), Meta(command_id="t", at=due))
        self.new = list(self.job.collect_events())  # type: ignore[arg-type]
        self.history += self.new


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)
