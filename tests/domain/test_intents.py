"""Intents: their names in the log, and the texts that stand in them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from domain.charge_point.announced import Announced
from domain.intents import (
    INTENTS,
    Intent,
    ListEntry,
    ListUpdate,
    RemoteStart,
    Reset,
    ResetKind,
    SendLocalList,
    kind_of,
)
from domain.schedules import ChargingProfile, ChargingSchedule, Kind, Purpose, SchedulePeriod, Unit

KINDS = (
    *("cancel_reservation", "certificate_signed", "change_availability", "clear_cache"),
    *("clear_charging_profile", "data_transfer", "delete_certificate", "get_composite_schedule"),
    *("get_diagnostics", "get_installed_certificate_ids", "get_local_list_version", "get_log"),
    *("get_variables", "install_certificate", "remote_start", "remote_stop", "reserve_now", "reset"),
    *("send_local_list", "set_charging_profile", "set_variable", "signed_update_firmware"),
    *("trigger_message", "trigger_security_message", "unlock", "update_firmware"),
)
"""As they stand in the log, for ever."""

START = RemoteStart(
    connector_id=2,
    id_tag="s1.k.a",
    charging_profile=ChargingProfile(
        charging_profile_id=1,
        stack_level=0,
        charging_profile_purpose=Purpose.TX,
        charging_profile_kind=Kind.RELATIVE,
        valid_to=datetime(2026, 3, 1, tzinfo=UTC),
        charging_schedule=ChargingSchedule(
            charging_rate_unit=Unit.A,
            charging_schedule_period=(SchedulePeriod(start_period=0, limit=Decimal("16.1")),),
        ),
    ),
)
SENT = SendLocalList(
    list_version=3,
    update_type=ListUpdate.FULL,
    local_authorization_list=(ListEntry(id_tag="A"), ListEntry(id_tag="B")),
)


def test_the_kinds_of_intents_are_those_of_the_log() -> None:
    assert sorted(str(kind.__struct_config__.tag) for kind in INTENTS) == sorted(KINDS)


@pytest.mark.parametrize("intent", [START, SENT, Reset(type=ResetKind.HARD)])
def test_an_intent_comes_back_from_the_log_as_it_was(intent: Intent) -> None:
    stored = msgspec.json.encode(intent)
    assert msgspec.json.decode(stored, type=Intent) == intent
    assert msgspec.json.decode(stored)["kind"] == kind_of(intent)


def test_what_a_charge_point_did_not_say_again_stands() -> None:
    first = Announced(connectors=2, heartbeat_interval=60, features=("core",))
    assert first.then(Announced(heartbeat_interval=0, features=())) == Announced(
        connectors=2, heartbeat_interval=0, features=()
    )
