"""The charging profiles module of OCPI 2.3.0: bodies, the answer at once, the three later results.

The text is the same in 2.2.1.
"""

from protocols.ocpi.types import DateTime, Int, Many, Number, OcpiModel, Url
from protocols.ocpi.v2_3_0.enums import (
    ChargingProfileResponseType,
    ChargingProfileResultType,
    ChargingRateUnit,
)


class ChargingProfilePeriod(OcpiModel):
    """A limit from `start_period` seconds after the start of the profile."""

    start_period: Int
    limit: Number


class ChargingProfile(OcpiModel):
    """Limits in W, or A for each phase."""

    start_date_time: DateTime | None = None
    duration: Int | None = None
    charging_rate_unit: ChargingRateUnit
    min_charging_rate: Number | None = None
    charging_profile_period: Many[ChargingProfilePeriod] = ()


class SetChargingProfile(OcpiModel):
    """Body of the PUT of a profile."""

    charging_profile: ChargingProfile
    response_url: Url


class ActiveChargingProfile(OcpiModel):
    """The profile in force, with its start."""

    start_date_time: DateTime
    charging_profile: ChargingProfile


class ChargingProfileResponse(OcpiModel):
    """The answer at once; `timeout` in seconds."""

    result: ChargingProfileResponseType
    timeout: Int


class ActiveChargingProfileResult(OcpiModel):
    """The result of GET."""

    result: ChargingProfileResultType
    profile: ActiveChargingProfile | None = None


class ChargingProfileResult(OcpiModel):
    """The result of PUT."""

    result: ChargingProfileResultType


class ClearProfileResult(OcpiModel):
    """The result of DELETE: the same JSON as `ChargingProfileResult`."""

    result: ChargingProfileResultType
