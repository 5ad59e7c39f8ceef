"""Smart Charging: charging profiles and composite schedules.

In: nothing. Out: a request and a confirmation type for each action.
"""

# No postponed annotations: msgspec reads them at import.
from protocols.ocpp.message import Confirmation, Instant, Integer, Request
from protocols.ocpp.v16.enums import (
    ChargingProfilePurposeType,
    ChargingProfileStatus,
    ChargingRateUnitType,
    ClearChargingProfileStatus,
    GetCompositeScheduleStatus,
)
from protocols.ocpp.v16.messages.parts import ChargingProfile, ChargingSchedule


class ClearChargingProfileRequest(Request, frozen=True, kw_only=True):
    """Remove the profiles that match; no field means all."""

    id: Integer | None = None
    connector_id: Integer | None = None
    charging_profile_purpose: ChargingProfilePurposeType | None = None
    stack_level: Integer | None = None


class ClearChargingProfileConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to ClearChargingProfile."""

    status: ClearChargingProfileStatus


class GetCompositeScheduleRequest(Request, frozen=True, kw_only=True):
    """What limit will hold over the next `duration` seconds?"""

    connector_id: Integer
    duration: Integer
    charging_rate_unit: ChargingRateUnitType | None = None


class GetCompositeScheduleConfirmation(Confirmation, frozen=True, kw_only=True):
    """The schedule from `schedule_start` on."""

    status: GetCompositeScheduleStatus
    connector_id: Integer | None = None
    schedule_start: Instant | None = None
    charging_schedule: ChargingSchedule | None = None


class SetChargingProfileRequest(Request, frozen=True, kw_only=True):
    """Install a charging profile."""

    connector_id: Integer
    cs_charging_profiles: ChargingProfile


class SetChargingProfileConfirmation(Confirmation, frozen=True, kw_only=True):
    """Answer to SetChargingProfile."""

    status: ChargingProfileStatus
