"""What an answer of OCPP 1.6 to a call of ours means: the status, what it teaches, and what of it may be kept.

The intent and the payload of a CALLRESULT enter; the outcome leaves, without secrets (SEC-04).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from domain.charge_point.announced import Learned, Variable
from domain.charge_point.state import is_secret_key
from domain.intents import ClearChargingProfile, GetLocalListVersion, GetVariables, Intent, SetVariable
from domain.values import JSONObject
from gateway.ocpp.v16.announced import announced
from gateway.ocpp.v16.calls import CALLS
from gateway.ocpp.version import Judged
from protocols.ocpp.message import Mode, WireError
from protocols.ocpp.v16.codec import decode_confirmation
from protocols.ocpp.v16.enums import ClearChargingProfileStatus, ConfigurationStatus
from protocols.ocpp.v16.messages.local_list import GetLocalListVersionConfirmation

GOOD: Final = frozenset({"Accepted", "Unlocked", "RebootRequired", "Scheduled", "AcceptedCanceled"})
_CLEARED: Final = frozenset({ClearChargingProfileStatus.ACCEPTED, ClearChargingProfileStatus.UNKNOWN})
"""After both answers none of the profiles that were named is there."""

VARIABLES_MOST, KEY_MOST, VALUE_MOST = 500, 50, 500
"""Configuration keys that are taken from one answer, and OCPP's own limits of a key's and a value's characters."""

_SEALED: Final = "s1."


def judge(intent: Intent, payload: msgspec.Raw) -> Judged:
    """`accepted` when the charge point does what was asked."""
    decoded = decode_confirmation(CALLS[type(intent)], payload, mode=Mode.LENIENT)
    if isinstance(decoded, WireError):
        why = f"the answer cannot be understood: {decoded.description}"
        return Judged("failed", why, None, Learned(), bytes(payload))
    response: JSONObject = (
        msgspec.json.decode(decoded.raw, type=dict[str, Any]) if decoded.raw != b"null" else {}
    )
    for entry in _entries(response):
        if is_secret_key(str(entry.get("key", ""))):
            entry.pop("value", None)  # SEC-04: write-only
    # What a charge point tells of its secrets is kept nowhere, not even sealed (SEC-04).
    kept = msgspec.json.encode(response) if "configurationKey" in response else bytes(payload)
    said = getattr(decoded.message, "status", None)
    status = "accepted" if said is None or said in GOOD else "rejected"
    reason = "" if said is None else str(said)
    return Judged(status, reason, response, _learned(intent, decoded.message, said, response), kept)


def _learned(intent: Intent, message: object, said: object, response: JSONObject) -> Learned:
    match intent:
        case GetVariables():
            variables = tuple(_variables(response))
            values = {one.key: one.value for one in variables if not is_secret_key(one.key)}
            return Learned(variables=variables, announced=announced(values))
        case SetVariable() if said == ConfigurationStatus.REBOOT_REQUIRED:
            return Learned(after_reboot=True)
        case SetVariable() if said == ConfigurationStatus.ACCEPTED and not is_secret_key(intent.key):
            return Learned(announced=announced({intent.key: intent.value}))
        case GetLocalListVersion() if isinstance(message, GetLocalListVersionConfirmation):
            return Learned(list_version=message.list_version)
        case ClearChargingProfile():
            return Learned(cleared=said in _CLEARED)
        case _:
            return Learned()


def _variables(response: JSONObject) -> Iterator[Variable]:
    for entry in _entries(response)[:VARIABLES_MOST]:
        key, value = str(entry.get("key", ""))[:KEY_MOST], str(entry.get("value", ""))[:VALUE_MOST]
        if key and not value.startswith(_SEALED):
            yield Variable(key=key, value=value, readonly=entry.get("readonly") is True)


def _entries(response: JSONObject) -> list[JSONObject]:
    return [entry for entry in response.get("configurationKey") or () if isinstance(entry, dict)]
