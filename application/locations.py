"""Locations as they are now, of tenants and of partners: documents of the read store enter, OCPI Locations leave.

A tenant's is put together from its own document and from those of the charge points that stand there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Final

import msgspec

from domain.location import location_key
from domain.values import Site
from projections.location import (
    listed_to,
    master_of,
    power_of,
    pushed_location,
    site_of_master,
    told_as_locations,
)
from projections.store import (
    HUB,
    JSON,
    Condition,
    Document,
    Query,
    ReadStore,
    eq,
    every,
    gt,
    gte,
    has,
    is_in,
    objects,
)

_PAGE: Final = 500
NEAREST: Final = 500
"""So many charge points, Locations of tenants and Locations of partners are looked at in a search."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched: within so many metres of a point; `min_power` in watts; None of `tenant` is all of them."""

    latitude: float
    longitude: float
    radius_m: float
    tenant: str | None = None
    standard: str | None = None
    min_power: int = 0
    available: bool = False


class Near(msgspec.Struct, frozen=True):
    """A Location with what fits in it, and how far it is away, in metres."""

    distance_m: float
    location: Document


async def whole(store: ReadStore, documents: Iterable[Document], now: datetime) -> dict[str, Document]:
    """OCPI 2.3.0 Locations by the ids of their documents, with EVSEs and statuses; what is none is left out.

    A tenant's without a party has no country_code and no party_id.
    """
    own, found = dict[str, Document](), dict[str, Document]()
    for document in documents:
        if document["tenant_id"] is None:
            found[str(document["_id"])] = pushed_location(document)
        else:
            own[str(document["_id"])] = document
    return {**found, **await _with_charge_points(store, own, own, now)}


async def site_at(store: ReadStore, tenant: str, location_id: str) -> Site | None:
    """What a Location of the tenant's is, by its master data or what charge points say; None for an unknown one."""
    document = await store.get(HUB, "locations", location_key(None, tenant, location_id))
    if document is None:
        return None
    if (master := master_of(document)) is not None:
        return site_of_master(master)
    said = document["said"]
    site = said["site"] if isinstance(said, dict) else None
    return site_of_master({"id": document["location_id"], **site}) if isinstance(site, dict) else None


async def _with_charge_points(
    store: ReadStore, keys: Iterable[str], documents: dict[str, Document], now: datetime
) -> dict[str, Document]:
    query = Query(HUB, "placements", (is_in("key", sorted(keys)),), limit=_PAGE)
    placements = [one async for one in every(store, query)]
    ids = {str(one["tenant_id"]) for one in (*placements, *documents.values())}
    tenants = await store.get_many(HUB, "tenants", ids)
    parties = {id: str(tenant.get("party") or "") for id, tenant in tenants.items()}
    return told_as_locations(placements, parties, now, documents)


async def pushers(store: ReadStore) -> AsyncIterator[tuple[Document, str]]:
    """Every partner that plays a CPO, with each of its CPO parties, as they are now."""
    async for partner in every(store, Query(HUB, "partners", limit=_PAGE)):
        for role in objects(partner["roles"]):
            if role["role"] == "CPO":
                yield partner, f"{role['country_code']}*{role['party_id']}"


async def pushed_for(store: ReadStore, parties: Iterable[str], but: str = "") -> list[str]:
    """What may stand in `listed_to` of what CPO partners pushed to all or to these parties; `but` is one partner of
    which nothing is asked."""
    audiences = [None, *sorted(parties)]
    return [
        listed_to(str(partner["holder"]), owner, audience)
        async for partner, owner in pushers(store)
        if partner["_id"] != but
        for audience in audiences
    ]


async def near(store: ReadStore, wanted: Wanted, now: datetime) -> list[Near]:
    """Locations with an EVSE that fits, and only such EVSEs in them, nearest first: the tenant's, and what partners
    pushed to all or to its party."""
    fits: list[Condition] = [gte("max_power", wanted.min_power)]
    if wanted.standard is not None:
        fits.append(has("standards", wanted.standard))
    ours = gt("tenant_id", "") if wanted.tenant is None else eq("tenant_id", wanted.tenant)

    async def around(collection: str, *where: Condition) -> list[Document]:
        return await store.near(
            HUB,
            collection,
            lon=wanted.longitude,
            lat=wanted.latitude,
            radius_m=wanted.radius_m,
            where=where,
            limit=NEAREST,
        )

    placed = await around("placements", ours, *fits)
    managed = await around("locations", ours)
    tenant = await store.get(HUB, "tenants", wanted.tenant) if wanted.tenant is not None else None
    shown = await pushed_for(store, [str(tenant["party"])] if tenant and tenant.get("party") else [])
    foreign = await around("locations", is_in("listed_to", shown), *fits)
    keys = {str(one["key"]) for one in placed} | {str(one["_id"]) for one in managed}
    documents = await store.get_many(HUB, "locations", keys)
    distances: dict[str, JSON] = {str(one["_id"]): one["distance_m"] for one in managed}
    for one in placed:
        document = documents.get(str(one["key"]))
        if document is None or master_of(document) is None:
            distances.setdefault(str(one["key"]), one["distance_m"])
    locations = await _with_charge_points(store, distances, _among(documents, distances), now)
    for one in foreign:
        if not _is_published(one):
            continue  # withdrawn
        distances[str(one["_id"])] = one["distance_m"]
        locations[str(one["_id"])] = pushed_location(one)
    found = []
    for key, location in locations.items():
        evses = [evse for evse in objects(location.get("evses")) if _fits(evse, wanted)]
        if evses:
            found.append(Near(float(str(distances[key])), {**location, "evses": list(evses)}))
    return sorted(found, key=lambda one: one.distance_m)


def _is_published(document: Document) -> bool:
    core = document["location"]
    return isinstance(core, dict) and core["publish"] is True


def _among(documents: dict[str, Document], keys: Iterable[str]) -> dict[str, Document]:
    return {key: documents[key] for key in keys if key in documents}


def _fits(evse: Document, wanted: Wanted) -> bool:
    if evse["status"] == "REMOVED" or (wanted.available and evse["status"] != "AVAILABLE"):
        return False
    return any(
        (wanted.standard is None or connector["standard"] == wanted.standard)
        and power_of(connector) >= wanted.min_power
        for connector in objects(evse["connectors"])
    )
