"""Where the price of a charge may change: its tariffs, its location's zone and its start come in; moments and amounts
of energy go out. Never a price.

Moments: local times, days and dates of restrictions, changes of the clock, durations, the start and the end of a
tariff. Power and current change with each reading: `power_bands` and `current_bands` say which of them matter.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

from domain.pricing.selection import Timeline
from domain.pricing.usage import SECOND

LONGEST = dt.timedelta(days=3660)
"""Charges that last longer are priced as at their start by local time."""


class Borders:
    """Of one charge that began at `start`."""

    def __init__(self, timeline: Timeline, zone: ZoneInfo, start: dt.datetime) -> None:
        selectors = timeline.selectors
        self._timeline, self._zone, self.start = timeline, zone, start
        self._durations = sorted({seconds for selector in selectors for seconds in selector.durations_s})
        self.energies_wh = sorted({wh for selector in selectors for wh in selector.energy_thresholds_wh})
        self.power_bands = sorted({kw for selector in selectors for kw in selector.power_bands})
        self.current_bands = sorted({a for selector in selectors for a in selector.current_bands})

    @property
    def momentary(self) -> bool:
        """Whether power or current matter."""
        return bool(self.power_bands or self.current_bands)

    def moments(self, since: dt.datetime, until: dt.datetime) -> set[dt.datetime]:
        """Those strictly between the two."""
        found = self._timeline.switches(since, until)
        if until - self.start <= LONGEST:
            for selector in self._timeline.selectors:
                found |= selector.moments(since, until, self._zone)
        first = bisect_right(self._durations, (since - self.start) // SECOND)
        for seconds in self._durations[first:]:
            moment = self.start + seconds * SECOND
            if moment >= until:
                break
            found.add(moment)
        return found


def band(bounds: Sequence[Decimal], value: Decimal | None) -> int | None:
    """The number of the band that a value lies in; None for one that nobody knows."""
    return None if value is None else bisect_right(bounds, value)
