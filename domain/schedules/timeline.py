"""Limits over time as sorted pieces that do not overlap; pieces enter, pieces leave.

Times are whole seconds since 1970 (UTC). A moment without a piece has no limit. It knows nothing of profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from domain.schedules.profile import CompositePeriod, CompositeSchedule, SchedulePeriod, Unit

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
PHASES_WHEN_ABSENT = 3


class Limit(NamedTuple):
    """A limit in a known unit and the phases that it was given for."""

    value: Decimal
    phases: int | None = None


class Piece(NamedTuple):
    """From `start` (inclusive) to `end` (exclusive) this limit holds."""

    start: int
    end: int
    limit: Limit


Timeline = list[Piece]


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970 of a moment with a zone, rounded down."""
    return (moment - EPOCH) // _SECOND


def moment(second: int) -> datetime:
    """The moment of a second since 1970, in UTC."""
    return EPOCH + timedelta(seconds=second)


def convert(value: Decimal, unit: Unit, to: Unit, phases: int | None, voltage: Decimal) -> Decimal:
    """A limit in another unit: W in total = A per phase x phases (absent: 3) x volts between phase and neutral."""
    if unit is to:
        return value
    factor = voltage * (PHASES_WHEN_ABSENT if phases is None else phases)
    return value * factor if to is Unit.W else value / factor


def pieces(
    periods: tuple[SchedulePeriod, ...],
    unit: Unit,
    to: Unit,
    voltage: Decimal,
    *,
    start: int,
    begin: int,
    end: int,
) -> Timeline:
    """The periods of a schedule that starts at `start`, cut to `begin` … `end`, in unit `to`."""
    out: Timeline = []
    ordered = sorted(periods, key=lambda period: period.start_period)
    for i, period in enumerate(ordered):
        first = max(start + period.start_period, begin)
        last = min(start + ordered[i + 1].start_period, end) if i + 1 < len(ordered) else end
        if first < last:
            value = convert(period.limit, unit, to, period.number_phases, voltage)
            out.append(Piece(first, last, Limit(value, period.number_phases)))
    return out


def beside(one: Timeline, other: Timeline) -> Iterator[tuple[int, int, Limit | None, Limit | None]]:
    """Both timelines cut at each other's edges: (start, end, limit of one, limit of the other)."""
    edges = sorted({edge for piece in (*one, *other) for edge in piece[:2]})
    i = j = 0
    for start, end in pairwise(edges):
        while i < len(one) and one[i].end <= start:
            i += 1
        while j < len(other) and other[j].end <= start:
            j += 1
        left = one[i].limit if i < len(one) and one[i].start <= start else None
        right = other[j].limit if j < len(other) and other[j].start <= start else None
        if left is not None or right is not None:
            yield start, end, left, right


def over(upper: Timeline, lower: Timeline) -> Timeline:
    """`upper` where it has a limit, else `lower`."""
    if not upper or not lower:
        return upper or lower
    return _joined(upper, lower, lambda left, right: right if left is None else left)


def lowest(one: Timeline, other: Timeline) -> Timeline:
    """The smaller limit where both have one, else the only one; at a draw that with fewer phases, then `one`'s."""
    if not one or not other:
        return one or other
    return _joined(one, other, _smaller)


def composite(timeline: Timeline, begin: int, end: int, unit: Unit) -> CompositeSchedule:
    """The timeline as periods without gaps over `begin` … `end`; equal neighbours are one."""
    periods: list[CompositePeriod] = []

    def add(start: int, value: Decimal | None, phases: int | None) -> None:
        if periods and (periods[-1].limit, periods[-1].number_phases) == (value, phases):
            return
        periods.append(CompositePeriod(start_period=start - begin, limit=value, number_phases=phases))

    reached = begin
    for piece in timeline:
        if piece.start > reached:
            add(reached, None, None)
        add(piece.start, piece.limit.value, piece.limit.phases)
        reached = piece.end
    if reached < end:
        add(reached, None, None)
    return CompositeSchedule(
        schedule_start=moment(begin),
        duration=end - begin,
        charging_rate_unit=unit,
        charging_schedule_period=tuple(periods),
    )


def timeline(schedule: CompositeSchedule, to: Unit, voltage: Decimal) -> Timeline:
    """The pieces of a composite schedule, in unit `to`."""
    begin = seconds(schedule.schedule_start)
    periods = schedule.charging_schedule_period
    ends = [*(period.start_period for period in periods), schedule.duration][1:]
    out: Timeline = []
    for period, last in zip(periods, ends, strict=True):
        if period.limit is not None:
            value = convert(period.limit, schedule.charging_rate_unit, to, period.number_phases, voltage)
            out.append(Piece(begin + period.start_period, begin + last, Limit(value, period.number_phases)))
    return out


def _smaller(left: Limit | None, right: Limit | None) -> Limit | None:
    if left is None or right is None:
        return right if left is None else left
    return min(left, right, key=lambda limit: (limit.value, limit.phases or PHASES_WHEN_ABSENT))


def _joined(
    one: Timeline, other: Timeline, choose: Callable[[Limit | None, Limit | None], Limit | None]
) -> Timeline:
    out: Timeline = []
    for start, end, left, right in beside(one, other):
        limit = choose(left, right)
        if limit is None:
            continue
        if out and out[-1].end == start and out[-1].limit == limit:
            out[-1] = Piece(out[-1].start, end, limit)
        else:
            out.append(Piece(start, end, limit))
    return out
