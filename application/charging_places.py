"""Finds where a partner wants to charge: a Location, EVSE and connector of OCPI enter, a charge point of ours leaves.

It only finds: whether anything can be done there, the charge point's own decision says and the charge point itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from application.locations import pushed_for
from domain.values import UNASSIGNED, PartyId
from projections.store import HUB, Document, Query, ReadStore, eq, every, is_in, objects
from protocols.ocpi.types import ci_key

PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class ChargingPlace:
    """A charge point, the party that it is offered by, and the OCPP connector; None for any."""

    tenant: str
    party: PartyId
    charge_point_id: str
    connector_id: int | None


@dataclass(frozen=True, slots=True)
class NoPlace:
    """Why there is none; `several`: more than one party has such a Location."""

    message: str
    several: bool = False


@dataclass(frozen=True, slots=True)
class Seeker:
    """The partner that wants to charge, for its parties, and the party that it asked, `DE*ABC`; None for any."""

    partner_id: str
    parties: frozenset[str]
    to: str | None


async def charging_place(
    store: ReadStore,
    seeker: Seeker,
    location_id: str,
    evse_uid: str | None = None,
    connector_id: str | None = None,
) -> ChargingPlace | NoPlace:
    """Where no party was asked, one of ours must be the only one of which the partner sees such a Location.

    Where no EVSE is named, it is a charge point that is connected and has one AVAILABLE, if there is such a one.
    Where nobody has given a charge point a place, no partner finds it. Raises StoreUnavailableError."""
    to = seeker.to
    if location_id.lower() == UNASSIGNED:
        return NoPlace(f"there is no Location {location_id[:36]} here")
    here: dict[str, list[Document]] = {}
    async for document in every(
        store, Query(HUB, "placements", (eq("id_key", location_id.lower()), eq("removed", False)), limit=PAGE)
    ):
        here.setdefault(str(document["tenant_id"]), []).append(document)
    tenants = await store.get_many(HUB, "tenants", list(here)) if here else {}
    parties = {
        id: str(tenant["party"])
        for id, tenant in tenants.items()
        if tenant.get("party") and tenant.get("status") == "active" and to in (None, str(tenant["party"]))
    }
    if not parties:
        return NoPlace(f"there is no Location {location_id[:36]} here")
    if len(parties) > 1 or (to is None and await _has_another(store, seeker, location_id)):
        return NoPlace("several parties have such a Location: name one in OCPI-to", several=True)
    [(tenant_id, party)] = parties.items()
    owner = PartyId.of(party)
    if evse_uid is None:
        best = max(here[tenant_id], key=lambda one: (_is_ready(one), str(one["charge_point_id"])))
        return ChargingPlace(tenant_id, owner, str(best["charge_point_id"]), None)
    for document in here[tenant_id]:
        number = _number(document, evse_uid, connector_id)
        if number:
            return ChargingPlace(tenant_id, owner, str(document["charge_point_id"]), number)
    return NoPlace(f"there is no such EVSE or connector at {location_id[:36]}")


async def _has_another(store: ReadStore, seeker: Seeker, location_id: str) -> bool:
    """Whether another CPO has shown the partner a Location with this id: it may mean that one."""
    shown = await pushed_for(store, seeker.parties, but=seeker.partner_id)
    if not shown:
        return False
    where = (eq("id_key", location_id.lower()), is_in("listed_to", shown))
    return bool((await store.find(Query(HUB, "locations", where, limit=1))).items)


def _number(document: Document, evse_uid: str, connector_id: str | None) -> int:
    """The OCPP connector that is this EVSE; 0 for none."""
    for number, evse in enumerate(objects(document["evses"]), 1):
        if ci_key(str(evse["uid"])) != ci_key(evse_uid):
            continue
        ids = {ci_key(str(one["id"])) for one in objects(evse["connectors"])}
        return number if connector_id is None or ci_key(connector_id) in ids else 0
    return 0


def _is_ready(document: Document) -> tuple[bool, bool]:
    """Whether it is connected, and then whether a connector of it is free, as far as was heard."""
    connected, ended = document["connected"], document["ended"]
    there = isinstance(connected, dict) and not (
        isinstance(ended, dict) and ended["epoch"] == connected["epoch"] and _int(ended) > _int(connected)
    )
    statuses = (document.get(f"connector_{n}") for n in range(1, len(objects(document["evses"])) + 1))
    free = any(isinstance(one, dict) and one.get("status") == "AVAILABLE" for one in statuses)
    return there, there and free


def _int(said: Document) -> int:
    return int(str(said["event"]))
