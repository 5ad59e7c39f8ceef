"""A CDR that is withheld, as its tenant, its partner and the story of the charge are told of it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from domain.owed import owed
from domain.session import CdrIssued, UsageRecorded
from domain.values import RegisterSample
from projections import session as views
from projections.public import cloud_event
from projections.story import story_writes
from tests.commands.test_session import T0, at, end_command, start_command, usage
from tests.commands.test_session_withheld import issue, relay, sample
from tests.projections.facts import decision, fact, meta, used, withheld
from tests.projections.test_session import shown

IMPOSSIBLE = end_command(30, 10**15)


def test_the_tenant_reads_which_field_stands_in_the_way() -> None:
    hub, mine, _ = shown(start_command(), usage((10, 9000)), IMPOSSIBLE)
    assert (mine["status"], mine["cdr"], mine["cdr_id"]) == ("completed", "withheld", None)
    assert mine["cdr_withheld"] == {
        "field": "meter_stop",
        "value": "1000000000000000",
        "reason": "no meter holds so many Wh",
    }
    session: Any = hub["session"]
    assert (session["status"], session["kwh"]) == ("COMPLETED", 8)


def test_once_it_is_issued_the_session_has_its_energy_and_cost() -> None:
    """Vector 2 of the standard: 20 kWh cost 5.50 before taxes."""
    given = issue(energy_wh=20_000, ended_at=at(40))
    hub, mine, _ = shown(start_command(), usage((10, 9000)), IMPOSSIBLE, given)
    assert (mine["cdr"], mine["cdr_id"], mine["cdr_withheld"]) == ("issued", "s1", None)
    cost: Any = mine["total_cost"]
    assert (mine["energy_wh"], cost["before_taxes"]) == (20_000, 5.5)
    assert mine["stop_time"] == "2026-03-02T10:40:00.000Z"
    session: Any = hub["session"]
    assert (session["kwh"], session["total_cost"]["before_taxes"]) == (20, 5.5)
    assert session["end_date_time"] == "2026-03-02T10:40:00Z"


def test_the_partner_gets_the_session_again_with_a_cdr_that_was_withheld() -> None:
    *_, events = shown(start_command(), IMPOSSIBLE, issue(energy_wh=20_000))
    [issued] = [event for event in events if isinstance(event, CdrIssued)]
    means = owed([issued], offset=7)
    assert means is not None
    assert (means.urgent, means.version) == (True, issued.originator_version)
    assert [(cdr.id, cdr.offset) for cdr in means.cdrs] == [(issued.cdr_id, 7)]


def test_a_correction_that_is_withheld_shows_no_cdr() -> None:
    provisional = end_command(10, None)
    _, mine, _ = shown(start_command(), usage((10, 9000)), provisional, IMPOSSIBLE)
    assert (mine["cdr"], mine["cdr_id"]) == ("withheld", None)


def test_readings_that_no_meter_holds_are_counted() -> None:
    odd, late = (
        sample(15, 10**12),
        msgspec.structs.replace(sample(1, 2000), at=datetime(9500, 1, 1, tzinfo=UTC)),
    )
    _, mine, _ = shown(start_command(), relay(odd, late), relay(odd), end_command(30, 21000))
    assert mine["unusable_readings"] == 3
    flags: Any = mine["flags"]
    assert "unusable_reading" in flags


def test_the_story_of_the_charge_says_the_field() -> None:
    made = decision(withheld(4, 60), command="session.end.v1", meta=meta())
    line = story_writes(fact(made))[0].document
    assert line["events"] == [
        {
            "type": "session.cdr_withheld.v1",
            "charge_point_id": "CP-1",
            "cdr_id": withheld(4, 60).cdr_id,
            "field": "meter_stop",
            "reason": "no meter holds so many Wh",
        }
    ]


def test_the_public_event_holds_neither_the_token_nor_who_ended_it() -> None:
    told = cloud_event(withheld(4, 60), meta())
    assert told is not None
    assert set(msgspec.json.decode(told.data)) == {
        "cdr_id",
        "session_id",
        "charge_point_id",
        "field",
        "value",
        "reason",
    }


@pytest.mark.parametrize("wh", ["0.1234567890123456789", "123456789012345.6789", "1E+30"])
def test_what_an_older_release_took_in_is_shown_however_many_digits_it_has(wh: str) -> None:
    one = RegisterSample(at=T0, energy_wh=Decimal(wh))
    event: UsageRecorded = msgspec.structs.replace(used(2, 30, 0), samples=(one,), energy_wh=Decimal(wh))
    hub, mine, _ = shown(start_command())
    after, mine_after = views.evolve_hub(hub, event, meta()), views.evolve_tenant(mine, event, meta())
    assert after is not None and mine_after is not None
    assert mine_after["energy_wh"] == pytest.approx(float(wh))
