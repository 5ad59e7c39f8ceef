"""Reservations: each is asked for once and ends once, whatever the charge point, the driver and the operator do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.base import Accepted, Refusal, TimerDue
from commands.charge_point import (
    Boot,
    ConcludeCall,
    Connect,
    Disconnect,
    GiveUpReservation,
    Remove,
    RequestCall,
    Reserve,
    Reserved,
    See,
    WantVariables,
)
from domain.charge_point import (
    CallRequested,
    ReservationConfirmed,
    ReservationEnded,
    ReservationRequested,
    TransactionStarted,
)
from domain.charge_point.reservation import NUMBER_MOST, REMEMBERED_MOST, RESERVATIONS_MOST, START_GRACE
from domain.charge_point.wanted import Wish
from domain.intents import CancelReservation, GetVariables, ReserveNow
from tests.commands.charge_point_case import ALICE, BOB, CAROL, Case, after, known
from tests.commands.v16_calls import intent, learned

HOUR = 3600


def ready() -> Case:
    """Connected and accepted, its configuration known."""
    case = Case.registered()
    case.do(Connect, node="gw-1", slot=3, boot="b1")
    case.do(Boot, vendor="Acme", model="Box")
    ours(case, 3)
    answer(case, 3, "accepted", learned=learned("GetConfiguration", {"configurationKey": []}))
    return case


def reserve(case: Case, received: float = 10, **values: Any) -> Reserved:
    values = {
        "connector_id": 1,
        "id_tag": ALICE,
        "sealed_tag": "s1.k.alice",
        "expires_at": after(HOUR),
        **values,
    }
    case.do(Reserve, received, **values)
    assert isinstance(case.reply, Reserved)
    return case.reply


def answer(case: Case, received: float, status: str, **values: Any) -> None:
    """The charge point answers the call that is out; without a word where it `timed_out`."""
    (id,) = case.state.calls
    word = status in ("accepted", "rejected")
    case.do(ConcludeCall, received, command_id=id, status=status, **{"answered": word, **values})


def ours(case: Case, until: float) -> list[CallRequested]:
    """Let the time pass: the call of our own that is made of it."""
    made: list[CallRequested] = []
    while not made and (due := case.charge_point.next_due()) is not None and due <= after(until):
        now = (due - after(0)).total_seconds()
        if case.state.connection is not None:
            case.do(See, now, epoch=case.state.connection.epoch)
        events = case.decide(TimerDue(aggregate=case.charge_point.id, due=due), now)
        made += [event for event in events if isinstance(event, CallRequested)]
    return made


def active(**values: Any) -> Case:
    case = ready()
    reserve(case, **values)
    answer(case, 11, "accepted")
    return case


def ends(case: Case) -> list[tuple[str, str]]:
    return [(event.how.value, event.reason) for event in case.all(ReservationEnded)]


def test_a_reservation_is_told_with_a_number_of_ours_and_confirmed_TC_046() -> None:
    case = ready()
    reserved = reserve(case)
    assert (reserved.number, reserved.status) == (1, "pending")
    call = case.last(CallRequested)
    assert call.intent == ReserveNow(
        connector_id=1, expiry_date=after(HOUR), id_tag="s1.k.alice", reservation_id=1
    )
    assert isinstance(case.outcome, Accepted)
    assert [one.intent for one in case.outcome.downlinks] == [call.intent]
    answer(case, 11, "accepted", reason="Accepted")
    assert case.last(ReservationConfirmed).reservation_id == reserved.reservation_id
    assert ends(case) == []


@pytest.mark.parametrize("said", ["Occupied", "Faulted", "Unavailable", "Rejected"])
def test_what_the_charge_point_does_not_take_is_refused_with_its_word_TC_048(said: str) -> None:
    case = ready()
    reserve(case)
    answer(case, 11, "rejected", reason=said)
    assert ends(case) == [("refused", said)]
    assert case.charge_point.own_call is None


def test_a_start_that_names_it_uses_it_START_8() -> None:
    case = active()
    case.start(20, reservation_id=1)
    assert ends(case) == [("used", "")]
    assert case.last(ReservationEnded).session_id == case.last(TransactionStarted).session_id
    assert case.last(TransactionStarted).flags == ()


@pytest.mark.parametrize(
    ("connector", "values", "used"),
    [
        (1, {}, True),  # the tag itself, unnamed
        (2, {}, False),
        (1, {"id_tag": BOB, "authorization": known(parent="g-1")}, True),  # of the group (AUTH-3)
        (1, {"id_tag": BOB, "authorization": known(parent="g-2")}, False),
        (1, {"id_tag": CAROL}, False),
        (1, {"authorization": known("Blocked")}, False),
    ],
)
def test_a_start_by_tag_or_group_on_its_connector_uses_it(
    connector: int, values: dict[str, Any], used: bool
) -> None:
    case = active(parent="g-1")
    case.start(20, connector_id=connector, **values)
    assert ends(case) == ([("used", "")] if used else [])


def test_a_start_of_before_that_is_told_only_now_uses_none() -> None:
    case = active()
    case.start(20, timestamp=after(-HOUR))
    assert ends(case) == []


def test_a_start_that_was_refused_leaves_it_to_its_driver_START_8() -> None:
    case = active()
    case.start(20, id_tag=BOB, reservation_id=1, authorization=known("Invalid"))
    assert ends(case) == []
    case.start(30, reservation_id=1)
    assert ends(case) == [("used", "")]


def test_a_repeated_start_uses_nothing_more_START_6() -> None:
    case = active()
    case.start(20, reservation_id=1)
    reserve(case, 21, connector_id=2)
    answer(case, 22, "accepted")
    case.start(23, timestamp=after(20), reservation_id=1)
    assert len(ends(case)) == 1


def test_a_whole_charge_point_is_reserved_where_it_says_that_it_can() -> None:
    case = active(connector_id=0)
    case.start(20, connector_id=2)
    assert ends(case) == [("used", "")]
    told = {
        "configurationKey": [
            {"key": "SupportedFeatureProfiles", "value": "Core,Reservation", "readonly": True}
        ]
    }
    case = Case.registered()
    case.do(Connect, node="gw-1", slot=3, boot="b1")
    case.do(Boot, vendor="Acme", model="Box")
    ours(case, 3)
    answer(case, 3, "accepted", learned=learned("GetConfiguration", told))
    case.do(Reserve, 10, connector_id=0, id_tag=ALICE, sealed_tag="s1.k.a", expires_at=after(HOUR))
    assert case.refusal is Refusal.NOT_ALLOWED


def test_it_expires_a_minute_after_its_time_once() -> None:
    case = active()
    end = HOUR + START_GRACE.total_seconds()
    ours(case, end - 1)
    assert ends(case) == []
    ours(case, end + 1)
    ours(case, 10 * HOUR)
    assert ends(case) == [("expired", "")]


def test_available_at_its_time_is_its_expiry_and_in_the_middle_its_loss() -> None:
    case = active()
    case.status(20, "Reserved")
    case.status(HOUR - 10, "Available")
    assert ends(case) == [("expired", "Available")]
    case = active()
    case.status(20, "Reserved")
    case.status(600, "Available")
    assert ends(case) == [("lost", "Available")]


@pytest.mark.parametrize(
    ("connector", "status", "lost"),
    [
        (1, "Faulted", True),
        (1, "Unavailable", True),
        (0, "Faulted", True),
        (2, "Faulted", False),
        (1, "Preparing", False),
    ],
)
def test_a_fault_of_its_connector_or_of_the_whole_ends_it(connector: int, status: str, lost: bool) -> None:
    case = active()
    case.status(20, status, connector_id=connector)
    assert ends(case) == ([("lost", status)] if lost else [])
    told = [call.intent for call in ours(case, HOUR)]
    assert told == ([CancelReservation(reservation_id=1)] if lost else [])


def test_after_a_reboot_it_is_lost_where_its_connector_is_free_and_kept_where_it_is_reserved() -> None:
    case = active()
    case.do(Boot, 600, vendor="Acme", model="Box")
    case.status(601, "Reserved")
    assert ends(case) == []
    case.do(Boot, 700, vendor="Acme", model="Box")
    case.status(701, "Available")
    assert ends(case) == [("lost", "Available")]


def give_up(case: Case, received: float, **values: Any) -> Reserved:
    id = next(iter(case.state.reservations.values())).id
    case.do(GiveUpReservation, received, **{"reservation_id": id, **values})
    assert isinstance(case.reply, Reserved)
    return case.reply


def test_a_cancel_ends_it_once_the_charge_point_says_so_TC_051() -> None:
    case = active()
    assert give_up(case, 20).status == "cancelling"
    (call,) = ours(case, 30)
    assert call.intent == CancelReservation(reservation_id=1)
    assert ends(case) == []
    answer(case, 31, "accepted")
    assert ends(case) == [("cancelled", "")]
    assert give_up(case, 40).status == "cancelled"
    assert ours(case, 10 * HOUR) == []


def test_a_cancel_of_what_the_charge_point_does_not_know_ends_it_too_TC_052() -> None:
    case = active()
    give_up(case, 20)
    ours(case, 30)
    answer(case, 31, "rejected", reason="Rejected")
    assert ends(case) == [("cancelled", "")]


def test_a_cancel_while_it_is_away_is_told_when_it_is_back() -> None:
    case = active()
    case.do(Disconnect, 20, epoch=2, reason="closed 1006")
    give_up(case, 30)
    assert ours(case, 100) == []
    case.do(Connect, 100, node="gw-1", slot=3, boot="b1")
    (call,) = ours(case, 200)
    assert call.intent == CancelReservation(reservation_id=1)


def test_a_cancel_that_nobody_hears_ends_with_its_time() -> None:
    case = active()
    case.do(Disconnect, 20, epoch=2, reason="closed 1006")
    give_up(case, 30)
    ours(case, 2 * HOUR)
    assert ends(case) == [("cancelled", "")]


def test_a_driver_who_comes_before_the_cancel_is_heard_has_used_it() -> None:
    case = active()
    give_up(case, 20)
    ours(case, 30)
    case.start(31, reservation_id=1)
    answer(case, 32, "rejected", reason="Rejected")
    assert ends(case) == [("used", "")]


def test_accepted_after_the_cancel_is_given_up_by_us_TC_051() -> None:
    case = ready()
    reserve(case)
    (id,) = case.state.calls
    give_up(case, 12)
    answer(case, 40, "timed_out", reason="no answer in time")
    assert ends(case) == [("cancelled", "no answer in time")]
    (call,) = ours(case, 200)
    assert call.intent == CancelReservation(reservation_id=1)
    answer(case, 201, "rejected", reason="Rejected")  # it has not taken it yet
    case.do(ConcludeCall, 210, command_id=id, status="accepted", answered=True)
    assert case.last(ReservationConfirmed).late
    (again,) = ours(case, 300)
    assert again.intent == CancelReservation(reservation_id=1)
    answer(case, 301, "accepted")
    assert ours(case, 10 * HOUR) == []
    assert len(ends(case)) == 1


@pytest.mark.parametrize("reason", ["disconnected", "replaced"])
def test_a_request_that_broke_with_its_connection_is_unanswered_and_given_up(reason: str) -> None:
    case = ready()
    reserve(case)
    if reason == "disconnected":
        case.do(Disconnect, 12, epoch=2, reason="closed 1006")
    case.do(Connect, 13, node="gw-2", slot=4, boot="b2")
    assert ends(case) == [("unanswered", reason)]
    (call,) = ours(case, 200)
    assert call.intent == CancelReservation(reservation_id=1)


def test_one_that_hears_no_cancel_is_asked_all_the_same_what_it_has() -> None:
    case = active(expires_at=after(100 * HOUR))
    give_up(case, 20)
    ours(case, 60)
    case.do(WantVariables, 61, wishes=(Wish(key="Key", value="1"),))
    answer(case, 150, "timed_out", reason="no answer in time")
    (call,) = ours(case, HOUR)
    assert call.intent == GetVariables(keys=("Key",))
    told = {"configurationKey": [{"key": "Key", "readonly": False, "value": "1"}]}
    answer(case, 300, "accepted", learned=learned("GetConfiguration", told))
    (call,) = ours(case, HOUR)
    assert call.intent == CancelReservation(reservation_id=1)


def test_one_that_cannot_be_given_up_is_asked_three_times() -> None:
    case = active()
    give_up(case, 20)
    asked = 0
    while ours(case, 3000):
        asked += 1
        answer(case, 20 + 10 * asked, "failed", reason="CALLERROR InternalError", answered=True)
    assert asked == 3
    assert ends(case) == [("cancelled", "")]


def test_an_operators_commands_are_the_same_reservations_TC_046_TC_051() -> None:
    case = ready()
    asked = {"connectorId": 1, "expiryDate": "2026-03-01T14:00:00Z", "idTag": "s1.k.a", "reservationId": 77}
    case.do(
        RequestCall,
        10,
        command_id="r1",
        intent=intent("ReserveNow", asked),
        expires_at=after(60),
        id_tag=ALICE,
    )
    answer(case, 11, "accepted")
    assert case.last(ReservationRequested).number == 77
    assert case.last(ReservationConfirmed).number == 77
    cancel = intent("CancelReservation", {"reservationId": 77})
    case.do(RequestCall, 20, command_id="r2", intent=cancel, expires_at=after(60))
    answer(case, 21, "accepted")
    assert ends(case) == [("cancelled", "")]


def test_a_number_that_is_asked_for_again_takes_the_formers_place() -> None:
    case = active()
    asked = {"connectorId": 2, "expiryDate": "2026-03-01T14:00:00Z", "idTag": "s1.k.b", "reservationId": 1}
    case.do(RequestCall, 20, command_id="r1", intent=intent("ReserveNow", asked), expires_at=after(60))
    answer(case, 21, "accepted")
    assert ends(case) == [("replaced", "")]
    assert [one.connector_id for one in case.state.reservations.values()] == [2]


def test_a_reference_names_one_reservation_and_other_words_take_its_place() -> None:
    case = active(reference="ocpi|NL*EMS|R1")
    first = case.last(ReservationRequested)
    same = reserve(case, 20, reference="ocpi|NL*EMS|R1")
    assert (same.reservation_id, same.status) == (first.reservation_id, "active")
    longer = reserve(case, 30, reference="ocpi|NL*EMS|R1", expires_at=after(2 * HOUR))
    assert (longer.number, longer.reservation_id == first.reservation_id) == (first.number, False)
    assert ends(case) == [("replaced", "")]
    answer(case, 31, "accepted")
    case.do(GiveUpReservation, 40, reference="ocpi|NL*EMS|R1")
    assert case.state.reservations[first.number].cancelling
    case.do(GiveUpReservation, 41, reference="ocpi|NL*EMS|R2")
    assert str(case.refusal) == "unknown"


@pytest.mark.parametrize("said", ["accepted", "rejected"])
def test_the_answer_to_a_cancel_is_of_the_former_one_where_another_has_its_number(said: str) -> None:
    case = active(reference="r")
    give_up(case, 20)
    (cancel,) = ours(case, 30)
    second = reserve(case, 30, reference="r", expires_at=after(2 * HOUR))
    assert (second.number, ends(case)) == (1, [("replaced", "")])
    case.do(ConcludeCall, 31, command_id=cancel.command_id, status=said, answered=True)
    answer(case, 32, "accepted")
    assert case.state.reservations[1].confirmed
    assert ends(case) == [("replaced", "")]
    assert ours(case, HOUR) == []


def test_where_the_other_words_are_refused_the_former_one_is_given_up() -> None:
    case = active(reference="r")
    reserve(case, 30, reference="r", expires_at=after(2 * HOUR))
    answer(case, 31, "rejected", reason="Occupied")
    assert [how for how, _ in ends(case)] == ["replaced", "refused"]
    (call,) = ours(case, HOUR)
    assert call.intent == CancelReservation(reservation_id=1)


def test_the_same_request_again_is_the_same_reservation_though_its_reply_is_forgotten() -> None:
    case = active()
    again = reserve(case, 20)
    assert (again.number, again.status) == (1, "active")
    assert len(case.all(ReservationRequested)) == 1


def test_one_connector_has_one_reservation() -> None:
    case = active()
    case.do(Reserve, 20, connector_id=1, id_tag=BOB, sealed_tag="s1.k.b", expires_at=after(HOUR))
    assert case.refusal is Refusal.NOT_ALLOWED
    give_up(case, 21)
    assert reserve(case, 22, id_tag=BOB).number == 2


def test_what_is_not_there_or_over_already_is_refused_at_once() -> None:
    case = Case.registered()
    values: dict[str, Any] = {"connector_id": 1, "id_tag": ALICE, "sealed_tag": "s1.k.a"}
    case.do(Reserve, **values, expires_at=after(HOUR))
    assert case.refusal is Refusal.NOT_CONNECTED
    case = ready()
    case.do(Reserve, 10, **values, expires_at=after(5))
    assert str(case.refusal) == "invalid"
    case.do(Boot, 20, vendor="Acme", model="Box", status="Rejected")
    case.do(Reserve, 21, **values, expires_at=after(HOUR))
    assert str(case.refusal) == "not_allowed"


def test_one_for_ever_has_an_end_too() -> None:
    case = active(expires_at=datetime.max.replace(tzinfo=UTC))
    assert case.charge_point.next_due() is not None
    case.status(20, "Reserved")
    case.status(30, "Available")
    assert ends(case) == [("lost", "Available")]


def test_a_removed_charge_point_has_no_reservations() -> None:
    case = active()
    case.do(Remove, 20)
    assert ends(case) == [("lost", "the charge point was removed")]


def test_numbers_are_int32_and_begin_anew_after_the_highest() -> None:
    case = active()
    case.state.last_reservation = NUMBER_MOST
    case.log.clear()
    case._check_fold = lambda: None  # type: ignore[method-assign]
    assert reserve(case, 20, connector_id=2).number == 2  # 1 is taken


def test_reservations_that_run_and_that_are_over_are_bounded() -> None:
    case = ready()
    case._check_fold = lambda: None  # type: ignore[method-assign]
    for i in range(REMEMBERED_MOST + 20):
        reserve(case, 10 + i)
        answer(case, 10 + i, "rejected", reason="Occupied")
    assert len(case.state.reservations) <= REMEMBERED_MOST + 1
    for _ in range(RESERVATIONS_MOST):
        reserve(case, 200, connector_id=0, expires_at=after(HOUR + len(case.log)))
        answer(case, 200, "accepted")
    case.do(Reserve, 201, connector_id=0, id_tag=ALICE, sealed_tag="s1.k.a", expires_at=after(HOUR))
    assert case.refusal is Refusal.NOT_ALLOWED


ANSWERS = ["accept", "refuse", "silence", "late"]
STATUSES = ["available", "reserved", "fault"]
STEPS = st.sampled_from([*ANSWERS, *STATUSES, "reserve", "cancel", "start", "boot", "break", "time"])


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whatever_happens_a_reservation_ends_once_and_is_over_in_the_end(steps: list[str]) -> None:
    case = ready()
    now, given_up = 10.0, [""]
    for step in steps:
        now += 5
        calls = list(case.state.calls)
        ids = [event.reservation_id for event in case.all(ReservationRequested)]
        match step:
            case "reserve":
                expires = after(now + 600)
                case.do(Reserve, now, connector_id=1, id_tag=ALICE, sealed_tag="s1.k.a", expires_at=expires)
            case "accept" | "refuse" | "silence" if calls:
                status = {"accept": "accepted", "refuse": "rejected", "silence": "timed_out"}[step]
                given_up.append(calls[0])
                case.do(ConcludeCall, now, command_id=calls[0], status=status, answered=status != "timed_out")
            case "late":
                case.do(ConcludeCall, now, command_id=given_up[-1], status="accepted", answered=True)
            case "cancel" if ids:
                case.do(GiveUpReservation, now, reservation_id=ids[-1])
            case "start":
                case.start(now, meter_start=int(now), reservation_id=1 if int(now) % 2 else None)
            case "available" | "reserved" | "fault":
                case.status(now, {"available": "Available", "reserved": "Reserved", "fault": "Faulted"}[step])
            case "boot":
                case.do(Boot, now, vendor="Acme", model="Box")
            case "break":
                if case.state.connection is not None:
                    case.do(Disconnect, now, epoch=case.state.connection.epoch, reason="closed 1006")
                case.do(Connect, now, node="gw-1", slot=3, boot="b1")
            case "time":
                ours(case, now)
    last = now + timedelta(hours=1).total_seconds()
    while (due := case.charge_point.next_due()) is not None and due <= after(last):
        case.decide(TimerDue(aggregate=case.charge_point.id, due=due), (due - after(0)).total_seconds())
    asked = [event.reservation_id for event in case.all(ReservationRequested)]
    ended = [event.reservation_id for event in case.all(ReservationEnded)]
    assert sorted(asked) == sorted(ended)
    assert not any(one.runs for one in case.state.reservations.values())
