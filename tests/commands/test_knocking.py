"""Reports of refused handshakes."""

from __future__ import annotations

import pytest

from commands.base import Accepted, Refusal
from commands.knocking import MOST_KNOCKS, ROUTES, ReportKnocks
from domain.knocking import AGGREGATE_EVENTS, HandshakesRefused, Knock, Knocking
from tests.commands.decide import NOON, Decide


def knocks(count: int) -> tuple[Knock, ...]:
    return tuple(
        Knock(id=f"CP-{n}", reason="unknown", address="192.0.2.7", count=1, first=NOON, last=NOON)
        for n in range(count)
    )


def case() -> Decide:
    return Decide(Knocking, AGGREGATE_EVENTS, ROUTES)


@pytest.mark.parametrize("tenant", ["demo", ""])
def test_a_report_is_a_fact_of_its_tenant_or_of_the_platform(tenant: str) -> None:
    (event,) = case().do(ReportKnocks(tenant=tenant, knocks=knocks(2), left_out=3)).new
    assert isinstance(event, HandshakesRefused)
    assert (event.originator_id, event.knocks, event.left_out) == (f"knocking|{tenant}", knocks(2), 3)


def test_a_report_has_its_bound_and_an_empty_one_is_none() -> None:
    assert case().do(ReportKnocks(tenant="demo", knocks=knocks(MOST_KNOCKS))).outcome == Accepted()
    assert case().do(ReportKnocks(tenant="demo", knocks=knocks(MOST_KNOCKS + 1))).refusal is Refusal.INVALID
    assert case().do(ReportKnocks(tenant="demo", knocks=())).new == []
