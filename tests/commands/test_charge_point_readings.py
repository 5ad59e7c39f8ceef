"""ADR 19: which MeterValues decide nothing, clause by clause, and what carries them into the events."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.base import Refusal
from commands.charge_point import Connect, EndTransaction, RecordMeterValues, Remove, TakenOver, TakeOver
from commands.charge_point.readings import (
    GATHERED_MOST,
    VALUES_MOST,
    Running,
    decides_nothing,
    taken,
)
from domain.charge_point import (
    MeterValuesRecorded,
    ReadingTaken,
    TransactionClosed,
    TransactionStopped,
    TransactionSuperseded,
)
from domain.values import CallNumber, Carried, RegisterSample
from tests.commands.charge_point_case import BOB, CP, TENANT, Case, after, sample

MARK = Carried(offset=4, call=CallNumber(epoch=9, number=3), until=after(60))
LATER = Carried(offset=8, call=CallNumber(epoch=9, number=5), until=after(90))


def command(**values: Any) -> RecordMeterValues:
    return RecordMeterValues(
        **{
            "tenant": TENANT,
            "charge_point_id": CP,
            "connector_id": 1,
            "transaction_id": 1,
            "values": msgspec.Raw(b"[]"),
            "samples": (sample(30, 1100),),
            "timestamp": after(30),
            "call": CallNumber(epoch=9, number=4),
            **values,
        }
    )


def running(**values: Any) -> Running:
    return Running(**{"connector_id": 1, "carried": MARK, "due_at": after(60), **values})


def nothing(
    one: Running | None,
    said: RecordMeterValues,
    *contexts: str | None,
    at: float = 30,
    waited: float = 0,
    offset: int = 0,
) -> bool:
    now = after(at + waited)
    return decides_nothing(said, one, contexts or ("Sample.Periodic",), after(at), now, offset)


@pytest.mark.parametrize("context", ["Sample.Periodic", "Sample.Clock", None])
def test_a_routine_reading_of_a_transaction_that_runs_decides_nothing_MV_2(context: str | None) -> None:
    assert nothing(running(), command(), context)


@pytest.mark.parametrize(
    "context",
    [
        "Transaction.Begin",
        "Transaction.End",
        "Interruption.Begin",
        "Interruption.End",
        "Trigger",
        "Other",
        "x",
    ],
)
def test_a_sample_of_any_other_context_decides(context: str) -> None:
    assert not nothing(running(), command(), "Sample.Periodic", context)


def test_a_reading_of_a_transaction_that_no_answer_called_open_decides() -> None:
    assert not nothing(None, command())
    assert not nothing(running(open=False), command())


def test_a_reading_of_another_connector_decides() -> None:
    assert not nothing(running(), command(connector_id=2))


def test_a_reading_with_a_flag_decides() -> None:
    assert not nothing(running(), command(flags=("bad_unit",)))


def test_a_reading_that_is_due_for_a_relay_decides() -> None:
    assert nothing(running(), command(timestamp=after(59)), at=59.9)
    assert not nothing(running(), command(timestamp=after(60)), at=60)
    assert not nothing(running(due_at=None), command())


def test_a_reading_that_waited_until_a_relay_is_due_decides() -> None:
    assert nothing(running(), command(), waited=29.9)
    assert not nothing(running(), command(), waited=30)


def test_a_reading_near_a_limit_decides() -> None:
    held = [sample(1, 1000 + number) for number in range(GATHERED_MOST)]
    assert nothing(running(gathered=held[1:]), command())
    assert not nothing(running(gathered=held), command())
    long = msgspec.Raw(b'["' + b"x" * VALUES_MOST + b'"]')
    assert not nothing(running(), command(values=long))


@pytest.mark.parametrize(("ahead", "known", "agrees"), [(60, 0, True), (61, 0, False), (-61, 0, False)])
def test_a_reading_that_may_show_another_clock_decides(ahead: int, known: int, agrees: bool) -> None:
    said = command(timestamp=after(30 + ahead))
    assert nothing(running(), said, offset=known) is agrees
    assert not nothing(running(), said, offset=known + 3600)
    assert not nothing(running(), command(timestamp=None))


def test_a_reading_without_a_number_of_its_call_decides() -> None:
    assert not nothing(running(), command(call=None))


def test_the_fact_says_what_the_command_says_and_is_no_version_of_the_charge_point() -> None:
    fact = taken(command(), "s-1", after(31), 90)
    assert fact == ReadingTaken(
        originator_id=f"charge_point|{TENANT}|{CP}",
        timestamp=after(31),
        occurred_at=after(30),
        clock_offset_s=90,
        connector_id=1,
        transaction_id=1,
        session_id="s-1",
        values=msgspec.Raw(b"[]"),
        samples=(sample(30, 1100),),
        call=CallNumber(epoch=9, number=4),
    )
    assert (fact.originator_version, fact.ordinal) == (0, "9.4")


def charging() -> Case:
    """A charge whose first reading was relayed at 10 s."""
    case = Case.online()
    case.start()
    case.meter(10, 1010, transaction_id=1, carried=MARK)
    return case


GATHERED = (sample(20, 1020), sample(30, 1030))


def registers(samples: tuple[RegisterSample, ...]) -> list[int]:
    return [int(one.energy_wh) for one in samples]


def test_a_relay_carries_what_was_read_beside_since_the_last_one() -> None:
    case = charging()
    case.meter(40, 1040, transaction_id=1, gathered=GATHERED, carried=LATER)
    last = case.last(MeterValuesRecorded)
    assert registers(last.relay) == [1020, 1030, 1040]
    assert (last.carried, case.state.open[1].carried) == (LATER, LATER)


def test_a_command_that_comes_late_from_a_connection_before_sets_no_older_mark() -> None:
    """Who looks for readings behind an old mark looks no further than soon after its time."""
    case = charging()
    case.meter(40, 1040, transaction_id=1, gathered=GATHERED, carried=LATER)
    case.meter(4000, 1020, transaction_id=1, gathered=GATHERED[:1], carried=MARK)
    assert case.state.open[1].carried == LATER
    case.do(EndTransaction, 4001, transaction_id=1, reason="stuck")
    case.meter(4002, 1020, transaction_id=1, gathered=GATHERED[:1], carried=MARK)
    case.do(TakeOver, 4003, transaction_id=1)
    assert case.reply == TakenOver(connector_id=1, carried=LATER)


def test_what_is_carried_before_a_relay_is_due_waits_for_it() -> None:
    case = charging()
    case.meter(31, 1040, transaction_id=1, gathered=GATHERED, carried=LATER)
    assert registers(case.last(MeterValuesRecorded).held) == [1020, 1030, 1040]
    case.meter(41, 1050, transaction_id=1, carried=LATER)
    assert registers(case.last(MeterValuesRecorded).relay) == [1020, 1030, 1040, 1050]


def test_a_stop_carries_what_was_read_beside_up_to_its_mark() -> None:
    case = charging()
    case.stop(1, 50, gathered=GATHERED, carried=LATER, samples=(sample(20, 1020),))
    last = case.last(TransactionStopped)
    assert (registers(last.samples), last.carried) == ([1020, 1030], LATER)


def test_an_end_that_the_charge_point_did_not_report_says_up_to_where_its_samples_hold() -> None:
    case = charging()
    case.do(EndTransaction, 50, transaction_id=1, reason="stuck")
    assert case.last(TransactionClosed).carried == MARK
    case = charging()
    case.start(60, id_tag=BOB, meter_start=1100)
    assert case.last(TransactionSuperseded).carried == MARK
    assert case.last(TransactionSuperseded).began_at == after(60)


def test_a_later_connection_learns_what_is_open_and_its_mark() -> None:
    case = charging()
    case.do(Connect, 20, node="gw-2", slot=4, boot="b2")
    assert case.do(TakeOver, 21, transaction_id=1) == []
    assert case.reply == TakenOver(running=True, connector_id=1, carried=MARK)
    case.do(TakeOver, 21, transaction_id=2)
    assert case.reply == TakenOver()


def test_a_transaction_that_is_over_keeps_its_mark_until_its_own_stop() -> None:
    case = charging()
    case.do(EndTransaction, 50, transaction_id=1, reason="stuck")
    case.meter(60, 1060, transaction_id=1, gathered=GATHERED, carried=LATER)
    assert registers(case.last(MeterValuesRecorded).held) == [1020, 1030, 1060]
    case.do(TakeOver, 61, transaction_id=1)
    assert case.reply == TakenOver(connector_id=1, carried=LATER)
    case.stop(1, 70)
    assert registers(case.last(TransactionStopped).samples) == [1020, 1030, 1060]
    case.do(TakeOver, 71, transaction_id=1)
    assert case.reply == TakenOver()


def test_what_was_read_beside_before_a_removal_is_carried_after_it() -> None:
    case = charging()
    case.do(EndTransaction, 34, transaction_id=1, reason="stuck")
    case.do(Remove, 35)
    assert case.meter(36, 1036, transaction_id=1) == []
    assert case.refusal is Refusal.UNKNOWN
    case.meter(40, 1040, transaction_id=1, gathered=GATHERED, carried=LATER)
    case.stop(1, 50)
    assert registers(case.last(TransactionStopped).samples) == [1020, 1030, 1040]


def test_relays_that_an_edge_waited_for_are_not_put_off_for_the_way_to_the_log() -> None:
    case = charging()
    case.meter(39.5, 1040, transaction_id=1, gathered=GATHERED, carried=LATER)
    assert case.last(MeterValuesRecorded).relay
    assert case.state.open[1].relayed_at == after(39.5)
