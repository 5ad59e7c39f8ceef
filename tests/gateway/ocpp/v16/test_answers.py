"""What answers of OCPP 1.6 mean and teach, and what of them is kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from domain.charge_point.announced import Announced, Learned, Variable
from domain.schedules import Abilities, Unit
from domain.values import JSONObject
from gateway.ocpp.v16.announced import announced
from gateway.ocpp.v16.answers import VALUE_MOST, VARIABLES_BYTES_MOST, VARIABLES_MOST, judge
from gateway.ocpp.version import Judged
from streams.deciding.partition import MAX_DECISION_BYTES
from tests.commands.v16_calls import intent


def judged(action: str, answer: Any, payload: JSONObject | None = None) -> Judged:
    return judge(intent(action, payload), msgspec.Raw(msgspec.json.encode(answer)))


CHANGE: JSONObject = {"key": "HeartbeatInterval", "value": "60"}


@pytest.mark.parametrize(
    ("action", "payload", "answer", "status", "learned"),
    [
        (
            "ChangeConfiguration",
            CHANGE,
            "Accepted",
            "accepted",
            Learned(announced=Announced(heartbeat_interval=60)),
        ),
        ("ChangeConfiguration", CHANGE, "RebootRequired", "accepted", Learned(after_reboot=True)),
        ("ChangeConfiguration", CHANGE, "Rejected", "rejected", Learned()),
        ("ChangeConfiguration", CHANGE, "NotSupported", "rejected", Learned(unknown=("HeartbeatInterval",))),
        ("ChangeConfiguration", {"key": "WifiPassword", "value": "x"}, "Accepted", "accepted", Learned()),
        ("ClearChargingProfile", {}, "Accepted", "accepted", Learned(cleared=True)),
        ("ClearChargingProfile", {}, "Unknown", "rejected", Learned(cleared=True)),
        ("UnlockConnector", {"connectorId": 1}, "Unlocked", "accepted", Learned()),
        ("UnlockConnector", {"connectorId": 1}, "UnlockFailed", "rejected", Learned()),
    ],
)
def test_a_status_is_judged_and_teaches(
    action: str, payload: JSONObject, answer: str, status: str, learned: Learned
) -> None:
    found = judged(action, {"status": answer}, payload)
    assert (found.status, found.reason, found.learned) == (status, answer, learned)


@pytest.mark.parametrize("version", [-1, 0, 7])
def test_the_version_of_a_local_list_is_learned(version: int) -> None:
    found = judged("GetLocalListVersion", {"listVersion": version})
    assert (found.status, found.learned) == ("accepted", Learned(list_version=version))


def test_configuration_is_learned_and_its_secrets_are_kept_nowhere_SEC_04() -> None:
    entries = [
        {"key": "NumberOfConnectors", "readonly": True, "value": "2"},
        {"key": "AuthorizationKey", "readonly": False, "value": "secret"},
        {"key": "CpoName", "value": "s1.k.sealed"},
        {"key": "Foo.Bar", "readonly": True},
    ]
    found = judged("GetConfiguration", {"configurationKey": entries})
    assert found.learned == Learned(
        variables=(
            Variable(key="NumberOfConnectors", value="2", readonly=True),
            Variable(key="AuthorizationKey"),
            Variable(key="Foo.Bar", readonly=True),
        ),
        announced=Announced(connectors=2),
    )
    assert b"secret" not in msgspec.json.encode([found.response, found.learned]) + found.kept


def test_what_is_learned_of_one_answer_is_bounded() -> None:
    entries = [
        {"key": f"Key{number}", "readonly": False, "value": "v" * (VALUE_MOST + 1)}
        for number in range(VARIABLES_MOST + 1)
    ]
    variables = judged("GetConfiguration", {"configurationKey": entries}).learned.variables
    assert (len(variables), {len(one.value) for one in variables}) == (VARIABLES_MOST, {VALUE_MOST})


@pytest.mark.parametrize(
    ("said", "variables"),
    [
        ([], ()),
        ({}, ()),
        ({"configurationKey": 5}, ()),
        ({"configurationKey": None}, ()),
        ({"configurationKey": [7, None]}, ()),
        ({"configurationKey": {"key": "A", "readonly": True}}, (Variable(key="A", readonly=True),)),
        ({"configurationKey": [{"key": "A", "value": None}]}, (Variable(key="A"),)),
        ({"configurationKey": [{"key": "A", "value": 60}]}, (Variable(key="A", value="60"),)),
        ({"configurationKey": [{"key": "A", "value": True}]}, (Variable(key="A", value="true"),)),
        ({"configurationKey": [{"value": "1"}]}, ()),
        ({"configurationKey": {"key": "Password", "value": "x"}}, (Variable(key="Password"),)),
    ],
)
def test_an_odd_answer_is_learned_from_as_far_as_it_can_be_read(
    said: object, variables: tuple[Variable, ...]
) -> None:
    found = judged("GetConfiguration", said)
    assert (found.status, found.learned.variables) == ("accepted", variables)
    assert b'"x"' not in found.kept


@pytest.mark.parametrize(
    ("number", "kept"),
    [("1e999", "1e999"), ("-1e400", "-1e400"), ("9223372036854775808", "9223372036854775808"), ("1.5", 1.5)],
)
def test_a_number_that_no_store_can_hold_is_kept_as_text(number: str, kept: object) -> None:
    answer = f'{{"x":{number},"configurationKey":[{{"key":"A","readonly":true,"value":{number}}}]}}'
    found = judge(intent("GetConfiguration"), msgspec.Raw(answer.encode()))
    assert found.status == "accepted"
    assert found.response is not None
    assert found.response["x"] == kept
    assert [one.value for one in found.learned.variables] == [number]


@pytest.mark.parametrize("depth", [100, 400, 900, 5000])
def test_an_answer_that_is_nested_however_deep_is_judged(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    answer = f'{{"x":{nested},"configurationKey":[{{"key":"Password","readonly":true,"value":"secret"}}]}}'
    found = judge(intent("GetConfiguration"), msgspec.Raw(answer.encode()))
    assert found.status in ("accepted", "failed")
    assert found.status == "accepted" or depth > 100
    assert b"secret" not in msgspec.json.encode(found.response)


@pytest.mark.parametrize("answer", [{"status": 7}, [], {"status": "Perhaps"}])
def test_an_answer_that_cannot_be_understood_is_a_failure_that_teaches_nothing(answer: object) -> None:
    found = judged("ClearCache", answer)
    assert (found.status, found.response, found.learned) == ("failed", None, Learned())


def test_keys_say_what_a_charge_point_can_do_whatever_their_case() -> None:
    said = {
        "supportedFEATUREprofiles": "Core, SmartCharging,,Core",
        "chargeprofilemaxstacklevel": "8",
        "ChargingScheduleMaxPeriods": " 24 ",
        "MaxChargingProfilesInstalled": "many",
        "ChargingScheduleAllowedChargingRateUnit": "Current, Power",
        "ReserveConnectorZeroSupported": "True",
        "ConnectionTimeOut": "9999999999",
    }
    found = announced(said)
    assert found == Announced(
        features=("core", "smartcharging"),
        max_stack_level=8,
        max_periods=24,
        units=(Unit.A, Unit.W),
        reserves_whole=True,
    )
    units = frozenset({Unit.A, Unit.W})
    assert found.schedules() == Abilities(max_stack_level=8, max_periods=24, units=units)


def test_what_says_nothing_of_itself_announces_nothing() -> None:
    assert announced({}) is None
    assert announced({"CpoName": "s1.k.sealed"}) is None
    assert announced({"CpoName": "Yard"}) == Announced()
    assert announced({"SupportedFeatureProfiles": ""}) == Announced(features=())
    assert announced({"ReserveConnectorZeroSupported": "perhaps"}) == Announced(reserves_whole=False)


@pytest.mark.parametrize("value", ["v" * 800, "\x01" * 140])
def test_an_answer_as_large_as_a_frame_may_be_is_taken_as_its_decision_can_hold_it(value: str) -> None:
    told = [{"key": f"{i:050d}", "readonly": False, "value": value} for i in range(1100)]
    judged = judge(
        intent("GetConfiguration"),
        msgspec.Raw(msgspec.json.encode({"configurationKey": told, "unknownKey": []})),
    )
    assert judged.response is not None and judged.response["truncated"] is True
    taken = len(msgspec.json.encode((judged.response, judged.learned)))
    assert VARIABLES_BYTES_MOST < taken < MAX_DECISION_BYTES * 0.7


def test_a_text_as_large_as_a_frame_may_be_is_left_out_of_the_answer() -> None:
    said = {"status": "Accepted", "data": "x" * 1_000_000}
    judged = judge(intent("DataTransfer", {"vendorId": "v"}), msgspec.Raw(msgspec.json.encode(said)))
    assert (judged.status, judged.response) == ("accepted", {"truncated": True, "status": "Accepted"})
