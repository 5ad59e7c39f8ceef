"""Readings for messages: the same as normalising each sample by itself, however fast."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.metering import RawSample, normalise
from projections.moment import utc_text
from projections.readings import number, readings_of
from tests.laws import tried
from tests.projections.facts import NOON, after

NUMBERS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.integers(0, 10**14).map(str),
    st.sampled_from(
        ["16.0", "0", "00012.500", " 7 ", "1e3", "", "-4", "+4", ".5", "5.", "0.12345678901234568", "x"]
    ),
)
MAYBE = st.none() | st.sampled_from(
    ["", "Raw", "SignedData", "W", "kW", "kWh", "Voltage", "L1", "Percent", "%"]
)
MEASURANDS = st.none() | st.sampled_from(
    [
        "Energy.Active.Import.Register",
        "Power.Active.Import",
        "power.active.import",
        "SoC",
        "Temperature",
        "Own",
    ]
)
SAMPLES = st.fixed_dictionaries(
    {"value": NUMBERS},
    optional={
        "measurand": MEASURANDS,
        "unit": MAYBE,
        "format": MAYBE,
        "phase": MAYBE,
        "context": MAYBE,
        "location": MAYBE,
    },
)
TIMES = {
    "2026-03-01T12:00:04Z": after(4),
    "2026-03-01T13:00:05+01:00": after(5),
    "2026-03-01T12:00:06": after(6),
    "soon": NOON,
    None: NOON,
}
"""As sent, and when that is; what cannot be read was received at noon."""
ELEMENTS = st.fixed_dictionaries(
    {"timestamp": st.sampled_from(list(TIMES)), "sampledValue": st.lists(SAMPLES, max_size=4)}
)


def by_the_book(elements: list[dict[str, Any]]) -> list[dict[str, object]]:
    """One sample after another through the domain's own normalising."""
    out: list[dict[str, object]] = []
    for element in elements:
        at = TIMES[element["timestamp"]]
        for sample in element["sampledValue"]:
            (reading,), _ = normalise([RawSample(**sample)], at)
            document: dict[str, object] = {
                "timestamp": utc_text(at),
                "measurand": reading.measurand,
                "value": None if reading.value is None else number(reading.value),
                "unit": reading.unit,
                "phase": reading.phase,
                "context": reading.context,
                "location": reading.location,
            }
            document |= {"signed": reading.signed} if reading.signed is not None else {}
            document |= {"raw": reading.raw} if reading.raw is not None else {}
            out.append(document)
    return out


@settings(deadline=None, max_examples=tried(200))
@given(st.lists(ELEMENTS, max_size=3))
def test_readings_are_those_of_each_sample_by_itself(elements: list[dict[str, Any]]) -> None:
    found = readings_of(msgspec.Raw(msgspec.json.encode(elements)), NOON)
    assert msgspec.json.encode(found) == msgspec.json.encode(by_the_book(elements))


def test_what_is_of_another_form_is_read_as_far_as_it_goes() -> None:
    values = [
        7,
        {"timestamp": 5, "sampledValue": [{"value": 12.5, "unit": None}, "x", {}]},
        {"sampledValue": {"value": "1"}},
    ]
    first, second = readings_of(msgspec.Raw(msgspec.json.encode(values)), NOON)
    assert (first["value"], first["timestamp"]) == (12.5, "2026-03-01T12:00:00.000Z")
    assert (second["value"], second["raw"]) == (None, "")


def test_nothing_sent_is_no_reading() -> None:
    assert readings_of(msgspec.Raw(b"null"), NOON) == []
    assert readings_of(msgspec.Raw(b""), NOON) == []


def test_kilo_units_are_exact() -> None:
    values = [{"sampledValue": [{"value": "11.04", "measurand": "Power.Active.Import", "unit": "kW"}]}]
    [reading] = readings_of(msgspec.Raw(msgspec.json.encode(values)), NOON)
    assert (reading["value"], reading["unit"]) == (int(Decimal("11.04") * 1000), "W")
