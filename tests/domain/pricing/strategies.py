"""Random tariffs, usages and periods. Restrictions lie on a grid (whole hours, 5 kWh, 10 minutes), so that a test
can say by itself whether a boundary lies inside a period."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from domain.pricing import (
    Interval,
    Period,
    PriceComponent,
    PriceLimit,
    Sample,
    Tariff,
    TariffElement,
    TariffRestrictions,
    Usage,
)
from domain.pricing.tariff import DayOfWeek, TariffDimension, TaxIncluded

BERLIN = "Europe/Berlin"
SECOND = dt.timedelta(seconds=1)
GRID_WH, GRID_SECONDS = 5000, 600
DAYS: tuple[DayOfWeek, ...] = (
    "MONDAY",
    "TUESDAY",
    "WEDNESDAY",
    "THURSDAY",
    "FRIDAY",
    "SATURDAY",
    "SUNDAY",
)
DIMENSIONS: tuple[TariffDimension, ...] = ("ENERGY", "TIME", "PARKING_TIME", "FLAT")
# The clocks of Berlin change on 2024-03-31 and 2024-10-27, both at 01:00 UTC.
DAY_STARTS = [dt.datetime(2024, month, day, tzinfo=dt.UTC) for month, day in ((3, 30), (6, 7), (10, 26))]

moments = st.builds(
    lambda day, second: day + second * SECOND, st.sampled_from(DAY_STARTS), st.integers(0, 2 * 86_400)
)
prices = st.decimals(0, 5, places=3)
vats = st.none() | st.sampled_from([Decimal(0), Decimal("5.2"), Decimal(10), Decimal(20)])
hours = st.integers(0, 23).map(lambda hour: f"{hour:02}:00")
grid_kwh = st.integers(0, 8).map(lambda n: Decimal(5 * n))
grid_seconds = st.integers(0, 30).map(lambda n: GRID_SECONDS * n)
bands = st.integers(1, 6).map(lambda n: Decimal(8 * n))
local_dates = st.sampled_from(
    [dt.date(2024, month, day) for month in (3, 6, 10) for day in (1, 7, 8, 9, 26, 27, 28, 30)]
)


def components(
    *, steps: bool = True, vat: st.SearchStrategy[Decimal | None] = vats
) -> st.SearchStrategy[Any]:
    """One to three prices of different dimensions."""
    step = st.sampled_from([0, 1, 60, 300, 900, 1000]) if steps else st.just(0)
    return st.lists(
        st.builds(PriceComponent, type=st.sampled_from(DIMENSIONS), price=prices, step_size=step, vat=vat),
        min_size=1,
        max_size=3,
        unique_by=lambda component: component.type,
    ).map(tuple)


def restrictions(
    *, momentary: bool = True, reservation: bool = True
) -> st.SearchStrategy[TariffRestrictions]:
    """Restrictions on the grid; ``momentary`` ones look at power and current."""
    choices: dict[str, st.SearchStrategy[Any]] = {
        "start_time": hours,
        "end_time": hours,
        "start_date": local_dates,
        "end_date": local_dates,
        "min_kwh": grid_kwh,
        "max_kwh": grid_kwh,
        "min_duration": grid_seconds,
        "max_duration": grid_seconds,
        "day_of_week": st.lists(st.sampled_from(DAYS), min_size=1, max_size=4, unique=True).map(tuple),
    }
    if momentary:
        choices |= dict.fromkeys(("min_power", "max_power", "min_current", "max_current"), bands)
    if reservation:
        choices["reservation"] = st.sampled_from(["RESERVATION", "RESERVATION_EXPIRES"])
    return st.lists(st.sampled_from(sorted(choices)), max_size=3, unique=True).flatmap(
        lambda names: st.builds(TariffRestrictions, **{name: choices[name] for name in names})
    )


@st.composite
def tariffs(
    draw: st.DrawFn,
    *,
    steps: bool = True,
    momentary: bool = True,
    minimum: bool = True,
    maximum: bool = True,
    reservation: bool = True,
    id: str = "T1",
) -> Tariff:
    """A tariff of up to four elements; limits have both bounds."""
    elements = st.builds(
        TariffElement,
        price_components=components(steps=steps),
        restrictions=st.none() | restrictions(momentary=momentary, reservation=reservation),
    )
    tax: TaxIncluded = draw(st.sampled_from(["NO", "NO", "YES", "N/A"]))
    limit = st.none() | st.integers(0, 30).map(lambda n: PriceLimit(Decimal(n), Decimal(n) * Decimal("1.1")))
    return Tariff(
        country_code="DE",
        party_id="ABC",
        id=id,
        currency="EUR",
        elements=tuple(draw(st.lists(elements, min_size=1, max_size=4))),
        last_updated=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        tax_included=tax,
        min_price=draw(limit) if minimum else None,
        max_price=draw(limit) if maximum else None,
    )


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """A charge of up to 30 hours with samples, pauses and perhaps a reservation."""
    start = draw(moments)
    length = draw(st.integers(0, 7200) | st.integers(0, 30 * 3600))
    seconds = sorted(draw(st.lists(st.integers(0, length), max_size=6)))
    energies = sorted(draw(st.lists(st.integers(0, 50_000), min_size=len(seconds), max_size=len(seconds))))
    power = st.none() | st.integers(0, 50_000)
    current = st.none() | st.integers(0, 60)
    edges = sorted(draw(st.lists(st.integers(0, length), max_size=4)))
    reserved = draw(st.sampled_from([0, 0, 0, 60, 1234, 3600]))
    return Usage(
        start=start,
        end=start + length * SECOND,
        samples=tuple(
            Sample(start + second * SECOND, energy, draw(power), draw(current))
            for second, energy in zip(seconds, energies, strict=True)
        ),
        parking=tuple(
            Interval(start + a * SECOND, start + b * SECOND)
            for a, b in zip(edges[::2], edges[1::2], strict=False)
        ),
        meter_stop_wh=draw(st.none() | st.integers(50_000, 60_000)),
        reservation=Interval(start - reserved * SECOND, start) if reserved else None,
        reservation_expired=bool(reserved) and draw(st.booleans()),
    )


@st.composite
def period_lists(draw: st.DrawFn) -> list[Period]:
    """One to eight short periods, one after the other, some of them parked, the first perhaps reserved."""
    start = draw(moments)
    periods: list[Period] = []
    for index in range(draw(st.integers(1, 8))):
        length = draw(st.integers(2, 900))
        kind = draw(st.sampled_from(["charging_s", "charging_s", "parking_s"]))
        if index == 0 and draw(st.integers(0, 4)) == 0:
            kind = "reserved_s"
        measured = kind != "reserved_s"
        seconds, none = Decimal(length), Decimal(0)
        power, current = draw(bands), draw(bands)
        periods.append(
            Period(
                start=start,
                end=start + length * SECOND,
                energy_wh=Decimal(draw(st.integers(0, 3000))) if measured else Decimal(0),
                min_power_kw=power,
                max_power_kw=power,
                min_current_a=current,
                max_current_a=current,
                charging_s=seconds if kind == "charging_s" else none,
                parking_s=seconds if kind == "parking_s" else none,
                reserved_s=seconds if kind == "reserved_s" else none,
            )
        )
        start += length * SECOND
    return periods
