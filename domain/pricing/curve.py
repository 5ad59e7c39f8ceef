"""The energy of a charge as a curve over time: registers and the intervals without a request for power come in,
energy at a moment, the moment of an energy, power and current at a moment go out.

Between two readings energy grows evenly over the seconds in which the vehicle asked for power. A register that
runs backwards stands still until it is passed again. No tariff is read here.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from msgspec import Struct

from domain.pricing.numbers import SECONDS_PER_HOUR, ZERO, PricingError, exact, plain, require_finite
from domain.pricing.usage import SECOND, Interval, Usage, utc, whole_second

_TENTHS = 10


class _Reading(Struct, frozen=True):
    second: int
    energy: Decimal
    power_kw: Decimal | None
    current_a: Decimal | None


class Curve:
    """Seconds count from the start of the charge, energy in Wh from zero."""

    def __init__(self, usage: Usage) -> None:
        self.warnings: list[str] = []
        self.start, self.end = whole_second(usage.start), whole_second(usage.end)
        if self.end < self.start:
            self.warnings.append(
                f"the charge ends at {self.end:%Y-%m-%dT%H:%M:%SZ}, before its start: priced as without length"
            )
            self.end = self.start
        self.parking = _joined(usage.parking, self.start, self.end)
        self._length = self._second(self.end)
        with exact():
            self._readings = self._read(usage)
        self._seconds, self._energies = self._knots()
        self._reading_seconds = [reading.second for reading in self._readings]

    @property
    def total_wh(self) -> Decimal:
        """All the energy of the charge."""
        return self._readings[-1].energy

    def sample_moments(self) -> set[dt.datetime]:
        """The moments strictly inside the charge at which power and current were read."""
        return {self._moment(r.second) for r in self._readings if 0 < r.second < self._length}

    def is_parking(self, moment: dt.datetime) -> bool:
        """Whether the vehicle asks for no power at this moment."""
        return any(gap.start <= moment < gap.end for gap in self.parking)

    def energy_at(self, moment: dt.datetime) -> Decimal:
        """Wh from the start to this moment, to a tenth of a Wh, which is as fine as a CDR says it."""
        second = self._second(moment)
        right = bisect_right(self._seconds, second)
        if right == len(self._seconds):
            return self.total_wh
        low, high = self._energies[right - 1], self._energies[right]
        since, until = self._seconds[right - 1], self._seconds[right]
        if second == since and low.denominator == 1:
            return Decimal(low.numerator)
        value = low + (high - low) * (second - since) / (until - since)
        with exact():
            return min(Decimal(round(value * _TENTHS)) / _TENTHS, self.total_wh)

    def moment_of(self, energy: Decimal) -> dt.datetime | None:
        """The first whole second at which so many Wh were reached; None if they never were before the end."""
        if energy <= 0 or energy > self.total_wh:
            return None
        wanted = Fraction(energy)
        if self._energies[0] >= wanted:
            return self._moment(1)
        for index in range(1, len(self._energies)):
            if self._energies[index] >= wanted:
                low, high = self._energies[index - 1], self._energies[index]
                since, until = self._seconds[index - 1], self._seconds[index]
                passed = (wanted - low) * (until - since) / (high - low)
                return self._moment(since - (-passed.numerator // passed.denominator))
        return None

    def power_at(self, moment: dt.datetime) -> Decimal:
        """kW: the reading that holds, else the mean until the next reading; zero while parking."""
        if self.is_parking(moment):
            return ZERO
        index = bisect_right(self._reading_seconds, self._second(moment)) - 1
        reading = self._readings[index]
        if reading.power_kw is not None:
            return reading.power_kw
        if index + 1 == len(self._readings):
            return ZERO
        following = self._readings[index + 1]
        seconds = self._asked(reading.second, following.second) or following.second - reading.second
        return mean_kw(following.energy - reading.energy, seconds)

    def current_at(self, moment: dt.datetime) -> Decimal | None:
        """A over all phases: the reading that holds; zero while parking; None where nobody measured it."""
        if self.is_parking(moment):
            return ZERO
        return self._readings[bisect_right(self._reading_seconds, self._second(moment)) - 1].current_a

    def _read(self, usage: Usage) -> list[_Reading]:
        zero = _register("meter_start_wh", usage.meter_start_wh)
        readings = {0: _Reading(0, ZERO, None, None)}
        for sample in sorted(usage.samples, key=lambda s: utc(s.at)):
            at = whole_second(sample.at)
            if not self.start <= at <= self.end:
                continue
            readings[self._second(at)] = _Reading(
                self._second(at),
                tenths(_register("energy_wh", sample.energy_wh) - zero),
                None if sample.power_w is None else _register("power_w", sample.power_w) / 1000,
                None if sample.current_a is None else _register("current_a", sample.current_a),
            )
        last = readings[max(readings)]
        if usage.meter_stop_wh is not None:
            stop = tenths(_register("meter_stop_wh", usage.meter_stop_wh) - zero)
            readings[self._length] = _Reading(self._length, stop, last.power_kw, last.current_a)
        elif last.second < self._length:
            readings[self._length] = _Reading(self._length, last.energy, last.power_kw, last.current_a)
        rising: list[_Reading] = []
        highest = ZERO
        for reading in (readings[second] for second in sorted(readings)):
            if reading.energy < highest:
                self.warnings.append(
                    f"the meter ran backwards at {self._moment(reading.second):%Y-%m-%dT%H:%M:%SZ}: "
                    f"{reading.energy} Wh after {highest} Wh; counted on from the highest reading"
                )
            highest = max(highest, reading.energy)
            rising.append(_Reading(reading.second, highest, reading.power_kw, reading.current_a))
        return rising

    def _knots(self) -> tuple[list[int], list[Fraction]]:
        """The points between which the curve is straight."""
        seconds, energies = [0], [Fraction(self._readings[0].energy)]
        edges = sorted({self._second(m) for gap in self.parking for m in (gap.start, gap.end)})
        for before, after in pairwise(self._readings):
            low, rise = Fraction(before.energy), Fraction(after.energy - before.energy)
            asked = self._asked(before.second, after.second)
            if asked:
                for edge in edges:
                    if before.second < edge < after.second:
                        seconds.append(edge)
                        energies.append(low + rise * self._asked(before.second, edge) / asked)
            seconds.append(after.second)
            energies.append(low + rise)
        return seconds, energies

    def _asked(self, since: int, until: int) -> int:
        """Seconds between the two in which the vehicle asked for power."""
        parked = 0
        for gap in self.parking:
            parked += max(0, min(until, self._second(gap.end)) - max(since, self._second(gap.start)))
        return until - since - parked

    def _second(self, moment: dt.datetime) -> int:
        return (moment - self.start) // SECOND

    def _moment(self, second: int) -> dt.datetime:
        return self.start + second * SECOND


def mean_kw(energy_wh: Decimal, seconds: int) -> Decimal:
    """The mean power of so much energy in so much time, to a watt."""
    with exact():
        return Decimal(round(Fraction(energy_wh) * SECONDS_PER_HOUR / seconds)) / 1000


def _register(name: str, value: int | Decimal) -> Decimal:
    number = Decimal(value)
    try:
        require_finite(name, number)
    except ValueError as error:
        raise PricingError(str(error)) from None
    return number


def tenths(energy_wh: Decimal) -> Decimal:
    """A charge is priced as finely as its CDR can say it: kWh with four decimals."""
    return plain(energy_wh, 1)


def _joined(gaps: tuple[Interval, ...], start: dt.datetime, end: dt.datetime) -> list[Interval]:
    """Clipped to the charge, in order, overlapping ones made one."""
    joined: list[Interval] = []
    for gap in sorted(gaps, key=lambda g: utc(g.start)):
        first, last = max(start, whole_second(gap.start)), min(end, whole_second(gap.end))
        if first >= last:
            continue
        if joined and first <= joined[-1].end:
            joined[-1] = Interval(joined[-1].start, max(last, joined[-1].end))
        else:
            joined.append(Interval(first, last))
    return joined
