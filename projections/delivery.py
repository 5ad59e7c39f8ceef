"""Deliveries (`chargesphere.deliveries`), and the delivery state of each CDR."""

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
from projections.store import HUB, Document, IndexSpec, PutPart, Write, index

DeliveryEvent = Wanted | AttemptDue | Delivered | AttemptFailed | GivenUp | RetryRequested


def target(event: DeliveryEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: DeliveryEvent, meta: Meta) -> Document | None:
    at = utc_text(event.timestamp)
    out: Document = dict(document or {"attempts": 0, "retries": 0, "sent": 0, "last_error": None})
    out["updated_at"] = at
    if isinstance(event, Wanted):
        out |= {
            "to": str(event.to),
            "module": event.module,
            "object_id": event.object_id,
            "tenant_id": event.tenant,
            "wanted": event.wanted,
        }
        out.setdefault("created_at", at)
        if "state" not in out:
            out["state"], out["next_attempt_at"] = "waiting", None
    elif isinstance(event, AttemptDue):
        out |= {"state": "in_flight", "attempts": _int(out["attempts"]) + 1, "next_attempt_at": None}
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
        }
    elif isinstance(event, AttemptFailed):
        out |= {"state": "waiting", "next_attempt_at": utc_text(event.due), "last_error": event.reason}
        out["last_outcome"] = event.outcome
    elif isinstance(event, GivenUp):
        out |= {"state": "failed", "next_attempt_at": None, "last_error": event.reason}
    else:
        out |= {"state": "waiting", "next_attempt_at": at}
    return out


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
    )
