"""Meter values as a charge point sent them enter, readings for read models and messages leave."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from domain.metering import RawSample, Reading, normalise
from projections.base import utc_text
from projections.store import Document

_SAMPLE_FIELDS = ("value", "context", "format", "measurand", "phase", "location", "unit")


def readings_of(values: msgspec.Raw, received_at: datetime) -> list[Document]:
    """The wire's `meterValue` or `transactionData` as normalised readings, in order, none left out.

    `value` is a number in base units (Wh, W, A …), or null where the charge point sent signed or unreadable data,
    which then stands in `signed` or `raw`. `received_at` stands in for an unreadable time.
    """
    elements: object = msgspec.json.decode(values) if bytes(values) else None
    out: list[Document] = []
    for element in elements if isinstance(elements, list) else ():
        if not isinstance(element, dict):
            continue
        sampled = element.get("sampledValue")
        raw = [_raw(one) for one in sampled if isinstance(one, dict)] if isinstance(sampled, list) else []
        readings, _ = normalise(raw, _moment(element.get("timestamp"), received_at))
        out.extend(_reading(reading) for reading in readings)
    return out


def _raw(sample: dict[str, object]) -> RawSample:
    texts = {name: str(sample[name]) for name in _SAMPLE_FIELDS if sample.get(name) is not None}
    return RawSample(**{"value": "", **texts})


def _moment(sent: object, received_at: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(str(sent))
    except ValueError:
        return received_at
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _reading(reading: Reading) -> Document:
    out: Document = {
        "timestamp": utc_text(reading.at),
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
