"""Commands written as parameters of our own API."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from protocols.ocpp.message import ErrorCode, WireError
from protocols.ocpp.v16.enums import (
    AvailabilityType,
    ChargingProfileKindType,
    ChargingProfilePurposeType,
    ChargingRateUnitType,
)
from protocols.ocpp.v16.messages.core import (
    ChangeAvailabilityRequest,
    ClearCacheRequest,
    RemoteStartTransactionRequest,
    RemoteStopTransactionRequest,
)
from protocols.ocpp.v16.messages.parts import ChargingProfile, ChargingSchedule, ChargingSchedulePeriod
from protocols.ocpp.v16.messages.reservation import ReserveNowRequest
from protocols.ocpp.v16.parameters import COMMANDS, from_parameters, to_parameters

PROFILE = ChargingProfile(
    charging_profile_id=1,
    stack_level=0,
    charging_profile_purpose=ChargingProfilePurposeType.TX_PROFILE,
    charging_profile_kind=ChargingProfileKindType.RELATIVE,
    charging_schedule=ChargingSchedule(
        charging_rate_unit=ChargingRateUnitType.A,
        charging_schedule_period=(ChargingSchedulePeriod(start_period=0, limit=Decimal("16.1")),),
    ),
)
PROFILE_PARAMETERS = {
    "charging_profile_id": 1,
    "stack_level": 0,
    "charging_profile_purpose": "TxProfile",
    "charging_profile_kind": "Relative",
    "charging_schedule": {
        "charging_rate_unit": "A",
        "charging_schedule_period": [{"start_period": 0, "limit": 16.1}],
    },
}


def test_every_action_that_we_send_has_a_command_and_no_other() -> None:
    assert set(COMMANDS) == {
        "cancel_reservation",
        "certificate_signed",
        "change_availability",
        "change_configuration",
        "clear_cache",
        "clear_charging_profile",
        "data_transfer",
        "delete_certificate",
        "extended_trigger_message",
        "get_composite_schedule",
        "get_configuration",
        "get_diagnostics",
        "get_installed_certificate_ids",
        "get_local_list_version",
        "get_log",
        "install_certificate",
        "remote_start",
        "remote_start_transaction",
        "remote_stop",
        "remote_stop_transaction",
        "reserve_now",
        "reset",
        "send_local_list",
        "set_charging_profile",
        "signed_update_firmware",
        "trigger_message",
        "unlock_connector",
        "update_firmware",
    }


@pytest.mark.parametrize("command", ["remote_start", "remote_start_transaction"])
def test_a_remote_start_is_written_with_either_name(command: str) -> None:
    wanted = RemoteStartTransactionRequest(connector_id=1, id_tag="X")
    assert from_parameters(command, {"connector_id": 1, "id_tag": "X"}) == wanted


@pytest.mark.parametrize("command", ["remote_stop", "remote_stop_transaction"])
def test_a_remote_stop_is_written_with_either_name(command: str) -> None:
    assert from_parameters(command, {"transaction_id": 7}) == RemoteStopTransactionRequest(transaction_id=7)


def test_nested_parameters_are_read_and_numbers_are_exact() -> None:
    parameters = {"id_tag": "X", "charging_profile": PROFILE_PARAMETERS}
    assert from_parameters("remote_start", parameters) == RemoteStartTransactionRequest(
        id_tag="X", charging_profile=PROFILE
    )


def test_enumerations_and_dates_are_texts() -> None:
    assert from_parameters(
        "change_availability", {"connector_id": 0, "type": "Inoperative"}
    ) == ChangeAvailabilityRequest(connector_id=0, type=AvailabilityType.INOPERATIVE)
    assert from_parameters(
        "reserve_now",
        {"connector_id": 1, "expiry_date": "2024-05-01T12:00:00Z", "id_tag": "X", "reservation_id": 3},
    ) == ReserveNowRequest(
        connector_id=1, expiry_date=datetime(2024, 5, 1, 12, tzinfo=UTC), id_tag="X", reservation_id=3
    )


def test_a_command_without_fields_takes_an_empty_object() -> None:
    assert from_parameters("clear_cache", {}) == ClearCacheRequest()


@pytest.mark.parametrize(
    ("command", "parameters", "code", "path"),
    [
        ("launch", {}, ErrorCode.NOT_IMPLEMENTED, "$"),
        ("boot_notification", {}, ErrorCode.NOT_SUPPORTED, "$"),
        ("remote_start", {"id_tag": "X", "idTag": "X"}, ErrorCode.FORMATION_VIOLATION, "$.idTag"),
        ("remote_start", {}, ErrorCode.PROTOCOL_ERROR, "$.id_tag"),
        (
            "remote_start",
            {"id_tag": "X", "connector_id": None},
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            "$.connector_id",
        ),
        ("remote_start", [], ErrorCode.TYPE_CONSTRAINT_VIOLATION, "$"),
        ("remote_start", {1: 2, "id_tag": "X"}, ErrorCode.FORMATION_VIOLATION, "$.?"),
        ("remote_start", {"id_tag": "\ud800"}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "$.id_tag"),
        ("reset", {"type": "Gently"}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "$.type"),
        ("get_diagnostics", {"location": "not a uri"}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "$.location"),
        ("unlock_connector", {"connector_id": 1.0}, ErrorCode.TYPE_CONSTRAINT_VIOLATION, "$.connector_id"),
        (
            "unlock_connector",
            {"connector_id": float("nan")},
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            "$.connector_id",
        ),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_path_in_snake_case(
    command: str, parameters: object, code: ErrorCode, path: str
) -> None:
    error = from_parameters(command, parameters)
    assert isinstance(error, WireError)
    assert (error.code, error.path) == (code, path)


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), 16.11, "16.1", True])
def test_a_limit_must_be_a_finite_number_of_one_decimal(limit: object) -> None:
    schedule = {"charging_rate_unit": "A", "charging_schedule_period": [{"start_period": 0, "limit": limit}]}
    parameters = {"id_tag": "X", "charging_profile": PROFILE_PARAMETERS | {"charging_schedule": schedule}}
    error = from_parameters("remote_start", parameters)
    assert isinstance(error, WireError)
    assert error.path == "$.charging_profile.charging_schedule.charging_schedule_period[0].limit"


def test_a_message_is_written_as_the_parameters_that_make_it() -> None:
    message = RemoteStartTransactionRequest(id_tag="X", charging_profile=PROFILE)
    assert to_parameters(message) == {"id_tag": "X", "charging_profile": PROFILE_PARAMETERS}
    reserve = ReserveNowRequest(
        connector_id=1,
        expiry_date=datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC),
        id_tag="X",
        reservation_id=3,
    )
    assert to_parameters(reserve)["expiry_date"] == "2024-05-01T12:00:00.123Z"
