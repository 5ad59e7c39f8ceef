"""Values of the domain are read as messages are: by their own names, exactly, with the path of what is odd."""

from __future__ import annotations

from decimal import Decimal

import pytest

from domain.schedules import SchedulePeriod
from protocols.ocpp.message import ErrorCode, WireError
from protocols.ocpp.parsing import read
from protocols.ocpp.v16.codec import LENIENCY


@pytest.mark.parametrize("limit", [0, 16, 16.125, -1])
def test_a_number_is_exact_whatever_its_decimals(limit: float) -> None:
    found = read(SchedulePeriod, {"start_period": 0, "limit": limit})
    assert found == (SchedulePeriod(start_period=0, limit=Decimal(repr(limit))), ())


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("16", ErrorCode.TYPE_CONSTRAINT_VIOLATION),
        (True, ErrorCode.TYPE_CONSTRAINT_VIOLATION),
        (float("nan"), ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
        (float("inf"), ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
        (10**19, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
    ],
)
def test_what_is_no_number_that_a_store_can_hold_is_refused(limit: object, code: ErrorCode) -> None:
    found = read(SchedulePeriod, {"start_period": 0, "limit": limit})
    assert isinstance(found, WireError)
    assert (found.code, found.path) == (code, "$.limit")


def test_a_number_that_is_written_as_text_is_read_leniently() -> None:
    found = read(SchedulePeriod, {"start_period": 0, "limit": " 16.125"}, leniency=LENIENCY)
    assert found == (
        SchedulePeriod(start_period=0, limit=Decimal("16.125")),
        ("$.limit: text read as a number",),
    )
