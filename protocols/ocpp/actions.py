"""What can be said of an action of any OCPP version: who sends it and to which feature profile it belongs.

In: nothing. Out: two enumerations that the tables of each version use.
"""

from __future__ import annotations

from enum import StrEnum


class Direction(StrEnum):
    """Who may send the CALL of an action."""

    FROM_CHARGE_POINT = "charge point"
    FROM_CENTRAL_SYSTEM = "central system"
    BOTH = "both"

    def allows(self, sender: Direction) -> bool:
        """Whether `sender` (never `BOTH`) may send it."""
        return self is Direction.BOTH or self is sender


class Profile(StrEnum):
    """Feature profiles; the values are those of the configuration key SupportedFeatureProfiles.

    `Security` is our name: the security extension announces itself by other keys.
    """

    CORE = "Core"
    FIRMWARE_MANAGEMENT = "FirmwareManagement"
    LOCAL_AUTH_LIST_MANAGEMENT = "LocalAuthListManagement"
    RESERVATION = "Reservation"
    SMART_CHARGING = "SmartCharging"
    REMOTE_TRIGGER = "RemoteTrigger"
    SECURITY = "Security"
