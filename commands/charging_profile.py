"""A charging profile as OCPP 1.6 writes it becomes the one whose rules `domain.schedules` knows."""

from __future__ import annotations

from domain.schedules import (
    ChargingProfile,
    ChargingSchedule,
    Kind,
    Purpose,
    Recurrence,
    SchedulePeriod,
    Unit,
)
from protocols.ocpp.v16.messages import parts


def profile_of(profile: parts.ChargingProfile) -> ChargingProfile:
    """The same profile, field by field."""
    schedule, repeats = profile.charging_schedule, profile.recurrency_kind
    return ChargingProfile(
        charging_profile_id=profile.charging_profile_id,
        stack_level=profile.stack_level,
        charging_profile_purpose=Purpose(profile.charging_profile_purpose),
        charging_profile_kind=Kind(profile.charging_profile_kind),
        recurrency_kind=None if repeats is None else Recurrence(repeats),
        transaction_id=profile.transaction_id,
        valid_from=profile.valid_from,
        valid_to=profile.valid_to,
        charging_schedule=ChargingSchedule(
            charging_rate_unit=Unit(schedule.charging_rate_unit),
            duration=schedule.duration,
            start_schedule=schedule.start_schedule,
            min_charging_rate=schedule.min_charging_rate,
            charging_schedule_period=tuple(
                SchedulePeriod(
                    start_period=period.start_period, limit=period.limit, number_phases=period.number_phases
                )
                for period in schedule.charging_schedule_period
            ),
        ),
    )
