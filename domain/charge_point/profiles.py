"""Which charging profiles a charge point took from us, as far as the next one's rules need it.

Payloads of accepted calls enter; a stack without schedules leaves, as a state holds no more than it must.
"""

from __future__ import annotations

from domain.charge_point.state import PROFILES_MOST, Clears
from domain.schedules import (
    ChargingProfile,
    ChargingSchedule,
    Installed,
    Kind,
    ProfileStack,
    Purpose,
    Unit,
    clear,
    place,
)
from domain.values import JSONObject


def set_by(payload: JSONObject) -> Installed | None:
    """The profile of a SetChargingProfile on its connector; None where it is none."""
    profile = payload.get("csChargingProfiles") or {}
    try:
        return Installed(
            int(payload["connectorId"]),
            ChargingProfile(
                charging_profile_id=int(profile["chargingProfileId"]),
                stack_level=int(profile["stackLevel"]),
                charging_profile_purpose=Purpose(profile["chargingProfilePurpose"]),
                charging_profile_kind=Kind(profile["chargingProfileKind"]),
                transaction_id=profile.get("transactionId"),
                charging_schedule=ChargingSchedule(charging_rate_unit=Unit.A, charging_schedule_period=()),
            ),
        )
    except (KeyError, TypeError, ValueError):
        return None


def cleared_by(payload: JSONObject) -> Clears:
    """What a ClearChargingProfile names."""
    purpose = payload.get("chargingProfilePurpose")
    return Clears(
        charging_profile_id=payload.get("id"),
        connector_id=payload.get("connectorId"),
        charging_profile_purpose=None if purpose is None else Purpose(purpose),
        stack_level=payload.get("stackLevel"),
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
