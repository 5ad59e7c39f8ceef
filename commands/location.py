"""What can be asked of a Location: to be what its owner says, as a whole, in one of its parts, or by a change.

A PATCH is merged here, into what the log has: one whose PUT is on its way finds it. What is older than what is known
of the same object (the Location by itself, an EVSE, a connector) is acknowledged and not applied, so that whatever
order requests come in, the newest of each stands in the end. A newer part lifts last_updated of what it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any, ClassVar

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.location import (
    EvsePut,
    EvseStatusChanged,
    Location,
    LocationChanged,
    LocationPut,
    LocationRemoved,
    LocationState,
    Said,
    SiteSaid,
    location_key,
    uid_key,
)
from domain.values import JSONObject, PartyId, plain_json
from protocols.ocpi import OcpiInvalidError, decode, dump, dump_json, v2_3_0
from protocols.ocpi.patch import apply_patch
from protocols.ocpi.types import OcpiModel, to_date_time

LARGEST = 800_000
"""Bytes of JSON that a Location may have in one request: a decision must fit into one record of the log."""
LARGEST_WHOLE = 1_000_000
"""Those that it may have with EVSEs that came by themselves: its state must fit into one record too, packed."""
MOST_EVSES = 2_000
_NOBODY = {"country_code": "ZZ", "party_id": "ZZZ"}
"""Stands for a tenant's party, which its master data do not hold, where they are looked at as a whole."""


class LocationReply(msgspec.Struct, frozen=True):
    """`created` where it was not known before; `applied` is off where a newer one was known."""

    created: bool = False
    applied: bool = True


class _OfLocation(Command, frozen=True, kw_only=True):
    """`owner` is a partner's party, else it is the tenant's; `audience` the only party it was pushed to. `holder` is
    the platform that speaks for the owner now: what another one pushed for the same party counts for nothing."""

    area: ClassVar[Area] = Area.LOCATION
    owner: PartyId | None = None
    tenant: str = ""
    audience: PartyId | None = None
    holder: str = ""
    location_id: str

    @property
    def aggregate_id(self) -> str:
        return f"location|{location_key(self.owner, self.tenant, self.location_id, self.audience)}"


class PutLocation(_OfLocation, frozen=True, kw_only=True, tag="location.put.v1"):
    """The Location as a whole, validated at the edge; refused ALREADY_EXISTS where it must be `new` and is not."""

    location: JSONObject
    new: bool = False


class PatchLocation(_OfLocation, frozen=True, kw_only=True, tag="location.patch.v1"):
    """What has changed, with last_updated."""

    patch: JSONObject


class PutEvse(_OfLocation, frozen=True, kw_only=True, tag="location.put_evse.v1"):
    """One of its EVSEs as a whole, validated at the edge."""

    evse: JSONObject


class PatchEvse(_OfLocation, frozen=True, kw_only=True, tag="location.patch_evse.v1"):
    """What has changed of an EVSE, with last_updated."""

    evse_uid: str
    patch: JSONObject


class PutConnector(_OfLocation, frozen=True, kw_only=True, tag="location.put_connector.v1"):
    """A connector of one of its EVSEs as a whole, validated at the edge."""

    evse_uid: str
    connector: JSONObject


class PatchConnector(_OfLocation, frozen=True, kw_only=True, tag="location.patch_connector.v1"):
    """What has changed of a connector, with last_updated."""

    evse_uid: str
    connector_id: str
    patch: JSONObject


class RemoveLocation(_OfLocation, frozen=True, kw_only=True, tag="location.remove.v1"):
    """A tenant takes its master data away."""


class NoteSite(_OfLocation, frozen=True, kw_only=True, tag="location.note_site.v1"):
    """A charge point says what its site is; older words than the newest change nothing."""

    recognised: ClassVar[bool] = True
    said: Said


def put(location: Location, command: PutLocation, meta: Meta) -> Outcome:
    state = location.state
    if wrong := _wrong_location(command.location):
        return Rejected(Refusal.INVALID, wrong)
    created = not _is_known(state, command.holder)
    if command.new and not created:
        return Rejected(
            Refusal.ALREADY_EXISTS, f"there is a location {command.location_id[:40]}, change that one"
        )
    return _put(location, command, command.location, meta, created=created)


def patch(location: Location, command: PatchLocation, meta: Meta) -> Outcome:
    state = location.state
    if not _is_known(state, command.holder):
        return _unknown_location(command)
    if wrong := _wrong_age(command.patch):
        return Rejected(Refusal.INVALID, wrong)
    own = command.owner is None
    at = _moment(command.patch)
    if _is_older(state, at, command):
        return Accepted(LocationReply(applied=False))
    stored = _whole(state) if "evses" in command.patch else msgspec.json.decode(state.core)
    try:
        merged = _patched(v2_3_0.Location, {**_NOBODY, **stored} if own else stored, command.patch)
    except OcpiInvalidError as error:
        return Rejected(Refusal.INVALID, str(error))
    if own:
        merged = {name: value for name, value in merged.items() if name not in _NOBODY}
    for name in ("id", "country_code", "party_id"):
        if str(merged.get(name)).lower() != str(stored.get(name)).lower():
            return Rejected(Refusal.INVALID, f"{name}: cannot change")
    if "evses" in merged:
        return _put(location, command, merged, meta, created=False)
    core = {**merged, "last_updated": _latest(merged, msgspec.json.decode(state.core))}
    if (large := _too_large(core, state.evses.values())) is not None:
        return large
    location.trigger(LocationChanged, meta.at, location=core, own_at=at)
    return Accepted(LocationReply())


def put_evse(location: Location, command: PutEvse, meta: Meta) -> Outcome:
    state = location.state
    if not _is_known(state, command.holder):
        return _unknown_location(command)
    if wrong := _wrong_evse(command.evse):
        return Rejected(Refusal.INVALID, wrong)
    old = _evse(state, uid_key(command.evse))
    at = _moment(command.evse)
    if old is not None and at < _own_at(state, old):
        return Accepted(LocationReply(applied=False))
    if old is None and len(state.evses) >= MOST_EVSES:
        return Rejected(Refusal.INVALID, f"evses: a Location may have {MOST_EVSES} here")
    try:
        evse = _with_connectors(command.evse, old)
    except ValueError as error:
        return Rejected(Refusal.INVALID, str(error))
    return _put_evse(location, evse, at, meta, created=old is None)


def patch_evse(location: Location, command: PatchEvse, meta: Meta) -> Outcome:
    state = location.state
    old = _evse(state, command.evse_uid.lower()) if _is_known(state, command.holder) else None
    if old is None:
        return _unknown_evse(command, command.evse_uid)
    if wrong := _wrong_age(command.patch):
        return Rejected(Refusal.INVALID, wrong)
    at = _moment(command.patch)
    if at < _own_at(state, old):
        return Accepted(LocationReply(applied=False))
    try:
        evse = _patched(v2_3_0.EVSE, old, command.patch)
    except OcpiInvalidError as error:
        return Rejected(Refusal.INVALID, str(error))
    if uid_key(evse) != uid_key(old):
        return Rejected(Refusal.INVALID, "uid: cannot change")
    if command.patch.keys() <= {"status", "last_updated"}:
        last_updated = _latest(evse, old)
        location.trigger(
            EvseStatusChanged,
            meta.at,
            evse_uid=str(old["uid"]),
            status=str(evse["status"]),
            evse_last_updated=last_updated,
            own_at=at,
            last_updated=_latest({"last_updated": last_updated}, msgspec.json.decode(state.core)),
        )
        return Accepted(LocationReply())
    return _put_evse(location, {**evse, "last_updated": _latest(evse, old)}, at, meta)


def put_connector(location: Location, command: PutConnector, meta: Meta) -> Outcome:
    state = location.state
    evse = _evse(state, command.evse_uid.lower()) if _is_known(state, command.holder) else None
    if evse is None:
        return _unknown_evse(command, command.evse_uid)
    if wrong := _wrong_connector(command.connector):
        return Rejected(Refusal.INVALID, wrong)
    old = _connector(evse, str(command.connector["id"]))
    if old is not None and _moment(command.connector) < _moment(old):
        return Accepted(LocationReply(applied=False))
    return _put_connector(location, evse, command.connector, meta, created=old is None)


def patch_connector(location: Location, command: PatchConnector, meta: Meta) -> Outcome:
    state = location.state
    evse = _evse(state, command.evse_uid.lower()) if _is_known(state, command.holder) else None
    if evse is None:
        return _unknown_evse(command, command.evse_uid)
    old = _connector(evse, command.connector_id)
    if old is None:
        return Rejected(Refusal.UNKNOWN, f"its EVSE has no connector {command.connector_id[:40]}")
    if wrong := _wrong_age(command.patch):
        return Rejected(Refusal.INVALID, wrong)
    if _moment(command.patch) < _moment(old):
        return Accepted(LocationReply(applied=False))
    try:
        connector = _patched(v2_3_0.Connector, old, command.patch)
    except OcpiInvalidError as error:
        return Rejected(Refusal.INVALID, str(error))
    if _connector_key(connector) != _connector_key(old):
        return Rejected(Refusal.INVALID, "id: cannot change")
    return _put_connector(location, evse, connector, meta)


def remove(location: Location, command: RemoveLocation, meta: Meta) -> Outcome:
    if not _is_known(location.state, command.holder):
        return _unknown_location(command)
    location.trigger(LocationRemoved, meta.at)
    return Accepted(LocationReply())


def note_site(location: Location, command: NoteSite, meta: Meta) -> Outcome:
    known, said = location.state.said, command.said
    if known is None or (known.at, known.charge_point_id) < (said.at, said.charge_point_id):
        location.trigger(SiteSaid, meta.at, tenant=command.tenant, said=said)
    return Accepted()


def _is_older(state: LocationState, at: datetime, command: _OfLocation) -> bool:
    """Whether a newer one is known. Of a tenant's, whose times are our own processes', the log's order counts."""
    return command.owner is not None and state.own_at is not None and at < state.own_at


def _is_known(state: LocationState, holder: str) -> bool:
    return state.present and state.holder == holder


def _put(
    location: Location, command: _OfLocation, given: JSONObject, meta: Meta, *, created: bool
) -> Outcome:
    """What is newer of each EVSE stays, or comes."""
    state = location.state
    at = _moment(given)
    if not created and _is_older(state, at, command):
        return Accepted(LocationReply(applied=False))
    before = {} if created else {uid: msgspec.json.decode(text) for uid, text in state.evses.items()}
    try:
        evses, evse_at = _with_evses(given, before, {} if created else state.evse_at, at)
    except ValueError as error:
        return Rejected(Refusal.INVALID, str(error))
    core = {name: value for name, value in given.items() if name != "evses"}
    core["last_updated"] = _latest(core, *evses)
    whole = {**core, "evses": evses} if evses else core
    if not created and whole == _whole(state) and at == state.own_at:
        return Accepted(LocationReply())
    if (large := _too_large(whole)) is not None:
        return large
    location.trigger(
        LocationPut,
        meta.at,
        owner=command.owner,
        tenant=command.tenant,
        audience=command.audience,
        holder=command.holder,
        location=whole,
        own_at=at,
        evse_at=evse_at,
    )
    return Accepted(LocationReply(created=created))


def _with_evses(
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
        old, own = before.get(uid), _moment(evse)
        if old is not None and own < (known := evse_at.get(uid) or _moment(old)):
            found[uid], own = old, known
        else:
            found[uid] = _with_connectors(evse, old)
        if own < _moment(found[uid]):
            ages[uid] = own
    for uid, old in before.items():
        if uid not in found and (own := evse_at.get(uid) or _moment(old)) > at:
            found[uid] = old
            if own < _moment(old):
                ages[uid] = own
    if len(found) > MOST_EVSES:
        raise ValueError(f"evses: a Location may have {MOST_EVSES} here")
    return list(found.values()), ages


def _with_connectors(evse: JSONObject, old: JSONObject | None) -> JSONObject:
    """An EVSE as a whole, but for connectors of which newer ones are known. Raises ValueError."""
    before = {_connector_key(one): one for one in old["connectors"]} if old is not None else {}
    found: dict[str, JSONObject] = {}
    for one in evse["connectors"]:
        key = _connector_key(one)
        if key in found:
            raise ValueError(f"connectors: {key[:40]} stands there twice in EVSE {str(evse['uid'])[:40]}")
        known = before.get(key)
        found[key] = known if known is not None and _moment(one) < _moment(known) else one
    for key, one in before.items():
        if key not in found and _moment(one) > _moment(evse):
            found[key] = one
    connectors = list(found.values())
    return {**evse, "connectors": connectors, "last_updated": _latest(evse, *connectors)}


def _put_evse(
    location: Location, evse: JSONObject, at: datetime, meta: Meta, *, created: bool = False
) -> Outcome:
    state = location.state
    others = [one for uid, one in state.evses.items() if uid != uid_key(evse)]
    if (large := _too_large(evse, [state.core, *others])) is not None:
        return large
    location.trigger(
        EvsePut,
        meta.at,
        evse=evse,
        own_at=at,
        lifted=at < _moment(evse),
        last_updated=_latest(msgspec.json.decode(state.core), evse),
    )
    return Accepted(LocationReply(created=created))


def _put_connector(
    location: Location, evse: JSONObject, connector: JSONObject, meta: Meta, *, created: bool = False
) -> Outcome:
    key, own_at = _connector_key(connector), _own_at(location.state, evse)
    connectors = [connector if _connector_key(one) == key else one for one in evse["connectors"]]
    if created:
        connectors.append(connector)
    changed = {**evse, "connectors": connectors, "last_updated": _latest(evse, connector)}
    return _put_evse(location, changed, own_at, meta, created=created)


def _patched(model: type[OcpiModel], stored: JSONObject, changes: JSONObject) -> JSONObject:
    """Raises OcpiInvalidError; nothing is applied then."""
    exact, patch = decode(dump(stored)), decode(dump(changes))
    assert isinstance(exact, dict)
    try:
        merged: JSONObject = plain_json(dump_json(apply_patch(model, exact, patch)))
    except ValueError as error:
        raise OcpiInvalidError("", str(error)) from error
    return merged


def _whole(state: LocationState) -> JSONObject:
    core: JSONObject = msgspec.json.decode(state.core)
    evses = [msgspec.json.decode(text) for text in state.evses.values()]
    return {**core, "evses": evses} if evses else core


def _evse(state: LocationState, uid: str) -> JSONObject | None:
    text = state.evses.get(uid)
    return None if text is None else msgspec.json.decode(text)


def _own_at(state: LocationState, evse: JSONObject) -> datetime:
    return state.evse_at.get(uid_key(evse)) or _moment(evse)


def _connector(evse: JSONObject, id: str) -> JSONObject | None:
    return next((one for one in evse["connectors"] if _connector_key(one) == id.lower()), None)


def _connector_key(connector: JSONObject) -> str:
    return str(connector["id"]).lower()


def _wrong_location(value: JSONObject) -> str:
    """What keeps a Location from being taken in: who sends it has looked at the rest."""
    evses = value.get("evses") or []
    if not isinstance(value.get("id"), str) or not isinstance(value.get("publish"), bool):
        return "id, publish: are required"
    if not _is_point(value.get("coordinates")):
        return "coordinates: must be latitude and longitude"
    if not isinstance(evses, list):
        return "evses: must be a list"
    return _wrong_age(value) or next((wrong for one in evses if (wrong := _wrong_evse(one))), "")


def _is_point(value: object) -> bool:
    try:
        return isinstance(value, dict) and all(
            isfinite(float(value[name])) for name in ("latitude", "longitude")
        )
    except (KeyError, TypeError, ValueError):
        return False


def _wrong_evse(value: object) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("uid"), str):
        return "uid: is required"
    connectors = value.get("connectors")
    if not isinstance(connectors, list) or not connectors:
        return "connectors: is required"
    return _wrong_age(value) or next((wrong for one in connectors if (wrong := _wrong_connector(one))), "")


def _wrong_connector(value: object) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return "id: is required"
    return _wrong_age(value)


def _wrong_age(value: JSONObject) -> str:
    try:
        to_date_time(value.get("last_updated"))
    except ValueError as error:
        return f"last_updated: {error}"
    return ""


def _moment(value: JSONObject) -> datetime:
    return to_date_time(value["last_updated"])


def _latest(*values: Mapping[str, Any]) -> str:
    """The newest last_updated of these, as it is written there."""
    texts: Sequence[str] = [value["last_updated"] for value in values]
    return max(texts, key=to_date_time)


def _too_large(value: JSONObject, beside: Iterable[str] = ()) -> Rejected | None:
    """Whether it is too much for one request, or for one Location with what is known of it beside."""
    alone = len(msgspec.json.encode(value))
    if alone > LARGEST:
        line = f"it has {alone} bytes, more than {LARGEST}: put a Location's EVSEs by themselves"
        return Rejected(Refusal.INVALID, line)
    size = alone + sum(map(len, beside))
    if size > LARGEST_WHOLE:
        line = f"the Location would have {size} bytes with it, more than {LARGEST_WHOLE}"
        return Rejected(Refusal.INVALID, line)
    return None


def _unknown_location(command: _OfLocation) -> Rejected:
    return Rejected(Refusal.UNKNOWN, f"there is no location {command.location_id[:40]}")


def _unknown_evse(command: _OfLocation, uid: str) -> Rejected:
    return Rejected(Refusal.UNKNOWN, f"location {command.location_id[:40]} has no EVSE {uid[:40]}")


ROUTES: dict[type[Command], Route] = {
    PutLocation: Route(Location, put),
    PatchLocation: Route(Location, patch),
    PutEvse: Route(Location, put_evse),
    PatchEvse: Route(Location, patch_evse),
    PutConnector: Route(Location, put_connector),
    PatchConnector: Route(Location, patch_connector),
    RemoveLocation: Route(Location, remove),
    NoteSite: Route(Location, note_site),
}
