"""Normalising sampled values: MV-1 defaults, MV-2 units, MV-5 signed data, J-25 and J-26 oddities."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.metering import RawSample, Reading, normalise
from tests.laws import tried

AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def one(**fields: str) -> tuple[Reading, tuple[str, ...]]:
    readings, problems = normalise([RawSample(**fields)], AT)
    assert len(readings) == 1
    return readings[0], problems


def test_a_bare_value_is_the_energy_register_in_wh_at_the_outlet_mv_1() -> None:
    reading, problems = one(value="1234.5")
    assert reading == Reading(
        at=AT,
        measurand="Energy.Active.Import.Register",
        context="Sample.Periodic",
        location="Outlet",
        phase=None,
        unit="Wh",
        value=Decimal("1234.5"),
    )
    assert problems == ()


@pytest.mark.parametrize(
    ("measurand", "unit", "value", "expected", "base"),
    [
        ("Energy.Active.Import.Register", "kWh", "1.2345", "1234.5", "Wh"),
        ("Energy.Active.Export.Interval", "Wh", "7", "7", "Wh"),
        ("Energy.Reactive.Import.Register", "kvarh", "0.5", "500", "varh"),
        ("Energy.Reactive.Import.Register", "varh", "0.5", "0.5", "varh"),
        ("Power.Active.Import", "kW", "11", "11000", "W"),
        ("Power.Offered", "kVA", "22", "22000", "VA"),
        ("Power.Reactive.Export", "kvar", "1", "1000", "var"),
        ("Power.Active.Import", "W", "-3", "-3", "W"),
        ("Current.Import", "A", "15.98", "15.98", "A"),
        ("Voltage", "V", "230.1", "230.1", "V"),
        ("Temperature", "Celcius", "21", "21", "Celsius"),
        ("Temperature", "Celsius", "21", "21", "Celsius"),
        ("Temperature", "Fahrenheit", "70", "70", "Fahrenheit"),
        ("Temperature", "K", "294", "294", "K"),
        ("SoC", "Percent", "80", "80", "Percent"),
        ("Frequency", "Hertz", "50", "50", "Hz"),
        ("Frequency", "Hz", "50", "50", "Hz"),
    ],
)
def test_units_become_base_units_without_a_remark_mv_2(
    measurand: str, unit: str, value: str, expected: str, base: str
) -> None:
    reading, problems = one(value=value, measurand=measurand, unit=unit)
    assert (reading.value, reading.unit, problems) == (Decimal(expected), base, ())


@pytest.mark.parametrize(
    ("measurand", "base"),
    [
        ("Energy.Active.Import.Interval", "Wh"),
        ("Energy.Reactive.Import.Register", "Wh"),
        ("Current.Import", "A"),
        ("Voltage", "V"),
        ("SoC", "Percent"),
        ("Frequency", "Hz"),
        ("Power.Factor", None),
        ("RPM", None),
    ],
)
def test_an_absent_unit_with_one_meaning_is_filled_in_mv_1(measurand: str, base: str | None) -> None:
    reading, problems = one(value="1", measurand=measurand)
    assert (reading.unit, problems) == (base, ())


def test_a_power_without_unit_is_read_as_watts_and_said() -> None:
    reading, problems = one(value="7400", measurand="Power.Active.Import")
    assert (reading.unit, reading.value) == ("W", Decimal(7400))
    assert problems == ("sampledValue[0].unit: absent for Power.Active.Import; read as W",)


def test_unknown_names_are_kept_and_said_j_26() -> None:
    reading, problems = one(
        value="3", measurand="X.Foo", context="Boot", location="Roof", phase="L9", unit="foo"
    )
    assert (reading.measurand, reading.context, reading.location) == ("X.Foo", "Boot", "Roof")
    assert (reading.phase, reading.unit, reading.value) == ("L9", "foo", Decimal(3))
    assert [p.split(":")[0].removeprefix("sampledValue[0].") for p in problems] == [
        "measurand",
        "context",
        "location",
        "phase",
        "unit",
    ]


def test_names_in_another_case_are_recognised_and_said() -> None:
    reading, problems = one(value="1", measurand="soc", unit="percent")
    assert (reading.measurand, reading.unit) == ("SoC", "Percent")
    assert len(problems) == 2


def test_a_unit_that_does_not_fit_its_measurand_is_kept_and_said() -> None:
    reading, problems = one(value="16", unit="A")
    assert (reading.measurand, reading.unit) == ("Energy.Active.Import.Register", "A")
    assert problems == ("sampledValue[0].unit: A does not fit Energy.Active.Import.Register; kept",)


@pytest.mark.parametrize(
    "text", ["", "abc", "NaN", "Infinity", "1,5", "1_000", "0x10", "1e999", "٣", "1 2", "--1"]
)
def test_a_value_that_is_no_number_is_kept_raw_and_said(text: str) -> None:
    reading, problems = one(value=text, unit="kWh")
    assert (reading.value, reading.raw, reading.unit) == (None, text, "kWh")
    assert len(problems) == 1
    assert "is not a number" in problems[0]


@pytest.mark.parametrize(
    ("text", "value"), [(" 5 ", "5"), ("+1.", "1"), (".5", "0.5"), ("1.5E2", "150"), ("-0.1", "-0.1")]
)
def test_usual_spellings_of_numbers_are_read(text: str, value: str) -> None:
    assert one(value=text)[0].value == Decimal(value)


def test_signed_data_is_kept_verbatim_mv_5() -> None:
    blob = 'OCMF|{"FV":"1.0","RD":[{"RV":2935.6}]}|{"SD":"887F"} '
    reading, problems = one(value=blob, format="SignedData", context="Transaction.End", unit="kWh")
    assert (reading.signed, reading.value, reading.unit) == (blob, None, "kWh")
    assert (reading.context, problems) == ("Transaction.End", ())


def test_blank_optional_fields_count_as_absent_j_26() -> None:
    reading, problems = one(value="1", context="", measurand=" ", phase="", location="", unit="", format="")
    assert (reading, problems) == one(value="1")


def test_readings_survive_json_exactly() -> None:
    reading, _ = one(value="1.2345", unit="kWh", phase="L1")
    assert msgspec.json.decode(msgspec.json.encode(reading), type=Reading) == reading


@settings(max_examples=tried(300), deadline=None)
@given(
    st.lists(
        st.builds(
            RawSample,
            value=st.text(max_size=12) | st.decimals(allow_nan=True).map(str) | st.floats().map(str),
            context=st.none() | st.text(max_size=5),
            format=st.sampled_from([None, "Raw", "SignedData", "raw", "x"]),
            measurand=st.sampled_from([None, "SoC", "Power.Active.Import", "Voltage", "zzz", ""]),
            phase=st.sampled_from([None, "L1", "N", "q"]),
            location=st.none() | st.text(max_size=5),
            unit=st.sampled_from([None, "kWh", "W", "%", "KWH", "zz", "\ud800"]),
        ),
        max_size=5,
    )
)
def test_every_sample_becomes_one_reading_whatever_it_holds(samples: list[RawSample]) -> None:
    readings, _ = normalise(samples, AT)
    assert len(readings) == len(samples)
    for sample, reading in zip(samples, readings, strict=True):
        assert (reading.value is None) == (reading.signed == sample.value or reading.raw == sample.value)
        assert reading.value is None or reading.value.is_finite()
