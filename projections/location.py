"""Locations, of tenants and of partners (`chargesphere.locations`), told as OCPI 2.3.0 Locations when they are read.

`_id` is `tenant:demo|id`, `NL*CPO|id` or, pushed to one party, `NL*CPO>DE*MSP|id`, the id in lower case. `location`
is the Location without its EVSEs, null while a tenant has no master data and only `said` says what the site is;
`evse_{n}` are a partner's EVSEs. `listed_to` says who sees it: a tenant's (`tenant:demo`) and a partner's
(`{holder}|{owner}`) everybody, a partner's with `>{party}` that party alone. `touched` is a part of its own: when
anything of it, or of what stands there, changed last, by our clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from commands.base import Meta
from domain.charge_point.state import STATUSES_LAST
from domain.location import (
    EvsePut,
    EvseStatusChanged,
    Location,
    LocationChanged,
    LocationPut,
    LocationRemoved,
    SiteSaid,
    owner_text,
    uid_key,
    with_status,
)
from domain.values import UNASSIGNED, Site, phases
from projections.base import Target, View
from projections.moment import utc_text
from projections.placement import TOUCHED, site_document, touched
from projections.store import HUB, JSON, Document, IndexSpec, Write, geo_index, index, objects

MOST_WATTS: Final = 2**63 - 1

LocationEvent = LocationPut | LocationChanged | EvsePut | EvseStatusChanged | LocationRemoved | SiteSaid


def target(event: LocationEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: LocationEvent, meta: Meta) -> Document | None:
    at = utc_text(event.timestamp)
    if isinstance(event, LocationPut):
        return _put(document, event, at)
    if isinstance(event, SiteSaid):
        return _said(document, event, at)
    if document is None:
        return None
    out: Document = {**document, "updated_at": at}
    match event:
        case LocationChanged():
            published = out["published"] is True or event.location.get("publish") is True
            out |= {"location": event.location, "geo": _geo(event.location), "published": published}
        case EvsePut():
            out[_field(out, uid_key(event.evse))] = event.evse
            out |= {"location": _lifted(out, event.last_updated), **_found_by(evses_of(out))}
        case EvseStatusChanged():
            field = _field(out, event.evse_uid.lower())
            evse = out[field]
            assert isinstance(evse, dict)
            out[field] = with_status(evse, event)
            out["location"] = _lifted(out, event.last_updated)
        case LocationRemoved():
            out |= {"removed": True, "geo": None, "published": bool(out["published"] or out["said"])}
    return {**out, "listed_to": _listed_to(out)}


def _put(before: Document | None, event: LocationPut, at: str | None) -> Document:
    known = before if before is not None and before["holder"] == (event.holder or None) else None
    core: Document = {name: value for name, value in event.location.items() if name != "evses"}
    evses: list[Document] = list(event.location.get("evses", ()))
    out: Document = {
        "owner": owner_text(event.owner, event.tenant),
        "audience": str(event.audience) if event.audience is not None else None,
        "tenant_id": event.tenant or None,
        "holder": event.holder or None,
        "location_id": str(core["id"]),
        "id_key": str(core["id"]).lower(),
        "created_at": known["created_at"] if known is not None else at,
        "updated_at": at,
        "removed": False,
        "published": core["publish"] is True or (known is not None and known["published"] is True),
        "location": core,
        "said": known["said"] if known is not None else None,
        "geo": _geo(core),
        **{f"evse_{number}": evse for number, evse in enumerate(evses)},
        **_found_by(evses),
    }
    return {**out, "listed_to": _listed_to(out)}


def _said(before: Document | None, event: SiteSaid, at: str | None) -> Document:
    said = event.said
    told: Document = {"charge_point_id": said.charge_point_id, "site": site_document(said.site)}
    if before is not None:
        managed = before["location"] is not None and not before["removed"]
        out: Document = {**before, "updated_at": at, "said": told}
        out["published"] = before["published"] is True or not managed
        return {**out, "listed_to": _listed_to(out)}
    out = {
        "owner": owner_text(None, event.tenant),
        "audience": None,
        "tenant_id": event.tenant,
        "holder": None,
        "location_id": said.site.id,
        "id_key": said.site.id.lower(),
        "created_at": at,
        "updated_at": at,
        "removed": False,
        "published": True,
        "location": None,
        "said": told,
        "geo": None,
        **_found_by(()),
    }
    return {**out, "listed_to": _listed_to(out)}


def _listed_to(document: Document) -> JSON:
    if document["published"] is not True:
        return None
    if document["tenant_id"] is not None:
        return document["owner"]
    return listed_to(str(document["holder"]), str(document["owner"]), document["audience"])


def listed_to(holder: str, owner: str, audience: object = None) -> str:
    """What a partner's Locations have in `listed_to` that this holder pushed for this party."""
    return f"{holder}|{owner}" if audience is None else f"{holder}|{owner}>{audience}"


def _lifted(document: Document, last_updated: str) -> Document:
    core = document["location"]
    assert isinstance(core, dict)
    return {**core, "last_updated": last_updated}


def _field(document: Document, uid: str) -> str:
    """The field of this EVSE, or the next one that is free."""
    number = 0
    while isinstance(evse := document.get(f"evse_{number}"), dict):
        if uid_key(evse) == uid:
            break
        number += 1
    return f"evse_{number}"


def evses_of(document: Document) -> list[Document]:
    """The EVSEs that a partner pushed, in the order in which they came."""
    found: list[Document] = []
    while isinstance(evse := document.get(f"evse_{len(found)}"), dict):
        found.append(evse)
    return found


def _found_by(evses: Iterable[Document]) -> Document:
    """By what a search finds a partner's."""
    connectors = [one for evse in evses for one in objects(evse["connectors"])]
    return {
        "standards": sorted({str(one["standard"]) for one in connectors}),  # type: ignore[dict-item]
        "max_power": max((power_of(one) for one in connectors), default=0),
    }


def power_of(connector: Document) -> int:
    """Watts: as said, else what volts, amperes and phases make, as far as a read model can hold it."""
    said = connector.get("max_electric_power")
    if isinstance(said, int):
        return said
    volts, amperes = int(str(connector["max_voltage"])), int(str(connector["max_amperage"]))
    return min(volts * amperes * phases(str(connector["power_type"])), MOST_WATTS)


def _geo(core: Mapping[str, Any]) -> Document | None:
    point = core["coordinates"]
    longitude, latitude = float(point["longitude"]), float(point["latitude"])
    if abs(longitude) > 180 or abs(latitude) > 90:
        return None
    return {"type": "Point", "coordinates": [longitude, latitude]}


def _also(target: Target, document: Document, version: int) -> Sequence[Write]:
    return (touched(target.id, datetime.fromisoformat(str(document["updated_at"]))),)


VIEW = View("locations", Location.kind, "locations", target, evolve, keep=(TOUCHED,), dense=True, also=_also)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        geo_index(HUB, "locations"),
        index(HUB, "locations", "id_key"),
        index(HUB, "locations", "listed_to", "created_at"),
        index(HUB, "locations", "listed_to", "touched.at"),
        index(HUB, "locations", "tenant_id", "created_at"),
    )


# --- as OCPI tells them ----------------------------------------------------------------------------------


def pushed_location(document: Document) -> Document:
    """An OCPI 2.3.0 Location as a partner pushed it."""
    core = document["location"]
    assert isinstance(core, dict)
    evses = evses_of(document)
    return {**core, "evses": list(evses)} if evses else dict(core)


def master_of(document: Document) -> Document | None:
    """A tenant's master data, while it has some; without party and EVSEs."""
    core = document["location"]
    return core if isinstance(core, dict) and not document["removed"] else None


def site_of_master(master: Document) -> Site:
    """What a charge needs to know of its Location."""
    known = {name: value for name, value in master.items() if name in Site.__struct_fields__ and value}
    return msgspec.convert(known, Site)


def told_as_locations(
    placements: Iterable[Document],
    parties: Mapping[str, str | None],
    now: datetime,
    documents: Mapping[str, Document] | None = None,
) -> dict[str, Document]:
    """Tenants' OCPI 2.3.0 Locations by key, in the order in which the charge points name them first, then the others.

    `documents` are the Locations' own: master data win over what charge points say. Without them, of several charge
    points at one site the one placed last says what the site is. `parties` are tenants' parties, `DE*ABC`; without
    one a Location has no country_code and party_id, so it is nothing to send. EVSEs of removed charge points are
    REMOVED. What was told once and has no master data and no charge points any more, or none that says enough of the
    site, is told as not to be published.
    """
    known = documents or {}
    sites: dict[str, list[Document]] = {}
    for placement in placements:
        sites.setdefault(str(placement["key"]), []).append(placement)
    for key in known:
        sites.setdefault(key, [])
    found: dict[str, Document] = {}
    for key, group in sites.items():
        location = _location(sorted(group, key=_order), known.get(key), parties, now)
        if location is not None:
            found[key] = location
    return found


def _order(placement: Document) -> tuple[str, str]:
    return str(placement["placed_at"]), str(placement["charge_point_id"])


def _location(
    group: Sequence[Document], document: Document | None, parties: Mapping[str, str | None], now: datetime
) -> Document | None:
    newest = group[-1] if group else None
    about = newest or document
    if about is None:
        return None
    country_code, _, party_id = (parties.get(str(about["tenant_id"])) or "").partition("*")
    out: Document = {"country_code": country_code, "party_id": party_id} if party_id else {}
    evses = _standing([evse for placement in group for evse in _evses(placement, now)])
    times = [str(one["last_updated"]) for one in [*group, *evses]]
    if document is not None:
        times.append(str(document["updated_at"]))
        if isinstance(touch := document.get(TOUCHED), dict):
            times.append(str(touch["at"]))
    own = _own(newest, document)
    if own is None:
        return None
    managed = document is not None and master_of(document) is not None
    if not managed and all(one["removed"] for one in group):
        own = {**own, "publish": False}
    return {**out, **own, "evses": list(evses), "last_updated": max(times)}


def _own(newest: Document | None, document: Document | None) -> Document | None:
    """What the Location is by itself."""
    core: JSON = None
    if document is not None:
        if (master := master_of(document)) is not None:
            return master
        core, said = document["location"], document["said"]
        if isinstance(said, dict):
            return _site(document["location_id"], said["site"])
    if newest is not None and (core is None or _is_place(newest["site"])):
        return _site(newest["location_id"], newest["site"])
    return {**core, "publish": False} if isinstance(core, dict) else None


def _is_place(site: JSON) -> bool:
    """As `domain.location.is_place`."""
    return isinstance(site, dict) and all(
        site.get(name) for name in ("address", "city", "country", "coordinates")
    )


def _site(id: JSON, site: JSON) -> Document:
    assert isinstance(site, dict)
    return {"id": id, "publish": id != UNASSIGNED, **site}


def _evses(document: Document, now: datetime) -> list[Document]:
    evses = document["evses"]
    assert isinstance(evses, list)
    silent, since = _silence(document, now)
    shared = [str(document["placed_at"]), since]
    if document["removed"]:
        shared.append(str(document["last_updated"]))
    out: list[Document] = []
    for number, evse in enumerate(evses, 1):
        assert isinstance(evse, dict)
        status, at = _heard(document, number)
        if silent:
            status = "UNKNOWN"
        if document["removed"]:
            status = "REMOVED"
        named = {name: value for name, value in evse.items() if name != "connectors"}
        out.append(
            {
                **named,
                "status": status,
                "connectors": evse["connectors"],
                "last_updated": max([*shared, at]),
            }
        )
    return out


def _heard(document: Document, number: int) -> tuple[str, str]:
    """The status of an EVSE as last heard, and when; empty for never."""
    own = document.get(f"connector_{number}")
    if not isinstance(own, dict):
        return "UNKNOWN", ""
    return str(own["status"] or "UNKNOWN"), str(own["at"])


def _silence(document: Document, now: datetime) -> tuple[bool, str]:
    """Whether it has been away for so long that nothing is known of it, and when that began or ended."""
    connected, ended = document["connected"], document["ended"]
    if not isinstance(ended, dict) or not isinstance(connected, dict):
        return False, ""
    begins = datetime.fromisoformat(str(ended["at"])) + STATUSES_LAST
    over = ended["epoch"] == connected["epoch"] and int(str(ended["event"])) > int(str(connected["event"]))
    if over:
        return now >= begins, str(utc_text(begins)) if now >= begins else ""
    back = datetime.fromisoformat(str(connected["at"]))
    return False, str(connected["at"]) if back >= begins else ""


def _standing(evses: Sequence[Document]) -> list[Document]:
    """Without those that are removed and have come back, there or at another charge point: the newest of each uid."""
    there = {uid_key(evse) for evse in evses if evse["status"] != "REMOVED"}
    left: dict[str, Document] = {}
    for evse in evses:
        key = uid_key(evse)
        if key not in there and (
            key not in left or str(left[key]["last_updated"]) < str(evse["last_updated"])
        ):
            left[key] = evse
    return [one for one in evses if one["status"] != "REMOVED" or left.get(uid_key(one)) is one]
