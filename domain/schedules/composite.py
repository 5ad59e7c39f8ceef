"""A profile stack and a window enter, the limit at every instant leaves (OCPP 1.6, Smart Charging, 5.7).

At every instant each purpose speaks with its highest stack level that has a limit there; TxProfile stands
before TxDefaultProfile; the result is the smaller of that and ChargePointMaxProfile. Times are UTC throughout,
so a daily schedule begins every 86,400 seconds. It never rounds a limit and never refuses a stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from domain.schedules.profile import (
    ChargingProfile,
    ChargingSchedule,
    CompositeSchedule,
    Installed,
    Kind,
    ProfileStack,
    Purpose,
    Recurrence,
    Transaction,
    Unit,
)
from domain.schedules.timeline import Timeline, composite, lowest, over, pieces, seconds, timeline

VOLTAGE = Decimal(230)
_EVERY = {Recurrence.DAILY: 86_400, Recurrence.WEEKLY: 7 * 86_400}


class InForce(msgspec.Struct, frozen=True, omit_defaults=True):
    """The profiles that speak at one instant: for the transaction and for the charge point."""

    transaction: Installed | None = None
    charge_point: Installed | None = None


def composite_schedule(
    stack: ProfileStack,
    connector_id: int,
    start: datetime,
    duration: int,
    unit: Unit,
    *,
    transaction: Transaction | None = None,
    voltage: Decimal = VOLTAGE,
) -> CompositeSchedule:
    """What holds on a connector for `duration` seconds from `start`, in `unit`.

    `transaction` is the running one, or one assumed: without it relative schedules and TxProfiles have no limit.
    Connector 0 is the grid connection: its limit is ChargePointMaxProfile alone. `voltage` is between phase and
    neutral; limits in the other unit are converted before they are compared.
    """
    begin = seconds(start)
    end = begin + max(duration, 0)

    def layered(profiles: Iterable[Installed]) -> Timeline:
        out: Timeline = []
        for installed in profiles:
            out = over(out, _profile_pieces(installed.profile, begin, end, unit, transaction, voltage))
        return out

    for_transaction, for_charge_point = _ranked(stack, connector_id, transaction)
    return composite(lowest(layered(for_transaction), layered(for_charge_point)), begin, end, unit)


def in_force(
    stack: ProfileStack, connector_id: int, at: datetime, *, transaction: Transaction | None = None
) -> InForce:
    """Which profiles decide the limit of a connector at one instant."""
    begin = seconds(at)

    def first(profiles: Iterable[Installed]) -> Installed | None:
        for installed in profiles:
            unit = installed.profile.charging_schedule.charging_rate_unit
            if _profile_pieces(installed.profile, begin, begin + 1, unit, transaction, VOLTAGE):
                return installed
        return None

    for_transaction, for_charge_point = _ranked(stack, connector_id, transaction)
    return InForce(first(for_transaction), first(for_charge_point))


def with_site_limits(
    schedule: CompositeSchedule, sites: Sequence[ChargingSchedule], *, voltage: Decimal = VOLTAGE
) -> CompositeSchedule:
    """The smaller of a composite schedule and of limits that the site sets from outside.

    A site's schedule has a start (without one it starts with the window); before its start and after its
    duration it limits nothing. The result has the composite schedule's unit.
    """
    unit = schedule.charging_rate_unit
    begin = seconds(schedule.schedule_start)
    end = begin + schedule.duration
    limits = timeline(schedule, unit, voltage)
    for site in sites:
        start = begin if site.start_schedule is None else seconds(site.start_schedule)
        limits = lowest(limits, _schedule_pieces(site, start, None, begin, end, unit, voltage))
    return composite(limits, begin, end, unit)


def _ranked(
    stack: ProfileStack, connector_id: int, transaction: Transaction | None
) -> tuple[list[Installed], list[Installed]]:
    """Who may speak for the transaction and for the charge point, the first to be asked first.

    Within a purpose the higher stack level; a TxDefaultProfile of the connector before those of connector 0.
    """

    def of(purpose: Purpose, connector: int) -> list[Installed]:
        found = [
            installed
            for installed in reversed(stack.profiles)
            if installed.connector_id == connector
            and installed.profile.charging_profile_purpose is purpose
            and (purpose is not Purpose.TX or _belongs(installed.profile, transaction))
        ]
        return sorted(found, key=lambda installed: -installed.profile.stack_level)

    for_charge_point = of(Purpose.CHARGE_POINT_MAX, 0)
    if connector_id == 0:
        return [], for_charge_point
    own = [*of(Purpose.TX, connector_id), *of(Purpose.TX_DEFAULT, connector_id)]
    return [*own, *of(Purpose.TX_DEFAULT, 0)], for_charge_point


def _belongs(profile: ChargingProfile, transaction: Transaction | None) -> bool:
    return transaction is not None and profile.transaction_id in (None, transaction.transaction_id)


def _profile_pieces(
    profile: ChargingProfile,
    begin: int,
    end: int,
    unit: Unit,
    transaction: Transaction | None,
    voltage: Decimal,
) -> Timeline:
    schedule = profile.charging_schedule
    if profile.charging_profile_kind is Kind.RELATIVE or schedule.start_schedule is None:
        if transaction is None:
            return []
        start = seconds(transaction.started_at)
    else:
        start = seconds(schedule.start_schedule)
    if profile.valid_from is not None:
        begin = max(begin, seconds(profile.valid_from))
    if profile.valid_to is not None:
        end = min(end, seconds(profile.valid_to))
    every = _EVERY[profile.recurrency_kind] if profile.recurrency_kind is not None else None
    if profile.charging_profile_kind is not Kind.RECURRING:
        every = None
    return _schedule_pieces(schedule, start, every, begin, end, unit, voltage)


def _schedule_pieces(
    schedule: ChargingSchedule,
    start: int,
    every: int | None,
    begin: int,
    end: int,
    unit: Unit,
    voltage: Decimal,
) -> Timeline:
    """The schedule's pieces from `start`, or from each `every` seconds after it, cut to `begin` … `end`."""
    out: Timeline = []
    if every is not None:
        start += max(0, (begin - start) // every) * every
    while start < end:
        last = end if schedule.duration is None else min(end, start + schedule.duration)
        if every is not None:
            last = min(last, start + every)
        out += pieces(
            schedule.charging_schedule_period,
            schedule.charging_rate_unit,
            unit,
            voltage,
            start=start,
            begin=begin,
            end=last,
        )
        if every is None:
            break
        start += every
    return out
