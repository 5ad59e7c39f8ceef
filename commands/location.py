"""What can be asked of a Location: to be what its owner says, as a whole, in one of its parts, or by a change.

A PATCH is merged here, into what the log has: one whose PUT is on its way finds it. What is older than what is known
of the same object (the Location by itself, an EVSE, a connector) is acknowledged and not applied, so that whatever
order requests come in, the newest of each stands in the end. A newer part lifts last_updated of what it belongs to.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from commands.location_rules import (
    MOST_EVSES,
    connector_key,
    connector_of,
    latest,
    moment,
    patched,
    too_large,
    with_connectors,
    with_evses,
    wrong_age,
    wrong_connector,
    wrong_evse,
    wrong_location,
)
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
from domain.values import JSONObject, PartyId
from protocols.ocpi import OcpiInvalidError, v2_3_0

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
    if wrong := wrong_location(command.location):
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
    if wrong := wrong_age(command.patch):
        return Rejected(Refusal.INVALID, wrong)
    own = command.owner is None
    at = moment(command.patch)
    if _is_older(state, at, command):
        return Accepted(LocationReply(applied=False))
    stored = _whole(state) if "evses" in command.patch else msgspec.json.decode(state.core)
    try:
        merged = patched(v2_3_0.Location, {**_NOBODY, **stored} if own else stored, command.patch)
    except OcpiInvalidError as error:
        return Rejected(Refusal.INVALID, str(error))
    if own:
        merged = {name: value for name, value in merged.items() if name not in _NOBODY}
    for name in ("id", "country_code", "party_id"):
        if str(merged.get(name)).lower() != str(stored.get(name)).lower():
            return Rejected(Refusal.INVALID, f"{name}: cannot change")
    if "evses" in command.patch:
        return _put(location, command, merged, meta, created=False)
    core = {**merged, "last_updated": latest(merged, msgspec.json.decode(state.core))}
    if (large := too_large(core, state.evses.values())) is not None:
        return large
    location.trigger(LocationChanged, meta.at, location=core, own_at=at)
    return Accepted(LocationReply())


def put_evse(location: Location, command: PutEvse, meta: Meta) -> Outcome:
    state = location.state
    if not _is_known(state, command.holder):
        return _unknown_location(command)
    if wrong := wrong_evse(command.evse):
        return Rejected(Refusal.INVALID, wrong)
    old = _evse(state, uid_key(command.evse))
    at = moment(command.evse)
    if old is not None and at < _own_at(state, old):
        return Accepted(LocationReply(applied=False))
    if old is None and len(state.evses) >= MOST_EVSES:
        return Rejected(Refusal.INVALID, f"evses: a Location may have {MOST_EVSES} here")
    try:
        evse = with_connectors(command.evse, old)
    except ValueError as error:
        return Rejected(Refusal.INVALID, str(error))
    return _put_evse(location, evse, at, meta, created=old is None)


def patch_evse(location: Location, command: PatchEvse, meta: Meta) -> Outcome:
    state = location.state
    old = _evse_named(state, command)
    if old is None:
        return _unknown_evse(command, command.evse_uid)
    if wrong := wrong_age(command.patch):
        return Rejected(Refusal.INVALID, wrong)
    at = moment(command.patch)
    if at < _own_at(state, old):
        return Accepted(LocationReply(applied=False))
    try:
        evse = patched(v2_3_0.EVSE, old, command.patch)
    except OcpiInvalidError as error:
        return Rejected(Refusal.INVALID, str(error))
    if uid_key(evse) != uid_key(old):
        return Rejected(Refusal.INVALID, "uid: cannot change")
    if command.patch.keys() <= {"status", "last_updated"}:
        last_updated = latest(evse, old)
        location.trigger(
            EvseStatusChanged,
            meta.at,
            evse_uid=str(old["uid"]),
            status=str(evse["status"]),
            evse_last_updated=last_updated,
            own_at=at,
            last_updated=latest({"last_updated": last_updated}, msgspec.json.decode(state.core)),
        )
        return Accepted(LocationReply())
    try:
        evse = with_connectors(evse, old)
    except ValueError as error:
        return Rejected(Refusal.INVALID, str(error))
    return _put_evse(location, {**evse, "last_updated": latest(evse, old)}, at, meta)


def put_connector(location: Location, command: PutConnector, meta: Meta) -> Outcome:
    state = location.state
    evse = _evse_named(state, command)
    if evse is None:
        return _unknown_evse(command, command.evse_uid)
    if wrong := wrong_connector(command.connector):
        return Rejected(Refusal.INVALID, wrong)
    old = connector_of(evse, str(command.connector["id"]))
    if old is not None and moment(command.connector) < moment(old):
        return Accepted(LocationReply(applied=False))
    return _put_connector(location, evse, command.connector, meta, created=old is None)


def patch_connector(location: Location, command: PatchConnector, meta: Meta) -> Outcome:
    state = location.state
    evse = _evse_named(state, command)
    if evse is None:
        return _unknown_evse(command, command.evse_uid)
    old = connector_of(evse, command.connector_id)
    if old is None:
        return Rejected(Refusal.UNKNOWN, f"its EVSE has no connector {command.connector_id[:40]}")
    if wrong := wrong_age(command.patch):
        return Rejected(Refusal.INVALID, wrong)
    if moment(command.patch) < moment(old):
        return Accepted(LocationReply(applied=False))
    try:
        connector = patched(v2_3_0.Connector, old, command.patch)
    except OcpiInvalidError as error:
        return Rejected(Refusal.INVALID, str(error))
    if connector_key(connector) != connector_key(old):
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
    at = moment(given)
    if not created and _is_older(state, at, command):
        return Accepted(LocationReply(applied=False))
    before = {} if created else {uid: msgspec.json.decode(text) for uid, text in state.evses.items()}
    try:
        evses, evse_at = with_evses(given, before, {} if created else state.evse_at, at)
    except ValueError as error:
        return Rejected(Refusal.INVALID, str(error))
    core = {name: value for name, value in given.items() if name != "evses"}
    core["last_updated"] = latest(core, *evses)
    whole = {**core, "evses": evses} if evses else core
    if not created and whole == _whole(state) and at == state.own_at:
        return Accepted(LocationReply())
    if (large := too_large({**whole, "ages": evse_at} if evse_at else whole)) is not None:
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


def _put_evse(
    location: Location, evse: JSONObject, at: datetime, meta: Meta, *, created: bool = False
) -> Outcome:
    state = location.state
    others = [one for uid, one in state.evses.items() if uid != uid_key(evse)]
    if (large := too_large(evse, [state.core, *others])) is not None:
        return large
    location.trigger(
        EvsePut,
        meta.at,
        evse=evse,
        own_at=at,
        lifted=at < moment(evse),
        last_updated=latest(msgspec.json.decode(state.core), evse),
    )
    return Accepted(LocationReply(created=created))


def _put_connector(
    location: Location, evse: JSONObject, connector: JSONObject, meta: Meta, *, created: bool = False
) -> Outcome:
    key, own_at = connector_key(connector), _own_at(location.state, evse)
    connectors = [connector if connector_key(one) == key else one for one in evse["connectors"]]
    if created:
        connectors.append(connector)
    changed = {**evse, "connectors": connectors, "last_updated": latest(evse, connector)}
    return _put_evse(location, changed, own_at, meta, created=created)


def _whole(state: LocationState) -> JSONObject:
    core: JSONObject = msgspec.json.decode(state.core)
    evses = [msgspec.json.decode(text) for text in state.evses.values()]
    return {**core, "evses": evses} if evses else core


def _evse_named(
    state: LocationState, command: PatchEvse | PutConnector | PatchConnector
) -> JSONObject | None:
    """The EVSE that is meant; None where its holder has none such here."""
    return _evse(state, command.evse_uid.lower()) if _is_known(state, command.holder) else None


def _evse(state: LocationState, uid: str) -> JSONObject | None:
    text = state.evses.get(uid)
    return None if text is None else msgspec.json.decode(text)


def _own_at(state: LocationState, evse: JSONObject) -> datetime:
    return state.evse_at.get(uid_key(evse)) or moment(evse)


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
