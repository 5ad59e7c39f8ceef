"""What a charge used: meter samples and states come in as Usage, the exact periods that are priced as Period.

Moments are whole seconds of UTC (a fraction is dropped, a datetime without zone is UTC), energy is Wh, power
kW, current A summed over phases. No price and no tariff is read here.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from msgspec import Struct

from domain.pricing.numbers import ZERO, PricingError, require_finite

EARLIEST, LATEST = 1970, 9000
"""The years that are priced."""
SECOND = dt.timedelta(seconds=1)
MICROSECOND = dt.timedelta(microseconds=1)


class Interval(Struct, frozen=True):
    """From start (inclusive) to end (exclusive)."""

    start: dt.datetime
    end: dt.datetime


class Sample(Struct, frozen=True, omit_defaults=True):
    """A reading: the energy register in Wh (on the same scale as Usage.meter_start_wh), and, where known, the
    momentary power (W) and current (A, summed over phases), which hold until the next sample."""

    at: dt.datetime
    energy_wh: int | Decimal
    power_w: int | Decimal | None = None
    current_a: int | Decimal | None = None


class Usage(Struct, frozen=True, kw_only=True):
    """One charge, finished or (with ``end`` = now) running.

    ``parking`` holds the intervals in which the vehicle was connected and asked for no power (SuspendedEV,
    finished). ``meter_stop_wh`` None: the last sample is the last reading. Registers that count from zero need
    no ``meter_start_wh``. ``reservation_expired``: nobody came; then only ``reservation`` is used.
    """

    start: dt.datetime
    end: dt.datetime
    samples: tuple[Sample, ...] = ()
    parking: tuple[Interval, ...] = ()
    meter_start_wh: int | Decimal = 0
    meter_stop_wh: int | Decimal | None = None
    reservation: Interval | None = None
    reservation_expired: bool = False


class Period(Struct, frozen=True, kw_only=True):
    """A stretch priced as one: volumes in Wh and seconds, the lowest and highest power (kW) and current (A).

    Periods that are made here have one of the three times; those of another party's CDR may have several.
    ``tariff_id`` None: whichever tariff holds then; empty: no tariff is relevant (OCPI, ChargingPeriod).
    """

    start: dt.datetime
    end: dt.datetime
    energy_wh: Decimal = ZERO
    charging_s: Decimal = ZERO
    parking_s: Decimal = ZERO
    reserved_s: Decimal = ZERO
    reservation_expired: bool = False
    min_power_kw: Decimal | None = None
    max_power_kw: Decimal | None = None
    min_current_a: Decimal | None = None
    max_current_a: Decimal | None = None
    tariff_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("energy_wh", "charging_s", "parking_s", "reserved_s"):
            require_finite(name, getattr(self, name))

    @property
    def is_reservation(self) -> bool:
        """Reserved time and nothing else: priced by the reservation's elements only."""
        return bool(self.reserved_s) and not (self.energy_wh or self.charging_s or self.parking_s)


def whole_second(moment: dt.datetime) -> dt.datetime:
    """In UTC, the fraction of the second dropped; without a zone it is UTC already (OCPI, chapter Types)."""
    return utc(moment).replace(microsecond=0)


def utc(moment: dt.datetime) -> dt.datetime:
    """The same moment in UTC; without a zone it is UTC already. PricingError outside of 1970 to 9000."""
    if not EARLIEST <= moment.year <= LATEST:
        raise PricingError(
            f"the moment {moment.isoformat()} lies outside of the years {EARLIEST} to {LATEST}"
        )
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
