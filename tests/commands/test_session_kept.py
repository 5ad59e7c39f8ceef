"""Long charges: the state of a session is bounded, a relay costs the same however long it is, and the end's price is
that of the whole series, or its CDR says that it may not be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.base import Command
from commands.session import EndSession, RecordConnector, RecordUsage
from domain import kept
from domain.pricing import to_json
from domain.session import End, UsageRecorded
from domain.values import RegisterSample, plain_json
from tests.commands.test_session import cdr, run, start_command
from tests.domain.pricing.strategies import DAY_STARTS, tariffs

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


SLOW = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


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
