"""Deliveries: growing waits, leases, newest state wins, 24 hours and an alert."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.base import Command, Meta, Refusal, Rejected, TimerDue
from commands.delivery import ROUTES, TIMER, ReportAttempt, Retry, Want
from domain.aggregate import event_name
from domain.delivery import Delivery, delivery_id, wait_before
from domain.values import PartyId

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MSP = PartyId(country_code="NL", party_id="MSP")


class Story:
    """A delivery with a clock of its own."""

    def __init__(self) -> None:
        self.delivery = Delivery.blank(delivery_id(MSP, "cdrs", "x"))
        self.now = T0
        self.events: list[Any] = []
        self.number = 0

    def ask(self, command: Command) -> object:
        self.number += 1
        handler = TIMER if isinstance(command, TimerDue) else ROUTES[type(command)].handler
        outcome = handler(self.delivery, command, Meta(command_id=str(self.number), at=self.now))  # type: ignore[arg-type]
        self.events.extend(self.delivery.collect_events())
        return outcome

    def want(self, version: int) -> None:
        self.ask(
            Want(
                to=MSP,
                module="cdrs",
                object_id="x",
                tenant="t",
                version=version,
                partition=0,
                offset=version,
            )
        )

    def report(self, outcome: str, sent: int = 0) -> object:
        return self.ask(self.said(outcome, sent))

    def said(self, outcome: str, sent: int = 0) -> ReportAttempt:
        """What who made the last attempt says of it."""
        state = self.delivery.state
        return ReportAttempt(
            to=MSP,
            module="cdrs",
            object_id="x",
            attempt=state.attempt,
            begun=state.begun,
            outcome=outcome,
            sent=sent,
        )

    def wait(self) -> timedelta:
        """Let the time come that the delivery waits for."""
        due = self.delivery.next_due()
        assert due is not None
        waited, self.now = due - self.now, max(due, self.now)
        self.ask(TimerDue(aggregate=self.delivery.id, due=due))
        return waited

    @property
    def names(self) -> list[str]:
        return [event_name(event).split(".")[1] for event in self.events]


def test_what_is_wanted_is_tried_at_once() -> None:
    story = Story()
    story.want(1)
    assert story.names == ["wanted", "attempt_due"]
    story.report("delivered", 1)
    assert story.names[-1] == "delivered"
    assert story.delivery.next_due() is None


def test_waits_grow_from_5_seconds_to_15_minutes() -> None:
    waits = [int(wait_before(n).total_seconds()) for n in range(2, 12)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]


def test_a_cdr_is_tried_for_24_hours_then_given_up_with_an_alert() -> None:
    story = Story()
    story.want(1)
    while story.delivery.state.phase != "failed":
        story.report("refused")
        if story.delivery.state.phase == "waiting":
            story.wait()
    assert story.names[-1] == "given_up"
    assert timedelta(hours=23, minutes=40) < story.now - T0 <= timedelta(hours=24)
    assert story.delivery.next_due() is None


def test_it_goes_on_by_hand_after_it_was_given_up() -> None:
    story = Story()
    story.want(1)
    while story.delivery.state.phase != "failed":
        story.report("refused")
        if story.delivery.state.phase == "waiting":
            story.wait()
    story.ask(Retry(to=MSP, module="cdrs", object_id="x", by="me"))
    story.report("refused")
    assert story.delivery.state.phase == "waiting"
    assert story.delivery.state.attempt == 1


def test_a_partner_that_is_not_connected_is_waited_for_longer_than_a_day() -> None:
    story = Story()
    story.want(1)
    waits = []
    while story.now < T0 + timedelta(hours=48):
        story.report("offline")
        waits.append(story.wait())
    assert (waits[0], max(waits)) == (timedelta(seconds=5), timedelta(minutes=15))
    story.report("refused")
    assert story.names[-1] == "attempt_failed"


def test_an_attempt_that_nobody_reported_is_repeated_after_its_lease() -> None:
    """The effects process was killed between sending and reporting."""
    story = Story()
    story.want(1)
    assert story.wait() == timedelta(seconds=30)
    assert story.names[-1] == "attempt_failed"
    story.wait()
    assert story.names[-1] == "attempt_due"


def test_a_late_report_of_an_earlier_attempt_is_stale_unless_it_was_delivered() -> None:
    story = Story()
    story.want(1)
    late, after_all = story.said("refused"), story.said("delivered", 1)
    story.wait()
    story.wait()
    assert isinstance(outcome := story.ask(late), Rejected)
    assert outcome.refusal is Refusal.STALE
    story.ask(after_all)
    assert story.names[-1] == "delivered"


@pytest.mark.parametrize("outcome", ["delivered", "refused", "unknown"])
def test_a_report_said_again_is_none_of_the_attempt_under_way_though_that_is_a_first_one_too(
    outcome: str,
) -> None:
    """Attempts are numbered anew in each run: what an attempt is known by is the version at which it began."""
    story = Story()
    story.want(1)
    if outcome != "delivered":
        story.report("delivered", 1)
        story.want(2)
    said = story.said(outcome, 1)
    story.ask(said)
    story.want(3)
    if outcome != "delivered":
        story.wait()
        story.report("delivered", 3)
        story.want(4)
    before = len(story.events)
    story.ask(said)
    assert story.events[before:] == []
    assert (story.delivery.state.phase, story.delivery.state.attempt) == ("in_flight", 1)


def test_a_state_that_changed_while_an_older_one_was_sent_is_sent_next() -> None:
    story = Story()
    story.want(1)
    story.want(5)
    story.report("delivered", 1)
    story.wait()
    assert (story.names[-1], story.delivery.state.sending) == ("attempt_due", 5)


@given(st.lists(st.sampled_from(["want", "ok", "bad", "wait"]), max_size=30))
def test_whatever_happens_the_newest_state_arrives_once_the_partner_answers(steps: list[str]) -> None:
    story = Story()
    version = 0
    for step in steps:
        if step == "want":
            version += 1
            story.want(version)
        elif step == "wait" and story.delivery.next_due() is not None:
            story.wait()
        elif story.delivery.state.phase == "in_flight" and step in ("ok", "bad"):
            story.report("delivered" if step == "ok" else "unreachable", story.delivery.state.sending)
    for _ in range(6):
        if story.delivery.state.phase == "in_flight":
            story.report("delivered", story.delivery.state.sending)
        elif story.delivery.next_due() is not None:
            story.wait()
    assert story.delivery.state.sent == version
