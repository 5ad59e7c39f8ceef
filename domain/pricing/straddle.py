"""Warnings about periods that somebody else made: a period in which the price changes, and one that lacks the
power or current its tariff asks for. Such a period is priced with what was active at its start.

Facts: OCPI 2.3.0, chapter CDRs, ChargingPeriod.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from domain.pricing.selection import Selection, Selector, Situation
from domain.pricing.tariff import TariffDimension
from domain.pricing.usage import MICROSECOND, Period, utc

# What a CDR of a few KB may ask for in work; a longer one is priced all the same.
LONGEST = dt.timedelta(days=14)


class Straddles:
    """Finds price changes inside periods; the local times of each tariff are worked out once."""

    def __init__(self, zone: ZoneInfo, periods: Sequence[Period]) -> None:
        self._zone = zone
        self._start = min((utc(period.start) for period in periods), default=None)
        self._end = max((utc(period.end) for period in periods), default=None)
        self._moments: dict[int, list[dt.datetime]] = {}

    def warnings(
        self, period: Period, selector: Selector, now: Situation, selection: Selection
    ) -> Iterator[str]:
        """One sentence if anything that this period uses has another price before its end."""
        dimensions = _used(period)
        for then in self._situations(period, selector, now):
            other = selector.charging(then)
            changed = [d for d in dimensions if selection.get(d) != other.get(d)]
            if changed:
                yield (
                    f"the period from {utc(period.start):%Y-%m-%dT%H:%M:%SZ} goes on where the price of "
                    f"{', '.join(changed)} changes; priced as at its start"
                )
                return

    def _situations(self, period: Period, selector: Selector, now: Situation) -> Iterator[Situation]:
        start, end = utc(period.start), utc(period.end)
        for moment in self._between(selector, start, end):
            elapsed = now.duration_s + Decimal((moment - start) // MICROSECOND) / 1_000_000
            yield msgspec.structs.replace(now, local=moment.astimezone(self._zone), duration_s=elapsed)
        length = Decimal((end - start) // MICROSECOND) / 1_000_000
        for seconds in selector.durations_s:
            if now.duration_s < seconds < now.duration_s + length:
                yield msgspec.structs.replace(now, duration_s=Decimal(seconds))
        bounds = selector.energy_thresholds_wh
        after = now.energy_wh + period.energy_wh
        for energy in bounds[bisect_right(bounds, now.energy_wh) : bisect_left(bounds, after)]:
            yield msgspec.structs.replace(now, energy_wh=energy)
        if period.min_power_kw != period.max_power_kw or period.min_current_a != period.max_current_a:
            yield msgspec.structs.replace(now, power_kw=period.min_power_kw, current_a=period.min_current_a)

    def _between(self, selector: Selector, start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
        if self._start is None or self._end is None:
            return []
        moments = self._moments.get(id(selector))
        if moments is None:
            local = self._end - self._start <= LONGEST
            moments = sorted(selector.moments(self._start, self._end, self._zone)) if local else []
            self._moments[id(selector)] = moments
        return moments[bisect_right(moments, start) : bisect_left(moments, end)]


def unmeasured(period: Period, selector: Selector) -> Iterator[str]:
    """What the tariff's restrictions ask for and the period does not say."""
    if not period.charging_s:
        return
    if selector.power_bands and period.max_power_kw is None:
        yield "the tariff depends on power, which was not measured: such elements do not price"
    if selector.current_bands and period.max_current_a is None:
        yield "the tariff depends on current, which was not measured: such elements do not price"


def _used(period: Period) -> list[TariffDimension]:
    used: list[TariffDimension] = []
    if period.energy_wh:
        used.append("ENERGY")
    if period.charging_s:
        used.append("TIME")
    if period.parking_s:
        used.append("PARKING_TIME")
    return used
