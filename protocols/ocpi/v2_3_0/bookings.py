"""The bookings module 1.1 of OCPI 2.3.0: bookable places, requests for them and bookings.

Left lenient: a BookingLocation without a booking_option is read.
"""

from protocols.ocpi.types import Bool, Ci2, Ci3, Ci36, DateTime, Int, Many, Number, OcpiModel, Some, Str, Url
from protocols.ocpi.v2_3_0.enums import (
    AccessMethod,
    CanceledReason,
    ConnectorFormat,
    EVSEPosition,
    OpenConnectorType,
    OpenTokenType,
    OpenVehicleType,
    PowerType,
    ReservationRequestStatus,
    ReservationStatus,
    Role,
)


class Period(OcpiModel):
    """A span of time."""

    start_date_time: DateTime
    end_date_time: DateTime


class Timeslot(OcpiModel):
    """A span of time that can be booked; power in kW."""

    start_date_time: DateTime
    end_date_time: DateTime
    min_power: Number | None = None
    max_power: Number | None = None
    green_energy_support: Bool | None = None


class Calendar(OcpiModel):
    """Free time slots of a BookingLocation."""

    id: Ci36
    begin_from: DateTime
    end_before: DateTime
    timeslot_increment: Int | None = None
    available_timeslots: Some[Timeslot]
    last_updated: DateTime


class AccessInformation(OcpiModel):
    """How the driver gets in."""

    method: AccessMethod
    value: Str | None = None


class BookingOption(OcpiModel):
    """What of a Location is, or shall be, booked; sizes in cm, weight in kg."""

    evse_uid: Ci36 | None = None
    connector_id: Ci36 | None = None
    parking_id: Ci36 | None = None
    evse_position: Many[EVSEPosition] = ()
    vehicle_types: Many[OpenVehicleType] = ()
    connector_format: Many[ConnectorFormat] = ()
    connector_types: Many[OpenConnectorType] = ()
    power_types: Many[PowerType] = ()
    max_vehicle_weight: Number | None = None
    max_vehicle_height: Number | None = None
    max_vehicle_length: Number | None = None
    max_vehicle_width: Number | None = None
    min_parking_space_length: Number | None = None
    min_parking_space_width: Number | None = None
    dangerous_goods_allowed: Bool | None = None
    drive_through: Bool | None = None
    refrigeration_outlet: Bool | None = None


class BookingToken(OcpiModel):
    """A token that may use the booking."""

    country_code: Ci2
    party_id: Ci3
    uid: Ci36
    type: OpenTokenType
    contract_id: Ci36


class BookingTerms(OcpiModel):
    """Under which terms a booking is made; times in minutes."""

    rfid_auth_required: Bool | None = None
    token_groups_supported: Bool | None = None
    remote_auth_supported: Bool | None = None
    supported_access_methods: Some[AccessMethod]
    change_until_minutes: Number
    cancel_until_minutes: Number
    change_not_allowed: Bool | None = None
    early_start_allowed: Bool | None = None
    early_start_time: Number | None = None
    noshow_timeout: Number | None = None
    noshow_fee: Bool | None = None
    late_stop_allowed: Bool | None = None
    late_stop_time: Number | None = None
    overlapping_bookings_allowed: Bool | None = None
    min_booking_duration: Number | None = None
    max_booking_duration: Number | None = None
    booking_terms: Url | None = None


class Cancellation(OcpiModel):
    """Who canceled and why."""

    cancellation_reason: CanceledReason
    who_canceled: Role


class Policy(OcpiModel):
    """Whether a booking is needed."""

    reservation_required: Bool
    ad_hoc: Number | None = None


class BookingLocation(OcpiModel):
    """A bookable part of a Location."""

    country_code: Ci2
    party_id: Ci3
    id: Ci36
    location_id: Ci36
    booking_option: BookingOption | None = None
    policy: Policy | None = None
    tariff_ids: Many[Ci36] = ()
    booking_terms: BookingTerms | None = None
    calendars: Many[Calendar] = ()
    last_updated: DateTime


class BookingRequest(OcpiModel):
    """A wish to book, to change (same request_id) or to cancel (`canceled`)."""

    country_code: Ci2
    party_id: Ci3
    request_id: Ci36
    booking_option: BookingOption | None = None
    location_id: Ci36
    booking_location_id: Ci36
    tokens: Many[BookingToken] = ()
    access_information: Many[AccessInformation] = ()
    period: Period
    authorization_reference: Ci36
    power_required: Int | None = None
    canceled: Cancellation | None = None


class BookingRequestStatus(OcpiModel):
    """A request and what became of it."""

    request_status: ReservationRequestStatus
    booking_request: BookingRequest
    request_received: DateTime


class Booking(OcpiModel):
    """A booking with all requests that made it."""

    id: Ci36
    country_code: Ci2
    party_id: Ci3
    request_id: Ci36
    booking_option: BookingOption | None = None
    location_id: Ci36
    booking_tokens: Many[BookingToken] = ()
    tariff_ids: Many[Ci36] = ()
    period: Timeslot
    reservation_status: ReservationStatus
    canceled: Cancellation | None = None
    access_information: Many[AccessInformation] = ()
    authorization_reference: Ci36
    booking_terms: BookingTerms
    booking_requests: Some[BookingRequestStatus]
    last_updated: DateTime
