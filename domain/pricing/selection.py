"""Which price component holds: a tariff and a situation (local time, energy, duration, power, current) come in,
one component for each dimension goes out, and the moments and thresholds at which that can change.

Facts: OCPI 2.3.0, chapter Tariffs, TariffElement and TariffRestrictions. It never computes an amount.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from domain.pricing.numbers import WH_PER_KWH, PricingError, exact
from domain.pricing.tariff import (
    PriceComponent,
    ReservationRestriction,
    Tariff,
    TariffDimension,
    TariffElement,
    TariffFrom,
    TariffRestrictions,
)
from domain.pricing.usage import EARLIEST, LATEST, whole_second

_DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_DAY = 86_400


class Situation(Struct, frozen=True):
    """What restrictions look at: local wall time, what was used before this moment, momentary values."""

    local: dt.datetime
    energy_wh: Decimal
    duration_s: Decimal
    power_kw: Decimal | None = None
    current_a: Decimal | None = None


class Choice(Struct, frozen=True):
    """A component with its place in the tariff (both counted from 0)."""

    element: int
    component: int
    price: PriceComponent


Selection = dict[TariffDimension, Choice]
_Test = Callable[[Situation], bool]


class _Element(Struct, frozen=True):
    tests: tuple[_Test, ...]
    reservation: ReservationRestriction | None
    choices: tuple[tuple[TariffDimension, Choice], ...]


class Selector:
    """A tariff made ready to be asked many times."""

    def __init__(self, tariff: Tariff) -> None:
        self.tariff = tariff
        self._elements = [_element(index, element) for index, element in enumerate(tariff.elements)]
        restrictions = [element.restrictions for element in tariff.elements if element.restrictions]
        with exact():
            self.energy_thresholds_wh = sorted(
                {kwh * WH_PER_KWH for r in restrictions for kwh in (r.min_kwh, r.max_kwh) if kwh is not None}
            )
        self.durations_s = sorted(
            {s for r in restrictions for s in (r.min_duration, r.max_duration) if s is not None}
        )
        self.power_bands = sorted(
            {kw for r in restrictions for kw in (r.min_power, r.max_power) if kw is not None}
        )
        self.current_bands = sorted(
            {a for r in restrictions for a in (r.min_current, r.max_current) if a is not None}
        )
        self.walls = _wall_times(restrictions)

    def charging(self, situation: Situation) -> Selection:
        """The components that price charging and parking now; elements for reservations never do."""
        return self._first(situation, None)

    def reserved(self, situation: Situation, expired: bool) -> Selection:
        """The components that price reserved time now: FLAT and TIME. On expiry those for RESERVATION_EXPIRES
        win dimension by dimension, the others stay."""
        selection = self._first(situation, "RESERVATION")
        if expired:
            selection |= self._first(situation, "RESERVATION_EXPIRES")
        return {dimension: choice for dimension, choice in selection.items() if dimension in ("FLAT", "TIME")}

    def _first(self, situation: Situation, reservation: ReservationRestriction | None) -> Selection:
        selection: Selection = {}
        for element in self._elements:
            if element.reservation != reservation:
                continue
            for test in element.tests:
                if not test(situation):
                    break
            else:
                for dimension, choice in element.choices:
                    selection.setdefault(dimension, choice)
        return selection

    def moments(self, start: dt.datetime, end: dt.datetime, zone: ZoneInfo) -> set[dt.datetime]:
        """The moments of local time, strictly between start and end, at which an element may switch."""
        return local_moments(self.walls, start, end, zone)


class Timeline:
    """The tariffs of one charge: a bare one while it is valid (start_date_time inclusive, end_date_time exclusive),
    a dated one from its moment on. Of several that hold at a moment one with a type comes before one for every
    charge, then the one that began last, then the one given last."""

    def __init__(self, tariffs: Tariff | Sequence[Tariff | TariffFrom]) -> None:
        given = [tariffs] if isinstance(tariffs, Tariff) else list(tariffs)
        spans = [_Span(*_validity(item), Selector(_tariff(item))) for item in given]
        spans.sort(key=lambda span: (span.selector.tariff.type is not None, span.since))
        self._spans = spans
        self.selectors = [span.selector for span in spans]

    def at(self, moment: dt.datetime) -> Selector | None:
        """The one that holds now; None where none does."""
        found = [span.selector for span in self._spans if span.since <= moment < span.until]
        return found[-1] if found else None

    def named(self, moment: dt.datetime, tariff_id: str) -> Selector | None:
        """The one with this id (which OCPI compares without case) that somebody says was relevant at the moment; of
        several versions the one that had begun, before all of them the first."""
        found: Selector | None = None
        for span in self._spans:
            if span.selector.tariff.id.casefold() == tariff_id.casefold() and (
                found is None or span.since <= moment
            ):
                found = span.selector
        return found

    def switches(self, start: dt.datetime, end: dt.datetime) -> set[dt.datetime]:
        """The moments strictly between start and end at which a tariff begins or ends."""
        return {edge for span in self._spans for edge in (span.since, span.until) if start < edge < end}

    def __str__(self) -> str:
        """Each tariff with its validity."""
        return ", ".join(str(span) for span in self._spans)


class _Span(Struct, frozen=True):
    since: dt.datetime
    until: dt.datetime
    selector: Selector

    def __str__(self) -> str:
        begins = "" if self.since == _FIRST else f" from {self.since:{_SHOWN}}"
        ends = "" if self.until == _LAST else f" until {self.until:{_SHOWN}}"
        return f"{self.selector.tariff.id}{begins}{ends}"


def _tariff(item: Tariff | TariffFrom) -> Tariff:
    return item.tariff if isinstance(item, TariffFrom) else item


def _validity(item: Tariff | TariffFrom) -> tuple[dt.datetime, dt.datetime]:
    since = item.since if isinstance(item, TariffFrom) else item.start_date_time
    until = None if isinstance(item, TariffFrom) else item.end_date_time
    return (
        _FIRST if since is None else _bound(since),
        _LAST if until is None else _bound(until),
    )


def _bound(moment: dt.datetime) -> dt.datetime:
    """Before the first year of a price it is for ever, after the last one it is never."""
    if moment.year < EARLIEST:
        return _FIRST
    return _LAST if moment.year > LATEST else whole_second(moment)


def fitting(tariffs: Sequence[Tariff], kind: str) -> tuple[Tariff, ...]:
    """Of a connector's tariffs those for this kind of charge (OCPI's TariffType) and those for every charge.

    They leave so that of two that hold at one moment the first in the connector's list comes first.
    """
    return tuple(tariff for tariff in reversed(tariffs) if tariff.type in (None, kind))


def outside(tariff: Tariff, moment: dt.datetime) -> bool:
    """Whether the tariff is not valid at the moment."""
    since, until = _validity(tariff)
    return not since <= moment < until


_SHOWN = "%Y-%m-%dT%H:%M:%SZ"
_LAST = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
_FIRST = dt.datetime(1, 1, 1, tzinfo=dt.UTC)


def zone_of(time_zone: str | ZoneInfo) -> ZoneInfo:
    """An IANA time zone by its name; PricingError for a name that does not exist."""
    if isinstance(time_zone, ZoneInfo):
        if not time_zone.key:
            raise PricingError("a time zone without a name cannot be explained, use an IANA name")
        return time_zone
    try:
        return ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PricingError(
            f"time zone {time_zone!r} is unknown, it must be a name such as Europe/Berlin"
        ) from None


def local_moments(
    walls: frozenset[int], start: dt.datetime, end: dt.datetime, zone: ZoneInfo
) -> set[dt.datetime]:
    """UTC moments strictly between start and end at which a local clock shows one of these times (seconds of
    the day), both times where the clock runs twice through it, and the moments at which the clock is changed.
    """
    if not walls:
        return set()
    found: set[dt.datetime] = set()
    day, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    while day <= last:
        midnight = dt.datetime(day.year, day.month, day.day, tzinfo=zone)
        for wall in walls:
            local = midnight + dt.timedelta(seconds=wall)
            found.add(local.astimezone(dt.UTC))
            found.add(local.replace(fold=1).astimezone(dt.UTC))
        day += dt.timedelta(days=1)
    found.update(_clock_changes(start, end, zone))
    return {moment for moment in found if start < moment < end}


def _clock_changes(start: dt.datetime, end: dt.datetime, zone: ZoneInfo) -> Iterator[dt.datetime]:
    step, low = dt.timedelta(hours=12), start
    while low < end:
        high = min(low + step, end)
        if low.astimezone(zone).utcoffset() != high.astimezone(zone).utcoffset():
            left, right = low, high
            while right - left > dt.timedelta(seconds=1):
                middle = left + dt.timedelta(seconds=(right - left) // dt.timedelta(seconds=2))
                if middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset():
                    left = middle
                else:
                    right = middle
            yield right
        low = high


def _element(index: int, element: TariffElement) -> _Element:
    choices: dict[TariffDimension, Choice] = {}
    for place, price in enumerate(element.price_components):
        choices.setdefault(price.type, Choice(index, place, price))
    restrictions = element.restrictions or TariffRestrictions()
    return _Element(tuple(_tests(restrictions)), restrictions.reservation, tuple(choices.items()))


def _tests(r: TariffRestrictions) -> Iterator[_Test]:
    if r.start_time is not None or r.end_time is not None:
        yield _time_of_day(_seconds(r.start_time or "00:00"), _seconds(r.end_time or "00:00") or _DAY)
    if r.start_date is not None or r.end_date is not None:
        first, after = r.start_date or dt.date.min, r.end_date or dt.date.max
        yield lambda now: first <= now.local.date() < after
    if r.day_of_week:
        days = frozenset(_DAYS.index(name) for name in r.day_of_week)
        yield lambda now: now.local.weekday() in days
    if r.min_kwh is not None or r.max_kwh is not None:
        with exact():
            low = None if r.min_kwh is None else r.min_kwh * WH_PER_KWH
            high = None if r.max_kwh is None else r.max_kwh * WH_PER_KWH
        yield _within(low, high, lambda now: now.energy_wh)
    if r.min_duration is not None or r.max_duration is not None:
        shortest, longest = r.min_duration, r.max_duration
        yield _within(
            None if shortest is None else Decimal(shortest),
            None if longest is None else Decimal(longest),
            lambda now: now.duration_s,
        )
    if r.min_power is not None or r.max_power is not None:
        yield _within(r.min_power, r.max_power, lambda now: now.power_kw)
    if r.min_current is not None or r.max_current is not None:
        yield _within(r.min_current, r.max_current, lambda now: now.current_a)


def _within(
    low: Decimal | None,
    high: Decimal | None,
    value: Callable[[Situation], Decimal | None],
) -> _Test:
    """At least ``low`` and below ``high``; a value that nobody knows fulfils no restriction."""

    def test(now: Situation) -> bool:
        measured = value(now)
        if measured is None:
            return False
        return (low is None or measured >= low) and (high is None or measured < high)

    return test


def _time_of_day(start: int, end: int) -> _Test:
    def test(now: Situation) -> bool:
        second = now.local.hour * 3600 + now.local.minute * 60 + now.local.second
        if start < end:
            return start <= second < end
        return start == end or second >= start or second < end

    return test


def _wall_times(restrictions: Iterable[TariffRestrictions]) -> frozenset[int]:
    walls: set[int] = set()
    for r in restrictions:
        if r.start_time is not None or r.end_time is not None:
            walls |= {_seconds(r.start_time or "00:00"), _seconds(r.end_time or "00:00")}
        if r.start_date is not None or r.end_date is not None or r.day_of_week:
            walls.add(0)
    return frozenset(walls)


def _seconds(text: str) -> int:
    return int(text[:2]) * 3600 + int(text[3:]) * 60
