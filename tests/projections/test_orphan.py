"""Stops that belong to no transaction: each is in the list, and says what became of it."""

from __future__ import annotations

from domain.charge_point import StopSettled, orphan_id
from projections.orphan import ORPHANS
from projections.store import Append, Put
from tests.projections.facts import SESSION, connected, meta, of_charge_point, unmatched


def test_a_stop_without_a_transaction_is_listed_until_it_is_settled() -> None:
    stop = unmatched(7, 50)
    [put] = ORPHANS.writes(stop, meta())
    assert isinstance(put, Put)
    id = orphan_id("demo", "CP-1", stop.key)
    assert (put.db, put.collection, put.id, put.version) == ("ocpp_demo", "orphans", id, 7)
    assert (put.document["state"], put.document["stop_meter_value"]) == ("open", 6000)
    assert put.document["id_tag"] == "s1.9f2c.AAAA"

    settled = of_charge_point(
        StopSettled,
        9,
        60,
        key=stop.key,
        transaction_id=3,
        session_id=SESSION,
        by="operator:ann",
        note="lost",
    )
    [change] = ORPHANS.writes(settled, meta())
    assert isinstance(change, Append)
    assert (change.id, change.version) == (id, 9)
    wanted = {"state": "settled", "session_id": SESSION, "settled_by": "operator:ann"}
    assert wanted.items() <= dict(change.set).items()


def test_the_list_shows_our_time_and_the_charge_points() -> None:
    [put] = ORPHANS.writes(unmatched(7, 3600, clock_offset_s=3600), meta())
    assert isinstance(put, Put)
    assert (put.document["stop_time"], put.document["reported_stop_time"]) == (
        "2026-03-01T12:00:00.000Z",
        "2026-03-01T13:00:00.000Z",
    )


def test_other_facts_are_no_stops() -> None:
    assert ORPHANS.writes(connected(2), meta()) == ()
