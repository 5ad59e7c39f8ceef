"""CDRs (`chargesphere.cdrs`), kept for ever, with their delivery under `delivery`: two sources, one document."""

from __future__ import annotations

from commands.base import Meta
from domain.session import CdrIssued, Session
from projections.base import Target, View
from projections.moment import utc_text
from projections.session import SessionEvent
from projections.store import HUB, Document, IndexSpec, index


def target(event: SessionEvent, meta: Meta) -> Target:
    """A CDR's own id: a session has one, unless its CDR was credited and replaced."""
    id = event.cdr_id if isinstance(event, CdrIssued) else event.originator_id.partition("|")[2]
    return Target(HUB, id)


def evolve(document: Document | None, event: SessionEvent, meta: Meta) -> Document | None:
    """`cdr` is an OCPI 2.3.0 CDR without `cdr_token`, which stands sealed beside it."""
    if not isinstance(event, CdrIssued):
        return document
    return {
        "tenant_id": meta.tenant,
        "owner": str(event.owner) if event.owner else None,
        "holder": event.holder or None,
        "party": f"{event.cdr['country_code']}*{event.cdr['party_id']}",
        "last_updated": utc_text(event.timestamp),
        "cdr_token": event.cdr_token,
        "cdr": event.cdr,
        "explanation": list(event.explanation),
        "warnings": list(event.warnings),
    }


VIEW = View("cdrs", Session.kind, "cdrs", target, evolve, keep=("delivery",))


def indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "cdrs", "owner", "last_updated"),
        index(HUB, "cdrs", "tenant_id", "-last_updated"),
        index(HUB, "cdrs", "party", "last_updated"),
    )
