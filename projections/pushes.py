"""Among deliveries (`chargesphere.deliveries`), what a partner was not told yet, and partners that are behind.

What was told at once has no document: what is not listed was sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Meta
from domain.pushes import Mark, Pushes, Reported, Waiting
from projections.base import Feed
from projections.moment import utc_text
from projections.store import HUB, Document, Put, Remove, Write

COLLECTION = "deliveries"


def writes(event: object, meta: Meta) -> Sequence[Write]:
    """One document for each object that waits, `behind` ones for partners; none any more for what was told."""
    if not isinstance(event, Reported):
        return ()
    _, module, partition = event.originator_id.split("|")
    at, version = utc_text(event.timestamp), event.originator_version
    behind = f"{module}|behind|{partition}"
    return (
        *(
            Put(
                HUB,
                COLLECTION,
                f"{one.to}|{module}|{one.object_id}",
                version,
                _waiting(module, int(partition), one, at),
            )
            for one in event.waiting
        ),
        *(Remove(HUB, COLLECTION, f"{one.to}|{module}|{one.object_id}", version) for one in event.told),
        *(
            Put(HUB, COLLECTION, f"{to}|{behind}", version, _behind(to, module, mark, at))
            for to, mark in event.behind.items()
        ),
        *(Remove(HUB, COLLECTION, f"{to}|{behind}", version) for to in event.caught_up),
    )


def _waiting(module: str, partition: int, one: Waiting, at: str | None) -> Document:
    """`partition` is that of the object's events, whose account names it."""
    return {
        "to": str(one.to),
        "module": module,
        "object_id": one.object_id,
        "partition": partition,
        "tenant_id": one.tenant or None,
        "wanted": one.version,
        "state": "failed" if one.given_up else "waiting",
        "attempts": one.attempts,
        "first_attempt_at": utc_text(one.first_tried_at),
        "next_attempt_at": utc_text(one.due),
        "last_outcome": one.outcome or None,
        "last_error": one.reason or None,
        "updated_at": at,
    }


def _behind(to: str, module: str, mark: Mark, at: str | None) -> Document:
    """`since_offset` is that of the first fact of which it may not know, in its partition of the module's events."""
    return {
        "to": to,
        "module": module,
        "object_id": None,
        "tenant_id": None,
        "state": "behind",
        "since_offset": mark.offset,
        "attempts": 0,
        "next_attempt_at": None,
        "last_error": None,
        "updated_at": at,
    }


FEED = Feed("pushes", Pushes.kind, writes)
