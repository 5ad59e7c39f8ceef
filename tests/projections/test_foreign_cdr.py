"""CDRs that CPOs posted, as they are read."""

from __future__ import annotations

from domain.foreign_cdr import AGGREGATE_EVENTS, ForeignCdr
from projections.foreign_cdr import VIEW
from projections.moment import utc_text
from tests.commands.decide import NOON
from tests.projections.fold import fold


def test_it_stands_among_the_cdrs_of_its_emsp_with_what_it_comes_to() -> None:
    names = ("foreign_cdr.posted.v1", "foreign_cdr.checked.v1")
    document = fold(VIEW, ForeignCdr, AGGREGATE_EVENTS, *names)
    assert document is not None
    assert (document["owner"], document["party"], document["session_id"]) == ("NL*EMS", "FR*CPO", "FR*CPO|s1")
    assert (document["tenant_id"], document["receiver_tenant"]) == (None, None)
    assert document["last_updated"] == utc_text(NOON)
    assert document["check"] == {
        "outcome": "differs",
        "total_cost": {"before_taxes": 3, "taxes": [{"name": "VAT", "amount": 0.6}]},
        "differences": [
            {
                "path": "total_cost.before_taxes",
                "stated": 4,
                "expected": 3,
                "why": "3.00 expected, 4.00 stated: 10 kWh at 0.30",
            }
        ],
    }
