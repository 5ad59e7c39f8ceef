"""Parameters of commands by their public names become intents, and are shown as they were asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.remote_command_request import COMMANDS, MASK, PUBLIC_NAMES, ask, parameters_of
from commands.remote_command_rules import ParameterError
from domain.intents import (
    INTENTS,
    Availability,
    ChangeAvailability,
    ClearCache,
    GetVariables,
    Intent,
    RemoteStart,
    RemoteStop,
    ReserveNow,
    SetChargingProfile,
    SetVariable,
)
from domain.schedules import ChargingProfile, ChargingSchedule, Kind, Purpose, SchedulePeriod, Unit
from gateway.ocpp.versions import fits
from protocols.ocpp import model
from tests.laws import tried

NOW = datetime(2024, 5, 1, 11, tzinfo=UTC)
PROFILE = ChargingProfile(
    charging_profile_id=1,
    stack_level=0,
    charging_profile_purpose=Purpose.TX,
    charging_profile_kind=Kind.RELATIVE,
    charging_schedule=ChargingSchedule(
        charging_rate_unit=Unit.A,
        charging_schedule_period=(SchedulePeriod(start_period=0, limit=Decimal("16.1")),),
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


TX_PARAMETERS = PROFILE_PARAMETERS | {"transaction_id": 7}


def asked(command: str, parameters: object) -> Intent | ParameterError:
    return ask(command, parameters, NOW, fits)


def test_every_intent_has_a_command() -> None:
    assert set(COMMANDS.values()) == set(INTENTS)


@pytest.mark.parametrize("command", ["remote_start", "remote_start_transaction"])
def test_a_remote_start_is_written_with_either_name(command: str) -> None:
    assert asked(command, {"connector_id": 1, "id_tag": "X"}) == RemoteStart(connector_id=1, id_tag="X")


@pytest.mark.parametrize("command", ["remote_stop", "remote_stop_transaction"])
def test_a_remote_stop_is_written_with_either_name(command: str) -> None:
    assert asked(command, {"transaction_id": 7}) == RemoteStop(transaction_id=7)


def test_nested_parameters_are_read_and_numbers_are_exact() -> None:
    parameters = {"id_tag": "X", "charging_profile": PROFILE_PARAMETERS}
    assert asked("remote_start", parameters) == RemoteStart(id_tag="X", charging_profile=PROFILE)


def test_a_parameter_may_have_another_public_name_than_its_field() -> None:
    installing = {"connector_id": 1, "cs_charging_profiles": TX_PARAMETERS}
    found = asked("set_charging_profile", installing)
    assert isinstance(found, SetChargingProfile)
    assert parameters_of(found) == installing
    assert asked("get_configuration", {"key": ["A"]}) == GetVariables(keys=("A",))
    for kind, (field, _) in PUBLIC_NAMES.items():
        name = next(name for name, wanted in COMMANDS.items() if wanted is kind)
        assert asked(name, {field: []}) == ParameterError(f"parameters.{field}", "there is no such field")


def test_enumerations_and_dates_are_texts() -> None:
    assert asked("change_availability", {"connector_id": 0, "type": "Inoperative"}) == ChangeAvailability(
        connector_id=0, type=Availability.INOPERATIVE
    )
    assert asked(
        "reserve_now",
        {"connector_id": 1, "expiry_date": "2024-05-01T12:00:00Z", "id_tag": "X", "reservation_id": 3},
    ) == ReserveNow(
        connector_id=1, expiry_date=datetime(2024, 5, 1, 12, tzinfo=UTC), id_tag="X", reservation_id=3
    )


def test_a_command_without_fields_takes_an_empty_object() -> None:
    assert asked("clear_cache", {}) == ClearCache()


@pytest.mark.parametrize(
    ("command", "parameters", "path"),
    [
        ("launch", {}, "command_type"),
        ("boot_notification", {}, "command_type"),
        ("remote_start", {"id_tag": "X", "idTag": "X"}, "parameters.idTag"),
        ("remote_start", {"id_tag": "X", "kind": "reset"}, "parameters.kind"),
        ("remote_start", {}, "parameters.id_tag"),
        ("remote_start", {"id_tag": "X", "connector_id": None}, "parameters.connector_id"),
        ("remote_start", [], "parameters"),
        ("remote_start", {1: 2, "id_tag": "X"}, "parameters.?"),
        ("remote_start", {"id_tag": "\ud800"}, "parameters.id_tag"),
        ("remote_start", {"id_tag": "X" * 21}, "parameters.id_tag"),
        ("reset", {"type": "Gently"}, "parameters.type"),
        ("trigger_message", {"requested_message": "LogStatusNotification"}, "parameters.requested_message"),
        ("get_configuration", {"key": ["A", "B" * 51]}, "parameters.key[1]"),
        ("get_diagnostics", {"location": "not a uri"}, "parameters.location"),
        ("unlock_connector", {"connector_id": 1.0}, "parameters.connector_id"),
        ("unlock_connector", {"connector_id": float("nan")}, "parameters.connector_id"),
        ("unlock_connector", {"connector_id": 2**63}, "parameters.connector_id"),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_path(command: str, parameters: object, path: str) -> None:
    error = asked(command, parameters)
    assert isinstance(error, ParameterError)
    assert error.path == path


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), 16.11, "16.1", True, 10**19])
def test_a_limit_must_be_a_finite_number_of_one_decimal(limit: object) -> None:
    schedule = {"charging_rate_unit": "A", "charging_schedule_period": [{"start_period": 0, "limit": limit}]}
    profile = TX_PARAMETERS | {"charging_schedule": schedule}
    error = asked("set_charging_profile", {"connector_id": 1, "cs_charging_profiles": profile})
    assert isinstance(error, ParameterError)
    period = "charging_schedule.charging_schedule_period[0]"
    assert error.path == f"parameters.cs_charging_profiles.{period}.limit"


def test_an_intent_is_shown_as_the_parameters_that_make_it() -> None:
    start = RemoteStart(id_tag="X", charging_profile=PROFILE)
    assert parameters_of(start) == {"id_tag": "X", "charging_profile": PROFILE_PARAMETERS}
    reserve = ReserveNow(
        connector_id=1,
        expiry_date=datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC),
        id_tag="X",
        reservation_id=3,
    )
    assert parameters_of(reserve)["expiry_date"] == "2024-05-01T12:00:00.123Z"


def test_the_value_of_a_secret_is_shown_to_nobody_SEC_04() -> None:
    assert parameters_of(SetVariable(key="WifiPassword", value="hush"))["value"] == MASK


MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(
        microsecond=moment.microsecond // 1000 * 1000, tzinfo=timezone(timedelta(hours=2))
    )
)
SCALARS: Mapping[model.Kind, st.SearchStrategy[object]] = {
    model.Kind.TEXT: st.text(st.characters(codec="ascii", exclude_characters="\x00"), max_size=20),
    model.Kind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    model.Kind.DECIMAL: st.integers(-(10**9), 10**9).map(lambda tenths: Decimal(tenths) / 10),
    model.Kind.INSTANT: MOMENTS,
}


def values(field: model.FieldModel) -> st.SearchStrategy[object]:
    if field.part is not None:
        found: st.SearchStrategy[object] = parts(field.part)
    else:
        found = SCALARS[field.kind] if field.enum is None else st.sampled_from(list(field.enum))
    if field.many:
        found = st.lists(found, max_size=3).map(tuple)
    return found if field.required else st.none() | found


def parts(part: type) -> st.SearchStrategy[object]:
    return st.builds(part, **{field.name: values(field) for field in model.model_of(part).fields})


@given(
    st.sampled_from(sorted(COMMANDS)).flatmap(lambda name: st.tuples(st.just(name), parts(COMMANDS[name])))
)
@settings(deadline=None, max_examples=tried(150))
def test_shown_parameters_make_the_intent_that_they_were_made_from(sent: tuple[str, Intent]) -> None:
    command, intent = sent
    shown = json.loads(json.dumps(parameters_of(intent)))
    again = ask(command, shown, datetime(1, 1, 1, tzinfo=UTC), lambda _: None)
    assert isinstance(again, ParameterError) or parameters_of(again) == parameters_of(intent)
    assert isinstance(again, ParameterError) or again == intent or isinstance(intent, SetVariable)
