"""Stops and readings of transactions that we do not know: START-5, STOP-6, MV-4."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from commands.base import Refusal
from commands.charge_point import Settled, SettleStop, StartTransaction, Stopped
from domain.charge_point import (
    ClockOffsetNoted,
    Flag,
    MeterValuesRecorded,
    StopConflicted,
    StopSettled,
    StopUnmatched,
    TransactionStarted,
    TransactionStopped,
)
from domain.charge_point.state import ORPHANS_MOST
from domain.session import CdrIssued, EndCorrected, SessionEnded
from domain.values import PartyId
from tests.commands.charge_point_case import (
    ALICE,
    BOB,
    CAROL,
    CP,
    SETTINGS,
    TENANT,
    Case,
    after,
    known,
    sample,
)
from tests.commands.test_charging_session import Sessions

HOUR = 3600


def lost_charge(**stop: Any) -> Case:
    """A charge of ALICE from 0 s to 1000 s, meter 1000 to 5000, of which the stop came first."""
    case = Case.online()
    values = {"timestamp": after(1000), "id_tag": ALICE, "authorization": known(), **stop}
    case.stop(-1, received=HOUR, **values)
    return case


def test_a_stop_is_joined_by_its_start_that_comes_later_START_5() -> None:
    case = lost_charge()
    reply = case.start(received=HOUR + 10, timestamp=after(0))
    assert (reply.status, case.state.open) == ("Accepted", {})
    stopped = case.last(TransactionStopped)
    assert (stopped.transaction_id, stopped.session_id) == (reply.transaction_id, reply.session_id)
    assert (stopped.meter_stop, stopped.occurred_at, stopped.flags) == (5000, after(1000), (Flag.JOINED,))
    settled = case.last(StopSettled)
    assert (settled.key, settled.session_id) == (case.last(StopUnmatched).key, reply.session_id)
    sessions = Sessions(case)
    [cdr] = sessions.cdrs(reply.session_id)
    assert cdr.cdr["total_energy"] == 4


@pytest.mark.parametrize(
    ("stop", "start"),
    [
        ({}, {"id_tag": BOB}),
        ({}, {"timestamp": after(1001)}),
        ({}, {"meter_start": 5001}),
        ({}, {"timestamp": after(-8 * 86_400)}),
        ({"timestamp": after(HOUR)}, {"timestamp": after(HOUR + 9)}),
    ],
    ids=["another tag", "it began after the stop", "meter above", "a week apart", "it began just now"],
)
def test_a_stop_is_never_put_to_a_charge_that_may_be_running_START_5(
    stop: dict[str, Any], start: dict[str, Any]
) -> None:
    case = lost_charge(**stop)
    number = case.start(**{"received": HOUR + 10, "timestamp": after(0), **start}).transaction_id
    assert set(case.state.open) == {number}
    assert not case.all(StopSettled)


def test_a_stop_is_not_put_to_a_transaction_that_was_running_before_it_START_5() -> None:
    case = Case.online()
    case.start()
    case.stop(-1, received=60, timestamp=after(50), id_tag=ALICE, authorization=known())
    assert set(case.state.open) == {1}


def test_a_tag_of_the_same_group_joins_too_STOP_3() -> None:
    case = lost_charge(id_tag=BOB, authorization=known(parent="k-family"))
    case.start(received=HOUR + 10, timestamp=after(0), authorization=known(parent="k-family"))
    assert case.all(StopSettled)


def test_without_a_tag_only_the_one_stop_that_fits_is_joined() -> None:
    case = lost_charge(id_tag=None, authorization=None)
    case.stop(-1, received=HOUR, timestamp=after(1100), meter_stop=6000)
    case.start(received=HOUR + 10, timestamp=after(1050), meter_start=5000)
    assert [event.key for event in case.all(StopSettled)] == [case.last(StopUnmatched).key]
    case.start(received=HOUR + 20, timestamp=after(0))
    assert len(case.all(StopSettled)) == 2
    ambiguous = lost_charge(id_tag=None, authorization=None)
    ambiguous.stop(-1, received=HOUR, timestamp=after(1100), meter_stop=6000)
    ambiguous.start(received=HOUR + 10, timestamp=after(0))
    assert not ambiguous.all(StopSettled)


def test_two_charges_of_one_tag_whose_starts_come_late_each_get_their_own_stop() -> None:
    case = lost_charge()
    case.stop(-1, received=HOUR, timestamp=after(2000), meter_stop=9000, id_tag=ALICE, authorization=known())
    case.start(received=HOUR + 10, timestamp=after(0))
    case.start(received=HOUR + 11, timestamp=after(1500), meter_start=5000)
    assert [event.meter_stop for event in case.all(TransactionStopped)] == [5000, 9000]


def test_a_late_start_that_is_over_leaves_the_running_charge_alone() -> None:
    case = lost_charge()
    running = case.start(received=HOUR + 1, meter_start=5000).transaction_id
    case.start(received=HOUR + 10, timestamp=after(0))
    assert set(case.state.open) == {running}


def test_a_clock_that_was_set_right_meanwhile_joins_nothing_that_runs() -> None:
    """The stop's clock ran an hour ahead: by the raw times the start of now would lie before it."""
    case = Case.online()
    case.stop(-1, received=100, timestamp=after(HOUR), id_tag=ALICE, authorization=known())
    for second in (200, 220, 240):
        case.status(second, "Available", timestamp=after(second))
    assert [event.seconds for event in case.all(ClockOffsetNoted)] == [HOUR - 100, 0]
    case.start(received=300)
    assert not case.all(StopSettled)


def test_a_repeat_of_a_joined_stop_gets_its_session_and_makes_no_event_STOP_4() -> None:
    case = lost_charge()
    reply = case.start(received=HOUR + 10, timestamp=after(0))
    before = len(case.log)
    case.stop(-1, received=2 * HOUR, timestamp=after(1000), id_tag=ALICE, authorization=known())
    again = case.stop(reply.transaction_id, received=2 * HOUR, timestamp=after(1000))
    assert again == Stopped(session_id=reply.session_id)
    assert len(case.log) == before


def test_the_true_stop_corrects_one_that_was_joined_wrongly() -> None:
    case = lost_charge()
    reply = case.start(received=HOUR + 10, timestamp=after(0))
    case.stop(reply.transaction_id, received=2 * HOUR, timestamp=after(2 * HOUR), meter_stop=7000)
    assert not case.all(StopConflicted)
    sessions = Sessions(case)
    assert sessions.kinds(reply.session_id) == [EndCorrected, CdrIssued, CdrIssued]
    assert [cdr.cdr["total_energy"] for cdr in sessions.cdrs(reply.session_id)] == [4, 4, 6]
    case.stop(reply.transaction_id, received=3 * HOUR, timestamp=after(3 * HOUR), meter_stop=8000)
    assert case.all(StopConflicted)


def test_readings_of_an_unknown_transaction_go_to_the_start_that_comes_later_MV_4() -> None:
    case = Case.online()
    case.meter(HOUR, 2000, transaction_id=-1, samples=(sample(100, 2000),), timestamp=after(100))
    case.meter(HOUR, 3000, transaction_id=99, samples=(sample(200, 3000),), timestamp=after(200))
    case.meter(HOUR, 10, transaction_id=-1, samples=(sample(150, 10),), timestamp=after(150))
    case.meter(HOUR, 9, transaction_id=-1, connector_id=2, samples=(sample(160, 1500),), timestamp=after(160))
    number = case.start(received=HOUR + 10, timestamp=after(0)).transaction_id
    assert case.last(TransactionStarted).held == (sample(100, 2000), sample(200, 3000))
    assert [one.sample for one in case.state.strays] == [sample(150, 10), sample(160, 1500)]
    case.stop(number, received=HOUR + 20, timestamp=after(300))
    assert case.last(TransactionStopped).samples == (sample(100, 2000), sample(200, 3000))


def test_a_joined_charge_has_the_readings_between_its_start_and_its_stop() -> None:
    case = lost_charge(samples=(sample(900, 4900),))
    for second in (500, 1500):
        case.meter(HOUR, transaction_id=-1, samples=(sample(second, 4000 + second),), timestamp=after(second))
    case.start(received=HOUR + 10, timestamp=after(0))
    assert case.last(TransactionStopped).samples == (sample(500, 4500), sample(900, 4900))
    assert case.last(MeterValuesRecorded).flags == (Flag.ORPHAN,)


def by_hand(case: Case, received: float = 2 * HOUR, **values: Any) -> Settled:
    values = {"key": case.last(StopUnmatched).key, "reason": "the start was lost", **values}
    case.do(SettleStop, received, **values)
    assert isinstance(case.reply, Settled)
    return case.reply


def start_by_hand(**values: Any) -> StartTransaction:
    return StartTransaction(
        **{
            "tenant": TENANT,
            "charge_point_id": CP,
            "connector_id": 1,
            "id_tag": ALICE,
            "meter_start": 1000,
            "timestamp": after(0),
            "authorization": known(),
            "settings": SETTINGS,
            **values,
        }
    )


def test_an_operator_makes_a_charge_of_a_stop_whose_start_never_came() -> None:
    case = lost_charge()
    reply = by_hand(case, start=start_by_hand())
    assert case.last(TransactionStarted).flags == (Flag.BY_HAND,)
    settled = case.last(StopSettled)
    assert (settled.session_id, settled.note) == (reply.session_id, "the start was lost")
    sessions = Sessions(case)
    [ended] = [fact for fact in sessions.facts[reply.session_id] if isinstance(fact, SessionEnded)]
    assert (ended.provisional, ended.energy_wh, ended.flags) == (True, Decimal(4000), (Flag.BY_HAND,))
    [cdr] = sessions.cdrs(reply.session_id)
    assert cdr.cdr["total_energy"] == 4


def test_an_operator_says_which_running_transaction_the_stop_ended() -> None:
    case = Case.online()
    started = case.start()
    case.stop(-1, received=60, timestamp=after(50), id_tag=ALICE, authorization=known())
    reply = by_hand(case, received=100, transaction_id=1)
    assert reply == Settled(transaction_id=1, session_id=started.session_id)
    assert not case.state.open
    [cdr] = Sessions(case).cdrs(started.session_id)
    assert cdr.cdr["total_energy"] == 4


def test_a_stop_by_hand_corrects_an_end_that_nobody_knew_and_the_true_one_corrects_that() -> None:
    """Superseded with 1 kWh; 4 kWh by the operator's word; 5 kWh by the charge point's, at last."""
    case = Case.online()
    id = case.start().session_id
    case.meter(10, 2000, transaction_id=1)
    case.start(received=60, id_tag=BOB, meter_start=5000)
    case.stop(-1, received=70, timestamp=after(50), id_tag=ALICE, authorization=known())
    by_hand(case, received=100, transaction_id=1)
    case.stop(1, received=HOUR, timestamp=after(55), meter_stop=6000)
    sessions = Sessions(case)
    assert [cdr.cdr["total_energy"] for cdr in sessions.cdrs(id)] == [1, 1, 4, 4, 5]
    assert [bool(cdr.cdr.get("credit")) for cdr in sessions.cdrs(id)] == [False, True, False, True, False]
    assert len({cdr.cdr_id for cdr in sessions.cdrs(id)}) == 5
    corrections = [fact for fact in sessions.facts[id] if isinstance(fact, EndCorrected)]
    assert [fact.assumed for fact in corrections] == [True, False]


def test_a_stop_is_charged_once_by_hand() -> None:
    case = lost_charge()
    by_hand(case, start=start_by_hand())
    case.do(SettleStop, 3 * HOUR, key=case.last(StopUnmatched).key, reason="again", start=start_by_hand())
    assert case.refusal is Refusal.CONFLICT


def owned(status: str) -> StartTransaction:
    owner = PartyId(country_code="NL", party_id="EMS")
    return start_by_hand(authorization=known(status, "stored", owner=owner))


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({"key": "-1|x|1", "start": start_by_hand()}, Refusal.UNKNOWN),
        ({"transaction_id": 99}, Refusal.UNKNOWN),
        ({"transaction_id": 1}, Refusal.NOT_ALLOWED),
        ({"start": start_by_hand(meter_start=5001)}, Refusal.INVALID),
        ({"start": start_by_hand(timestamp=after(1001))}, Refusal.INVALID),
        ({"start": owned("Blocked")}, Refusal.NOT_ALLOWED),
    ],
    ids=["no such stop", "no such transaction", "stopped already", "meter", "time", "the owner refuses"],
)
def test_what_a_stop_cannot_be_charged_with_is_refused(values: dict[str, Any], refusal: Refusal) -> None:
    case = Case.online()
    case.start(id_tag=CAROL)
    case.stop(1, received=10, meter_stop=1000)
    case.stop(-1, received=HOUR, timestamp=after(1000), id_tag=ALICE, authorization=known())
    case.do(SettleStop, 2 * HOUR, **{"key": case.last(StopUnmatched).key, "reason": "r", **values})
    assert case.refusal is refusal


def test_the_start_by_hand_is_by_our_clock_and_the_stop_by_the_charge_points() -> None:
    """An hour ahead: 1000 s by our clock are charged, from 0 to 1000."""
    case = Case.online()
    case.stop(-1, received=1000, timestamp=after(1000 + HOUR), id_tag=ALICE, authorization=known())
    reply = by_hand(case, start=start_by_hand())
    [cdr] = Sessions(case).cdrs(reply.session_id)
    assert (cdr.cdr["start_date_time"], cdr.cdr["end_date_time"]) == (
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:16:40Z",
    )


def test_stops_that_nobody_settles_are_forgotten_after_three_months_and_bounded() -> None:
    case = lost_charge()
    for i in range(ORPHANS_MOST + 5):
        case.stop(-1, received=2 * HOUR + i, meter_stop=i)
    assert len(case.state.orphans) == ORPHANS_MOST
    case.stop(-1, received=91 * 86_400)
    assert len(case.state.orphans) == 1
