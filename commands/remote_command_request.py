"""A remote command as somebody asks for it, in JSON over HTTP or MQTT, becomes an intent, and is shown as it was.

In: `command_type` and `parameters` by their public names (docs/commands.md). Out: the intent, and which texts in it
are personal or secret; or a `ParameterError` with the path of the first thing that is wrong. It reads no store: what
must be looked up (the transaction of a session) is asked for in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

from commands.remote_command_rules import ParameterError, broken
from domain.charge_point.variable_keys import is_password_key, is_secret_key
from domain.intents import (
    CancelReservation,
    CertificateSigned,
    ChangeAvailability,
    ClearCache,
    ClearChargingProfile,
    DataTransfer,
    DeleteCertificate,
    Feature,
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
from domain.tenant import Features
from domain.texts import texts, with_texts
from domain.values import JSONObject
from protocols.ocpp.message import WireError
from protocols.ocpp.parsing import read

Fits: TypeAlias = Callable[[Intent], ParameterError | None]
"""What is wrong with an intent for the version that its charge point speaks, by the path of the intent's field."""

COMMANDS: Final[Mapping[str, type[Intent]]] = {
    "remote_start": RemoteStart,
    "remote_stop": RemoteStop,
    "cancel_reservation": CancelReservation,
    "certificate_signed": CertificateSigned,
    "change_availability": ChangeAvailability,
    "change_configuration": SetVariable,
    "clear_cache": ClearCache,
    "clear_charging_profile": ClearChargingProfile,
    "data_transfer": DataTransfer,
    "delete_certificate": DeleteCertificate,
    "extended_trigger_message": TriggerSecurityMessage,
    "get_composite_schedule": GetCompositeSchedule,
    "get_configuration": GetVariables,
    "get_diagnostics": GetDiagnostics,
    "get_installed_certificate_ids": GetInstalledCertificateIds,
    "get_local_list_version": GetLocalListVersion,
    "get_log": GetLog,
    "install_certificate": InstallCertificate,
    "remote_start_transaction": RemoteStart,
    "remote_stop_transaction": RemoteStop,
    "reserve_now": ReserveNow,
    "reset": Reset,
    "send_local_list": SendLocalList,
    "set_charging_profile": SetChargingProfile,
    "signed_update_firmware": SignedUpdateFirmware,
    "trigger_message": TriggerMessage,
    "unlock_connector": Unlock,
    "update_firmware": UpdateFirmware,
}
"""Public name → intent."""

ONE_EACH: Final = frozenset(COMMANDS) - {
    name for name, kind in COMMANDS.items() if kind in (RemoteStart, RemoteStop)
}
"""Those that may be the same for many charge points: charges are begun and ended one by one."""

PUBLIC_NAMES: Final[Mapping[type[Intent], tuple[str, str]]] = {
    GetVariables: ("keys", "key"),
    SetChargingProfile: ("charging_profile", "cs_charging_profiles"),
}
"""The field of an intent whose parameter has another name in public: the field's, the parameter's."""

SEALED_PREFIX: Final = "s1."
MASK: Final = "***"

ID_TAGS: Final = frozenset({"id_tag", "parent_id_tag"})
SECRETS: Final[Mapping[type[Intent], frozenset[str]]] = {
    DataTransfer: frozenset({"data"}),
    GetDiagnostics: frozenset({"location"}),
    GetLog: frozenset({"remote_location"}),
    UpdateFirmware: frozenset({"location"}),
    SignedUpdateFirmware: frozenset({"location"}),
}
"""Fields that may hold secrets: vendors' data, and URLs with a password in them."""


def session_to_stop(command_type: str, parameters: JSONObject) -> str | ParameterError:
    """The session whose transaction a remote stop names by `session_id`; empty where it names none."""
    if COMMANDS.get(command_type) is not RemoteStop or "session_id" not in parameters:
        return ""
    session = parameters["session_id"]
    if not isinstance(session, str) or not session:
        return ParameterError("parameters.session_id", "must be a text")
    if "transaction_id" in parameters:
        return ParameterError("parameters.session_id", "give it or transaction_id, not both")
    return session


def with_transaction(parameters: JSONObject, transaction_id: int) -> JSONObject:
    """The parameters of a remote stop with the transaction in place of the session."""
    rest = {name: value for name, value in parameters.items() if name != "session_id"}
    return {**rest, "transaction_id": transaction_id}


def ask(command_type: str, parameters: object, now: datetime, fits: Fits) -> Intent | ParameterError:
    """Read strictly, and check against what the charge point's version can say and what makes sense at all."""
    kind = COMMANDS.get(command_type)
    if kind is None:
        return ParameterError("command_type", "there is no such command")
    field, public = PUBLIC_NAMES.get(kind, ("", ""))
    if public and isinstance(parameters, dict):
        if field in parameters:
            return ParameterError(f"parameters.{field}", "there is no such field")
        parameters = {field if name == public else name: value for name, value in parameters.items()}
    found = read(kind, parameters)
    if isinstance(found, WireError):
        place, description = found.path.removeprefix("$"), found.description
        if description.startswith("there is an unknown field"):
            description = "there is no such field"
        wrong = ParameterError(f"parameters{place}", description.removesuffix(f" at {found.path}"))
        return _in_public(wrong, field, public)
    intent: Intent = found[0]
    error = fits(intent) or broken(intent, now)
    return intent if error is None else _in_public(error, field, public)


def _in_public(error: ParameterError, field: str, public: str) -> ParameterError:
    """With the parameter's public name in its path."""
    head, _, rest = error.path.partition(f"parameters.{field}")
    if not field or head or (rest and rest[0] not in ".["):
        return error
    return msgspec.structs.replace(error, path=f"parameters.{public}{rest}")


def parameters_of(intent: Intent) -> JSONObject:
    """The parameters as they are shown: public names, plain JSON values, what is absent left out.

    The value of a secret configuration key goes over the wire and is shown to nobody.
    """
    shown: JSONObject = _plain(intent)
    if isinstance(intent, SetVariable) and is_secret_key(intent.key):
        shown["value"] = MASK
    field, public = PUBLIC_NAMES.get(type(intent), ("", ""))
    return {public if name == field else name: value for name, value in shown.items()}


def tells_key(intent: Intent) -> bool:
    """Whether it sets the charge point's password (SEC-03)."""
    return isinstance(intent, SetVariable) and is_password_key(intent.key)


def switched_off(intent: Intent, features: Features) -> str:
    """The feature that the command needs and its tenant has switched off; empty for none."""
    profile = isinstance(intent, RemoteStart) and intent.charging_profile is not None
    if not features.smart_charging and (intent.feature is Feature.SMART_CHARGING or profile):
        return "smart_charging"
    triggers = isinstance(intent, TriggerMessage | TriggerSecurityMessage)
    return "remote_trigger" if triggers and not features.remote_trigger else ""


def private_texts(intent: Intent) -> Iterator[tuple[str, bool]]:
    """Every text of the intent that must be sealed, and whether it is an id tag.

    A text that looks sealed is sealed too: otherwise the gateway would open what somebody copied from elsewhere.
    """
    secret = _secret_fields(intent)
    for name, text in texts(intent):
        if name in ID_TAGS:
            yield text, True
        elif name in secret or text.startswith(SEALED_PREFIX):
            yield text, False


def sealed(intent: Intent, tags: Mapping[str, str], secrets: Mapping[str, str]) -> Intent:
    """The same intent with its private texts replaced by the sealed ones."""
    secret = _secret_fields(intent)

    def change(name: str, text: str) -> str:
        if name in ID_TAGS:
            return tags.get(text, text)
        return secrets.get(text, text) if name in secret or text.startswith(SEALED_PREFIX) else text

    return with_texts(intent, change)


def _secret_fields(intent: Intent) -> frozenset[str]:
    if isinstance(intent, SetVariable) and is_secret_key(intent.key):
        return frozenset({"value"})
    return SECRETS.get(type(intent), frozenset())


def _plain(value: Any) -> Any:
    match value:
        case msgspec.Struct():
            fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
            return {name: _plain(item) for name, item in fields if item is not None}
        case tuple():
            return [_plain(item) for item in value]
        case datetime():
            moment = value.astimezone(UTC)
            timespec = "milliseconds" if moment.microsecond >= 1000 else "seconds"
            return moment.isoformat(timespec=timespec).replace("+00:00", "Z")
        case Decimal():
            # One decimal at most, so a float prints the same digits.
            return int(value) if value == value.to_integral_value() else float(value)
        case bool() | int():
            return value
        case _:
            return str(value)
