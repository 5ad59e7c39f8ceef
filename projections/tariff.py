"""Tariffs of every party (`chargesphere.tariffs`), `_id` = `CC*PID|id` with the id in lower case.

One that a CPO said to one party alone is `CC*PID>CC*PID|id`, and `audience` is that party; it is empty for all.
`listed_to` says who sees it as long as the platform that put it speaks for its owner.
"""

from __future__ import annotations

from typing import Final

from commands.base import Meta
from domain.tariff import Tariff, TariffPut, TariffRemoved, tariff_aggregate_id
from domain.values import PartyId
from projections.base import Target, View
from projections.location import listed_to
from projections.moment import utc_text
from projections.store import HUB, JSON, Document, IndexSpec, index
from protocols.ocpi import OcpiInvalidError, decode, dump, parse_json, v2_3_0
from protocols.ocpi.bridging import downgrade
from protocols.ocpi.types import to_date_time

TariffEvent = TariffPut | TariffRemoved

OF_TENANTS: Final = "tenant"
"""What tariffs of tenants have in `listed_to`: every partner sees them."""


def tariff_document_id(owner: PartyId, tariff_id: str, audience: PartyId | None = None) -> str:
    """Where the tariff stands."""
    return tariff_aggregate_id(owner, tariff_id, audience).partition("|")[2]


def target(event: TariffEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: TariffEvent, meta: Meta) -> Document | None:
    """`tariff` is an OCPI 2.3.0 Tariff. `last_updated` is the tariff's own; of one that a CPO pushed it is when that
    came, so that who pulls what is new since the last time gets what was late."""
    if isinstance(event, TariffRemoved):
        return None
    at = utc_text(event.timestamp)
    return {
        "owner": str(event.owner),
        "tenant_id": event.tenant or None,
        "holder": event.holder or None,
        "audience": str(event.audience) if event.audience is not None else "",
        "listed_to": _listed_to(event),
        "last_updated": at if event.holder else _text(event.tariff["last_updated"]),
        "created_at": document["created_at"] if document else at,
        "updated_at": at,
        "versions": _versions(event),
        "tariff": event.tariff,
    }


def _listed_to(event: TariffPut) -> str:
    """As `listed_to` of Locations: a tenant's, or what this platform said for this party, to all or to one."""
    if not event.holder:
        return OF_TENANTS
    return listed_to(event.holder, str(event.owner), event.audience)


def _versions(event: TariffPut) -> list[JSON]:
    """The versions of OCPI that can say it, so that a list counts what it shows."""
    try:
        tariff = parse_json(v2_3_0.Tariff, decode(dump(event.tariff)))
    except OcpiInvalidError:
        return []
    return ["2.3.0"] if downgrade("tariffs", tariff).value is None else ["2.3.0", "2.2.1"]


def _text(last_updated: object) -> str:
    """As the other read models write times, so that they compare."""
    return str(utc_text(to_date_time(last_updated)))


VIEW = View("tariffs", Tariff.kind, "tariffs", target, evolve, dense=True)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "tariffs", "tenant_id", "created_at"),
        index(HUB, "tariffs", "owner", "created_at"),
        index(HUB, "tariffs", "listed_to", "created_at"),
    )
