"""Sessions that CPOs pushed, as they are read."""

from __future__ import annotations

from domain.foreign_session import AGGREGATE_EVENTS, ForeignSession
from domain.values import PartyId
from projections.foreign_session import VIEW, foreign_document_id
from projections.moment import utc_text
from projections.store import Document
from tests.commands.decide import NOON
from tests.projections.fold import fold


def read(*names: str) -> Document:
    found = fold(VIEW, ForeignSession, AGGREGATE_EVENTS, *(f"foreign_session.{name}.v1" for name in names))
    assert found is not None
    return found


def test_it_stands_among_the_sessions_of_its_eMSP_and_is_told_by_whom() -> None:
    document = read("begun")
    assert (document["owner"], document["party"]) == ("NL*EMS", "FR*CPO")
    assert (document["holder"], document["source"]) == (
        "ems@2026-01-01T00:00:00+00:00",
        "cpo@2026-01-01T00:00:00+00:00",
    )
    assert (document["tenant_id"], document["receiver_tenant"]) == (None, None)
    assert foreign_document_id(PartyId(country_code="FR", party_id="CPO"), "S1") == "FR*CPO|s1"


def test_its_own_last_updated_stays_and_lists_go_by_when_it_came() -> None:
    document = read("begun")
    session = document["session"]
    assert isinstance(session, dict) and session["last_updated"] == "2026-03-01T11:00:00Z"
    assert document["last_updated"] == utc_text(NOON)


def test_what_was_patched_is_merged_and_a_put_replaces_it() -> None:
    patched = read("begun", "patched")["session"]
    assert isinstance(patched, dict)
    assert (patched["kwh"], len(patched["charging_periods"])) == (4.2, 1)  # type: ignore[arg-type]
    over = read("begun", "patched", "put", "ended")
    session = over["session"]
    assert isinstance(session, dict) and "charging_periods" not in session
    assert (session["kwh"], over["status"]) == (8.4, "COMPLETED")
