"""The domain's profile and that of OCPP 1.6 have the same fields and values, so that mapping loses nothing."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import pytest

from domain import schedules
from protocols.ocpp.v16 import enums
from protocols.ocpp.v16.messages import parts


@pytest.mark.parametrize(
    ("ours", "wire"),
    [
        (schedules.ChargingProfile, parts.ChargingProfile),
        (schedules.ChargingSchedule, parts.ChargingSchedule),
        (schedules.SchedulePeriod, parts.ChargingSchedulePeriod),
    ],
)
def test_the_fields_are_those_of_the_wire(ours: type[msgspec.Struct], wire: type[msgspec.Struct]) -> None:
    assert set(ours.__struct_fields__) == set(wire.__struct_fields__)


@pytest.mark.parametrize(
    ("ours", "wire"),
    [
        (schedules.Purpose, enums.ChargingProfilePurposeType),
        (schedules.Kind, enums.ChargingProfileKindType),
        (schedules.Recurrence, enums.RecurrencyKindType),
        (schedules.Unit, enums.ChargingRateUnitType),
    ],
)
def test_the_values_are_those_of_the_wire(ours: type[StrEnum], wire: type[StrEnum]) -> None:
    assert {member.value for member in ours} == {member.value for member in wire}
