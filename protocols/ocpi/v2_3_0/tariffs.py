"""The tariffs module of OCPI 2.3.0 with payments (`preauthorize_amount`) and bookings (`booking`)."""

from protocols.ocpi.types import (
    CalendarDate,
    Ci2,
    Ci3,
    Ci36,
    ClockTime,
    DateTime,
    Int,
    Many,
    Number,
    OcpiModel,
    Some,
    Str3,
    Url,
)
from protocols.ocpi.v2_3_0.common import DisplayText, EnergyMix
from protocols.ocpi.v2_3_0.enums import (
    BookingRestrictionType,
    DayOfWeek,
    ReservationRestrictionType,
    TariffDimensionType,
    TariffType,
    TaxIncluded,
)


class PriceLimit(OcpiModel):
    """A lower or upper limit of the cost of a session."""

    before_taxes: Number
    after_taxes: Number | None = None


class PriceComponent(OcpiModel):
    """A price per unit of one dimension; `step_size` 0 is accepted on input."""

    type: TariffDimensionType
    price: Number
    vat: Number | None = None
    step_size: Int


class TariffRestrictionsCore(OcpiModel):
    """What TariffRestrictions holds in 2.2.1 and 2.3.0 alike."""

    start_time: ClockTime | None = None
    end_time: ClockTime | None = None
    start_date: CalendarDate | None = None
    end_date: CalendarDate | None = None
    min_kwh: Number | None = None
    max_kwh: Number | None = None
    min_current: Number | None = None
    max_current: Number | None = None
    min_power: Number | None = None
    max_power: Number | None = None
    min_duration: Int | None = None
    max_duration: Int | None = None
    day_of_week: Many[DayOfWeek] = ()
    reservation: ReservationRestrictionType | None = None


class TariffRestrictions(TariffRestrictionsCore):
    """When a TariffElement applies; times and dates are local to the Location."""

    booking: BookingRestrictionType | None = None


class TariffElement(OcpiModel):
    """Price components with the restrictions under which they apply."""

    price_components: Some[PriceComponent]
    restrictions: TariffRestrictions | None = None


class TariffCore(OcpiModel):
    """What Tariff holds in 2.2.1 and 2.3.0 alike."""

    country_code: Ci2
    party_id: Ci3
    id: Ci36
    currency: Str3
    type: TariffType | None = None
    tariff_alt_text: Many[DisplayText] = ()
    tariff_alt_url: Url | None = None
    start_date_time: DateTime | None = None
    end_date_time: DateTime | None = None
    energy_mix: EnergyMix | None = None
    last_updated: DateTime


class Tariff(TariffCore):
    """The price of charging."""

    min_price: PriceLimit | None = None
    max_price: PriceLimit | None = None
    elements: Some[TariffElement]
    tax_included: TaxIncluded
    preauthorize_amount: Number | None = None
