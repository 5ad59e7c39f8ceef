"""A remote command as somebody asks for it, in JSON over HTTP or MQTT, becomes an exact OCPP request.

In: `command_type` and `parameters` (OCPP fields in snake case). Out: the action, the parameters and the payload, and
which texts in both are personal or secret; or a `ParameterError` with the path of the first thing that is wrong. It
reads no store: what must be looked up (the transaction of a session) is asked for in the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from domain.charge_point.state import is_secret_key
from domain.values import JSONObject
from protocols.ocpp.message import ErrorCode, WireError
from protocols.ocpp.v16.codec import encode
from protocols.ocpp.v16.parameters import COMMANDS, from_parameters, snake, to_parameters

REMOTE_START: Final = "RemoteStartTransaction"
REMOTE_STOP: Final = "RemoteStopTransaction"
SEALED_PREFIX: Final = "s1."

ID_TAGS: Final = frozenset({"idTag", "parentIdTag"})
SECRETS: Final[dict[str, frozenset[str]]] = {
    "DataTransfer": frozenset({"data"}),
    "GetDiagnostics": frozenset({"location"}),
    "GetLog": frozenset({"remoteLocation"}),
    "UpdateFirmware": frozenset({"location"}),
    "SignedUpdateFirmware": frozenset({"location"}),
}
"""Fields that may hold secrets: vendors' data, and URLs with a password in them."""


class ParameterError(msgspec.Struct, frozen=True):
    """What is wrong with a request: a dotted path such as `parameters.id_tag`, and one line without its value."""

    path: str
    message: str


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


def ask(command_type: str, parameters: JSONObject) -> AskedCommand | ParameterError:
    """Check against the action's schema, strictly, and against what OCPP 1.6 says beyond it."""
    request = from_parameters(command_type, parameters)
    if isinstance(request, WireError):
        if request.code in (ErrorCode.NOT_IMPLEMENTED, ErrorCode.NOT_SUPPORTED) and request.path == "$":
            return ParameterError("command_type", request.description)
        return ParameterError("parameters" + request.path.removeprefix("$"), request.description)
    action = COMMANDS[command_type]
    payload: JSONObject = msgspec.json.decode(encode(request))
    wrong = _beyond_schema(action, payload)
    return wrong or AskedCommand(action, command_type, dict(to_parameters(request)), payload)


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
    """The same request with its private texts replaced by the sealed ones."""
    names = SECRETS.get(asked.action, frozenset())
    key = str(asked.payload.get("key", "")).casefold() if asked.action == "ChangeConfiguration" else ""
    fields = names | ({"value"} if is_secret_key(key) else frozenset())

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
        replaced(asked.parameters, "", frozenset(map(snake, ID_TAGS)), frozenset(map(snake, fields))),
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


def _beyond_schema(action: str, payload: JSONObject) -> ParameterError | None:
    if action != REMOTE_START:
        return None
    if payload.get("connectorId", 1) < 1:
        return ParameterError("parameters.connector_id", "must be at least 1, or be left out")
    profile = payload.get("chargingProfile")
    if profile is not None:
        if profile["chargingProfilePurpose"] != "TxProfile":
            return ParameterError("parameters.charging_profile.charging_profile_purpose", "must be TxProfile")
        if "transactionId" in profile:
            return ParameterError(
                "parameters.charging_profile.transaction_id", "there is no transaction yet: leave it out"
            )
    if not payload["idTag"]:
        return ParameterError("parameters.id_tag", "must not be empty")
    return None
