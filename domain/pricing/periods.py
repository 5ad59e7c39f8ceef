"""Charging periods: a charge's usage and its tariffs come in, the periods go out, a new one at each moment that
matters for the cost. Never an amount.

Such moments: local times, days and dates of restrictions, changes of the clock, thresholds of energy (found by
interpolation) and duration, charging to parking and back, samples where power or current enter another band,
the start of another tariff. Neighbours that the same components price are one period.
Facts: OCPI 2.3.0, chapter CDRs, ChargingPeriod and CdrDimension.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from domain.pricing.borders import LONGEST, Borders, band
from domain.pricing.curve import Curve
from domain.pricing.numbers import ZERO, exact
from domain.pricing.selection import Selector, Situation, Timeline, zone_of
from domain.pricing.tariff import Tariff, TariffFrom
from domain.pricing.usage import SECOND, Period, Usage, whole_second

_Key = tuple[object, ...]


def build_periods(
    usage: Usage, tariffs: Tariff | Sequence[Tariff | TariffFrom], time_zone: str | ZoneInfo
) -> tuple[Period, ...]:
    """The periods of a charge in the order of time, reserved time first; volumes in Wh and seconds.

    ``time_zone`` is the location's IANA name. Never empty: a charge without length is one period without length.
    PricingError: an unknown time zone, a moment outside of the years 1970 to 9000, a reading that is no number.
    """
    return periods_and_warnings(usage, Timeline(tariffs), zone_of(time_zone))[0]


def periods_and_warnings(
    usage: Usage, timeline: Timeline, zone: ZoneInfo
) -> tuple[tuple[Period, ...], tuple[str, ...]]:
    """As build_periods, with what was odd about the readings."""
    with exact():
        reserved = _reserved(usage, timeline, zone)
        if usage.reservation_expired and reserved:
            return tuple(reserved), ()
        curve = Curve(usage)
        warnings = list(curve.warnings)
        if curve.end - curve.start > LONGEST:
            warnings.append(
                f"a charge of more than {LONGEST.days} days: priced as at its start by local time"
            )
        return tuple(reserved + _charged(curve, timeline, zone)), tuple(warnings)


class Stretch(Struct, frozen=True, kw_only=True):
    """A part of a charge in which nothing changes, and the energy used before it."""

    period: Period
    used_wh: Decimal


def stretches(
    curve: Curve, timeline: Timeline, borders: Borders, zone: ZoneInfo, used_wh: Decimal | None = None
) -> tuple[list[Stretch], Decimal | None]:
    """The stretches of a curve, and the threshold that was reached in its last second.

    The curve begins with the charge, or at a later reading: ``used_wh`` is what was used before it then.
    """
    cuts, reached = _cuts(curve, borders, used_wh)
    ordered = sorted(cuts)
    if len(ordered) == 1:
        ordered.append(curve.end)
    found: list[Stretch] = []
    for since, until in pairwise(ordered):
        used = cuts[since] if since < until else ZERO
        selector = timeline.at(since)
        parking = curve.is_parking(since)
        power = curve.power_at(since) if selector and selector.power_bands else None
        current = curve.current_at(since) if selector and selector.current_bands else None
        length = Decimal((until - since) // SECOND)
        period = Period(
            start=since,
            end=until,
            energy_wh=cuts[until] - used if since < until else curve.total_wh,
            charging_s=ZERO if parking else length,
            parking_s=length if parking else ZERO,
            min_power_kw=power,
            max_power_kw=power,
            min_current_a=current,
            max_current_a=current,
            tariff_id=selector.tariff.id if selector else None,
        )
        found.append(Stretch(period=period, used_wh=used))
    return found, reached


def _charged(curve: Curve, timeline: Timeline, zone: ZoneInfo) -> list[Period]:
    periods: list[Period] = []
    keys: list[_Key] = []
    borders = Borders(timeline, zone, curve.start)
    for stretch in stretches(curve, timeline, borders, zone)[0]:
        period = stretch.period
        selector = timeline.at(period.start)
        elapsed = Decimal((period.start - curve.start) // SECOND)
        local = period.start.astimezone(zone)
        situation = Situation(local, stretch.used_wh, elapsed, period.max_power_kw, period.max_current_a)
        parking = curve.is_parking(period.start)
        _append(periods, keys, period, (id(selector), parking, *_charging_key(selector, situation, parking)))
    return periods


def _charging_key(selector: Selector | None, situation: Situation, parking: bool) -> _Key:
    if selector is None:
        return ()
    selection = selector.charging(situation)
    time = selection.get("PARKING_TIME") if parking else selection.get("TIME")
    return (
        time,
        selection.get("ENERGY"),
        selection.get("FLAT"),
        band(selector.power_bands, situation.power_kw),
        band(selector.current_bands, situation.current_a),
    )


def _cuts(
    curve: Curve, borders: Borders, used_wh: Decimal | None
) -> tuple[dict[dt.datetime, Decimal], Decimal | None]:
    """Start, end and every moment between them at which something may change, with the energy used until then; and
    what threshold is reached at the end."""
    start, end = curve.start, curve.end
    moments = {m for gap in curve.parking for m in (gap.start, gap.end)} | borders.moments(start, end)
    if borders.momentary:
        moments |= curve.sample_moments()
    reached: dict[dt.datetime, Decimal] = {}
    passed = -1 if used_wh is None else curve.energy_at(start)
    for threshold in borders.energies_wh[bisect_right(borders.energies_wh, passed) :]:
        moment = curve.moment_of(threshold)
        if moment is not None:
            reached[moment] = max(threshold, reached.get(moment, ZERO))
    cuts = {moment: curve.energy_at(moment) for moment in moments}
    cuts |= reached
    cuts = {moment: energy for moment, energy in cuts.items() if start < moment < end}
    cuts[end] = curve.total_wh
    cuts[start] = used_wh or ZERO
    return cuts, reached.get(end)


def _reserved(usage: Usage, timeline: Timeline, zone: ZoneInfo) -> list[Period]:
    if usage.reservation is None:
        return []
    start, end = whole_second(usage.reservation.start), whole_second(usage.reservation.end)
    if not usage.reservation_expired:
        end = min(end, whole_second(usage.start))
    if end <= start:
        return []
    ordered = sorted({start, end} | Borders(timeline, zone, start).moments(start, end))
    periods: list[Period] = []
    keys: list[_Key] = []
    for since, until in pairwise(ordered):
        now = timeline.at(since)
        elapsed = Decimal((since - start) // SECOND)
        period = Period(
            start=since,
            end=until,
            reserved_s=Decimal((until - since) // SECOND),
            reservation_expired=usage.reservation_expired,
            tariff_id=now.tariff.id if now else None,
        )
        situation = Situation(since.astimezone(zone), ZERO, elapsed)
        selection = now.reserved(situation, usage.reservation_expired) if now else {}
        _append(periods, keys, period, (id(now), selection.get("TIME"), selection.get("FLAT")))
    return periods


def _append(periods: list[Period], keys: list[_Key], period: Period, key: _Key) -> None:
    """Add the period, or lengthen the last one when the same components price both."""
    if keys and keys[-1] == key:
        periods[-1] = _joined(periods[-1], period)
    else:
        periods.append(period)
        keys.append(key)


def _joined(first: Period, second: Period) -> Period:
    return msgspec.structs.replace(
        first,
        end=second.end,
        energy_wh=first.energy_wh + second.energy_wh,
        charging_s=first.charging_s + second.charging_s,
        parking_s=first.parking_s + second.parking_s,
        reserved_s=first.reserved_s + second.reserved_s,
        min_power_kw=_both(min, first.min_power_kw, second.min_power_kw),
        max_power_kw=_both(max, first.max_power_kw, second.max_power_kw),
        min_current_a=_both(min, first.min_current_a, second.min_current_a),
        max_current_a=_both(max, first.max_current_a, second.max_current_a),
    )


def _both(
    pick: Callable[[Decimal, Decimal], Decimal], one: Decimal | None, other: Decimal | None
) -> Decimal | None:
    return None if one is None or other is None else pick(one, other)
