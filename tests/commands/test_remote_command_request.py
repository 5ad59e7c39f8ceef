"""Remote commands as they are asked for: exact requests, private texts, clear errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from commands.remote_command_request import (
    ask,
    parameters_of,
    private_texts,
    sealed,
    session_to_stop,
    switched_off,
    tells_key,
    with_transaction,
)
from commands.remote_command_rules import ParameterError
from domain.intents import Intent, RemoteStart, RemoteStop
from domain.tenant import Features
from domain.texts import with_texts
from domain.values import JSONObject
from gateway.ocpp.v16.calls import request
from gateway.ocpp.version import WireCall
from gateway.ocpp.versions import fits

NOW = datetime(2026, 5, 1, 11, tzinfo=UTC)

PROFILE: JSONObject = {
    "charging_profile_id": 1,
    "stack_level": 0,
    "charging_profile_purpose": "TxProfile",
    "charging_profile_kind": "Relative",
    "charging_schedule": {
        "charging_rate_unit": "A",
        "charging_schedule_period": [{"start_period": 0, "limit": 16.5}],
    },
}


def asked(command_type: str, parameters: JSONObject) -> Intent:
    found = ask(command_type, parameters, NOW, fits)
    assert not isinstance(found, ParameterError)
    return found


def payload(intent: Intent) -> JSONObject:
    """As OCPP 1.6 says it."""
    call = request(intent)
    assert isinstance(call, WireCall)
    return json.loads(call.payload)  # type: ignore[no-any-return]


def test_a_remote_start_is_an_exact_request() -> None:
    found = asked("remote_start", {"connector_id": 1, "id_tag": "TAG1", "charging_profile": PROFILE})

    assert isinstance(found, RemoteStart)
    assert parameters_of(found) == {"connector_id": 1, "id_tag": "TAG1", "charging_profile": PROFILE}
    assert (payload(found)["connectorId"], payload(found)["idTag"]) == (1, "TAG1")
    period = payload(found)["chargingProfile"]["chargingSchedule"]["chargingSchedulePeriod"][0]
    assert period == {"startPeriod": 0, "limit": 16.5}


@pytest.mark.parametrize(
    ("command_type", "parameters", "path"),
    [
        ("fly", {}, "command_type"),
        ("boot_notification", {}, "command_type"),
        ("Reset", {"type": "Soft"}, "command_type"),
        ("reset", {}, "parameters.type"),
        ("reset", {"type": "Gentle"}, "parameters.type"),
        ("reset", {"type": "Soft", "now": True}, "parameters.now"),
        ("remote_start", {"id_tag": "A" * 21}, "parameters.id_tag"),
        ("remote_start", {"id_tag": ""}, "parameters.id_tag"),
        ("remote_start", {"id_tag": "A", "connector_id": 0}, "parameters.connector_id"),
        (
            "send_local_list",
            {"list_version": 1, "update_type": "Full", "local_authorization_list": [{"id_tag": 7}]},
            "parameters.local_authorization_list[0].id_tag",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_path(
    command_type: str, parameters: JSONObject, path: str
) -> None:
    found = ask(command_type, parameters, NOW, fits)

    assert isinstance(found, ParameterError)
    assert found.path == path
    assert "$" not in found.message


@pytest.mark.parametrize(
    ("command_type", "parameters", "feature"),
    [
        ("clear_charging_profile", {}, "smart_charging"),
        ("get_composite_schedule", {"connector_id": 1, "duration": 60}, "smart_charging"),
        ("remote_start", {"id_tag": "A", "charging_profile": PROFILE}, "smart_charging"),
        ("remote_start", {"id_tag": "A"}, ""),
        ("trigger_message", {"requested_message": "Heartbeat"}, "remote_trigger"),
        ("extended_trigger_message", {"requested_message": "Heartbeat"}, "remote_trigger"),
        ("reset", {"type": "Soft"}, ""),
    ],
)
def test_a_feature_that_is_switched_off_is_named(
    command_type: str, parameters: JSONObject, feature: str
) -> None:
    found = asked(command_type, parameters)

    assert switched_off(found, Features(smart_charging=False, remote_trigger=False)) == feature
    assert switched_off(found, Features()) == ""


def test_a_remote_stop_may_name_a_session_in_place_of_its_transaction() -> None:
    assert session_to_stop("remote_stop", {"session_id": "s1"}) == "s1"
    assert session_to_stop("remote_stop_transaction", {"session_id": "s1"}) == "s1"
    assert session_to_stop("remote_stop", {"transaction_id": 3}) == ""
    assert session_to_stop("reset", {"session_id": "s1"}) == ""
    assert isinstance(session_to_stop("remote_stop", {"session_id": 4}), ParameterError)
    assert isinstance(
        session_to_stop("remote_stop", {"session_id": "s", "transaction_id": 3}), ParameterError
    )
    assert asked("remote_stop", with_transaction({"session_id": "s1"}, 3)) == RemoteStop(transaction_id=3)


@pytest.mark.parametrize(
    ("command_type", "parameters", "private"),
    [
        ("remote_start", {"id_tag": "TAG1"}, {("TAG1", True)}),
        (
            "reserve_now",
            {
                "connector_id": 1,
                "expiry_date": "2026-05-01T12:00:00Z",
                "id_tag": "TAG1",
                "parent_id_tag": "FAMILY",
                "reservation_id": 4,
            },
            {("TAG1", True), ("FAMILY", True)},
        ),
        (
            "send_local_list",
            {
                "list_version": 1,
                "update_type": "Differential",
                "local_authorization_list": [
                    {"id_tag": "TAG1", "id_tag_info": {"status": "Accepted", "parent_id_tag": "FAMILY"}},
                    {"id_tag": "TAG2"},
                ],
            },
            {("TAG1", True), ("FAMILY", True), ("TAG2", True)},
        ),
        ("change_configuration", {"key": "AuthorizationKey", "value": "0" * 40}, {("0" * 40, False)}),
        ("change_configuration", {"key": "authorizationkey", "value": "0" * 40}, {("0" * 40, False)}),
        ("change_configuration", {"key": "HeartbeatInterval", "value": "30"}, set()),
        ("data_transfer", {"vendor_id": "V", "data": "x"}, {("x", False)}),
        ("get_diagnostics", {"location": "ftp://u:p@h/"}, {("ftp://u:p@h/", False)}),
        ("change_configuration", {"key": "K", "value": "s1.other.abc"}, {("s1.other.abc", False)}),
        ("reset", {"type": "Soft"}, set()),
    ],
)
def test_private_texts_are_sealed_in_the_intent_and_where_it_is_shown_and_nothing_else_is(
    command_type: str, parameters: JSONObject, private: set[tuple[str, bool]]
) -> None:
    found = asked(command_type, parameters)

    texts = set(private_texts(found))
    tags = {text: f"s1.tag.{number}" for number, (text, is_tag) in enumerate(texts) if is_tag}
    secrets = {text: f"s1.secret.{number}" for number, (text, is_tag) in enumerate(texts) if not is_tag}
    kept = sealed(found, tags, secrets)

    assert texts == private
    for text, _ in private:
        assert f"'{text}'" not in str(parameters_of(kept))
        assert f'"{text}"' not in msgspec.json.encode(kept).decode()
    opened = {value: text for text, value in (tags | secrets).items()}
    assert with_texts(kept, lambda _, text: opened.get(text, text)) == found
    assert (parameters_of(kept).get("value") == "***") is tells_key(found)
