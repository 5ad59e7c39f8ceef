"""Items of jobs that wait for a charge point: told with its next connection, each once."""

from __future__ import annotations

from commands.base import Refusal
from commands.charge_point import AwaitConnection, Connect, Disconnect, Register, Remove, See
from domain.charge_point import AwaitedConnectionMade, ChargePointConnected, ConnectionAwaited
from domain.charge_point.state import AWAITING_MOST, SILENT
from domain.values import JobItem
from tests.commands.charge_point_case import SITE, Case, after

CONNECT = {"node": "gw-1", "slot": 3, "boot": "b1"}


def item(number: int = 0, attempt: int = 1) -> JobItem:
    return JobItem(job_id="j1", listing="l1", item=number, attempt=attempt, about="CP-1")


def awaited(case: Case, *items: JobItem, until: float = 3600) -> Case:
    for one in items:
        case.do(AwaitConnection, item=one, until=after(until))
    return case


def test_who_waits_is_told_in_the_decision_of_the_next_connection() -> None:
    case = awaited(Case.registered(), item(0), item(1))
    events = case.do(Connect, 60, **CONNECT)
    assert [type(event) for event in events] == [ChargePointConnected, AwaitedConnectionMade]
    assert case.last(AwaitedConnectionMade).items == (item(0), item(1))
    case.do(Disconnect, 70, epoch=case.last(ChargePointConnected).epoch)
    assert len(case.do(Connect, 80, **CONNECT)) == 1


def test_who_waits_for_one_that_is_connected_is_told_at_once() -> None:
    case = awaited(Case.online(), item())
    assert case.last(AwaitedConnectionMade).items == (item(),)
    assert case.state.awaiting == []


def test_what_is_said_again_is_noted_once() -> None:
    case = awaited(Case.registered(), item(), item())
    assert len(case.all(ConnectionAwaited)) == 1


def test_who_was_told_is_known_when_it_asks_again() -> None:
    case = awaited(Case.online(), item(), item())
    assert len(case.all(AwaitedConnectionMade)) == 1
    later = awaited(Case.registered(), item())
    later.do(Connect, 60, **CONNECT)
    later.do(Disconnect, 70, epoch=later.last(ChargePointConnected).epoch)
    awaited(later, item())
    assert len(later.all(ConnectionAwaited)) == 1
    awaited(later, item(attempt=2))
    assert len(later.all(ConnectionAwaited)) == 2


def test_who_waits_no_more_is_not_told() -> None:
    case = awaited(Case.registered(), item(), until=30)
    assert len(case.do(Connect, 60, **CONNECT)) == 1
    late = awaited(Case.registered(), item(), until=-1)
    assert late.all(ConnectionAwaited) == []


def test_a_connection_that_only_seemed_silent_tells_who_waits() -> None:
    case = Case.online()
    epoch = case.last(ChargePointConnected).epoch
    case.do(Disconnect, 600, epoch=epoch, reason=SILENT)
    awaited(case, item())
    case.do(See, 660, epoch=epoch)
    assert case.last(AwaitedConnectionMade).items == (item(),)


def test_so_many_wait_at_most() -> None:
    case = awaited(Case.registered(), *(item(number) for number in range(AWAITING_MOST + 5)))
    case.do(Connect, 60, **CONNECT)
    assert [one.item for one in case.last(AwaitedConnectionMade).items] == [*range(5, AWAITING_MOST + 5)]


def test_nobody_waits_for_one_that_is_not_known() -> None:
    case = awaited(Case(), item())
    assert case.refusal is Refusal.UNKNOWN


def test_one_that_was_removed_and_comes_back_tells_who_waits() -> None:
    case = awaited(Case.registered(), item(0))
    case.do(Remove)
    awaited(case, item(1))
    case.do(Register, site=SITE)
    events = case.do(Connect, 60, **CONNECT)
    assert [type(event) for event in events] == [ChargePointConnected, AwaitedConnectionMade]
    assert case.last(AwaitedConnectionMade).items == (item(0), item(1))
