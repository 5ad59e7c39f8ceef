"""Our calls to a charge point: when they are refused, and how each of them ends once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.base import Accepted, Refusal, Rejected, TimerDue
from commands.charge_point import Boot, CallReply, ConcludeCall, Disconnect, NoteCallSent, RequestCall
from domain.charge_point import CallConcluded, CallRequested
from domain.charge_point.announced import Announced
from domain.charge_point.state import ASKED_MOST, CONNECTION_TIMEOUT, OVERDUE_MOST
from domain.intents import Availability, ChangeAvailability, Intent
from tests.commands.charge_point_case import ALICE, CP, TENANT, Case, after
from tests.commands.v16_calls import intent, learned


def ask(case: Case, action: str = "ClearCache", received: float = 0, **values: Any) -> None:
    payload = values.pop("payload", None)
    values = {"command_id": "r1", "expires_at": after(30), **values}
    case.do(RequestCall, received, intent=intent(action, payload), **values)


def line(case: Case) -> str:
    assert isinstance(case.outcome, Rejected), case.outcome
    return case.outcome.message


def test_a_call_goes_down_to_the_current_connection() -> None:
    case = Case.online()
    assert case.state.connection is not None
    epoch = case.state.connection.epoch
    ask(case, "ChangeAvailability", payload={"connectorId": 1, "type": "Inoperative"})
    assert isinstance(case.outcome, Accepted)
    assert case.outcome.reply == CallReply(command_id="r1", epoch=epoch)
    (downlink,) = case.outcome.downlinks
    assert (downlink.slot, downlink.boot, downlink.connection_epoch) == (3, "b1", epoch)
    assert (downlink.tenant, downlink.charge_point_id) == (TENANT, CP)
    wanted = ChangeAvailability(connector_id=1, type=Availability.INOPERATIVE)
    assert downlink.intent == case.last(CallRequested).intent == wanted


def test_a_charge_point_that_is_not_connected_cannot_be_called() -> None:
    case = Case.registered()
    ask(case)
    assert (case.refusal, line(case)) == (Refusal.NOT_CONNECTED, "charge point CP-1 is not connected")


@pytest.mark.parametrize("kind", ["start_transaction", "heartbeat", "frobnicate"])
def test_only_what_can_be_asked_of_a_charge_point_is_an_intent(kind: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": kind}, Intent)


def test_a_call_whose_time_is_over_is_not_sent() -> None:
    case = Case.online()
    ask(case, received=31)
    assert case.refusal is Refusal.EXPIRED


@pytest.mark.parametrize("action", ["RemoteStartTransaction", "RemoteStopTransaction"])
def test_no_remote_start_or_stop_while_pending_BOOT_2(action: str) -> None:
    case = Case.online()
    case.do(Boot, vendor="v", model="m", status="Pending", interval=60)
    ask(case, action)
    assert case.refusal is Refusal.NOT_ALLOWED
    assert "Pending" in line(case)
    ask(case, "GetConfiguration")
    assert isinstance(case.outcome, Accepted)


def test_no_calls_to_a_rejected_charge_point_BOOT_3() -> None:
    case = Case.online()
    case.do(Boot, vendor="v", model="m", status="Rejected", interval=60)
    ask(case)
    assert case.refusal is Refusal.NOT_ALLOWED


def test_the_boot_of_an_accepted_charge_point_is_not_triggered_BOOT_5() -> None:
    case = Case.online()
    ask(case, "TriggerMessage", payload={"requestedMessage": "BootNotification"})
    assert case.refusal is Refusal.NOT_ALLOWED
    ask(case, "TriggerMessage", payload={"requestedMessage": "Heartbeat"})
    assert isinstance(case.outcome, Accepted)


def test_only_a_running_transaction_can_be_stopped_from_afar() -> None:
    case = Case.online()
    case.start()
    ask(case, "RemoteStopTransaction", payload={"transactionId": 2})
    assert line(case) == "transaction 2 of charge point CP-1 is not running"
    ask(case, "RemoteStopTransaction", payload={"transactionId": 1})
    assert isinstance(case.outcome, Accepted)


def test_a_feature_profile_that_is_not_announced_is_refused_unless_overridden() -> None:
    case = Case.online()
    ask(case, "GetConfiguration", command_id="g1")
    response = {
        "configurationKey": [
            {"key": "SupportedFeatureProfiles", "readonly": True, "value": "Core, Reservation"}
        ]
    }
    taught = learned("GetConfiguration", response)
    case.do(ConcludeCall, 1, command_id="g1", status="accepted", learned=taught)
    ask(case, "GetLocalListVersion", command_id="r2")
    assert line(case) == "charge point CP-1 does not offer the feature profile LocalAuthListManagement"
    ask(case, "GetLocalListVersion", command_id="r2", override=True)
    assert isinstance(case.outcome, Accepted)
    ask(case, "GetLog", command_id="r3")
    assert isinstance(case.outcome, Accepted)


def test_a_call_is_concluded_once() -> None:
    case = Case.online()
    ask(case)
    case.do(
        ConcludeCall,
        1,
        command_id="r1",
        status="accepted",
        reason="Accepted",
        response={"status": "Accepted"},
    )
    event = case.last(CallConcluded)
    assert (event.kind, event.status, event.response) == ("clear_cache", "accepted", {"status": "Accepted"})
    assert not case.do(ConcludeCall, 2, command_id="r1", status="failed", reason="disconnected")
    assert not case.state.calls


def test_the_same_call_asked_again_is_not_sent_again() -> None:
    case = Case.online()
    ask(case)
    ask(case, received=1)
    assert isinstance(case.outcome, Accepted)
    assert case.outcome.downlinks == ()
    assert len(case.all(CallRequested)) == 1


@pytest.mark.parametrize("connected", [True, False])
def test_a_call_that_is_concluded_is_not_made_again_within_its_time(connected: bool) -> None:
    """As a process asks that begins anew after a restore, when its id is long forgotten."""
    case = Case.online()
    assert case.state.connection is not None
    epoch = case.state.connection.epoch
    ask(case, expires_at=after(3600))
    case.do(ConcludeCall, 5, command_id="r1", status="accepted")
    if not connected:
        case.do(Disconnect, 6, epoch=epoch, reason="closed")
    before = len(case.log)
    ask(case, received=600, expires_at=after(3600))
    assert isinstance(case.outcome, Accepted)
    assert case.outcome.downlinks == ()
    assert len(case.log) == before


def test_calls_that_may_be_asked_for_again_are_remembered_within_bounds() -> None:
    case = Case.online()
    for number in range(3 * ASKED_MOST):
        ask(case, received=number, command_id=f"r{number}", expires_at=after(3600))
        case.do(ConcludeCall, number, command_id=f"r{number}", status="accepted")
    assert len(case.state.asked) == ASKED_MOST
    ask(case, received=3601, command_id="last", expires_at=after(7200))
    assert list(case.state.asked) == ["last"]


def test_a_call_that_was_never_sent_expires_some_seconds_after_its_time() -> None:
    case = Case.online()
    ask(case, command_id="r1", expires_at=after(30))
    ask(case, command_id="r2", expires_at=after(60))
    assert case.charge_point.next_due() == after(35)
    case.decide(TimerDue(aggregate=case.charge_point.id, due=after(35)), 36)
    (event,) = case.all(CallConcluded)
    assert (event.command_id, event.status) == ("r1", "expired")
    assert case.charge_point.next_due() == after(65)


def test_a_call_that_was_sent_times_out_some_seconds_after_its_answer_was_due() -> None:
    case = Case.online()
    ask(case, expires_at=after(120))
    case.do(NoteCallSent, 100, command_id="r1", answer_by=after(130))
    assert case.charge_point.next_due() == after(135)
    case.decide(TimerDue(aggregate=case.charge_point.id, due=after(135)), 136)
    assert (case.last(CallConcluded).status, case.last(CallConcluded).late) == ("timed_out", False)


@pytest.mark.parametrize("status", ["accepted", "rejected"])
def test_an_answer_that_comes_after_all_corrects_a_call_that_was_given_up(status: str) -> None:
    case = Case.online()
    change = {"key": "HeartbeatInterval", "value": "60"}
    ask(case, "ChangeConfiguration", payload=change)
    case.do(NoteCallSent, 1, command_id="r1", answer_by=after(31))
    case.do(ConcludeCall, 31, command_id="r1", status="timed_out", reason="no answer in time")
    taught = learned("ChangeConfiguration", {"status": status.capitalize()}, change)
    case.do(ConcludeCall, 40, command_id="r1", status=status, reason="X", learned=taught, answered=True)
    event = case.last(CallConcluded)
    assert (event.status, event.reason, event.late) == (status, "X", True)
    assert case.state.announced == (Announced(heartbeat_interval=60) if status == "accepted" else None)
    assert not case.do(ConcludeCall, 41, command_id="r1", status="accepted", answered=True)


@pytest.mark.parametrize(("sent", "given_up"), [(True, "timed_out"), (False, "expired")])
def test_an_answer_that_comes_after_the_timer_corrects_it_too(sent: bool, given_up: str) -> None:
    case = Case.online()
    ask(case, expires_at=after(30))
    if sent:
        case.do(NoteCallSent, 1, command_id="r1", answer_by=after(31))
    due = case.charge_point.next_due()
    assert due is not None
    case.decide(TimerDue(aggregate=case.charge_point.id, due=due), 40)
    assert case.last(CallConcluded).status == given_up
    case.do(ConcludeCall, 41, command_id="r1", status="accepted", reason="Accepted", answered=True)
    assert (case.last(CallConcluded).status, case.last(CallConcluded).late) == ("accepted", True)


def test_the_end_of_a_connection_corrects_nothing() -> None:
    case = Case.online()
    ask(case)
    case.do(ConcludeCall, 31, command_id="r1", status="timed_out")
    assert not case.do(ConcludeCall, 32, command_id="r1", status="failed", reason="disconnected")


def test_calls_that_were_given_up_are_remembered_within_bounds() -> None:
    case = Case.online()
    for number in range(OVERDUE_MOST + 3):
        ask(case, command_id=f"r{number}")
        case.do(ConcludeCall, 31, command_id=f"r{number}", status="timed_out")
    assert len(case.state.overdue) == OVERDUE_MOST


def test_a_remote_start_is_waited_for_from_when_it_was_sent() -> None:
    case = Case.online()
    payload = {"idTag": "s1.k.alice"}
    ask(case, "RemoteStartTransaction", payload=payload, id_tag=ALICE, expires_at=after(3600))
    case.do(NoteCallSent, 10, command_id="r1", answer_by=after(40))
    (start,) = case.state.remote_starts
    assert start.until == after(40) + CONNECTION_TIMEOUT


def test_nothing_is_due_while_it_is_not_connected() -> None:
    assert Case.registered().charge_point.next_due() is None


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("HeartbeatInterval", "600", Announced(heartbeat_interval=600)),
        ("AuthorizationKey", "0011", None),
        ("CpoName", "s1.k.sealed", None),
    ],
)
def test_configuration_is_known_once_it_was_accepted_and_secrets_never_are_SEC_04(
    key: str, value: str, kept: Announced | None
) -> None:
    case = Case.online()
    change = {"key": key, "value": value}
    ask(case, "ChangeConfiguration", payload=change)
    assert case.state.announced is None
    taught = learned("ChangeConfiguration", {"status": "Accepted"}, change)
    case.do(ConcludeCall, 1, command_id="r1", status="accepted", reason="Accepted", learned=taught)
    assert case.state.announced == kept


def test_a_reservation_runs_until_it_is_cancelled() -> None:
    case = Case.online()
    ask(case, "ReserveNow", command_id="r1", payload={"reservationId": 5, "connectorId": 1})
    case.do(ConcludeCall, 1, command_id="r1", status="accepted")
    assert case.state.reservations[5].runs
    ask(case, "CancelReservation", command_id="r2", payload={"reservationId": 5})
    case.do(ConcludeCall, 2, command_id="r2", status="accepted")
    assert case.state.reservations[5].ended == "cancelled"
