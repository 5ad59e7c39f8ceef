"""Sessions as read models: one time everywhere, ours; the charge point's beside it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from commands.base import Command, Meta
from commands.session import ROUTES, EndSession, RecordUsage
from domain.session import CdrIssued, End, Session
from domain.values import RegisterSample
from projections import session as views
from projections.public import cloud_event
from projections.store import Document
from tests.commands.test_session import at, end_command, start_command
from tests.projections.facts import ended, meta, started

OFF = 3600


def shown(*commands: Command) -> tuple[Document, Document, list[Any]]:
    """The hub's and the tenant's documents, and the events, after these commands."""
    session = Session.blank("session|s1")
    events: list[Any] = []
    for number, command in enumerate(commands):
        ROUTES[type(command)].handler(session, command, Meta(command_id=str(number), at=at(100 + number)))
        events.extend(session.collect_events())
    hub: Document | None = None
    mine: Document | None = None
    for event in events:
        hub, mine = views.evolve_hub(hub, event, meta()), views.evolve_tenant(mine, event, meta())
    assert hub is not None and mine is not None
    return hub, mine, events


def sample(minutes: float, wh: int) -> RecordUsage:
    one = RegisterSample(at=at(minutes), energy_wh=Decimal(wh))
    return RecordUsage(session_id="s1", samples=(one,), clock_offset_s=OFF)


def cdr_of(events: list[Any]) -> dict[str, Any]:
    [issued] = [event for event in events if isinstance(event, CdrIssued)]
    return issued.cdr


def test_a_wrong_clock_shows_one_time_in_the_session_and_in_its_cdr() -> None:
    """An hour ahead; 10:00 by the charge point is 09:00 by ours."""
    hub, mine, events = shown(
        start_command(clock_offset_s=OFF),
        sample(10, 9000),
        end_command(30, 21000, clock_offset_s=OFF),
    )
    cdr = cdr_of(events)
    session: Any = hub["session"]
    assert (cdr["start_date_time"], cdr["end_date_time"]) == ("2026-03-02T09:00:00Z", "2026-03-02T09:30:00Z")
    assert (session["start_date_time"], session["end_date_time"]) == (
        "2026-03-02T09:00:00.000Z",
        "2026-03-02T09:30:00.000Z",
    )
    assert (mine["start_time"], mine["stop_time"]) == ("2026-03-02T09:00:00.000Z", "2026-03-02T09:30:00.000Z")
    assert (mine["reported_start_time"], mine["reported_stop_time"]) == (
        "2026-03-02T10:00:00.000Z",
        "2026-03-02T10:30:00.000Z",
    )
    assert mine["meter_values"] == [
        {
            "timestamp": "2026-03-02T09:10:00.000Z",
            "reported_at": "2026-03-02T10:10:00.000Z",
            "value": 9000,
            "unit": "Wh",
        }
    ]


def test_what_is_learnt_of_the_clock_later_corrects_what_was_shown_before() -> None:
    hub, mine, events = shown(start_command(), sample(10, 9000), end_command(30, 21000, clock_offset_s=OFF))
    session: Any = hub["session"]
    assert session["start_date_time"] == hub["start_date_time"] == mine["start_time"]
    assert mine["start_time"] == "2026-03-02T09:00:00.000Z"
    values: Any = mine["meter_values"]
    [value] = values
    assert value["timestamp"] == "2026-03-02T09:10:00.000Z"
    told = cloud_event(events[-2], meta())
    assert told is not None
    assert b'"start_date_time":"2026-03-02T09:00:00.000Z"' in told.data


def test_a_session_that_runs_shows_one_time_to_partners_and_its_tenant() -> None:
    hub, mine, _ = shown(start_command(), sample(10, 9000))
    session: Any = hub["session"]
    assert session["start_date_time"] == mine["start_time"] == "2026-03-02T09:00:00.000Z"


def test_a_right_clock_is_shown_as_it_is() -> None:
    _, mine, _ = shown(start_command(clock_offset_s=30), end_command(30, 21000, clock_offset_s=30))
    assert mine["start_time"] == mine["reported_start_time"] == "2026-03-02T10:00:00.000Z"
    assert mine["stop_time"] == mine["reported_stop_time"] == "2026-03-02T10:30:00.000Z"


def test_the_running_price_is_by_our_clock_too() -> None:
    """A tariff of the night until 09:30: at 09:10 by our clock, 10:10 by the charge point's, it is night."""
    night = {
        "country_code": "DE",
        "party_id": "DMO",
        "id": "T2",
        "currency": "EUR",
        "tax_included": "NO",
        "elements": [
            {
                "price_components": [{"type": "ENERGY", "price": 1, "step_size": 1}],
                "restrictions": {"start_time": "00:00", "end_time": "10:30"},
            },
            {"price_components": [{"type": "ENERGY", "price": 2, "step_size": 1}]},
        ],
        "last_updated": "2026-01-01T00:00:00Z",
    }
    _, mine, _ = shown(start_command(clock_offset_s=OFF, tariffs=(night,)), sample(10, 9000))
    assert mine["total_cost"] == {"before_taxes": 8}


def test_a_forced_end_says_who_and_why_and_that_it_is_provisional() -> None:
    end = End(at=at(10), by="operator:ann", note="the charge point was replaced", flags=("by_hand",))
    _, mine, _ = shown(start_command(), EndSession(session_id="s1", end=end))
    assert (mine["status"], mine["provisional"]) == ("completed", True)
    assert (mine["ended_by"], mine["end_note"]) == ("operator:ann", "the charge point was replaced")
    assert mine["flags"] == ["by_hand"]


def test_an_end_that_was_reported_is_not_provisional() -> None:
    begun = views.evolve_tenant(None, started(), meta())
    over = views.evolve_tenant(begun, ended(2, 60, 100), meta())
    assert over is not None
    assert (over["provisional"], over["ended_by"]) == (False, None)
    assert over["stop_time"] == "2026-03-01T12:01:00.000Z"
