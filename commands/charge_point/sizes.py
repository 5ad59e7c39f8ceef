"""Messages that are larger than the log can take: what decides and what is billed stays whole, readings are thinned.

Deterministic, so that a repeat becomes the same command. Registers that price a charge stand beside the readings and
are thinned last, evenly, with the first and the last among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

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


class _Moment(msgspec.Struct):
    sampledValue: list[msgspec.Raw] = []


class _Weight(NamedTuple):
    """What a part of the readings takes: bytes in the log, and values that are told."""

    size: int
    values: int


_moments = msgspec.json.Decoder(list[msgspec.Raw])
_moment = msgspec.json.Decoder(_Moment)


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
    moments = _moments.decode(data)
    weights = [_weight(moment) for moment in moments]
    if _fits(weights):
        return data
    slim = [
        moment if _fits([weight], 2) else _slim(moment)
        for moment, weight in zip(moments, weights, strict=True)
    ]
    return msgspec.Raw(msgspec.json.encode(thinned(slim, _most([_weight(moment) for moment in slim]))))


def _weight(moment: msgspec.Raw) -> _Weight:
    return _Weight(len(bytes(moment)) + 1, len(_values(moment)))


def _values(moment: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _moment.decode(moment).sampledValue
    except msgspec.ValidationError:
        return []


def _fits(weights: Sequence[_Weight], share: int = 1) -> bool:
    return _over(weights, share) <= 1


def _over(weights: Sequence[_Weight], share: int) -> float:
    """How many times too much it is."""
    size = sum(weight.size for weight in weights)
    told = size + VALUE_TOLD * sum(weight.values for weight in weights)
    return share * max(size / DATA_MOST, told / TOLD_MOST)


def _most(weights: Sequence[_Weight], share: int = 1) -> int:
    """How many of these fit when they are thinned."""
    most = len(weights)
    while most and (over := _over(thinned(weights, most), share)) > 1:
        most = min(most - 1, int(most / over))
    return most


def _slim(moment: msgspec.Raw) -> msgspec.Raw:
    """A moment that takes no more than a half of the room: fewer of its values, its time, and nothing else."""
    values = _values(moment)
    kept = thinned(values, _most([_Weight(len(bytes(value)) + 1, 1) for value in values], 3))
    timestamp = _timestamp(moment)
    return msgspec.Raw(msgspec.json.encode({"timestamp": timestamp, "sampledValue": kept}))


def _timestamp(moment: msgspec.Raw) -> str | None:
    found = msgspec.json.decode(moment)
    sent = found.get("timestamp") if isinstance(found, dict) else None
    return sent[:TEXT_MOST] if isinstance(sent, str) else None
