"""How OCPP 1.6 says intents: every field of every call, its limits, and the names of what is wrong."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import msgspec
import pytest

from commands.remote_command_rules import ParameterError
from domain.intents import (
    INTENTS,
    GetVariables,
    Intent,
    Message,
    RemoteStart,
    ReserveNow,
    SetChargingProfile,
    SetVariable,
    TriggerMessage,
)
from domain.schedules import ChargingProfile, ChargingSchedule, Kind, Purpose, Unit
from gateway.ocpp.v16.calls import CALLS, FIELDS, fits, request
from gateway.ocpp.version import WireCall
from protocols.ocpp.actions import Direction, Profile
from protocols.ocpp.message import ErrorCode, WireError
from protocols.ocpp.model import FieldModel, model_of
from protocols.ocpp.v16 import DIRECTIONS, PROFILES, REQUESTS
from tests.commands.v16_calls import intent
from tests.protocols.ocpp import examples

ACTIONS = sorted(CALLS.values())


def test_each_call_of_a_central_system_says_one_intent() -> None:
    ours = {name for name, sender in DIRECTIONS.items() if sender.allows(Direction.FROM_CENTRAL_SYSTEM)}
    assert set(CALLS) == set(INTENTS)
    assert sorted(ours) == ACTIONS


@pytest.mark.parametrize("action", ACTIONS)
def test_a_call_with_every_field_is_said_as_the_standards_example(action: str) -> None:
    call = request(intent(action, examples.REQUESTS[action]))
    assert isinstance(call, WireCall)
    assert (call.action, json.loads(call.payload)) == (action, examples.REQUESTS[action])


def shape(part: type[msgspec.Struct], renamed: dict[str, str] | None = None) -> dict[str, Any]:
    """Its fields by their names in 1.6: cardinality, and what they hold."""
    return {
        (renamed or {}).get(field.name, field.name): (field.required, field.many, held(field))
        for field in model_of(part).fields
    }


def held(field: FieldModel) -> Any:
    return None if field.part is None else shape(field.part)


@pytest.mark.parametrize("kind", INTENTS)
def test_an_intent_has_the_fields_that_1_6_has(kind: type[Intent]) -> None:
    field, name = FIELDS.get(kind, ("", ""))
    snake = {"csChargingProfiles": "cs_charging_profiles"}.get(name, name)
    expected = shape(REQUESTS[CALLS[kind]])
    if kind is ReserveNow:  # the charge point's decision gives the number where nobody does
        assert expected["reservation_id"] == (True, False, None)
        expected["reservation_id"] = (False, False, None)
    assert shape(kind, {field: snake}) == expected


@pytest.mark.parametrize("kind", INTENTS)
def test_an_intent_can_say_every_value_that_1_6_has(kind: type[Intent]) -> None:
    def values(part: type[msgspec.Struct]) -> dict[str, set[str]]:
        enums = [(f.name, f.enum) for f in model_of(part).walk() if f.enum is not None]
        return {name: members(enum) for name, enum in enums}

    def members(enum: type[StrEnum]) -> set[str]:
        return {member.value for member in enum}

    ours, theirs = values(kind), values(REQUESTS[CALLS[kind]])
    assert ours.keys() == theirs.keys()
    assert all(theirs[name] <= ours[name] for name in theirs)


@pytest.mark.parametrize("kind", INTENTS)
def test_the_feature_that_an_intent_needs_is_its_actions_feature_profile(kind: type[Intent]) -> None:
    assert Profile(kind.feature.value) is PROFILES[CALLS[kind]]


PROFILE = ChargingProfile(
    charging_profile_id=2**63,
    stack_level=0,
    charging_profile_purpose=Purpose.TX_DEFAULT,
    charging_profile_kind=Kind.RELATIVE,
    charging_schedule=ChargingSchedule(charging_rate_unit=Unit.A, charging_schedule_period=()),
)


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        (RemoteStart(id_tag="A" * 21), "id_tag"),
        (GetVariables(keys=("A", "B" * 51)), "keys[1]"),
        (SetVariable(key="A", value="B" * 501), "value"),
        (SetVariable(key="AuthorizationKey", value="0" * 30), "value"),
        (TriggerMessage(requested_message=Message.SIGN_CHARGE_POINT_CERTIFICATE), "requested_message"),
        (
            SetChargingProfile(connector_id=1, charging_profile=PROFILE),
            "charging_profile.charging_profile_id",
        ),
    ],
)
def test_what_1_6_cannot_say_is_named_by_the_intents_field(wanted: Intent, path: str) -> None:
    wrong = fits(wanted)
    assert isinstance(wrong, ParameterError)
    assert wrong.path == f"parameters.{path}"
    assert "$" not in wrong.message


def test_what_1_6_cannot_say_is_no_call() -> None:
    call = request(RemoteStart(id_tag="A" * 21))
    assert isinstance(call, WireError)
    assert call.code is ErrorCode.PROPERTY_CONSTRAINT_VIOLATION


def test_of_a_secrets_value_nothing_is_kept_SEC_04() -> None:
    call = request(SetVariable(key="ModemPassword", value="hush"))
    assert isinstance(call, WireCall)
    assert (json.loads(call.payload)["value"], json.loads(call.kept)) == ("hush", {"key": "ModemPassword"})
