"""The lines of a story: what led to what, from the first frame to the delivered CDR, and no personal data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commands.base import Refusal
from domain import delivery
from domain.aggregate import Event
from domain.values import RegisterSample
from projections.moment import utc_text
from projections.retention import KEEP_S
from projections.store import HUB, Insert, Query
from projections.store.sqlite import SqliteReadStore
from projections.story import indexes, story_writes
from tests.projections.facts import (
    MSP,
    NOON,
    SESSION,
    after,
    decision,
    ended,
    fact,
    meta,
    metered,
    priced,
    started,
    status,
)


def lines(*events: Event, command: str, refusal: Refusal | None = None, **more: Any) -> list[Insert]:
    return story_writes(fact(decision(*events, command=command, meta=meta(**more), refusal=refusal)))


def test_a_decision_stands_under_its_correlation_and_under_its_session() -> None:
    found = lines(started(), command="session.start.v1")
    place = "chargesphere.events.session|"
    assert [one.document["correlation_id"] for one in found] == ["corr-1", SESSION]
    assert all(one.id.startswith(place) for one in found)
    assert all(one.id.endswith(str(one.document["correlation_id"])) for one in found)
    assert {(one.db, one.collection) for one in found} == {("chargesphere", "stories")}


def test_a_line_tells_the_names_of_its_events_and_short_facts() -> None:
    line = lines(ended(3, 60, 4200), command="session.end.v1", causation_id="frame-1")[0].document
    assert line["at"] == "2026-03-01T12:00:00.000Z"
    assert (line["tenant_id"], line["command"], line["command_id"]) == ("demo", "session.end.v1", "c-1")
    assert (line["aggregate"], line["causation_id"], line["refusal"]) == (
        f"session|{SESSION}",
        "frame-1",
        None,
    )
    facts = {"type": "session.ended.v1", "charge_point_id": "CP-1", "status": "COMPLETED", "reason": "Local"}
    assert line["events"] == [{**facts, "meter_stop": 5200, "energy_wh": "4200"}]


def test_without_a_correlation_the_command_is_its_own_story() -> None:
    found = lines(status(3, "Charging"), command="charge_point.boot.v1", correlation_id="")
    assert [one.document["correlation_id"] for one in found] == ["c-1"]


def test_a_refusal_is_told_though_it_made_no_event() -> None:
    [one] = lines(command="charge_point.start_transaction.v1", refusal=Refusal.NOT_ALLOWED)
    assert (one.document["refusal"], one.document["message"], one.document["events"]) == (
        "not_allowed",
        "it said no",
        [],
    )


def test_a_delivery_of_a_cdr_belongs_to_the_story_of_its_session() -> None:
    event = delivery.AttemptDue(
        originator_id=delivery.delivery_id(MSP, "cdrs", SESSION),
        originator_version=2,
        timestamp=NOON,
        to=MSP,
        module="cdrs",
        object_id=SESSION,
        tenant="demo",
        attempt=1,
        wanted=1,
        partition=0,
        offset=7,
        lease=after(30),
    )
    found = lines(event, command="delivery.want.v1")
    assert [one.document["correlation_id"] for one in found] == ["corr-1", SESSION]
    events = found[0].document["events"]
    assert isinstance(events, list)
    assert events[0] == {
        "type": "delivery.attempt_due.v1",
        "module": "cdrs",
        "object_id": SESSION,
        "wanted": 1,
        "attempt": 1,
        "to": "NL*EMS",
    }


def attempted(type: Callable[..., Event], module: str, version: int = 3, **fields: Any) -> Event:
    id = delivery.delivery_id(MSP, module, SESSION)
    return type(originator_id=id, originator_version=version, timestamp=after(version), attempt=1, **fields)


def test_how_each_attempt_ended_belongs_to_the_story_of_its_session_though_it_names_none() -> None:
    """Only the id of the delivery says which object it was about."""
    outcomes = [
        attempted(delivery.AttemptFailed, "cdrs", outcome="unknown", reason="timeout", due=after(5)),
        attempted(delivery.Delivered, "cdrs", sent=1, http_status=201),
        attempted(delivery.GivenUp, "sessions", outcome="refused", reason="HTTP 400"),
    ]
    found = [lines(event, command="delivery.report.v1", correlation_id="other") for event in outcomes]
    assert [[one.document["correlation_id"] for one in told] for told in found] == [["other", SESSION]] * 3


def test_a_delivery_of_what_no_session_made_is_a_story_of_its_own() -> None:
    [one] = lines(attempted(delivery.Delivered, "tokens", sent=1), command="delivery.report.v1")
    assert one.document["correlation_id"] == "corr-1"


@pytest.mark.parametrize("command", ["charge_point.see.v1", "charge_point.report_status.v1"])
def test_routine_is_not_worth_a_line(command: str) -> None:
    assert lines(status(3, "Charging"), command=command) == []


def test_meter_values_are_told_only_where_a_session_is_told_of_them() -> None:
    command = "charge_point.record_meter_values.v1"
    sample = RegisterSample(at=NOON, energy_wh=Decimal(1200))
    assert lines(metered(4, []), command=command) == []
    assert len(lines(metered(4, [], relay=(sample,)), command=command)) == 2


def test_repeats_and_timers_that_did_nothing_are_not_told() -> None:
    again = decision(started(), command="session.start.v1", meta=meta(), repeat=True)
    assert story_writes(fact(again)) == []
    assert lines(command="timer.due.v1") == []


def test_no_line_holds_anything_sealed() -> None:
    for event in (started(), priced(4, 60)):
        for one in lines(event, command="session.any.v1"):
            assert b"s1." not in msgspec.json.encode(one.document)


def test_stories_are_found_by_their_id_in_order_of_time() -> None:
    assert [tuple(key.field for key in one.fields) for one in indexes() if one.expire_after is None] == [
        ("correlation_id", "at"),
        ("tenant_id", "at"),
    ]


async def test_a_line_goes_two_years_after_its_decision(tmp_path: Path) -> None:
    """The log keeps it: only what can be read over HTTP goes."""
    old, young = NOON - timedelta(seconds=KEEP_S), NOON - timedelta(seconds=KEEP_S - 60)
    store = SqliteReadStore(tmp_path)
    try:
        await store.ensure(list(indexes()))
        await store.apply(
            [
                Insert(
                    HUB, "stories", str(at), {"correlation_id": "c", "tenant_id": None, "at": utc_text(at)}
                )
                for at in (old, young)
            ]
        )
        await store.purge(NOON + timedelta(seconds=1))
        found = await store.find(Query(HUB, "stories", limit=10))
        assert [one["_id"] for one in found.items] == [str(young)]
    finally:
        await store.close()
