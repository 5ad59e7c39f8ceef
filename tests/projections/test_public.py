"""The public contract: which events are told, under which type, and what never is."""

from __future__ import annotations

from typing import Any

import msgspec

from domain.aggregate import Event
from projections.public import CONTRACT, cloud_event
from tests.docs.test_events import examples
from tests.projections.facts import (
    ROAMING,
    SESSION,
    after,
    corrected,
    ended,
    meta,
    metered,
    priced,
    put_token,
    registered,
    requested,
    started,
    status,
    used,
)

# A published name is never taken away or moved.
PUBLISHED = {
    "chargesphere.session.started.v1": "sessions",
    "chargesphere.session.updated.v1": "sessions",
    "chargesphere.session.ended.v1": "sessions",
    "chargesphere.session.end_corrected.v1": "sessions",
    "chargesphere.cdr.issued.v1": "cdrs",
    "chargesphere.cdr.withheld.v1": "cdrs",
    "chargesphere.token.put.v1": "tokens",
    "chargesphere.token.removed.v1": "tokens",
    "chargesphere.token.authorized.v1": "tokens",
    "chargesphere.charge_point.connected.v1": "charge-points",
    "chargesphere.charge_point.disconnected.v1": "charge-points",
    "chargesphere.charge_point.booted.v1": "charge-points",
    "chargesphere.charge_point.status.v1": "charge-points",
    "chargesphere.meter_values.recorded.v1": "meter-values",
}


def test_every_published_type_is_there_on_its_topic() -> None:
    assert {kind.ce_type: kind.topic for kind in CONTRACT.values()} == PUBLISHED


def test_the_attributes_are_cloud_events_headers() -> None:
    told = cloud_event(started(4, version=3), meta(causation_id="frame-9"))
    assert told is not None
    assert (told.topic, told.key) == ("sessions", f"session|{SESSION}")
    assert dict(told.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": f"session|{SESSION}|3".encode(),
        "ce_type": b"chargesphere.session.started.v1",
        "ce_source": b"/chargesphere/session",
        "ce_subject": SESSION.encode(),
        "ce_time": b"2026-03-01T12:00:04.000Z",
        "ce_tenantid": b"demo",
        "ce_aggregateversion": b"3",
        "ce_correlationid": b"corr-1",
        "ce_causationid": b"frame-9",
        "content-type": b"application/json",
    }


def test_without_a_cause_the_command_itself_is_it_and_an_absent_tenant_is_left_out() -> None:
    told = cloud_event(put_token(), meta(tenant=""))
    assert told is not None
    headers = dict(told.headers)
    assert headers["ce_causationid"] == b"c-1"
    assert "ce_tenantid" not in headers


def test_a_session_is_told_with_ocpis_facts() -> None:
    told = cloud_event(started(), meta())
    assert told is not None
    data = msgspec.json.decode(told.data)
    wanted = {"session_id": SESSION, "country_code": "DE", "party_id": "ABC", "owner": "NL*EMS"}
    assert wanted.items() <= data.items()
    assert (data["status"], data["evse_uid"], data["location_id"]) == ("ACTIVE", "E1", "LOC1")


def test_a_cdr_is_told_without_its_token() -> None:
    told = cloud_event(priced(4, 60), meta())
    assert told is not None
    data = msgspec.json.decode(told.data)
    assert data["cdr"] == {"country_code": "DE", "party_id": "ABC", "id": SESSION, "total_energy": 4.2}
    assert "cdr_token" not in data


def test_nothing_sealed_leaves_in_public() -> None:
    for event, _ in examples().values():
        told = cloud_event(event, meta())
        assert told is not None
        assert b"s1." not in told.data
        assert not any(b"s1." in value for _, value in told.headers)


def test_internal_events_are_not_told() -> None:
    assert cloud_event(registered(), meta()) is None
    assert cloud_event(requested(), meta()) is None
    assert cloud_event(used(1, 5, 10, early=True), meta()) is None
    assert cloud_event(metered(4, []), meta()) is None


def test_an_event_told_again_is_the_same_record() -> None:
    assert cloud_event(started(), meta()) == cloud_event(started(), meta())


def test_a_number_with_more_digits_than_json_holds_is_told_as_the_nearest() -> None:
    values = [{"timestamp": "2026-03-01T12:00:30Z", "sampledValue": [{"value": "0.12345678901234567890"}]}]
    told = cloud_event(metered(4, values), meta())
    assert told is not None
    assert msgspec.json.decode(told.data)["readings"][0]["value"] == 0.12345678901234568


def test_a_number_beyond_every_integer_can_be_told() -> None:
    values = [{"timestamp": "soon", "sampledValue": [{"value": "9e99", "unit": "kWh"}]}]
    told = cloud_event(metered(4, values, 30), meta())
    assert told is not None
    [reading] = msgspec.json.decode(told.data)["readings"]
    assert (reading["value"], reading["timestamp"]) == (9e102, "2026-03-01T12:00:30.000Z")


def payload(event: Event) -> dict[str, Any]:
    told = cloud_event(event, meta())
    assert told is not None
    found: dict[str, Any] = msgspec.json.decode(told.data)
    return found


def test_sessions_and_cdrs_name_the_token_as_the_tokens_topic_does() -> None:
    """So that a billing service can bill a driver, and join the tokens topic, without a uid."""
    token = payload(put_token())
    for event in (started(), priced(4, 60)):
        told = payload(event)
        assert (told["token_owner"], told["token_key"]) == (token["owner"], token["key"])
        assert told["token_type"] == token["type"]


def test_a_tenants_own_tag_is_named_too() -> None:
    own = msgspec.structs.replace(ROAMING, owner=None)
    told = payload(msgspec.structs.replace(started(), authorization=own))
    assert (told["owner"], told["token_owner"], told["token_key"]) == (None, "tenant:demo", "9f2c")
    mine = payload(msgspec.structs.replace(priced(4, 60), owner=None))
    assert (mine["owner"], mine["token_owner"]) == (None, "tenant:demo")


def test_an_end_says_whether_it_is_provisional_and_its_correction_is_told() -> None:
    assert payload(ended(3, 3600, 4200))["provisional"] is False
    assert payload(ended(3, 3600, 4200, provisional=True))["provisional"] is True
    told = payload(corrected(5, 3900, 4300))
    assert (told["kwh"], told["end_date_time"]) == (4.3, "2026-03-01T13:05:00.000Z")


def test_times_are_by_our_clock_and_the_charge_points_stands_beside() -> None:
    clock = {"occurred_at": after(3600), "clock_offset_s": 3600}
    state = status(5, "Charging", 1, **clock)
    told = payload(state)
    assert told["happened_at"] == "2026-03-01T12:00:00.000Z"
    assert told["reported_at"] == "2026-03-01T13:00:00.000Z"
    headers = cloud_event(state, meta())
    assert headers is not None
    assert dict(headers.headers)["ce_time"] == b"2026-03-01T12:00:00.000Z"
    values = [{"timestamp": "2026-03-01T13:00:00Z", "sampledValue": [{"value": "1"}]}]
    readings = payload(metered(6, values, 1, **clock))
    assert readings["readings"][0]["timestamp"] == "2026-03-01T12:00:00.000Z"
    assert readings["clock_offset_s"] == 3600
