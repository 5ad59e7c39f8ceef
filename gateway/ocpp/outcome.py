"""What an answer to a call of ours means, and what of a call and its answer may be kept.

Payloads as on the wire enter; the status, reason and response of the call leave, without secrets (SEC-04).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from domain.charge_point.state import is_secret_key
from domain.values import JSONObject
from protocols.ocpp.message import Mode, WireError
from protocols.ocpp.v16.codec import decode_confirmation

GOOD: Final = frozenset({"Accepted", "Unlocked", "RebootRequired", "Scheduled", "AcceptedCanceled"})
_SECRET = "authorizationkey"
_LONGEST_DESCRIPTION = 255


def judge(action: str, payload: msgspec.Raw) -> tuple[str, str, JSONObject | None]:
    """Status, reason and response of an answered call: `accepted` when the charge point does what was asked."""
    decoded = decode_confirmation(action, payload, mode=Mode.LENIENT)
    if isinstance(decoded, WireError):
        return "failed", f"the answer cannot be understood: {decoded.description}", None
    response: JSONObject = (
        msgspec.json.decode(decoded.raw, type=dict[str, Any]) if decoded.raw != b"null" else {}
    )
    for entry in response.get("configurationKey") or ():
        if isinstance(entry, dict) and is_secret_key(str(entry.get("key", ""))):
            entry.pop("value", None)  # SEC-04: write-only
    status = getattr(decoded.message, "status", None)
    if status is None:
        return "accepted", "", response
    return ("accepted" if status in GOOD else "rejected"), str(status), response


def new_key_in(action: str, request: bytes) -> bytes:
    """The AuthorizationKey that a ChangeConfiguration tells; empty for any other call."""
    if action != "ChangeConfiguration":
        return b""
    content: JSONObject = msgspec.json.decode(request)
    is_key = str(content.get("key", "")).lower() == _SECRET
    return str(content.get("value", "")).encode() if is_key else b""


def without_secret(action: str, request: bytes) -> bytes:
    """The request as it may be kept: without the value of a key that holds a secret (SEC-04)."""
    if action != "ChangeConfiguration":
        return request
    key = str(msgspec.json.decode(request, type=dict[str, Any]).get("key", ""))
    return msgspec.json.encode({"key": key}) if is_secret_key(key) else request


def with_description(reason: str, description: str, private: Sequence[str]) -> str:
    """What the charge point says of its refusal, on one line and without what we sent sealed."""
    for text in private:
        description = re.sub(re.escape(text), "***", description, flags=re.IGNORECASE)
    plain = " ".join("".join(c if c.isprintable() else " " for c in description).split())
    return f"{reason}: {plain[:_LONGEST_DESCRIPTION]}" if plain else reason
