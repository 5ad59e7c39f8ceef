"""Times by several clocks: a charge point's own time and the offset of its clock enter, the time by our clock leaves;
and by how much the clocks of our own machines may differ."""

from __future__ import annotations

from datetime import datetime, timedelta

TOLERANCE_S = 60
"""An offset of no more seconds than this is no fault of a clock: messages are on their way that long."""

CLOCKS_APART = timedelta(seconds=2)
"""By how much the clocks of two of our own machines may differ: a time that one has set is over for another one so
much later. `docs/operations.md` asks for it."""

_YEAR_S = 366 * 86_400
_LONGEST_S = 400_000_000_000
"""Seconds in more than 9999 years: no two times lie farther apart."""


def shift(offset_s: int) -> timedelta:
    """What a time by a clock that runs `offset_s` ahead (negative: behind) is corrected by."""
    if abs(offset_s) <= TOLERANCE_S:
        return timedelta()
    return timedelta(seconds=max(-_LONGEST_S, min(_LONGEST_S, offset_s)))


def lasting(seconds: int) -> timedelta:
    """So many seconds, from none to a year: no wait is longer."""
    return timedelta(seconds=max(0, min(seconds, _YEAR_S)))


def earlier(at: datetime, by: timedelta) -> datetime:
    """The time so much before; one that would lie before the year 1 or after 9999 stays as it is."""
    try:
        return at - by
    except OverflowError:
        return at


def later(at: datetime, by: timedelta) -> datetime:
    """The time so much after; one that would lie before the year 1 or after 9999 stays as it is."""
    return earlier(at, -by)


def by_our_clock(at: datetime, offset_s: int) -> datetime:
    """When it happened; a time that cannot be corrected (a year before 1 or after 9999) stays as it is."""
    return earlier(at, shift(offset_s))


def by_its_clock(at: datetime, offset_s: int) -> datetime:
    """What the clock that runs `offset_s` ahead showed at that time of ours."""
    return later(at, shift(offset_s))
