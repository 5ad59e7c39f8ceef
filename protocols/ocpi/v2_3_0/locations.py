"""The locations module of OCPI 2.3.0: Location, EVSE, Connector, parking places, opening hours."""

from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from protocols.ocpi.types import (
    Bool,
    Ci,
    Ci2,
    Ci3,
    Ci25,
    Ci36,
    Ci48,
    DateTime,
    Int,
    Int1,
    Many,
    Number,
    OcpiModel,
    OpeningTime,
    Some,
    Str3,
    Str4,
    Str10,
    Str12,
    Str16,
    Str45,
    Str50,
    Str64,
    Str255,
    Url,
)
from protocols.ocpi.v2_3_0.common import (
    AdditionalGeoLocation,
    BusinessDetails,
    DisplayText,
    EnergyMix,
    GeoLocation,
    Image,
)
from protocols.ocpi.v2_3_0.enums import (
    ConnectorFormat,
    EVSEPosition,
    OpenCapability,
    OpenConnectorCapability,
    OpenConnectorType,
    OpenFacility,
    OpenParkingRestriction,
    OpenParkingType,
    OpenTokenType,
    OpenVehicleType,
    ParkingDirection,
    PowerType,
    Status,
)


class PublishTokenType(OcpiModel):
    """Who may see a Location that is not published: uid with type, visual number with issuer, or group."""

    uid: Ci36 | None = None
    type: OpenTokenType | None = None
    visual_number: Str64 | None = None
    issuer: Str64 | None = None
    group_id: Ci36 | None = None

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.uid is None and self.visual_number is None and self.group_id is None:
            raise PydanticCustomError("ocpi", "needs a uid, a visual_number or a group_id")
        if self.uid is not None and self.type is None:
            raise PydanticCustomError("ocpi", "needs a type beside its uid")
        if self.visual_number is not None and self.issuer is None:
            raise PydanticCustomError("ocpi", "needs an issuer beside its visual_number")
        return self


class RegularHours(OcpiModel):
    """Opening hours on a weekday (1 = Monday), local time."""

    weekday: Int1
    period_begin: OpeningTime
    period_end: OpeningTime

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.period_end <= self.period_begin:
            raise PydanticCustomError("ocpi", "period_end must be later than period_begin on the same day")
        return self


class ExceptionalPeriod(OcpiModel):
    """An exception of the opening hours, in UTC."""

    period_begin: DateTime
    period_end: DateTime


class Hours(OcpiModel):
    """Opening hours: always open, or regular hours, and exceptions."""

    twentyfourseven: Bool
    regular_hours: Many[RegularHours] = ()
    exceptional_openings: Many[ExceptionalPeriod] = ()
    exceptional_closings: Many[ExceptionalPeriod] = ()

    @model_validator(mode="after")
    def _regular_unless_always_open(self) -> Self:
        if self.twentyfourseven and self.regular_hours:
            raise PydanticCustomError("ocpi", "regular_hours are only for twentyfourseven false")
        if not self.twentyfourseven and not self.regular_hours:
            raise PydanticCustomError("ocpi", "needs regular_hours, as twentyfourseven is false")
        return self


class StatusSchedule(OcpiModel):
    """A planned status of an EVSE."""

    period_begin: DateTime
    period_end: DateTime | None = None
    status: Status


class ConnectorCore(OcpiModel):
    """What Connector holds in 2.2.1 and 2.3.0 alike."""

    id: Ci36
    standard: OpenConnectorType
    format: ConnectorFormat
    power_type: PowerType
    max_voltage: Int
    max_amperage: Int
    max_electric_power: Int | None = None
    tariff_ids: Many[Ci36] = ()
    terms_and_conditions: Url | None = None
    last_updated: DateTime


class Connector(ConnectorCore):
    """A socket or cable of an EVSE; V, A and W."""

    capabilities: Many[OpenConnectorCapability] = ()


class EVSEParking(OcpiModel):
    """Which parking place belongs to an EVSE, and where the EVSE stands there."""

    parking_id: Ci36
    evse_position: EVSEPosition | None = None


class EVSECore(OcpiModel):
    """What EVSE holds in 2.2.1 and 2.3.0 alike."""

    uid: Ci36
    evse_id: Ci48 | None = None
    status: Status
    status_schedule: Many[StatusSchedule] = ()
    capabilities: Many[OpenCapability] = ()
    floor_level: Str4 | None = None
    coordinates: GeoLocation | None = None
    physical_reference: Str16 | None = None
    directions: Many[DisplayText] = ()
    parking_restrictions: Many[OpenParkingRestriction] = ()
    images: Many[Image] = ()
    last_updated: DateTime


class EVSE(EVSECore):
    """A part of a Location that charges one vehicle at a time; its uid is never used again."""

    connectors: Some[Connector]
    parking: Many[EVSEParking] = ()
    accepted_service_providers: Many[Str50] = ()


class Parking(OcpiModel):
    """A parking place: sizes in cm, weight in kg, times in minutes."""

    id: Ci36
    physical_reference: Str12 | None = None
    vehicle_types: Some[OpenVehicleType]
    max_vehicle_weight: Number | None = None
    max_vehicle_height: Number | None = None
    max_vehicle_length: Number | None = None
    max_vehicle_width: Number | None = None
    parking_space_length: Number | None = None
    parking_space_width: Number | None = None
    dangerous_goods_allowed: Bool | None = None
    direction: ParkingDirection | None = None
    drive_through: Bool | None = None
    restricted_to_type: Bool
    reservation_required: Bool
    time_limit: Number | None = None
    roofed: Bool | None = None
    images: Many[Image] = ()
    lighting: Bool | None = None
    refrigeration_outlet: Bool | None = None
    standards: Many[Ci36] = ()
    apds_reference: Ci | None = None


class LocationCore(OcpiModel):
    """What Location holds in 2.2.1 and 2.3.0 alike."""

    country_code: Ci2
    party_id: Ci3
    id: Ci36
    publish: Bool
    publish_allowed_to: Many[PublishTokenType] = ()
    name: Str255 | None = None
    address: Str255
    city: Str45
    postal_code: Str10 | None = None
    state: Str45 | None = None
    country: Str3
    coordinates: GeoLocation
    related_locations: Many[AdditionalGeoLocation] = ()
    parking_type: OpenParkingType | None = None
    directions: Many[DisplayText] = ()
    operator: BusinessDetails | None = None
    suboperator: BusinessDetails | None = None
    owner: BusinessDetails | None = None
    facilities: Many[OpenFacility] = ()
    time_zone: Str255
    opening_times: Hours | None = None
    charging_when_closed: Bool | None = None
    images: Many[Image] = ()
    energy_mix: EnergyMix | None = None
    last_updated: DateTime


class Location(LocationCore):
    """A place with EVSEs."""

    evses: Many[EVSE] = ()
    parking_places: Many[Parking] = ()
    help_phone: Ci25 | None = None
