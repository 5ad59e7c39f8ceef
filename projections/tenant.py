"""Tenants with their whole configuration and the number of their charge points (`chargesphere.tenants`).

`version` is the revision of the settings.
"""

from __future__ import annotations

import msgspec

from commands.base import Meta
from domain.fleet import Counts
from domain.tenant import Configuration, Tenant, TenantConfigured, TenantCreated, TenantFleetCounted
from projections.base import Target, View, builtins
from projections.moment import utc_text
from projections.store import HUB, Document, IndexSpec, index, tenant_database

TenantEvent = TenantCreated | TenantConfigured | TenantFleetCounted


def target(event: TenantEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: TenantEvent, meta: Meta) -> Document | None:
    if isinstance(event, TenantFleetCounted):
        return None if document is None else {**document, **_counts(event.counts)}
    party = event.configuration.ocpi
    changed: Document = {
        "configuration": configuration_document(event.configuration),
        "party": str(party.id) if party else None,
        "id_prefix": event.configuration.id_prefix or None,
        "updated_at": utc_text(event.timestamp),
    }
    if isinstance(event, TenantCreated):
        return {
            "name": event.name,
            "database_name": tenant_database(event.tenant),
            "created_at": utc_text(event.timestamp),
            "status": "active",
            **_counts(Counts()),
            **changed,
        }
    return None if document is None else {**document, **changed}


def _counts(counts: Counts) -> Document:
    return {"charge_points": counts.charge_points, "automatic_charge_points": counts.automatic}


def configuration_document(configuration: Configuration) -> Document:
    """Every setting with its value, defaults included."""
    return {name: builtins(_whole(value)) for name, value in msgspec.structs.asdict(configuration).items()}


def configuration_of(document: Document) -> Configuration:
    """The configuration in a tenant's document."""
    return msgspec.convert(document["configuration"], Configuration)


def _whole(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return {name: _whole(item) for name, item in msgspec.structs.asdict(value).items()}
    return [_whole(item) for item in value] if isinstance(value, tuple) else value


VIEW = View("tenants", Tenant.kind, "tenants", target, evolve, dense=True)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "tenants", "created_at"),
        index(HUB, "tenants", "id_prefix"),
        index(HUB, "tenants", "party"),
    )
