"""What a charging profile is (OCPP 1.6, 7.8 and 7.13), as values with the standard's field names in snake case.

Limits are A per phase or W in total. Times have a zone and count in whole seconds. It holds no rule: the rules
of installing are in `stack`, those of time in `composite`.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec


class Purpose(StrEnum):
    """What a profile is for."""

    CHARGE_POINT_MAX = "ChargePointMaxProfile"
    TX_DEFAULT = "TxDefaultProfile"
    TX = "TxProfile"


class Kind(StrEnum):
    """What the times of a schedule count from."""

    ABSOLUTE = "Absolute"
    RECURRING = "Recurring"
    RELATIVE = "Relative"


class Recurrence(StrEnum):
    """How often a recurring schedule begins anew."""

    DAILY = "Daily"
    WEEKLY = "Weekly"


class Unit(StrEnum):
    """The unit of a limit: A per phase, W summed over the phases."""

    A = "A"
    W = "W"


class SchedulePeriod(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A limit from `start_period` seconds after the schedule's start; `number_phases` absent means 3."""

    start_period: int
    limit: Decimal
    number_phases: int | None = None


class ChargingSchedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits over time. `duration` in seconds, absent: the last limit holds without end.

    `start_schedule` absent: relative to the start of charging.
    """

    charging_rate_unit: Unit
    charging_schedule_period: tuple[SchedulePeriod, ...]
    duration: int | None = None
    start_schedule: datetime | None = None
    min_charging_rate: Decimal | None = None


class ChargingProfile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A schedule with its place in the stack. Valid from `valid_from` (inclusive) to `valid_to` (exclusive)."""

    charging_profile_id: int
    stack_level: int
    charging_profile_purpose: Purpose
    charging_profile_kind: Kind
    charging_schedule: ChargingSchedule
    transaction_id: int | None = None
    recurrency_kind: Recurrence | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None


class Installed(msgspec.Struct, frozen=True):
    """A profile at the connector it was set on; connector 0 is the charge point."""

    connector_id: int
    profile: ChargingProfile


class ProfileStack(msgspec.Struct, frozen=True, omit_defaults=True):
    """All profiles that a charge point holds, oldest first."""

    profiles: tuple[Installed, ...] = ()


class Transaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The transaction that relative schedules count from; without an id: one that is only assumed."""

    started_at: datetime
    transaction_id: int | None = None


class CompositePeriod(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """From `start_period` seconds after the window's start this limit holds; `limit` None: no profile limits."""

    start_period: int
    limit: Decimal | None = None
    number_phases: int | None = None


class CompositeSchedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What holds over a window of `duration` seconds, without gaps: the first period starts at 0."""

    schedule_start: datetime
    duration: int
    charging_rate_unit: Unit
    charging_schedule_period: tuple[CompositePeriod, ...]
