"""What the tariffs module of OCPI 2.2.1 has otherwise than 2.3.0."""

from protocols.ocpi.types import OcpiModel, Some
from protocols.ocpi.v2_2_1.common import Price
from protocols.ocpi.v2_3_0.tariffs import PriceComponent, TariffCore, TariffRestrictionsCore


class TariffRestrictions(TariffRestrictionsCore):
    """When a TariffElement applies; times and dates are local to the Location."""


class TariffElement(OcpiModel):
    """Price components with the restrictions under which they apply."""

    price_components: Some[PriceComponent]
    restrictions: TariffRestrictions | None = None


class Tariff(TariffCore):
    """The price of charging."""

    min_price: Price | None = None
    max_price: Price | None = None
    elements: Some[TariffElement]
