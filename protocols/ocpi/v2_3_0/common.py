"""Small objects that several modules of OCPI 2.3.0 share: texts, prices, images, places, energy mix.

Types only: what they accept is said by their fields.
"""

from pydantic import model_validator

from protocols.ocpi.types import (
    Bool,
    Ci4,
    Int5,
    Latitude,
    Longitude,
    Many,
    Number,
    OcpiModel,
    Str,
    Str2,
    Str64,
    Str100,
    Str512,
    Url,
)
from protocols.ocpi.v2_3_0.enums import (
    EnergySourceCategory,
    OpenEnvironmentalImpactCategory,
    OpenImageCategory,
)


class DisplayText(OcpiModel):
    """A text in one language (17.3)."""

    language: Str2
    text: Str512


class TaxAmount(OcpiModel):
    """One tax within a Price (new in 2.3.0)."""

    name: Str
    account_number: Str | None = None
    percentage: Number | None = None
    amount: Number


class Price(OcpiModel):
    """An amount before taxes and its taxes; `taxes` never given means not known.

    The total is `before_taxes` plus every `taxes[].amount`. A null for `taxes` is read as never given.
    """

    before_taxes: Number
    taxes: Many[TaxAmount] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_known(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("taxes", ()) is None:
            return {key: item for key, item in value.items() if key != "taxes"}
        return value


class Image(OcpiModel):
    """A picture by URL."""

    url: Url
    thumbnail: Url | None = None
    category: OpenImageCategory
    type: Ci4
    width: Int5 | None = None
    height: Int5 | None = None


class BusinessDetails(OcpiModel):
    """Name and looks of a company."""

    name: Str100
    website: Url | None = None
    logo: Image | None = None


class GeoLocation(OcpiModel):
    """WGS 84 coordinates as decimal strings with 5 to 7 decimals."""

    latitude: Latitude
    longitude: Longitude


class AdditionalGeoLocation(OcpiModel):
    """A further place that matters for a Location, with a name."""

    latitude: Latitude
    longitude: Longitude
    name: DisplayText | None = None


class EnergySource(OcpiModel):
    """A share of one source in the energy mix, in percent."""

    source: EnergySourceCategory
    percentage: Number


class EnvironmentalImpact(OcpiModel):
    """Waste or carbon dioxide in g/kWh."""

    category: OpenEnvironmentalImpactCategory
    amount: Number


class EnergyMix(OcpiModel):
    """Where the energy comes from."""

    is_green_energy: Bool
    energy_sources: Many[EnergySource] = ()
    environ_impact: Many[EnvironmentalImpact] = ()
    supplier_name: Str64 | None = None
    energy_product_name: Str64 | None = None
