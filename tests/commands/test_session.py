"""Sessions and their CDRs: given a history, when asked, then these facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any
from uuid import UUID

import msgspec
import pytest

from commands.base import Command, Meta
from commands.session import ROUTES, EndSession, RecordConnector, RecordUsage, StartSession
from domain.aggregate import EventRegistry, event_name
from domain.pricing import check_cdr
from domain.session import (
    AGGREGATE_EVENTS,
    CdrIssued,
    End,
    Session,
    SessionEnded,
    SessionStarted,
    UsageRecorded,
    credit_id,
    replacement_id,
)
from domain.values import (
    Authorization,
    Connector,
    Coordinates,
    PartyId,
    RegisterSample,
    Settings,
    Site,
    TagRef,
)

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
TARIFF = {
    "country_code": "DE",
    "party_id": "DMO",
    "id": "T1",
    "currency": "EUR",
    "tax_included": "NO",
    "elements": [
        {
            "price_components": [
                {"type": "FLAT", "price": 0.5, "vat": 20, "step_size": 1},
                {"type": "ENERGY", "price": 0.25, "vat": 10, "step_size": 1},
                {"type": "PARKING_TIME", "price": 2, "vat": 20, "step_size": 900},
            ]
        }
    ],
    "last_updated": "2026-01-01T00:00:00Z",
}


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def start_command(status: str = "Accepted", **changes: Any) -> StartSession:
    values: dict[str, Any] = {
        "session_id": "s1",
        "tenant": "demo",
        "charge_point_id": "CP1",
        "connector_id": 1,
        "transaction_id": 7,
        "evse_uid": "CP1-1",
        "evse_id": "DE*DMO*E1",
        "connector": Connector(
            id="1",
            standard="IEC_62196_T2",
            format="SOCKET",
            power_type="AC_3_PHASE",
            max_voltage=230,
            max_amperage=32,
            tariff_ids=("T1",),
        ),
        "site": Site(
            id="L1",
            name="Depot",
            address="Weg 1",
            city="Berlin",
            country="DEU",
            coordinates=Coordinates(latitude="52.50000", longitude="13.40000"),
            time_zone="Europe/Berlin",
        ),
        "id_tag": TagRef(key="k"),
        "authorization": Authorization(
            status="Accepted",
            source="stored",
            as_of=T0,
            owner=PartyId(country_code="NL", party_id="MSP"),
            cdr_token="s1.k.x",
            auth_method="WHITELIST",
        ),
        "status": status,
        "start": T0,
        "meter_start": 1000,
        "settings": Settings(party=PartyId(country_code="DE", party_id="DMO")),
        "tariffs": (TARIFF,),
        **changes,
    }
    return StartSession(**values)


def usage(*samples: tuple[float, int]) -> RecordUsage:
    return RecordUsage(
        session_id="s1",
        samples=tuple(RegisterSample(at=at(m), energy_wh=Decimal(wh)) for m, wh in samples),
    )


def end_command(minutes: float, meter_stop: int | None, **changes: Any) -> EndSession:
    return EndSession(session_id="s1", end=End(at=at(minutes), meter_stop=meter_stop, **changes))


def run(*commands: Command) -> tuple[Session, list[Any]]:
    session = Session.blank("session|s1")
    events: list[Any] = []
    for number, command in enumerate(commands):
        outcome = ROUTES[type(command)].handler(
            session, command, Meta(command_id=str(number), at=at(100 + number))
        )
        assert outcome is not None
        events.extend(session.collect_events())
    return session, events


def names(events: list[Any]) -> list[str]:
    return [event_name(event).split(".")[1] for event in events]


def cdr(events: list[Any]) -> dict[str, Any]:
    [issued] = [event for event in events if isinstance(event, CdrIssued)]
    return issued.cdr


def test_a_charge_ends_with_its_price_and_one_cdr() -> None:
    """Vector 2 of the standard (tariff_9: 0.50 start + 0.25/kWh): 20 kWh cost 5.50 before and 6.10 after taxes."""
    _, events = run(start_command(), usage((10, 9000), (20, 21000)), end_command(30, 21000))

    assert names(events) == ["started", "usage_recorded", "ended", "cdr_issued"]
    body = cdr(events)
    assert body["total_cost"]["before_taxes"] == 5.5
    assert sum(tax["amount"] for tax in body["total_cost"]["taxes"]) == pytest.approx(0.6)
    assert body["total_energy"] == 20
    assert body["id"] == body["session_id"] == "s1"
    assert body["start_date_time"] == "2026-03-02T10:00:00Z"
    assert body["end_date_time"] == "2026-03-02T10:30:00Z"


def test_a_cdr_that_we_issued_checks_as_equal() -> None:
    _, events = run(
        start_command(),
        usage((10, 9000)),
        RecordConnector(session_id="s1", at=at(20), status="SuspendedEV"),
        end_command(60, 21000),
    )
    assert check_cdr(cdr(events), "Europe/Berlin").equal


def test_suspended_ev_is_parking_until_the_end() -> None:
    """Vector 4 (tariff_10): 20 kWh and 40 minutes parked are 45 by step_size 900: 7.00 and 7.90."""
    _, events = run(
        start_command(),
        usage((20, 21000)),
        RecordConnector(session_id="s1", at=at(20), status="SuspendedEV"),
        end_command(60, 21000),
    )
    body = cdr(events)
    assert body["total_cost"]["before_taxes"] == 7
    assert body["total_parking_cost"]["before_taxes"] == 1.5


def test_the_running_cost_is_told_with_each_usage() -> None:
    _, events = run(start_command(), usage((10, 5000)))
    [recorded] = [event for event in events if isinstance(event, UsageRecorded)]
    assert recorded.energy_wh == 4000
    assert recorded.total_cost is not None
    assert recorded.total_cost["before_taxes"] == 1.5


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_start_usage_and_end_may_come_in_any_order(order: tuple[int, ...]) -> None:
    """No order exists across areas: every pair swapped leads to the same CDR, or says what came too late."""
    commands = [start_command(), usage((20, 21000)), end_command(30, 21000)]
    _, expected = run(*commands)
    _, events = run(*(commands[i] for i in order))

    assert names(events).count("cdr_issued") == 1
    want, got = cdr(expected), cdr(events)
    for name in ("total_energy", "total_cost", "start_date_time", "end_date_time", "id"):
        assert got[name] == want[name]


def test_everything_said_twice_changes_nothing() -> None:
    commands = [start_command(), usage((10, 9000)), end_command(30, 21000)]
    _, once = run(*commands)
    _, twice = run(*(command for command in commands for _ in range(2)))
    assert names(twice) == names(once)
    assert cdr(twice)["total_cost"] == cdr(once)["total_cost"]


def test_a_tag_that_was_refused_makes_an_invalid_session_and_no_cdr() -> None:
    """START-1: the transaction runs all the same, until the charge point stops it."""
    session, events = run(start_command("Invalid"), end_command(1, 1000, reason="DeAuthorized"))
    assert names(events) == ["started", "ended"]
    assert session.state.status == "INVALID"
    assert [event.status for event in events if isinstance(event, SessionStarted | SessionEnded)] == [
        "INVALID",
        "INVALID",
    ]


def test_without_a_tariff_the_cdr_costs_nothing_and_says_so() -> None:
    _, events = run(start_command(tariffs=()), end_command(30, 21000))
    body = cdr(events)
    assert body["total_cost"]["before_taxes"] == 0
    assert "tariff" in body["remark"]


def test_a_clock_that_runs_ahead_is_corrected_in_the_price_and_said() -> None:
    _, events = run(start_command(), end_command(30, 21000, clock_offset_s=3600))
    body = cdr(events)
    assert body["start_date_time"] == "2026-03-02T09:00:00Z"
    assert "clock" in body["remark"]
    [ended] = [event for event in events if isinstance(event, SessionEnded)]
    assert (ended.occurred_at, ended.reported_at) == (at(-30), at(30))


def test_a_stop_before_the_start_is_taken_and_flagged() -> None:
    _, events = run(start_command(), end_command(-5, 1500))
    [ended] = [event for event in events if isinstance(event, SessionEnded)]
    assert "stop_before_start" in ended.flags
    assert ended.energy_wh == 500


def test_a_register_that_ran_backwards_never_bills_less_than_nothing() -> None:
    """STOP-1: meterStop below meterStart is accepted."""
    _, events = run(start_command(), end_command(30, 400))
    assert cdr(events)["total_energy"] >= 0


def test_the_owner_is_told_of_each_change_of_a_valid_session() -> None:
    _, events = run(start_command(), usage((10, 9000)), end_command(30, 21000))
    owners = [event.owner for event in events if not isinstance(event, SessionStarted)]
    assert {str(owner) for owner in owners} == {"NL*MSP"}


def superseded(minutes: float) -> EndSession:
    """Another transaction began on the connector: nobody reported the end of this one."""
    return end_command(minutes, None, reason="Other", flags=("superseded",))


def cdrs(events: list[Any]) -> list[CdrIssued]:
    return [event for event in events if isinstance(event, CdrIssued)]


def test_a_superseded_session_is_charged_by_its_last_reading_START_7() -> None:
    _, events = run(start_command(), usage((10, 9000)), superseded(10))
    assert names(events) == ["started", "usage_recorded", "ended", "cdr_issued"]
    [ended] = [event for event in events if isinstance(event, SessionEnded)]
    assert (ended.provisional, ended.meter_stop) == (True, 9000)
    assert cdr(events)["total_energy"] == 8


def test_the_true_stop_of_a_superseded_session_credits_its_cdr_and_issues_another() -> None:
    """OCPI 2.3.0, CDRs: a CDR never changes; 8 kWh (2.50) are credited, 20 kWh (5.50) charged (vector 2)."""
    session, events = run(start_command(), usage((10, 9000)), superseded(10), end_command(30, 21000))
    assert names(events)[-3:] == ["end_corrected", "cdr_issued", "cdr_issued"]
    first, credit, second = cdrs(events)
    assert [issued.cdr_id for issued in (first, credit)] == ["s1", "s1-C1"]
    assert (credit.cdr["credit"], credit.cdr["credit_reference_id"]) == (True, "s1")
    assert first.cdr["total_cost"]["before_taxes"] == 2.5
    assert credit.cdr["total_cost"]["before_taxes"] == -2.5
    taxes = [tax["amount"] for tax in first.cdr["total_cost"]["taxes"]]
    assert [tax["amount"] for tax in credit.cdr["total_cost"]["taxes"]] == [-tax for tax in taxes]
    changed = {"id", "credit", "credit_reference_id", "total_cost", "remark", "last_updated"}
    kept = set(first.cdr) - changed
    assert {name: credit.cdr[name] for name in kept} == {name: first.cdr[name] for name in kept}

    assert (second.cdr["total_cost"]["before_taxes"], second.cdr["total_energy"]) == (5.5, 20)
    assert second.cdr["session_id"] == credit.cdr["session_id"] == "s1"
    assert "credit" not in second.cdr
    assert check_cdr(second.cdr, "Europe/Berlin").equal
    assert session.state.cdr_id == second.cdr_id
    assert (session.state.samples, session.state.tariffs, session.state.cdr) == ([], [], None)
    assert {str(issued.owner) for issued in cdrs(events)} == {"NL*MSP"}


def test_the_ids_of_a_correction_are_as_short_as_ocpi_wants_and_always_the_same() -> None:
    id = str(UUID(int=2**128 - 1))
    assert len(credit_id(id)) == 39
    assert len(replacement_id(id)) == 36
    assert replacement_id(id) == replacement_id(id) != replacement_id("s1")


def test_an_end_is_corrected_once() -> None:
    commands = [start_command(), superseded(10), end_command(30, 21000)]
    _, expected = run(*commands)
    _, events = run(*commands, end_command(30, 21000), end_command(31, 22000), superseded(10))
    assert names(events) == names(expected)


def test_a_reported_end_is_never_corrected() -> None:
    _, events = run(start_command(), end_command(30, 21000), superseded(10), end_command(31, 22000))
    assert names(events) == ["started", "ended", "cdr_issued"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_whatever_comes_first_the_true_end_counts_at_last(order: tuple[int, ...]) -> None:
    commands = [start_command(), superseded(10), end_command(30, 21000)]
    _, events = run(*(commands[i] for i in order))
    standing = [issued.cdr for issued in cdrs(events)]
    credited = {one["credit_reference_id"] for one in standing if one.get("credit")}
    [valid] = [one for one in standing if not one.get("credit") and one["id"] not in credited]
    assert (valid["total_energy"], valid["total_cost"]["before_taxes"]) == (20, 5.5)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_of_several_ends_the_surest_counts_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    """Nobody's word, then a stop that was put to it, then the charge point's own: 20 kWh, 5.50 (vector 2)."""
    assumed = end_command(20, 16000, assumed=True)
    commands = [start_command(), superseded(10), assumed, end_command(30, 21000)]
    session, events = run(*(commands[i] for i in order))
    standing = [issued.cdr for issued in cdrs(events)]
    credited = {one["credit_reference_id"] for one in standing if one.get("credit")}
    [valid] = [one for one in standing if not one.get("credit") and one["id"] not in credited]
    assert (valid["total_energy"], valid["total_cost"]["before_taxes"]) == (20, 5.5)
    assert not session.state.provisional


def test_the_late_end_of_an_invalid_session_issues_no_cdr() -> None:
    _, events = run(start_command("Invalid"), superseded(10), end_command(30, 21000))
    assert names(events) == ["started", "ended", "end_corrected"]


def test_a_corrected_session_is_the_same_after_a_fold_of_its_events() -> None:
    session, events = run(start_command(), usage((10, 9000)), superseded(10), end_command(30, 21000))
    registry = EventRegistry({Session: AGGREGATE_EVENTS})
    again = Session.blank("session|s1")
    for event in events:
        registry.decode(msgspec.json.encode(event)).mutate(again)
    assert again.state == session.state


def charge_of(*tariffs: dict[str, Any], **start: Any) -> tuple[dict[str, Any], CdrIssued]:
    """A charge of 10 kWh in an hour under these tariffs of its connector: its CDR and the fact of it."""
    command = start_command(tariffs=tariffs, **start)
    _, events = run(command, end_command(60, 11_000))
    [issued] = [event for event in events if isinstance(event, CdrIssued)]
    return issued.cdr, issued


def energy_tariff(id: str, price: float, **changes: Any) -> dict[str, Any]:
    component = {"type": "ENERGY", "price": price, "vat": 19, "step_size": 1}
    return {**TARIFF, "id": id, "elements": [{"price_components": [component]}], **changes}


def test_a_charge_has_the_tariff_of_its_connector_that_is_valid_and_of_its_type() -> None:
    """Connector.tariff_ids: several, by their type and validity; a CDR holds those that were relevant."""
    ended = energy_tariff("ENDED", 9, end_date_time="2021-01-01T00:00:00Z")
    card = energy_tariff("CARD", 0.7, type="AD_HOC_PAYMENT")
    coming = energy_tariff("COMING", 8, start_date_time="2027-01-01T00:00:00Z")
    regular = energy_tariff("REGULAR", 0.3, type="REGULAR")
    made, _ = charge_of(ended, card, coming, regular)
    assert (made["total_cost"]["before_taxes"], [t["id"] for t in made["tariffs"]]) == (3, ["REGULAR"])
    assert "remark" not in made
    ad_hoc = msgspec.structs.replace(start_command().authorization, token_type="AD_HOC_USER")
    made, _ = charge_of(ended, card, coming, regular, authorization=ad_hoc)
    assert (made["total_cost"]["before_taxes"], [t["id"] for t in made["tariffs"]]) == (7, ["CARD"])


def test_where_a_tariff_follows_another_both_price_and_both_stand_in_the_cdr() -> None:
    before = energy_tariff("BEFORE", 0.2, end_date_time="2026-03-02T10:30:00Z")
    after = energy_tariff("AFTER", 0.4, start_date_time="2026-03-02T10:30:00Z")
    made, _ = charge_of(before, after)
    assert (made["total_cost"]["before_taxes"], [t["id"] for t in made["tariffs"]]) == (
        3,
        ["BEFORE", "AFTER"],
    )
    assert [period["tariff_id"] for period in made["charging_periods"]] == ["BEFORE", "AFTER"]


def test_a_charge_that_no_tariff_fits_costs_nothing_and_says_why() -> None:
    made, issued = charge_of(energy_tariff("OLD", 9, end_date_time="2021-01-01T00:00:00Z"))
    assert (made["total_cost"], "tariffs" in made) == ({"before_taxes": 0, "taxes": []}, False)
    assert made["remark"].startswith("no tariff is valid from 2026-03-02T10:00:00Z on")
    assert "OLD until 2021-01-01T00:00:00Z" in made["remark"]
    assert issued.warnings == (made["remark"],)
    made, _ = charge_of(energy_tariff("CARD", 9, type="AD_HOC_PAYMENT"))
    assert (
        "no tariff of the connector is for a charge of type REGULAR: CARD (AD_HOC_PAYMENT)" in made["remark"]
    )


def test_a_cdr_is_in_the_currency_of_its_tariff() -> None:
    made, _ = charge_of(energy_tariff("SWISS", 0.3, currency="CHF"))
    assert (made["currency"], made["total_cost"]["before_taxes"]) == ("CHF", 3)


def test_what_is_unknown_is_left_out_of_prices_and_flags_of_ours_are_not_told_to_partners() -> None:
    _, events = run(start_command(), usage((30, 6000)), end_command(60, 11_000, flags=("late",)))
    for event in events:
        if isinstance(event, UsageRecorded | SessionEnded):
            assert event.total_cost is not None
            assert [set(tax) for tax in event.total_cost["taxes"]] == [{"name", "amount", "percentage"}] * 2
        if isinstance(event, CdrIssued):
            assert ("remark" in event.cdr, event.warnings) == (False, ("flagged: late",))
