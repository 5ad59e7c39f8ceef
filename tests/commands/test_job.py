"""A job: so many items at a time, each ends once, and it can be paused, cancelled and tried again at any moment."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.base import Refusal
from commands.job import CancelJob, FindJob, PauseJob, ResumeJob, RetryJob
from domain.job import ATTEMPTS_MOST, ITEMS_MOST, LONGEST, JobEnded, JobItemsBegun, JobPaused, JobRequested
from tests.commands.decide import NOON
from tests.commands.job_case import PATIENCE, WHO, JobCase, after, request

PAUSE, RESUME = PauseJob(**WHO, by="operator:bo"), ResumeJob(**WHO, by="operator:bo")
CANCEL, RETRY = CancelJob(**WHO, by="operator:bo"), RetryJob(**WHO, by="operator:bo")


def test_so_many_begin_at_once_and_one_more_with_each_that_ends() -> None:
    case = JobCase(4, at_once=2)
    assert case.begun() == [(0, 1), (1, 1)]
    assert case.ends(1).begun() == [(2, 1)]
    assert case.ends(0).begun() == [(3, 1)]
    assert case.ends(2).begun() == []
    case.ends(3)
    assert case.status == "done"
    assert [type(event) for event in case.new][-1] is JobEnded


def test_a_job_with_items_that_failed_has_failed() -> None:
    case = JobCase(2, at_once=2)
    case.ends(0, False, reason="Rejected").ends(1)
    assert (case.status, case.standing()) == ("failed", ["failed", "succeeded"])


def test_what_is_left_of_a_job_that_is_done_is_how_it_ended() -> None:
    case = JobCase(3, at_once=3)
    for item in range(3):
        case.ends(item)
    assert len(msgspec.json.encode(case.job.state)) < 400
    assert case.job.over
    assert case.job.next_due() is None


def test_the_same_id_again_is_the_same_job_and_with_another_request_a_conflict() -> None:
    case = JobCase(2)
    assert case.do(request(2)).new == []
    assert case.refusal is None
    assert case.do(request(2, fingerprint="g")).refusal is Refusal.CONFLICT
    assert case.do(FindJob(**WHO, fingerprint="f")).refusal is None
    assert case.do(FindJob(**WHO, fingerprint="g")).refusal is Refusal.CONFLICT


def test_a_result_that_comes_again_or_of_another_attempt_changes_nothing() -> None:
    case = JobCase(2, attempts=2)
    late = case.result(0, 1, reason="Rejected")
    case.ends(0, False)
    assert case.begun() == [(1, 1)]
    case.ends(1)
    assert case.begun() == [(0, 2)]
    assert case.do(late).new == []
    assert case.ends(0).status == "done"
    assert case.do(late).new == []


def test_an_item_is_tried_as_often_as_was_asked_and_after_those_that_had_no_turn() -> None:
    case = JobCase(3, attempts=2)
    order = [case.begun()]
    for item, succeeded in ((0, False), (1, True), (2, True), (0, False)):
        order.append(case.ends(item, succeeded).begun())
    assert order == [[(0, 1)], [(1, 1)], [(2, 1)], [(0, 2)], []]
    assert case.standing() == ["failed", "succeeded", "succeeded"]


def test_between_two_begins_lies_the_pause() -> None:
    case = JobCase(3, at_once=3, pause_s=10)
    assert case.begun() == [(0, 1)]
    assert case.ends(0, seconds=4).begun() == []
    assert case.rings() == after(10)
    assert case.begun() == [(1, 1)]
    assert case.rings() == after(20)
    assert case.begun() == [(2, 1)]


def test_a_timer_that_rings_again_begins_nothing() -> None:
    case = JobCase(3, at_once=3, pause_s=10)
    case.rings()
    assert case.begun() == [(1, 1)]
    case.ring(after(10))
    assert case.new == []


def test_too_many_failures_pause_it_and_a_resume_counts_anew() -> None:
    case = JobCase(6, at_once=2, stop_after=2)
    case.ends(0, False)
    assert case.begun() == [(2, 1)]
    case.ends(1, False)
    assert case.status == "paused"
    [paused] = [event for event in case.new if isinstance(event, JobPaused)]
    assert (paused.by, paused.reason) == ("", "2 items have failed")
    case.ends(2, False)
    assert case.begun() == []
    case.do(RESUME, 5)
    assert case.begun() == [(3, 1), (4, 1)]
    case.ends(3, False)
    assert case.status == "running"


def test_a_paused_job_begins_nothing_until_it_is_resumed() -> None:
    case = JobCase(3)
    case.do(PAUSE)
    assert case.ends(0).begun() == []
    assert case.do(PAUSE).new == []
    case.do(RESUME)
    assert case.begun() == [(1, 1)]
    assert case.do(RESUME).new == []


def test_a_job_whose_items_all_ended_while_it_was_paused_is_over() -> None:
    case = JobCase(1)
    case.do(PAUSE)
    assert case.ends(0).status == "done"


def test_a_cancelled_job_lets_what_is_out_end_and_begins_nothing_more() -> None:
    case = JobCase(4, at_once=2, attempts=3)
    case.do(CANCEL)
    assert case.status == "cancelling"
    assert case.do(CANCEL).new == []
    case.ends(0, False)
    assert (case.status, case.begun()) == ("cancelling", [])
    case.ends(1)
    assert case.status == "cancelled"
    assert case.do(CANCEL).refusal is None
    assert case.job.over


def test_a_job_that_waits_is_cancelled_at_once() -> None:
    case = JobCase(2, at_once=2, wait_until=after(3600))
    case.ends(0, False, unreached=True).ends(1, False, unreached=True)
    case.do(CANCEL)
    assert case.status == "cancelled"


@pytest.mark.parametrize("command", [CANCEL, PAUSE, RESUME, RETRY], ids=lambda one: type(one).__name__)
def test_a_job_that_is_done_is_refused_everything(command: object) -> None:
    case = JobCase(1)
    case.ends(0)
    assert case.do(command).refusal is Refusal.NOT_ALLOWED  # type: ignore[arg-type]


@pytest.mark.parametrize("command", [CANCEL, PAUSE, RESUME, RETRY], ids=lambda one: type(one).__name__)
def test_what_is_said_of_a_job_that_is_not_there_is_refused(command: object) -> None:
    case = JobCase(1)
    case.aggregate, case.history = None, []
    assert case.do(command).refusal is Refusal.UNKNOWN  # type: ignore[arg-type]


def test_what_failed_is_tried_again_with_new_attempts() -> None:
    case = JobCase(2, at_once=2, attempts=2)
    case.ends(0, False).ends(1).ends(0, False)
    assert case.status == "failed"
    case.do(RETRY, 10)
    assert (case.status, case.begun()) == ("running", [(0, 3)])
    assert case.ends(0, False).begun() == [(0, 4)]
    assert case.ends(0).status == "done"


def test_what_was_never_reached_is_tried_again_a_bounded_number_of_times() -> None:
    case = JobCase(1, wait_until=after(3600))
    for attempt in range(1, ATTEMPTS_MOST):
        case.ends(0, False, unreached=True)
        assert case.standing() == ["waiting"]
        case.do(case.reached(0))
        assert case.begun() == [(0, attempt + 1)]
    case.ends(0, False, unreached=True)
    assert case.status == "failed"
    assert case.do(RETRY).new == []


def test_what_is_not_reached_takes_no_place_and_goes_on_once_it_is() -> None:
    case = JobCase(3, wait_until=after(3600))
    assert case.ends(0, False, unreached=True).begun() == [(1, 1)]
    early = case.reached(0, 1)
    case.do(early)
    assert case.standing() == ["pending", "out", "pending"]
    assert case.do(early).new == []
    case.ends(1)
    assert case.begun() == [(2, 1)]
    case.ends(2)
    assert case.begun() == [(0, 2)]
    assert case.do(early).new == []


def test_what_is_not_reached_in_time_has_failed() -> None:
    case = JobCase(3, at_once=3, wait_until=after(60))
    case.ends(0, False, unreached=True).ends(1, False, unreached=True).ends(2)
    assert case.rings() == after(60)
    assert (case.status, case.standing()) == ("failed", ["failed", "failed", "succeeded"])


def test_without_waiting_what_is_not_reached_is_a_failed_try() -> None:
    case = JobCase(1, attempts=2)
    assert case.ends(0, False, unreached=True).begun() == [(0, 2)]
    assert case.ends(0, False, unreached=True).status == "failed"


def test_an_item_of_which_nothing_is_heard_gives_its_place_back() -> None:
    case = JobCase(2)
    assert case.rings() == after(PATIENCE)
    assert (case.standing(), case.begun()) == (["failed", "out"], [(1, 1)])


def test_a_job_that_is_not_done_after_its_days_is_cancelled() -> None:
    case = JobCase(2)
    case.do(PAUSE)
    case.ends(0)
    assert case.rings() == NOON + LONGEST
    assert case.status == "cancelled"


def test_a_job_of_the_most_items_is_small_and_its_decisions_touch_few_of_them() -> None:
    case = JobCase(ITEMS_MOST, at_once=100)
    assert len(msgspec.json.encode(case.job.state)) < 50_000
    case.ends(7)
    assert sum(len(msgspec.json.encode(event)) for event in case.new) < 1_000


@pytest.mark.parametrize(
    "wrong", [{"at_once": 0}, {"at_once": 101}, {"attempts": 0}, {"attempts": 61}], ids=str
)
def test_limits_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    case = JobCase(1)
    case.aggregate, case.history = None, []
    assert case.do(request(1, **wrong)).refusal is Refusal.INVALID


def test_a_job_has_one_to_ten_thousand_items() -> None:
    for count in (0, -1, ITEMS_MOST + 1, 2**62):
        case = JobCase(1)
        case.aggregate, case.history = None, []
        assert case.do(request(count)).refusal is Refusal.INVALID


def test_it_begins_with_the_decision_that_makes_it() -> None:
    assert [type(event) for event in JobCase(1).history] == [JobRequested, JobItemsBegun]
