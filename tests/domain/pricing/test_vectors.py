"""Every worked example of OCPI's Tariffs chapter, by the number of its row in the facts; exact, nothing rounded.

Where the standard's own text is wrong (11, 12b) or contested (20), the number is the one that its rules give.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import NamedTuple

import pytest

from domain.pricing import Interval, Period, Sample, Tariff, Usage, build_periods, price
from tests.domain.pricing import worked_tariffs as t

BERLIN = "Europe/Berlin"
MONDAY, SATURDAY = dt.date(2024, 6, 3), dt.date(2024, 6, 8)


def local(day: dt.date, clock: str) -> dt.datetime:
    """A moment by Berlin's summer clock."""
    return dt.datetime.combine(day, dt.time.fromisoformat(clock), dt.timezone(dt.timedelta(hours=2)))


def charge(
    *,
    kwh: str = "0",
    minutes: int = 60,
    parked: int = 0,
    start: dt.datetime | None = None,
    amps: int | None = None,
    reserved: int = 0,
    expired: bool = False,
) -> Usage:
    """A charge of so many minutes, then so many parked, after so many reserved."""
    begin = start or local(MONDAY, "10:00")
    full = begin + dt.timedelta(minutes=minutes)
    end = full + dt.timedelta(minutes=parked)
    return Usage(
        start=begin,
        end=end,
        samples=(Sample(begin, 0, current_a=amps),),
        parking=(Interval(full, end),),
        meter_stop_wh=Decimal(kwh) * 1000,
        reservation=Interval(begin - dt.timedelta(minutes=reserved), begin) if reserved else None,
        reservation_expired=expired,
    )


class Vector(NamedTuple):
    name: str
    tariff: Tariff
    usage: Usage
    before: str | None
    after: str | None


THREE_POWERS = Usage(
    start=local(MONDAY, "10:00"),
    end=local(MONDAY, "11:07"),
    samples=(
        Sample(local(MONDAY, "10:00"), 0, power_w=6000),
        Sample(local(MONDAY, "10:10"), 1000, power_w=48000),
        Sample(local(MONDAY, "11:00"), 41000, power_w=4000),
    ),
    meter_stop_wh=41500,
)
FORTY_MINUTES = Usage(
    start=local(MONDAY, "10:00"),
    end=local(MONDAY, "10:40"),
    samples=(Sample(local(MONDAY, "10:30"), 5000),),
    meter_stop_wh=6200,
)
FOURTEEN_1 = charge(start=local(MONDAY, "16:55"), minutes=10, parked=2)
FOURTEEN_2 = charge(start=local(MONDAY, "16:35"), minutes=35)
FOURTEEN_3 = charge(start=local(MONDAY, "19:40"), minutes=12, parked=20)

VECTORS = [
    Vector("1", t.TARIFF_8, charge(kwh="20"), "5", "5.5"),
    Vector("2", t.TARIFF_9, charge(kwh="20"), "5.5", "6.1"),
    Vector("3, 20 kWh", t.TARIFF_12, charge(kwh="20"), "5", "5.5"),
    Vector("3, 1 kWh", t.TARIFF_12, charge(kwh="1"), "0.5", "0.55"),
    Vector("4", t.TARIFF_10, charge(kwh="20", parked=40), "7", "7.9"),
    Vector("5, 50 kWh", t.TARIFF_6, charge(kwh="50"), "10", "11"),
    Vector("5, 30 kWh", t.TARIFF_6, charge(kwh="30"), "8", "8.85"),
    Vector("6", t.TARIFF_1, charge(minutes=150), "5", "5.5"),
    Vector("7", t.TARIFF_19, charge(minutes=150), "5", None),
    Vector("8", t.TARIFF_20, charge(minutes=150), None, "5.25"),
    Vector("9", t.TARIFF_13, charge(minutes=150, parked=42), "11.25", "12.75"),
    Vector("10", t.TARIFF_2, charge(minutes=150), "4.75", "4.997"),
    Vector("11", t.TARIFF_3, charge(kwh="20.45"), "5.625", "6.2375"),
    Vector(
        "12a",
        t.TARIFF_4,
        charge(start=local(MONDAY, "09:30"), minutes=165, parked=42, amps=16),
        "9",
        "10.3",
    ),
    Vector(
        "12b",
        t.TARIFF_4,
        charge(start=local(SATURDAY, "13:30"), minutes=114, parked=71, amps=43),
        "12.375",
        "13.975",
    ),
    Vector("13", t.TARIFF_5, charge(kwh="12.3", minutes=77, parked=5), "0", "0"),
    Vector("14", t.TARIFF_15, charge(kwh="20", reserved=15), "6.75", "7.6"),
    Vector("15", t.TARIFF_16, charge(kwh="20", reserved=13), "8.75", "10"),
    Vector("16a", t.TARIFF_17, charge(kwh="20", reserved=22), "6.5", "7.3"),
    Vector("16b", t.TARIFF_17, charge(minutes=0, reserved=60, expired=True), "6", "7.2"),
    Vector("17a", t.TARIFF_18, charge(kwh="20", reserved=22), "7", "7.9"),
    Vector("17b", t.TARIFF_18, charge(minutes=0, reserved=90, expired=True), "9", "10.8"),
    Vector("18", t.TARIFF_14, FOURTEEN_1, "0.55", None),
    Vector("19", t.TARIFF_14, FOURTEEN_2, "1.3", None),
    Vector("20", t.TARIFF_14, FOURTEEN_3, "0.73", None),
    Vector("21", t.MAX_POWER, THREE_POWERS, "20.3", "24.36"),
    Vector("22", t.MAX_DURATION, FORTY_MINUTES, "0.3", "0.36"),
]


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
