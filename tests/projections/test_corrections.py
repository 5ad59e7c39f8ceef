"""A session whose end was corrected: it shows the true end, and every CDR of it has a document of its own."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from domain.aggregate import Event
from domain.session import CdrIssued, EndCorrected, SessionEnded, credit_id, replacement_id
from domain.values import PartyId, RegisterSample
from projections import cdr, session
from projections.store import Document
from tests.projections.facts import MSP, NOON, SESSION, meta, priced, started

BEGAN = started()


def at(minutes: float) -> Any:
    return NOON + timedelta(minutes=minutes)


def fact(kind: type[Event], version: int, **values: Any) -> Any:
    id = BEGAN.originator_id
    return kind(originator_id=id, originator_version=version, timestamp=at(version), **values)


OWNER: PartyId = MSP
COST = {"before_taxes": 2.5}


def issued(version: int, id: str, **more: Any) -> CdrIssued:
    body = {**priced(1, 0).cdr, "id": id, **more}
    made: CdrIssued = fact(CdrIssued, version, cdr_id=id, cdr=body, owner=OWNER)
    return made


def corrected() -> list[Any]:
    end = {"status": "COMPLETED", "reason": "Local", "owner": OWNER}
    energy = {"meter_stop": 3000, "energy_wh": Decimal(2000), "total_cost": COST}
    sample = RegisterSample(at=at(3), energy_wh=Decimal(2500))
    return [
        BEGAN,
        fact(
            SessionEnded,
            2,
            meter_stop=2000,
            energy_wh=Decimal(1000),
            provisional=True,
            occurred_at=at(2),
            **end,
        ),
        issued(3, SESSION),
        fact(EndCorrected, 4, samples=(sample,), occurred_at=at(4), **energy, **end),
        issued(5, credit_id(SESSION), credit=True, credit_reference_id=SESSION),
        issued(6, replacement_id(SESSION)),
    ]


def test_each_cdr_of_a_session_has_a_document_under_its_own_id() -> None:
    documents: dict[str, Document | None] = {}
    for event in corrected():
        id = cdr.target(event, meta()).id
        documents[id] = cdr.evolve(documents.get(id), event, meta())
    ids = [SESSION, credit_id(SESSION), replacement_id(SESSION)]
    assert sorted(documents) == sorted(ids)
    found = [documents[id] for id in ids]
    assert [one["cdr"]["id"] for one in found if one and isinstance(one["cdr"], dict)] == ids


def test_a_corrected_session_shows_the_true_end_and_the_cdr_that_stands() -> None:
    hub: Document | None = None
    mine: Document | None = None
    for event in corrected():
        hub = session.evolve_hub(hub, event, meta())
        mine = session.evolve_tenant(mine, event, meta())
    assert hub is not None and mine is not None
    assert isinstance(hub["session"], dict)
    assert (hub["session"]["kwh"], hub["session"]["total_cost"]) == (2, COST)
    assert (mine["stop_meter_value"], mine["energy_wh"], mine["reason"]) == (3000, 2000, "Local")
    assert mine["cdr_id"] == replacement_id(SESSION)
