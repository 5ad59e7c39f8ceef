"""The rules of SetChargingProfile and ClearChargingProfile (OCPP 1.6, 5.16 and 5.5) on a stack.

A stack and a wish enter, the new stack or the refusals leave; a refusal names the rule, the field and the way
out. It never changes a stack in place and never asks the charge point.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from domain.schedules.profile import ChargingProfile, Installed, Kind, ProfileStack, Purpose, Unit


class Abilities(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a charge point says that it can do; None = it did not say, so nothing is refused."""

    max_stack_level: int | None = None
    max_periods: int | None = None
    max_installed: int | None = None
    units: frozenset[Unit] | None = None


UNKNOWN = Abilities()


class Refusal(msgspec.Struct, frozen=True):
    """One broken rule: `code` for machines, the `field` by its path, `text` for people."""

    code: str
    field: str
    text: str


class Placed(msgspec.Struct, frozen=True):
    """The stack with the new profile and the ids of those that it replaced."""

    stack: ProfileStack
    replaced: tuple[int, ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """The stack stays as it was; every broken rule."""

    refusals: tuple[Refusal, ...]


class Cleared(msgspec.Struct, frozen=True):
    """The stack without the profiles of these ids; none: the charge point answers Unknown."""

    stack: ProfileStack
    cleared: tuple[int, ...] = ()


def install(
    stack: ProfileStack,
    connector_id: int,
    profile: ChargingProfile,
    *,
    running: Mapping[int, int],
    able: Abilities = UNKNOWN,
) -> Placed | Refused:
    """Set a profile on a connector. `running`: connector id → id of the transaction that runs there.

    It replaces the profile with the same id wherever that is, and the one of the same purpose and stack level
    on the same connector.
    """
    refusals = [*check(profile, able), *_place(connector_id, profile, running)]
    after = place(stack, connector_id, profile)
    if able.max_installed is not None and len(after.stack.profiles) > able.max_installed:
        text = f"the charge point holds at most {able.max_installed} profiles; clear one first"
        refusals.append(Refusal("too_many_profiles", "charging_profile_id", text))
    if refusals:
        return Refused(tuple(refusals))
    return after


def place(stack: ProfileStack, connector_id: int, profile: ChargingProfile) -> Placed:
    """The stack once a charge point took the profile, whatever the rules say; what `install` replaces is replaced."""
    kept = tuple(old for old in stack.profiles if not _replaces(connector_id, profile, old))
    replaced = tuple(
        old.profile.charging_profile_id for old in stack.profiles if _replaces(connector_id, profile, old)
    )
    return Placed(ProfileStack((*kept, Installed(connector_id, profile))), replaced)


def clear(
    stack: ProfileStack,
    *,
    charging_profile_id: int | None = None,
    connector_id: int | None = None,
    charging_profile_purpose: Purpose | None = None,
    stack_level: int | None = None,
) -> Cleared:
    """No field: all. An id: that one, the other fields ignored. Else all that fit every given field."""

    def fits(installed: Installed) -> bool:
        profile = installed.profile
        if charging_profile_id is not None:
            return profile.charging_profile_id == charging_profile_id
        return (
            connector_id in (None, installed.connector_id)
            and charging_profile_purpose in (None, profile.charging_profile_purpose)
            and stack_level in (None, profile.stack_level)
        )

    gone = tuple(installed.profile.charging_profile_id for installed in stack.profiles if fits(installed))
    return Cleared(ProfileStack(tuple(old for old in stack.profiles if not fits(old))), gone)


def end_transaction(stack: ProfileStack, connector_id: int, transaction_id: int) -> ProfileStack:
    """The stack after a transaction: its TxProfiles, and those of its connector without an id, are gone."""

    def dies(installed: Installed) -> bool:
        profile = installed.profile
        if profile.charging_profile_purpose is not Purpose.TX:
            return False
        if profile.transaction_id is None:
            return installed.connector_id == connector_id
        return profile.transaction_id == transaction_id

    return ProfileStack(tuple(installed for installed in stack.profiles if not dies(installed)))


def check_remote_start(profile: ChargingProfile, able: Abilities) -> tuple[Refusal, ...]:
    """What forbids a profile inside RemoteStartTransaction: it must be a TxProfile and name no transaction."""
    refusals = list(check(profile, able))
    if profile.charging_profile_purpose is not Purpose.TX:
        text = f"a remote start takes a TxProfile only, not {profile.charging_profile_purpose}"
        refusals.append(Refusal("remote_start_purpose", "charging_profile_purpose", text))
    elif profile.transaction_id is not None:
        text = "a remote start has no transaction yet; leave transaction_id out"
        refusals.append(Refusal("remote_start_transaction", "transaction_id", text))
    return tuple(refusals)


def check(profile: ChargingProfile, able: Abilities) -> tuple[Refusal, ...]:
    """What is wrong with a profile wherever it goes: its own fields and what the charge point can do."""
    out: list[Refusal] = []

    def refuse(code: str, field: str, text: str) -> None:
        out.append(Refusal(code, field, text))

    schedule = profile.charging_schedule
    kind, repeats = profile.charging_profile_kind, profile.recurrency_kind
    if profile.stack_level < 0:
        refuse("stack_level", "stack_level", f"stack_level {profile.stack_level} is below 0")
    if able.max_stack_level is not None and profile.stack_level > able.max_stack_level:
        text = f"stack_level {profile.stack_level} is above the charge point's {able.max_stack_level}"
        refuse("stack_level", "stack_level", text)
    if kind is Kind.RECURRING and repeats is None:
        refuse("recurrency_kind", "recurrency_kind", "a Recurring profile says Daily or Weekly")
    if kind is not Kind.RECURRING and repeats is not None:
        refuse("recurrency_kind", "recurrency_kind", f"recurrency_kind is for Recurring profiles, not {kind}")
    if kind is Kind.RECURRING and schedule.start_schedule is None:
        refuse(
            "start_schedule", "charging_schedule.start_schedule", "a Recurring profile says when it begins"
        )
    if profile.charging_profile_purpose is Purpose.CHARGE_POINT_MAX and (
        kind is Kind.RELATIVE or schedule.start_schedule is None
    ):
        text = (
            "a ChargePointMaxProfile has no transaction to count from; give Absolute or Recurring and a start"
        )
        refuse("charge_point_relative", "charging_profile_kind", text)
    if profile.transaction_id is not None and profile.charging_profile_purpose is not Purpose.TX:
        refuse("transaction_id", "transaction_id", "only a TxProfile names a transaction")
    if profile.valid_from and profile.valid_to and profile.valid_to <= profile.valid_from:
        refuse("validity", "valid_to", "valid_to must be after valid_from")
    if able.units is not None and schedule.charging_rate_unit not in able.units:
        text = f"the charge point takes {', '.join(sorted(able.units))}, not {schedule.charging_rate_unit}"
        refuse("charging_rate_unit", "charging_schedule.charging_rate_unit", text)
    if schedule.duration is not None and schedule.duration < 0:
        refuse("duration", "charging_schedule.duration", f"duration {schedule.duration} is below 0")
    if schedule.min_charging_rate is not None and not _one_decimal(schedule.min_charging_rate):
        refuse(
            "limit", "charging_schedule.min_charging_rate", "give a number from 0 with one decimal at most"
        )
    _check_periods(profile, able, out)
    return tuple(out)


def _check_periods(profile: ChargingProfile, able: Abilities, out: list[Refusal]) -> None:
    path = "charging_schedule.charging_schedule_period"
    periods = profile.charging_schedule.charging_schedule_period
    if not periods:
        out.append(Refusal("periods", path, "a schedule has at least one period"))
    if able.max_periods is not None and len(periods) > able.max_periods:
        text = f"{len(periods)} periods are more than the charge point's {able.max_periods}"
        out.append(Refusal("periods", path, text))
    for i, period in enumerate(periods):
        here = f"{path}[{i}]"
        if i == 0 and period.start_period != 0:
            out.append(Refusal("start_period", f"{here}.start_period", "the first period starts at 0"))
        if i > 0 and period.start_period <= periods[i - 1].start_period:
            out.append(
                Refusal("start_period", f"{here}.start_period", "a period starts after the one before")
            )
        if not _one_decimal(period.limit):
            text = f"limit {period.limit} is not a number from 0 with one decimal at most"
            out.append(Refusal("limit", f"{here}.limit", text))
        if period.number_phases is not None and not 1 <= period.number_phases <= 3:
            text = f"number_phases {period.number_phases} is not 1, 2 or 3"
            out.append(Refusal("number_phases", f"{here}.number_phases", text))


def check_place(connector_id: int, profile: ChargingProfile) -> list[Refusal]:
    """What forbids a profile on this connector, whatever runs there."""
    if connector_id < 0:
        return [Refusal("connector_id", "connector_id", f"connector_id {connector_id} is below 0")]
    purpose = profile.charging_profile_purpose
    if purpose is Purpose.CHARGE_POINT_MAX and connector_id != 0:
        return [Refusal("connector_id", "connector_id", "a ChargePointMaxProfile is set on connector 0")]
    if purpose is Purpose.TX and connector_id == 0:
        return [Refusal("connector_id", "connector_id", "a TxProfile is set on a connector above 0")]
    return []


def _place(connector_id: int, profile: ChargingProfile, running: Mapping[int, int]) -> list[Refusal]:
    """What forbids a profile on this connector."""
    wrong = check_place(connector_id, profile)
    if wrong or profile.charging_profile_purpose is not Purpose.TX:
        return wrong
    transaction = running.get(connector_id)
    if transaction is None:
        text = f"no transaction runs on connector {connector_id}; use a TxDefaultProfile"
        return [Refusal("no_transaction", "connector_id", text)]
    if profile.transaction_id != transaction:
        text = f"transaction {transaction} runs on connector {connector_id}; name it in transaction_id"
        return [Refusal("transaction_id", "transaction_id", text)]
    return []


def _replaces(connector_id: int, profile: ChargingProfile, old: Installed) -> bool:
    return old.profile.charging_profile_id == profile.charging_profile_id or (
        old.connector_id == connector_id
        and old.profile.stack_level == profile.stack_level
        and old.profile.charging_profile_purpose is profile.charging_profile_purpose
    )


def _one_decimal(value: Decimal) -> bool:
    return value.is_finite() and value >= 0 and abs(value) < Decimal("1e12") and value * 10 % 1 == 0
