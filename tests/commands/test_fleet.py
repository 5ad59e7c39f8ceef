"""Each charge point is counted once, whatever is told again, late or in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from commands.base import Command, Meta
from commands.fleet import ROUTES, CountChargePoint
from commands.processes import POLICIES
from commands.tenant import CountPart
from domain.aggregate import Event
from domain.charge_point import ChargePointChanged, ChargePointRegistered, ChargePointRemoved
from domain.fleet import AGGREGATE_EVENTS, PARTS, Counts, Fleet, Member, part_of
from domain.values import Site
from tests.commands.decide import NOON, Decide

SITE = Site(id="LOC1", time_zone="UTC")


def count(id: str, version: int, registered: bool = True, automatic: bool = False) -> CountChargePoint:
    member = Member(version=version, registered=registered, automatic=automatic)
    return CountChargePoint(tenant="demo", charge_point_id=id, member=member)


def case() -> Decide:
    return Decide(Fleet, AGGREGATE_EVENTS, ROUTES)


def counts(part: Decide) -> Counts:
    assert part.aggregate is not None
    return part.aggregate.state.counts  # type: ignore[no-any-return]


def test_a_charge_point_that_is_registered_is_one_more_and_a_removed_one_is_none() -> None:
    part = case().do(count("CP-1", 1, automatic=True))
    assert counts(part) == Counts(charge_points=1, automatic=1)
    part.do(count("CP-1", 5))
    assert counts(part) == Counts(charge_points=1, automatic=0)
    part.do(count("CP-1", 9, registered=False))
    assert counts(part) == Counts()
    part.do(count("CP-1", 11))
    assert counts(part) == Counts(charge_points=1)


def test_a_fact_that_is_told_again_counts_nothing_however_late() -> None:
    part = case().do(count("CP-1", 1)).do(count("CP-1", 4, registered=False))
    assert part.do(count("CP-1", 1)).new == []
    assert part.do(count("CP-1", 4, registered=False)).new == []
    assert counts(part) == Counts()


FACTS = [
    ("CP-1", 1, True, True),
    ("CP-1", 4, True, False),
    ("CP-1", 7, False, False),
    ("CP-2", 1, True, True),
    ("CP-3", 1, True, False),
    ("CP-3", 2, False, False),
    ("CP-3", 3, True, True),
]


@given(st.lists(st.sampled_from(FACTS), max_size=20), st.permutations(FACTS))
def test_any_order_and_any_repeats_come_to_the_truth(
    repeats: Sequence[tuple[str, int, bool, bool]], every: Sequence[tuple[str, int, bool, bool]]
) -> None:
    part = case()
    for id, version, registered, automatic in [*repeats, *every]:
        part.do(count(id, version, registered, automatic))
    assert counts(part) == Counts(charge_points=2, automatic=2), "CP-2 and CP-3 are left"


def test_a_part_is_of_one_number_for_ever() -> None:
    """The check value of CRC-32 (ISO 3309) is 0xCBF43926."""
    assert (PARTS, part_of("123456789")) == (64, 0xCBF43926 % 64)


def follow(event: Event) -> Sequence[Command]:
    ((_, policy),) = [one for one in POLICIES[type(event)] if one[0] == "fleet"]
    return policy(event, Meta(command_id="c", at=NOON, tenant="demo"))


def of(event: type[Event], version: int, **values: Any) -> Event:
    return event(originator_id="charge_point|demo|CP|1", originator_version=version, timestamp=NOON, **values)


def test_what_becomes_of_a_charge_point_is_counted() -> None:
    made = of(ChargePointRegistered, 1, tenant="demo", charge_point_id="CP|1", site=SITE, automatic=True)
    assert follow(made) == (count("CP|1", 1, automatic=True),)
    assert follow(of(ChargePointChanged, 2, site=SITE)) == ()
    assert follow(of(ChargePointChanged, 3, site=SITE, taken_over=True)) == (count("CP|1", 3),)
    assert follow(of(ChargePointRemoved, 4)) == (count("CP|1", 4, registered=False),)


def test_a_part_tells_the_tenant_what_it_has() -> None:
    (event,) = case().do(count("CP-1", 1, automatic=True)).new
    (command,) = follow(event)
    one = Counts(charge_points=1, automatic=1)
    assert command == CountPart(tenant="demo", part=part_of("CP-1"), version=1, counts=one)
