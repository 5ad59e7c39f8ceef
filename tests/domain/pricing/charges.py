"""The charges of the standard's worked examples, by the number of their row in the facts, and a maker of charges.

Where the standard's own text is wrong (11, 12b) or contested (20), the number is the one that its rules give.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import NamedTuple

from domain.pricing import Interval, Sample, Tariff, Usage
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
