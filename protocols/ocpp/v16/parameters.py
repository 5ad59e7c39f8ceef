"""Commands as our own API writes them: OCPP fields in snake_case, as plain JSON values.

In: a command name (`unlock_connector`, `remote_start`) and its parameters. Out: the exact request, or a `WireError`
whose path is in snake_case too. The way back, `to_parameters`, turns any message into plain JSON values. It is always
strict: what an API sends is ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, TypeAlias

from protocols.ocpp.actions import Direction
from protocols.ocpp.message import ErrorCode, Part, Request, WireError
from protocols.ocpp.parsing import read
from protocols.ocpp.v16 import DIRECTIONS, REQUESTS

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None

_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])")


def snake(action: str) -> str:
    """`RemoteStartTransaction` → `remote_start_transaction`."""
    return _BORDER.sub("_", action).lower()


COMMANDS: Final[Mapping[str, str]] = {
    "remote_start": "RemoteStartTransaction",
    "remote_stop": "RemoteStopTransaction",
} | {
    snake(action): action
    for action, direction in DIRECTIONS.items()
    if direction.allows(Direction.FROM_CENTRAL_SYSTEM)
}
"""Command name → action, for every action that the central system may send."""

_FROM_CHARGE_POINT: Final = frozenset(map(snake, REQUESTS)) - COMMANDS.keys()


def from_parameters(command: str, parameters: object) -> Request | WireError:
    """The request of a command. Dates are ISO 8601 texts with a zone; unknown fields are refused with their path."""
    action = COMMANDS.get(command)
    if action is None:
        if command in _FROM_CHARGE_POINT:
            return WireError(ErrorCode.NOT_SUPPORTED, "only a charge point sends this action")
        return WireError(ErrorCode.NOT_IMPLEMENTED, "there is no such command")
    result = read(REQUESTS[action], parameters, snake=True)
    return result if isinstance(result, WireError) else result[0]


def to_parameters(message: Part) -> dict[str, Json]:
    """The fields of a message in snake_case as plain JSON values; absent ones are left out."""
    found = {}
    for name in message.__struct_fields__:
        value: object = getattr(message, name)
        if value is not None:
            found[name] = _json(value)
    return found


def _json(value: object) -> Json:
    match value:
        case Part():
            return to_parameters(value)
        case tuple():
            return [_json(item) for item in value]
        case datetime():
            return _instant(value)
        case Decimal():
            # One decimal at most, so a float prints the same digits.
            return int(value) if value == value.to_integral_value() else float(value)
        case bool() | int():
            return value
        case _:
            return str(value)


def _instant(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    timespec = "milliseconds" if moment.microsecond >= 1000 else "seconds"
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")
