"""The laws of pricing, each with the conditions under which it holds."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from domain.pricing import (
    Amount,
    Cost,
    Period,
    PriceComponent,
    Tariff,
    TariffElement,
    TariffFrom,
    TariffRestrictions,
    Usage,
    build_periods,
    check_cdr,
    credit_cdr,
    issue_cdr,
    price,
    to_json,
)
from domain.pricing.tariff import TariffDimension
from tests.domain.pricing.strategies import (
    BERLIN,
    GRID_SECONDS,
    GRID_WH,
    SECOND,
    hours,
    moments,
    period_lists,
    prices,
    restrictions,
    tariffs,
    usages,
)
from tests.laws import tried

UNITS = {"FLAT": 1, "ENERGY": 1000, "TIME": 3600, "PARKING_TIME": 3600}
HOUR = 3600 * SECOND


def _crosses(low: int, high: int, grid: int) -> bool:
    """Whether a multiple of the grid lies strictly between the two."""
    return (low // grid + 1) * grid < high


@settings(deadline=None, max_examples=tried(80))
@given(period_lists(), tariffs(), st.data())
def test_cutting_a_period_without_an_inner_boundary_changes_nothing(
    periods: list[Period], tariff: Tariff, data: st.DataObject
) -> None:
    # Conditions: no whole hour of the clock, no grid point of duration or energy inside; volumes exact.
    index = data.draw(st.integers(0, len(periods) - 1))
    period = periods[index]
    first = next((p for p in periods if not p.is_reservation), period)
    since = period.start if period.is_reservation else first.start
    energy = int(sum(p.energy_wh for p in periods[:index]))
    length = (period.end - period.start) // SECOND
    elapsed = (period.start - since) // SECOND
    epoch = int(period.start.timestamp())
    assume(not _crosses(epoch, epoch + length, 3600))
    assume(not _crosses(elapsed, elapsed + length, GRID_SECONDS))
    assume(not _crosses(energy, energy + int(period.energy_wh), GRID_WH))
    cut = data.draw(st.integers(1, length - 1))
    share = data.draw(st.decimals(0, period.energy_wh, places=3))
    # On a grid point the second half would begin beyond a boundary that the first half ends on.
    assume((energy + share) % GRID_WH or not share)

    def part(seconds: int, wh: Decimal, start: dt.datetime) -> Period:
        names = ("charging_s", "parking_s", "reserved_s")
        volumes = {name: Decimal(seconds) for name in names if getattr(period, name)}
        return msgspec.structs.replace(
            period, start=start, end=start + seconds * SECOND, energy_wh=wh, **volumes
        )

    halves = [
        part(cut, share, period.start),
        part(length - cut, period.energy_wh - share, period.start + cut * SECOND),
    ]
    whole, pieces = (
        price(periods, tariff, BERLIN),
        price([*periods[:index], *halves, *periods[index + 1 :]], tariff, BERLIN),
    )

    assert _amounts(pieces) == _amounts(whole)


@settings(deadline=None, max_examples=tried(80))
@given(period_lists(), tariffs(), st.randoms(use_true_random=False))
def test_the_order_in_which_periods_are_given_does_not_matter(
    periods: list[Period], tariff: Tariff, random: object
) -> None:
    # Condition: no two periods begin at the same moment.
    shuffled = list(periods)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert price(shuffled, tariff, BERLIN) == price(periods, tariff, BERLIN)


@settings(deadline=None, max_examples=tried(80))
@given(usages(), tariffs(steps=False, minimum=False, maximum=False))
def test_without_step_size_and_limits_the_sum_of_the_parts_is_the_whole(usage: Usage, tariff: Tariff) -> None:
    cost = price(usage, tariff, BERLIN)

    stated = sum(
        (Fraction(line.quantity) * Fraction(line.price) / UNITS[line.dimension] for line in cost.lines),
        Fraction(0),
    )
    assert _close(Fraction(cost.total.stated), stated)
    for name in ("before", "after"):
        total = getattr(cost.total, name)
        parts = [
            getattr(part, name)
            for part in (cost.fixed, cost.energy, cost.time, cost.parking, cost.reservation)
        ]
        by_period = [getattr(period, name) for period in cost.per_period]
        by_line = [getattr(line, name) for line in cost.lines]
        for summands in (parts, by_period, by_line):
            if total is None:
                assert None in summands
            else:
                assert _close(sum((Fraction(s) for s in summands), Fraction(0)), Fraction(total))


@settings(deadline=None, max_examples=tried(80))
@given(usages(), tariffs(steps=False, momentary=False, maximum=False), st.data())
def test_a_longer_charge_never_costs_less(usage: Usage, tariff: Tariff, data: st.DataObject) -> None:
    # Conditions: prices of 0 and more; no step_size, no restriction on power or current, no max_price;
    # min_price with both bounds; the longer one goes on from the shorter one.
    periods = build_periods(usage, tariff, BERLIN)
    count = data.draw(st.integers(1, len(periods)))
    shorter, longer = price(periods[:count], tariff, BERLIN), price(periods, tariff, BERLIN)

    _assert_not_less(longer.total, shorter.total)


@settings(deadline=None, max_examples=tried(80))
@given(usages(), tariffs(steps=False, momentary=False, maximum=False), st.integers(0, 10 * 3600))
def test_a_running_charge_never_gets_cheaper(usage: Usage, tariff: Tariff, more: int) -> None:
    # Conditions as above; both are priced from the readings there are at their end.
    running = msgspec.structs.replace(usage, meter_stop_wh=None, parking=(), reservation_expired=False)
    later = msgspec.structs.replace(running, end=running.end + more * SECOND)

    _assert_not_less(price(later, tariff, BERLIN).total, price(running, tariff, BERLIN).total)


@settings(deadline=None, max_examples=tried(80))
@given(usages(), st.lists(st.tuples(tariffs(), moments), max_size=3))
def test_a_cdr_that_we_issued_always_checks_as_equal(
    usage: Usage, given_tariffs: list[tuple[Tariff, dt.datetime]]
) -> None:
    # Condition: the tariffs of one charge have different ids.
    applied = [
        TariffFrom(msgspec.structs.replace(tariff, id=f"T{index}"), since if index else None)
        for index, (tariff, since) in enumerate(given_tariffs)
    ]
    cdr = issue_cdr(usage, applied, BERLIN, currency="EUR")

    assert check_cdr(to_json(cdr), BERLIN).differences == ()
    assert check_cdr(to_json(credit_cdr(cdr, "original")), BERLIN).differences == ()


@settings(deadline=None, max_examples=tried(80))
@given(usages(), st.lists(st.tuples(tariffs(), st.none() | moments, st.none() | moments), max_size=3))
def test_a_cdr_under_tariffs_that_begin_and_end_checks_as_equal_and_each_prices_in_its_time_only(
    usage: Usage, given_tariffs: list[tuple[Tariff, dt.datetime | None, dt.datetime | None]]
) -> None:
    applied = [
        msgspec.structs.replace(tariff, id=f"T{index}", start_date_time=since, end_date_time=until)
        for index, (tariff, since, until) in enumerate(given_tariffs)
    ]
    cost = price(usage, applied, BERLIN)

    valid = {tariff.id: tariff for tariff in applied}
    for period in cost.periods:
        if period.tariff_id is None:
            assert not any(_is_valid(tariff, period.start) for tariff in applied)
        else:
            assert _is_valid(valid[period.tariff_id], period.start)
            assert _is_valid(valid[period.tariff_id], max(period.start, period.end - SECOND))
    cdr = issue_cdr(usage, applied, BERLIN, currency="EUR")
    assert check_cdr(to_json(cdr), BERLIN).differences == ()


def _is_valid(tariff: Tariff, moment: dt.datetime) -> bool:
    since, until = tariff.start_date_time, tariff.end_date_time
    return (since is None or since <= moment) and (until is None or moment < until)


@settings(deadline=None, max_examples=tried(80))
@given(usages(), tariffs())
def test_the_periods_of_a_charge_cost_what_the_charge_costs(usage: Usage, tariff: Tariff) -> None:
    from_usage = price(usage, tariff, BERLIN)
    from_periods = price(build_periods(usage, tariff, BERLIN), tariff, BERLIN)

    assert from_periods.lines == from_usage.lines
    assert _amounts(from_periods) == _amounts(from_usage)


@settings(deadline=None, max_examples=tried(80))
@given(usages(), tariffs())
def test_the_volumes_of_the_periods_are_those_of_the_charge(usage: Usage, tariff: Tariff) -> None:
    periods = build_periods(usage, tariff, BERLIN)

    assert all(before.end == after.start for before, after in pairwise(periods))
    if not usage.reservation_expired:
        own = [period for period in periods if not period.is_reservation]
        highest = max((Decimal(sample.energy_wh) for sample in usage.samples), default=Decimal(0))
        assert sum(p.charging_s + p.parking_s for p in own) == (usage.end - usage.start) // SECOND
        assert sum(p.energy_wh for p in own) == (usage.meter_stop_wh or highest)


MINUTE_WH = 100


@st.composite
def timed_tariffs(draw: st.DrawFn) -> Tariff:
    """Elements that price energy and time, restricted on whole hours, minutes and hundreds of Wh."""
    elements = []
    for _ in range(draw(st.integers(1, 4))):
        dimensions = draw(st.lists(st.sampled_from(["TIME", "ENERGY"]), min_size=1, unique=True))
        elements.append(
            TariffElement(
                tuple(PriceComponent(_dimension(name), draw(prices), 0) for name in dimensions),
                draw(st.none() | restrictions(momentary=False, reservation=False)),
            )
        )
    return Tariff("DE", "ABC", "T1", "EUR", tuple(elements), dt.datetime(2024, 1, 1, tzinfo=dt.UTC))


def _dimension(name: str) -> TariffDimension:
    return "TIME" if name == "TIME" else "ENERGY"


@settings(deadline=None, max_examples=tried(60))
@given(timed_tariffs(), moments, st.integers(1, 1500))
def test_a_slow_and_obvious_model_that_asks_each_minute_agrees(
    tariff: Tariff, moment: dt.datetime, minutes: int
) -> None:
    # Conditions: everything begins at whole minutes, the power is constant, nothing is rounded up.
    start = moment.replace(second=0)
    usage = Usage(start=start, end=start + minutes * 60 * SECOND, meter_stop_wh=MINUTE_WH * minutes)
    expected = Fraction(0)
    for minute in range(minutes):
        now = (start + minute * 60 * SECOND).astimezone(_zone())
        for dimension, volume in (("TIME", Fraction(1, 60)), ("ENERGY", Fraction(MINUTE_WH, 1000))):
            element = next(
                (
                    e
                    for e in tariff.elements
                    if any(c.type == dimension for c in e.price_components)
                    and _holds(e.restrictions, now, minute * MINUTE_WH, minute * 60)
                ),
                None,
            )
            if element is not None:
                component = next(c for c in element.price_components if c.type == dimension)
                expected += Fraction(component.price) * volume

    cost = price(usage, tariff, BERLIN)

    assert cost.before is not None
    assert _close(Fraction(cost.before), expected)


def _holds(r: TariffRestrictions | None, now: dt.datetime, wh: int, seconds: int) -> bool:
    """The restrictions read word by word."""
    if r is None:
        return True
    clock, day = now.strftime("%H:%M"), now.date()
    begin, end = r.start_time or "00:00", r.end_time or "00:00"
    end = "24:00" if end == "00:00" else end
    in_hours = begin <= clock < end if begin < end else clock >= begin or clock < end
    return (
        in_hours
        and (r.start_date is None or day >= r.start_date)
        and (r.end_date is None or day < r.end_date)
        and (r.day_of_week is None or now.strftime("%A").upper() in r.day_of_week)
        and (r.min_kwh is None or wh >= r.min_kwh * 1000)
        and (r.max_kwh is None or wh < r.max_kwh * 1000)
        and (r.min_duration is None or seconds >= r.min_duration)
        and (r.max_duration is None or seconds < r.max_duration)
    )


@settings(deadline=None, max_examples=tried(60))
@given(hours, hours, prices, prices, st.sampled_from([(3, 31, 23), (6, 9, 24), (10, 27, 25)]))
def test_a_day_has_23_24_or_25_hours(
    begin: str, end: str, inside: Decimal, outside: Decimal, day: tuple[int, int, int]
) -> None:
    # A charge from midnight to midnight, one price within some hours and another one outside of them.
    month, date, length = day
    midnight = dt.datetime(2024, month, date, tzinfo=_zone())
    tariff = Tariff(
        "DE",
        "ABC",
        "T1",
        "EUR",
        (
            TariffElement(
                (PriceComponent("TIME", inside),), TariffRestrictions(start_time=begin, end_time=end)
            ),
            TariffElement((PriceComponent("TIME", outside),)),
        ),
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    )
    usage = Usage(start=midnight, end=midnight + dt.timedelta(days=1))

    cost = price(usage, tariff, BERLIN)

    first = midnight.astimezone(dt.UTC)
    clocks = [(first + n * HOUR).astimezone(_zone()).strftime("%H:%M") for n in range(length)]
    last = "24:00" if end == "00:00" else end
    within = [begin <= c < last if begin < last else c >= begin or c < last for c in clocks]
    assert sum(period.charging_s for period in cost.periods) == length * 3600
    assert cost.before == within.count(True) * inside + within.count(False) * outside


def _zone() -> dt.tzinfo:
    from zoneinfo import ZoneInfo

    return ZoneInfo(BERLIN)


def _amounts(cost: Cost) -> list[Amount]:
    return [cost.total, cost.fixed, cost.energy, cost.time, cost.parking, cost.reservation]


def _close(one: Fraction, other: Fraction) -> bool:
    """Equal as far as 28 digits reach."""
    return abs(one - other) <= Fraction(1, 10**20)


def _assert_not_less(longer: Amount, shorter: Amount) -> None:
    if longer.before is not None and shorter.before is not None:
        assert longer.before >= shorter.before
    if longer.after is not None and shorter.after is not None:
        assert longer.after >= shorter.after
