"""Short ways to write profiles: hours from a Monday at 00:00 UTC, amperes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from domain.schedules import (
    ChargingProfile,
    ChargingSchedule,
    CompositeSchedule,
    Installed,
    Kind,
    ProfileStack,
    Purpose,
    Recurrence,
    SchedulePeriod,
    Transaction,
    Unit,
)

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = 3600

Steps = Sequence[tuple[float, float | str] | tuple[float, float | str, int]]


def at(hours: float) -> datetime:
    return MONDAY + timedelta(hours=hours)


def schedule(
    steps: Steps, start: float | None = 0, hours: float | None = None, unit: Unit = Unit.A
) -> ChargingSchedule:
    return ChargingSchedule(
        charging_rate_unit=unit,
        charging_schedule_period=tuple(
            SchedulePeriod(
                start_period=int(step[0] * HOUR),
                limit=Decimal(str(step[1])),
                number_phases=step[2] if len(step) == 3 else None,
            )
            for step in steps
        ),
        duration=None if hours is None else int(hours * HOUR),
        start_schedule=None if start is None else at(start),
    )


def profile(
    purpose: Purpose,
    steps: Steps,
    *,
    start: float | None = 0,
    hours: float | None = None,
    level: int = 0,
    number: int = 1,
    every: Recurrence | None = None,
    relative: bool = False,
    valid: tuple[float | None, float | None] = (None, None),
    unit: Unit = Unit.A,
    transaction_id: int | None = None,
) -> ChargingProfile:
    kind = Kind.RELATIVE if relative else Kind.RECURRING if every else Kind.ABSOLUTE
    return ChargingProfile(
        charging_profile_id=number,
        stack_level=level,
        charging_profile_purpose=purpose,
        charging_profile_kind=kind,
        recurrency_kind=every,
        charging_schedule=schedule(steps, None if relative else start, hours, unit),
        transaction_id=transaction_id,
        valid_from=None if valid[0] is None else at(valid[0]),
        valid_to=None if valid[1] is None else at(valid[1]),
    )


def stack(*placed: tuple[int, ChargingProfile]) -> ProfileStack:
    return ProfileStack(tuple(Installed(connector, one) for connector, one in placed))


def running(started: float, transaction_id: int | None = 7) -> Transaction:
    return Transaction(started_at=at(started), transaction_id=transaction_id)


def shown(composite: CompositeSchedule) -> list[tuple[float, float | None]]:
    """(hours after the window's start, limit)."""
    return [
        (period.start_period / HOUR, None if period.limit is None else float(period.limit))
        for period in composite.charging_schedule_period
    ]
