"""Worked composite schedules (facts of OCPP 1.6 smart charging; TC_056, TC_057, TC_066) on connector 1, in A.

Every case: profiles by connector, the window in hours from Monday 00:00 UTC, and what holds in it as
(hours after the window's start, limit), None where nothing limits.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple

import pytest

from domain.schedules import (
    ChargingProfile,
    CompositePeriod,
    InForce,
    Installed,
    ProfileStack,
    Purpose,
    Recurrence,
    Transaction,
    Unit,
    composite_schedule,
    in_force,
    with_site_limits,
)
from tests.domain.schedules.make import HOUR, at, profile, running, schedule, shown, stack

MAX, DEFAULT, TX = Purpose.CHARGE_POINT_MAX, Purpose.TX_DEFAULT, Purpose.TX
DAILY, WEEKLY = Recurrence.DAILY, Recurrence.WEEKLY


class Case(NamedTuple):
    name: str
    profiles: list[tuple[int, ChargingProfile]]
    window: tuple[float, float]
    expected: list[tuple[float, float | None]]
    transaction: Transaction | None = None
    connector: int = 1


CASES = [
    Case("no profile: nothing limits", [], (0, 4), [(0, None)]),
    Case("one default without end", [(0, profile(DEFAULT, [(0, 16)]))], (5, 4), [(0, 16)]),
    Case(
        "steps of one schedule",
        [(1, profile(DEFAULT, [(0, 32), (2, 16), (3, 6)]))],
        (0, 4),
        [(0, 32), (2, 16), (3, 6)],
    ),
    Case(
        "window begins inside a step",
        [(1, profile(DEFAULT, [(0, 32), (2, 16), (3, 6)]))],
        (2.5, 4),
        [(0, 16), (0.5, 6)],
    ),
    Case(
        "before its start it does not limit",
        [(1, profile(DEFAULT, [(0, 10)], start=2))],
        (0, 4),
        [(0, None), (2, 10)],
    ),
    Case(
        "after its duration it does not limit",
        [(1, profile(DEFAULT, [(0, 10)], hours=2))],
        (0, 4),
        [(0, 10), (2, None)],
    ),
    Case(
        "no duration: the last limit holds",
        [(1, profile(DEFAULT, [(0, 10), (1, 8)]))],
        (0, 1000),
        [(0, 10), (1, 8)],
    ),
    Case(
        "duration longer than the steps: the last limit holds until its end",
        [(1, profile(DEFAULT, [(0, 10), (1, 8)], hours=5))],
        (0, 6),
        [(0, 10), (1, 8), (5, None)],
    ),
    Case(
        "duration shorter than the steps: the rest is ignored",
        [(1, profile(DEFAULT, [(0, 10), (1, 8), (3, 6)], hours=2))],
        (0, 4),
        [(0, 10), (1, 8), (2, None)],
    ),
    Case(
        "the higher stack level speaks",
        [(1, profile(DEFAULT, [(0, 32)], level=0)), (1, profile(DEFAULT, [(0, 10)], level=3, number=2))],
        (0, 2),
        [(0, 10)],
    ),
    Case(
        "the higher stack level speaks although its limit is larger",
        [(1, profile(DEFAULT, [(0, 6)], level=0)), (1, profile(DEFAULT, [(0, 32)], level=1, number=2))],
        (0, 2),
        [(0, 32)],
    ),
    Case(
        "a gap of the higher level falls back to the lower one",
        [
            (1, profile(DEFAULT, [(0, 16)], level=0)),
            (1, profile(DEFAULT, [(0, 6)], level=1, number=2, start=1, hours=1)),
        ],
        (0, 4),
        [(0, 16), (1, 6), (2, 16)],
    ),
    Case(
        "a highest level without duration never falls back",
        [
            (1, profile(DEFAULT, [(0, 16)], level=0)),
            (1, profile(DEFAULT, [(0, 6), (1, 8)], level=1, number=2, start=1)),
        ],
        (0, 48),
        [(0, 16), (1, 6), (2, 8)],
    ),
    Case(
        "three levels with gaps",
        [
            (1, profile(DEFAULT, [(0, 30)], level=0)),
            (1, profile(DEFAULT, [(0, 20)], level=1, number=2, start=1, hours=4)),
            (1, profile(DEFAULT, [(0, 10)], level=2, number=3, start=2, hours=1)),
        ],
        (0, 6),
        [(0, 30), (1, 20), (2, 10), (3, 20), (5, 30)],
    ),
    Case(
        "valid_from inclusive, valid_to exclusive",
        [(1, profile(DEFAULT, [(0, 10)], valid=(1, 3)))],
        (0, 4),
        [(0, None), (1, 10), (3, None)],
    ),
    Case(
        "an invalid higher level leaves the word to the lower one",
        [
            (1, profile(DEFAULT, [(0, 16)])),
            (1, profile(DEFAULT, [(0, 6)], level=5, number=2, valid=(None, 1))),
        ],
        (0, 2),
        [(0, 6), (1, 16)],
    ),
    Case(
        "validity does not move the schedule's start",
        [(1, profile(DEFAULT, [(0, 10), (2, 8), (3, 6)], valid=(2.5, None)))],
        (0, 4),
        [(0, None), (2.5, 8), (3, 6)],
    ),
    Case(
        "the smaller of default and charge point maximum",
        [(0, profile(MAX, [(0, 20)])), (1, profile(DEFAULT, [(0, 32), (1, 10)], number=2))],
        (0, 2),
        [(0, 20), (1, 10)],
    ),
    Case(
        "the maximum alone limits a connector",
        [(0, profile(MAX, [(0, 20), (1, 10)], hours=2))],
        (0, 3),
        [(0, 20), (1, 10), (2, None)],
    ),
    Case(
        "the maximum has its own stack",
        [
            (0, profile(MAX, [(0, 20)])),
            (0, profile(MAX, [(0, 40)], level=1, number=2, start=1, hours=1)),
            (1, profile(DEFAULT, [(0, 32)], number=3, level=9)),
        ],
        (0, 3),
        [(0, 20), (1, 32), (2, 20)],
    ),
    Case(
        "a default of connector 0 applies to connector 1",
        [(0, profile(DEFAULT, [(0, 16)]))],
        (0, 1),
        [(0, 16)],
    ),
    Case(
        "a default of the connector overrides that of connector 0 even at a lower level",
        [(0, profile(DEFAULT, [(0, 16)], level=5)), (1, profile(DEFAULT, [(0, 24)], number=2, hours=1))],
        (0, 2),
        [(0, 24), (1, 16)],
    ),
    Case(
        "a default of another connector does not apply",
        [(2, profile(DEFAULT, [(0, 6)])), (0, profile(DEFAULT, [(0, 16)], number=2))],
        (0, 1),
        [(0, 16)],
    ),
    Case(
        "TxProfile stands before TxDefaultProfile whatever the level",
        [(1, profile(DEFAULT, [(0, 6)], level=9)), (1, profile(TX, [(0, 25)], number=2, transaction_id=7))],
        (0, 1),
        [(0, 25)],
        running(0),
    ),
    Case(
        "where the TxProfile has no limit the default speaks",
        [
            (1, profile(DEFAULT, [(0, 6)])),
            (1, profile(TX, [(0, 25)], number=2, transaction_id=7, start=1, hours=1)),
        ],
        (0, 3),
        [(0, 6), (1, 25), (2, 6)],
        running(0),
    ),
    Case(
        "a TxProfile of another transaction is silent",
        [(1, profile(DEFAULT, [(0, 6)])), (1, profile(TX, [(0, 25)], number=2, transaction_id=8))],
        (0, 1),
        [(0, 6)],
        running(0),
    ),
    Case(
        "a TxProfile without a transaction is silent",
        [(1, profile(TX, [(0, 25)], transaction_id=7))],
        (0, 1),
        [(0, None)],
    ),
    Case(
        "a TxProfile given with the remote start belongs to what runs",
        [(1, profile(TX, [(0, 25)]))],
        (0, 1),
        [(0, 25)],
        running(0),
    ),
    Case(
        "TxProfile and maximum: the smaller at every instant",
        [
            (0, profile(MAX, [(0, 32), (2, 12)])),
            (1, profile(TX, [(0, 10), (1, 20)], number=2, transaction_id=7)),
        ],
        (0, 3),
        [(0, 10), (1, 20), (2, 12)],
        running(0),
    ),
    Case(
        "relative starts with the transaction",
        [(1, profile(TX, [(0, 32), (1, 16), (2, 8)], relative=True, transaction_id=7))],
        (10, 3),
        [(0, 32), (0.5, 16), (1.5, 8)],
        running(9.5),
    ),
    Case(
        "relative ends with its duration after the transaction's start",
        [
            (1, profile(DEFAULT, [(0, 6)])),
            (1, profile(TX, [(0, 32)], relative=True, hours=1, number=2)),
        ],
        (10, 3),
        [(0, 32), (0.5, 6)],
        running(9.5),
    ),
    Case(
        "a relative default needs a transaction, the next level speaks without one",
        [
            (0, profile(DEFAULT, [(0, 13)], level=0)),
            (0, profile(DEFAULT, [(0, 32)], level=1, number=2, relative=True)),
        ],
        (0, 1),
        [(0, 13)],
    ),
    Case(
        "a relative default applies to a running transaction",
        [(0, profile(DEFAULT, [(0, 32), (1, 8)], relative=True))],
        (5, 2),
        [(0, 32), (0.25, 8)],
        running(4.25),
    ),
    Case(
        "an absolute schedule without start counts from the transaction",
        [(1, profile(DEFAULT, [(0, 32), (1, 8)], start=None))],
        (5, 2),
        [(0, 32), (0.25, 8)],
        running(4.25),
    ),
    Case(
        "a transaction that begins inside the window",
        [
            (1, profile(DEFAULT, [(0, 6)])),
            (1, profile(DEFAULT, [(0, 32)], level=1, number=2, relative=True, hours=2)),
        ],
        (0, 5),
        [(0, 6), (1, 32), (3, 6)],
        running(1),
    ),
    Case(
        "daily across midnight",
        [(0, profile(DEFAULT, [(0, 32), (8, 10)], start=22, every=DAILY))],
        (40, 40),
        [(0, 10), (6, 32), (14, 10), (30, 32), (38, 10)],
    ),
    Case(
        "daily with a duration falls back to the lower level",
        [
            (0, profile(DEFAULT, [(0, 10)])),
            (0, profile(DEFAULT, [(0, 32)], level=1, number=2, start=22, hours=8, every=DAILY)),
        ],
        (20, 26),
        [(0, 10), (2, 32), (10, 10)],
    ),
    Case(
        "daily with a duration and no lower level: no limit between",
        [(0, profile(DEFAULT, [(0, 16)], start=7, hours=2, every=DAILY))],
        (30, 6),
        [(0, None), (1, 16), (3, None)],
    ),
    Case(
        "daily does not begin before its first start",
        [(0, profile(DEFAULT, [(0, 16)], start=30, hours=2, every=DAILY))],
        (0, 60),
        [(0, None), (30, 16), (32, None), (54, 16), (56, None)],
    ),
    Case(
        "daily with a duration beyond a day is cut by the next one",
        [(0, profile(DEFAULT, [(0, 10), (23, 20), (25, 30)], start=0, hours=30, every=DAILY))],
        (20, 8),
        [(0, 10), (3, 20), (4, 10)],
    ),
    Case(
        "daily without duration repeats for ever",
        [(0, profile(DEFAULT, [(0, 10), (12, 20)], start=0, every=DAILY))],
        (24 * 400, 24),
        [(0, 10), (12, 20)],
    ),
    Case(
        "daily within its validity",
        [(0, profile(DEFAULT, [(0, 10)], start=0, hours=6, every=DAILY, valid=(3, 27)))],
        (0, 48),
        [(0, None), (3, 10), (6, None), (24, 10), (27, None)],
    ),
    Case(
        "weekly across the week's end",
        [(0, profile(DEFAULT, [(0, 6), (24, 16)], start=6 * 24 + 12, hours=36, every=WEEKLY))],
        (13 * 24, 72),
        [(0, None), (12, 6), (36, 16), (48, None)],
    ),
    Case(
        "weekly above daily",
        [
            (0, profile(DEFAULT, [(0, 10), (8, 20)], start=0, every=DAILY)),
            (0, profile(DEFAULT, [(0, 32)], level=1, number=2, start=5 * 24, hours=24, every=WEEKLY)),
        ],
        (12 * 24 - 4, 32),
        [(0, 20), (4, 32), (28, 10)],
    ),
    Case(
        "equal neighbours are one period",
        [
            (1, profile(DEFAULT, [(0, 16), (1, 16)], hours=2)),
            (0, profile(DEFAULT, [(0, 16)], number=2)),
        ],
        (0, 4),
        [(0, 16)],
    ),
    Case(
        "connector 0 is the grid connection: the maximum alone",
        [(0, profile(MAX, [(0, 60)])), (0, profile(DEFAULT, [(0, 6)], number=2))],
        (0, 1),
        [(0, 60)],
        connector=0,
    ),
    Case(
        "a limit of zero is a limit",
        [(1, profile(DEFAULT, [(0, 0), (1, 16)])), (0, profile(MAX, [(0, 32)], number=2))],
        (0, 2),
        [(0, 0), (1, 16)],
    ),
    Case(
        "a schedule that is over long before the window",
        [(1, profile(DEFAULT, [(0, 6)], start=-200, hours=3))],
        (0, 2),
        [(0, None)],
    ),
    Case("an empty window has no period", [(1, profile(DEFAULT, [(0, 6)]))], (0, 0), []),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_composite_schedule(case: Case) -> None:
    composite = composite_schedule(
        stack(*case.profiles),
        case.connector,
        at(case.window[0]),
        int(case.window[1] * HOUR),
        Unit.A,
        transaction=case.transaction,
    )
    assert shown(composite) == case.expected
    assert composite.schedule_start == at(case.window[0])
    assert composite.duration == case.window[1] * HOUR


def test_the_worked_cases_are_at_least_thirty_with_different_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 30


def test_watts_become_amperes_by_phases_and_volts() -> None:
    held = stack((1, profile(DEFAULT, [(0, 11040), (1, 3680, 1)], unit=Unit.W)))
    in_amperes = composite_schedule(held, 1, at(0), 2 * HOUR, Unit.A)
    assert in_amperes.charging_schedule_period == (
        CompositePeriod(start_period=0, limit=Decimal(16)),
        CompositePeriod(start_period=HOUR, limit=Decimal(16), number_phases=1),
    )
    at_240 = composite_schedule(held, 1, at(1), HOUR, Unit.A, voltage=Decimal(240))
    assert at_240.charging_schedule_period[0].limit == Decimal(3680) / Decimal(240)


def test_amperes_become_watts_with_three_phases_when_none_are_named() -> None:
    held = stack((1, profile(DEFAULT, [(0, 16), (1, 16, 1), (2, 16, 2)])))
    assert shown(composite_schedule(held, 1, at(0), 3 * HOUR, Unit.W)) == [(0, 11040), (1, 3680), (2, 7360)]


def test_limits_in_both_units_are_compared_in_the_requested_one() -> None:
    held = stack(
        (0, profile(MAX, [(0, 6900)], unit=Unit.W)),
        (1, profile(DEFAULT, [(0, 16), (1, 8)], number=2)),
    )
    assert shown(composite_schedule(held, 1, at(0), 2 * HOUR, Unit.A)) == [(0, 10), (1, 8)]
    assert shown(composite_schedule(held, 1, at(0), 2 * HOUR, Unit.W)) == [(0, 6900), (1, 5520)]


def test_more_phases_than_in_use_leave_the_limit_as_it_is() -> None:
    held = stack((1, profile(DEFAULT, [(0, 16, 3)])))
    (period,) = composite_schedule(held, 1, at(0), HOUR, Unit.A).charging_schedule_period
    assert (period.limit, period.number_phases) == (Decimal(16), 3)


def test_offsets_and_daylight_saving_do_not_matter_since_all_is_utc() -> None:
    summer = timezone(timedelta(hours=2))
    begins = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
    one = profile(DEFAULT, [(0, 10), (12, 20)], every=DAILY)
    held = stack((0, one))
    window = begins.astimezone(summer)
    assert shown(composite_schedule(held, 1, window, 24 * HOUR, Unit.A)) == [(0, 20), (1, 10), (13, 20)]


def test_fractions_of_a_second_are_cut_off() -> None:
    held = stack((1, profile(DEFAULT, [(0, 10), (1, 20)])))
    composite = composite_schedule(held, 1, at(0) + timedelta(milliseconds=900), 2 * HOUR, Unit.A)
    assert (composite.schedule_start, shown(composite)) == (at(0), [(0, 10), (1, 20)])


def test_who_is_in_force_is_named() -> None:
    low = profile(DEFAULT, [(0, 16)])
    high = profile(DEFAULT, [(0, 6)], level=1, number=2, hours=1)
    top = profile(MAX, [(0, 32)], number=3)
    held = stack((0, low), (1, high), (0, top))
    assert in_force(held, 1, at(0.5)) == InForce(Installed(1, high), Installed(0, top))
    assert in_force(held, 1, at(1)) == InForce(Installed(0, low), Installed(0, top))
    assert in_force(ProfileStack(), 1, at(1)) == InForce()


def test_site_limits_cut_the_composite_schedule() -> None:
    held = stack((1, profile(DEFAULT, [(0, 32), (2, 10)], hours=4)))
    composite = composite_schedule(held, 1, at(0), 6 * HOUR, Unit.A)
    evening = schedule([(0, 16)], start=1, hours=2)
    grid = schedule([(0, 13800)], start=5, unit=Unit.W)
    assert shown(with_site_limits(composite, [evening, grid])) == [
        (0, 32),
        (1, 16),
        (2, 10),
        (4, None),
        (5, 20),
    ]
    assert with_site_limits(composite, []) == composite


def test_a_site_limit_without_start_begins_with_the_window() -> None:
    composite = composite_schedule(ProfileStack(), 1, at(3), 2 * HOUR, Unit.A)
    assert shown(with_site_limits(composite, [schedule([(0, 8), (1, 9)], start=None)])) == [(0, 8), (1, 9)]
