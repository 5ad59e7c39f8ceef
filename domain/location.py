"""A Location: a tenant's master data with what its charge points say of their site, or what a CPO partner pushed.

It is known by its owner and its id, which OCPI compares without case. What stands here of a partner's is an OCPI
2.3.0 Location, its EVSEs apart; of a tenant's it is one without party and EVSEs: those are its charge points'.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import UNASSIGNED, JSONObject, PartyId, Site, Value


def owner_text(owner: PartyId | None, tenant: str, audience: PartyId | None = None) -> str:
    """`tenant:demo` for a tenant's, `NL*CPO` for what a partner pushed to all, `NL*CPO>DE*MSP` to one party."""
    if owner is None:
        return f"tenant:{tenant}"
    return str(owner) if audience is None else f"{owner}>{audience}"


def location_key(
    owner: PartyId | None, tenant: str, location_id: str, audience: PartyId | None = None
) -> str:
    """What it is known by within all Locations."""
    return f"{owner_text(owner, tenant, audience)}|{location_id.lower()}"


def is_place(site: Site) -> bool:
    """Whether a charge point says enough of its site for a Location, whose address and coordinates are required."""
    said = site.address and site.city and site.country and site.coordinates
    return bool(said) and site.id != UNASSIGNED


class Said(Value, frozen=True, kw_only=True):
    """What a charge point said last of the site where it stands."""

    charge_point_id: str
    at: datetime
    site: Site


class LocationState(msgspec.Struct, omit_defaults=True):
    """`core` is the JSON of the Location without its EVSEs, `evses` the JSON of each by its uid in lower case.

    `own_at` is the newest last_updated that the Location had by itself: in `core` stands that of its EVSEs where it
    is newer. `evse_at` is the same of those EVSEs of which a connector is newer.
    """

    holder: str = ""
    present: bool = False
    published: bool = False  # partners have been told of it
    core: str = ""
    evses: dict[str, str] = {}
    own_at: datetime | None = None
    evse_at: dict[str, datetime] = {}
    said: Said | None = None


class Location(Aggregate[LocationState]):
    """`location|{owner}|{id}`."""

    kind: ClassVar[str] = "location"
    state_type = LocationState


class LocationPut(Event, frozen=True, kw_only=True, tag="location.put.v1"):
    """The Location as a whole. `holder` is the platform that spoke for the owner then, `audience` the only party that
    it was pushed to. `own_at` and `evse_at` as in the state."""

    owner: PartyId | None = None
    tenant: str = ""
    audience: PartyId | None = None
    holder: str = ""
    location: JSONObject
    own_at: datetime
    evse_at: dict[str, datetime] = {}

    def apply(self, aggregate: Location) -> None:
        state = aggregate.state
        core = {name: value for name, value in self.location.items() if name != "evses"}
        told = state.published and state.holder == self.holder
        state.holder, state.present = self.holder, True
        state.published = told or core.get("publish") is True
        state.core, state.own_at = _text(core), self.own_at
        state.evses = {uid_key(evse): _text(evse) for evse in self.location.get("evses", ())}
        state.evse_at = dict(self.evse_at)


class LocationChanged(Event, frozen=True, kw_only=True, tag="location.changed.v1"):
    """What it says of itself, without its EVSEs, which stay."""

    location: JSONObject
    own_at: datetime

    def apply(self, aggregate: Location) -> None:
        state = aggregate.state
        state.core, state.own_at = _text(self.location), self.own_at
        state.published = state.published or self.location.get("publish") is True


class EvsePut(Event, frozen=True, kw_only=True, tag="location.evse_put.v1"):
    """One of its EVSEs as a whole. `last_updated` is the Location's from now on."""

    evse: JSONObject
    own_at: datetime
    lifted: bool = False
    """Whether a connector of it is newer than it is by itself."""
    last_updated: str

    def apply(self, aggregate: Location) -> None:
        state, uid = aggregate.state, uid_key(self.evse)
        state.evses[uid] = _text(self.evse)
        state.evse_at.pop(uid, None)
        if self.lifted:
            state.evse_at[uid] = self.own_at
        _lift(state, self.last_updated)


class EvseStatusChanged(Event, frozen=True, kw_only=True, tag="location.evse_status_changed.v1"):
    """One of its EVSEs has another status, and nothing else has changed but when that was."""

    evse_uid: str
    status: str
    evse_last_updated: str
    own_at: datetime
    last_updated: str

    def apply(self, aggregate: Location) -> None:
        state, uid = aggregate.state, self.evse_uid.lower()
        evse = msgspec.json.decode(state.evses[uid])
        lifted = uid in state.evse_at and evse["last_updated"] == self.evse_last_updated
        state.evses[uid] = _text(with_status(evse, self))
        state.evse_at.pop(uid, None)
        if lifted:
            state.evse_at[uid] = self.own_at
        _lift(state, self.last_updated)


class LocationRemoved(Event, frozen=True, kw_only=True, tag="location.removed.v1"):
    """A tenant took its master data away. What its charge points say of their site counts again."""

    def apply(self, aggregate: Location) -> None:
        state = aggregate.state
        state.present = False
        state.published = state.published or state.said is not None


class SiteSaid(Event, frozen=True, kw_only=True, tag="location.site_said.v1"):
    """One of its charge points says what its site is: the newest word counts while there are no master data."""

    tenant: str
    said: Said

    def apply(self, aggregate: Location) -> None:
        state = aggregate.state
        state.said = self.said
        state.published = state.published or not state.present


def uid_key(evse: JSONObject) -> str:
    return str(evse["uid"]).lower()


def with_status(evse: JSONObject, event: EvseStatusChanged) -> JSONObject:
    """The EVSE with the status of the event."""
    return {**evse, "status": event.status, "last_updated": event.evse_last_updated}


def _lift(state: LocationState, last_updated: str) -> None:
    state.core = _text({**msgspec.json.decode(state.core), "last_updated": last_updated})


def _text(value: JSONObject) -> str:
    return msgspec.json.encode(value).decode()


AGGREGATE_EVENTS = (LocationPut, LocationChanged, EvsePut, EvseStatusChanged, LocationRemoved, SiteSaid)
