"""Transactions that end without their stop (BOOT-6), and what a charge point gone mad can make us remember."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from commands.base import Refusal, TimerDue
from commands.charge_point import (
    Closed,
    ConcludeCall,
    Connect,
    Disconnect,
    EndTransaction,
    Remove,
    RequestCall,
    Reserve,
    WantAvailability,
    WantDefaults,
    WantVariables,
)
from domain.charge_point import (
    Flag,
    MeterValuesRecorded,
    TransactionClosed,
    TransactionStopped,
    TransactionSuperseded,
)
from domain.charge_point.availability import CONNECTORS_MOST, AvailabilityWish
from domain.charge_point.reservation import REMEMBERED_MOST, RESERVATIONS_MOST
from domain.charge_point.state import KEEP_MOST, OPEN_MOST, ORPHANS_MOST, PENDING_MOST
from domain.charge_point.wanted import WISHES_BYTES_MOST, WISHES_MOST, Wish
from domain.intents import Availability
from domain.session import CdrIssued, EndCorrected, SessionEnded
from domain.tenant import Configuration, wrong_in
from domain.values import TagRef
from streams.deciding.partition import MAX_DECISION_BYTES
from tests.commands.charge_point_case import BOB, SETTINGS, Case, after, known, sample
from tests.commands.test_charging_session import Sessions
from tests.commands.v16_calls import intent, learned

HOUR, DAY = 3600, 86_400


def charging() -> Case:
    """ALICE on connector 1 from 0 s, meter 1000, last seen at 600 s with 3000."""
    case = Case.online()
    case.start()
    case.meter(600, 3000, transaction_id=1)
    return case


def end(case: Case, received: float = HOUR, number: int = 1, reason: str = "replaced") -> Closed:
    case.do(EndTransaction, received, transaction_id=number, reason=reason)
    assert isinstance(case.reply, Closed)
    return case.reply


def offline(case: Case, received: float) -> None:
    assert case.state.connection is not None
    case.do(Disconnect, received, epoch=case.state.connection.epoch, reason="closed 1006")


def time_passes(case: Case) -> float:
    """The next timer of the charge point comes; when it was due, in seconds after noon."""
    due = case.charge_point.next_due()
    assert due is not None
    seconds = (due - after(0)).total_seconds()
    case.decide(TimerDue(aggregate=case.charge_point.id, due=due), seconds)
    return seconds


def test_a_forced_end_charges_what_is_known_and_says_so() -> None:
    case = charging()
    reply = end(case)
    event = case.last(TransactionClosed)
    assert (event.why, event.note, event.occurred_at) == (Flag.BY_HAND, "replaced", after(600))
    assert not case.state.open
    sessions = Sessions(case)
    [ended] = [fact for fact in sessions.facts[reply.session_id] if isinstance(fact, SessionEnded)]
    assert (ended.occurred_at, ended.energy_wh, ended.provisional) == (after(600), Decimal(2000), True)
    assert (ended.note, ended.flags) == ("replaced", (Flag.BY_HAND,))
    [cdr] = sessions.cdrs(reply.session_id)
    assert (cdr.cdr["total_energy"], cdr.cdr["end_date_time"]) == (2, "2026-03-01T12:10:00Z")
    assert "by_hand" not in cdr.cdr["remark"]  # flags are ours, not the partner's


def test_a_forced_end_is_one_end_however_often_it_is_asked_for() -> None:
    case = charging()
    first = end(case)
    assert (first.running, end(case, HOUR + 1).running) == (True, False)
    assert len(case.all(TransactionClosed)) == 1
    case.do(EndTransaction, HOUR, transaction_id=9, reason="r")
    assert case.refusal is Refusal.UNKNOWN


def test_the_real_stop_corrects_a_forced_end() -> None:
    case = charging()
    id = end(case).session_id
    case.stop(1, received=2 * HOUR, timestamp=after(900), meter_stop=4000)
    assert case.last(TransactionStopped).flags == (Flag.LATE, Flag.BY_HAND)
    sessions = Sessions(case)
    assert sessions.kinds(id) == [EndCorrected, CdrIssued, CdrIssued]
    assert [cdr.cdr["total_energy"] for cdr in sessions.cdrs(id)] == [2, 2, 3]


def test_a_charge_point_with_a_stuck_transaction_can_be_removed_after_its_forced_end() -> None:
    case = charging()
    case.do(Remove, HOUR)
    assert case.refusal is Refusal.NOT_ALLOWED
    end(case)
    case.do(Remove, HOUR + 1)
    assert not case.state.provisioned


def test_a_transaction_whose_charge_point_never_returns_is_given_up_BOOT_6() -> None:
    case = charging()
    offline(case, 1000)
    assert time_passes(case) == 1000 + 72 * HOUR
    event = case.last(TransactionClosed)
    assert (event.why, event.occurred_at, event.by) == (Flag.ABANDONED, after(600), "")
    [cdr] = Sessions(case).cdrs(event.session_id)
    assert (cdr.cdr["total_energy"], cdr.cdr["end_date_time"]) == (2, "2026-03-01T12:10:00Z")
    assert "abandoned" not in cdr.cdr["remark"]


def test_how_long_is_waited_is_the_tenants_setting() -> None:
    case = Case.online()
    case.start(settings=msgspec.structs.replace(SETTINGS, abandoned_after_hours=5))
    offline(case, 1000)
    assert time_passes(case) == 1000 + 5 * HOUR


def test_a_charge_point_that_comes_back_goes_on_charging_BOOT_6() -> None:
    case = charging()
    offline(case, 1000)
    case.do(Connect, 71 * HOUR, node="gw-1", slot=3, boot="b1", quiet_s=10**6)
    case.decide(TimerDue(aggregate=case.charge_point.id, due=after(1000 + 72 * HOUR)), 1000 + 72 * HOUR)
    assert set(case.state.open) == {1}
    case.stop(1, received=73 * HOUR)
    assert case.last(TransactionStopped).flags == ()


def test_a_connected_charge_point_may_charge_for_days_without_a_word() -> None:
    case = charging()
    transaction = case.state.open[1]
    assert case.charge_point.abandoned_at(transaction) is None


def test_a_transaction_whose_connector_is_free_again_is_given_up_though_the_charge_point_is_there() -> None:
    case = charging()
    case.status(700, "Available")
    case.status(800, "Available")
    assert case.charge_point.abandoned_at(case.state.open[1]) == after(700 + 72 * HOUR)
    case.status(900, "Charging")
    assert case.charge_point.abandoned_at(case.state.open[1]) is None
    case.status(1000, "Available")
    case.decide(TimerDue(aggregate=case.charge_point.id, due=after(1000 + 72 * HOUR)), 1000 + 72 * HOUR)
    assert case.last(TransactionClosed).occurred_at == after(1000)


def test_the_end_that_nobody_reported_is_the_last_sign_not_the_day_it_was_noticed_START_7() -> None:
    """All readings were told already: the next start, a day later, is no reading."""
    case = charging()
    case.start(received=DAY, id_tag=BOB, meter_start=3000)
    event = case.last(TransactionSuperseded)
    assert (event.samples, event.occurred_at) == ((), after(600))
    [cdr] = Sessions(case).cdrs(event.session_id)
    assert cdr.cdr["end_date_time"] == "2026-03-01T12:10:00Z"


def test_a_refused_start_ends_with_the_next_one_on_its_connector() -> None:
    """4,000 of them are one open transaction, not 4,000."""
    case = Case.online()
    case.start(id_tag=BOB)
    for second in range(10, 20):
        case.start(received=second, meter_start=second, authorization=known("Blocked"))
    assert set(case.state.open) == {1, 11}


def test_of_too_many_transactions_the_refused_and_then_the_oldest_end() -> None:
    case = Case.online()
    case._check_fold = lambda: None  # type: ignore[method-assign]
    for i in range(OPEN_MOST):
        refused = known("Blocked" if i == 5 else "Accepted")
        case.start(received=i, connector_id=i + 1, id_tag=TagRef(key=f"k{i}"), authorization=refused)
    assert not case.all(TransactionClosed)
    for i in range(2):
        case.start(received=900 + i, connector_id=200 + i, id_tag=TagRef(key=f"x{i}"))
    assert [event.transaction_id for event in case.all(TransactionClosed)] == [6, 1]
    assert {event.why for event in case.all(TransactionClosed)} == {Flag.SURPLUS}
    assert len(case.state.open) == OPEN_MOST


def test_registers_that_wait_for_a_relay_are_bounded_and_none_is_lost() -> None:
    case = Case.online()
    case._check_fold = lambda: None  # type: ignore[method-assign]
    case.start()
    case.meter(1, 1000, transaction_id=1)
    batch = 90
    for i in range(30):
        some = tuple(sample(2 + i + j / batch, 1000 + i * batch + j) for j in range(batch))
        case.meter(2 + i / 100, samples=some, transaction_id=1)
        assert sum(len(one.pending) for one in case.state.open.values()) <= PENDING_MOST
    told = sum(len(event.relay) for event in case.all(MeterValuesRecorded))
    assert told + len(case.state.open[1].pending) == 1 + 30 * batch


def test_the_state_of_a_charge_point_gone_mad_fits_one_record_of_the_log() -> None:
    """Every bound reached at once: starts, stops, conflicts, orphans, strays, pending, statuses, configuration,
    wishes, availability, reservations."""
    case = Case.online()
    case._check_fold = lambda: None  # type: ignore[method-assign]
    long = "s1." + "k" * 32 + "." + "x" * 120
    tag = TagRef(key="t" * 32, sealed=long)
    whose = known(parent="p" * 32, parent_sealed=long, expires_at=after(DAY))
    many = tuple(sample(i, 123_456_789 + i) for i in range(200))
    many = tuple(
        msgspec.structs.replace(
            one, power_w=Decimal("11000.5"), current_a=Decimal("47.85"), soc_percent=Decimal("55.5")
        )
        for one in many
    )
    for i in range(KEEP_MOST + 10):
        number = case.start(
            received=i, meter_start=i, id_tag=tag, authorization=whose, reservation_id=i
        ).transaction_id
        for j in range(6):
            case.stop(number, received=i, meter_stop=i + j, id_tag=tag, authorization=whose)
    for i in range(ORPHANS_MOST + 5):
        case.stop(-1, received=i, meter_stop=i, id_tag=tag, authorization=whose, samples=many)
    for i in range(OPEN_MOST):
        one = TagRef(key=f"{i:032d}")
        case.start(received=600, meter_start=i, connector_id=i + 1, id_tag=one, authorization=whose)
        number = case.state.next_transaction_id - 1
        case.meter(601, samples=many[:1], transaction_id=number, connector_id=i + 1)
        case.meter(602, samples=many[:50], transaction_id=number, connector_id=i + 1)
        case.meter(602, samples=many[:4], transaction_id=number, connector_id=i + 1)
    for _ in range(5):
        case.meter(700, samples=many, transaction_id=-1)
    for i in range(1000):
        case.status(800, "Charging", connector_id=i)
    keys = [{"key": f"{i:050d}", "value": "\x01" * 400, "readonly": False} for i in range(1000)]
    call = {"command_id": "c", "intent": intent("GetConfiguration"), "expires_at": after(900)}
    case.do(RequestCall, 800, **call)
    keys.append({"key": "SupportedFeatureProfiles", "value": "a," * 400, "readonly": False})
    taught = learned("GetConfiguration", {"configurationKey": [keys[-1], *keys]})
    case.do(ConcludeCall, 801, command_id="c", status="accepted", learned=taught)
    value = "\U0001f50c" * (WISHES_BYTES_MOST // WISHES_MOST // 4 - 13)
    wishes = tuple(Wish(key=f"{i:050d}", value=value) for i in range(2 * WISHES_MOST))
    case.do(WantVariables, 802, wishes=wishes[:WISHES_MOST])
    case.do(WantDefaults, 802, wishes=wishes[WISHES_MOST:], revision=1, mark="m")
    for i in range(CONNECTORS_MOST):
        wish = AvailabilityWish(connector_id=i, availability=Availability.INOPERATIVE)
        case.do(WantAvailability, 802, wish=wish)
    case.do(RequestCall, 803, **{**call, "command_id": "d", "override": True})
    case.do(ConcludeCall, 803, command_id="d", status="accepted", learned=taught)
    for i in range(RESERVATIONS_MOST + REMEMBERED_MOST):
        reserve = {"connector_id": 0, "id_tag": tag, "sealed_tag": long, "parent": "p" * 32}
        case.do(Reserve, 804, **reserve, expires_at=after(DAY), reference=f"{i:0100d}", override=True)
        (asked,) = (id for id in case.state.calls if id.startswith("reserve-"))
        status = "accepted" if i >= REMEMBERED_MOST else "rejected"
        case.do(ConcludeCall, 805, command_id=asked, status=status, reason="x" * 300, answered=True)
    assert len(case.state.reservations) == RESERVATIONS_MOST + REMEMBERED_MOST
    assert all(one.told for one in case.state.wanted.values())
    assert len(case.state.wanted) == 2 * WISHES_MOST
    assert len(msgspec.json.encode(case.state)) < MAX_DECISION_BYTES
    assert max(len(msgspec.json.encode(event)) for event in case.log) < MAX_DECISION_BYTES


@pytest.mark.parametrize("hours", [0, 10**400])
def test_a_wait_that_cannot_be_is_no_setting(hours: Any) -> None:
    assert "abandoned_after_hours" in wrong_in(Configuration(abandoned_after_hours=hours))
    assert wrong_in(Configuration(abandoned_after_hours=72)) == ""


def test_readings_that_come_after_a_forced_end_wait_for_the_real_stop() -> None:
    case = charging()
    id = end(case).session_id
    for second in (4000, 4060):
        case.meter(second, second, transaction_id=1)
    case.stop(1, received=5000, meter_stop=5000)
    assert case.last(TransactionStopped).samples == (sample(4000, 4000), sample(4060, 4060))
    assert not case.state.ended[1].pending
    assert [cdr.cdr["total_energy"] for cdr in Sessions(case).cdrs(id)] == [2, 2, 4]
    case.meter(5010, 5000, transaction_id=1)
    assert case.last(MeterValuesRecorded).held == ()


def test_readings_of_transactions_that_are_over_are_bounded_too() -> None:
    case = charging()
    end(case)
    for i in range(20):
        some = tuple(sample(HOUR + i + j / 60, 3000 + i) for j in range(60))
        case.meter(HOUR + i, samples=some, transaction_id=1)
        assert case.state.waiting() <= PENDING_MOST
    assert case.state.ended[1].pending[-1] == sample(HOUR + 19 + 59 / 60, 3019)


def test_a_late_stop_of_a_transaction_that_was_given_up_counts_within_a_week() -> None:
    case = charging()
    offline(case, 1000)
    time_passes(case)
    case.do(Connect, 100 * HOUR, node="gw-1", slot=3, boot="b1", quiet_s=10**6)
    case.stop(1, received=100 * HOUR, timestamp=after(900), meter_stop=4000, reason="PowerLoss")
    event = case.last(TransactionStopped)
    assert event.flags == (Flag.LATE, Flag.ABANDONED)
    assert event.timestamp - case.last(TransactionClosed).timestamp < timedelta(days=7)
    assert [cdr.cdr["total_energy"] for cdr in Sessions(case).cdrs(event.session_id)] == [2, 2, 3]
