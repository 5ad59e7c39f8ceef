"""Which readings of a charge are kept: given readings and a tariff, when there are more than may be kept, then those
stay that its price needs. A reading a minute of 100 Wh each, by a meter that began at 1,000 Wh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest

from domain import kept
from domain.kept import Judged, Keeper, Kept, Thinned, merged
from domain.parking import StatusChange
from domain.pricing.borders import Borders
from domain.pricing.selection import Timeline
from tests.domain.pricing.charges import BERLIN, MONDAY, local
from tests.domain.pricing.worked_tariffs import tariff

START = local(MONDAY, "10:00")
FLAT = "(1) ENERGY 1 step 1"
MOST = 12


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def keeper(spec: str = FLAT, *changes: tuple[float, str], off: timedelta = timedelta()) -> Keeper:
    return Keeper(
        Borders(Timeline(tariff(spec)), ZoneInfo(BERLIN), START),
        [StatusChange(at=at(minutes), status=status) for minutes, status in changes],
        off,
        Decimal(1000),
    )


def readings(
    count: int = 40,
    wh: Mapping[int, int] | None = None,
    kw: Mapping[int, int] | None = None,
    amps: Mapping[int, int] | None = None,
) -> list[Kept]:
    """So many; `wh` are other registers by their minute, `kw` and `amps` hold from their minute on."""
    found: list[Kept] = []
    power: Decimal | None = None
    current: Decimal | None = None
    for minute in range(1, count + 1):
        register = (wh or {}).get(minute, 1000 + 100 * minute)
        power = Decimal(1000 * kw[minute]) if kw and minute in kw else power
        current = Decimal(amps[minute]) if amps and minute in amps else current
        found.append(Kept(at(minute), Decimal(register), power, current))
    return found


def thin(keeper: Keeper, series: Sequence[Kept], judged: Judged | None = None) -> Thinned:
    with patch.object(kept, "READINGS_MOST", MOST):
        less = keeper.thin(series, series, judged)
    assert less is not None
    return less


def stay(keeper: Keeper, series: Sequence[Kept]) -> set[int]:
    """The minutes of the readings that stay."""
    less = thin(keeper, series)
    assert not less.rough
    left = merged(series, (), less.left_out)
    assert len(left) <= MOST
    return {round((one.at - START).total_seconds() / 60) for one in left}


def test_the_first_and_the_newest_stay_and_the_oldest_others_go() -> None:
    assert stay(keeper(), readings()) == {1, *range(30, 41)}


def test_few_enough_are_all_kept() -> None:
    with patch.object(kept, "READINGS_MOST", MOST):
        assert keeper().thin(readings(MOST), readings(MOST), None) is None


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        ("(1) ENERGY 1 step 1 [end_time 10:20]; (2) ENERGY 2 step 1", {20}),
        ("(1) ENERGY 1 step 1 [max_duration 630]; (2) ENERGY 2 step 1", {10, 11}),
        ("(1) ENERGY 1 step 1 [max_kwh 0.55]; (2) ENERGY 2 step 1", {5, 6}),
        ("(1) ENERGY 1 step 1 [min_kwh 1.5]; (2) ENERGY 2 step 1", {15}),
    ],
)
def test_those_next_to_a_border_of_the_tariff_stay(spec: str, needed: set[int]) -> None:
    assert needed <= stay(keeper(spec), readings())


def test_those_next_to_midnight_stay_where_the_day_of_the_week_matters() -> None:
    spec = "(1) ENERGY 1 step 1 [day_of_week MON]; (2) ENERGY 2 step 1"
    night = [Kept(at(14 * 60 - 20.5 + n), Decimal(1000 + n)) for n in range(40)]
    less = thin(keeper(spec), night)
    assert not {at(14 * 60 - 0.5), at(14 * 60 + 0.5)} & set(less.left_out)


def test_a_border_is_where_our_clock_shows_it() -> None:
    """Ten minutes ahead: what the charge point calls 10:30 is 10:20."""
    spec = "(1) ENERGY 1 step 1 [end_time 10:20]; (2) ENERGY 2 step 1"
    ahead = timedelta(minutes=10)
    late = [Kept(one.at + ahead + timedelta(seconds=30), one.energy_wh) for one in readings()]
    less = thin(keeper(spec, off=ahead), late)
    assert not {at(29.5), at(30.5)} & set(less.left_out)


def test_those_next_to_a_change_to_parking_and_back_stay_and_no_others() -> None:
    changes = ((2.5, "Charging"), (10.5, "SuspendedEV"), (20.5, "Charging"))
    assert stay(keeper(FLAT, *changes), readings()) == {1, 10, 11, 20, 21, *range(34, 41)}


def test_those_stay_at_which_power_or_current_enter_another_band() -> None:
    power = "(1) ENERGY 1 step 1 [max_power 16]; (2) ENERGY 2 step 1"
    current = "(1) ENERGY 1 step 1 [max_current 16]; (2) ENERGY 2 step 1"
    assert stay(keeper(power), readings(kw={1: 7, 8: 11, 15: 22, 20: 15})) >= {1, 15, 20}
    assert stay(keeper(current), readings(amps={1: 6, 8: 10, 15: 32, 20: 15})) >= {1, 15, 20}
    assert stay(keeper(), readings(kw={1: 7, 15: 22})) == {1, *range(30, 41)}


def test_where_power_was_not_measured_those_stay_between_which_its_mean_enters_another_band() -> None:
    """6 kW on the mean, and 18 kW from the 10th minute to the 12th."""
    spec = "(1) ENERGY 1 step 1 [max_power 16]; (2) ENERGY 2 step 1"
    wh = {minute: 1000 + 100 * minute + 200 * (min(max(minute - 10, 0), 2)) for minute in range(1, 41)}
    assert stay(keeper(spec), readings(wh=wh)) >= {10, 12}


def test_those_next_to_a_reset_of_the_register_stay() -> None:
    """Two before it and two after it: whether the last one before was a mere spike is seen by them."""
    wh = {minute: 100 * (minute - 15) for minute in range(15, 41)}
    assert stay(keeper(), readings(wh=wh)) >= {13, 14, 15, 16}


def test_where_a_register_comes_back_to_what_it_fell_from_those_around_it_stay() -> None:
    """From the 10th minute to the 19th it shows 1,000 Wh less: those readings will not be counted."""
    wh = {minute: 100 * minute for minute in range(10, 20)}
    assert stay(keeper(), readings(wh=wh)) >= {8, 9, 10, 11, 18, 19}


def test_each_is_judged_once() -> None:
    """What was judged is not looked at again when the next one comes."""
    with patch.object(kept, "READINGS_MOST", MOST):
        series = readings(MOST)
        judged: Judged | None = None
        looked = 0
        some = keeper("(1) ENERGY 1 step 1 [end_time 10:20]; (2) ENERGY 2 step 1")
        whole = Keeper._needed

        def counted(self: Keeper, *arguments: object) -> bool:
            nonlocal looked
            looked += 1
            return whole(self, *arguments)  # type: ignore[arg-type]

        with patch.object(Keeper, "_needed", counted):
            for one in readings(200)[MOST:]:
                series = merged(series, [one])
                less = some.thin(series, [one], judged)
                if less is not None:
                    series, judged = merged(series, (), less.left_out), less.judged
    assert looked <= 200
    assert len(series) == MOST


def test_where_more_are_needed_than_may_be_kept_every_other_goes_and_the_price_may_differ() -> None:
    spec = "(1) ENERGY 1 step 1 [max_power 16]; (2) ENERGY 2 step 1"
    series = readings(kw={minute: 11 if minute % 2 else 22 for minute in range(1, 41)})
    less = thin(keeper(spec), series)
    assert less.rough
    assert len(merged(series, (), less.left_out)) == MOST // 2


def test_a_late_reading_where_others_were_left_out_is_one_of_them_if_it_fits() -> None:
    some = keeper()
    left = merged(readings(), (), thin(some, readings()).left_out)
    assert some.fits(left, Kept(at(7.5), Decimal(1750)))
    assert not some.fits(left, Kept(at(7.5), Decimal(9000)))
    assert not some.fits(left, Kept(at(0.5), Decimal(1050)))
    assert not some.fits(left, Kept(at(35.5), Decimal(4550)))


def test_a_late_reading_that_does_not_fit_makes_the_price_unsure() -> None:
    some, series = keeper(), readings()
    less = thin(some, series)
    late = Kept(at(7.5), Decimal(9000))
    with patch.object(kept, "READINGS_MOST", MOST):
        again = some.thin(merged(merged(series, (), less.left_out), [late]), [late], less.judged)
    assert again is not None
    assert again.rough


def series_of(left: Sequence[Kept]) -> dict[datetime, Decimal]:
    return {one.at: one.energy_wh - 1000 for one in left}


def test_the_price_is_sure_unless_something_matters_where_readings_were_left_out() -> None:
    some, all = keeper(), readings()
    left = merged(all, (), thin(some, all).left_out)
    counted = series_of(left)
    assert not some.unsure(left, counted, at(41), None)
    assert some.unsure(left, counted, at(10), None), "the end lies there"
    assert some.unsure(left, counted, at(41), Decimal(1500)), "the energy was cut off there"
    assert keeper(FLAT, (12.5, "SuspendedEV")).unsure(left, counted, at(41), None), "a change came late"
    border = keeper("(1) ENERGY 1 step 1 [end_time 10:20]; (2) ENERGY 2 step 1")
    assert border.unsure(left, counted, at(41), None), "the clock was corrected late"
    threshold = keeper("(1) ENERGY 1 step 1 [max_kwh 1.5]; (2) ENERGY 2 step 1")
    assert threshold.unsure(left, counted, at(41), None), "the energy was counted otherwise"
    part = {moment: wh for moment, wh in counted.items() if moment != at(1)}
    assert some.unsure(left, part, at(41), None), "one side was not counted"


def test_of_one_second_the_last_reading_counts() -> None:
    """A mean of 6 kW, but 60 Wh in the last second before the 10th minute: 216 kW, between the reading a second
    before it and the last of two that came with it."""
    spec = "(1) ENERGY 1 step 1 [max_power 16]; (2) ENERGY 2 step 1"
    fine = readings()
    before, with_it = at(10) - timedelta(seconds=1), at(10) + timedelta(milliseconds=1)
    fine = [
        *fine[:8],
        Kept(before, Decimal(1940)),
        Kept(at(10), Decimal(1940)),
        Kept(with_it, Decimal(2000)),
        *fine[10:],
    ]
    less = thin(keeper(spec), fine)
    assert not {before, with_it} & set(less.left_out)
