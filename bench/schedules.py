"""A composite schedule of a day over 20 profiles: `python -m bench.schedules [seconds]`.

Profiles of every purpose, kind and recurrence with 24 periods each; both units. Prints one line a case.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import perf_counter

from domain.schedules import (
    ChargingProfile,
    ChargingSchedule,
    Installed,
    Kind,
    ProfileStack,
    Purpose,
    Recurrence,
    SchedulePeriod,
    Transaction,
    Unit,
    composite_schedule,
)

BEGIN = datetime(2026, 3, 2, 9, 17, 13, tzinfo=UTC)
DAY = 86_400


def twenty_profiles() -> ProfileStack:
    """Five charge point maxima, ten defaults, five transaction profiles; twelve of them recur."""
    held: list[Installed] = []
    for i in range(20):
        purpose = (Purpose.CHARGE_POINT_MAX, Purpose.TX_DEFAULT, Purpose.TX_DEFAULT, Purpose.TX)[i % 4]
        recurring = i // 4 % 2 == 0
        schedule = ChargingSchedule(
            charging_rate_unit=Unit.W if i % 5 == 0 else Unit.A,
            charging_schedule_period=tuple(
                SchedulePeriod(
                    start_period=n * 3600 // (1 + i % 3),
                    limit=Decimal((6 + (n * 7 + i) % 26) * (690 if i % 5 == 0 else 1)),
                )
                for n in range(24)
            ),
            duration=None if i < 4 else 3600 * (2 + i // 3),
            start_schedule=BEGIN + timedelta(days=-28 if recurring else 0, minutes=37 * i - 300),
        )
        profile = ChargingProfile(
            charging_profile_id=i + 1,
            stack_level=i // 4,
            charging_profile_purpose=purpose,
            charging_profile_kind=Kind.RECURRING if recurring else Kind.ABSOLUTE,
            recurrency_kind=(Recurrence.DAILY if i % 4 else Recurrence.WEEKLY) if recurring else None,
            charging_schedule=schedule,
            transaction_id=7 if purpose is Purpose.TX else None,
        )
        held.append(Installed(0 if purpose is Purpose.CHARGE_POINT_MAX else 1, profile))
    return ProfileStack(tuple(held))


def run(budget: float) -> None:
    """Compute for `budget` seconds in each unit and print the microseconds of one composite schedule."""
    stack = twenty_profiles()
    transaction = Transaction(started_at=BEGIN, transaction_id=7)
    for unit in Unit:
        spent: list[float] = []
        periods = 0
        while sum(spent) < budget:
            begin = perf_counter()
            composite = composite_schedule(stack, 1, BEGIN, DAY, unit, transaction=transaction)
            spent.append(perf_counter() - begin)
            periods = len(composite.charging_schedule_period)
        spent.sort()
        median, slow = spent[len(spent) // 2], spent[len(spent) * 99 // 100]
        print(
            f"composite schedule, day, 20 profiles, {unit}: "
            f"p50 {median * 1e6:.0f} µs, p99 {slow * 1e6:.0f} µs, {len(spent)} runs, {periods} periods"
        )


if __name__ == "__main__":
    run(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
