"""A stop of up to the frame limit (1 MiB) can always be decided, and so can what follows from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.base import Command, Meta
from commands.charge_point import RecordMeterValues, StartTransaction, StopTransaction
from commands.charge_point.sizes import SAMPLES_MOST, TOLD_MOST, VALUE_TOLD, fitting, thinned_readings
from commands.processes import charging_session
from commands.session import ROUTES as SESSION_ROUTES
from domain.aggregate import Event
from domain.charge_point import Flag, MeterValuesRecorded, TransactionStopped
from domain.session import Session
from domain.thinning import thinned
from domain.values import RegisterSample, TagRef
from projections.public import cloud_event
from streams.deciding.partition import MAX_DECISION_BYTES
from tests.commands.charge_point_case import CP, SETTINGS, TENANT, Case, after, known
from tests.laws import tried

FRAME = 1 << 20
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def moment(second: float, *values: dict[str, Any]) -> dict[str, Any]:
    at = (NOON + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
    return {"timestamp": at, "sampledValue": list(values)}


def of_size(size: int, *values: dict[str, Any]) -> list[dict[str, Any]]:
    """Moments with these values, as many as make that many bytes."""
    one = len(msgspec.json.encode(moment(0.5, *values))) + 1
    return [moment(i + 0.5, *values) for i in range(size // one)]


SHORT = {"value": "1"}
LONG = {"value": "f" * 300_000, "format": "SignedData"}
BODIES = {
    "many moments of short values": of_size(FRAME - 500, SHORT),
    "six values a moment": of_size(
        FRAME - 500, *[{"value": "12.5", "measurand": "Voltage", "phase": "L1"}] * 6
    ),
    "one moment of everything": [moment(1, *[SHORT] * ((FRAME - 500) // 14))],
    "signed values": [moment(i, LONG) for i in range(3)],
    "one signed value": [moment(1, {"value": "f" * (FRAME - 500)})],
}


def samples(count: int) -> tuple[RegisterSample, ...]:
    return tuple(
        RegisterSample(
            at=NOON + timedelta(seconds=i + 0.123456),
            energy_wh=Decimal("123456789.125") + i,
            power_w=Decimal("11000.525"),
            current_a=Decimal("47.855"),
            soc_percent=Decimal("55.55"),
        )
        for i in range(count)
    )


def stop(data: object, **values: Any) -> StopTransaction:
    values = {"tenant": TENANT, "charge_point_id": CP, "transaction_id": 1, "meter_stop": 5000, **values}
    return StopTransaction(timestamp=after(30_000), data=msgspec.Raw(msgspec.json.encode(data)), **values)


def size(value: object) -> int:
    return len(msgspec.json.encode(value))


def session_sizes(case: Case) -> list[int]:
    """Of every command and every decision of the sessions that follow."""
    found: list[int] = []
    sessions: dict[str, Session] = {}
    for event in case.log:
        policy = charging_session.POLICIES.get(type(event))
        meta = Meta(command_id="c", at=event.timestamp, tenant=TENANT)
        commands: list[Command] = list(policy(event, meta)) if policy else []
        for command in commands:
            session = sessions.setdefault(command.aggregate_id, Session.blank(command.aggregate_id))
            SESSION_ROUTES[type(command)].handler(session, command, meta)
            found += [size(command), size(list[Any](session.collect_events()))]
    return found


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_stop_of_a_whole_frame_is_decided_and_all_that_follows_fits_the_log(body: list[Any]) -> None:
    case = Case.online()
    case.start()
    for second in (1, 2):
        case.meter(second, samples=samples(499), transaction_id=1)
    command = fitting(stop(body, samples=samples(12_000), flags=("x" * 1000,) * 100))
    assert size(command) < MAX_DECISION_BYTES
    events: list[Event] = list(case.decide(command, 30_000))
    assert size(events) < MAX_DECISION_BYTES
    assert not case.state.open
    assert max(session_sizes(case)) < MAX_DECISION_BYTES
    public = cloud_event(case.last(TransactionStopped), Meta(command_id="c", at=NOON, tenant=TENANT))
    assert public is None or len(public.data) < MAX_DECISION_BYTES


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_meter_values_of_a_whole_frame_are_decided_too(body: list[Any]) -> None:
    case = Case.online()
    case.start()
    command = RecordMeterValues(
        tenant=TENANT,
        charge_point_id=CP,
        connector_id=1,
        transaction_id=1,
        values=msgspec.Raw(msgspec.json.encode(body)),
        samples=samples(12_000),
        timestamp=after(30_000),
    )
    events = list(case.decide(fitting(command), 30_000))
    assert size(events) < MAX_DECISION_BYTES
    assert max(session_sizes(case)) < MAX_DECISION_BYTES
    assert {Flag.DATA_THINNED, Flag.SAMPLES_THINNED} <= set(case.last(MeterValuesRecorded).flags)


def test_what_is_left_out_is_said_and_the_same_message_becomes_the_same_command() -> None:
    command = stop(BODIES["six values a moment"], samples=samples(12_000))
    less = fitting(command)
    assert less.flags == (Flag.SAMPLES_THINNED, Flag.DATA_THINNED)
    assert fitting(command) == less == fitting(less)
    assert (less.meter_stop, less.timestamp, less.transaction_id) == (5000, after(30_000), 1)


def test_registers_keep_their_first_and_last_and_spread_evenly() -> None:
    kept = fitting(stop([], samples=tuple(reversed(samples(5000))))).samples
    assert len(kept) == SAMPLES_MOST
    assert (kept[0], kept[-1]) == (samples(5000)[0], samples(5000)[-1])
    gaps = {(b.at - a.at).total_seconds() for a, b in pairwise(kept)}
    assert gaps == {5.0, 6.0}


def test_readings_keep_their_first_and_last_moment() -> None:
    body = BODIES["many moments of short values"]
    kept = msgspec.json.decode(fitting(stop(body)).data)
    assert (kept[0], kept[-1]) == (body[0], body[-1])
    assert 0.85 * TOLD_MOST / (VALUE_TOLD + 80) < len(kept) < len(body)


def test_an_ordinary_message_stays_as_it_is() -> None:
    """Eight hours, a moment a minute, six measurands."""
    value = {
        "value": "230.1",
        "context": "Sample.Periodic",
        "measurand": "Voltage",
        "unit": "V",
        "phase": "L1",
    }
    command = stop([moment(60 * i, *[value] * 6) for i in range(480)], samples=samples(480), flags=("late",))
    assert fitting(command) is command


def test_texts_far_longer_than_ocpp_allows_are_cut() -> None:
    tag = TagRef(key="k", sealed="s1.k." + "x" * FRAME)
    command = fitting(stop(None, reason="r" * FRAME, id_tag=tag))
    assert (command.reason, command.id_tag) == ("r" * 200, TagRef(key="k"))
    assert command.flags == (Flag.TEXT_CUT, Flag.TEXT_CUT)
    start = StartTransaction(
        tenant=TENANT,
        charge_point_id=CP,
        connector_id=1,
        id_tag=tag,
        meter_start=1,
        timestamp=NOON,
        authorization=known(),
        settings=SETTINGS,
    )
    assert size(fitting(start)) < 2000


@settings(max_examples=tried(50), deadline=None)
@given(st.lists(st.integers(), max_size=300), st.integers(0, 50))
def test_a_thinned_series_is_part_of_the_whole_in_its_order(series: list[int], most: int) -> None:
    short = list(thinned(series, most))
    assert len(short) == min(len(series), most)
    places = iter(range(len(series)))
    assert all(any(series[place] == one for place in places) for one in short)
    if most > 1 and series:
        assert (short[0], short[-1]) == (series[0], series[-1])


@pytest.mark.parametrize("odd", [b"[1,2,3]", b'[{"sampledValue":7}]', b"null", b"[]"])
def test_readings_of_another_form_pass(odd: bytes) -> None:
    wide = odd[:-1] + b" " * 70_000 + odd[-1:] if odd.startswith(b"[") else odd
    assert bytes(thinned_readings(msgspec.Raw(wide))) == wide
