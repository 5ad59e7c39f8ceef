"""The system asks a charge point for its configuration by itself: when it does not know it, and not for each boot."""

from __future__ import annotations

from typing import Any

import pytest

from commands.base import Accepted, Meta, Refusal, TimerDue
from commands.charge_point import Boot, ConcludeCall, Connect, Disconnect, RequestCall, See
from commands.processes import POLICIES, REFUSALS
from domain.aggregate import Event
from domain.charge_point import CallConcluded, CallRequested, ChargePointConnected
from domain.charge_point.announced import Announced
from domain.charge_point.variable_keys import is_secret_key
from domain.intents import GetVariables
from tests.commands.charge_point_case import TENANT, Case, after
from tests.commands.v16_calls import intent, learned

META = Meta(command_id="m", at=after(0), tenant=TENANT)
DAY = 86_400
KEYS = learned(
    "GetConfiguration",
    {"configurationKey": [{"key": "HeartbeatInterval", "readonly": False, "value": "60"}]},
)


def following(event: Event) -> list[Any]:
    """The commands that all processes make of an event."""
    return [command for _, policy in POLICIES.get(type(event), ()) for command in policy(event, META)]


def connected(received: float = 0, **values: Any) -> Case:
    """Registered and connected, not booted."""
    case = Case.registered()
    connect(case, received, **values)
    return case


def connect(case: Case, received: float, **values: Any) -> None:
    case.do(Connect, received, node="gw-1", slot=3, boot="b1", **values)


def boot(case: Case, received: float, status: str = "Accepted", firmware: str = "1.0") -> None:
    case.do(Boot, received, vendor="v", model="m", status=status, firmware_version=firmware)


def told(case: Case, until: float) -> list[CallRequested]:
    """Let the time pass: the calls that are made of it up to then."""
    calls: list[CallRequested] = []
    while case.charge_point.own_call_due is not None:
        due = case.charge_point.own_call_due
        if due > after(until):
            break
        timer = TimerDue(aggregate=case.charge_point.id, due=due)
        events = case.decide(timer, (due - after(0)).total_seconds())
        calls += [event for event in events if isinstance(event, CallRequested)]
    return calls


def conclude(case: Case, received: float, **values: Any) -> None:
    (id,) = case.state.calls
    case.do(ConcludeCall, received, command_id=id, **values)


def test_an_accepted_boot_leads_to_one_get_configuration_TC_019() -> None:
    case = connected()
    boot(case, 1)
    (call,) = told(case, 3)
    assert (call.intent, call.own, call.timestamp) == (GetVariables(), True, after(3))
    assert isinstance(case.outcome, Accepted)
    (downlink,) = case.outcome.downlinks
    assert (downlink.connection_epoch, downlink.slot, downlink.boot) == (2, 3, "b1")
    assert (downlink.tenant, downlink.charge_point_id) == (TENANT, "CP-1")
    conclude(case, 4, status="accepted", learned=KEYS)
    assert case.state.announced == Announced(heartbeat_interval=60)
    assert not told(case, DAY)


def test_the_timer_of_the_aggregate_is_that_of_the_question() -> None:
    case = connected()
    boot(case, 1)
    assert case.charge_point.next_due() == case.charge_point.own_call_due == after(3)


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_a_boot_that_was_not_accepted_leads_to_nothing_BOOT_2(status: str) -> None:
    case = connected()
    boot(case, 1, status)
    assert not told(case, DAY)


def test_one_of_many_that_came_together_is_left_alone_for_a_while() -> None:
    case = connected(quiet_s=300)
    boot(case, 1)
    assert not told(case, 301)
    assert len(told(case, 302)) == 1


def test_it_is_not_asked_again_at_its_next_boot_on_the_same_day() -> None:
    case = connected()
    boot(case, 1)
    told(case, 3)
    conclude(case, 4, status="accepted", learned=KEYS)
    boot(case, 5 * 3600)
    assert not told(case, DAY)
    boot(case, DAY + 10)
    assert len(told(case, DAY + 12)) == 1


def test_other_firmware_may_have_another_configuration() -> None:
    case = connected()
    boot(case, 1)
    told(case, 3)
    conclude(case, 4, status="accepted", learned=KEYS)
    boot(case, 5000, firmware="1.1")
    assert len(told(case, 5002)) == 1


def test_whatever_happens_it_is_asked_at_most_once_an_hour() -> None:
    case = connected()
    boot(case, 1)
    assert len(told(case, 3)) == 1
    conclude(case, 4, status="failed", reason="CALLERROR NotSupported")
    for number, seconds in enumerate((60, 1800, 3599)):
        boot(case, seconds, firmware=f"1.{number}")
        assert not told(case, seconds + 2)
    assert len(told(case, 3605)) == 1


@pytest.mark.parametrize("reason", ["disconnected", "replaced"])
def test_a_question_that_was_lost_with_its_connection_is_asked_again(reason: str) -> None:
    case = connected()
    boot(case, 1)
    told(case, 3)
    if reason == "disconnected":
        case.do(Disconnect, 4, epoch=2)
    connect(case, 5)
    assert case.last(CallConcluded).reason == reason
    assert not told(case, 3600)
    case.do(See, 3600)
    assert len(told(case, 3605)) == 1


@pytest.mark.parametrize("status", ["timed_out", "expired"])
def test_a_question_that_nobody_answered_is_asked_again(status: str) -> None:
    case = connected()
    boot(case, 1)
    told(case, 3)
    conclude(case, 130, status=status)
    case.do(See, 3600)
    assert len(told(case, 3605)) == 1


def test_a_connection_is_asked_only_where_it_was_accepted_and_told_nothing_J_21() -> None:
    case = connected()
    assert not told(case, 0)
    boot(case, 1)
    case.do(Disconnect, 2, epoch=2)
    assert not told(case, 4999)
    connect(case, 5000)
    assert case.last(ChargePointConnected).unconfigured
    assert len(told(case, 5002)) == 1
    conclude(case, 5003, status="accepted", learned=KEYS)
    connect(case, 9000)
    assert not told(case, 9002)


def test_it_is_asked_although_no_feature_profile_offers_anything() -> None:
    case = connected()
    boot(case, 1)
    told(case, 3)
    response = {"configurationKey": [{"key": "SupportedFeatureProfiles", "value": "FirmwareManagement"}]}
    conclude(case, 4, status="accepted", learned=learned("GetConfiguration", response))
    boot(case, 4000, firmware="1.1")
    assert len(told(case, 4002)) == 1


def test_our_own_call_is_nobodys_remote_command() -> None:
    case = connected()
    boot(case, 1)
    told(case, 3)
    conclude(case, 4, status="accepted", learned=KEYS)
    assert case.last(CallConcluded).own
    assert not following(case.last(CallRequested))
    assert not following(case.last(CallConcluded))
    refused = REFUSALS[RequestCall]
    assert not refused("another process", Refusal.NOT_CONNECTED, "charge point CP-1 is not connected")
    (sent,) = refused("remote_command|remote_command|demo|r1|1|0", Refusal.NOT_CONNECTED, "not connected")
    assert (sent.command_id, sent.status) == ("r1", "failed")  # type: ignore[attr-defined]


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
    case = connected()
    boot(case, 1)
    told(case, 3)
    response = {"configurationKey": [{"key": key, "readonly": False, "value": "x"}]}
    conclude(case, 4, status="accepted", learned=learned("GetConfiguration", response))
    concluded = case.last(CallConcluded)
    assert (case.state.announced is None) is secret
    assert [(one.key, one.value) for one in concluded.learned.variables] == [(key, "" if secret else "x")]


def test_a_change_that_needs_a_reboot_is_no_present_value_and_is_read_after_the_boot() -> None:
    case = connected()
    boot(case, 1)
    told(case, 3)
    conclude(case, 4, status="accepted", learned=KEYS)
    change = {"key": "HeartbeatInterval", "value": "600"}
    case.do(
        RequestCall,
        10,
        command_id="r1",
        intent=intent("ChangeConfiguration", change),
        expires_at=after(40),
    )
    taught = learned("ChangeConfiguration", {"status": "RebootRequired"}, change)
    conclude(case, 11, status="accepted", reason="RebootRequired", learned=taught)
    assert case.state.announced == Announced(heartbeat_interval=60)
    boot(case, 4000)
    assert [call.intent for call in told(case, 4002)] == [GetVariables()]
    assert not case.state.reboot_changes
