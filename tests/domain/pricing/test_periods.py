"""Charging periods: a new one at each moment that matters for the cost, and only there."""

from __future__ import annotations

from decimal import Decimal

from domain.pricing import Interval, Period, Sample, Tariff, TariffFrom, Usage, build_periods
from tests.domain.pricing.charges import BERLIN, MONDAY, SATURDAY, charge, local
from tests.domain.pricing.worked_tariffs import TARIFF_4, TARIFF_8, TARIFF_14, TARIFF_17, tariff

HOUR = Usage(start=local(MONDAY, "10:00"), end=local(MONDAY, "11:00"), meter_stop_wh=6000)


def starts(usage: Usage, *tariffs: Tariff | TariffFrom) -> list[str]:
    """The local times at which the periods begin."""
    return [_clock(period) for period in build_periods(usage, tariffs, BERLIN)]


def _clock(period: Period) -> str:
    zone = local(MONDAY, "00:00").tzinfo
    text = period.start.astimezone(zone).strftime("%d %H:%M:%S")
    return text.removeprefix("03 ").removesuffix(":00")


def test_a_charge_at_one_price_is_one_period() -> None:
    (period,) = build_periods(HOUR, TARIFF_8, BERLIN)

    assert period == Period(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "11:00"),
        energy_wh=Decimal(6000),
        charging_s=Decimal(3600),
        tariff_id="T1",
    )


def test_without_a_tariff_there_are_periods_too() -> None:
    (period,) = build_periods(HOUR, (), BERLIN)

    assert (period.energy_wh, period.tariff_id) == (Decimal(6000), None)


def test_a_period_begins_at_a_time_of_day() -> None:
    changing = tariff("(1) ENERGY 1 step 1 [end_time 10:20]; (2) ENERGY 2 step 1")

    first, second = build_periods(HOUR, changing, BERLIN)

    assert second.start == local(MONDAY, "10:20")
    assert (first.energy_wh, second.energy_wh) == (Decimal(2000), Decimal(4000))


def test_a_period_begins_at_midnight_where_dates_or_days_matter() -> None:
    night = Usage(start=local(SATURDAY, "23:00"), end=local(SATURDAY, "23:00") + (HOUR.end - HOUR.start) * 2)
    by_day = tariff("(1) TIME 1 step 1 [day_of_week SAT]; (2) TIME 2 step 1")
    by_date = tariff("(1) TIME 1 step 1 [end_date 2024-06-09]; (2) TIME 2 step 1")

    assert starts(night, by_day) == ["08 23:00", "09 00:00"]
    assert starts(night, by_date) == ["08 23:00", "09 00:00"]
    assert starts(night, TARIFF_8) == ["08 23:00"]


def test_a_time_of_day_without_an_end_ends_at_midnight_and_without_a_start_begins_there() -> None:
    night = Usage(start=local(SATURDAY, "23:00"), end=local(SATURDAY, "23:00") + (HOUR.end - HOUR.start) * 2)

    assert starts(night, tariff("(1) TIME 1 step 1 [start_time 20:00]")) == ["08 23:00", "09 00:00"]
    assert starts(night, tariff("(1) TIME 1 step 1 [end_time 06:00]")) == ["08 23:00", "09 00:00"]


def test_a_period_begins_where_a_threshold_of_energy_is_reached() -> None:
    stepped = tariff("(1) ENERGY 1 step 1 [max_kwh 2]; (2) ENERGY 2 step 1")

    first, second = build_periods(HOUR, stepped, BERLIN)

    assert (first.energy_wh, second.energy_wh) == (Decimal(2000), Decimal(4000))
    assert second.start == local(MONDAY, "10:20")


def test_a_threshold_is_interpolated_between_samples_and_exact_in_energy() -> None:
    usage = Usage(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "11:00"),
        samples=(Sample(local(MONDAY, "10:30"), 1000), Sample(local(MONDAY, "10:37"), 4000)),
        meter_stop_wh=6000,
    )
    stepped = tariff("(1) ENERGY 1 step 1 [max_kwh 2]; (2) ENERGY 2 step 1")

    first, second = build_periods(usage, stepped, BERLIN)

    assert second.start == local(MONDAY, "10:32:20")
    assert (first.energy_wh, second.energy_wh) == (Decimal(2000), Decimal(4000))


def test_a_period_begins_at_a_duration() -> None:
    stepped = tariff("(1) TIME 1 step 1 [max_duration 900]; (2) TIME 2 step 1")

    assert starts(HOUR, stepped) == ["10:00", "10:15"]


def test_a_boundary_of_parking_does_not_cut_charging() -> None:
    # TARIFF_4 prices parking from 09:00 on, whoever charges does not notice
    usage = charge(start=local(MONDAY, "08:00"), minutes=120, parked=30, amps=16)

    assert starts(usage, TARIFF_4) == ["08:00", "10:00"]


def test_parking_and_charging_again_are_periods_of_their_own() -> None:
    usage = Usage(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "11:00"),
        parking=(
            Interval(local(MONDAY, "10:10"), local(MONDAY, "10:20")),
            Interval(local(MONDAY, "10:40"), local(MONDAY, "11:00")),
        ),
        meter_stop_wh=3000,
    )

    periods = build_periods(usage, TARIFF_8, BERLIN)

    assert [(int(p.charging_s), int(p.parking_s), int(p.energy_wh)) for p in periods] == [
        (600, 0, 1000),
        (0, 600, 0),
        (1200, 0, 2000),
        (0, 1200, 0),
    ]


def test_a_sample_in_another_band_of_power_begins_a_period_and_one_in_the_same_does_not() -> None:
    usage = Usage(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "11:00"),
        samples=(
            Sample(local(MONDAY, "10:00"), 0, power_w=10_000),
            Sample(local(MONDAY, "10:10"), 1000, power_w=15_999),
            Sample(local(MONDAY, "10:20"), 2000, power_w=16_000),
        ),
    )
    banded = tariff("(1) ENERGY 1 step 1 [max_power 16]; (2) ENERGY 2 step 1")

    first, second = build_periods(usage, banded, BERLIN)

    assert second.start == local(MONDAY, "10:20")
    assert (first.min_power_kw, first.max_power_kw) == (Decimal(10), Decimal("15.999"))


def test_another_tariff_begins_a_period() -> None:
    other = tariff("(1) ENERGY 1 step 1", id="T2")
    switch = TariffFrom(other, local(MONDAY, "10:30"))

    first, second = build_periods(HOUR, (TARIFF_8, switch), BERLIN)

    assert (first.tariff_id, second.tariff_id) == ("T1", "T2")
    assert second.start == local(MONDAY, "10:30")


def test_reserved_time_comes_first_and_ends_where_the_charge_begins() -> None:
    usage = Usage(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "11:00"),
        reservation=Interval(local(MONDAY, "09:40"), local(MONDAY, "10:30")),
    )

    first, second = build_periods(usage, TARIFF_17, BERLIN)

    assert (first.start, first.end, first.reserved_s) == (
        local(MONDAY, "09:40"),
        local(MONDAY, "10:00"),
        Decimal(1200),
    )
    assert first.is_reservation
    assert not second.is_reservation


def test_a_clock_that_runs_twice_through_an_hour_runs_twice_through_its_price() -> None:
    # 2024-10-27: 02:00–03:00 comes twice; cheap from 02:00 to 02:30
    usage = Usage(
        start=local(MONDAY.replace(month=10, day=27), "01:00"),
        end=local(MONDAY.replace(month=10, day=27), "05:00"),
    )
    cheap = tariff("(1) TIME 1 step 1 [start_time 02:00, end_time 02:30]; (2) TIME 2 step 1")

    periods = build_periods(usage, cheap, BERLIN)

    assert [int(period.charging_s) // 60 for period in periods] == [60, 30, 30, 30, 90]


def test_a_price_for_an_hour_that_the_clock_leaps_over_is_never_used() -> None:
    # 2024-03-31: 02:00–03:00 does not happen
    day = MONDAY.replace(month=3, day=31)
    usage = Usage(start=local(day, "01:00"), end=local(day, "05:00"))
    leapt = tariff("(1) TIME 1 step 1 [start_time 02:00, end_time 03:00]; (2) TIME 2 step 1")

    assert len(build_periods(usage, leapt, BERLIN)) == 1


def test_the_time_zone_is_the_locations() -> None:
    usage = charge(start=local(MONDAY, "16:55"), minutes=10)

    assert len(build_periods(usage, TARIFF_14, BERLIN)) == 2
    assert len(build_periods(usage, TARIFF_14, "Europe/Lisbon")) == 1
