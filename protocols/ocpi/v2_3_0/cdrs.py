"""The CDRs module of OCPI 2.3.0 with bookings: the final, immutable record of a charge."""

from typing import Final, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from protocols.ocpi.types import (
    Bool,
    CdrAddress,
    CdrDateTime,
    CdrState,
    Ci2,
    Ci3,
    Ci32,
    Ci36,
    Ci39,
    Ci48,
    DateTime,
    Int,
    Many,
    Number,
    OcpiModel,
    Some,
    Str3,
    Str10,
    Str45,
    Str255,
    Str512,
    Str5000,
)
from protocols.ocpi.v2_3_0.common import GeoLocation, Price
from protocols.ocpi.v2_3_0.enums import (
    AuthMethod,
    CdrDimensionType,
    ConnectorFormat,
    OpenConnectorType,
    OpenTokenType,
    PowerType,
)
from protocols.ocpi.v2_3_0.locations import EVSE, Connector, Location
from protocols.ocpi.v2_3_0.tariffs import Tariff


class CdrDimension(OcpiModel):
    """A volume: kWh, A, kW, hours or percent by its type."""

    type: CdrDimensionType
    volume: Number


class ChargingPeriod(OcpiModel):
    """A part of a charge from its start to the start of the next one."""

    start_date_time: CdrDateTime
    dimensions: Some[CdrDimension]
    tariff_id: Ci36 | None = None


class CdrToken(OcpiModel):
    """The token of a charge, as it was at the start."""

    country_code: Ci2
    party_id: Ci3
    uid: Ci36
    type: OpenTokenType
    contract_id: Ci36


class CdrLocation(OcpiModel):
    """The place of a charge, as it was at the start."""

    id: Ci36
    name: Str255 | None = None
    address: CdrAddress
    city: Str45
    postal_code: Str10 | None = None
    state: CdrState | None = None
    country: Str3
    coordinates: GeoLocation
    evse_uid: Ci36
    evse_id: Ci48
    connector_id: Ci36
    connector_standard: OpenConnectorType
    connector_format: ConnectorFormat
    connector_power_type: PowerType


class SignedValue(OcpiModel):
    """One signed meter value."""

    nature: Ci32
    plain_data: Str5000
    signed_data: Str5000


class SignedData(OcpiModel):
    """Signed meter values for the Eichrecht."""

    encoding_method: Ci36
    encoding_method_version: Int | None = None
    public_key: Str512 | None = None
    signed_values: Some[SignedValue]
    url: Str512 | None = None


class CDRCore(OcpiModel):
    """What CDR holds in 2.2.1 and 2.3.0 alike."""

    country_code: Ci2
    party_id: Ci3
    id: Ci39
    start_date_time: CdrDateTime
    end_date_time: CdrDateTime
    session_id: Ci36 | None = None
    cdr_token: CdrToken
    auth_method: AuthMethod
    authorization_reference: Ci36 | None = None
    cdr_location: CdrLocation
    meter_id: Str255 | None = None
    currency: Str3
    signed_data: SignedData | None = None
    total_energy: Number
    total_time: Number
    total_parking_time: Number | None = None
    remark: Str255 | None = None
    invoice_reference_id: Ci39 | None = None
    credit: Bool | None = None
    credit_reference_id: Ci39 | None = None
    home_charging_compensation: Bool | None = None
    last_updated: DateTime

    @model_validator(mode="after")
    def _credit_names_what_it_corrects(self) -> Self:
        if self.credit and self.credit_reference_id is None:
            raise PydanticCustomError("ocpi", "needs a credit_reference_id, as credit is true")
        return self


class CDR(CDRCore):
    """A charge detail record: kWh and hours. It never changes: a Credit CDR and a new one correct it."""

    tariffs: Many[Tariff] = ()
    charging_periods: Some[ChargingPeriod]
    total_cost: Price
    total_fixed_cost: Price | None = None
    total_energy_cost: Price | None = None
    total_time_cost: Price | None = None
    total_parking_cost: Price | None = None
    total_reservation_cost: Price | None = None
    booking_id: Ci36 | None = None


NOT_AVAILABLE: Final = "#NA"
"""What a text field holds that cannot be filled."""


def cdr_location(location: Location, evse: EVSE, connector: Connector) -> CdrLocation:
    """The place of a charge as a CDR tells it: address and state cut to the 45 and 20 characters of CdrLocation."""
    given = {"name": location.name, "postal_code": location.postal_code, "state": (location.state or "")[:20]}
    return CdrLocation(
        id=location.id,
        address=location.address[:45],
        city=location.city,
        country=location.country,
        coordinates=evse.coordinates or location.coordinates,
        evse_uid=evse.uid,
        evse_id=evse.evse_id or NOT_AVAILABLE,
        connector_id=connector.id,
        connector_standard=connector.standard,
        connector_format=connector.format,
        connector_power_type=connector.power_type,
        **{name: text for name, text in given.items() if text},
    )
