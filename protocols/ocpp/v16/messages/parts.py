"""Objects that messages of OCPP 1.6 are made of (section 7).

In: nothing. Out: the types that more than one message shares, or that are lists inside one.
"""

# No postponed annotations: msgspec reads them at import.
from typing import Annotated

from msgspec import Meta

from protocols.ocpp.message import (
    Instant,
    Integer,
    Part,
    Tenths,
    Text20,
    Text40,
    Text50,
    Text128,
    Text500,
    Text512,
    Text800,
    Text5500,
)
from protocols.ocpp.v16.enums import (
    AuthorizationStatus,
    ChargingProfileKindType,
    ChargingProfilePurposeType,
    ChargingRateUnitType,
    HashAlgorithm,
    Location,
    Measurand,
    Phase,
    ReadingContext,
    RecurrencyKindType,
    UnitOfMeasure,
    ValueFormat,
)


class IdTagInfo(Part, frozen=True, kw_only=True):
    """What the central system says of an id tag. No `expiry_date` means no end (AUTH-3)."""

    expiry_date: Instant | None = None
    parent_id_tag: Text20 | None = None
    status: AuthorizationStatus


class AuthorizationData(Part, frozen=True, kw_only=True):
    """An entry of the local list; without `id_tag_info` it deletes."""

    id_tag: Text20
    id_tag_info: IdTagInfo | None = None


class KeyValue(Part, frozen=True, kw_only=True):
    """One configuration key as the charge point reports it."""

    key: Text50
    readonly: bool
    value: Text500 | None = None


class SampledValue(Part, frozen=True, kw_only=True):
    """One value as sent: a text whose unit and meaning stand beside it (MV-1)."""

    value: str
    context: ReadingContext | None = None
    format: ValueFormat | None = None
    measurand: Measurand | None = None
    phase: Phase | None = None
    location: Location | None = None
    unit: UnitOfMeasure | None = None


class MeterReading(Part, frozen=True, kw_only=True):
    """Samples of one moment. In StopTransaction the list of samples may be empty."""

    timestamp: Instant
    sampled_value: tuple[SampledValue, ...]


class MeterValue(MeterReading, frozen=True, kw_only=True):
    """Samples of one moment, at least one."""

    sampled_value: Annotated[tuple[SampledValue, ...], Meta(min_length=1)]


class ChargingSchedulePeriod(Part, frozen=True, kw_only=True):
    """`limit` from `start_period` seconds on, in the unit of its schedule. No `number_phases` means 3."""

    start_period: Integer
    limit: Tenths
    number_phases: Integer | None = None


class ChargingSchedule(Part, frozen=True, kw_only=True):
    """Limits over time; `duration` in seconds."""

    duration: Integer | None = None
    start_schedule: Instant | None = None
    charging_rate_unit: ChargingRateUnitType
    charging_schedule_period: tuple[ChargingSchedulePeriod, ...]
    min_charging_rate: Tenths | None = None


class ChargingProfile(Part, frozen=True, kw_only=True):
    """A schedule with its purpose, rank and validity."""

    charging_profile_id: Integer
    transaction_id: Integer | None = None
    stack_level: Integer
    charging_profile_purpose: ChargingProfilePurposeType
    charging_profile_kind: ChargingProfileKindType
    recurrency_kind: RecurrencyKindType | None = None
    valid_from: Instant | None = None
    valid_to: Instant | None = None
    charging_schedule: ChargingSchedule


class CertificateHashData(Part, frozen=True, kw_only=True):
    """Names an installed certificate."""

    hash_algorithm: HashAlgorithm
    issuer_name_hash: Text128
    issuer_key_hash: Text128
    serial_number: Text40


class LogParameters(Part, frozen=True, kw_only=True):
    """Where a log goes and what span it covers."""

    remote_location: Text512
    oldest_timestamp: Instant | None = None
    latest_timestamp: Instant | None = None


class Firmware(Part, frozen=True, kw_only=True):
    """A signed firmware image."""

    location: Text512
    retrieve_date_time: Instant
    install_date_time: Instant | None = None
    signing_certificate: Text5500
    signature: Text800
