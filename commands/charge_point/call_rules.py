"""What forbids a call of ours to this charge point now: one table, by intent.

Its state and an intent enter; one line that says why not leaves, or nothing. What it announced counts unless whoever
asks overrides it; what it never said forbids nothing. What makes no sense whatever the charge point is, the edge has
refused before (`commands.remote_command_rules`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from commands.charge_point.reserving import cannot_reserve
from domain.charge_point.state import ChargePointState
from domain.intents import (
    Feature,
    GetCompositeSchedule,
    GetVariables,
    Intent,
    Message,
    RemoteStart,
    RemoteStop,
    ReserveNow,
    SendLocalList,
    SetChargingProfile,
    TriggerMessage,
    kind_of,
)
from domain.schedules import UNKNOWN, Abilities, ProfileStack, Refused, check, install

Rule: TypeAlias = Callable[[ChargePointState, Any], str]


def forbidden(state: ChargePointState, intent: Intent, *, override: bool) -> str:
    """Why this call may not be made now; empty when it may."""
    kind = type(intent)
    rules = (*ALWAYS.get(kind, ()), *(() if override else (*_EACH, *ANNOUNCED.get(kind, ()))))
    wrong = _registration(state, intent) or next((w for rule in rules if (w := rule(state, intent))), "")
    return wrong or ("" if override else _feature(state, intent.feature))


def _name(state: ChargePointState) -> str:
    return f"charge point {state.charge_point_id}"


def _registration(state: ChargePointState, intent: Intent) -> str:
    """BOOT-2, BOOT-3."""
    status = state.registration.status if state.registration else ""
    if status == "Rejected":
        return f"{_name(state)} was rejected at its boot: it takes no calls"
    if status == "Pending" and isinstance(intent, RemoteStart | RemoteStop):
        return f"{_name(state)} is Pending: {kind_of(intent)} is allowed once its boot was accepted"
    return ""


def _feature(state: ChargePointState, feature: Feature) -> str:
    offered = state.able().features
    if not offered or feature is Feature.SECURITY or feature.value.casefold() in offered:
        return ""
    return f"{_name(state)} does not offer the feature profile {feature.value}"


def _running(state: ChargePointState, intent: RemoteStop) -> str:
    number = intent.transaction_id
    return "" if number in state.open else f"transaction {number} of {_name(state)} is not running"


def _no_second_boot(state: ChargePointState, intent: TriggerMessage) -> str:
    """BOOT-5."""
    if not state.accepted() or intent.requested_message is not Message.BOOT_NOTIFICATION:
        return ""
    return f"{_name(state)} is accepted: its BootNotification may not be triggered again"


def _connector(state: ChargePointState, intent: Intent) -> str:
    most, number = state.able().connectors, getattr(intent, "connector_id", None)
    if not most or number is None or number <= most:
        return ""
    return f"{_name(state)} has no connector {number}: it announced {most}"


def _most_variables(state: ChargePointState, intent: GetVariables) -> str:
    most, asked = state.able().variables_at_once, len(intent.keys or ())
    if not most or asked <= most:
        return ""
    return (
        f"{_name(state)} tells at most {most} keys at once, not {asked}: ask in parts, or for all with none"
    )


def _list_version(state: ChargePointState, intent: SendLocalList) -> str:
    known = state.local_list_version
    if known is not None and known < 0:
        return f"{_name(state)} holds no local list"
    if known is None or intent.list_version > known:
        return ""
    return f"{_name(state)} holds version {known} of its local list: send a higher one"


def _list_length(state: ChargePointState, intent: SendLocalList) -> str:
    entries, able = intent.local_authorization_list or (), state.able()
    if able.list_entries_at_once and len(entries) > able.list_entries_at_once:
        return (
            f"{_name(state)} takes at most {able.list_entries_at_once} entries of a local list at once, "
            f"not {len(entries)}: send it in parts"
        )
    kept = sum(entry.id_tag_info is not None for entry in entries)
    if able.list_entries and kept > able.list_entries:
        return f"{_name(state)} holds at most {able.list_entries} entries of a local list, not {kept}"
    return ""


def _connector_zero(state: ChargePointState, intent: ReserveNow) -> str:
    """One that told what it has and did not say that it does reserves none; one that never told may."""
    able = state.able()
    if intent.connector_id != 0 or able.features is None or able.reserves_whole:
        return ""
    return f"{_name(state)} reserves single connectors only: name one above 0"


def _schedule_unit(state: ChargePointState, intent: GetCompositeSchedule) -> str:
    unit, units = intent.charging_rate_unit, state.able().units
    if unit is None or units is None or unit in units:
        return ""
    return f"{_name(state)} tells its limits in {', '.join(sorted(units))}, not {unit}"


def _start_profile(state: ChargePointState, intent: RemoteStart) -> str:
    """Inside a remote start: what the profile itself is was checked at the edge."""
    if intent.charging_profile is None:
        return ""
    wrong = check(intent.charging_profile, state.able().schedules())
    return f"{_name(state)} cannot take the charging profile: {wrong[0].text}" if wrong else ""


def _profile_fits(state: ChargePointState, intent: SetChargingProfile) -> str:
    """The transaction that it is for runs on its connector."""
    return _installed(state, intent, ProfileStack(), UNKNOWN)


def _profile_within(state: ChargePointState, intent: SetChargingProfile) -> str:
    return _installed(state, intent, state.profiles, state.able().schedules())


def _installed(
    state: ChargePointState, intent: SetChargingProfile, stack: ProfileStack, able: Abilities
) -> str:
    running = {one.connector_id: number for number, one in sorted(state.open.items())}
    placed = install(stack, intent.connector_id, intent.charging_profile, running=running, able=able)
    if isinstance(placed, Refused):
        return f"{_name(state)} cannot take the charging profile: {placed.refusals[0].text}"
    return ""


ALWAYS: Final[dict[type[Intent], tuple[Rule, ...]]] = {
    RemoteStop: (_running,),
    ReserveNow: (cannot_reserve,),
    SetChargingProfile: (_profile_fits,),
}
"""What no override changes."""

_EACH: Final[tuple[Rule, ...]] = (_connector,)
"""What holds for every intent with a connector."""

ANNOUNCED: Final[dict[type[Intent], tuple[Rule, ...]]] = {
    RemoteStart: (_start_profile,),
    TriggerMessage: (_no_second_boot,),
    GetVariables: (_most_variables,),
    SendLocalList: (_list_version, _list_length),
    ReserveNow: (_connector_zero,),
    SetChargingProfile: (_profile_within,),
    GetCompositeSchedule: (_schedule_unit,),
}
