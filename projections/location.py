"""Where one can charge (`chargesphere.locations`): one document a charge point, told as OCPI Locations when read.

What enters: what a charge point's events say of its place, its EVSEs, their statuses and its connection. What leaves:
guarded writes, and `told_as_locations`, which puts together the charge points that stand at one site. Each charge
point is its own source, so no order between them matters. It never knows which party a tenant is: who reads does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from commands.base import Meta
from domain.aggregate import Event
from domain.charge_point import (
    ChargePoint,
    ChargePointChanged,
    ChargePointConnected,
    ChargePointDisconnected,
    ChargePointRegistered,
    ChargePointRemoved,
    StatusReported,
)
from domain.values import UNASSIGNED, Evse, Site
from projections.base import Feed
from projections.moment import utc_text
from projections.store import HUB, JSON, Append, Document, IndexSpec, Put, Write, geo_index, index

STATUS: Final = {
    "Available": "AVAILABLE",
    "Preparing": "CHARGING",
    "Charging": "CHARGING",
    "SuspendedEV": "CHARGING",
    "SuspendedEVSE": "CHARGING",
    "Finishing": "CHARGING",
    "Reserved": "RESERVED",
    "Unavailable": "INOPERATIVE",
    "Faulted": "OUTOFORDER",
}
"""OCPP 1.6 status of a connector to OCPI status of its EVSE."""
UNKNOWN_AFTER: Final = timedelta(minutes=15)
"""How long after its connection ended a charge point's last statuses count (ST-4)."""


def location_key(tenant: str, location_id: str) -> str:
    """What the documents of all charge points at one site have in `key`."""
    return f"{tenant}|{location_id}"


def writes(event: Event, meta: Meta) -> Sequence[Write]:
    """The document is `{tenant}|{charge point}`.

    `site` and `evses` are as OCPI's Location and EVSE, without statuses; `connector_{n}` is the status of the n-th
    EVSE, `connector_0` the charge point's own. `connected` is the newest connection, `ended` the last that is over.
    """
    _, tenant, charge_point_id = event.originator_id.split("|", 2)
    id, at = f"{tenant}|{charge_point_id}", utc_text(event.timestamp)
    changed: Document = {}
    match event:
        case ChargePointRegistered() | ChargePointChanged():
            changed = _place(tenant, event.site, event.evses, at)
            if isinstance(event, ChargePointRegistered):
                whole: Document = {
                    "tenant_id": tenant,
                    "charge_point_id": charge_point_id,
                    "removed": False,
                    "connected": None,
                    "ended": None,
                    "last_updated": at,
                    **changed,
                }
                return (Put(HUB, "locations", id, event.originator_version, whole),)
        case ChargePointRemoved():
            changed = {"removed": True, "geo": None}
        case StatusReported(stale=False):
            changed[f"connector_{event.connector_id}"] = {"status": STATUS.get(event.status), "at": at}
        case ChargePointConnected():
            changed["connected"] = {"epoch": event.epoch, "at": at, "event": event.originator_version}
        case ChargePointDisconnected():
            changed["ended"] = {"epoch": event.epoch, "at": at, "event": event.originator_version}
        case _:
            return ()
    if not isinstance(event, ChargePointDisconnected):
        changed["last_updated"] = at
    return (Append(HUB, "locations", id, event.originator_version, set=changed),)


def _place(tenant: str, site: Site, evses: Sequence[Evse], at: str | None) -> Document:
    connectors = [one for evse in evses for one in evse.connectors]
    point = site.coordinates
    geo: Document | None = None
    if point is not None:
        geo = {"type": "Point", "coordinates": [float(point.longitude), float(point.latitude)]}
    return {
        "location_id": site.id,
        "key": location_key(tenant, site.id),
        "geo": geo,
        "placed_at": at,
        "standards": sorted({one.standard for one in connectors}),  # type: ignore[dict-item]
        "max_power": max((one.max_power for one in connectors), default=0),
        "site": _site(site),
        "evses": [_evse(evse, at) for evse in evses],
    }


def _site(site: Site) -> Document:
    out: Document = {"address": site.address, "city": site.city, "country": site.country}
    if site.name:
        out["name"] = site.name
    if site.postal_code:
        out["postal_code"] = site.postal_code
    if site.coordinates is not None:
        out["coordinates"] = {
            "latitude": site.coordinates.latitude,
            "longitude": site.coordinates.longitude,
        }
    out["time_zone"] = site.time_zone
    return out


def _evse(evse: Evse, at: str | None) -> Document:
    named: Document = {"uid": evse.uid, "evse_id": evse.evse_id} if evse.evse_id else {"uid": evse.uid}
    connectors: list[JSON] = []
    for one in evse.connectors:
        connector: Document = {
            "id": one.id,
            "standard": one.standard,
            "format": one.format,
            "power_type": one.power_type,
            "max_voltage": one.max_voltage,
            "max_amperage": one.max_amperage,
            "max_electric_power": one.max_power,
            "last_updated": at,
        }
        if one.tariff_ids:
            connector["tariff_ids"] = list(one.tariff_ids)
        connectors.append(connector)
    return {**named, "connectors": connectors}


def told_as_locations(
    documents: Iterable[Document], parties: Mapping[str, str | None], now: datetime
) -> dict[str, Document]:
    """OCPI 2.3.0 Locations by `key`, in the order in which the documents name them first.

    `parties` are tenants' parties, `DE*ABC`; without one a Location has no country_code and party_id, so it is
    nothing to send. Of several charge points at one site, the one placed last says what the site is. EVSEs of
    removed charge points are REMOVED. `coordinates` are missing where nobody said them.
    """
    sites: dict[str, list[Document]] = {}
    for document in documents:
        sites.setdefault(str(document["key"]), []).append(document)
    return {key: _location(sorted(group, key=_order), parties, now) for key, group in sites.items()}


def _order(document: Document) -> tuple[str, str]:
    return str(document["placed_at"]), str(document["charge_point_id"])


def _location(group: Sequence[Document], parties: Mapping[str, str | None], now: datetime) -> Document:
    newest = group[-1]
    country_code, _, party_id = (parties.get(str(newest["tenant_id"])) or "").partition("*")
    out: Document = {"country_code": country_code, "party_id": party_id} if party_id else {}
    site = newest["site"]
    assert isinstance(site, dict)
    evses = [evse for document in group for evse in _evses(document, now)]
    last_updated = max(str(one["last_updated"]) for one in [*group, *evses])
    return {
        **out,
        "id": newest["location_id"],
        "publish": newest["location_id"] != UNASSIGNED,
        **site,
        "evses": list(evses),
        "last_updated": last_updated,
    }


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
        status, at = _said(document, number)
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


def _said(document: Document, number: int) -> tuple[str, str]:
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
    begins = datetime.fromisoformat(str(ended["at"])) + UNKNOWN_AFTER
    over = ended["epoch"] == connected["epoch"] and int(str(ended["event"])) > int(str(connected["event"]))
    if over:
        return now >= begins, str(utc_text(begins)) if now >= begins else ""
    back = datetime.fromisoformat(str(connected["at"]))
    return False, str(connected["at"]) if back >= begins else ""


LOCATIONS = Feed("locations", ChargePoint.kind, writes)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        geo_index(HUB, "locations"),
        index(HUB, "locations", "key"),
        index(HUB, "locations", "location_id"),
        index(HUB, "locations", "tenant_id", "last_updated"),
    )
