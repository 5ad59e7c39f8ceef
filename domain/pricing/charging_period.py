"""Charging periods as a CDR or Session writes them: exact periods come in and go out as kWh and hours, and those
of another party are read back to Wh and whole seconds.

Facts: OCPI 2.3.0, chapter CDRs, ChargingPeriod and CdrDimension. Hours with four decimals are no whole seconds
(0.1667 h are 600.12 s), so they are brought back to the second before anything is rounded up to a step_size.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from msgspec import Struct

from domain.pricing.numbers import (
    SECONDS_PER_HOUR,
    WH_PER_KWH,
    ZERO,
    PricingError,
    exact,
    plain,
    require_finite,
)
from domain.pricing.usage import SECOND, Period, utc

PLACES = 4
"""OCPI's numbers have four decimals (chapter Types, number)."""

_HALF = Decimal("0.5")


class CdrDimension(Struct, frozen=True):
    """A volume in kWh, hours, kW or A, by its type; types that cost nothing are carried and not read."""

    type: str
    volume: Decimal

    def __post_init__(self) -> None:
        require_finite("volume", self.volume)


class ChargingPeriod(Struct, frozen=True):
    """A part of a charge from its start until the next one's."""

    start_date_time: dt.datetime
    dimensions: tuple[CdrDimension, ...]
    tariff_id: str | None = None


def hours(seconds: Decimal) -> Decimal:
    """Seconds as hours: 0.1667 for ten minutes, which reads back as the same second."""
    with exact():
        return plain(seconds / SECONDS_PER_HOUR, PLACES)


def kwh(energy_wh: Decimal) -> Decimal:
    """Wh as kWh: exact to a tenth of a Wh, which is as fine as a charge is priced."""
    with exact():
        return plain(energy_wh / WH_PER_KWH, PLACES)


def charging_period(period: Period) -> ChargingPeriod:
    """The period as OCPI writes it, with power and current where its tariff depends on them."""
    dimensions: list[CdrDimension] = []
    if period.energy_wh or period.charging_s:
        dimensions.append(CdrDimension("ENERGY", kwh(period.energy_wh)))
    times = {
        "TIME": period.charging_s,
        "PARKING_TIME": period.parking_s,
        "RESERVATION_TIME": period.reserved_s,
    }
    dimensions += [CdrDimension(name, hours(seconds)) for name, seconds in times.items() if seconds]
    momentary = {
        "MIN_POWER": period.min_power_kw,
        "MAX_POWER": period.max_power_kw,
        "MIN_CURRENT": period.min_current_a,
        "MAX_CURRENT": period.max_current_a,
    }
    dimensions += [
        CdrDimension(name, plain(value, PLACES)) for name, value in momentary.items() if value is not None
    ]
    return ChargingPeriod(period.start, tuple(dimensions) or (CdrDimension("TIME", ZERO),), period.tariff_id)


def read_periods(periods: Sequence[ChargingPeriod], end: dt.datetime) -> tuple[Period, ...]:
    """The periods of a CDR that ends at ``end``, in the order of time.

    Reserved time in a CDR without anything else is a reservation that expired. PricingError: a volume that no meter
    holds.
    """
    ordered = sorted(periods, key=lambda period: utc(period.start_date_time))
    starts = [_nearest_second(period.start_date_time) for period in ordered]
    ends = [*starts[1:], max(_nearest_second(end), starts[-1])] if starts else []
    try:
        with exact():
            found = [_read(*each) for each in zip(ordered, starts, ends, strict=True)]
    except ValueError as error:
        raise PricingError(str(error)) from None
    if all(period.is_reservation for period in found):
        found = [_expired(period) for period in found]
    return tuple(found)


def _read(period: ChargingPeriod, start: dt.datetime, end: dt.datetime) -> Period:
    volumes: dict[str, Decimal] = {}
    for dimension in period.dimensions:
        volumes.setdefault(dimension.type.upper(), dimension.volume)
    reserved = volumes.get("RESERVATION_TIME", volumes.get("RESERVATION_EXPIRES", ZERO))
    times = {
        "charging": volumes.get("TIME", ZERO),
        "parking": volumes.get("PARKING_TIME", ZERO),
        "reserved": reserved,
    }
    length = (end - start) // SECOND
    alone = sum(1 for volume in times.values() if volume) == 1
    seconds = {name: _seconds(volume, length if alone else None) for name, volume in times.items()}
    power, current = _range(volumes, "POWER"), _range(volumes, "CURRENT")
    return Period(
        start=start,
        end=end,
        energy_wh=volumes.get("ENERGY", ZERO) * WH_PER_KWH,
        charging_s=seconds["charging"],
        parking_s=seconds["parking"],
        reserved_s=seconds["reserved"],
        reservation_expired="RESERVATION_EXPIRES" in volumes,
        min_power_kw=power[0],
        max_power_kw=power[1],
        min_current_a=current[0],
        max_current_a=current[1],
        tariff_id=period.tariff_id,
    )


def _expired(period: Period) -> Period:
    return Period(
        start=period.start,
        end=period.end,
        reserved_s=period.reserved_s,
        reservation_expired=True,
        tariff_id=period.tariff_id,
    )


def _range(volumes: dict[str, Decimal], name: str) -> tuple[Decimal | None, Decimal | None]:
    """Lowest and highest; where only one of them is given it stands for both."""
    low, high = volumes.get(f"MIN_{name}"), volumes.get(f"MAX_{name}")
    return (high if low is None else low), (low if high is None else high)


def _seconds(volume: Decimal, length: int | None) -> Decimal:
    """Hours as whole seconds: the length between the two timestamps where the hours say the same as far as their
    decimals reach, else the nearest second."""
    seconds = volume * SECONDS_PER_HOUR
    if length is not None and volume:
        exponent = volume.as_tuple().exponent
        places = -exponent if isinstance(exponent, int) else 0
        doubt = _HALF.scaleb(-places) * SECONDS_PER_HOUR if places in (2, 3) else Decimal(1)
        if abs(seconds - length) <= doubt:
            return Decimal(length)
    return seconds.to_integral_value(rounding=ROUND_HALF_UP)


def _nearest_second(moment: dt.datetime) -> dt.datetime:
    return (utc(moment) + SECOND / 2).replace(microsecond=0)
