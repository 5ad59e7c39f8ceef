"""Which charging profiles a charge point took from us, as far as the next one's rules need it.

Intents that it took enter; a stack without schedules leaves, as a state holds no more than it must.
"""

from __future__ import annotations

import msgspec

from domain.charge_point.state import PROFILES_MOST, Clears
from domain.intents import ClearChargingProfile, SetChargingProfile
from domain.schedules import ChargingSchedule, Installed, ProfileStack, Unit, clear, place


def set_by(intent: SetChargingProfile) -> Installed:
    """The profile on its connector, without its schedule."""
    none = ChargingSchedule(charging_rate_unit=Unit.A, charging_schedule_period=())
    kept = msgspec.structs.replace(
        intent.charging_profile, charging_schedule=none, recurrency_kind=None, valid_from=None, valid_to=None
    )
    return Installed(intent.connector_id, kept)


def cleared_by(intent: ClearChargingProfile) -> Clears:
    """Which profiles it names."""
    return Clears(
        charging_profile_id=intent.id,
        connector_id=intent.connector_id,
        charging_profile_purpose=intent.charging_profile_purpose,
        stack_level=intent.stack_level,
    )


def with_one(stack: ProfileStack, new: Installed) -> ProfileStack:
    """After the charge point took it."""
    after = place(stack, new.connector_id, new.profile).stack
    return ProfileStack(after.profiles[-PROFILES_MOST:])


def without(stack: ProfileStack, gone: Clears) -> ProfileStack:
    """After the charge point cleared them."""
    return clear(
        stack,
        charging_profile_id=gone.charging_profile_id,
        connector_id=gone.connector_id,
        charging_profile_purpose=gone.charging_profile_purpose,
        stack_level=gone.stack_level,
    ).stack
