"""MeterValues of OCPP 1.6 as on the wire enter; compact JSON, energy registers and what was odd about them leave."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from domain.metering import totals
from domain.values import RegisterSample
from protocols.ocpp.v16.messages.parts import MeterReading

MOST_FLAGS = 20


class _Values(msgspec.Struct, frozen=True):
    meterValue: msgspec.Raw = msgspec.Raw(b"[]")
    transactionData: msgspec.Raw = msgspec.Raw(b"null")


_VALUES = msgspec.json.Decoder(_Values)


def wire_values(payload: bytes) -> msgspec.Raw:
    """The `meterValue` of a MeterValues payload, compact, otherwise as it came."""
    return _compact(_values(payload).meterValue)


def wire_data(payload: bytes) -> msgspec.Raw:
    """The `transactionData` of a StopTransaction payload, compact, otherwise as it came; null for none."""
    return _compact(_values(payload).transactionData)


def registers(values: Sequence[MeterReading]) -> tuple[tuple[RegisterSample, ...], tuple[str, ...]]:
    """The energy register of each moment that has one, with power, current and state of charge; and oddities."""
    samples: list[RegisterSample] = []
    flags: list[str] = []
    for value in values:
        numbers, problems = totals(value.sampled_value, value.timestamp)
        flags += problems
        if numbers.energy_wh is not None:
            samples.append(
                RegisterSample(
                    at=value.timestamp,
                    energy_wh=numbers.energy_wh,
                    power_w=numbers.power_w,
                    current_a=numbers.current_a,
                    soc_percent=numbers.soc_percent,
                )
            )
    return tuple(samples), tuple(flags[:MOST_FLAGS])


def newest(values: Sequence[MeterReading]) -> datetime | None:
    """The time of the newest moment."""
    return max((value.timestamp for value in values), default=None)


def _values(payload: bytes) -> _Values:
    """What a payload has of both; nothing where it is no object."""
    try:
        return _VALUES.decode(payload)
    except msgspec.ValidationError:
        return _Values()


def _compact(raw: msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.format(bytes(raw), indent=-1))
