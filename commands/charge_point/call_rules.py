"""What forbids a call of ours to this charge point now: one table, by action.

Its state and a payload as on the wire enter; one line that says why not leaves, or nothing. What it announced in its
configuration counts unless whoever asks overrides it; what it never said forbids nothing. What OCPP forbids whatever
the charge point is, the edge has refused before (`commands.remote_command_rules`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from commands.charging_profile import profile_of
from domain.charge_point.state import ChargePointState
from domain.schedules import UNKNOWN, Abilities, ProfileStack, Refused, Unit, abilities, check, install
from domain.values import JSONObject
from protocols.ocpp.actions import Profile
from protocols.ocpp.message import WireError
from protocols.ocpp.parsing import read
from protocols.ocpp.v16 import PROFILES
from protocols.ocpp.v16.messages.parts import ChargingProfile

Rule: TypeAlias = Callable[[ChargePointState, JSONObject], str]


def forbidden(state: ChargePointState, action: str, payload: JSONObject, *, override: bool) -> str:
    """Why this call may not be made now; empty when it may."""
    rules = (*ALWAYS.get(action, ()), *(() if override else (*_EACH, *ANNOUNCED.get(action, ()))))
    wrong = _registration(state, action) or next((w for rule in rules if (w := rule(state, payload))), "")
    return wrong or ("" if override else _feature_profile(state, action))


def _name(state: ChargePointState) -> str:
    return f"charge point {state.charge_point_id}"


def _registration(state: ChargePointState, action: str) -> str:
    """BOOT-2, BOOT-3."""
    status = state.registration.status if state.registration else ""
    if status == "Rejected":
        return f"{_name(state)} was rejected at its boot: it takes no calls"
    if status == "Pending" and action in ("RemoteStartTransaction", "RemoteStopTransaction"):
        return f"{_name(state)} is Pending: {action} is allowed once its boot was accepted"
    return ""


def _feature_profile(state: ChargePointState, action: str) -> str:
    announced, profile = state.configuration.get("supportedfeatureprofiles"), PROFILES[action]
    if not announced or profile is Profile.SECURITY:
        return ""
    names = {part.strip().casefold() for part in announced.split(",")}
    if profile.value.casefold() in names:
        return ""
    return f"{_name(state)} does not offer the feature profile {profile.value}"


def _running(state: ChargePointState, payload: JSONObject) -> str:
    number = payload.get("transactionId")
    return "" if number in state.open else f"transaction {number} of {_name(state)} is not running"


def _no_second_boot(state: ChargePointState, payload: JSONObject) -> str:
    """BOOT-5."""
    if not state.accepted() or payload.get("requestedMessage") != "BootNotification":
        return ""
    return f"{_name(state)} is accepted: its BootNotification may not be triggered again"


def _connector(state: ChargePointState, payload: JSONObject) -> str:
    most, number = state.configured_number("numberofconnectors"), payload.get("connectorId")
    if not most or not isinstance(number, int) or number <= most:
        return ""
    return f"{_name(state)} has no connector {number}: it announced {most}"


def _most_keys(state: ChargePointState, payload: JSONObject) -> str:
    most, asked = state.configured_number("getconfigurationmaxkeys"), len(payload.get("key") or ())
    if not most or asked <= most:
        return ""
    return (
        f"{_name(state)} tells at most {most} keys at once, not {asked}: ask in parts, or for all with none"
    )


def _list_version(state: ChargePointState, payload: JSONObject) -> str:
    known = state.local_list_version
    if known is not None and known < 0:
        return f"{_name(state)} holds no local list"
    if known is None or int(payload["listVersion"]) > known:
        return ""
    return f"{_name(state)} holds version {known} of its local list: send a higher one"


def _list_length(state: ChargePointState, payload: JSONObject) -> str:
    entries = payload.get("localAuthorizationList") or ()
    at_once = state.configured_number("sendlocallistmaxlength")
    if at_once and len(entries) > at_once:
        return (
            f"{_name(state)} takes at most {at_once} entries of a local list at once, not {len(entries)}: "
            "send it in parts"
        )
    most = state.configured_number("localauthlistmaxlength")
    kept = sum("idTagInfo" in entry for entry in entries)
    if most and kept > most:
        return f"{_name(state)} holds at most {most} entries of a local list, not {kept}"
    return ""


def _connector_zero(state: ChargePointState, payload: JSONObject) -> str:
    """Without the key a charge point reserves none; one that never told its configuration may."""
    if payload.get("connectorId") != 0 or not state.told_configuration():
        return ""
    supported = state.configuration.get("reserveconnectorzerosupported", "").strip().casefold() == "true"
    return "" if supported else f"{_name(state)} reserves single connectors only: name one above 0"


def _schedule_unit(state: ChargePointState, payload: JSONObject) -> str:
    unit, units = payload.get("chargingRateUnit"), abilities(state.configuration).units
    if unit is None or units is None or Unit(unit) in units:
        return ""
    return f"{_name(state)} tells its limits in {', '.join(sorted(units))}, not {unit}"


def _start_profile(state: ChargePointState, payload: JSONObject) -> str:
    """Inside a remote start: what the profile itself is was checked at the edge."""
    if "chargingProfile" not in payload:
        return ""
    found = read(ChargingProfile, payload["chargingProfile"])
    if isinstance(found, WireError):
        return f"{_name(state)} cannot take the charging profile: {found.description}"
    wrong = check(profile_of(found[0]), abilities(state.configuration))
    return f"{_name(state)} cannot take the charging profile: {wrong[0].text}" if wrong else ""


def _profile_fits(state: ChargePointState, payload: JSONObject) -> str:
    """The transaction that it is for runs on its connector."""
    return _installed(state, payload, ProfileStack(), UNKNOWN)


def _profile_within(state: ChargePointState, payload: JSONObject) -> str:
    return _installed(state, payload, state.profiles, abilities(state.configuration))


def _installed(state: ChargePointState, payload: JSONObject, stack: ProfileStack, able: Abilities) -> str:
    found = read(ChargingProfile, payload["csChargingProfiles"])
    if isinstance(found, WireError):
        return f"{_name(state)} cannot take the charging profile: {found.description}"
    running = {one.connector_id: number for number, one in sorted(state.open.items())}
    placed = install(stack, int(payload["connectorId"]), profile_of(found[0]), running=running, able=able)
    if isinstance(placed, Refused):
        return f"{_name(state)} cannot take the charging profile: {placed.refusals[0].text}"
    return ""


ALWAYS: Final[dict[str, tuple[Rule, ...]]] = {
    "RemoteStopTransaction": (_running,),
    "SetChargingProfile": (_profile_fits,),
}
"""What no override changes."""

_EACH: Final[tuple[Rule, ...]] = (_connector,)
"""What holds for every action with a connector."""

ANNOUNCED: Final[dict[str, tuple[Rule, ...]]] = {
    "RemoteStartTransaction": (_start_profile,),
    "TriggerMessage": (_no_second_boot,),
    "GetConfiguration": (_most_keys,),
    "SendLocalList": (_list_version, _list_length),
    "ReserveNow": (_connector_zero,),
    "SetChargingProfile": (_profile_within,),
    "GetCompositeSchedule": (_schedule_unit,),
}
