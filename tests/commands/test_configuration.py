"""The system asks a charge point for its configuration by itself: once, and not for each of its boots."""

from __future__ import annotations

from typing import Any

import pytest

from commands.base import Accepted, Meta, Refusal
from commands.charge_point import Boot, ConcludeCall, Connect, Disconnect, RequestCall
from commands.processes import POLICIES, REFUSALS
from domain.aggregate import Event
from domain.charge_point import Booted, CallConcluded, CallRequested, Connected
from domain.charge_point.state import is_secret_key
from tests.commands.charge_point_case import TENANT, Case, after

META = Meta(command_id="m", at=after(0), tenant=TENANT)


def following(event: Event) -> list[Any]:
    """The commands that all processes make of an event."""
    return [command for _, policy in POLICIES.get(type(event), ()) for command in policy(event, META)]


def settled(case: Case, received: float) -> list[CallRequested]:
    """Let everything that the newest boot or connection leads to be decided; the calls that came of it."""
    event = next(event for event in reversed(case.log) if isinstance(event, Booted | Connected))
    asked = [command for command in following(event) if isinstance(command, RequestCall)]
    return [
        one for command in asked for one in case.decide(command, received) if isinstance(one, CallRequested)
    ]


def conclude(case: Case, received: float, **values: Any) -> None:
    (id,) = case.state.calls
    case.do(ConcludeCall, received, command_id=id, **values)


KEYS = {"configurationKey": [{"key": "HeartbeatInterval", "readonly": False, "value": "60"}]}


def test_an_accepted_boot_leads_to_one_get_configuration_TC_019() -> None:
    case = Case.online()
    (call,) = settled(case, 1)
    assert (call.action, call.payload, call.own) == ("GetConfiguration", {}, True)
    assert isinstance(case.outcome, Accepted)
    assert len(case.outcome.downlinks) == 1
    conclude(case, 2, status="accepted", response=KEYS)
    assert case.state.configuration == {"heartbeatinterval": "60"}


def test_a_boot_that_was_not_accepted_leads_to_nothing_BOOT_2() -> None:
    case = Case.online()
    case.do(Boot, 1, vendor="v", model="m", status="Pending")
    assert not settled(case, 1)


def test_it_is_asked_although_no_feature_profile_offers_anything() -> None:
    case = Case.online()
    settled(case, 1)
    response = {"configurationKey": [{"key": "SupportedFeatureProfiles", "value": "FirmwareManagement"}]}
    conclude(case, 2, status="accepted", response=response)
    case.do(Boot, 4000, vendor="v", model="m")
    assert len(settled(case, 4000)) == 1


def test_a_charge_point_that_boots_over_and_over_is_asked_once_an_hour() -> None:
    case = Case.online()
    assert len(settled(case, 1)) == 1
    conclude(case, 2, status="failed", reason="CALLERROR NotSupported")
    for seconds in (60, 1800, 3599):
        case.do(Boot, seconds, vendor="v", model="m")
        assert not settled(case, seconds)
        assert isinstance(case.outcome, Accepted)
    case.do(Boot, 3700, vendor="v", model="m")
    assert len(settled(case, 3700)) == 1


def test_a_connection_is_asked_only_where_it_was_accepted_and_told_nothing_J_21() -> None:
    case = Case.registered()
    case.do(Connect, node="gw-1", slot=3, boot="b1")
    assert not settled(case, 0)
    case.do(Boot, 1, vendor="v", model="m")
    case.do(Disconnect, 2, epoch=case.charge_point.version - 1)
    case.do(Connect, 5000, node="gw-1", slot=3, boot="b1")
    assert case.last(Connected).unconfigured
    assert len(settled(case, 5000)) == 1
    conclude(case, 5001, status="accepted", response=KEYS)
    case.do(Connect, 9000, node="gw-1", slot=3, boot="b1")
    assert not settled(case, 9000)


def test_our_own_call_is_nobodys_remote_command() -> None:
    case = Case.online()
    settled(case, 1)
    conclude(case, 2, status="accepted", response=KEYS)
    assert case.last(CallConcluded).own
    assert not following(case.last(CallRequested))
    assert not following(case.last(CallConcluded))
    refused = REFUSALS["charge_point.request_call.v1"]
    id = "configuration|charge_point|demo|CP-1|3|0"
    assert not refused(id, Refusal.NOT_CONNECTED, "charge point CP-1 is not connected")
    (told,) = refused("remote_command|remote_command|demo|r1|1|0", Refusal.NOT_CONNECTED, "not connected")
    assert (told.command_id, told.status) == ("r1", "failed")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("AuthorizationKey", True),
        ("authorizationkey", True),
        ("WifiPassword", True),
        ("FTP_Pass_word", True),
        ("ClientSecret", True),
        ("TlsPrivate-Key", True),
        ("AuthorizeRemoteTxRequests", False),
        ("AuthorizationCacheEnabled", False),
        ("HeartbeatInterval", False),
    ],
)
def test_a_secrets_value_is_never_kept_SEC_04(key: str, secret: bool) -> None:
    assert is_secret_key(key) is secret
    case = Case.online()
    settled(case, 1)
    response = {"configurationKey": [{"key": key, "readonly": False, "value": "x"}]}
    conclude(case, 2, status="accepted", response=response)
    assert case.state.configuration == ({} if secret else {key.lower(): "x"})
