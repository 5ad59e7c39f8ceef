"""How OCPP 1.6 says what a charge point is asked to do: an intent enters, an exact request leaves, or why not.

Its fields are those of the intent in camelCase; where 1.6 has another name for one, the table says so. Lengths,
formats and values are those of the types in `protocols.ocpp.v16`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from commands.remote_command_rules import ParameterError
from domain.charge_point.variable_keys import is_password_key, is_secret_key
from domain.intents import (
    CancelReservation,
    CertificateSigned,
    ChangeAvailability,
    ClearCache,
    ClearChargingProfile,
    DataTransfer,
    DeleteCertificate,
    GetCompositeSchedule,
    GetDiagnostics,
    GetInstalledCertificateIds,
    GetLocalListVersion,
    GetLog,
    GetVariables,
    InstallCertificate,
    Intent,
    RemoteStart,
    RemoteStop,
    ReserveNow,
    Reset,
    SendLocalList,
    SetChargingProfile,
    SetVariable,
    SignedUpdateFirmware,
    TriggerMessage,
    TriggerSecurityMessage,
    Unlock,
    UpdateFirmware,
)
from gateway.ocpp.version import WireCall
from protocols.ocpp.message import Request, WireError
from protocols.ocpp.parsing import read
from protocols.ocpp.v16 import REQUESTS
from protocols.ocpp.v16.codec import encode

CALLS: Final[Mapping[type[Intent], str]] = {
    CancelReservation: "CancelReservation",
    CertificateSigned: "CertificateSigned",
    ChangeAvailability: "ChangeAvailability",
    ClearCache: "ClearCache",
    ClearChargingProfile: "ClearChargingProfile",
    DataTransfer: "DataTransfer",
    DeleteCertificate: "DeleteCertificate",
    GetCompositeSchedule: "GetCompositeSchedule",
    GetDiagnostics: "GetDiagnostics",
    GetInstalledCertificateIds: "GetInstalledCertificateIds",
    GetLocalListVersion: "GetLocalListVersion",
    GetLog: "GetLog",
    GetVariables: "GetConfiguration",
    InstallCertificate: "InstallCertificate",
    RemoteStart: "RemoteStartTransaction",
    RemoteStop: "RemoteStopTransaction",
    ReserveNow: "ReserveNow",
    Reset: "Reset",
    SendLocalList: "SendLocalList",
    SetChargingProfile: "SetChargingProfile",
    SetVariable: "ChangeConfiguration",
    SignedUpdateFirmware: "SignedUpdateFirmware",
    TriggerMessage: "TriggerMessage",
    TriggerSecurityMessage: "ExtendedTriggerMessage",
    Unlock: "UnlockConnector",
    UpdateFirmware: "UpdateFirmware",
}
"""Intent → action."""

FIELDS: Final[Mapping[type[Intent], tuple[str, str]]] = {
    GetVariables: ("keys", "key"),
    SetChargingProfile: ("charging_profile", "csChargingProfiles"),
}
"""The field of an intent that 1.6 calls otherwise: the intent's name, 1.6's."""

_KEY: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){16,20}")
_TO_CAMEL, _TO_SNAKE = re.compile(r"_([a-z])"), re.compile(r"(?<=[a-z])(?=[A-Z])")


def request(intent: Intent) -> WireCall | WireError:
    """The call that asks for it, exact by its type."""
    found = _request(intent)
    if isinstance(found, WireError):
        return found
    payload = encode(found)
    kept = payload
    if isinstance(intent, SetVariable) and is_secret_key(intent.key):
        kept = msgspec.json.encode({"key": intent.key})
    return WireCall(CALLS[type(intent)], payload, kept)


def fits(intent: Intent) -> ParameterError | None:
    """What 1.6 cannot say of it, by the path of the intent's field; with SEC-02: a password is of 16 to 20 bytes."""
    if isinstance(intent, ReserveNow) and intent.reservation_id is None:
        intent = msgspec.structs.replace(intent, reservation_id=1)
    found = _request(intent)
    if isinstance(found, WireError):
        field, name = FIELDS.get(type(intent), ("", ""))
        place = found.path.removeprefix("$")
        if name and re.match(rf"\.{name}\b", place):
            place = f".{field}{place[len(name) + 1 :]}"
        path = _TO_SNAKE.sub("_", place).lower()
        return ParameterError(f"parameters{path}", found.description.removesuffix(f" at {found.path}"))
    if isinstance(intent, SetVariable) and is_password_key(intent.key) and not _KEY.fullmatch(intent.value):
        return ParameterError("parameters.value", "must be 32 to 40 hexadecimal digits, two for each byte")
    return None


def _request(intent: Intent) -> Request | WireError:
    fields = msgspec.to_builtins(intent, builtin_types=(Decimal,))
    del fields["kind"]
    field, name = FIELDS.get(type(intent), ("", ""))
    payload = {name if key == field else _camel(key): _wire(value) for key, value in fields.items()}
    found = read(REQUESTS[CALLS[type(intent)]], payload)
    return found if isinstance(found, WireError) else found[0]


def _wire(value: Any) -> Any:
    match value:
        case dict():
            return {_camel(key): _wire(item) for key, item in value.items()}
        case list() | tuple():
            return [_wire(item) for item in value]
        case _:
            return value


def _camel(name: str) -> str:
    return _TO_CAMEL.sub(lambda found: found[1].upper(), name)
