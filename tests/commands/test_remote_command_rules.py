"""What makes no sense, or what OCPP 1.6 forbids, in a call of ours, by the path of what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from commands.remote_command_request import ask
from commands.remote_command_rules import RULES, ParameterError
from domain.intents import INTENTS
from domain.values import JSONObject
from gateway.ocpp.versions import fits

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PAST, SOON, LATER = "2026-05-01T12:00:00Z", "2026-05-01T13:00:00Z", "2026-05-01T14:00:00Z"


def profile(
    purpose: str = "TxDefaultProfile", schedule: JSONObject | None = None, **fields: Any
) -> JSONObject:
    return {
        "charging_profile_id": 1,
        "stack_level": 0,
        "charging_profile_purpose": purpose,
        "charging_profile_kind": "Relative",
        "charging_schedule": {
            "charging_rate_unit": "A",
            "charging_schedule_period": [{"start_period": 0, "limit": 16.5}],
            **(schedule or {}),
        },
        **fields,
    }


def setting(connector_id: int, wanted: JSONObject) -> tuple[str, JSONObject]:
    return "set_charging_profile", {"connector_id": connector_id, "cs_charging_profiles": wanted}


def starting(wanted: JSONObject) -> tuple[str, JSONObject]:
    return "remote_start", {"id_tag": "A", "charging_profile": wanted}


def periods(*pairs: tuple[int, float]) -> JSONObject:
    return {"charging_schedule_period": [{"start_period": start, "limit": limit} for start, limit in pairs]}


def entries(*tags: str, update_type: str = "Full", version: int = 1) -> tuple[str, JSONObject]:
    listed = [{"id_tag": tag, "id_tag_info": {"status": "Accepted"}} for tag in tags]
    return "send_local_list", {
        "list_version": version,
        "update_type": update_type,
        "local_authorization_list": listed,
    }


def reserving(**fields: Any) -> tuple[str, JSONObject]:
    wanted = {"connector_id": 1, "expiry_date": SOON, "id_tag": "A", "reservation_id": 1, **fields}
    return "reserve_now", wanted


MAXIMUM: dict[str, Any] = {
    "charging_profile_kind": "Absolute",
    "schedule": {"start_schedule": SOON},
}
KEY = "change_configuration"


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        # Which purpose on which connector, and whose transaction.
        (setting(-1, profile()), "connector_id"),
        (setting(1, profile("ChargePointMaxProfile", **MAXIMUM)), "connector_id"),
        (setting(0, profile("TxProfile", transaction_id=7)), "connector_id"),
        (setting(1, profile("TxProfile")), "cs_charging_profiles.transaction_id"),
        (setting(1, profile(transaction_id=7)), "cs_charging_profiles.transaction_id"),
        # Stack level, kind and recurrency, validity, duration.
        (setting(1, profile(stack_level=-1)), "cs_charging_profiles.stack_level"),
        (setting(0, profile("ChargePointMaxProfile")), "cs_charging_profiles.charging_profile_kind"),
        (setting(1, profile(charging_profile_kind="Recurring")), "cs_charging_profiles.recurrency_kind"),
        (setting(1, profile(recurrency_kind="Daily")), "cs_charging_profiles.recurrency_kind"),
        (
            setting(1, profile(charging_profile_kind="Recurring", recurrency_kind="Daily")),
            "cs_charging_profiles.charging_schedule.start_schedule",
        ),
        (setting(1, profile(valid_from=LATER, valid_to=SOON)), "cs_charging_profiles.valid_to"),
        (setting(1, profile(valid_to=PAST)), "cs_charging_profiles.valid_to"),
        (setting(1, profile(schedule={"duration": -1})), "cs_charging_profiles.charging_schedule.duration"),
        # Periods and limits.
        (
            setting(1, profile(schedule=periods())),
            "cs_charging_profiles.charging_schedule.charging_schedule_period",
        ),
        (
            setting(1, profile(schedule=periods((5, 16)))),
            "cs_charging_profiles.charging_schedule.charging_schedule_period[0].start_period",
        ),
        (
            setting(1, profile(schedule=periods((0, 16), (60, 10), (60, 6)))),
            "cs_charging_profiles.charging_schedule.charging_schedule_period[2].start_period",
        ),
        (
            setting(1, profile(schedule=periods((0, -1)))),
            "cs_charging_profiles.charging_schedule.charging_schedule_period[0].limit",
        ),
        # Inside a remote start: a TxProfile that names no transaction.
        (starting(profile()), "charging_profile.charging_profile_purpose"),
        (starting(profile("TxProfile", transaction_id=3)), "charging_profile.transaction_id"),
        (starting(profile("TxProfile", stack_level=-1)), "charging_profile.stack_level"),
        (starting(profile("TxProfile", valid_to=PAST)), "charging_profile.valid_to"),
        (("clear_charging_profile", {"connector_id": -1}), "connector_id"),
        (("clear_charging_profile", {"stack_level": -1}), "stack_level"),
        (("get_composite_schedule", {"connector_id": -1, "duration": 60}), "connector_id"),
        (("get_composite_schedule", {"connector_id": 1, "duration": 0}), "duration"),
        # The local list.
        (entries("A", version=0), "list_version"),
        (entries("A", version=-1), "list_version"),
        (entries("A", "B", "a"), "local_authorization_list[2].id_tag"),
        (entries("A", ""), "local_authorization_list[1].id_tag"),
        (
            (
                "send_local_list",
                {"list_version": 1, "update_type": "Full", "local_authorization_list": [{"id_tag": "A"}]},
            ),
            "local_authorization_list[0].id_tag_info",
        ),
        # Reservations.
        (reserving(connector_id=-1), "connector_id"),
        (reserving(expiry_date=PAST), "expiry_date"),
        (reserving(reservation_id=0), "reservation_id"),
        (reserving(reservation_id=2**31), "reservation_id"),
        (reserving(id_tag=""), "id_tag"),
        (("cancel_reservation", {"reservation_id": 0}), "reservation_id"),
        # Connector 0 is the charge point.
        (("remote_start", {"id_tag": "A", "connector_id": 0}), "connector_id"),
        (("unlock_connector", {"connector_id": 0}), "connector_id"),
        (("trigger_message", {"requested_message": "MeterValues", "connector_id": 0}), "connector_id"),
        (
            ("extended_trigger_message", {"requested_message": "MeterValues", "connector_id": 0}),
            "connector_id",
        ),
        (("change_availability", {"connector_id": -1, "type": "Operative"}), "connector_id"),
        (("remote_stop", {"transaction_id": 0}), "transaction_id"),
        # The password of a charge point is 16 to 20 bytes (SEC-02).
        ((KEY, {"key": "AuthorizationKey", "value": "0" * 30}), "value"),
        ((KEY, {"key": "AuthorizationKey", "value": "0" * 42}), "value"),
        ((KEY, {"key": "AuthorizationKey", "value": "0" * 33}), "value"),
        ((KEY, {"key": "authorizationKEY", "value": "g" * 32}), "value"),
        ((KEY, {"key": "", "value": "1"}), "key"),
        (("get_diagnostics", {"location": "ftp://h/", "start_time": LATER, "stop_time": SOON}), "stop_time"),
        (("get_diagnostics", {"location": "ftp://h/", "retries": -1}), "retries"),
    ],
)
def test_what_ocpp_forbids_is_refused_before_it_is_sent(wanted: tuple[str, JSONObject], path: str) -> None:
    found = ask(*wanted, NOW, fits)

    assert isinstance(found, ParameterError)
    assert found.path == f"parameters.{path}"


@pytest.mark.parametrize(
    "wanted",
    [
        setting(0, profile()),
        setting(1, profile()),
        setting(0, profile("ChargePointMaxProfile", **MAXIMUM)),
        setting(2, profile("TxProfile", transaction_id=7, valid_to=SOON)),
        setting(
            1,
            profile(
                charging_profile_kind="Recurring",
                recurrency_kind="Weekly",
                schedule={"start_schedule": PAST, "duration": 60, **periods((0, 16), (30, 0))},
            ),
        ),
        starting(profile("TxProfile")),
        ("clear_charging_profile", {}),
        ("clear_charging_profile", {"connector_id": 0, "stack_level": 0}),
        ("get_composite_schedule", {"connector_id": 0, "duration": 1}),
        entries("A", "B"),
        entries(update_type="Differential"),
        ("send_local_list", {"list_version": 1, "update_type": "Full"}),
        (
            "send_local_list",
            {
                "list_version": 9,
                "update_type": "Differential",
                "local_authorization_list": [{"id_tag": "A"}],
            },
        ),
        reserving(connector_id=0),
        reserving(reservation_id=2**31 - 1),
        ("change_availability", {"connector_id": 0, "type": "Inoperative"}),
        ("trigger_message", {"requested_message": "StatusNotification"}),
        (KEY, {"key": "AuthorizationKey", "value": "0aF1" * 8}),
        (KEY, {"key": "AuthorizationKey", "value": "0aF1" * 10}),
        (KEY, {"key": "HeartbeatInterval", "value": ""}),
    ],
)
def test_what_ocpp_allows_is_not_refused(wanted: tuple[str, JSONObject]) -> None:
    assert not isinstance(ask(*wanted, NOW, fits), ParameterError)


def test_the_table_names_intents_that_there_are() -> None:
    assert RULES.keys() <= set(INTENTS)
