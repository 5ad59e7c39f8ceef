"""StartTransaction, MeterValues, StopTransaction: the rules START-*, STOP-* and MV-*."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.charge_point import (
    ConcludeCall,
    RequestCall,
    StartReply,
    StartTransaction,
    StopTransaction,
    start_id,
    stop_id,
)
from domain.charge_point import (
    CallRequested,
    ClockOffsetNoted,
    Flag,
    MeterValuesRecorded,
    StopConflicted,
    StopUnmatched,
    TransactionStarted,
    TransactionStopped,
    TransactionSuperseded,
    session_id,
)
from domain.charge_point.state import CONNECTIONS_MOST, KEEP_MOST, ORPHANS_MOST
from domain.values import CallNumber, TagRef
from tests.commands.charge_point_case import (
    ALICE,
    BOB,
    CAROL,
    CP,
    SETTINGS,
    TENANT,
    TYPE2,
    Case,
    after,
    known,
    sample,
)
from tests.commands.v16_calls import intent, learned
from tests.laws import tried

DAY = 86_400


def start_command(**values: Any) -> StartTransaction:
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


def test_a_start_gets_the_first_transaction_id_and_carries_all_that_a_session_needs() -> None:
    case = Case.online()
    tariff = {"id": "T1", "currency": "EUR"}
    reply = case.start(received=2, timestamp=after(1), tariffs=(tariff,))
    id = session_id(TENANT, CP, 1)
    assert reply == StartReply(transaction_id=1, session_id=id, status="Accepted")
    event = case.last(TransactionStarted)
    assert (event.occurred_at, event.timestamp) == (after(1), after(2))
    assert (event.evse_uid, event.evse_id, event.ocpi_connector) == ("E1", "DE*ABC*E1", TYPE2)
    assert (event.meter_start, event.tariffs, event.settings) == (1000, (tariff,), SETTINGS)
    assert event.flags == ()


def test_a_charge_is_where_the_master_data_of_its_location_say_unless_it_has_left_that_meanwhile() -> None:
    case = Case.online()
    here = case.charge_point.state.site
    assert here is not None
    managed = msgspec.structs.replace(here, id=here.id.lower(), address="Dock 5", time_zone="Europe/Oslo")
    case.start(timestamp=after(1), site=managed)
    assert case.last(TransactionStarted).site == managed
    case.start(timestamp=after(2), site=msgspec.structs.replace(managed, id="elsewhere"))
    assert case.last(TransactionStarted).site == here


def test_transaction_ids_count_up_and_are_never_used_again_START_3() -> None:
    case = Case.online()
    numbers = []
    for i in range(5):
        reply = case.start(received=i * 10, meter_start=i)
        numbers.append(reply.transaction_id)
        case.stop(reply.transaction_id, received=i * 10 + 5, meter_stop=i + 1)
    assert numbers == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("status", ["Blocked", "Invalid", "Expired"])
def test_a_refused_tag_gets_its_status_and_a_real_transaction_id_START_1(status: str) -> None:
    case = Case.online()
    reply = case.start(authorization=known(status))
    assert (reply.status, reply.transaction_id) == (status, 1)
    stop = case.stop(1, received=5, meter_stop=1000, reason="DeAuthorized")
    assert stop.session_id == reply.session_id
    assert case.last(TransactionStopped).reason == "DeAuthorized"


def test_the_tag_is_judged_by_the_start_itself_whatever_authorize_said_START_2() -> None:
    case = Case.online()
    assert case.start(authorization=known("Blocked")).status == "Blocked"


def test_an_old_start_is_taken_like_any_other_and_flagged_START_4() -> None:
    case = Case.online()
    reply = case.start(received=3 * 3600, timestamp=after(0))
    assert reply.status == "Accepted"
    event = case.last(TransactionStarted)
    assert (event.happened_at, event.flags) == (after(0), (Flag.LATE,))


def test_a_repeat_gets_the_same_id_and_the_original_status_and_makes_no_event_START_6() -> None:
    case = Case.online()
    first = case.start(timestamp=after(0))
    before = len(case.log)
    again = case.start(received=600, timestamp=after(0), authorization=known("Blocked"))
    assert again == first
    assert len(case.log) == before


def test_a_repeat_after_the_end_opens_nothing_START_6() -> None:
    case = Case.online()
    first = case.start(timestamp=after(0))
    case.stop(1, received=60)
    before = len(case.log)
    assert case.start(received=6 * DAY, timestamp=after(0)) == first
    assert len(case.log) == before
    assert not case.state.open


def test_a_repeat_is_not_counted_against_itself_as_concurrent_START_6() -> None:
    case = Case.online()
    case.start(timestamp=after(0))
    assert case.start(received=1, timestamp=after(0)).status == "Accepted"


@pytest.mark.parametrize(
    "other",
    [
        {"connector_id": 2},
        {"id_tag": BOB},
        {"meter_start": 1001},
        {"timestamp": after(1)},
        {"reservation_id": 4},
    ],
)
def test_another_content_is_another_transaction_START_7(other: dict[str, Any]) -> None:
    case = Case.online()
    case.start(timestamp=after(0))
    assert case.start(**{"received": 5, "timestamp": after(0), **other}).transaction_id == 2


def test_start_and_stop_have_command_ids_made_from_their_content() -> None:
    assert start_id(start_command()) == start_id(start_command(authorization=known("Blocked")))
    assert start_id(start_command()) != start_id(start_command(reservation_id=0))
    shifted = start_command(timestamp=after(0).astimezone(tz=None))
    assert start_id(start_command()) == start_id(shifted)
    stop = StopTransaction(
        tenant=TENANT, charge_point_id=CP, transaction_id=1, meter_stop=5, timestamp=after(9)
    )
    assert stop_id(stop) == stop_id(msgspec.structs.replace(stop, reason="Remote"))
    assert stop_id(stop) != stop_id(msgspec.structs.replace(stop, meter_stop=6))


def test_a_new_start_on_a_busy_connector_supersedes_the_old_one_START_7() -> None:
    case = Case.online()
    case.start()
    case.meter(10, 1200)
    case.meter(15, 1300)
    reply = case.start(received=60, id_tag=BOB, meter_start=1300)
    assert (reply.status, reply.transaction_id) == ("Accepted", 2)
    assert case.last(TransactionStarted).superseded == 1
    event = case.last(TransactionSuperseded)
    assert (event.transaction_id, event.by, event.samples) == (1, 2, (sample(15, 1300),))
    assert set(case.state.open) == {2}


def test_a_refused_start_leaves_the_charging_one_alone_START_7() -> None:
    case = Case.online()
    case.start()
    case.start(received=60, id_tag=BOB, authorization=known("Invalid"))
    assert not case.all(TransactionSuperseded)
    assert set(case.state.open) == {1, 2}


def test_a_late_start_from_before_does_not_supersede_what_began_after_it() -> None:
    case = Case.online()
    case.start(received=100, timestamp=after(100))
    case.start(received=110, timestamp=after(-1000), id_tag=BOB)
    assert not case.all(TransactionSuperseded)
    assert set(case.state.open) == {1, 2}


def test_the_stop_of_a_superseded_transaction_still_counts_STOP_1() -> None:
    case = Case.online()
    case.start()
    case.start(received=60, id_tag=BOB, meter_start=1300)
    case.stop(1, received=70, timestamp=after(50), meter_stop=1300)
    event = case.last(TransactionStopped)
    assert (event.transaction_id, event.flags) == (1, (Flag.SUPERSEDED,))
    assert set(case.state.open) == {2}


def test_the_same_tag_on_another_connector_is_concurrent() -> None:
    case = Case.online()
    case.start()
    reply = case.start(received=5, connector_id=2)
    assert (reply.status, reply.transaction_id) == ("ConcurrentTx", 2)
    assert case.start(received=6, connector_id=2, id_tag=BOB).status == "Accepted"


def test_a_refused_transaction_of_the_tag_makes_none_concurrent() -> None:
    case = Case.online()
    case.start(authorization=known("Blocked"))
    assert case.start(received=5, connector_id=2).status == "Accepted"


def test_a_transaction_whose_connector_is_free_again_does_not_lock_its_driver_out() -> None:
    case = Case.online()
    case.start()
    case.status(600, "Available")
    assert case.start(received=700, connector_id=2).status == "Accepted"


def test_a_reservation_is_consumed_by_an_accepted_start_only_START_8() -> None:
    case = Case.online()
    reserve(case, 7)
    case.start(received=10, reservation_id=7, authorization=known("Blocked"))
    assert case.state.reservations[7].runs
    case.start(received=20, reservation_id=7)
    assert case.state.reservations[7].ended == "used"
    assert case.last(TransactionStarted).flags == ()


def reserve(case: Case, number: int) -> None:
    payload = {
        "connectorId": 1,
        "expiryDate": "2026-03-01T13:00:00Z",
        "idTag": "s1.x.y",
        "reservationId": number,
    }
    case.do(RequestCall, command_id="r", intent=intent("ReserveNow", payload), expires_at=after(30))
    case.do(ConcludeCall, command_id="r", status="accepted", reason="Accepted")


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"timestamp": after(3000)}, Flag.TIMESTAMP_IN_FUTURE),
        ({"timestamp": after(30)}, Flag.BEFORE_PREVIOUS_STOP),
        ({"meter_start": 4000}, Flag.METER_BELOW_PREVIOUS_STOP),
        ({"meter_start": 6000}, Flag.METER_GAP),
        ({"connector_id": 9, "id_tag": BOB}, Flag.UNKNOWN_CONNECTOR),
        ({"reservation_id": 5}, Flag.UNKNOWN_RESERVATION),
    ],
)
def test_what_is_odd_about_a_start_is_flagged_and_not_refused_START_9(
    values: dict[str, Any], flag: Flag
) -> None:
    case = Case.online()
    case.start()
    case.stop(1, received=60, meter_stop=5000)
    reply = case.start(**{"received": 120, "meter_start": 5000, **values})
    assert (reply.status, reply.transaction_id) == ("Accepted", 2)
    assert flag in case.last(TransactionStarted).flags


def test_a_stop_ends_the_transaction_and_tells_what_its_session_does_not_know_yet_STOP_5() -> None:
    case = Case.online()
    case.start()
    case.meter(10, 1100)
    case.meter(20, 1200)
    reply = case.stop(1, received=40, meter_stop=1400, samples=(sample(20, 1200), sample(40, 1400)))
    assert (reply.session_id, reply.status) == (session_id(TENANT, CP, 1), "")
    event = case.last(TransactionStopped)
    assert event.samples == (sample(20, 1200), sample(40, 1400))
    assert (event.meter_stop, event.reason, event.connector_id) == (1400, "Local", 1)
    assert not case.state.open


def test_id_tag_info_is_answered_only_to_a_stop_with_a_tag_STOP_2() -> None:
    case = Case.online()
    case.start()
    assert case.stop(1, received=9).status == ""
    case.start(received=20)
    assert case.stop(2, received=29, id_tag=ALICE, authorization=known("Expired")).status == "Expired"


def test_a_tag_of_the_same_group_may_stop_and_a_foreign_one_is_flagged_STOP_3() -> None:
    case = Case.online()
    case.start(authorization=known(parent="k-family"))
    case.stop(1, received=10, id_tag=BOB, authorization=known(parent="k-family"))
    assert case.last(TransactionStopped).flags == ()
    case.start(received=20, meter_start=5000, authorization=known(parent="k-family"))
    case.stop(2, received=30, id_tag=CAROL, authorization=known(parent="k-other"))
    assert case.last(TransactionStopped).flags == (Flag.FOREIGN_TAG,)


def test_a_repeated_stop_gets_the_same_answer_and_makes_no_event_STOP_4() -> None:
    case = Case.online()
    case.start()
    first = case.stop(1, received=60, timestamp=after(50), id_tag=ALICE, authorization=known())
    before = len(case.log)
    again = case.stop(1, received=6 * DAY, timestamp=after(50), id_tag=ALICE, authorization=known("Blocked"))
    assert again == first
    assert len(case.log) == before


def test_a_repeated_stop_with_other_values_is_one_conflict_and_the_first_stands_STOP_4() -> None:
    case = Case.online()
    case.start()
    case.stop(1, received=60, timestamp=after(50), meter_stop=5000)
    case.stop(1, received=70, timestamp=after(50), meter_stop=6000)
    case.stop(1, received=80, timestamp=after(50), meter_stop=6000)
    assert [event.meter_stop for event in case.all(TransactionStopped)] == [5000]
    assert [event.meter_stop for event in case.all(StopConflicted)] == [6000]


@pytest.mark.parametrize(
    ("number", "flag"), [(-1, Flag.ORPHAN), (99, Flag.UNKNOWN_TRANSACTION), (0, Flag.UNKNOWN_TRANSACTION)]
)
def test_a_stop_of_no_transaction_of_ours_is_kept_and_touches_none_START_5_STOP_6(
    number: int, flag: Flag
) -> None:
    case = Case.online()
    case.start()
    for received in (60, 61):
        reply = case.stop(
            number,
            received=received,
            timestamp=after(50),
            id_tag=ALICE,
            authorization=known(),
            reason="PowerLoss",
        )
        assert reply.status == "Accepted"
    event = case.last(StopUnmatched)
    assert (event.meter_stop, event.id_tag, event.reason, event.flags) == (5000, ALICE, "PowerLoss", (flag,))
    assert len(case.all(StopUnmatched)) == 1
    assert set(case.state.open) == {1}


def test_a_stop_that_runs_back_is_taken_and_flagged_STOP_1() -> None:
    case = Case.online()
    case.start(received=100)
    case.stop(1, received=160, timestamp=after(40), meter_stop=900)
    assert case.last(TransactionStopped).flags == (Flag.METER_STOP_BELOW_START, Flag.STOP_BEFORE_START)


def test_a_boot_ends_no_transaction_BOOT_6() -> None:
    from commands.charge_point import Boot

    case = Case.online()
    case.start()
    case.do(Boot, 60, vendor="Acme", model="Box")
    assert set(case.state.open) == {1}
    case.stop(1, received=3600, timestamp=after(3590), reason="PowerLoss")
    assert case.last(TransactionStopped).flags == (Flag.REBOOTED,)


def test_a_remote_start_lends_its_authorization_to_the_start_that_follows() -> None:
    case = Case.online()
    remote = known(source="remote", auth_method="COMMAND", authorization_reference="ref-1")
    request_start(case, ALICE, remote)
    reply = case.start(received=20, authorization=known("Invalid", "unknown"))
    assert reply.status == "Accepted"
    event = case.last(TransactionStarted)
    assert (event.remote_command_id, event.authorization) == ("r1", remote)
    assert not case.state.remote_starts
    stop = case.stop(1, received=60, id_tag=ALICE, authorization=known("Invalid", "unknown"))
    assert stop.status == "Accepted"


@pytest.mark.parametrize(
    "values",
    [{"received": 200}, {"received": 20, "id_tag": BOB}, {"received": 20, "connector_id": 2}],
)
def test_a_remote_start_is_for_its_tag_its_connector_and_its_time_only(values: dict[str, Any]) -> None:
    case = Case.online()
    request_start(case, ALICE, known(source="remote"), connectorId=1)
    reply = case.start(**{"authorization": known("Invalid", "unknown"), **values})
    assert reply.status == "Invalid"
    assert case.last(TransactionStarted).remote_command_id == ""


def test_a_blocked_tag_stays_blocked_although_a_remote_start_named_it_START_2() -> None:
    case = Case.online()
    request_start(case, ALICE, known(source="remote"))
    assert case.start(received=5, authorization=known("Blocked")).status == "Blocked"


def test_a_rejected_remote_start_is_waited_for_no_more() -> None:
    case = Case.online()
    request_start(case, ALICE, known(source="remote"))
    case.do(ConcludeCall, 1, command_id="r1", status="rejected", reason="Rejected")
    assert case.start(received=5, authorization=known("Invalid", "unknown")).status == "Invalid"


def request_start(case: Case, tag: TagRef, authorization: object, **payload: object) -> None:
    case.do(
        RequestCall,
        command_id="r1",
        intent=intent("RemoteStartTransaction", {"idTag": "s1.k.text", **payload}),
        expires_at=after(30),
        id_tag=tag,
        authorization=authorization,
    )


def test_meter_values_are_taken_and_told_at_once_then_every_thirty_seconds() -> None:
    case = Case.online()
    case.start()
    for second, wh in ((10, 1100), (20, 1200), (39, 1300), (40, 1400), (50, 1500)):
        case.meter(second, wh, transaction_id=1)
    told = [event.relay for event in case.all(MeterValuesRecorded)]
    assert told == [
        (sample(10, 1100),),
        (),
        (),
        (sample(20, 1200), sample(39, 1300), sample(40, 1400)),
        (),
    ]
    assert case.state.open[1].pending == [sample(50, 1500)]


def test_how_often_a_session_is_told_is_in_the_command() -> None:
    case = Case.online()
    case.start()
    case.meter(10, 1100, relay_every=5)
    (event,) = case.meter(15, 1200, relay_every=5)
    assert isinstance(event, MeterValuesRecorded)
    assert event.relay == (sample(15, 1200),)


def test_the_wire_is_kept_as_it_came_MV_2() -> None:
    case = Case.online()
    wire = b'[{"timestamp":"2026-03-01T12:00:00Z","sampledValue":[{"value":"odd"}]}]'
    case.meter(1, values=msgspec.Raw(wire), flags=("not a number",))
    event = case.last(MeterValuesRecorded)
    assert (bytes(event.values), event.flags) == (wire, ("not a number",))


def test_values_without_a_transaction_id_belong_to_their_connector_by_time_MV_3() -> None:
    case = Case.online()
    id = case.start(timestamp=after(0)).session_id
    case.meter(10, 1100)
    event = case.last(MeterValuesRecorded)
    assert (event.transaction_id, event.session_id, event.flags) == (1, id, (Flag.WITHOUT_TRANSACTION_ID,))
    case.meter(20, 900, timestamp=after(-60))
    assert case.last(MeterValuesRecorded).session_id == ""
    case.meter(30, 99_000, connector_id=0)
    assert (case.last(MeterValuesRecorded).session_id, case.last(MeterValuesRecorded).flags) == ("", ())


@pytest.mark.parametrize(
    ("number", "flag"),
    [(-1, Flag.ORPHAN), (99, Flag.UNKNOWN_TRANSACTION)],
)
def test_values_of_an_unknown_transaction_touch_no_other_START_5(number: int, flag: Flag) -> None:
    case = Case.online()
    case.start()
    case.meter(10, 1100, transaction_id=number)
    event = case.last(MeterValuesRecorded)
    assert (event.session_id, event.relay, event.flags) == ("", (), (flag,))
    assert case.state.open[1].relayed_at is None


def test_values_that_come_after_the_stop_are_kept_and_flagged() -> None:
    case = Case.online()
    id = case.start().session_id
    case.stop(1, received=60)
    case.meter(70, 5000, transaction_id=1)
    event = case.last(MeterValuesRecorded)
    assert (event.session_id, event.relay, event.flags) == (id, (), (Flag.ENDED_TRANSACTION,))


def test_values_from_another_connector_are_flagged() -> None:
    case = Case.online()
    case.start()
    case.meter(10, 1100, transaction_id=1, connector_id=2)
    assert case.last(MeterValuesRecorded).flags == (Flag.OTHER_CONNECTOR,)


def test_a_clock_ahead_is_noted_at_once_and_travels_with_the_transaction() -> None:
    case = Case.online()
    case.start(received=0, timestamp=after(3600))
    case.stop(1, received=60, timestamp=after(3660))
    assert [event.seconds for event in case.all(ClockOffsetNoted)] == [3600]
    assert case.last(TransactionStarted).clock_offset_s == 3600
    assert case.last(TransactionStopped).clock_offset_s == 3600


def test_an_offline_queue_is_not_taken_for_a_slow_clock() -> None:
    case = Case.online()
    case.start(received=7200, timestamp=after(0))
    for i in range(5):
        case.meter(7200 + i, 1000 + i, transaction_id=1, timestamp=after(i * 600))
    case.stop(1, received=7210, timestamp=after(3600))
    assert not case.all(ClockOffsetNoted)


def test_a_slow_clock_is_noted_once_live_messages_agree_for_half_a_minute() -> None:
    case = Case.online()
    for second in (0, 10, 20, 31, 60):
        case.status(second, "Available", timestamp=after(second - 3600))
    assert [event.seconds for event in case.all(ClockOffsetNoted)] == [-3600]


def test_a_clock_that_was_set_right_is_noted() -> None:
    case = Case.online()
    case.status(0, "Available", timestamp=after(3600))
    for second in (60, 80, 95):
        case.status(second, "Available", timestamp=after(second))
    assert [event.seconds for event in case.all(ClockOffsetNoted)] == [3600, 0]


@pytest.mark.parametrize("year", [1, 1970, 9999])
def test_a_clock_far_off_breaks_nothing(year: int) -> None:
    case = Case.online()
    odd = after(0).replace(year=year)
    case.status(1, "Charging", timestamp=after(300))
    case.status(2, "Charging", timestamp=odd)
    assert case.start(received=3, timestamp=odd).status == "Accepted"
    case.meter(4, 1100, transaction_id=1, timestamp=odd)
    case.stop(1, received=5, timestamp=odd)
    assert case.last(TransactionStopped).occurred_at == odd
    case.status(6, "Available")
    assert case.state.connectors[1].status == "Available"
    assert case.start(received=7, meter_start=5000).transaction_id == 2


def test_idempotence_keys_are_kept_seven_days_and_bounded_START_6() -> None:
    case = Case.online()
    case.start(timestamp=after(0))
    case.stop(1, received=60)
    case.start(received=8 * DAY, id_tag=BOB, meter_start=5000)
    case.stop(2, received=8 * DAY + 60, meter_stop=5001)
    assert [one.transaction_id for one in case.state.starts.values()] == [2]
    assert set(case.state.ended) == {2}


def test_the_keys_of_a_charge_point_gone_mad_stay_bounded() -> None:
    case = Case.online()
    case._check_fold = lambda: None  # type: ignore[method-assign]
    for i in range(KEEP_MOST + 50):
        number = case.start(received=i, meter_start=i).transaction_id
        case.stop(number, received=i + 0.5, meter_stop=i)
        case.stop(-1, received=i + 0.5, meter_stop=i)
    assert len(case.state.starts) <= KEEP_MOST + 1
    assert len(case.state.ended) <= KEEP_MOST + 1
    assert len(case.state.orphans) <= ORPHANS_MOST + 1


def story() -> list[StartTransaction | StopTransaction]:
    """Three transactions, one of them superseded, an orphan, as their charge point sends them."""

    def stop(number: int, seconds: float, wh: int, **more: Any) -> StopTransaction:
        values = {"transaction_id": number, "timestamp": after(seconds), "meter_stop": wh, **more}
        return StopTransaction(tenant=TENANT, charge_point_id=CP, **values)

    return [
        start_command(),
        start_command(connector_id=2, id_tag=BOB, timestamp=after(5)),
        stop(1, 60, 2000, id_tag=ALICE, authorization=known()),
        start_command(connector_id=2, id_tag=CAROL, timestamp=after(90), meter_start=1500),
        stop(2, 80, 1500),
        stop(-1, 100, 7000),
        stop(3, 120, 3000, reason="Remote"),
    ]


@settings(max_examples=tried(60), deadline=None)
@given(st.lists(st.integers(0, 6), max_size=12), st.integers(0, 2**32))
def test_any_interleaving_of_repeats_changes_nothing(repeats: list[int], seed: int) -> None:
    plain = Case.online()
    replies = []
    for i, command in enumerate(story()):
        plain.decide(command, i * 30)
        replies.append(plain.reply)

    draw = random.Random(seed)
    mixed = Case.online()
    waiting = list(repeats)
    for i, command in enumerate(story()):
        mixed.decide(command, i * 30)
        assert mixed.reply == replies[i]
        for repeat in [one for one in waiting if one <= i and draw.random() < 0.7]:
            waiting.remove(repeat)
            mixed.decide(story()[repeat], i * 30 + draw.randrange(29))
            assert mixed.reply == replies[repeat]
    assert mixed.log == plain.log


def test_time_goes_on_within_the_aggregate_although_receipts_run_back() -> None:
    case = Case.online()
    case.start(received=100)
    case.stop(1, received=90, timestamp=after(95))
    assert case.last(TransactionStopped).timestamp == after(100)
    assert all(a.timestamp <= b.timestamp for a, b in zip(case.log, case.log[1:], strict=False))
    assert timedelta(0) == case.log[-1].timestamp - case.log[-2].timestamp


@pytest.mark.parametrize(
    ("configured", "until"), [("", 150), ("60", 90), ("0", 150), ("soon", 150), ("99999", 3630)]
)
@pytest.mark.parametrize(("early", "status"), [(1, "Accepted"), (0, "Invalid")])
def test_a_remote_start_waits_for_the_vehicle_as_long_as_the_charge_point_does(
    configured: str, until: int, early: int, status: str
) -> None:
    case = Case.online()
    if configured:
        payload = {"key": "ConnectionTimeOut", "value": configured}
        action = "ChangeConfiguration"
        case.do(RequestCall, command_id="c", intent=intent(action, payload), expires_at=after(30))
        taught = learned(action, {"status": "Accepted"}, payload)
        case.do(ConcludeCall, command_id="c", status="accepted", learned=taught)
    request_start(case, ALICE, known(source="remote"))
    case.do(ConcludeCall, 1, command_id="r1", status="accepted", reason="Accepted")
    assert case.last(CallRequested).remote_start_until == after(until)
    reply = case.start(received=until - early, authorization=known("Invalid", "unknown"))
    assert (reply.status, bool(case.last(TransactionStarted).remote_command_id)) == (status, bool(early))


@pytest.mark.parametrize("reason", ["disconnected", "replaced"])
def test_a_remote_start_on_a_connection_that_broke_may_have_come_through(reason: str) -> None:
    case = Case.online()
    request_start(case, ALICE, known(source="remote"))
    case.do(ConcludeCall, 1, command_id="r1", status="failed", reason=reason)
    assert case.start(received=5, authorization=known("Invalid", "unknown")).status == "Accepted"


def test_a_told_call_that_is_said_again_has_no_effect_on_this_connection_nor_those_before() -> None:
    """Its append had an unknown outcome: whoever told it tells it again under its number, and what was under way may
    come into the log when the charge point has come back more than once."""
    case = Case.online()
    case.start()

    def say(epoch: int, number: int, received: float) -> int:
        call = CallNumber(epoch=epoch, number=number)
        status = case.status(received, "Charging", call=call)
        reading = case.meter(received + 1, 1100, transaction_id=1, call=call_after(call))
        return len(status) + len(reading)

    assert say(2, 4, 10) == 2
    assert say(2, 4, 20) == 0
    assert say(9, 1, 30) == 2
    assert say(9, 1, 40) == say(2, 4, 50) == 0
    assert say(9, 3, 60) == 2
    for epoch in range(20, 20 + CONNECTIONS_MOST - 2):
        assert say(epoch, 1, 70 + epoch) == 2
    assert say(2, 4, 200) == say(9, 1, 210) == 0


def call_after(call: CallNumber) -> CallNumber:
    return CallNumber(epoch=call.epoch, number=call.number + 1)
