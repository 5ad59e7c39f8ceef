"""Readings enter, the one number that a reader wants of them leaves: register, power, current, state of charge.

Each function looks at the newest moment that can answer it. It never adds values of different moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from domain.metering.reading import REGISTER, Reading

_LINES = {"L1": "L1", "L2": "L2", "L3": "L3", "L1-N": "L1", "L2-N": "L2", "L3-N": "L3"}
_LOCATIONS = ("Outlet", "Cable", "Inlet", "EV", "Body")


def moments(readings: Iterable[Reading]) -> tuple[tuple[datetime, tuple[Reading, ...]], ...]:
    """The readings grouped by their time, oldest first; within one moment in the order given."""
    groups: dict[datetime, list[Reading]] = {}
    for reading in readings:
        groups.setdefault(reading.at, []).append(reading)
    return tuple((at, tuple(groups[at])) for at in sorted(groups))


def energy_register(readings: Sequence[Reading]) -> Decimal | None:
    """Energy.Active.Import.Register in Wh at the newest moment, or None.

    The overall value; the sum of L1, L2, L3 when only phases are sent. The outlet's meter before others.
    """
    return _newest(readings, REGISTER, "Wh", overall_first=True)


def power_w(readings: Sequence[Reading]) -> Decimal | None:
    """Power.Active.Import in W at the newest moment, or None: overall, else the sum of the phases.

    OCPI's min_power and max_power compare the momentary power in kW: divide by 1000.
    """
    return _newest(readings, "Power.Active.Import", "W", overall_first=True)


def current_a(readings: Sequence[Reading]) -> Decimal | None:
    """Current.Import in A at the newest moment, summed over L1, L2, L3 (never N), or None.

    OCPI's min_current and max_current compare the momentary sum over all phases, so phases come first here:
    an overall current is a mean, a maximum or a sum depending on the vendor, and stands only on its own.
    """
    return _newest(readings, "Current.Import", "A", overall_first=False)


def state_of_charge(readings: Sequence[Reading]) -> Decimal | None:
    """The last SoC in percent, or None."""
    for _, group in reversed(moments(readings)):
        for reading in reversed(group):
            if reading.measurand == "SoC" and reading.unit == "Percent" and reading.value is not None:
                return reading.value
    return None


def first_location(
    values: Sequence[tuple[str, str | None, Decimal]], *, overall_first: bool
) -> Decimal | None:
    """The total of the first location that has one, of (location, phase, value) of one moment."""
    if not values:
        return None
    if len(values) == 1:
        return _total(values, overall_first)
    known = {location for location, _, _ in values}
    for location in (*_LOCATIONS, *sorted(known.difference(_LOCATIONS))):
        if location in known:
            total = _total([value for value in values if value[0] == location], overall_first)
            if total is not None:
                return total
    return None


def _newest(readings: Sequence[Reading], measurand: str, unit: str, *, overall_first: bool) -> Decimal | None:
    fitting = [r for r in readings if r.measurand == measurand and r.unit == unit and r.value is not None]
    for _, group in reversed(moments(fitting)):
        values = [(r.location, r.phase, r.value) for r in group if r.value is not None]
        found = first_location(values, overall_first=overall_first)
        if found is not None:
            return found
    return None


def _total(group: Sequence[tuple[str, str | None, Decimal]], overall_first: bool) -> Decimal | None:
    overall: Decimal | None = None
    lines: dict[str, Decimal] = {}
    for _, phase, value in group:
        if phase is None:
            overall = value
        elif phase in _LINES:
            lines[_LINES[phase]] = value
    summed = sum(lines.values(), Decimal(0)) if lines else None
    first, second = (overall, summed) if overall_first else (summed, overall)
    return second if first is None else first
