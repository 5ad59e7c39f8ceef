"""Every worked example of OCPI's Tariffs chapter, by the number of its row in the facts; exact, nothing rounded.

Where the standard's own text is wrong (11, 12b) or contested (20), the number is the one that its rules give.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from domain.pricing import Period, build_periods, price
from tests.domain.pricing import worked_tariffs as t
from tests.domain.pricing.charges import (
    BERLIN,
    FOURTEEN_1,
    FOURTEEN_2,
    FOURTEEN_3,
    MONDAY,
    VECTORS,
    Vector,
    charge,
    local,
)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_a_worked_example_costs_exactly_what_its_rules_give(vector: Vector) -> None:
    cost = price(vector.usage, vector.tariff, BERLIN)

    assert (cost.before, cost.after) == (_decimal(vector.before), _decimal(vector.after))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_the_periods_of_a_worked_example_cost_what_its_usage_costs(vector: Vector) -> None:
    periods = build_periods(vector.usage, vector.tariff, BERLIN)

    cost = price(periods, vector.tariff, BERLIN)

    assert cost.total == price(vector.usage, vector.tariff, BERLIN).total


def test_vector_8_the_split_is_unknown_and_flagged() -> None:
    cost = price(charge(minutes=150), t.TARIFF_20, BERLIN)

    assert not cost.total.split_known
    assert cost.total.taxes is None
    assert any("split is unknown" in warning for warning in cost.warnings)
    assert cost.total.as_price().before_taxes == Decimal("5.25")


def test_vector_21_from_the_standards_own_periods_with_the_highest_power() -> None:
    begin = local(MONDAY, "10:00")
    periods = [
        Period(
            start=begin + dt.timedelta(minutes=20 * index),
            end=begin + dt.timedelta(minutes=20 * (index + 1)),
            energy_wh=Decimal(wh),
            charging_s=Decimal(1200),
            min_power_kw=Decimal(kw),
            max_power_kw=Decimal(kw),
        )
        for index, (wh, kw) in enumerate([(1000, 6), (40000, 48), (500, 4)])
    ]

    assert price(periods, t.MAX_POWER, BERLIN).before == Decimal("20.3")


def test_vector_12a_the_parts_add_up() -> None:
    cost = price(charge(start=local(MONDAY, "09:30"), minutes=165, parked=42, amps=16), t.TARIFF_4, BERLIN)

    assert cost.fixed.before == Decimal("2.5")
    assert cost.time.before == Decimal("2.75")
    assert cost.parking.before == Decimal("3.75")
    assert cost.total.taxes is not None
    assert [(tax.percentage, tax.amount) for tax in cost.total.taxes] == [
        (Decimal(10), Decimal("0.375")),
        (Decimal(15), Decimal("0.375")),
        (Decimal(20), Decimal("0.55")),
    ]


def test_vector_18_a_period_begins_where_the_clock_changes_the_price() -> None:
    periods = build_periods(FOURTEEN_1, t.TARIFF_14, BERLIN)

    assert [(p.start, p.charging_s, p.parking_s) for p in periods] == [
        (local(MONDAY, "16:55"), Decimal(300), Decimal(0)),
        (local(MONDAY, "17:00"), Decimal(300), Decimal(0)),
        (local(MONDAY, "17:05"), Decimal(0), Decimal(120)),
    ]


def test_vector_19_the_rounding_is_billed_in_the_last_period_with_the_last_price() -> None:
    first, second = price(FOURTEEN_2, t.TARIFF_14, BERLIN).lines

    assert (first.quantity, first.billed_quantity, first.before) == (
        Decimal(1500),
        Decimal(1500),
        Decimal("0.5"),
    )
    assert (second.quantity, second.billed_quantity, second.before) == (
        Decimal(600),
        Decimal(1200),
        Decimal("0.8"),
    )
    assert second.step_total == 2700


def test_vector_20_parking_after_20_o_clock_is_free_and_not_rounded() -> None:
    cost = price(FOURTEEN_3, t.TARIFF_14, BERLIN)

    assert cost.time.before == Decimal("0.48")
    assert cost.parking.before == Decimal("0.25")
