"""Reservations (`ocpp_{tenant}.reservations`): for whom, until when, and how each ended.

One that is over goes a fixed time later (`projections.retention`).
"""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Meta
from domain.aggregate import Event
from domain.charge_point import (
    ChargePoint,
    ReservationConfirmed,
    ReservationEnded,
    ReservationGivenUp,
    ReservationRequested,
)
from projections.base import Feed
from projections.moment import utc_text
from projections.retention import KEEP_S
from projections.store import Append, Document, IndexSpec, Put, Write, expiry, index, tenant_database


def reservations(event: Event, meta: Meta) -> Sequence[Write]:
    """`status` is pending, active, cancelling or how it ended; `id_tag` stays sealed."""
    _, tenant, charge_point_id = event.originator_id.split("|", 2)
    db, version, at = tenant_database(tenant), event.originator_version, utc_text(event.timestamp)

    def changed(id: str, **now: str | None) -> Sequence[Write]:
        return (Append(db, "reservations", id, version, set={**now, "updated_at": at}),)

    match event:
        case ReservationRequested():
            document: Document = {
                "charge_point_id": charge_point_id,
                "connector_id": event.connector_id,
                "evse_uid": event.evse_uid or None,
                "number": event.number,
                "id_tag": event.id_tag.sealed if event.id_tag is not None else None,
                "expires_at": utc_text(event.expires_at),
                "status": "pending",
                "reason": None,
                "session_id": None,
                "reference": event.reference or None,
                "requested_by": event.by or None,
                "correlation_id": meta.correlation_id,
                "created_at": at,
                "updated_at": at,
                "over_at": None,
            }
            return (Put(db, "reservations", event.reservation_id, version, document),)
        case ReservationConfirmed() if not event.late:
            return changed(event.reservation_id, status="active")
        case ReservationGivenUp():
            return changed(event.reservation_id, status="cancelling")
        case ReservationEnded():
            return changed(
                event.reservation_id,
                status=event.how.value,
                reason=event.reason or None,
                session_id=event.session_id or None,
                over_at=at,
            )
        case _:
            return ()


FEED = Feed("reservations", ChargePoint.kind, reservations)


def indexes(db: str) -> tuple[IndexSpec, ...]:
    return (
        index(db, "reservations", "-created_at"),
        index(db, "reservations", "status", "-created_at"),
        index(db, "reservations", "charge_point_id", "-created_at"),
        expiry(db, "reservations", "over_at", KEEP_S),
    )
