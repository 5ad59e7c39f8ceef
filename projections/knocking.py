"""Who knocked and was refused (`chargesphere.knocking`): one document a tenant, and one for the platform.

The `MOST` newest are kept, each with its count over all gateways; `left_out` counts what no gateway could list.
"""

from __future__ import annotations

from typing import Final

from commands.base import Meta
from domain.knocking import HandshakesRefused, Knock, Knocking
from projections.base import Target, View
from projections.moment import utc_text
from projections.store import HUB, JSON, Document

MOST: Final = 200


def knocking_document_id(tenant: str) -> str:
    """`tenant` is empty for the platform's own."""
    return f"tenant:{tenant}" if tenant else "platform"


def target(event: HandshakesRefused, meta: Meta) -> Target:
    return Target(HUB, knocking_document_id(event.originator_id.partition("|")[2]))


def evolve(document: Document | None, event: HandshakesRefused, meta: Meta) -> Document | None:
    before = document or {"knocks": [], "left_out": 0}
    known = {(one["id"], one["reason"]): one for one in _knocks(before)}
    for knock in event.knocks:
        key: tuple[JSON, JSON] = (knock.id, knock.reason)
        known[key] = _added(known.get(key), knock)
    newest = sorted(known.values(), key=lambda one: str(one["last_at"]), reverse=True)[:MOST]
    return {
        "knocks": list(newest),
        "left_out": int(str(before["left_out"])) + event.left_out,
        "updated_at": utc_text(event.timestamp),
    }


def _added(known: Document | None, knock: Knock) -> Document:
    first, last = utc_text(knock.first), utc_text(knock.last)
    if known is None:
        count = knock.count
        return {
            "id": knock.id,
            "reason": knock.reason,
            "address": knock.address,
            "count": count,
            "first_at": first,
            "last_at": last,
        }
    newer = str(last) >= str(known["last_at"])  # another gateway may report later what it heard before
    return {
        **known,
        "count": int(str(known["count"])) + knock.count,
        "address": knock.address if newer else known["address"],
        "first_at": min(str(known["first_at"]), str(first)),
        "last_at": max(str(known["last_at"]), str(last)),
    }


def _knocks(document: Document) -> list[Document]:
    knocks = document["knocks"]
    assert isinstance(knocks, list)
    return [one for one in knocks if isinstance(one, dict)]


VIEW = View("knocking", Knocking.kind, "knocking", target, evolve, dense=True)
