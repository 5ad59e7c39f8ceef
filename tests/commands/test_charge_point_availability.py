"""Availability wanted beside actual: told, told again where a connector says otherwise, three times, and shown."""

from __future__ import annotations

from typing import Any

import pytest

from commands.base import Refusal
from commands.charge_point import Boot, ConcludeCall, Connect, Disconnect, Remove, WantAvailability
from domain.charge_point import CallRequested
from domain.charge_point.availability import CONNECTORS_MOST, AvailabilityState, AvailabilityWish
from domain.charge_point.wanted import PUSHES_MOST
from domain.intents import Availability, ChangeAvailability
from tests.commands.charge_point_case import Case, after
from tests.commands.test_charge_point_reserving import answer, ours, ready
from tests.commands.v16_calls import learned

IN, OUT = Availability.OPERATIVE, Availability.INOPERATIVE
DAY = 86_400


def want(case: Case, received: float, availability: Availability | None = OUT, connector: int = 1) -> None:
    wish = AvailabilityWish(connector_id=connector, availability=availability)
    case.do(WantAvailability, received, wish=wish)


def told(case: Case, until: float, said: str = "Accepted") -> list[ChangeAvailability]:
    """The calls that are made until then, each answered with this a second later; no answer: it times out."""
    made: list[ChangeAvailability] = []
    while calls := ours(case, until):
        (call,) = calls
        assert isinstance(call.intent, ChangeAvailability)
        made.append(call.intent)
        at = (call.timestamp - case.log[0].timestamp).total_seconds() + 1
        taught = learned("ChangeAvailability", {"status": said}, {"connectorId": 1, "type": "Inoperative"})
        status = {"Rejected": "rejected", "": "timed_out"}.get(said, "accepted")
        answer(case, at, status, reason=said, learned=taught)
    return made


def state(case: Case, connector: int = 1) -> AvailabilityState:
    return case.state.availability[connector].state


@pytest.mark.parametrize("connector", [0, 1])
def test_a_connector_that_shall_not_be_used_is_told_so(connector: int) -> None:
    case = ready()
    want(case, 10, connector=connector)
    assert told(case, 60) == [ChangeAvailability(connector_id=connector, type=OUT)]
    case.status(70, "Unavailable", connector_id=connector)
    assert state(case, connector) is AvailabilityState.IN_SYNC
    assert told(case, DAY) == []


def test_scheduled_waits_for_the_end_of_the_transaction() -> None:
    case = ready()
    want(case, 10)
    told(case, 60, "Scheduled")
    assert state(case) is AvailabilityState.SCHEDULED
    case.status(70, "Charging")
    case.status(80, "Finishing")
    assert (state(case), told(case, 90)) == (AvailabilityState.SCHEDULED, [])
    case.status(100, "Unavailable")
    assert state(case) is AvailabilityState.IN_SYNC


def test_scheduled_and_available_after_the_transaction_is_told_again() -> None:
    case = ready()
    want(case, 10)
    told(case, 60, "Scheduled")
    case.status(100, "Available")
    assert len(told(case, 300)) == 1


def test_a_boot_before_the_end_of_the_transaction_is_told_again() -> None:
    case = ready()
    want(case, 10)
    told(case, 60, "Scheduled")
    case.do(Boot, 100, vendor="Acme", model="Box")
    assert len(told(case, 300)) == 1


def test_one_that_forgets_it_over_a_reboot_is_told_again_each_time() -> None:
    case = ready()
    want(case, 10)
    told(case, 60)
    case.status(70, "Unavailable")
    for number in range(1, 2 * PUSHES_MOST):
        now = 1000.0 * number
        case.do(Boot, now, vendor="Acme", model="Box")
        case.status(now + 1, "Available")
        assert len(told(case, now + 500)) == 1
        case.status(now + 600, "Unavailable")
        assert state(case) is AvailabilityState.IN_SYNC


def test_one_that_says_otherwise_after_three_is_shown_and_told_no_more() -> None:
    case = ready()
    want(case, 10)
    for number in range(1, 10):
        told(case, 1000.0 * number)
        case.status(1000 * number + 10, "Available")
    assert state(case) is AvailabilityState.DRIFT
    calls = [event for event in case.all(CallRequested) if isinstance(event.intent, ChangeAvailability)]
    assert len(calls) == PUSHES_MOST
    case.status(20_000, "Unavailable")
    assert state(case) is AvailabilityState.IN_SYNC


def test_one_that_never_answers_is_told_three_times() -> None:
    case = ready()
    want(case, 10)
    assert len(told(case, DAY, "")) == PUSHES_MOST
    assert state(case) is AvailabilityState.DRIFT
    want(case, DAY + 10)
    assert len(told(case, DAY + 4000)) == 1


def test_a_refusal_is_shown() -> None:
    case = ready()
    want(case, 10)
    assert len(told(case, DAY, "Rejected")) == 1
    assert (state(case), case.state.availability[1].reason) == (AvailabilityState.REFUSED, "Rejected")


def test_what_it_said_before_it_answered_says_nothing() -> None:
    case = ready()
    want(case, 10)
    told(case, 60)
    case.status(61, "Available", timestamp=case.log[0].timestamp)
    assert (state(case), told(case, 300)) == (AvailabilityState.IN_SYNC, [])


def test_a_wish_of_one_that_is_away_waits_for_it() -> None:
    case = ready()
    case.do(Disconnect, 10, epoch=2, reason="closed 1006")
    want(case, 20, IN)
    assert told(case, 100) == []
    case.do(Connect, 100, node="gw-1", slot=3, boot="b1")
    assert told(case, 200) == [ChangeAvailability(connector_id=1, type=IN)]


def test_a_wish_that_is_changed_while_it_is_told_is_told_after_it() -> None:
    case = ready()
    want(case, 10)
    ours(case, 60)
    want(case, 20, IN)
    answer(case, 21, "accepted")
    assert told(case, 300) == [ChangeAvailability(connector_id=1, type=IN)]


def test_wishes_end_with_their_withdrawal_and_with_their_charge_point_and_are_bounded() -> None:
    case = ready()
    want(case, 10)
    want(case, 11, None)
    assert case.state.availability == {}
    for connector in range(CONNECTORS_MOST):
        want(case, 12, connector=connector)
    want(case, 13, connector=CONNECTORS_MOST)
    assert case.refusal is Refusal.NOT_ALLOWED
    case.do(Remove, 14)
    assert case.state.availability == {}
    want(case, 15)
    assert str(case.refusal) == "unknown"


def test_only_what_somebody_wants_is_told() -> None:
    case: Any = ready()
    case.status(10, "Unavailable")
    assert told(case, DAY) == []


def test_a_late_answer_to_a_former_wish_says_nothing_of_this_one() -> None:
    case = ready()
    want(case, 10)
    (former,) = ours(case, 60)
    answer(case, 40, "timed_out", reason="no answer in time")
    want(case, 50, IN)
    case.do(ConcludeCall, 55, command_id=former.command_id, status="accepted", answered=True)
    assert state(case) is AvailabilityState.PENDING
    assert told(case, DAY) == [ChangeAvailability(connector_id=1, type=IN)]


def test_one_that_boots_for_ever_before_the_end_of_its_transaction_is_told_three_times() -> None:
    case = ready()
    want(case, 10)
    calls = []
    for i in range(2 * PUSHES_MOST):
        calls += told(case, 1000 * i + 999, "Scheduled")
        case.do(Boot, 1000 * i + 999, vendor="Acme", model="Box")
    assert (len(calls), state(case)) == (PUSHES_MOST, AvailabilityState.DRIFT)


def test_one_whose_clock_is_behind_and_that_has_lost_it_over_a_boot_is_told_again() -> None:
    case = ready()
    want(case, 100)
    told(case, 160)
    case.do(Boot, 130, vendor="Acme", model="Box")
    case.status(135, "Available", timestamp=after(85))
    assert len(told(case, 400)) == 1
