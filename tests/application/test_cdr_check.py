"""Whatever CDR the standard allows is priced again, or it is said why not, in bounded words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings

from application.cdr_check import LONGEST_LINE, MOST_LINES, checked
from domain.values import PartyId
from projections.store.sqlite import SqliteReadStore
from protocols.ocpi import OcpiInvalidError, parse, parse_json, v2_3_0
from tests.api.ocpi.test_cdrs import cdr
from tests.laws import tried
from tests.protocols.ocpi.bodies import bodies

CPO, EMSP = PartyId(country_code="FR", party_id="CPO"), PartyId(country_code="NL", party_id="EMS")


class Nothing(SqliteReadStore):
    """No tariff is put here."""

    def __init__(self) -> None:
        super().__init__(Path("unused"))

    async def get_many(self, db: str, collection: str, ids: Any) -> Any:
        return {}


@settings(deadline=None, max_examples=tried(100), suppress_health_check=[HealthCheck.too_slow])
@given(bodies(v2_3_0.CDR))
def test_whatever_the_standard_allows_has_an_outcome_in_bounded_words(body: Any) -> None:
    try:
        read = parse_json(v2_3_0.CDR, body)
    except OcpiInvalidError:
        return
    check = asyncio.run(checked(Nothing(), read, CPO, "cpo@1", EMSP))
    assert check.outcome in ("equal", "differs", "not_checked")
    assert len(check.explanation) <= MOST_LINES + 1
    assert msgspec.json.decode(msgspec.json.encode(check), type=type(check)) == check


async def test_of_very_many_periods_the_first_lines_are_kept() -> None:
    period: Any = cdr()["charging_periods"][0]
    many = [{**period, "start_date_time": f"2026-03-01T10:{n // 60:02}:{n % 60:02}Z"} for n in range(600)]
    check = await checked(
        Nothing(), parse(v2_3_0.CDR, msgspec.json.encode(cdr(charging_periods=many))), CPO, "cpo@1", EMSP
    )
    assert check.outcome == "differs"
    assert all(len(line) <= LONGEST_LINE for line in check.explanation)
    assert all(len(one.why) <= LONGEST_LINE for one in check.differences)
