"""The numbers of one moment, in one pass over the samples as sent: MV-1, MV-2, MV-5."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.metering import (
    RawSample,
    Totals,
    current_a,
    energy_register,
    normalise,
    power_w,
    state_of_charge,
    totals,
)
from domain.metering.reading import CONTEXTS, FORMATS, LOCATIONS, MEASURANDS, PHASES, UNITS
from tests.laws import tried

AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
WANTED = ("Energy.Active.Import.Register", "Power.Active.Import", "Current.Import", "SoC")
ODD = ("", " ", "Wh ", "wattage", "l1", "%", "Hertz")


def name_or_none(*names: str) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(names) | st.sampled_from(ODD)


SAMPLE = st.builds(
    RawSample,
    value=st.sampled_from(("0", "1.50", "-3", "1e2", "  7 ", "a lot", "NaN", "1_0", ""))
    | st.decimals(0, 10**9, places=3, allow_nan=False).map(str),
    context=name_or_none(*sorted(CONTEXTS)),
    format=name_or_none(*sorted(FORMATS)),
    measurand=name_or_none(*WANTED, *WANTED, *sorted(MEASURANDS)),
    phase=name_or_none(*sorted(PHASES)),
    location=name_or_none(*sorted(LOCATIONS)),
    unit=name_or_none(*UNITS),
)
EXACT = st.builds(
    RawSample,
    value=st.decimals(0, 10**9, places=3, allow_nan=False).map(str),
    measurand=st.none() | st.sampled_from(WANTED),
    phase=st.none() | st.sampled_from(sorted(PHASES)),
    location=st.none() | st.sampled_from(sorted(LOCATIONS)),
)


@settings(deadline=None, max_examples=tried(300))
@given(st.lists(EXACT, max_size=8) | st.lists(SAMPLE, max_size=5))
@example([RawSample(value="1", location="EV"), RawSample(value="2", phase="N")])
@example([RawSample(value="7", measurand="Power.Active.Import", unit="kVA")])
def test_one_pass_finds_what_the_normalised_readings_say(samples: list[RawSample]) -> None:
    readings, problems = normalise(samples, AT)
    expected = Totals(
        energy_register(readings), power_w(readings), current_a(readings), state_of_charge(readings)
    )
    assert totals(samples, AT) == (expected, problems)


def test_nothing_sent_says_nothing() -> None:
    assert totals((), AT) == (Totals(), ())


def test_phases_are_summed_and_the_outlet_comes_first_MV_2() -> None:
    samples = [
        RawSample(value="9000", location="Inlet"),
        *(RawSample(value=value, unit="kWh", phase=phase) for value, phase in (("1", "L1"), ("2", "L2-N"))),
        RawSample(value="16", measurand="Current.Import", phase="N"),
        RawSample(value="54", measurand="SoC", location="EV"),
    ]
    assert totals(samples, AT) == (Totals(Decimal(3000), None, None, Decimal(54)), ())


def test_a_power_without_a_unit_is_read_as_watts_and_said() -> None:
    numbers, problems = totals([RawSample(value="7200", measurand="Power.Active.Import")], AT)
    assert numbers == Totals(power_w=Decimal(7200))
    assert problems == ("sampledValue[0].unit: absent for Power.Active.Import; read as W",)
