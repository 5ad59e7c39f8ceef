"""Energy of a session: STOP-5 and MV-4, with registers that reset, run backwards or jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.metering import Energy, RawSample, Reading, normalise, session_energy
from tests.laws import tried

AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def samples(*values: int | str) -> list[Reading]:
    out: list[Reading] = []
    for minute, value in enumerate(values):
        out += normalise([RawSample(value=str(value))], AT + timedelta(minutes=minute))[0]
    return out


def shown(energy: Energy) -> tuple[int, list[tuple[int, int]], list[str]]:
    series = [(int((at - AT).total_seconds()) // 60, int(wh)) for at, wh in energy.series]
    return int(energy.wh), series, [repair.code for repair in energy.repairs]


def test_a_clean_session_is_meter_stop_minus_meter_start_stop_5() -> None:
    energy = session_energy(1000, samples(1000, 1500, 2000), 2200)
    assert shown(energy) == (1200, [(0, 0), (1, 500), (2, 1000)], [])


def test_a_running_session_has_the_energy_of_its_last_reading() -> None:
    assert shown(session_energy(1000, samples(1200, 1900), None)) == (900, [(0, 200), (1, 900)], [])
    assert shown(session_energy(1000, [], None)) == (0, [], [])


def test_readings_in_another_order_and_other_measurands_change_nothing() -> None:
    soc = normalise([RawSample(value="50", measurand="SoC")], AT)[0]
    given_ = [*reversed(samples(1100, 1500)), *soc]
    assert session_energy(1000, given_, 1600) == session_energy(1000, samples(1100, 1500), 1600)


def test_fractions_stay_exact() -> None:
    assert session_energy(Decimal("0.1"), samples("0.3"), None).wh == Decimal("0.2")


@pytest.mark.parametrize(
    ("start", "values", "stop", "expected"),
    [
        # A low reading that the register comes back from.
        (1000, (1500, 3, 1600), 1700, (700, [(0, 500), (2, 600)], ["register_backwards"])),
        (1000, (1500, 0, 0, 1600), None, (600, [(0, 500), (3, 600)], ["register_backwards"] * 2)),
        (1000, (1500, 2000, 0), 2100, (1100, [(0, 500), (1, 1000)], ["register_backwards"])),
        # A single high reading that its neighbours contradict.
        (100, (200, 999999, 210), 230, (130, [(0, 100), (2, 110)], ["register_spike"])),
        (100, (999999, 200), None, (100, [(1, 100)], ["register_spike"])),
        (1000, (1500, 2000), 1900, (900, [(0, 500)], ["register_spike"])),
        # A reset: counted on from the lower register, nothing invented for the gap.
        (
            1000,
            (1500, 2000, 0, 300),
            500,
            (1500, [(0, 500), (1, 1000), (2, 1000), (3, 1300)], ["register_reset"]),
        ),
        (
            0,
            (500, 1000, 0, 300),
            400,
            (1400, [(0, 500), (1, 1000), (2, 1000), (3, 1300)], ["register_reset"]),
        ),
        (
            1000,
            (1400, 10, 20, 5, 8),
            9,
            (414, [(0, 400), (1, 400), (2, 410), (3, 410), (4, 413)], ["register_reset"] * 2),
        ),
        (1000, (0, 400), None, (400, [(0, 0), (1, 400)], ["register_reset"])),
        # Readings that count from the session's start beside an absolute start and stop.
        (10000, (0, 500, 900), 11000, (1000, [(0, 0), (1, 500), (2, 900)], ["register_per_session"])),
        # A stop that contradicts.
        (1000, (), 500, (0, [], ["meter_stop_backwards"])),
        (1000, (1500, 2000), 0, (1000, [(0, 500), (1, 1000)], ["meter_stop_backwards"])),
        (1000, (1500, 1950, 2000), 1900, (900, [(0, 500), (1, 900), (2, 900)], ["meter_stop_below_samples"])),
        (
            1000,
            (1500, 0, 300, 310),
            250,
            (810, [(0, 500), (1, 500), (2, 800), (3, 810)], ["register_reset", "meter_stop_backwards"]),
        ),
        # Where a reset or a spike could be meant, the lower energy is billed.
        (
            1000,
            (1500, 0, 300),
            250,
            (750, [(0, 500), (1, 500)], ["register_spike", "register_reset"]),
        ),
    ],
)
def test_a_register_that_does_not_only_rise_is_repaired_and_said_mv_4(
    start: int,
    values: tuple[int, ...],
    stop: int | None,
    expected: tuple[int, list[tuple[int, int]], list[str]],
) -> None:
    assert shown(session_energy(start, samples(*values), stop)) == expected


def test_a_repair_says_what_where_and_when() -> None:
    repair = session_energy(1000, samples(1500, 3, 1600), 1700).repairs[0]
    assert repair.text == "reading 3 Wh lies below 1500 Wh; left out"
    assert repair.at == AT + timedelta(minutes=1)


REGISTERS = st.lists(st.integers(0, 10_000), max_size=12)


@settings(max_examples=tried(300), deadline=None)
@given(st.integers(0, 10_000), REGISTERS, st.none() | st.integers(0, 10_000))
def test_energy_is_never_negative_and_its_series_never_falls(
    start: int, values: list[int], stop: int | None
) -> None:
    energy = session_energy(start, samples(*values), stop)
    series = [wh for _, wh in energy.series]
    assert series == sorted(series)
    assert all(0 <= wh <= energy.wh for wh in series)
    assert energy.wh >= 0


@settings(max_examples=tried(300), deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=12).map(sorted))
def test_a_rising_register_is_never_repaired(values: list[int]) -> None:
    energy = session_energy(values[0], samples(*values[1:-1]), values[-1])
    assert energy.wh == values[-1] - values[0]
    assert energy.repairs == ()
    assert [wh for _, wh in energy.series] == [v - values[0] for v in values[1:-1]]


@settings(max_examples=tried(300), deadline=None)
@given(st.lists(st.integers(100, 10_000), min_size=3, max_size=12).map(sorted), st.data())
def test_one_wild_reading_never_changes_the_energy_of_a_finished_session(
    values: list[int], data: st.DataObject
) -> None:
    wild = data.draw(st.integers(0, 99) | st.integers(10_001, 10**9))
    place = data.draw(st.integers(1, len(values) - 1))
    inside = [*values[1:place], wild, *values[place:-1]]
    assert session_energy(values[0], samples(*inside), values[-1]).wh == values[-1] - values[0]
