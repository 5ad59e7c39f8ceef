"""From a job's first item to its end, whatever order, repeats and lateness its commands come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.base import Command, Meta, Refusal, TimerDue
from commands.charge_point import AwaitConnection, RequestCall
from commands.job import CancelJob, ConcludeItem, NoteReached, PauseJob, ResumeJob, RetryJob
from commands.job_items import ROUTES as PORTION_ROUTES
from commands.job_items import IssueItems, ListItems
from commands.processes import POLICIES, REFUSALS
from commands.processes import job as process
from commands.remote_command import ROUTES as REMOTE_ROUTES
from commands.remote_command import TIMER as REMOTE_TIMER
from commands.remote_command import Conclude, RequestRemoteCommand
from domain import job, job_items, remote_command
from domain.aggregate import Event
from domain.charge_point import AwaitedConnectionMade
from domain.job import (
    FAILED,
    OUT,
    SUCCEEDED,
    Attempt,
    JobItemsBegun,
    JobItemsEnded,
    JobItemWaited,
    JobRetried,
)
from domain.job_items import JobItems, JobItemsIssued
from domain.remote_command import RemoteCommand, RemoteCommandConcluded
from domain.values import JobItem, Value
from domain.work import step_id
from projections.job import evolve
from tests.commands.decide import NOON, Decide
from tests.commands.job_case import NAMES, WHO, WORK, JobCase, about
from tests.laws import tried

BEGUN = NOON - timedelta(seconds=50)
META = Meta(command_id="m", at=NOON, tenant="demo")
ITEM = JobItem(job_id="j1", listing="l1", item=3, attempt=2, about="CP-3")


def follow(event: Event) -> list[Command]:
    """What the job's process makes of a fact."""
    return [
        command
        for name, policy in POLICIES.get(type(event), ())
        if name == "job"
        for command in policy(event, META)
    ]


def said(kind: type[Event], **values: Any) -> Event:
    return kind(originator_id="x", originator_version=1, timestamp=NOON, **values)


def test_items_that_begin_are_issued_by_the_portions_in_which_they_stand() -> None:
    items = tuple(Attempt(item=item, attempt=1) for item in (1200, 499, 500, 501))
    commands = follow(said(JobItemsBegun, **WHO, listing="l1", items=items, until=NOON))
    assert all(isinstance(one, IssueItems) for one in commands)
    assert [(one.portion, [item.item for item in one.items]) for one in commands] == [  # type: ignore[attr-defined]
        (0, [499]),
        (1, [500, 501]),
        (2, [1200]),
    ]


def test_an_item_of_remote_commands_is_a_remote_command_known_by_the_attempt() -> None:
    [command] = follow(said(JobItemsIssued, tenant="demo", items=(ITEM,), begun_at=BEGUN, work=WORK))
    assert command == RequestRemoteCommand(
        tenant="demo",
        command_id="job-l1-3-2",
        charge_point_id="CP-3",
        command_type="clear_cache",
        intent=WORK.intent,
        fingerprint="job-l1-3-2",
        by="operator:ann",
        expires_at=BEGUN + timedelta(seconds=120),  # however late it was issued
        job=ITEM,
    )
    assert command.story == "remote|demo|job-l1-3-2"


def test_another_kind_of_work_is_one_more_function(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing(Value, frozen=True, kw_only=True):
        """Work that is done at once."""

    def at_once(event: JobItemsIssued, work: Nothing) -> Sequence[Command]:
        return [ConcludeItem(tenant=event.tenant, item=one, succeeded=True) for one in event.items]

    monkeypatch.setattr(process, "STEPS", {Nothing: at_once})
    assert follow(said(JobItemsIssued, tenant="demo", items=(ITEM,), begun_at=BEGUN, work=Nothing())) == [
        ConcludeItem(tenant="demo", item=ITEM, succeeded=True)
    ]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"status": "accepted"}, {"succeeded": True, "reason": "accepted"}),
        (
            {"status": "rejected", "reason": "NotSupported"},
            {"reason": "rejected: NotSupported"},
        ),
        ({"status": "failed", "reason": "disconnected"}, {"reason": "disconnected"}),
        (
            {"status": "failed", "reason": "CP-3 is not connected", "unreached": True},
            {"reason": "CP-3 is not connected", "unreached": True},
        ),
    ],
    ids=lambda value: str(value.get("status", "")),
)
def test_what_became_of_a_remote_command_became_of_its_item(told: Any, expected: Any) -> None:
    assert follow(said(RemoteCommandConcluded, job=ITEM, **told)) == [
        ConcludeItem(tenant="demo", item=ITEM, **expected)
    ]


def test_nobodys_remote_command_and_a_late_answer_tell_no_job() -> None:
    assert follow(said(RemoteCommandConcluded, status="accepted")) == []
    assert follow(said(RemoteCommandConcluded, status="accepted", job=ITEM, late=True)) == []


def test_an_item_that_waits_is_told_by_its_charge_point() -> None:
    until = NOON + timedelta(hours=1)
    assert follow(said(JobItemWaited, tenant="demo", item=ITEM, until=until)) == [
        AwaitConnection(tenant="demo", charge_point_id="CP-3", item=ITEM, until=until)
    ]
    assert follow(said(AwaitedConnectionMade, items=(ITEM,))) == [NoteReached(tenant="demo", item=ITEM)]


def remote() -> Decide:
    case = Decide(RemoteCommand, remote_command.AGGREGATE_EVENTS, REMOTE_ROUTES)
    [command] = follow(said(JobItemsIssued, tenant="demo", items=(ITEM,), begun_at=BEGUN, work=WORK))
    return case.do(command)


def test_the_outcome_of_a_remote_command_names_the_item_that_waits_for_it() -> None:
    [concluded] = remote().do(Conclude(tenant="demo", command_id="job-l1-3-2", status="accepted")).new
    assert isinstance(concluded, RemoteCommandConcluded)
    assert concluded.job == ITEM


def test_one_that_nobody_concludes_tells_its_item_too() -> None:
    aggregate = remote().aggregate
    assert isinstance(aggregate, RemoteCommand)
    due = aggregate.next_due()
    assert due is not None
    REMOTE_TIMER(aggregate, TimerDue(aggregate=aggregate.id, due=due), Meta(command_id="t", at=due))
    [concluded] = aggregate.collect_events()
    assert isinstance(concluded, RemoteCommandConcluded)
    assert concluded.job == ITEM


def test_a_charge_point_that_is_not_connected_was_not_reached() -> None:
    cause = "remote_command|remote_command|demo|job-l1-3-2|1|0"
    [command] = REFUSALS[RequestCall](cause, Refusal.NOT_CONNECTED, "charge point CP-3 is not connected")
    assert isinstance(command, Conclude)
    assert command.unreached
    [command] = REFUSALS[RequestCall](cause, Refusal.NOT_ALLOWED, "its boot was rejected")
    assert isinstance(command, Conclude)
    assert not command.unreached


FATES = ("accepted", "rejected", "silent", "unreached")
LAST_UNREACHED = 4
"""From this attempt on a charge point is there."""


class Site:
    """A job, its items and the charge points, whose commands are on their way in no order."""

    def __init__(self, items: int, data: st.DataObject, **limits: Any) -> None:
        self.data = data
        self.at = 0.0
        self.job = JobCase(items, **limits)
        self.portion = Decide(JobItems, job_items.AGGREGATE_EVENTS, PORTION_ROUTES)
        self.portion.do(
            ListItems(**WHO, listing="l1", portion=0, about=tuple(map(about, range(items))), work=WORK)
        )
        self.way: list[Command] = []
        self.issued: set[str] = set()
        self.ended: Counter[int] = Counter()
        self.retried: Counter[int] = Counter()
        self.fates: dict[str, str] = {}
        self.repeats = 20
        self.shown: dict[str, Any] | None = None
        self.tell(self.job.history)

    def tell(self, events: Sequence[Event]) -> None:
        for event in events:
            self.way += follow(event)
            if isinstance(event, job.AGGREGATE_EVENTS):
                self.shown = evolve(self.shown, event, META)
            if isinstance(event, JobItemsEnded):
                self.ended.update(event.items)
            if isinstance(event, JobRetried):
                self.retried.update(event.items)

    def step(self) -> None:
        """One of the commands on their way is decided, and perhaps comes once more."""
        index = self.data.draw(st.integers(0, len(self.way) - 1))
        again = self.repeats > 0 and self.data.draw(st.sampled_from([False, False, True]))
        self.repeats -= again
        command = self.way[index] if again else self.way.pop(index)
        self.at += 1
        match command:
            case IssueItems():
                self.tell(self.portion.do(command, self.at).new)
            case RequestRemoteCommand():
                self.issued.add(command.command_id)
                self.answer(command)
            case AwaitConnection():
                self.way.append(NoteReached(tenant="demo", item=command.item))
            case _:
                self.tell(self.job.do(command, self.at).new)
        self.hold()

    def answer(self, command: RequestRemoteCommand) -> None:
        """A remote command answers as it did when it comes again; it may be silent for ever."""
        assert command.job is not None
        if command.command_id not in self.fates:
            known = FATES if command.job.attempt < LAST_UNREACHED else FATES[:-1]
            self.fates[command.command_id] = self.data.draw(st.sampled_from(known))
        fate = self.fates[command.command_id]
        if fate != "silent":
            fact = said(
                RemoteCommandConcluded,
                status="failed" if fate == "unreached" else fate,
                unreached=fate == "unreached",
                job=command.job,
            )
            self.way += follow(fact)

    def hold(self) -> None:
        """What is true at any moment."""
        state = self.job.job.state
        assert state.limits is not None
        assert len(state.out) <= state.limits.at_once
        if state.items:
            assert sorted(state.out) == state.having(OUT)
            assert self.shown is not None
            counts = self.shown["items"]
            named = {name: state.items.count(number) for number, name in NAMES.items()}
            assert {name: counts[name] for name in named} == named
        for item, count in self.ended.items():
            assert count <= 1 + self.retried[item]

    def ring(self) -> None:
        due = self.job.job.next_due()
        if due is not None:
            self.at = max(self.at, (due - NOON).total_seconds())
            self.job.ring(due)
            self.tell(self.job.new)
            self.hold()


PERSONS = (PauseJob, ResumeJob, CancelJob, RetryJob)


@settings(max_examples=tried(150), deadline=None)
@given(st.data())
def test_in_any_order_with_any_repeats_each_item_ends_once_and_the_job_is_over(data: st.DataObject) -> None:
    items = data.draw(st.integers(1, 6))
    site = Site(
        items,
        data,
        at_once=data.draw(st.integers(1, 3)),
        attempts=data.draw(st.integers(1, 3)),
        pause_s=data.draw(st.sampled_from([0, 0, 5])),
        stop_after=data.draw(st.sampled_from([0, 0, 2])),
        wait_until=data.draw(st.sampled_from([None, NOON + timedelta(seconds=300)])),
    )
    for _ in range(data.draw(st.integers(0, 60))):
        deed = data.draw(st.sampled_from(["step"] * 8 + ["person", "ring"]))
        if deed == "step" and site.way:
            site.step()
        elif deed == "person":
            site.at += 1
            site.tell(site.job.do(data.draw(st.sampled_from(PERSONS))(**WHO, by="operator:bo"), site.at).new)
        else:
            site.ring()
    for _ in range(1000):  # now everything that is on its way comes, and time passes
        while site.way:
            site.step()
        if site.job.job.over:
            break
        if site.job.status == "paused":
            site.tell(site.job.do(ResumeJob(**WHO, by="operator:bo"), site.at).new)
        else:
            site.ring()
    state = site.job.job.state
    assert site.job.job.over
    assert site.shown is not None
    counts = site.shown["items"]
    assert site.shown["state"] == state.status
    assert counts["total"] == items == sum(counts.values()) - items
    assert not counts["out"] + counts["pending"] + counts["waiting"]
    assert not state.out
    if site.job.status == "failed":
        assert {SUCCEEDED, FAILED} >= set(state.items)
    if site.job.status == "done":
        assert sorted(site.ended) == list(range(items))
    begun = [event for event in site.job.history if isinstance(event, JobItemsBegun)]
    attempts = {one.item: one.attempt for event in begun for one in event.items}
    every = {step_id("l1", one.item, one.attempt) for event in begun for one in event.items}
    assert site.issued <= every
    # An attempt that its portion heard of too late is passed over; the newest never is.
    assert {step_id("l1", item, attempt) for item, attempt in attempts.items()} <= site.issued
