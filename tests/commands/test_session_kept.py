"""Long charges: the state of a session is bounded, a relay costs the same however long it is, and the end's price is
that of the whole series, or its CDR says that it may not be."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from types import FrameType
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.base import Command, Meta
from commands.session import ROUTES, EndSession, RecordConnector, RecordUsage
from domain import kept
from domain.aggregate import EventRegistry
from domain.pricing import Usage, to_json
from domain.pricing.curve import Curve
from domain.session import AGGREGATE_EVENTS, End, Session, UsageRecorded
from domain.values import RegisterSample, plain_json
from tests.commands.test_session import T0, cdr, run, start_command
from tests.domain.pricing.strategies import DAY_STARTS, tariffs
from tests.laws import tried

METER_START = 1000
DIFFERS, SAME = "the price may differ from that of all", "the price is that of all"
STATUSES = ("Charging", "SuspendedEV", "SuspendedEVSE", "Finishing")
OFFSETS = (0, 0, 0, 45, 3600, -7200)


class Charge(msgspec.Struct, frozen=True):
    """What a charge point would say of one charge, in the order of time."""

    start: datetime
    end: End
    samples: tuple[RegisterSample, ...]
    changes: tuple[RecordConnector, ...]
    tariffs: tuple[Any, ...]

    def begun(self, offset_s: int = 0) -> Command:
        return start_command(
            start=self.start, meter_start=METER_START, tariffs=self.tariffs, clock_offset_s=offset_s
        )

    def ended(self, samples: Sequence[RegisterSample] = ()) -> Command:
        return EndSession(session_id="s1", end=self.end, samples=tuple(samples))


def relay(samples: Sequence[RegisterSample], offset_s: int = 0) -> RecordUsage:
    return RecordUsage(session_id="s1", samples=tuple(samples), clock_offset_s=offset_s)


def of_the_whole_series(charge: Charge) -> dict[str, Any]:
    """The CDR of all samples in one go, none of them left out."""
    with patch.object(kept, "READINGS_MOST", 10**9):
        _, events = run(charge.begun(), *charge.changes, charge.ended(charge.samples))
    return cdr(events)


@st.composite
def charges(draw: st.DrawFn, *, falls: bool = True, most: int = 40) -> Charge:
    start = draw(st.sampled_from(DAY_STARTS)) + timedelta(seconds=draw(st.integers(0, 86_400)))
    count = draw(st.integers(1, most))
    step = draw(st.sampled_from([30, 60, 600, 1800]))
    register, at = METER_START, start
    samples: list[RegisterSample] = []
    measured = draw(st.booleans())
    power, current = Decimal(11_000), Decimal(16)
    for _ in range(count):
        at += timedelta(milliseconds=draw(st.just(1000 * step) | st.integers(1, 2_000 * step)))
        kind = draw(st.integers(0, 30))
        if falls and kind == 0:
            register = draw(st.integers(0, register))
        elif falls and kind == 1:
            register += 200_000
        else:
            register += draw(st.just(300) | st.integers(0, 3000) | st.just(0))
        if kind > 27:
            power = draw(st.sampled_from([Decimal(0), Decimal(7000), Decimal(8000), Decimal(24_000)]))
            current = draw(st.sampled_from([Decimal(0), Decimal(8), Decimal(16), Decimal(40)]))
        samples.append(
            RegisterSample(
                at=at,
                energy_wh=Decimal(register),
                power_w=power if measured else None,
                current_a=current if measured else None,
            )
        )
        if falls and kind == 1 and draw(st.booleans()):
            register -= 200_000
    length = int((at - start).total_seconds()) + 1
    changes = [
        RecordConnector(
            session_id="s1", at=start + timedelta(seconds=second), status=draw(st.sampled_from(STATUSES))
        )
        for second in sorted(draw(st.sets(st.integers(0, length), max_size=4)))
    ]
    stop = draw(st.none() | st.just(register) | st.integers(0, 2000).map(lambda more: register + more))
    end = End(
        at=at + timedelta(seconds=draw(st.integers(-600, 600) | st.just(0))),
        meter_stop=stop,
        clock_offset_s=draw(st.sampled_from(OFFSETS)),
    )
    priced = draw(st.lists(tariffs(reservation=False), min_size=1, max_size=2))
    found = [{**plain_json(to_json(tariff)), "id": f"T{i}"} for i, tariff in enumerate(priced)]
    return Charge(start, end, tuple(samples), tuple(changes), tuple(found))


def told(body: dict[str, Any]) -> dict[str, Any]:
    """What a CDR charges: its periods without the lowest and highest readings, which may have been left out."""
    periods = [
        {
            "start": period["start_date_time"],
            "volumes": [d for d in period["dimensions"] if not d["type"].startswith(("MIN_", "MAX_"))],
        }
        for period in body["charging_periods"]
    ]
    totals = {name: value for name, value in body.items() if name.startswith("total_")}
    return {"periods": periods, **totals}


def cut(draw: Any, samples: Sequence[RegisterSample]) -> list[tuple[RegisterSample, ...]]:
    """The samples in relays of one to six."""
    relays: list[tuple[RegisterSample, ...]] = []
    rest = tuple(samples)
    while rest:
        count = draw(st.integers(1, 6))
        relays.append(rest[:count])
        rest = rest[count:]
    return relays


def as_it_comes(charge: Charge, relays: Sequence[Sequence[RegisterSample]], offset_s: int) -> list[Command]:
    """All that is said before the end, in the order of time."""
    said: list[Command] = [charge.begun(offset_s)]
    changes = list(charge.changes)
    for samples in relays:
        while changes and changes[0].at <= samples[-1].at:
            said.append(changes.pop(0))
        said.append(relay(samples, offset_s))
    return said + list(changes)


@st.composite
def stories(draw: st.DrawFn) -> tuple[Charge, list[Command], int]:
    """A charge, what is said of it before its end, and how many readings are kept of it: as it comes but for a few
    things that are late or said twice; or in any order, by a clock that is set again and again."""
    charge = draw(charges())
    said = as_it_comes(charge, cut(draw, charge.samples), charge.end.clock_offset_s)
    said += draw(st.lists(st.sampled_from(said), max_size=3))
    if draw(st.booleans()):
        for _ in range(draw(st.integers(0, 2))):
            late = said.pop(draw(st.integers(0, len(said) - 1)))
            said.insert(draw(st.integers(0, len(said))), late)
    else:
        said = [
            msgspec.structs.replace(one, clock_offset_s=draw(st.sampled_from(OFFSETS)))
            for one in draw(st.permutations(said))
        ]
    return charge, said, draw(st.sampled_from([8, 16, 100]))


SLOW = settings(deadline=None, max_examples=tried(80), suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(stories())
def test_in_any_order_with_repeats_lateness_and_a_wrong_clock_the_end_is_the_price_of_the_whole_series_or_says_so(
    story: tuple[Charge, list[Command], int],
) -> None:
    charge, said, most = story
    with patch.object(kept, "READINGS_MOST", most):
        _, events = run(*said, charge.ended())
    body = cdr(events)
    if DIFFERS in body.get("remark", ""):
        assert len(charge.samples) > most
    else:
        assert told(body) == told(of_the_whole_series(charge))


@SLOW
@given(charges(), st.data())
def test_as_samples_come_each_relay_tells_the_price_of_the_series_until_then(
    charge: Charge, data: st.DataObject
) -> None:
    """Told in the order of time: provisional is what the whole series would cost if it ended at its newest sample."""
    off = charge.end.clock_offset_s
    said = as_it_comes(charge, cut(data.draw, charge.samples), off)
    _, events = run(*said)
    count = 0
    for event in events:
        if not isinstance(event, UsageRecorded):
            continue
        count += len(event.samples)
        newest = charge.samples[count - 1].at
        until = msgspec.structs.replace(
            charge,
            samples=charge.samples[:count],
            changes=tuple(change for change in charge.changes if change.at <= newest),
            end=End(at=newest, clock_offset_s=off),
        )
        whole = of_the_whole_series(until)
        assert event.total_cost == whole["total_cost"]
        assert event.energy_wh / 1000 == Decimal(str(whole["total_energy"]))


EVERY = timedelta(seconds=30)
DAY = 2880
"""Readings in 24 hours, one every 30 s."""

ENERGY = {"type": "ENERGY", "vat": 20, "step_size": 1}
HOUR = {"type": "TIME", "vat": 20, "step_size": 60}
PARKED = {"type": "PARKING_TIME", "vat": 20, "step_size": 300, "price": 2}


def tariff_of(*elements: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "DMO",
        "id": "T1",
        "currency": "EUR",
        "tax_included": "NO",
        "elements": list(elements),
        "last_updated": "2024-01-01T00:00:00Z",
        **changes,
    }


def restricted(price: float, **restrictions: Any) -> dict[str, Any]:
    """An element with energy, time and parking; the last one of a tariff has no restrictions."""
    components = [{**ENERGY, "price": price}, {**HOUR, "price": price}, PARKED]
    found: dict[str, Any] = {"price_components": components}
    return {**found, "restrictions": restrictions} if restrictions else found


DAYS: dict[str, dict[str, Any]] = {
    "one price": tariff_of(restricted(0.3)),
    "by day and night": tariff_of(restricted(0.5, start_time="06:10", end_time="22:00"), restricted(0.3)),
    "by the day of the week": tariff_of(restricted(0.5, day_of_week=["SATURDAY"]), restricted(0.3)),
    "by energy": tariff_of(restricted(0.5, max_kwh=33.333), restricted(0.3, max_kwh=66), restricted(0.2)),
    "by duration": tariff_of(restricted(0.5, max_duration=3601), restricted(0.3)),
    "by power": tariff_of(restricted(0.5, min_power=8), restricted(0.3)),
    "by current": tariff_of(restricted(0.5, min_current=20), restricted(0.3)),
    "within limits": tariff_of(
        restricted(0.3), min_price={"before_taxes": 1}, max_price={"before_taxes": 20, "after_taxes": 24}
    ),
}


def day(tariff: dict[str, Any], resets: bool = False) -> Charge:
    """24 hours in which the vehicle takes 11 kW, 4 kW from the 7th hour on, and nothing from the 13th to the 20th."""
    start = DAY_STARTS[1]
    register, samples = Decimal(METER_START), []
    for number in range(1, DAY + 1):
        hour = number // 120
        watts = Decimal(11_000 if hour < 7 else 0 if 13 <= hour < 20 else 4_000)
        register += (watts / 120).quantize(Decimal("0.1")) + number % 3
        if resets and number == 1234:
            register = Decimal(0)
        at = start + number * EVERY
        samples.append(
            RegisterSample(
                at=at, energy_wh=register, power_w=watts, current_a=(watts / 230).quantize(Decimal(1))
            )
        )
    parking = ((13 * 3600 + 7, "SuspendedEV"), (20 * 3600 + 11, "Charging"))
    changes = tuple(
        RecordConnector(session_id="s1", at=start + timedelta(seconds=second), status=status)
        for second, status in parking
    )
    end = End(at=samples[-1].at + timedelta(seconds=5), meter_stop=int(register) + 1)
    return Charge(start, end, tuple(samples), changes, (tariff,))


def in_relays(charge: Charge, count: int) -> list[Command]:
    cuts = [charge.samples[i : i + count] for i in range(0, len(charge.samples), count)]
    return as_it_comes(charge, cuts, 0)


@pytest.mark.long(2)
@pytest.mark.parametrize("name", DAYS)
def test_a_day_of_readings_is_priced_as_all_of_them_by_at_most_a_thousand(name: str) -> None:
    charge = day(DAYS[name])
    session, events = run(*in_relays(charge, 10))
    assert len(session.state.samples) == 1000
    _, ended = run(*in_relays(charge, 10), charge.ended())
    body = cdr(ended)
    assert body["remark"].startswith(f"thinned: 1000 of 2880 readings were kept, {SAME}")
    assert told(body) == told(of_the_whole_series(charge))
    assert max(len(msgspec.json.encode(event)) for event in events) < 6_000
    assert len(msgspec.json.encode(session.state)) < 80_000


@pytest.mark.long(2)
def test_a_day_with_a_register_that_began_anew_is_priced_as_all_of_it() -> None:
    charge = day(DAYS["by day and night"], resets=True)
    _, events = run(*in_relays(charge, 10), charge.ended())
    body = cdr(events)
    assert SAME in body["remark"]
    assert told(body) == told(of_the_whole_series(charge))


def test_a_clock_corrected_after_a_day_is_said_where_readings_next_to_a_border_were_left_out() -> None:
    charge = day(DAYS["by day and night"])
    late = msgspec.structs.replace(charge, end=msgspec.structs.replace(charge.end, clock_offset_s=3600))
    _, events = run(*in_relays(charge, 10), late.ended())
    assert DIFFERS in cdr(events)["remark"]


def test_a_change_of_status_that_comes_a_day_late_is_said() -> None:
    charge = day(DAYS["one price"])
    late = RecordConnector(
        session_id="s1", at=charge.start + timedelta(hours=2, seconds=10), status="Finishing"
    )
    _, events = run(*in_relays(charge, 10), late, charge.ended())
    assert DIFFERS in cdr(events)["remark"]


def calls_of(session: Session, command: Command) -> int:
    """How many functions of Python a decision calls."""
    count = 0

    def counted(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        ROUTES[type(command)].handler(session, command, Meta(command_id="x", at=T0))
    finally:
        sys.setprofile(before)
    session.collect_events()
    return count


@pytest.mark.long(2)
@pytest.mark.parametrize("name", ["by day and night", "by power", "by energy"])
def test_the_work_of_a_relay_does_not_depend_on_the_length_of_the_charge(name: str) -> None:
    """The most that one of 20 relays does after half an hour, and after a day in which readings are left out."""
    charge = day(DAYS[name])

    def work_of(last: int) -> int:
        """The most that one of the 20 relays until then does."""
        before = msgspec.structs.replace(charge, samples=charge.samples[: last - 20])
        session, _ = run(*in_relays(before, 10))
        return max(calls_of(session, relay([sample])) for sample in charge.samples[last - 20 : last])

    assert work_of(DAY) < 2 * work_of(60)


def test_a_relay_looks_at_no_reading_but_what_is_new_and_the_last_one() -> None:
    charge = day(DAYS["one price"])
    session, _ = run(*in_relays(msgspec.structs.replace(charge, samples=charge.samples[:100]), 10))
    seen: list[int] = []
    whole = Curve._read

    def counted(self: Curve, usage: Usage) -> Any:
        seen.append(len(usage.samples))
        return whole(self, usage)

    with patch.object(Curve, "_read", counted):
        command = relay(charge.samples[100:103])
        ROUTES[type(command)].handler(session, command, Meta(command_id="x", at=T0))
    assert seen == [4]


@pytest.mark.long(2)
def test_readings_and_changes_of_a_charge_point_gone_mad_are_bounded() -> None:
    """Each reading enters another band of power, each second has another status; it is priced all the same."""
    start = DAY_STARTS[1]
    samples = [
        RegisterSample(
            at=start + number * EVERY,
            energy_wh=Decimal(METER_START + 10 * number),
            power_w=Decimal(11_000 if number % 2 else 1_000),
        )
        for number in range(1, 1101)
    ]
    changes = [
        RecordConnector(
            session_id="s1",
            at=start + timedelta(seconds=second),
            status="SuspendedEV" if second % 2 else "Charging",
        )
        for second in range(1, 600)
    ]
    charge = Charge(
        start, End(at=samples[-1].at, meter_stop=12_000), tuple(samples), tuple(changes), (DAYS["by power"],)
    )
    said = as_it_comes(charge, [samples[i : i + 50] for i in range(0, 1100, 50)], 0)
    session, _ = run(*said)
    assert 400 < len(session.state.samples) <= 1000
    assert len(session.state.states) <= 500
    _, events = run(*said, charge.ended())
    body = cdr(events)
    assert DIFFERS in body["remark"]
    assert body["total_energy"] == 11


def test_usage_that_comes_before_the_start_is_bounded_too() -> None:
    charge = day(DAYS["one price"])
    early = [relay(charge.samples[i : i + 100]) for i in range(0, DAY, 100)]
    session, _ = run(*early)
    assert len(session.state.samples) == 1000
    _, events = run(*early, charge.begun(), charge.ended())
    assert DIFFERS in cdr(events)["remark"]
    assert cdr(events)["total_energy"] == of_the_whole_series(charge)["total_energy"]


def test_a_thinned_session_is_the_same_after_a_fold_of_its_events() -> None:
    charge = day(DAYS["by power"])
    session, events = run(*in_relays(charge, 50))
    registry = EventRegistry({Session: AGGREGATE_EVENTS})
    again = Session.blank("session|s1")
    for event in events:
        registry.decode(msgspec.json.encode(event)).mutate(again)
    assert again.state == session.state


def test_an_invalid_session_keeps_nothing_once_it_has_ended() -> None:
    session, _ = run(start_command("Invalid"), relay(day(DAYS["one price"]).samples[:5]))
    assert len(session.state.samples) == 5
    session, _ = run(
        start_command("Invalid"),
        relay(day(DAYS["one price"]).samples[:5]),
        EndSession(session_id="s1", end=End(at=T0, meter_stop=1000)),
    )
    assert (session.state.samples, session.state.tally, session.state.tariffs) == ([], None, [])
