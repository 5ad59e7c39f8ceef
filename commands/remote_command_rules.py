"""What makes no sense to ask of any charge point: one table, by intent.

An intent and the time enter; the first thing that is wrong leaves, by its path, without its value. What depends on
the charge point is decided with it (`commands.charge_point.call_rules`), and what its version cannot say is the
gateway's to know (`gateway.ocpp.versions`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec

from domain.intents import (
    CancelReservation,
    ChangeAvailability,
    ClearChargingProfile,
    GetCompositeSchedule,
    GetDiagnostics,
    GetLog,
    Intent,
    ListUpdate,
    RemoteStart,
    RemoteStop,
    ReserveNow,
    SendLocalList,
    SetChargingProfile,
    SetVariable,
    SignedUpdateFirmware,
    TriggerMessage,
    TriggerSecurityMessage,
    Unlock,
    UpdateFirmware,
)
from domain.schedules import UNKNOWN, Purpose, Refusal, check, check_place, check_remote_start

_MOST: Final = 2**31 - 1


class ParameterError(msgspec.Struct, frozen=True):
    """What is wrong with a request: a dotted path such as `parameters.id_tag`, and one line without its value.

    Of an intent the path is that of its field: `parameters.charging_profile.stack_level`.
    """

    path: str
    message: str


Rule: TypeAlias = Callable[[Any, datetime], ParameterError | None]


def broken(intent: Intent, now: datetime) -> ParameterError | None:
    """The first rule of its kind that the intent breaks."""
    return next((wrong for rule in RULES.get(type(intent), ()) if (wrong := rule(intent, now))), None)


def _wrong(field: str, message: str) -> ParameterError:
    return ParameterError(f"parameters.{field}", message)


def _from(field: str, least: int) -> Rule:
    """A number that is given is no lower, and fits 31 bits."""

    def rule(request: Any, now: datetime) -> ParameterError | None:
        value = getattr(request, field)
        if value is None or least <= value <= _MOST:
            return None
        return _wrong(field, f"must be between {least} and {_MOST}")

    return rule


def _some(field: str) -> Rule:
    """A text has characters."""

    def rule(request: Any, now: datetime) -> ParameterError | None:
        return None if getattr(request, field) else _wrong(field, "must not be empty")

    return rule


def _rises(earlier: str, later: str) -> Rule:
    """Two times that are given come in their order."""

    def rule(request: Any, now: datetime) -> ParameterError | None:
        begin, end = getattr(request, earlier), getattr(request, later)
        return _wrong(later, f"must be after {earlier}") if begin and end and end <= begin else None

    return rule


def _start_profile(request: RemoteStart, now: datetime) -> ParameterError | None:
    profile = request.charging_profile
    if profile is None:
        return None
    return _first(check_remote_start(profile, UNKNOWN), "charging_profile") or _over(
        profile.valid_to, now, "charging_profile"
    )


def _set_profile(request: SetChargingProfile, now: datetime) -> ParameterError | None:
    profile, name = request.charging_profile, "charging_profile"
    if wrong := check_place(request.connector_id, profile):
        return _wrong("connector_id", wrong[0].text)
    if profile.charging_profile_purpose is Purpose.TX and profile.transaction_id is None:
        return _wrong(f"{name}.transaction_id", "a TxProfile names the transaction that it is for")
    return _first(check(profile, UNKNOWN), name) or _over(profile.valid_to, now, name)


def _first(refusals: Iterable[Refusal], name: str) -> ParameterError | None:
    return next((_wrong(f"{name}.{one.field}", one.text) for one in refusals), None)


def _over(valid_to: datetime | None, now: datetime, name: str) -> ParameterError | None:
    return _wrong(f"{name}.valid_to", "is over already") if valid_to is not None and valid_to <= now else None


def _list_entries(request: SendLocalList, now: datetime) -> ParameterError | None:
    """Tags differ whatever their case (AUTH-2); a Full list has no entries that only delete."""
    seen: set[str] = set()
    for number, entry in enumerate(request.local_authorization_list or ()):
        here = f"local_authorization_list[{number}]"
        if not entry.id_tag:
            return _wrong(f"{here}.id_tag", "must not be empty")
        if entry.id_tag.casefold() in seen:
            return _wrong(f"{here}.id_tag", "stands in the list twice")
        if request.update_type is ListUpdate.FULL and entry.id_tag_info is None:
            return _wrong(f"{here}.id_tag_info", "is missing: an entry of a Full list says what its tag may")
        seen.add(entry.id_tag.casefold())
    return None


def _expiry(request: ReserveNow, now: datetime) -> ParameterError | None:
    return _wrong("expiry_date", "must be in the future") if request.expiry_date <= now else None


RULES: Final[dict[type[Intent], tuple[Rule, ...]]] = {
    RemoteStart: (_from("connector_id", 1), _some("id_tag"), _start_profile),
    RemoteStop: (_from("transaction_id", 1),),
    Unlock: (_from("connector_id", 1),),
    ChangeAvailability: (_from("connector_id", 0),),
    SetVariable: (_some("key"),),
    TriggerMessage: (_from("connector_id", 1),),
    TriggerSecurityMessage: (_from("connector_id", 1),),
    SendLocalList: (_from("list_version", 1), _list_entries),
    ReserveNow: (_from("connector_id", 0), _from("reservation_id", 1), _some("id_tag"), _expiry),
    CancelReservation: (_from("reservation_id", 1),),
    SetChargingProfile: (_set_profile,),
    ClearChargingProfile: (_from("connector_id", 0), _from("stack_level", 0)),
    GetCompositeSchedule: (_from("connector_id", 0), _from("duration", 1)),
    GetDiagnostics: (
        _from("retries", 0),
        _from("retry_interval", 0),
        _rises("start_time", "stop_time"),
    ),
    UpdateFirmware: (_from("retries", 0), _from("retry_interval", 0)),
    SignedUpdateFirmware: (_from("retries", 0), _from("retry_interval", 0)),
    GetLog: (_from("retries", 0), _from("retry_interval", 0)),
}
