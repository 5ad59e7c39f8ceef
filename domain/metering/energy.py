"""Meter start, readings and meter stop of one session enter, its energy leaves with every repair said.

A register should only rise (OCPP 1.6, 4.7 and 4.10). Where it does not, one rule decides: only differences
between two registers of the same run are counted, and the lower reading is billed where two are possible.
It never estimates energy from power or time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

import msgspec

from domain.metering.reading import Reading
from domain.metering.sample import energy_register, moments


class Repair(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was set right: `code` for machines, `text` for people, `at` the moment it concerns.

    Codes: register_backwards (low readings left out), register_spike (a high reading left out),
    register_reset (counting goes on from the lower register), register_per_session (readings count from
    the session's start, unlike meter start), meter_stop_backwards, meter_stop_below_samples.
    """

    code: str
    text: str
    at: datetime | None = None


class Energy(msgspec.Struct, frozen=True, omit_defaults=True):
    """`wh` since the start, `series` of (moment, Wh since the start) that never falls, and the repairs.

    `until_wh`: a later register that comes up to it is no reset after all, and `wh` must be counted anew.
    """

    wh: Decimal
    series: tuple[tuple[datetime, Decimal], ...] = ()
    repairs: tuple[Repair, ...] = ()
    until_wh: Decimal | None = None


def session_energy(
    meter_start: Decimal | int, samples: Sequence[Reading], meter_stop: Decimal | int | None
) -> Energy:
    """Energy in Wh of a session from its registers in Wh; `meter_stop` None while it runs.

    Meter stop minus meter start (OCPP 1.6, StopTransaction) unless that is negative or the readings show a
    reset. Readings may come in any order; several of one moment count once.
    """
    start = Decimal(meter_start)
    stop = None if meter_stop is None else Decimal(meter_stop)
    points = [(at, value) for at, group in moments(samples) if (value := energy_register(group)) is not None]
    if stop is not None and _per_session(start, points, stop):
        text = f"readings {points[0][1]}…{points[-1][1]} Wh count from the start, not from meter start {start} Wh"
        return Energy(stop - start, tuple(points), (Repair("register_per_session", text, points[0][0]),))

    repairs: list[Repair] = []
    points = _without_spikes(start, points, stop, repairs)
    wh, last, series, fell_from = _count(start, points, stop, repairs)
    if stop is None:
        return Energy(wh, series, tuple(repairs), fell_from)
    if stop >= last:
        return Energy(wh + stop - last, series, tuple(repairs))
    if fell_from is not None or stop < start:
        text = f"meter stop {stop} Wh is below {last} Wh; the energy up to {last} Wh stands"
        return Energy(wh, series, (*repairs, Repair("meter_stop_backwards", text)))
    total = stop - start
    text = f"meter stop {stop} Wh is below the reading {last} Wh; meter stop minus meter start stands"
    clipped = tuple((at, min(value, total)) for at, value in series)
    return Energy(total, clipped, (*repairs, Repair("meter_stop_below_samples", text)))


_Points = list[tuple[datetime, Decimal]]


def _per_session(start: Decimal, points: _Points, stop: Decimal) -> bool:
    values = [value for _, value in points]
    return (
        len(values) > 0
        and all(a <= b for a, b in pairwise(values))
        and values[0] >= 0
        and values[-1] > 0
        and values[-1] < start
        and values[-1] <= stop - start
    )


def _without_spikes(start: Decimal, points: _Points, stop: Decimal | None, repairs: list[Repair]) -> _Points:
    """Leave out a single high reading that the next one contradicts and the one before supports."""
    kept: _Points = []
    for i, (at, value) in enumerate(points):
        before = kept[-1][1] if kept else start
        after = points[i + 1][1] if i + 1 < len(points) else stop
        if after is not None and before <= after < value:
            text = f"reading {value} Wh lies above the next, {after} Wh; left out"
            repairs.append(Repair("register_spike", text, at))
        else:
            kept.append((at, value))
    return kept


def _count(
    start: Decimal, points: _Points, stop: Decimal | None, repairs: list[Repair]
) -> tuple[Decimal, Decimal, tuple[tuple[datetime, Decimal], ...], Decimal | None]:
    """Wh counted, the last register, the series, and the lowest register that a reset fell from, if there was one.

    A fall is a reset only when no later register comes back to where it fell from.
    """
    later = [stop if stop is not None else Decimal("-Infinity")]
    for _, value in reversed(points):
        later.append(max(later[-1], value))
    later.reverse()
    wh, last = Decimal(0), start
    fell_from: Decimal | None = None
    series: _Points = []
    for i, (at, value) in enumerate(points):
        if value >= last:
            wh += value - last
        elif later[i + 1] >= last:
            repairs.append(
                Repair("register_backwards", f"reading {value} Wh lies below {last} Wh; left out", at)
            )
            continue
        else:
            text = (
                f"register fell from {last} to {value} Wh and did not come back; counting goes on from there"
            )
            repairs.append(Repair("register_reset", text, at))
            fell_from = last if fell_from is None else min(fell_from, last)
        last = value
        series.append((at, wh))
    return wh, last, tuple(series), fell_from
