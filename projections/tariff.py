"""Tariffs of every party (`chargesphere.tariffs`), `_id` = `CC*PID|id` with the id in lower case."""

from __future__ import annotations

from commands.base import Meta
from domain.tariff import Tariff, TariffPut, TariffRemoved
from domain.values import PartyId
from projections.base import Target, View
from projections.moment import utc_text
from projections.store import HUB, JSON, Document, IndexSpec, index
from protocols.ocpi import OcpiInvalidError, decode, dump, parse_json, v2_3_0
from protocols.ocpi.bridging import downgrade
from protocols.ocpi.types import to_date_time

TariffEvent = TariffPut | TariffRemoved


def tariff_document_id(owner: PartyId, tariff_id: str) -> str:
    """Where the tariff stands."""
    return f"{owner}|{tariff_id.lower()}"


def target(event: TariffEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: TariffEvent, meta: Meta) -> Document | None:
    """`tariff` is an OCPI 2.3.0 Tariff; `last_updated` is the tariff's own."""
    if isinstance(event, TariffRemoved):
        return None
    at = utc_text(event.timestamp)
    return {
        "owner": str(event.owner),
        "tenant_id": event.tenant or None,
        "last_updated": _text(event.tariff["last_updated"]),
        "created_at": document["created_at"] if document else at,
        "updated_at": at,
        "versions": _versions(event),
        "tariff": event.tariff,
    }


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
    )
