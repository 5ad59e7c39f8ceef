"""Calls in the words of OCPP 1.6, for tests that expect what the standard says: intents, and what answers teach."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from domain.charge_point.announced import Learned
from domain.intents import Intent
from domain.values import JSONObject
from gateway.ocpp.v16.answers import judge
from gateway.ocpp.v16.calls import CALLS, FIELDS

KINDS: Final = {action: kind for kind, action in CALLS.items()}
NEEDED: Final[dict[str, JSONObject]] = {
    "RemoteStartTransaction": {"id_tag": "s1.k.a"},
    "RemoteStopTransaction": {"transaction_id": 1},
    "ReserveNow": {
        "connector_id": 1,
        "expiry_date": "2026-03-01T14:00:00Z",
        "id_tag": "s1.k.a",
        "reservation_id": 1,
    },
    "GetLog": {"log": {"remote_location": "s1.k.a"}, "log_type": "DiagnosticsLog", "request_id": 1},
}
"""Fields that 1.6 requires and few tests care for."""


def intent(action: str, payload: JSONObject | None = None) -> Intent:
    """What OCPP 1.6 says with this call; what is missing of it is filled in."""
    kind = KINDS[action]
    field, name = FIELDS.get(kind, ("", ""))
    given = {
        field if key == name else _snake(key): _parameters(value) for key, value in (payload or {}).items()
    }
    found: Intent = msgspec.convert({**NEEDED.get(action, {}), **given, "kind": _tag(kind)}, Intent)
    return found


def learned(action: str, response: JSONObject, payload: JSONObject | None = None) -> Learned:
    """What this answer teaches."""
    return judge(intent(action, payload), msgspec.Raw(msgspec.json.encode(response))).learned


def _tag(kind: type[Intent]) -> str:
    return str(kind.__struct_config__.tag)


def _parameters(value: Any) -> Any:
    match value:
        case dict():
            return {_snake(key): _parameters(item) for key, item in value.items()}
        case list():
            return [_parameters(item) for item in value]
        case _:
            return value


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
