"""What should hold and what a charge point reported (GetCompositeSchedule) enter, the differences leave.

Compared instant by instant in the reported unit, so other cuts of the same limits are equal. It never judges
who is right.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from domain.schedules.composite import VOLTAGE
from domain.schedules.profile import ChargingSchedule, CompositeSchedule, Unit
from domain.schedules.timeline import (
    PHASES_WHEN_ABSENT,
    Limit,
    Piece,
    Timeline,
    beside,
    lowest,
    moment,
    pieces,
    seconds,
    timeline,
)


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where (`start` inclusive, `end` exclusive) and why not.

    `why`: higher, lower (the reported limit against the expected one), phases (same limit, other phases),
    not_reported (a limit was expected), not_expected (a limit was reported where none is known).
    """

    start: datetime
    end: datetime
    why: str
    unit: Unit
    expected: Decimal | None = None
    reported: Decimal | None = None
    text: str = ""


class Comparison(msgspec.Struct, frozen=True, omit_defaults=True):
    """Equal when there is no difference."""

    differences: tuple[Difference, ...] = ()

    @property
    def equal(self) -> bool:
        return not self.differences


def compare(
    expected: CompositeSchedule,
    schedule_start: datetime,
    reported: ChargingSchedule,
    *,
    tolerance: Decimal = Decimal("0.1"),
    slack: int = 0,
    hardware_limit: Decimal | None = None,
    voltage: Decimal = VOLTAGE,
) -> Comparison:
    """Compare over the expected window.

    `tolerance` and `hardware_limit` are in the reported unit: limits are sent with one decimal, and a charge
    point never reports more than it can do. Differences of `slack` seconds and less are left out (clocks).
    A report without duration holds to the end of the window.
    """
    unit = reported.charging_rate_unit
    begin = seconds(expected.schedule_start)
    end = begin + expected.duration
    should = timeline(expected, unit, voltage)
    if hardware_limit is not None:
        should = lowest(should, [Piece(begin, end, Limit(hardware_limit))])
    start = seconds(schedule_start)
    last = end if reported.duration is None else min(end, start + reported.duration)
    periods = reported.charging_schedule_period
    said = pieces(periods, unit, unit, voltage, start=start, begin=max(begin, start), end=last)
    found = _differences(should, said, unit, tolerance)
    return Comparison(tuple(d for d in found if (d.end - d.start).total_seconds() > slack))


def _differences(should: Timeline, said: Timeline, unit: Unit, tolerance: Decimal) -> list[Difference]:
    out: list[Difference] = []
    for start, end, left, right in beside(should, said):
        why = _why(left, right, unit, tolerance)
        if why is None:
            continue
        difference = Difference(
            start=moment(start),
            end=moment(end),
            why=why,
            unit=unit,
            expected=left.value if left else None,
            reported=right.value if right else None,
            text=f"{why}: expected {_said(left, unit)}, reported {_said(right, unit)}",
        )
        if out and out[-1].end == difference.start and out[-1].text == difference.text:
            out[-1] = msgspec.structs.replace(out[-1], end=difference.end)
        else:
            out.append(difference)
    return out


def _why(left: Limit | None, right: Limit | None, unit: Unit, tolerance: Decimal) -> str | None:
    if left is None:
        return "not_expected"
    if right is None:
        return "not_reported"
    if abs(left.value - right.value) > tolerance:
        return "higher" if right.value > left.value else "lower"
    if unit is Unit.A and (left.phases or PHASES_WHEN_ABSENT) != (right.phases or PHASES_WHEN_ABSENT):
        return "phases"
    return None


def _said(limit: Limit | None, unit: Unit) -> str:
    if limit is None:
        return "nothing"
    return f"{limit.value:f} {unit}, phases {limit.phases or PHASES_WHEN_ABSENT}"
