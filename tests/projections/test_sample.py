"""Samples: each message with readings is an entry of a block, found by its charge point and by its session."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from domain.aggregate import Event
from domain.charge_point import ChargePointSeen, MeterValuesRecorded, StopUnmatched, TransactionStopped
from projections.blocks import Entry
from projections.sample import BLOCKS, SAMPLES, Sample, by_charge_point, by_session, by_unmatched, samples_of
from tests.projections.test_charge_point import META, START, History

WIRE = [{"timestamp": "2026-05-01T12:00:00Z", "sampledValue": [{"value": "7"}]}]
VALUES = msgspec.Raw(msgspec.json.encode(WIRE))


def entry_of(event: Event) -> Entry:
    [entry] = BLOCKS.entries(event, META, "events.charge_point-3-17")
    return entry


def sample_of(event: Event) -> Sample:
    [sample] = samples_of(f"[{entry_of(event).text}]".encode())
    return sample


def test_each_meter_values_message_is_an_entry_of_its_own() -> None:
    history = History()
    event = history.happens(
        MeterValuesRecorded,
        occurred_at=START,
        connector_id=1,
        transaction_id=4,
        session_id="s",
        values=VALUES,
    )

    entry, sample = entry_of(event), sample_of(event)

    assert (entry.db, entry.list, entry.at, entry.kept_from) == ("ocpp_demo", SAMPLES, START, event.timestamp)
    assert entry.keys == (by_charge_point("CP|1"), by_session("s"))
    assert sample.id == "events.charge_point-3-17-1"
    assert (bytes(sample.values), sample.timestamp) == (bytes(VALUES), "2026-05-01T12:00:00.000Z")
    assert sample.unmatched is False
    assert BLOCKS.entries(history.happens(ChargePointSeen), META, "x") == ()


def test_the_readings_of_a_stop_are_kept_too_and_those_of_a_stop_without_a_transaction() -> None:
    history = History()
    common = {"occurred_at": START, "meter_stop": 7, "key": "k", "data": VALUES}
    stopped = sample_of(
        history.happens(TransactionStopped, **common, transaction_id=4, session_id="s", connector_id=1)
    )
    orphan = sample_of(history.happens(StopUnmatched, **common, transaction_id=-1))

    assert (stopped.session_id, bytes(stopped.values), stopped.unmatched) == ("s", bytes(VALUES), False)
    assert (orphan.session_id, bytes(orphan.values), orphan.unmatched) == (None, bytes(VALUES), True)
    for nothing in (b"null", b"", b"[]"):
        event = history.happens(StopUnmatched, **{**common, "data": msgspec.Raw(nothing)}, transaction_id=-1)
        assert BLOCKS.entries(event, META, "x") == ()


def test_readings_of_an_unknown_transaction_can_be_found_MV_4() -> None:
    history = History()
    for number, unmatched in ((-1, True), (99, True), (0, False)):
        event = history.happens(MeterValuesRecorded, connector_id=1, transaction_id=number, values=VALUES)
        assert sample_of(event).unmatched is unmatched
        assert (by_unmatched("CP|1") in entry_of(event).keys) is unmatched


def test_readings_stand_at_our_time_with_the_charge_points_beside_it() -> None:
    event = History().happens(
        MeterValuesRecorded,
        connector_id=1,
        values=VALUES,
        occurred_at=START + timedelta(hours=1),
        clock_offset_s=3600,
    )
    sample = sample_of(event)
    assert (sample.timestamp, sample.reported_at) == ("2026-05-01T12:00:00.000Z", "2026-05-01T13:00:00.000Z")
