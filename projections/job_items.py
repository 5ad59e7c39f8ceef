"""Items of jobs (`ocpp_{tenant}.job_items`): which charge point each is about, under its job's listing."""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Meta
from domain.aggregate import Event
from domain.job_items import JobItems, JobItemsListed
from projections.base import Feed
from projections.job import KEEP_S, item_document_id
from projections.moment import utc_text
from projections.store import IndexSpec, Put, Write, expiry, index, tenant_database


def writes(event: Event, meta: Meta) -> Sequence[Write]:
    if not isinstance(event, JobItemsListed):
        return ()
    db, at = tenant_database(event.tenant), utc_text(event.timestamp)
    return [
        Put(
            db,
            "job_items",
            item_document_id(event.listing, event.first + number),
            event.originator_version,
            {
                "listing": event.listing,
                "item": event.first + number,
                "charge_point_id": about,
                "created_at": at,
            },
            keep=("begun", "progress"),
        )
        for number, about in enumerate(event.about)
    ]


FEED = Feed("job-items", JobItems.kind, writes)


def indexes(db: str) -> tuple[IndexSpec, ...]:
    return (
        index(db, "job_items", "listing", "item"),
        index(db, "job_items", "listing", "progress.state", "item"),
        expiry(db, "job_items", "created_at", KEEP_S),
    )
