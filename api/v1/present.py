"""A tenant's master data as the read models have them now, for decisions that need them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from api.v1.caller import Caller
from application.locations import site_at
from domain.values import Evse, JSONObject, Settings, Site
from projections.store import HUB, Document
from projections.tariff import tariff_document_id


async def settings_of(caller: Caller) -> Settings:
    """The tenant's settings with their revision."""
    document = await caller.services.store.get(HUB, "tenants", caller.own_tenant)
    revision = document["version"] if document is not None else 0
    return caller.settings.settings(revision if isinstance(revision, int) else 0, caller.services.hub)


async def charge_point_of(caller: Caller, charge_point_id: str) -> Document | None:
    """None where the tenant does not have it any more."""
    return await caller.services.store.get(caller.database, "charge_points", charge_point_id)


async def site_of(caller: Caller, charge_point: Document) -> Site:
    """By its Location's master data, which win over its own word."""
    location_id = str(charge_point["location_id"])
    known = await site_at(caller.services.store, caller.own_tenant, location_id)
    return known or msgspec.convert(charge_point["location"], Site)


def evse_of(charge_point: Document, connector_id: int) -> Evse | None:
    """That of the OCPP connector with this number; None where it has none."""
    evses = charge_point["evses"]
    if not isinstance(evses, list) or not 0 < connector_id <= len(evses):
        return None
    return msgspec.convert(evses[connector_id - 1], Evse)


async def tariffs_of(caller: Caller, evse: Evse | None) -> tuple[JSONObject, ...]:
    """The tariffs of the EVSE's connectors, else the tenant's default one."""
    ids = next((one.tariff_ids for one in evse.connectors if one.tariff_ids), ()) if evse is not None else ()
    if not ids and caller.settings.default_tariff_id:
        ids = (caller.settings.default_tariff_id,)
    return await named_tariffs(caller, ids)


async def named_tariffs(caller: Caller, ids: Sequence[str]) -> tuple[JSONObject, ...]:
    """Those of the tenant's tariffs that there are, in this order."""
    party = caller.settings.settings(0, caller.services.hub).party
    keys = [tariff_document_id(party, id) for id in ids]
    found = await caller.services.store.get_many(HUB, "tariffs", keys)
    own = [found[key] for key in keys if key in found and found[key]["tenant_id"] == caller.own_tenant]
    bodies = [document["tariff"] for document in own]
    return tuple(body for body in bodies if isinstance(body, dict))
