"""Charging schedules: profile stacks enter, composite schedules, refusals and differences leave.

The rules are those of OCPP 1.6 smart charging, in UTC and whole seconds; docs/schedules.md says them in short.
Nothing here talks to a charge point, reads a clock or rounds a limit.
"""

from domain.schedules.compare import Comparison, Difference, compare
from domain.schedules.composite import InForce, composite_schedule, in_force, with_site_limits
from domain.schedules.profile import (
    ChargingProfile,
    ChargingSchedule,
    CompositePeriod,
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
from domain.schedules.stack import (
    UNKNOWN,
    Abilities,
    Cleared,
    Placed,
    Refusal,
    Refused,
    check,
    check_place,
    check_remote_start,
    clear,
    end_transaction,
    install,
    place,
)
from domain.schedules.timeline import convert

__all__ = [
    "UNKNOWN",
    "Abilities",
    "ChargingProfile",
    "ChargingSchedule",
    "Cleared",
    "Comparison",
    "CompositePeriod",
    "CompositeSchedule",
    "Difference",
    "InForce",
    "Installed",
    "Kind",
    "Placed",
    "ProfileStack",
    "Purpose",
    "Recurrence",
    "Refusal",
    "Refused",
    "SchedulePeriod",
    "Transaction",
    "Unit",
    "check",
    "check_place",
    "check_remote_start",
    "clear",
    "compare",
    "composite_schedule",
    "convert",
    "end_transaction",
    "in_force",
    "install",
    "place",
    "with_site_limits",
]
