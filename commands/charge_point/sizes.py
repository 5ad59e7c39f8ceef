"""Messages that are larger than the log can take: what decides and what is billed stays whole, readings are thinned.

Deterministic, so that a repeat becomes the same command. Registers that price a charge stand beside the readings and
are thinned last, evenly, with the first and the last among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from commands.charge_point.models import RecordMeterValues, StartTransaction, StopTransaction
from domain.charge_point import Flag
from domain.thinning import thinned
from domain.values import RegisterSample, TagRef

SAMPLES_MOST = 1000
DATA_MOST = 500_000
"""Bytes of readings in a command; with registers and the rest of it, its decision stays below one append."""

TOLD_MOST, VALUE_TOLD = 800_000, 150
"""Bytes of readings in a public event or an MQTT message, where each value has its names written out."""

SMALL = 60_000
"""Readings of so few bytes fit, whatever is in them."""

TEXT_MOST, SEALED_MOST, FLAGS_MOST = 200, 2_000, 80

_Sized = TypeVar("_Sized", StartTransaction, StopTransaction, RecordMeterValues)


class _Element(msgspec.Struct):
    sampledValue: Any = None


_elements = msgspec.json.Decoder(list[msgspec.Raw])
_element = msgspec.json.Decoder(_Element)


def fitting(command: _Sized) -> _Sized:
    """The command itself where it is small enough; else with less of what is least needed, and flags that say so."""
    changed: dict[str, Any] = {}
    flags = [flag[:TEXT_MOST] for flag in command.flags[:FLAGS_MOST]]
    if isinstance(command, StartTransaction | StopTransaction):
        tag = command.id_tag
        if tag is not None and len(tag.sealed) > SEALED_MOST:
            changed["id_tag"] = TagRef(key=tag.key)
            flags.append(Flag.TEXT_CUT)
    if isinstance(command, StopTransaction) and len(command.reason) > TEXT_MOST:
        changed["reason"] = command.reason[:TEXT_MOST]
        flags.append(Flag.TEXT_CUT)
    if isinstance(command, StopTransaction | RecordMeterValues):
        if len(command.samples) > SAMPLES_MOST:
            changed["samples"] = thinned_samples(command.samples)
            flags.append(Flag.SAMPLES_THINNED)
        name = "data" if isinstance(command, StopTransaction) else "values"
        data = getattr(command, name)
        less = thinned_readings(data)
        if less is not data:
            changed[name] = less
            flags.append(Flag.DATA_THINNED)
    if tuple(flags) != command.flags:
        changed["flags"] = tuple(flags)
    return msgspec.structs.replace(command, **changed) if changed else command


def thinned_samples(samples: Sequence[RegisterSample]) -> tuple[RegisterSample, ...]:
    """In order of time, at most `SAMPLES_MOST`."""
    return tuple(thinned(sorted(samples, key=lambda sample: sample.at), SAMPLES_MOST))


def thinned_readings(data: msgspec.Raw) -> msgspec.Raw:
    """The wire's list of readings; the same object where it fits.

    Moments are left out evenly; a moment that is too large alone loses values evenly.
    """
    if len(bytes(data)) <= SMALL:
        return data
    moments = _elements.decode(data)
    if _fits(moments):
        return data
    kept = [_slim(moment) for moment in moments]
    most = len(kept)
    while not _fits(fewer := thinned(kept, most)):
        most = most * 9 // 10
    return msgspec.Raw(msgspec.json.encode(fewer))


def _fits(moments: Sequence[msgspec.Raw], share: int = 1) -> bool:
    size = sum(len(bytes(moment)) + 1 for moment in moments)
    told = size + sum(VALUE_TOLD * _values(moment) for moment in moments)
    return size <= DATA_MOST // share and told <= TOLD_MOST // share


def _values(moment: msgspec.Raw) -> int:
    values = _sampled(moment)
    return len(values) if isinstance(values, list) else 1


def _sampled(moment: msgspec.Raw) -> object:
    try:
        return _element.decode(moment).sampledValue
    except msgspec.ValidationError:
        return None


def _slim(moment: msgspec.Raw) -> msgspec.Raw:
    """A moment that takes no more than a half of the room."""
    values = _sampled(moment)
    if _fits([moment], 2) or not isinstance(values, list):
        return moment
    rest = msgspec.json.decode(moment, type=dict[str, Any])
    most = len(values)
    while most:
        most = most * 9 // 10
        less = msgspec.Raw(msgspec.json.encode({**rest, "sampledValue": list(thinned(values, most))}))
        if _fits([less], 2):
            return less
    return msgspec.Raw(b'{"sampledValue":[]}')
