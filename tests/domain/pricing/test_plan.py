"""A charge that is only meant: two of energy, power and time say the third, and it is priced as one that happened."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.pricing import Plan, PricingError, planned_usage, price
from tests.domain.pricing import worked_tariffs as t
from tests.domain.pricing.charges import BERLIN, MONDAY, charge, local
from tests.domain.pricing.worked_tariffs import tariff

TEN = local(MONDAY, "10:00")
HOUR = dt.timedelta(hours=1)


def test_two_of_energy_power_and_time_say_the_third() -> None:
    by_power = Plan(start=TEN, energy_wh=Decimal(22_000), power_w=Decimal(11_000))
    by_time = Plan(start=TEN, energy_wh=Decimal(22_000), charging=2 * HOUR)
    by_both = Plan(start=TEN, power_w=Decimal(11_000), charging=2 * HOUR)

    assert planned_usage(by_power) == planned_usage(by_time) == planned_usage(by_both)


def test_it_costs_what_the_same_charge_costs_that_happened() -> None:
    """20 kWh in an hour and half an hour of parking, by the tariffs of the worked examples."""
    plan = Plan(start=TEN, energy_wh=Decimal(20_000), charging=HOUR, parking=HOUR / 2)
    for one in (t.TARIFF_1, t.TARIFF_2):
        meant, happened = (
            price(planned_usage(plan), one, BERLIN),
            price(charge(kwh="20", parked=30), one, BERLIN),
        )
        assert meant.total == happened.total


def test_the_voltage_of_the_connector_tells_the_current_by_which_a_price_may_hold() -> None:
    """11,040 W at 230 V are 48 A, summed over the phases."""
    by_current = tariff("(1) ENERGY 1 step 1 [min_current 48]; (2) ENERGY 0.5 step 1")
    plan = Plan(start=TEN, power_w=Decimal(11_040), charging=HOUR, voltage=230)

    assert price(planned_usage(plan), by_current, BERLIN).before == Decimal("11.04")
    without = Plan(start=TEN, power_w=Decimal(11_040), charging=HOUR)
    assert price(planned_usage(without), by_current, BERLIN).before == Decimal("5.52")


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan(start=TEN, energy_wh=Decimal(1)), "say two"),
        (Plan(start=TEN, energy_wh=Decimal(1), power_w=Decimal(1), charging=HOUR), "say two"),
        (Plan(start=TEN, energy_wh=Decimal(1), power_w=Decimal(0)), "power must be above 0"),
        (Plan(start=TEN, energy_wh=Decimal(1), charging=dt.timedelta()), "charging time must be above 0"),
        (Plan(start=TEN, energy_wh=Decimal(1000), power_w=Decimal(1)), "longer than 30 days"),
        (
            Plan(start=TEN, energy_wh=Decimal(1), charging=HOUR, parking=dt.timedelta(days=30)),
            "longer than 30 days",
        ),
    ],
)
def test_what_cannot_be_told_or_lasts_too_long_is_refused(plan: Plan, says: str) -> None:
    with pytest.raises(PricingError, match=says):
        planned_usage(plan)


@given(
    energy=st.integers(1, 1_000_000),
    power=st.integers(1, 1_000_000),
    parking=st.integers(0, 86_400),
)
def test_whatever_is_meant_the_energy_is_what_was_said(energy: int, power: int, parking: int) -> None:
    plan = Plan(
        start=TEN,
        energy_wh=Decimal(energy),
        power_w=Decimal(power),
        parking=dt.timedelta(seconds=parking),
    )
    try:
        usage = planned_usage(plan)
    except PricingError:
        assert energy * 3600 / power > 29 * 86_400
        return
    cost = price(usage, tariff("(1) ENERGY 1 step 1 + PARKING_TIME 3600 step 1"), BERLIN)
    assert sum(period.energy_wh for period in cost.periods) == energy
    assert cost.parking.before == parking
