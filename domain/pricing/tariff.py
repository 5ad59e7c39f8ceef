"""The tariff as OCPI 2.3.0 writes it: what comes in is its JSON shape, what goes out are frozen structs with
the same names. Numbers are exact Decimals, dates are checked, unknown fields are left out. Never a price.

Facts: OCPI 2.3.0, chapter Tariffs, classes Tariff to TariffRestrictions; chapter Types, PriceLimit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from domain.pricing.numbers import PricingError, require_finite

TariffDimension = Literal["ENERGY", "FLAT", "PARKING_TIME", "TIME"]
TaxIncluded = Literal["YES", "NO", "N/A"]
ReservationRestriction = Literal["RESERVATION", "RESERVATION_EXPIRES"]
DayOfWeek = Literal["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]
Whole = Annotated[int, Meta(ge=0, le=10**9)]
WallTime = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class DisplayText(Struct, frozen=True):
    """A text in one language (ISO 639-1)."""

    language: str
    text: str


class PriceLimit(Struct, frozen=True):
    """A lower or upper bound of a session's cost, in the tariff's currency."""

    before_taxes: Decimal
    after_taxes: Decimal | None = None

    def __post_init__(self) -> None:
        require_finite("before_taxes", self.before_taxes)
        require_finite("after_taxes", self.after_taxes)


class PriceComponent(Struct, frozen=True):
    """A price per kWh (ENERGY), per hour (TIME, PARKING_TIME) or per charge (FLAT).

    ``vat`` is a percentage; ``step_size`` counts Wh or seconds; 0 means that nothing is rounded.
    """

    type: TariffDimension
    price: Decimal
    step_size: Whole = 1
    vat: Decimal | None = None

    def __post_init__(self) -> None:
        require_finite("price", self.price)
        require_finite("vat", self.vat)
        if self.vat is not None and self.vat <= -100:
            raise ValueError(f"vat is {self.vat} percent, it must be above -100")


class TariffRestrictions(Struct, frozen=True):
    """When an element prices: all that is given must hold. kWh, A (sum of phases), kW, seconds, local time."""

    start_time: WallTime | None = None
    end_time: WallTime | None = None
    start_date: dt.date | None = None
    end_date: dt.date | None = None
    min_kwh: Decimal | None = None
    max_kwh: Decimal | None = None
    min_current: Decimal | None = None
    max_current: Decimal | None = None
    min_power: Decimal | None = None
    max_power: Decimal | None = None
    min_duration: Whole | None = None
    max_duration: Whole | None = None
    day_of_week: tuple[DayOfWeek, ...] | None = None
    reservation: ReservationRestriction | None = None

    def __post_init__(self) -> None:
        for name in ("min_kwh", "max_kwh", "min_current", "max_current", "min_power", "max_power"):
            require_finite(name, getattr(self, name))


class TariffElement(Struct, frozen=True):
    """Price components that hold under the same restrictions."""

    price_components: Annotated[tuple[PriceComponent, ...], Meta(min_length=1)]
    restrictions: TariffRestrictions | None = None


class EnergySource(Struct, frozen=True):
    """The share of one source, in percent."""

    source: str
    percentage: Decimal


class EnvironmentalImpact(Struct, frozen=True):
    """An impact, in g/kWh."""

    category: str
    amount: Decimal


class EnergyMix(Struct, frozen=True):
    """Where the energy comes from; carried along, no rule of pricing reads it."""

    is_green_energy: bool
    energy_sources: tuple[EnergySource, ...] | None = None
    environ_impact: tuple[EnvironmentalImpact, ...] | None = None
    supplier_name: str | None = None
    energy_product_name: str | None = None


class Tariff(Struct, frozen=True):
    """One tariff of a party; the first matching element prices, for each dimension and at each moment."""

    country_code: str
    party_id: str
    id: str
    currency: str
    elements: Annotated[tuple[TariffElement, ...], Meta(min_length=1)]
    last_updated: dt.datetime
    tax_included: TaxIncluded = "NO"
    type: str | None = None
    tariff_alt_text: tuple[DisplayText, ...] | None = None
    tariff_alt_url: str | None = None
    min_price: PriceLimit | None = None
    max_price: PriceLimit | None = None
    preauthorize_amount: Decimal | None = None
    start_date_time: dt.datetime | None = None
    end_date_time: dt.datetime | None = None
    energy_mix: EnergyMix | None = None


class TariffFrom(Struct, frozen=True):
    """A tariff and the moment from which it applies in a charge; None: from the beginning."""

    tariff: Tariff
    since: dt.datetime | None = None


def tariff_from_json(value: Mapping[str, object]) -> Tariff:
    """A Tariff of OCPI 2.3.0 from its decoded JSON; PricingError names the field that is wrong by its path."""
    try:
        return msgspec.convert(value, Tariff)
    except (msgspec.ValidationError, UnicodeError) as error:
        raise PricingError(f"tariff: {error}") from None
