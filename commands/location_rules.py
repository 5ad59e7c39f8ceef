"""Checks, measures and merges Locations, EVSEs and connectors as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

import msgspec

from commands.base import Refusal, Rejected
from domain.location import uid_key
from domain.values import JSONObject, plain_json
from protocols.ocpi import OcpiInvalidError, decode, dump, dump_json
from protocols.ocpi.patch import apply_patch
from protocols.ocpi.types import OcpiModel, to_date_time

LARGEST = 800_000
"""Bytes of JSON that a Location may have in one request: a decision must fit into one record of the log."""
LARGEST_WHOLE = 1_000_000
"""Those that it may have with EVSEs that came by themselves: its state must fit into one record too, packed."""
MOST_EVSES = 2_000


def with_evses(
    given: JSONObject, before: Mapping[str, JSONObject], evse_at: Mapping[str, datetime], at: datetime
) -> tuple[list[JSONObject], dict[str, datetime]]:
    """The EVSEs of a whole Location of this age, and own ages of those with a newer connector. An EVSE that it does
    not name goes, unless it is newer. Raises ValueError."""
    found: dict[str, JSONObject] = {}
    ages: dict[str, datetime] = {}
    for evse in given.get("evses") or ():
        uid = uid_key(evse)
        if uid in found:
            raise ValueError(f"evses: {uid[:40]} stands there twice")
        old, own = before.get(uid), moment(evse)
        if old is not None and own < (known := evse_at.get(uid) or moment(old)):
            found[uid], own = old, known
        else:
            found[uid] = with_connectors(evse, old)
        if own < moment(found[uid]):
            ages[uid] = own
    for uid, old in before.items():
        if uid not in found and (own := evse_at.get(uid) or moment(old)) > at:
            found[uid] = old
            if own < moment(old):
                ages[uid] = own
    if len(found) > MOST_EVSES:
        raise ValueError(f"evses: a Location may have {MOST_EVSES} here")
    return list(found.values()), ages


def with_connectors(evse: JSONObject, old: JSONObject | None) -> JSONObject:
    """An EVSE as a whole, but for connectors of which newer ones are known. Raises ValueError."""
    before = {connector_key(one): one for one in old["connectors"]} if old is not None else {}
    found: dict[str, JSONObject] = {}
    for one in evse["connectors"]:
        key = connector_key(one)
        if key in found:
            raise ValueError(f"connectors: {key[:40]} stands there twice in EVSE {str(evse['uid'])[:40]}")
        known = before.get(key)
        found[key] = known if known is not None and moment(one) < moment(known) else one
    for key, one in before.items():
        if key not in found and moment(one) > moment(evse):
            found[key] = one
    connectors = list(found.values())
    return {**evse, "connectors": connectors, "last_updated": latest(evse, *connectors)}


def patched(model: type[OcpiModel], stored: JSONObject, changes: JSONObject) -> JSONObject:
    """Raises OcpiInvalidError; nothing is applied then."""
    exact, patch = decode(dump(stored)), decode(dump(changes))
    assert isinstance(exact, dict)
    try:
        merged: JSONObject = plain_json(dump_json(apply_patch(model, exact, patch)))
    except ValueError as error:
        raise OcpiInvalidError("", str(error)) from error
    return merged


def connector_of(evse: JSONObject, id: str) -> JSONObject | None:
    return next((one for one in evse["connectors"] if connector_key(one) == id.lower()), None)


def connector_key(connector: JSONObject) -> str:
    return str(connector["id"]).lower()


def wrong_location(value: JSONObject) -> str:
    """What keeps a Location from being taken in: who sends it has looked at the rest."""
    evses = value.get("evses") or []
    if not isinstance(value.get("id"), str) or not isinstance(value.get("publish"), bool):
        return "id, publish: are required"
    if not _is_point(value.get("coordinates")):
        return "coordinates: must be latitude and longitude"
    if not isinstance(evses, list):
        return "evses: must be a list"
    return wrong_age(value) or next((wrong for one in evses if (wrong := wrong_evse(one))), "")


def _is_point(value: object) -> bool:
    try:
        return isinstance(value, dict) and all(
            isfinite(float(value[name])) for name in ("latitude", "longitude")
        )
    except (KeyError, TypeError, ValueError):
        return False


def wrong_evse(value: object) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("uid"), str):
        return "uid: is required"
    connectors = value.get("connectors")
    if not isinstance(connectors, list) or not connectors:
        return "connectors: is required"
    return wrong_age(value) or next((wrong for one in connectors if (wrong := wrong_connector(one))), "")


def wrong_connector(value: object) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return "id: is required"
    return wrong_age(value)


def wrong_age(value: JSONObject) -> str:
    try:
        to_date_time(value.get("last_updated"))
    except ValueError as error:
        return f"last_updated: {error}"
    return ""


def moment(value: JSONObject) -> datetime:
    return to_date_time(value["last_updated"])


def latest(*values: Mapping[str, Any]) -> str:
    """The newest last_updated of these, as it is written there."""
    texts: Sequence[str] = [value["last_updated"] for value in values]
    return max(texts, key=to_date_time)


def too_large(value: JSONObject, beside: Iterable[str] = ()) -> Rejected | None:
    """Whether it is too much for one request, or for one Location with what is known of it beside."""
    alone = len(msgspec.json.encode(value))
    if alone > LARGEST:
        line = f"it has {alone} bytes, more than {LARGEST}: put a Location's EVSEs by themselves"
        return Rejected(Refusal.INVALID, line)
    size = alone + sum(len(text.encode()) for text in beside)
    if size > LARGEST_WHOLE:
        line = f"the Location would have {size} bytes with it, more than {LARGEST_WHOLE}"
        return Rejected(Refusal.INVALID, line)
    return None
