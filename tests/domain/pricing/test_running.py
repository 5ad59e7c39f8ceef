"""A charge that goes on: whatever is folded, the sum is the price of the whole charge until its last reading."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.pricing import Amount, Interval, Sample, Tariff, TariffFrom, Usage, price
from domain.pricing.running import Running, follow
from domain.pricing.selection import Timeline
from tests.domain.pricing.charges import MONDAY, local
from tests.domain.pricing.strategies import BERLIN, GRID_WH, SECOND, moments, tariffs
from tests.domain.pricing.worked_tariffs import tariff
from tests.laws import tried

ZONE = ZoneInfo(BERLIN)
POWERS = st.none() | st.sampled_from([0, 7_999, 8_000, 11_000, 16_000, 16_001, 48_000])
CURRENTS = st.none() | st.sampled_from([0, 8, 16, 31, 48])


@st.composite
def charges(draw: st.DrawFn) -> Usage:
    """Readings in order, one a second at most; energies often on the grid of the thresholds, times on its hours."""
    start = draw(moments)
    gaps = draw(st.lists(st.integers(1, 40) | st.integers(1, 7200) | st.just(600), min_size=1, max_size=14))
    at, wh = start, 0
    if draw(st.booleans()):
        gaps[0] = 0
    samples: list[Sample] = []
    for gap in gaps:
        at += gap * SECOND
        to_grid = GRID_WH - wh % GRID_WH
        wh += draw(st.integers(0, 12_000) | st.just(0) | st.just(to_grid) | st.just(to_grid - 1))
        samples.append(Sample(at, wh, draw(POWERS), draw(CURRENTS)))
    length = int((at - start).total_seconds())
    edges = sorted(
        draw(st.lists(st.integers(0, length) | st.sampled_from(_seconds(samples, start)), max_size=6))
    )
    return Usage(
        start=start,
        end=at,
        samples=tuple(samples),
        parking=tuple(
            Interval(start + a * SECOND, start + b * SECOND)
            for a, b in zip(edges[::2], edges[1::2], strict=False)
        ),
    )


def _seconds(samples: list[Sample], start: dt.datetime) -> list[int]:
    return [int((sample.at - start).total_seconds()) for sample in samples]


@st.composite
def several_tariffs(draw: st.DrawFn, usage: Usage) -> tuple[Tariff | TariffFrom, ...]:
    """One to three, each from some moment of the charge on."""
    count = draw(st.integers(1, 3))
    length = int((usage.end - usage.start).total_seconds())
    since = [usage.start + draw(st.integers(-10, length)) * SECOND for _ in range(count)]
    return tuple(
        TariffFrom(draw(tariffs(reservation=False, id=f"T{number}")), since[number] if number else None)
        for number in range(count)
    )


def until(usage: Usage, count: int) -> Usage:
    """The charge until its so-many-th reading, as if it had ended there."""
    samples = usage.samples[:count]
    end = samples[-1].at
    parking = tuple(Interval(gap.start, min(gap.end, end)) for gap in usage.parking if gap.start < end)
    return msgspec.structs.replace(usage, samples=samples, end=end, parking=parking)


def since(usage: Usage, running: Running | None, count: int) -> Usage:
    """What is new until the so-many-th reading after those that were followed."""
    if running is None:
        return until(usage, count)
    whole = until(usage, count)
    return msgspec.structs.replace(
        whole,
        samples=tuple(sample for sample in whole.samples if sample.at > running.read.at),
        parking=tuple(gap for gap in whole.parking if gap.end > running.read.at),
    )


@settings(deadline=None, max_examples=tried(100))
@given(st.data(), charges())
def test_after_each_reading_the_sum_is_the_price_of_the_charge_until_then(
    data: st.DataObject, usage: Usage
) -> None:
    """Wherever the readings are divided, and also where what was folded has been written and read again."""
    given_tariffs = data.draw(several_tariffs(usage))
    timeline = Timeline(given_tariffs)
    running: Running | None = None
    count = 0
    while count < len(usage.samples):
        count = data.draw(st.integers(count + 1, len(usage.samples)))
        running, total = follow(running, since(usage, running, count), timeline, ZONE)
        running = msgspec.json.decode(msgspec.json.encode(running), type=Running)
        assert total == price(until(usage, count), given_tariffs, BERLIN).total


def at(second: int) -> dt.datetime:
    return local(MONDAY, "10:00") + second * SECOND


def followed(spec: str, *samples: Sample, parking: tuple[Interval, ...] = ()) -> Amount:
    """The total after these readings of a charge since 10:00, each told by itself."""
    timeline = Timeline(tariff(spec))
    running: Running | None = None
    total: Amount | None = None
    for sample in samples:
        usage = Usage(start=at(0), end=sample.at, samples=(sample,), parking=parking)
        running, total = follow(running, usage, timeline, ZONE)
    assert total is not None
    return total


def test_what_lies_above_a_threshold_reached_in_the_second_of_a_reading_costs_what_comes_next() -> None:
    """1,000 of the 1,200 Wh at 1 per kWh, 200 at 2, although the reading of that second says 1,100."""
    readings = Sample(at(60), 900), Sample(at(61), 1100), Sample(at(121), 1200)
    total = followed("(1) ENERGY 1 step 1 [max_kwh 1]; (2) ENERGY 2 step 1", *readings)
    assert total.before == Decimal("1.4")


def test_the_component_that_was_used_last_is_rounded_up_also_where_it_was_used_before() -> None:
    """15 min at 1 and 10 at 2 per hour; the former comes last, so that all 25 become 30 by its step. What is parked
    after it has no price."""
    spec = "(1) TIME 2 step 600 [min_current 16]; (2) TIME 1 step 1800"
    readings = (
        Sample(at(0), 0, current_a=8),
        Sample(at(600), 0, current_a=32),
        Sample(at(1200), 0, current_a=8),
        Sample(at(1500), 0, current_a=8),
        Sample(at(1800), 0, current_a=8),
    )
    assert followed(
        spec, *readings, parking=(Interval(at(1500), at(1800)),)
    ).as_price().before_taxes == Decimal("0.6667")


def test_nothing_but_what_is_new_is_held_of_what_came_before() -> None:
    """However many readings: one quantity for each component."""
    timeline = Timeline(tariff("(1) ENERGY 1 step 1 + TIME 1 step 1 [max_kwh 5]; (2) ENERGY 2 step 1"))
    running: Running | None = None
    sizes: list[int] = []
    for number in range(1, 200):
        sample = Sample(at(60 * number), 100 * number, 6000)
        running, _ = follow(running, Usage(start=at(0), end=sample.at, samples=(sample,)), timeline, ZONE)
        sizes.append(len(msgspec.json.encode(running)))
    assert max(sizes) < 600
