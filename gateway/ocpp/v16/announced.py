"""What the configuration keys of OCPP 1.6 and its feature profiles (9.1 to 9.4) say of what a charge point can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from domain.charge_point.announced import Announced
from domain.schedules import Unit

_UNITS: Final = {"current": Unit.A, "power": Unit.W, "a": Unit.A, "w": Unit.W}
_SEALED: Final = "s1."


def announced(values: Mapping[str, str]) -> Announced | None:
    """What these keys say, whatever their case; None where there are none that may be known.

    A value that cannot be read says nothing; ReserveConnectorZeroSupported is false unless it says `true`.
    """
    said = {key.casefold(): text.strip() for key, text in values.items() if not text.startswith(_SEALED)}
    if not said:
        return None

    def number(key: str) -> int | None:
        text = said.get(key.casefold(), "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None

    def parts(key: str) -> tuple[str, ...] | None:
        text = said.get(key.casefold())
        if text is None:
            return None
        return tuple(dict.fromkeys(part.strip().casefold() for part in text.split(",") if part.strip()))

    units = {
        _UNITS[part] for part in parts("ChargingScheduleAllowedChargingRateUnit") or () if part in _UNITS
    }
    whole = said.get("reserveconnectorzerosupported")
    return Announced(
        features=parts("SupportedFeatureProfiles"),
        connectors=number("NumberOfConnectors"),
        variables_at_once=number("GetConfigurationMaxKeys"),
        list_entries=number("LocalAuthListMaxLength"),
        list_entries_at_once=number("SendLocalListMaxLength"),
        reserves_whole=None if whole is None else whole.casefold() == "true",
        max_stack_level=number("ChargeProfileMaxStackLevel"),
        max_periods=number("ChargingScheduleMaxPeriods"),
        max_profiles=number("MaxChargingProfilesInstalled"),
        units=tuple(sorted(units)) or None,
        heartbeat_interval=number("HeartbeatInterval"),
        meter_interval=number("MeterValueSampleInterval"),
        connection_timeout=number("ConnectionTimeOut"),
    )
