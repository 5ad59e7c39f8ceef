"""A remote command: pending, sent when it is on the wire, then one outcome that only the truth corrects."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from commands.base import Accepted, Meta, TimerDue
from commands.processes import POLICIES
from commands.remote_command import ROUTES, TIMER, Conclude, MarkSent, RequestRemoteCommand
from domain.charge_point import CallRequested, CallSent
from domain.intents import Reset, ResetKind
from domain.remote_command import AGGREGATE_EVENTS, GRACE, RemoteCommand, RemoteCommandConcluded
from tests.commands.decide import NOON, Decide

WHO: dict[str, Any] = {"tenant": "demo", "command_id": "c1"}
SENT_AT, ANSWER_BY = 40.0, NOON + timedelta(seconds=70)


def asked() -> Decide:
    """A reset that may wait two minutes to be sent."""
    command = RequestRemoteCommand(
        **WHO,
        charge_point_id="CP-1",
        command_type="reset",
        intent=Reset(type=ResetKind.SOFT),
        fingerprint="f",
        by="operator:ann",
        expires_at=NOON + timedelta(minutes=2),
    )
    return Decide(RemoteCommand, AGGREGATE_EVENTS, ROUTES).do(command)


def sent() -> Decide:
    return asked().do(MarkSent(**WHO, answer_by=ANSWER_BY), SENT_AT)


def status(case: Decide) -> str:
    assert case.aggregate is not None
    return str(case.aggregate.state.status)


def rings(case: Decide) -> str:
    """The status once its timer has rung."""
    aggregate = case.aggregate
    assert isinstance(aggregate, RemoteCommand)
    due = aggregate.next_due()
    assert due is not None
    assert TIMER(aggregate, TimerDue(aggregate=aggregate.id, due=due), Meta(command_id="t", at=due)) == (
        Accepted()
    )
    case.history += aggregate.collect_events()  # type: ignore[arg-type]
    return status(case)


def conclude(case: Decide, status: str, reason: str = "") -> list[Any]:
    return case.do(Conclude(**WHO, status=status, reason=reason), 100).new


def test_it_is_pending_until_the_frame_is_on_the_wire() -> None:
    assert (status(asked()), status(sent())) == ("pending", "sent")
    event: Any = {"originator_id": "charge_point|demo|CP-1", "originator_version": 9, "timestamp": NOON}
    requested = CallRequested(
        **event,
        command_id="c1",
        intent=Reset(type=ResetKind.SOFT),
        epoch=1,
        slot=1,
        boot="b",
        expires_at=ANSWER_BY,
    )
    on_wire = CallSent(**event, command_id="c1", answer_by=ANSWER_BY)
    meta = Meta(command_id="m", at=NOON, tenant="demo")
    made = [
        [command for _, policy in POLICIES.get(type(one), ()) for command in policy(one, meta)]
        for one in (requested, on_wire)
    ]
    assert made == [[], [MarkSent(**WHO, answer_by=ANSWER_BY)]]


def test_waiting_to_be_sent_and_waiting_for_the_answer_are_two_times() -> None:
    first, second = asked(), sent()
    assert isinstance(first.aggregate, RemoteCommand)
    assert isinstance(second.aggregate, RemoteCommand)
    assert first.aggregate.next_due() == NOON + timedelta(minutes=2) + GRACE
    assert second.aggregate.next_due() == ANSWER_BY + GRACE
    assert (rings(first), rings(second)) == ("expired", "timed_out")


@pytest.mark.parametrize("outcome", ["accepted", "rejected"])
@pytest.mark.parametrize("given_up", ["timed_out", "expired"])
def test_a_late_answer_corrects_the_result_with_a_note(given_up: str, outcome: str) -> None:
    case = sent()
    conclude(case, given_up)
    (event,) = conclude(case, outcome, "Yes")
    assert isinstance(event, RemoteCommandConcluded)
    assert (status(case), event.told_reason) == (outcome, "Yes, answered late")


def test_an_answer_corrects_what_the_timer_said_too() -> None:
    case = sent()
    assert rings(case) == "timed_out"
    (event,) = conclude(case, "accepted", "Accepted")
    assert (status(case), event.late) == ("accepted", True)


@pytest.mark.parametrize("final", ["accepted", "rejected", "failed"])
def test_an_answer_that_is_known_stands(final: str) -> None:
    case = sent()
    conclude(case, final)
    assert conclude(case, "timed_out") == conclude(case, "accepted") == []
    assert status(case) == final


def test_nobodys_word_does_not_replace_nobodys_word() -> None:
    case = sent()
    conclude(case, "expired")
    assert conclude(case, "timed_out") == []
