"""Deliveries (`chargesphere.deliveries`), and the delivery state of each CDR, which stays with it.

One that was delivered goes a fixed time later (`projections.retention`), one that was not stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Meta
from domain.delivery import (
    AttemptDue,
    AttemptFailed,
    Delivered,
    Delivery,
    GivenUp,
    RetryRequested,
    Wanted,
)
from projections.base import Target, View
from projections.moment import utc_text
from projections.retention import KEEP_S, unless_gone
from projections.store import HUB, Document, IndexSpec, PutPart, Write, expiry, index

DeliveryEvent = Wanted | AttemptDue | Delivered | AttemptFailed | GivenUp | RetryRequested


def target(event: DeliveryEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: DeliveryEvent, meta: Meta) -> Document | None:
    at = utc_text(event.timestamp)
    out: Document = dict(unless_gone(document, event.timestamp) or _begun(event, meta, at))
    out |= {"updated_at": at, "over_at": None}
    if isinstance(event, Wanted):
        out |= {"tenant_id": event.tenant, "wanted": event.wanted}
    elif isinstance(event, AttemptDue):
        out |= {"state": "in_flight", "attempts": _int(out["attempts"]) + 1, "next_attempt_at": None}
        out |= {"tenant_id": event.tenant, "wanted": event.wanted}
        if event.attempt > 1:
            out["retries"] = _int(out["retries"]) + 1
    elif isinstance(event, Delivered):
        out |= {
            "state": "waiting" if event.due else "delivered",
            "sent": event.sent,
            "delivered_at": at,
            "remote_url": event.remote_url or None,
            "next_attempt_at": utc_text(event.due),
            "last_error": None,
            "over_at": None if event.due else at,
        }
    elif isinstance(event, AttemptFailed):
        out |= {"state": "waiting", "next_attempt_at": utc_text(event.due), "last_error": event.reason}
        out["last_outcome"] = event.outcome
    elif isinstance(event, GivenUp):
        out |= {"state": "failed", "next_attempt_at": None, "last_error": event.reason}
    else:
        out |= {"state": "waiting", "next_attempt_at": at}
    return out


def _begun(event: DeliveryEvent, meta: Meta, at: str | None) -> Document:
    """Before anything has become of it; its id says to whom what goes."""
    _, to, module, object_id = event.originator_id.split("|", 3)
    return {
        "to": to,
        "module": module,
        "object_id": object_id,
        "tenant_id": meta.tenant,
        "wanted": 0,
        "attempts": 0,
        "retries": 0,
        "sent": 0,
        "last_error": None,
        "created_at": at,
        "state": "waiting",
        "next_attempt_at": None,
    }


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def also(target: Target, document: Document, version: int) -> Sequence[Write]:
    """A CDR shows its delivery."""
    if document.get("module") != "cdrs":
        return ()
    names = ("state", "attempts", "retries", "delivered_at", "next_attempt_at", "last_error", "remote_url")
    part = {name: document.get(name) for name in names}
    return (PutPart(HUB, "cdrs", str(document["object_id"]), "delivery", version, part),)


VIEW = View("deliveries", Delivery.kind, "deliveries", target, evolve, dense=True, also=also)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "deliveries", "state", "-updated_at"),
        index(HUB, "deliveries", "tenant_id", "-updated_at"),
        index(HUB, "deliveries", "to", "-updated_at"),
        expiry(HUB, "deliveries", "over_at", KEEP_S),
    )
