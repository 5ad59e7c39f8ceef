"""Periods as OCPI writes them, and back."""

from __future__ import annotations

from decimal import Decimal

import pytest

from domain.pricing import CdrDimension, ChargingPeriod, Period, charging_period, read_periods
from domain.pricing.charging_period import hours
from tests.domain.pricing.charges import MONDAY, local


def read(*dimensions: tuple[str, str], minutes: int = 10) -> Period:
    """One period of a CDR that is so long."""
    written = ChargingPeriod(
        local(MONDAY, "10:00"), tuple(CdrDimension(name, Decimal(volume)) for name, volume in dimensions)
    )
    (period,) = read_periods([written], local(MONDAY, f"10:{minutes:02}"))
    return period


def test_a_period_comes_back_as_it_was_written() -> None:
    period = Period(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "10:07:01"),
        energy_wh=Decimal("1234.5"),
        charging_s=Decimal(421),
        min_power_kw=Decimal(3),
        max_power_kw=Decimal("22.1"),
        min_current_a=Decimal(6),
        max_current_a=Decimal(32),
        tariff_id="T1",
    )

    assert read_periods([charging_period(period)], period.end) == (period,)


def test_hours_have_four_decimals() -> None:
    period = Period(start=local(MONDAY, "10:00"), end=local(MONDAY, "10:10"), parking_s=Decimal(600))

    assert charging_period(period).dimensions == (CdrDimension("PARKING_TIME", Decimal("0.1667")),)


def test_every_second_of_a_day_comes_back_from_four_decimals() -> None:
    for seconds in range(86_401):
        written = hours(Decimal(seconds))
        assert int(written.as_tuple().exponent) >= -4 or written == 0
        assert round(written * 3600) == seconds


@pytest.mark.parametrize("volume", ["0.1667", "0.167", "0.17", "0.166667"])
def test_rule_11_hours_that_say_what_the_timestamps_say_are_their_seconds(volume: str) -> None:
    assert read(("TIME", volume)).charging_s == 600


@pytest.mark.parametrize(("volume", "seconds"), [("0.1", 360), ("0.1667", 600), ("0.5", 1800)])
def test_rule_11_other_hours_are_the_nearest_second(volume: str, seconds: int) -> None:
    assert read(("TIME", volume), minutes=25).charging_s == seconds


def test_a_period_may_have_charging_and_parking() -> None:
    period = read(("TIME", "0.0833"), ("PARKING_TIME", "0.0834"), ("ENERGY", "1.5"))

    assert (period.charging_s, period.parking_s, period.energy_wh) == (
        Decimal(300),
        Decimal(300),
        Decimal(1500),
    )


def test_one_of_lowest_and_highest_stands_for_both_and_other_dimensions_are_left_out() -> None:
    period = read(("TIME", "0.1667"), ("MAX_POWER", "11"), ("MIN_CURRENT", "6"), ("X_LIGHT", "7"))

    assert (period.min_power_kw, period.max_power_kw) == (Decimal(11), Decimal(11))
    assert (period.min_current_a, period.max_current_a) == (Decimal(6), Decimal(6))


def test_a_cdr_without_periods_has_none() -> None:
    assert read_periods([], local(MONDAY, "10:00")) == ()
