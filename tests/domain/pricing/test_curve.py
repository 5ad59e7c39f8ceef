"""Energy, power and current of a charge over time."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from domain.pricing import Interval, PricingError, Sample, Usage
from domain.pricing.curve import Curve
from tests.domain.pricing.charges import MONDAY, local


def usage(
    *samples: Sample, stop: int | None = None, begin: int = 0, parking: tuple[Interval, ...] = ()
) -> Usage:
    return Usage(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "11:00"),
        samples=samples,
        meter_start_wh=begin,
        meter_stop_wh=stop,
        parking=parking,
    )


def sample(clock: str, energy: int, power: int | None = None, current: int | None = None) -> Sample:
    return Sample(local(MONDAY, clock), energy, power, current)


def test_energy_grows_evenly_between_two_readings() -> None:
    curve = Curve(usage(sample("10:30", 1000), stop=7000))

    assert curve.energy_at(local(MONDAY, "10:15")) == 500
    assert curve.energy_at(local(MONDAY, "10:30")) == 1000
    assert curve.energy_at(local(MONDAY, "10:40")) == 3000
    assert curve.total_wh == 7000


def test_an_absolute_register_counts_from_meter_start() -> None:
    curve = Curve(usage(sample("10:30", 123_000), begin=122_000, stop=124_500))

    assert curve.energy_at(local(MONDAY, "10:30")) == 1000
    assert curve.total_wh == 2500


def test_while_the_vehicle_asks_for_nothing_energy_stands_still() -> None:
    parked = Interval(local(MONDAY, "10:20"), local(MONDAY, "10:40"))
    curve = Curve(usage(stop=4000, parking=(parked,)))

    assert [
        curve.energy_at(local(MONDAY, clock)) for clock in ("10:10", "10:20", "10:30", "10:40", "10:50")
    ] == [
        1000,
        2000,
        2000,
        2000,
        3000,
    ]


def test_energy_that_flowed_while_parked_is_not_lost() -> None:
    whole = Interval(local(MONDAY, "10:00"), local(MONDAY, "11:00"))

    assert Curve(usage(stop=4000, parking=(whole,))).energy_at(local(MONDAY, "10:15")) == 1000


def test_without_a_stop_reading_the_last_sample_is_the_last() -> None:
    curve = Curve(usage(sample("10:30", 1000)))

    assert curve.total_wh == 1000
    assert curve.energy_at(local(MONDAY, "10:45")) == 1000


def test_a_threshold_is_reached_at_a_whole_second() -> None:
    curve = Curve(usage(stop=7000))

    # 3000 Wh of 7000 Wh in an hour: after 1542.86 s
    assert curve.moment_of(Decimal(3000)) == local(MONDAY, "10:25:43")
    assert curve.moment_of(Decimal(7000)) == local(MONDAY, "11:00")
    assert curve.moment_of(Decimal(7001)) is None
    assert curve.moment_of(Decimal(0)) is None


def test_a_threshold_that_the_first_reading_passes_is_reached_in_the_first_second() -> None:
    curve = Curve(usage(sample("10:00", 500), stop=500))

    assert curve.moment_of(Decimal(100)) == local(MONDAY, "10:00:01")


def test_a_register_that_runs_backwards_stands_still_and_is_named() -> None:
    curve = Curve(usage(sample("10:15", 2000), sample("10:30", 1500), stop=3000))

    assert curve.energy_at(local(MONDAY, "10:30")) == 2000
    assert curve.total_wh == 3000
    assert curve.warnings == [
        "the meter ran backwards at 2024-06-03T08:30:00Z: 1500 Wh after 2000 Wh; "
        "counted on from the highest reading"
    ]


def test_power_is_the_reading_that_holds_or_the_mean_until_the_next() -> None:
    curve = Curve(usage(sample("10:00", 0), sample("10:30", 1000, power=11_000), stop=2000))

    assert curve.power_at(local(MONDAY, "10:10")) == 2
    assert curve.power_at(local(MONDAY, "10:30")) == 11
    assert curve.power_at(local(MONDAY, "10:59")) == 11


def test_power_and_current_are_zero_while_parked() -> None:
    parked = Interval(local(MONDAY, "10:20"), local(MONDAY, "10:40"))
    curve = Curve(usage(sample("10:00", 0, power=5000, current=16), parking=(parked,)))

    assert (curve.power_at(local(MONDAY, "10:20")), curve.current_at(local(MONDAY, "10:20"))) == (
        Decimal(0),
        Decimal(0),
    )
    assert (curve.power_at(local(MONDAY, "10:40")), curve.current_at(local(MONDAY, "10:40"))) == (
        Decimal(5),
        Decimal(16),
    )


def test_current_that_nobody_measured_is_unknown() -> None:
    assert Curve(usage(stop=1000)).current_at(local(MONDAY, "10:10")) is None


def test_samples_outside_of_the_charge_are_left_out() -> None:
    curve = Curve(usage(sample("09:59", 9), sample("11:01", 9000), stop=100))

    assert curve.total_wh == 100
    assert curve.warnings == []


def test_pauses_that_overlap_are_one() -> None:
    pauses = (
        Interval(local(MONDAY, "10:30"), local(MONDAY, "12:00")),
        Interval(local(MONDAY, "10:20"), local(MONDAY, "10:40")),
    )

    assert Curve(usage(parking=pauses)).parking == [Interval(local(MONDAY, "10:20"), local(MONDAY, "11:00"))]


def test_moments_are_taken_to_the_whole_second() -> None:
    start = local(MONDAY, "10:00") + dt.timedelta(microseconds=999_999)

    assert Curve(Usage(start=start, end=start)).start == local(MONDAY, "10:00")


def test_a_charge_that_ends_before_its_start_has_no_length_and_is_named() -> None:
    curve = Curve(Usage(start=local(MONDAY, "10:00"), end=local(MONDAY, "09:00"), meter_stop_wh=5000))

    assert (curve.end, curve.total_wh) == (local(MONDAY, "10:00"), Decimal(5000))
    assert curve.warnings == [
        "the charge ends at 2024-06-03T07:00:00Z, before its start: priced as without length"
    ]


def test_a_moment_without_a_zone_is_utc() -> None:
    assert Curve(Usage(start=dt.datetime(2024, 6, 3, 8), end=local(MONDAY, "11:00"))).start == local(
        MONDAY, "10:00"
    )


def test_a_reading_that_is_no_number_is_refused() -> None:
    with pytest.raises(PricingError, match="energy_wh is NaN"):
        Curve(usage(Sample(local(MONDAY, "10:10"), Decimal("NaN"))))
