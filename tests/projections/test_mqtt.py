"""What a tenant sees on MQTT, by the product's table of topics and payloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.aggregate import Event
from domain.charge_point import events as charge_point
from projections.mqtt import (
    MESSAGES,
    Message,
    View,
    id_of,
    overall,
    remembered,
    response_topic,
    segment,
    status_topic,
    tell,
)
from tests.laws import tried
from tests.projections.facts import (
    SESSION,
    after,
    concluded,
    connected,
    corrected,
    disconnected,
    ended,
    meta,
    metered,
    of_charge_point,
    registered,
    requested,
    started,
    status,
    used,
)


def told(events: Sequence[Event]) -> list[Message]:
    view: View | None = None
    out: list[Message] = []
    for event in events:
        view, messages = tell(view, event, meta())
        out.extend(messages)
    return out


def data_of(message: Message) -> Any:
    assert message.payload is not None
    return message.payload["data"]


def last_status(events: Sequence[Event]) -> dict[str, object]:
    payload = [m for m in told(events) if m.topic.startswith("ocpp/status/")][-1].payload
    assert payload is not None
    return dict(payload)


def test_the_start_of_a_session_is_told_on_the_session_topic() -> None:
    [message] = told([started(3)])
    assert message.topic == "ocpp/events/demo/CP-1/session"
    assert not message.retain
    assert message.payload == {
        "event_type": "session_started",
        "event_id": message.event_id,
        "timestamp": "2026-03-01T12:00:03.000Z",
        "tenant_id": "demo",
        "charge_point_id": "CP-1",
        "session_id": SESSION,
        "data": {"connector_id": 1, "energy_wh": 0, "duration_seconds": 0},
    }


def test_the_end_of_a_session_is_told_with_its_energy_and_duration() -> None:
    message = told([started(), ended(2, 3600, 4200)])[-1]
    assert message.payload is not None
    assert message.payload["event_type"] == "session_stopped"
    assert message.payload["data"] == {
        "connector_id": 1,
        "energy_wh": 4200,
        "duration_seconds": 3600,
        "provisional": False,
    }


def test_a_provisional_end_is_told_as_such_and_its_correction_too() -> None:
    end = ended(2, 3600, 1000, provisional=True)
    messages = told([started(), end, corrected(4, 7200, 4200)])[1:]
    data = [data_of(message) for message in messages]
    assert [message.payload["event_type"] for message in messages if message.payload] == [
        "session_stopped",
        "session_corrected",
    ]
    assert data[0] == {
        "connector_id": 1,
        "energy_wh": 1000,
        "duration_seconds": 3600,
        "provisional": True,
    }
    assert data[1] == {
        "connector_id": 1,
        "energy_wh": 4200,
        "duration_seconds": 7200,
        "provisional": False,
    }


def test_a_correction_that_comes_when_the_session_is_forgotten_is_told_all_the_same() -> None:
    [message] = told([corrected(4, 7200, 4200)])
    assert message.topic == "ocpp/events/demo/CP-1/session"
    assert (data_of(message)["energy_wh"], data_of(message)["duration_seconds"]) == (4200, 7200)


def test_readings_and_states_are_told_by_our_clock() -> None:
    """The charge point's runs an hour ahead."""
    clock: dict[str, Any] = {"clock_offset_s": 3600}
    values = [{"timestamp": "2026-03-01T13:00:00Z", "sampledValue": [{"value": "1"}]}]
    [message] = told([metered(4, values, 1, occurred_at=after(3600), **clock)])
    assert message.payload is not None
    assert message.payload["timestamp"] == "2026-03-01T12:00:00.000Z"
    assert data_of(message)["readings"][0]["timestamp"] == "2026-03-01T12:00:00.000Z"
    state: Any = last_status([connected(2), status(3, "Charging", 1, occurred_at=after(3600), **clock)])
    [connector] = state["connectors"]
    assert connector["last_update"] == "2026-03-01T12:00:00.000Z"


def test_usage_is_told_on_the_session_topic_at_most_once_a_minute() -> None:
    usage = [used(2 + i, 30 * (i + 1), 100 * (i + 1)) for i in range(6)]
    messages = told([started(), *usage, ended(8, 200, 650)])
    seen = [(m.payload["event_type"], m.payload["timestamp"]) for m in messages if m.payload]
    assert seen == [
        ("session_started", "2026-03-01T12:00:00.000Z"),
        ("meter_value", "2026-03-01T12:00:30.000Z"),
        ("meter_value", "2026-03-01T12:01:30.000Z"),
        ("meter_value", "2026-03-01T12:02:30.000Z"),
        ("session_stopped", "2026-03-01T12:03:20.000Z"),
    ]


def test_usage_that_came_before_the_start_is_not_told() -> None:
    assert told([used(1, 5, 10, early=True)]) == []


def test_every_reading_is_told_in_base_units() -> None:
    values = [
        {
            "timestamp": "2026-03-01T12:00:04Z",
            "sampledValue": [
                {"value": "1.5", "unit": "kWh"},
                {"value": "11000", "measurand": "Power.Active.Import", "unit": "W"},
                {"value": "x", "measurand": "Voltage", "phase": "L1-N"},
            ],
        }
    ]
    [message] = told([metered(4, values, 5)])
    assert message.topic == "ocpp/events/demo/CP-1/meter_value"
    assert message.payload is not None
    assert (message.payload["event_type"], message.payload["session_id"]) == ("meter_value", SESSION)
    data = message.payload["data"]
    assert isinstance(data, dict)
    assert (data["connector_id"], data["transaction_id"]) == (1, 7)
    common = {"timestamp": "2026-03-01T12:00:04.000Z", "context": "Sample.Periodic", "location": "Outlet"}
    register = {"measurand": "Energy.Active.Import.Register", "value": 1500, "unit": "Wh", "phase": None}
    power = {"measurand": "Power.Active.Import", "value": 11000, "unit": "W", "phase": None}
    voltage = {"measurand": "Voltage", "value": None, "unit": None, "phase": "L1-N", "raw": "x"}
    assert data["readings"] == [common | register, common | power, common | voltage]


def test_the_readings_of_a_stop_are_told_too() -> None:
    stopped = charge_point.TransactionStopped(
        originator_id="charge_point|demo|CP-1",
        originator_version=9,
        timestamp=after(60),
        transaction_id=7,
        session_id=SESSION,
        connector_id=1,
        meter_stop=2000,
        key="7",
        data=metered(1, [{"timestamp": "2026-03-01T12:01:00Z", "sampledValue": [{"value": "2000"}]}]).values,
    )
    [message] = told([stopped])
    assert message.topic == "ocpp/events/demo/CP-1/meter_value"


def test_a_fault_is_told_with_its_vendor_fields() -> None:
    fields = {"error_code": "GroundFailure", "info": "relay", "vendor_id": "V", "vendor_error_code": "0x1"}
    messages = told([connected(2), status(3, "Faulted", 9, session_id=SESSION, **fields)])
    fault = messages[1]
    assert fault.topic == "ocpp/events/demo/CP-1/fault"
    assert fault.payload is not None
    assert (fault.payload["event_type"], fault.payload["session_id"]) == ("fault", SESSION)
    assert fault.payload["data"] == {"connector_id": 1, "status": "Faulted", **fields}
    assert messages[2].topic == "ocpp/status/demo/CP-1"


def test_a_warning_with_an_error_code_is_a_fault_too() -> None:
    topics = [m.topic for m in told([status(1, "Charging", error_code="HighTemperature")])]
    assert topics == ["ocpp/events/demo/CP-1/fault", "ocpp/status/demo/CP-1"]


def test_the_status_is_retained_and_lists_the_connectors() -> None:
    events = [connected(2), status(3, "Available", 1, connector_id=0), status(4, "Charging", 2)]
    message = told(events)[-1]
    assert (message.topic, message.retain) == ("ocpp/status/demo/CP-1", True)
    assert message.payload == {
        "charge_point_id": "CP-1",
        "status": "Occupied",
        "connected": True,
        "connectors": [{"id": 1, "status": "Charging", "last_update": "2026-03-01T12:00:02.000Z"}],
    }


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ("Available", "Available"),
        *((one, "Occupied") for one in ("Preparing", "Charging", "SuspendedEVSE", "SuspendedEV")),
        *((one, "Occupied") for one in ("Finishing", "Reserved")),
        ("Unavailable", "Faulted"),
        ("Faulted", "Faulted"),
    ],
)
def test_the_nine_statuses_become_three(reported: str, expected: str) -> None:
    assert last_status([connected(2), status(3, reported)])["status"] == expected


def test_one_free_connector_is_enough_to_be_available() -> None:
    events = [connected(2), status(3, "Faulted"), status(4, "Available", connector_id=2)]
    assert last_status(events)["status"] == "Available"


def test_a_faulted_charge_point_is_faulted_whatever_its_connectors_say() -> None:
    events = [connected(2), status(3, "Available"), status(4, "Unavailable", connector_id=0)]
    assert last_status(events)["status"] == "Faulted"


def test_offline_is_faulted_and_not_connected() -> None:
    seen = last_status([connected(2), status(3, "Available"), disconnected(4, 2)])
    assert (seen["status"], seen["connected"]) == ("Faulted", False)


def test_the_end_of_an_older_connection_changes_nothing() -> None:
    seen = last_status([connected(2), connected(5), disconnected(6, 2)])
    assert seen["connected"] is True


def test_a_stale_status_is_no_news() -> None:
    assert told([connected(2), status(3, "Charging", stale=True)])[1:] == []


def test_a_removed_charge_point_is_cleared_from_the_broker() -> None:
    message = told([registered(1), connected(2), of_charge_point(charge_point.ChargePointRemoved, 3)])[-1]
    assert (message.topic, message.retain, message.payload) == ("ocpp/status/demo/CP-1", True, None)


def test_the_outcome_of_a_command_goes_to_the_responses() -> None:
    answer = {"status": "Accepted", "configurationKey": [{"key": "AuthorizationKey", "value": "s1.k.AAAA"}]}
    [message] = told([requested("r-1"), concluded("r-1", response=answer)])
    assert message.topic == "ocpp/responses/demo/CP-1"
    assert message.payload == {
        "command_id": "r-1",
        "status": "accepted",
        "reason": "Accepted",
        "timestamp": "2026-03-01T12:00:02.000Z",
        "response": {
            "status": "Accepted",
            "configurationKey": [{"key": "AuthorizationKey", "value": None}],
        },
    }


@pytest.mark.parametrize(
    ("id", "expected"), [("CP-1", "CP-1"), ("a/b+c#d", "a%2Fb%2Bc%23d"), ("50%", "50%25"), ("é ü", "é ü")]
)
def test_ids_are_encoded_where_they_would_change_the_topic(id: str, expected: str) -> None:
    assert segment(id) == expected
    assert status_topic("demo", id) == f"ocpp/status/demo/{expected}"
    assert response_topic("demo", id) == f"ocpp/responses/demo/{expected}"


def test_an_event_told_again_tells_the_same_with_the_same_id() -> None:
    view: View | None = None
    first: list[Message] = []
    events: list[Event] = [started(), used(2, 30, 10), used(3, 60, 20), used(4, 95, 30), ended(5, 120, 40)]
    for event in events:
        view, messages = tell(view, event, meta())
        first.extend(messages)
    again = [m for event in events for m in tell(view, event, meta())[1]]
    assert view is not None
    assert view.version == 5
    assert [m for m in again if m in first] == again
    assert [m.event_id for m in again][-1] == first[-1].event_id


def test_messages_of_one_event_have_ids_of_their_own() -> None:
    messages = told([connected(2), status(3, "Faulted", error_code="GroundFailure")])
    assert len({m.event_id for m in messages}) == len(messages) == 3


def test_nothing_known_and_online_counts_as_available() -> None:
    view, _ = tell(None, connected(2), meta())
    assert view is not None
    assert overall(view) == "Available"  # type: ignore[arg-type]


def test_only_what_neither_begins_nor_is_a_reading_needs_a_view() -> None:
    point, other = "charge_point|demo|CP-1", "session|s-2"
    assert remembered([metered(2, []), started(), used(2, 30, 10)]) == set()
    assert remembered([metered(2, []), status(3, "Charging")]) == {point}
    assert remembered([used(2, 30, 10, id="s-2"), started(id="s-2")]) == {other}


@settings(deadline=None, max_examples=tried(50))
@given(st.text(), st.integers(0), st.sampled_from(["status", "session"]))
def test_the_id_of_a_message_is_the_name_based_uuid_of_what_it_tells(
    id: str, version: int, what: str
) -> None:
    assert id_of(id, str(version), what) == str(uuid5(MESSAGES, f"{id}|{version}|{what}"))
