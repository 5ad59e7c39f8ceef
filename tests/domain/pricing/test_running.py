"""A charge that goes on: whatever is folded, the sum is the price of the whole charge until its last reading."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.pricing import Interval, Sample, Tariff, TariffFrom, Usage, price
from domain.pricing.running import Running, follow
from domain.pricing.selection import Timeline
from tests.domain.pricing.strategies import BERLIN, GRID_WH, SECOND, moments, tariffs

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


@settings(deadline=None, max_examples=100)
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
