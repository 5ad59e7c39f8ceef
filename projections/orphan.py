"""Stops that belong to no transaction of ours (`ocpp_{tenant}.orphans`), and what became of them."""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Meta
from domain.aggregate import Event
from domain.charge_point import ChargePoint, StopSettled, StopUnmatched, orphan_id
from projections.base import Feed
from projections.moment import utc_text
from projections.store import Append, Document, IndexSpec, Put, Write, index, tenant_database


def orphans(event: Event, meta: Meta) -> Sequence[Write]:
    """`key` is what the charge point's aggregate knows it by; `id_tag` stays sealed."""
    if not isinstance(event, StopUnmatched | StopSettled):
        return ()
    _, tenant, charge_point_id = event.originator_id.split("|", 2)
    db, id = tenant_database(tenant), orphan_id(tenant, charge_point_id, event.key)
    if isinstance(event, StopSettled):
        settled: Document = {
            "state": "settled",
            "session_id": event.session_id,
            "settled_transaction_id": event.transaction_id,
            "settled_at": utc_text(event.timestamp),
            "settled_by": event.by or None,
            "settled_reason": event.note or None,
        }
        return (Append(db, "orphans", id, event.originator_version, set=settled),)
    document: Document = {
        "charge_point_id": charge_point_id,
        "key": event.key,
        "transaction_id": event.transaction_id,
        "stop_time": utc_text(event.happened_at),
        "reported_stop_time": utc_text(event.shown_at),
        "clock_offset_s": event.clock_offset_s,
        "received_at": utc_text(event.timestamp),
        "stop_meter_value": event.meter_stop,
        "id_tag": event.id_tag.sealed if event.id_tag is not None else None,
        "reason": event.reason,
        "flags": list(event.flags),
        "state": "open",
        "session_id": None,
        "settled_transaction_id": None,
        "settled_at": None,
        "settled_by": None,
        "settled_reason": None,
    }
    return (Put(db, "orphans", id, event.originator_version, document),)


ORPHANS = Feed("orphans", ChargePoint.kind, orphans)


def indexes(db: str) -> tuple[IndexSpec, ...]:
    return (
        index(db, "orphans", "-received_at"),
        index(db, "orphans", "state", "-received_at"),
        index(db, "orphans", "charge_point_id", "-received_at"),
    )
