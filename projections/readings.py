"""Meter values as a charge point sent them enter, readings for messages leave.

What was made last is kept, since several engines of a process tell the same event.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import msgspec

from domain.clock import by_our_clock
from domain.metering import RawSample, Reading, normalise
from projections.moment import utc_text
from projections.store import JSON, Document

_SAMPLE_FIELDS = ("value", "context", "format", "measurand", "phase", "location", "unit")
_PLAIN = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,3})?")
"""Numbers that a float tells apart exactly."""


class _Element(msgspec.Struct):
    sampled: list[RawSample] = msgspec.field(name="sampledValue", default_factory=list)
    timestamp: str | None = None


_elements = msgspec.json.Decoder(list[_Element])


class _Shape(NamedTuple):
    """What the samples of one kind have in common; `factor` makes base units of the number sent."""

    document: Document
    factor: Decimal


def readings_of(values: msgspec.Raw, received_at: datetime, clock_offset_s: int = 0) -> list[Document]:
    """The wire's `meterValue` or `transactionData` as normalised readings, in order, none left out.

    Times are by our clock: the charge point's runs `clock_offset_s` ahead of it.

    `value` is a number in base units (Wh, W, A …), or null where the charge point sent signed or unreadable data,
    which then stands in `signed` or `raw`. `received_at` stands in for an unreadable time. Nobody may change them:
    who asks again soon gets the same list.
    """
    return _readings_of(bytes(values), received_at, clock_offset_s)


@lru_cache(maxsize=2048)
def _readings_of(values: bytes, received_at: datetime, clock_offset_s: int) -> list[Document]:
    if not values or values == b"null":
        return []
    out: list[Document] = []
    try:
        elements = _elements.decode(values)
    except msgspec.ValidationError:
        elements = _tolerated(values)
    for element in elements:
        at = _moment(element.timestamp, received_at, clock_offset_s)
        text = utc_text(at)
        out.extend(_document(sample, at, text) for sample in element.sampled)
    return out


def _tolerated(values: bytes) -> list[_Element]:
    """What there is of elements and samples in JSON of another form."""
    found: object = msgspec.json.decode(values)
    out: list[_Element] = []
    for element in found if isinstance(found, list) else ():
        if not isinstance(element, dict):
            continue
        sampled = element.get("sampledValue")
        samples = [_raw(one) for one in sampled if isinstance(one, dict)] if isinstance(sampled, list) else []
        out.append(_Element(samples, str(element.get("timestamp"))))
    return out


def _raw(sample: dict[str, object]) -> RawSample:
    texts = {name: str(sample[name]) for name in _SAMPLE_FIELDS if sample.get(name) is not None}
    return RawSample(**{"value": "", **texts})


def _moment(sent: str | None, received_at: datetime, clock_offset_s: int) -> datetime:
    try:
        moment = datetime.fromisoformat(str(sent))
    except ValueError:
        return received_at
    return by_our_clock(moment if moment.tzinfo else moment.replace(tzinfo=UTC), clock_offset_s)


def _document(sample: RawSample, at: datetime, timestamp: str | None) -> Document:
    if _PLAIN.fullmatch(sample.value):
        shape = _shape(
            sample.context, sample.format, sample.measurand, sample.phase, sample.location, sample.unit
        )
        if shape is not None:
            value = _base_units(sample.value, shape.factor)
            return {"timestamp": timestamp, **shape.document, "value": value}
    (reading,), _ = normalise([sample], at)
    return _reading(reading, timestamp)


@lru_cache(maxsize=4096)
def _shape(
    context: str | None,
    format: str | None,
    measurand: str | None,
    phase: str | None,
    location: str | None,
    unit: str | None,
) -> _Shape | None:
    """None where a number is not read as one, but is signed data."""
    one = RawSample(
        value="1",
        context=context,
        format=format,
        measurand=measurand,
        phase=phase,
        location=location,
        unit=unit,
    )
    (reading,), _ = normalise([one], datetime.min)
    if reading.value is None:
        return None
    document = _reading(reading, None)
    del document["timestamp"]
    return _Shape(document, reading.value)


def _base_units(plain: str, factor: Decimal) -> int | float:
    if factor != 1:
        return number(Decimal(plain) * factor)
    if "." not in plain:
        return int(plain)
    value = float(plain)
    return int(value) if value.is_integer() else value


def _reading(reading: Reading, timestamp: str | None) -> Document:
    out: dict[str, JSON] = {
        "timestamp": timestamp,
        "measurand": reading.measurand,
        "value": None if reading.value is None else number(reading.value),
        "unit": reading.unit,
        "phase": reading.phase,
        "context": reading.context,
        "location": reading.location,
    }
    if reading.signed is not None:
        out["signed"] = reading.signed
    if reading.raw is not None:
        out["raw"] = reading.raw
    return out


def number(value: Decimal) -> int | float:
    """A JSON number; Decimals of more digits than it holds become the nearest one."""
    whole = value == value.to_integral_value() and abs(value) < 2**53
    return int(value) if whole else float(value)
