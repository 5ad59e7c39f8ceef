"""A remote command as somebody asks for it, in JSON over HTTP or MQTT, becomes an exact OCPP request.

In: `command_type` and `parameters` (OCPP fields in snake case). Out: the action, the parameters and the payload, and
which texts in both are personal or secret; or a `ParameterError` with the path of the first thing that is wrong. It
reads no store: what must be looked up (the transaction of a session) is asked for in the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from commands.remote_command_rules import AUTHORIZATION_KEY, ParameterError, broken
from domain.charge_point.state import is_secret_key
from domain.tenant import Features
from domain.values import JSONObject
from protocols.ocpp.actions import Profile
from protocols.ocpp.message import ErrorCode, WireError
from protocols.ocpp.v16 import PROFILES
from protocols.ocpp.v16.codec import encode
from protocols.ocpp.v16.parameters import COMMANDS, from_parameters, snake, to_parameters

REMOTE_START: Final = "RemoteStartTransaction"
REMOTE_STOP: Final = "RemoteStopTransaction"
SEALED_PREFIX: Final = "s1."
MASK: Final = "***"

ID_TAGS: Final = frozenset({"idTag", "parentIdTag"})
SECRETS: Final[dict[str, frozenset[str]]] = {
    "DataTransfer": frozenset({"data"}),
    "GetDiagnostics": frozenset({"location"}),
    "GetLog": frozenset({"remoteLocation"}),
    "UpdateFirmware": frozenset({"location"}),
    "SignedUpdateFirmware": frozenset({"location"}),
}
"""Fields that may hold secrets: vendors' data, and URLs with a password in them."""


class AskedCommand(msgspec.Struct, frozen=True):
    """An exact request. `parameters` in snake case, `payload` as on the wire, both in the clear still."""

    action: str
    command_type: str
    parameters: JSONObject
    payload: JSONObject


def session_to_stop(command_type: str, parameters: JSONObject) -> str | ParameterError:
    """The session whose transaction a remote stop names by `session_id`; empty where it names none."""
    if COMMANDS.get(command_type) != REMOTE_STOP or "session_id" not in parameters:
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


def ask(command_type: str, parameters: JSONObject, now: datetime) -> AskedCommand | ParameterError:
    """Check against the action's schema, strictly, and against what OCPP 1.6 says beyond it."""
    request = from_parameters(command_type, parameters)
    if isinstance(request, WireError):
        if request.code in (ErrorCode.NOT_IMPLEMENTED, ErrorCode.NOT_SUPPORTED) and request.path == "$":
            return ParameterError("command_type", request.description)
        place, description = request.path.removeprefix("$"), request.description
        if description.startswith("there is an unknown field"):
            description = "there is no such field"
        return ParameterError(f"parameters{place}", description.removesuffix(f" at {request.path}"))
    action = COMMANDS[command_type]
    payload: JSONObject = msgspec.json.decode(encode(request))
    wrong = broken(action, request, now)
    return wrong or AskedCommand(action, command_type, dict(to_parameters(request)), payload)


def tells_key(asked: AskedCommand) -> bool:
    """Whether it sets the charge point's password (SEC-03)."""
    key = str(asked.payload.get("key", "")) if asked.action == "ChangeConfiguration" else ""
    return key.casefold() == AUTHORIZATION_KEY


def switched_off(asked: AskedCommand, features: Features) -> str:
    """The feature that the command needs and its tenant has switched off; empty for none."""
    profile = PROFILES[asked.action]
    if not features.smart_charging and (
        profile is Profile.SMART_CHARGING or "chargingProfile" in asked.payload
    ):
        return "smart_charging"
    triggers = profile is Profile.REMOTE_TRIGGER or asked.action == "ExtendedTriggerMessage"
    return "remote_trigger" if triggers and not features.remote_trigger else ""


def private_texts(asked: AskedCommand) -> Iterator[tuple[str, bool]]:
    """Every text of the payload that must be sealed, and whether it is an id tag.

    A text that looks sealed is sealed too: otherwise the gateway would open what somebody copied from elsewhere.
    """
    names = SECRETS.get(asked.action, frozenset())
    key = str(asked.payload.get("key", "")).casefold() if asked.action == "ChangeConfiguration" else ""
    for name, text in _texts(asked.payload):
        if name in ID_TAGS:
            yield text, True
        elif name in names or text.startswith(SEALED_PREFIX) or (name == "value" and is_secret_key(key)):
            yield text, False


def sealed(asked: AskedCommand, tags: dict[str, str], secrets: dict[str, str]) -> AskedCommand:
    """The same request with its private texts replaced by the sealed ones.

    The value of a secret configuration key goes over the wire and is shown to nobody: its parameter is masked.
    """
    names = SECRETS.get(asked.action, frozenset())
    key = str(asked.payload.get("key", "")).casefold() if asked.action == "ChangeConfiguration" else ""
    write_only = frozenset({"value"}) if is_secret_key(key) else frozenset()
    fields = names | write_only

    def replaced(value: Any, name: str, tag_names: frozenset[str], secret_names: frozenset[str]) -> Any:
        match value:
            case str() if name in tag_names:
                return tags.get(value, value)
            case str() if name in secret_names or value.startswith(SEALED_PREFIX):
                return secrets.get(value, value)
            case dict():
                return {k: replaced(v, k, tag_names, secret_names) for k, v in value.items()}
            case list():
                return [replaced(item, name, tag_names, secret_names) for item in value]
            case _:
                return value

    return AskedCommand(
        asked.action,
        asked.command_type,
        {
            name: MASK if name in write_only else value
            for name, value in replaced(
                asked.parameters, "", frozenset(map(snake, ID_TAGS)), frozenset(map(snake, fields))
            ).items()
        },
        replaced(asked.payload, "", ID_TAGS, fields),
    )


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case str() if value:
            yield name, value
        case dict():
            for key, item in value.items():
                yield from _texts(item, key)
        case list():
            for item in value:
                yield from _texts(item, name)
