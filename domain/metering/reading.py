"""Sampled values as sent (OCPP 1.6, 7.43 SampledValue) enter, readings in base units leave.

Defaults are filled in, kilo units become base units, spellings become those of the standard. Unknown names
stay as sent and every oddity is said in words. It never drops a sample and never raises for its content.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Context, Decimal

import msgspec

REGISTER = "Energy.Active.Import.Register"

MEASURANDS = frozenset(
    {
        *(f"Energy.Active.{way}.{kind}" for way in ("Import", "Export") for kind in ("Register", "Interval")),
        *(
            f"Energy.Reactive.{way}.{kind}"
            for way in ("Import", "Export")
            for kind in ("Register", "Interval")
        ),
        *("Power.Active.Import", "Power.Active.Export", "Power.Offered", "Power.Factor"),
        *("Power.Reactive.Import", "Power.Reactive.Export"),
        *("Current.Import", "Current.Export", "Current.Offered"),
        *("Voltage", "Frequency", "Temperature", "SoC", "RPM"),
    }
)
CONTEXTS = frozenset(
    {
        *("Interruption.Begin", "Interruption.End", "Sample.Clock", "Sample.Periodic"),
        *("Transaction.Begin", "Transaction.End", "Trigger", "Other"),
    }
)
LOCATIONS = frozenset({"Outlet", "Cable", "Inlet", "EV", "Body"})
PHASES = frozenset({"L1", "L2", "L3", "N", "L1-N", "L2-N", "L3-N", "L1-L2", "L2-L3", "L3-L1"})
FORMATS = frozenset({"Raw", "SignedData"})

# Unit as sent -> unit of the reading and factor.
UNITS: dict[str, tuple[str, Decimal]] = {
    **{unit: (unit, Decimal(1)) for unit in ("Wh", "varh", "W", "VA", "var", "A", "V", "K", "Percent")},
    **{f"k{unit}": (unit, Decimal(1000)) for unit in ("Wh", "varh", "W", "VA", "var")},
    "Celsius": ("Celsius", Decimal(1)),
    "Celcius": ("Celsius", Decimal(1)),
    "Fahrenheit": ("Fahrenheit", Decimal(1)),
    "Hz": ("Hz", Decimal(1)),
    "Hertz": ("Hz", Decimal(1)),
}
# Longest matching prefix first. The first unit is the one meant when none is sent.
_UNITS_OF: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Energy.Active.", ("Wh",)),
    ("Energy.Reactive.", ("Wh", "varh")),
    ("Power.Factor", ("", "Percent")),
    ("Power.", ("W", "VA", "var")),
    ("Current.", ("A",)),
    ("Voltage", ("V",)),
    ("Frequency", ("Hz",)),
    ("Temperature", ("", "Celsius", "Fahrenheit", "K")),
    ("SoC", ("Percent",)),
    ("RPM", ("",)),
)
NUMBER = re.compile(r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?")
EXACT = Context(prec=200)


class RawSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sampledValue as the charge point sent it; absent fields are None."""

    value: str
    context: str | None = None
    format: str | None = None
    measurand: str | None = None
    phase: str | None = None
    location: str | None = None
    unit: str | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measured value with nothing left to guess.

    `at` has a zone. `phase` None is the overall value. `unit` is Wh, varh, W, VA, var, A, V, Percent, Hz,
    Celsius, Fahrenheit, K, an unknown unit as sent, or None for a measurand without one. `value` is None
    when the sample carries no number: then `signed` holds the signed data or `raw` the text, as sent.
    """

    at: datetime
    measurand: str
    context: str
    location: str
    phase: str | None = None
    unit: str | None = None
    value: Decimal | None = None
    signed: str | None = None
    raw: str | None = None


def normalise(sampled: Sequence[RawSample], at: datetime) -> tuple[tuple[Reading, ...], tuple[str, ...]]:
    """The readings of one meterValue element, one per sample and in order, and what was odd about them.

    Defaults (OCPP 1.6, 7.43): measurand Energy.Active.Import.Register, context Sample.Periodic, format Raw,
    location Outlet, unit Wh for energy (also for reactive energy, as the standard says). A single possible
    unit is filled in silently; a power without unit is read as W and said.
    """
    problems: list[str] = []
    readings = tuple(_reading(sample, at, f"sampledValue[{i}]", problems) for i, sample in enumerate(sampled))
    return readings, tuple(problems)


def _reading(sample: RawSample, at: datetime, path: str, problems: list[str]) -> Reading:
    measurand = _known(sample.measurand, REGISTER, MEASURANDS, f"{path}.measurand", problems)
    context = _known(sample.context, "Sample.Periodic", CONTEXTS, f"{path}.context", problems)
    location = _known(sample.location, "Outlet", LOCATIONS, f"{path}.location", problems)
    form = _known(sample.format, "Raw", FORMATS, f"{path}.format", problems)
    phase = _known(sample.phase, "", PHASES, f"{path}.phase", problems) or None
    if form == "SignedData":
        # The number inside is in a vendor's format (OCMF and others), so the unit cannot be applied to it.
        return Reading(
            at=at,
            measurand=measurand,
            context=context,
            location=location,
            phase=phase,
            unit=(sample.unit or "").strip() or None,
            signed=sample.value,
        )
    unit, factor = base_unit(sample.unit, measurand, path, problems)
    value, raw = None, None
    text = sample.value.strip()
    if NUMBER.fullmatch(text):
        value = EXACT.multiply(Decimal(text), factor)
    else:
        raw, unit = sample.value, (sample.unit or "").strip() or None
        problems.append(f"{path}.value: {_short(sample.value)} is not a number; kept as sent")
    return Reading(
        at=at,
        measurand=measurand,
        context=context,
        location=location,
        phase=phase,
        unit=unit,
        value=value,
        raw=raw,
    )


def _known(sent: str | None, default: str, known: frozenset[str], path: str, problems: list[str]) -> str:
    text = (sent or "").strip()
    if not text:
        return default
    if text in known:
        return text
    for name in known:
        if name.casefold() == text.casefold():
            problems.append(f"{path}: {_short(text)} read as {name}")
            return name
    problems.append(f"{path}: {_short(text)} is not in OCPP 1.6; kept as sent")
    return text


def base_unit(sent: str | None, measurand: str, path: str, problems: list[str]) -> tuple[str | None, Decimal]:
    """The base unit of a measurand whose unit was `sent`, and the factor to it; what is odd joins `problems`."""
    text = (sent or "").strip()
    expected = next((units for prefix, units in _UNITS_OF if measurand.startswith(prefix)), None)
    if not text:
        if expected is None:
            return None, Decimal(1)
        if measurand.startswith("Power.") and measurand != "Power.Factor":
            problems.append(f"{path}.unit: absent for {measurand}; read as W")
        elif measurand == "Temperature":
            problems.append(f"{path}.unit: absent for Temperature; the scale is not known")
        return expected[0] or None, Decimal(1)
    if text == "%":
        problems.append(f"{path}.unit: '%' read as Percent")
        text = "Percent"
    if text not in UNITS:
        same = [unit for unit in UNITS if unit.casefold() == text.casefold()]
        if not same:
            problems.append(f"{path}.unit: {_short(text)} is not in OCPP 1.6; kept as sent")
            return text, Decimal(1)
        problems.append(f"{path}.unit: {_short(text)} read as {same[0]}")
        text = same[0]
    unit, factor = UNITS[text]
    if expected is not None and unit not in expected:
        problems.append(f"{path}.unit: {text} does not fit {measurand}; kept")
    return unit, factor


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
