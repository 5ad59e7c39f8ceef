"""A predicted composite schedule against what a charge point reported (TC_066)."""

from __future__ import annotations

from decimal import Decimal

from domain.schedules import Comparison, Difference, Purpose, Unit, compare, composite_schedule
from tests.domain.schedules.make import HOUR, at, profile, schedule, stack

DEFAULT = Purpose.TX_DEFAULT
EXPECTED = composite_schedule(
    stack((1, profile(DEFAULT, [(0, 32), (2, 16), (3, 6, 1)]))), 1, at(0), 4 * HOUR, Unit.A
)


def where(comparison: Comparison) -> list[tuple[float, float, str]]:
    return [
        ((d.start - at(0)).total_seconds() / HOUR, (d.end - at(0)).total_seconds() / HOUR, d.why)
        for d in comparison.differences
    ]


def test_the_same_periods_are_equal() -> None:
    assert compare(EXPECTED, at(0), schedule([(0, 32), (2, 16), (3, 6, 1)], hours=4)).equal


def test_other_cuts_of_the_same_limits_are_equal() -> None:
    assert compare(EXPECTED, at(0), schedule([(0, 32), (1, 32), (2, 16, 3), (3, 6, 1), (3.5, 6, 1)])).equal


def test_a_different_limit_is_said_with_place_and_both_values() -> None:
    comparison = compare(EXPECTED, at(0), schedule([(0, 32), (1, 20), (2, 20), (3, 6, 1)], hours=4))
    assert comparison.differences == (
        Difference(
            start=at(1),
            end=at(2),
            why="lower",
            unit=Unit.A,
            expected=Decimal(32),
            reported=Decimal(20),
            text="lower: expected 32 A, phases 3, reported 20 A, phases 3",
        ),
        Difference(
            start=at(2),
            end=at(3),
            why="higher",
            unit=Unit.A,
            expected=Decimal(16),
            reported=Decimal(20),
            text="higher: expected 16 A, phases 3, reported 20 A, phases 3",
        ),
    )
    assert not comparison.equal


def test_other_phases_are_a_difference_in_amperes() -> None:
    assert where(compare(EXPECTED, at(0), schedule([(0, 32), (2, 16), (3, 6)]))) == [(3, 4, "phases")]


def test_a_report_that_is_too_short_or_starts_late_is_said() -> None:
    assert where(compare(EXPECTED, at(0), schedule([(0, 32), (2, 16)], hours=3))) == [(3, 4, "not_reported")]
    late = schedule([(0, 32), (1, 16), (2, 6, 1)])
    assert where(compare(EXPECTED, at(1), late)) == [(0, 1, "not_reported")]


def test_a_report_that_began_earlier_and_goes_on_is_compared_inside_the_window() -> None:
    early = schedule([(0, 10), (1, 32), (3, 16), (4, 6, 1), (9, 1)], hours=20)
    assert compare(EXPECTED, at(-1), early).equal


def test_a_report_in_watts_is_compared_in_watts() -> None:
    in_watts = schedule([(0, 22080), (2, 11040), (3, 1380)], hours=4, unit=Unit.W)
    assert compare(EXPECTED, at(0), in_watts).equal
    assert where(compare(EXPECTED, at(0), in_watts, voltage=Decimal(240)))[0] == (0, 2, "lower")


def test_rounding_to_one_decimal_is_within_the_tolerance() -> None:
    ten_kilowatts = composite_schedule(
        stack((1, profile(DEFAULT, [(0, 10000)], unit=Unit.W))), 1, at(0), HOUR, Unit.W
    )
    assert compare(ten_kilowatts, at(0), schedule([(0, "14.4")])).equal
    assert where(compare(ten_kilowatts, at(0), schedule([(0, "14.4")]), tolerance=Decimal(0))) == [
        (0, 1, "lower")
    ]


def test_the_hardware_limit_stands_where_no_profile_limits() -> None:
    free = composite_schedule(stack((1, profile(DEFAULT, [(0, 16)], hours=1))), 1, at(0), 2 * HOUR, Unit.A)
    reported = schedule([(0, 16), (1, 32)])
    assert where(compare(free, at(0), reported)) == [(1, 2, "not_expected")]
    assert compare(free, at(0), reported, hardware_limit=Decimal(32)).equal


def test_differences_shorter_than_the_slack_are_left_out() -> None:
    three_seconds_late = schedule([(0, 32), (2 + 3 / HOUR, 16), (3, 6, 1)])
    assert len(compare(EXPECTED, at(0), three_seconds_late).differences) == 1
    assert compare(EXPECTED, at(0), three_seconds_late, slack=5).equal
