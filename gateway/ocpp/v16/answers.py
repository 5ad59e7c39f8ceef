"""What an answer of OCPP 1.6 to a call of ours means: the status, what it teaches, and what of it may be kept.

The intent and the payload of a CALLRESULT enter; the outcome leaves, without secrets (SEC-04).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from domain.charge_point.announced import Learned, Variable
from domain.charge_point.variable_keys import is_secret_key
from domain.intents import (
    ChangeAvailability,
    ClearChargingProfile,
    GetLocalListVersion,
    GetVariables,
    Intent,
    SetVariable,
)
from domain.values import JSONObject
from gateway.ocpp.v16.announced import announced
from gateway.ocpp.v16.calls import CALLS
from gateway.ocpp.version import Judged
from protocols.ocpp.message import Mode, WireError
from protocols.ocpp.v16.codec import decode_confirmation
from protocols.ocpp.v16.enums import AvailabilityStatus, ClearChargingProfileStatus, ConfigurationStatus
from protocols.ocpp.v16.messages.local_list import GetLocalListVersionConfirmation

GOOD: Final = frozenset({"Accepted", "Unlocked", "RebootRequired", "Scheduled", "AcceptedCanceled"})
_CLEARED: Final = frozenset({ClearChargingProfileStatus.ACCEPTED, ClearChargingProfileStatus.UNKNOWN})
"""After both answers none of the profiles that were named is there."""

VARIABLES_MOST, KEY_MOST, VALUE_MOST = 500, 50, 500
"""Configuration keys that are taken from one answer, and OCPP's own limits of a key's and a value's characters."""

VARIABLES_BYTES_MOST, RESPONSE_BYTES_MOST = 300_000, 250_000
"""All keys and values of one answer, and what is kept of its own words: together their decision fits the log."""

_SEALED: Final = "s1."
_LEAST, _MOST = -(2**63), 2**63 - 1


def _number(text: str) -> float | str:
    """A number, or its text where no store can hold it."""
    number = float(text)
    return number if math.isfinite(number) else text


_ANSWER: Final = msgspec.json.Decoder(float_hook=_number)


def judge(intent: Intent, payload: msgspec.Raw) -> Judged:
    """`accepted` when the charge point does what was asked."""
    decoded = decode_confirmation(CALLS[type(intent)], payload, mode=Mode.LENIENT)
    if isinstance(decoded, WireError):
        why = f"the answer cannot be understood: {decoded.description}"
        return Judged("failed", why, None, Learned(), bytes(payload))
    try:
        said_so = _storable(_ANSWER.decode(decoded.raw))
    except RecursionError:
        why = "the answer cannot be understood: it is nested too deep"
        return Judged("failed", why, None, Learned(), b"")
    response: JSONObject = said_so if isinstance(said_so, dict) else {}
    for entry in _entries(response):
        if is_secret_key(_text(entry.get("key"))):
            entry.pop("value", None)  # SEC-04: write-only
    # What a charge point tells of its secrets is kept nowhere, not even sealed (SEC-04).
    kept = msgspec.json.encode(response) if "configurationKey" in response else bytes(payload)
    said = getattr(decoded.message, "status", None)
    status = "accepted" if said is None or said in GOOD else "rejected"
    reason = "" if said is None else str(said)
    learned = _learned(intent, decoded.message, said, response)
    return Judged(status, reason, _fitting(response), learned, kept)


def _fitting(response: JSONObject) -> JSONObject:
    """The answer itself where it is small enough; else the first of it, `truncated`."""
    left = RESPONSE_BYTES_MOST
    if len(msgspec.json.encode(response)) <= left:
        return response
    out: JSONObject = {"truncated": True}
    for name, value in response.items():
        items: list[Any] = []
        for item in value if isinstance(value, list) else [value]:
            left -= len(msgspec.json.encode((name, item)))
            if left < 0:
                break
            items.append(item)
        if items:
            out[name] = items if isinstance(value, list) else items[0]
    return out


def _learned(intent: Intent, message: object, said: object, response: JSONObject) -> Learned:
    match intent:
        case GetVariables():
            variables = tuple(_variables(response))
            values = {one.key: one.value for one in variables if not is_secret_key(one.key)}
            return Learned(variables=variables, unknown=_unknown(response), announced=announced(values))
        case SetVariable() if said == ConfigurationStatus.REBOOT_REQUIRED:
            return Learned(after_reboot=True)
        case SetVariable() if said == ConfigurationStatus.NOT_SUPPORTED:
            return Learned(unknown=(intent.key,))
        case SetVariable() if said == ConfigurationStatus.ACCEPTED and not is_secret_key(intent.key):
            return Learned(announced=announced({intent.key: intent.value}))
        case ChangeAvailability() if said == AvailabilityStatus.SCHEDULED:
            return Learned(scheduled=True)
        case GetLocalListVersion() if isinstance(message, GetLocalListVersionConfirmation):
            return Learned(list_version=message.list_version)
        case ClearChargingProfile():
            return Learned(cleared=said in _CLEARED)
        case _:
            return Learned()


def _variables(response: JSONObject) -> Iterator[Variable]:
    size = 0
    for entry in _entries(response)[:VARIABLES_MOST]:
        key, value = _text(entry.get("key"))[:KEY_MOST], _text(entry.get("value"))[:VALUE_MOST]
        size += len(msgspec.json.encode((key, value)))
        if size > VARIABLES_BYTES_MOST:
            return
        if key and not value.startswith(_SEALED):
            yield Variable(key=key, value=value, readonly=entry.get("readonly") is True)


def _unknown(response: JSONObject) -> tuple[str, ...]:
    """Keys of which it says that it has none."""
    said = response.get("unknownKey")
    texts = (_text(one)[:KEY_MOST] for one in (said if isinstance(said, list) else [said]))
    return tuple(text for text in texts if text)[:VARIABLES_MOST]


def _storable(value: Any) -> Any:
    """Integers that no store can hold become texts."""
    match value:
        case dict():
            return {key: _storable(item) for key, item in value.items()}
        case list():
            return [_storable(item) for item in value]
        case int() if not _LEAST <= value <= _MOST:
            return str(value)
        case _:
            return value


def _entries(response: JSONObject) -> list[JSONObject]:
    """What it says of keys, in whatever form."""
    said = response.get("configurationKey")
    return [entry for entry in (said if isinstance(said, list) else [said]) if isinstance(entry, dict)]


def _text(value: object) -> str:
    """A text, also where it is written as another JSON value."""
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value).decode()
