"""A charge that has not happened: what somebody means to charge comes in, the usage that it would be goes out.

The power is the same from its start to its end, then the vehicle stays for as long as is said.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction
from typing import Final

from msgspec import Struct

from domain.pricing.numbers import SECONDS_PER_HOUR, PricingError
from domain.pricing.usage import Interval, Sample, Usage, whole_second

LONGEST: Final = dt.timedelta(days=30)
"""Charging and parking together: nobody asks for the price of more."""


class Plan(Struct, frozen=True, kw_only=True):
    """Two of energy (Wh), power (W) and charging time say the third. ``voltage`` (V) tells the current, summed over
    phases; without it no restriction by current is met."""

    start: dt.datetime
    energy_wh: Decimal | None = None
    power_w: Decimal | None = None
    charging: dt.timedelta | None = None
    parking: dt.timedelta = dt.timedelta()
    voltage: int | None = None


def planned_usage(plan: Plan) -> Usage:
    """Raises PricingError where it cannot be told what is meant, or is longer than LONGEST."""
    energy, power, charging = _whole(plan)
    if charging + plan.parking > LONGEST:
        raise PricingError(f"charging and parking together last longer than {LONGEST.days} days")
    start = whole_second(plan.start)
    end = start + charging
    current = _short(Fraction(power) / plan.voltage) if plan.voltage else None
    return Usage(
        start=start,
        end=end + plan.parking,
        samples=(Sample(start, 0, power_w=power, current_a=current), Sample(end, energy)),
        parking=(Interval(end, end + plan.parking),) if plan.parking else (),
        meter_stop_wh=energy,
    )


def _whole(plan: Plan) -> tuple[Decimal, Decimal, dt.timedelta]:
    """Energy, power and charging time; what follows from the others to a thousandth, and in whole seconds."""
    energy, power, charging = plan.energy_wh, plan.power_w, plan.charging
    seconds = None if charging is None else Fraction(charging // dt.timedelta(microseconds=1), 1_000_000)
    for name, value in (("energy", energy), ("power", power), ("charging time", seconds)):
        if value is not None and value <= 0:
            raise PricingError(f"the {name} must be above 0")
    if energy is not None and power is not None and charging is None:
        takes = round(Fraction(energy) * SECONDS_PER_HOUR / Fraction(power))
        if takes > LONGEST.total_seconds():
            raise PricingError(f"so much energy takes longer than {LONGEST.days} days at this power")
        return energy, power, dt.timedelta(seconds=takes)
    if energy is not None and charging is not None and seconds is not None and power is None:
        return energy, _short(Fraction(energy) * SECONDS_PER_HOUR / seconds), charging
    if power is not None and charging is not None and seconds is not None and energy is None:
        return _short(Fraction(power) * seconds / SECONDS_PER_HOUR), power, charging
    raise PricingError("say two of energy, power and charging time: the third follows from them")


def _short(value: Fraction) -> Decimal:
    return Decimal(round(value * 1000)) / 1000
