"""A portion of a job's items: listed once, and each item issued once an attempt."""

from __future__ import annotations

from typing import Any

from commands.base import Refusal
from commands.job_items import ROUTES, IssueItems, ListItems
from domain.job import Attempt
from domain.job_items import AGGREGATE_EVENTS, PORTION, JobItems, JobItemsIssued
from domain.values import JobItem
from tests.commands.decide import NOON, Decide
from tests.commands.job_case import WORK

SECOND: dict[str, Any] = {"tenant": "demo", "job_id": "j1", "listing": "l1", "portion": 1}


def listed() -> Decide:
    command = ListItems(**SECOND, about=("CP-A", "CP-B"), work=WORK)
    return Decide(JobItems, AGGREGATE_EVENTS, ROUTES).do(command)


def issue(*items: tuple[int, int]) -> IssueItems:
    attempts = tuple(Attempt(item=item, attempt=attempt) for item, attempt in items)
    return IssueItems(**SECOND, items=attempts, begun_at=NOON)


def test_items_count_through_the_portions_and_are_issued_with_what_they_are_about() -> None:
    case = listed().do(issue((PORTION, 1), (PORTION + 1, 1)))
    [issued] = case.new
    assert isinstance(issued, JobItemsIssued)
    assert issued.items == (
        JobItem(job_id="j1", listing="l1", item=500, attempt=1, about="CP-A"),
        JobItem(job_id="j1", listing="l1", item=501, attempt=1, about="CP-B"),
    )
    assert (issued.work, issued.begun_at) == (WORK, NOON)


def test_a_portion_stands_in_the_partition_of_its_job() -> None:
    assert issue((PORTION, 1)).group == "job|demo|j1"
    assert issue((PORTION, 1)).aggregate_id == "job_items|demo|l1|1"


def test_each_item_is_issued_once_an_attempt_in_whatever_order_it_is_said_again() -> None:
    case = listed().do(issue((PORTION, 1))).do(issue((PORTION, 2)))
    assert case.do(issue((PORTION, 1))).new == []
    assert case.do(issue((PORTION, 2))).new == []
    [issued] = case.do(issue((PORTION, 2), (PORTION + 1, 1))).new
    assert isinstance(issued, JobItemsIssued)
    assert [one.item for one in issued.items] == [501]


def test_a_portion_is_listed_once() -> None:
    assert listed().do(ListItems(**SECOND, about=("CP-X",), work=WORK)).new == []


def test_what_it_does_not_hold_is_not_issued() -> None:
    assert listed().do(issue((PORTION - 1, 1), (PORTION + 2, 1), (-1, 1), (PORTION, 300))).new == []


def test_a_portion_has_bounds() -> None:
    case = Decide(JobItems, AGGREGATE_EVENTS, ROUTES)
    assert case.do(ListItems(**SECOND, about=(), work=WORK)).refusal is Refusal.INVALID
    many = ("CP",) * (PORTION + 1)
    assert case.do(ListItems(**SECOND, about=many, work=WORK)).refusal is Refusal.INVALID
