"""What stands where (`chargesphere.placements`): one document a charge point, with its EVSEs and their statuses.

What enters: what a charge point's events say of its place, its EVSEs, their statuses and its connection. What leaves:
guarded writes, and for the Location where it stands the time at which that changed. Each charge point is its own
source, so no order between them matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from commands.base import Meta
from domain.aggregate import Event
from domain.charge_point import (
    ChargePoint,
    ChargePointChanged,
    ChargePointConnected,
    ChargePointDisconnected,
    ChargePointRegistered,
    ChargePointRemoved,
    StatusesLapsed,
    StatusReported,
)
from domain.location import location_key
from domain.values import UNASSIGNED, Evse, Site
from projections.base import Feed
from projections.moment import utc_text
from projections.store import (
    HUB,
    JSON,
    Append,
    Document,
    IndexSpec,
    Insert,
    Put,
    PutPart,
    Write,
    geo_index,
    index,
)

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
TOUCHED: Final = "touched"
"""The part of a Location's document that says when anything of it, or of what stands there, changed last."""


def touched(key: str, at: datetime) -> Write:
    """Something of the Location, or of what stands there, has changed: of several times the newest stands."""
    version = round(at.timestamp() * 1_000_000)
    return PutPart(HUB, "locations", key, TOUCHED, version, {"at": utc_text(at)})


def writes(event: Event, meta: Meta) -> Sequence[Write]:
    """The document is `{tenant}|{charge point}`; EVSEs that it has no more, or has taken elsewhere, are one of their
    own, `{tenant}|{charge point}/{version}`, as if they were a charge point that was removed.

    `site` and `evses` are as OCPI's Location and EVSE, without statuses; `connector_{n}` is the status of the n-th
    EVSE, `connector_0` the charge point's own. `connected` is the newest connection, `ended` the last that is over.
    """
    _, tenant, charge_point_id = event.originator_id.split("|", 2)
    id, at = f"{tenant}|{charge_point_id}", utc_text(event.timestamp)
    changed: Document = {}
    at_locations: tuple[str, ...] = ()
    gone: tuple[Write, ...] = ()
    match event:
        case ChargePointRegistered():
            whole: Document = {
                "tenant_id": tenant,
                "charge_point_id": charge_point_id,
                "removed": False,
                "connected": None,
                "ended": None,
                "last_updated": at,
                **_place(tenant, event.site, event.evses, at),
            }
            put = Put(HUB, "placements", id, event.originator_version, whole)
            gone = (_gone(tenant, charge_point_id, event, at),) if event.gone else ()
            return (put, *gone, *_touched(tenant, event.timestamp, event.site.id, event.moved_from))
        case ChargePointChanged():
            changed = _place(tenant, event.site, event.evses, at)
            at_locations = (event.site.id, event.moved_from)
            if event.gone:
                gone = (_gone(tenant, charge_point_id, event, at),)
        case ChargePointRemoved():
            changed = {"removed": True, "geo": None}
            at_locations = (event.location_id,)
        case StatusReported(stale=False):
            changed[f"connector_{event.connector_id}"] = {"status": STATUS.get(event.status), "at": at}
            at_locations = (event.location_id,)
        case ChargePointConnected():
            changed["connected"] = {"epoch": event.epoch, "at": at, "event": event.originator_version}
            at_locations = (event.location_id,)
        case ChargePointDisconnected():
            changed["ended"] = {"epoch": event.epoch, "at": at, "event": event.originator_version}
        case StatusesLapsed():
            at_locations = (event.location_id,)
        case _:
            return ()
    if not isinstance(event, ChargePointDisconnected | StatusesLapsed):
        changed["last_updated"] = at
    write = Append(HUB, "placements", id, event.originator_version, set=changed)
    return (write, *gone, *_touched(tenant, event.timestamp, *at_locations))


def _gone(
    tenant: str, charge_point_id: str, event: ChargePointRegistered | ChargePointChanged, at: str | None
) -> Write:
    left = event.moved_from or event.site.id
    document: Document = {
        "tenant_id": tenant,
        "charge_point_id": charge_point_id,
        "removed": True,
        "connected": None,
        "ended": None,
        "last_updated": at,
        **_place(tenant, msgspec.structs.replace(event.site, id=left), event.gone, at),
        "geo": None,
        "placed_at": "",  # whoever stands there says what the site is
    }
    return Insert(HUB, "placements", f"{tenant}|{charge_point_id}/{event.originator_version}", document)


def _touched(tenant: str, at: datetime, *location_ids: str) -> Sequence[Write]:
    places = [id for id in location_ids if id not in ("", UNASSIGNED)]
    return [touched(location_key(None, tenant, id), at) for id in places]


def _place(tenant: str, site: Site, evses: Sequence[Evse], at: str | None) -> Document:
    connectors = [one for evse in evses for one in evse.connectors]
    point = site.coordinates
    geo: Document | None = None
    if point is not None:
        geo = {"type": "Point", "coordinates": [float(point.longitude), float(point.latitude)]}
    return {
        "location_id": site.id,
        "id_key": site.id.lower(),
        "key": location_key(None, tenant, site.id),
        "geo": geo,
        "placed_at": at,
        "standards": sorted({one.standard for one in connectors}),  # type: ignore[dict-item]
        "max_power": max((one.max_power for one in connectors), default=0),
        "site": site_document(site),
        "evses": [_evse(evse, at) for evse in evses],
    }


def site_document(site: Site) -> Document:
    """What a charge point says of its site, as OCPI's Location has it."""
    out: Document = {"address": site.address, "city": site.city, "country": site.country}
    if site.name:
        out["name"] = site.name
    if site.postal_code:
        out["postal_code"] = site.postal_code
    if site.coordinates is not None:
        out["coordinates"] = {
            "latitude": _degrees(site.coordinates.latitude),
            "longitude": _degrees(site.coordinates.longitude),
        }
    out["time_zone"] = site.time_zone
    return out


def _degrees(text: str) -> str:
    """With at least the five decimals that OCPI's GeoLocation has."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<5}"


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


PLACEMENTS = Feed("placements", ChargePoint.kind, writes)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        geo_index(HUB, "placements"),
        index(HUB, "placements", "key"),
        index(HUB, "placements", "id_key"),
        index(HUB, "placements", "tenant_id", "last_updated"),
    )
