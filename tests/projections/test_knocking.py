"""Who knocked and was refused, as it is listed."""

from __future__ import annotations

from datetime import timedelta

from commands.base import Meta
from domain.knocking import AGGREGATE_EVENTS, HandshakesRefused, Knock, Knocking
from projections.base import Target
from projections.knocking import MOST, VIEW, evolve, target
from projections.store import HUB, Document
from tests.commands.decide import NOON
from tests.projections.fold import fold

META = Meta(command_id="c", at=NOON)


def knock(id: str, seconds: float, count: int = 1, **more: str) -> Knock:
    at = NOON + timedelta(seconds=seconds)
    return Knock(
        **{"id": id, "reason": "unknown", "address": "192.0.2.7", **more},
        count=count,
        first=at,
        last=at,
    )


def heard(*knocks: Knock, left_out: int = 0, tenant: str = "demo") -> HandshakesRefused:
    return HandshakesRefused(
        originator_id=f"knocking|{tenant}",
        originator_version=1,
        timestamp=NOON,
        knocks=knocks,
        left_out=left_out,
    )


def read(*events: HandshakesRefused) -> Document:
    document: Document | None = None
    for event in events:
        document = evolve(document, event, META)
    assert document is not None
    return document


def test_reports_of_all_gateways_add_up() -> None:
    document = fold(VIEW, Knocking, AGGREGATE_EVENTS, "knocking.heard.v1", "knocking.heard.v1")
    assert document == {
        "knocks": [
            {
                "id": "CP-9",
                "reason": "unknown",
                "address": "192.0.2.7",
                "count": 6,
                "first_at": "2026-03-01T11:59:00.000Z",
                "last_at": "2026-03-01T11:59:30.000Z",
            }
        ],
        "left_out": 4,
        "updated_at": "2026-03-01T12:00:00.000Z",
    }


def test_each_reason_is_listed_by_itself_and_the_newest_first() -> None:
    document = read(heard(knock("A", 1), knock("A", 3, reason="unauthorized"), knock("B", 2)))
    listed = [(one["id"], one["reason"]) for one in document["knocks"]]  # type: ignore[union-attr,index,call-overload]
    assert listed == [("A", "unauthorized"), ("B", "unknown"), ("A", "unknown")]


def test_a_report_that_comes_late_moves_no_time_back() -> None:
    document = read(heard(knock("A", 60, address="198.51.100.7")), heard(knock("A", 30)))
    assert document["knocks"] == [
        {
            "id": "A",
            "reason": "unknown",
            "address": "198.51.100.7",
            "count": 2,
            "first_at": "2026-03-01T12:00:30.000Z",
            "last_at": "2026-03-01T12:01:00.000Z",
        }
    ]


def test_the_list_has_its_bound_and_keeps_the_newest() -> None:
    document = read(*(heard(knock(f"CP-{n}", n)) for n in range(MOST + 5)))
    knocks = document["knocks"]
    assert isinstance(knocks, list) and len(knocks) == MOST
    assert isinstance(knocks[0], dict) and knocks[0]["id"] == f"CP-{MOST + 4}"


def test_each_tenant_has_a_document_and_the_platform_one_that_no_tenant_can_have() -> None:
    assert target(heard(), META) == Target(HUB, "tenant:demo")
    assert target(heard(tenant=""), META) == Target(HUB, "platform")
    assert target(heard(tenant="platform"), META) == Target(HUB, "tenant:platform")
