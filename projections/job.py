"""Jobs (`ocpp_{tenant}.jobs`): what was asked and how far it is; and how each of their items stands.

An item's document is begun by its portion (`projections.job_items`); here its parts `begun` and `progress` are said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from commands.base import Meta
from commands.remote_command_request import parameters_of
from domain.aggregate import Event
from domain.job import (
    Job,
    JobCancelled,
    JobEnded,
    JobItemReached,
    JobItemsBegun,
    JobItemsEnded,
    JobItemTriedInVain,
    JobItemWaited,
    JobPaused,
    JobRequested,
    JobResumed,
    JobRetried,
)
from domain.values import plain_json
from domain.work import RemoteCommandWork, Work
from projections.base import Feed, Target, View
from projections.moment import utc_text
from projections.store import Document, IndexSpec, PutPart, Write, expiry, index, tenant_database

KEEP_S = 90 * 86_400
"""How long a job and its items can be read after they were asked for, in seconds."""

UNDER_WAY = ("waiting", "running", "paused", "cancelling")
"""How a job stands that is not over."""


def item_document_id(listing: str, item: int) -> str:
    """Sorted by it, the items of a job stand in their order."""
    return f"{listing}|{item:05d}"


def _remote_command(work: RemoteCommandWork) -> Document:
    return {"command_type": work.command_type, "parameters": parameters_of(work.intent)}


SHOWN: Mapping[type[Work], Callable[[RemoteCommandWork], Document]] = {RemoteCommandWork: _remote_command}
"""How each kind of work is shown."""


def target(event: Event, meta: Meta) -> Target:
    _, tenant, job_id = event.originator_id.split("|", 2)
    return Target(tenant_database(tenant), job_id)


def evolve(document: Document | None, event: Event, meta: Meta) -> Document | None:
    at = utc_text(event.timestamp)
    if isinstance(event, JobRequested):
        limits = event.limits
        return {
            "job_id": event.job_id,
            "name": event.name or None,
            "listing": event.listing,
            "kind": str(event.work.__struct_config__.tag),
            **SHOWN[type(event.work)](event.work),
            "charge_points": plain_json(event.selection),
            "at_once": limits.at_once,
            "pause_between": limits.pause_s,
            "stop_after_failures": limits.stop_after or None,
            "attempts": limits.attempts,
            "wait_offline_until": utc_text(limits.wait_until) if limits.wait_until else None,
            "ends_by": utc_text(event.ends_by),
            "state": "running",
            "reason": None,
            "items": {
                "total": event.items,
                "pending": event.items,
                "out": 0,
                "waiting": 0,
                "succeeded": 0,
                "failed": 0,
                "cancelled": 0,
            },
            "requested_by": event.by,
            "last_change_by": event.by,
            "correlation_id": meta.correlation_id,
            "created_at": at,
            "updated_at": at,
            "ended_at": None,
        }
    if document is None:
        return None
    out: Document = {**document, "updated_at": at}
    match event:
        case JobItemsBegun():
            _move(out, "pending", "out", len(event.items))
        case JobItemTriedInVain():
            _move(out, "out", "pending", 1)
        case JobItemWaited():
            _move(out, "out", "waiting", 1)
        case JobItemReached():
            _move(out, "waiting", "pending", 1)
        case JobItemsEnded():
            to = "succeeded" if event.succeeded else "failed"
            _move(out, "waiting" if event.waited else "out", to, len(event.items))
        case JobPaused():
            out |= {"state": "paused", "reason": event.reason or None}
        case JobResumed():
            out |= {"state": "running", "reason": None}
        case JobCancelled():
            out |= {"state": "cancelling", "reason": event.reason or None}
        case JobRetried():
            _move(out, "failed", "pending", len(event.items))
            if out["state"] == "failed":
                out |= {"state": "running", "ended_at": None}
        case JobEnded():
            out |= {"state": event.status, "ended_at": at}
            for name in ("pending", "waiting"):
                _move(out, name, "cancelled", _counts(out)[name])
    if isinstance(event, JobPaused | JobResumed | JobCancelled | JobRetried):
        out["last_change_by"] = event.by or None
    if out["state"] in ("running", "waiting"):
        counts = _counts(out)
        idle = counts["waiting"] > 0 and not counts["out"] and not counts["pending"]
        out["state"] = "waiting" if idle else "running"
    return out


def _counts(document: Document) -> dict[str, int]:
    items = document["items"]
    assert isinstance(items, dict)
    return {name: count for name, count in items.items() if isinstance(count, int)}


def _move(document: Document, source: str, to: str, count: int) -> None:
    counts = _counts(document)
    counts[source] -= count
    counts[to] += count
    document["items"] = dict(counts)


VIEW = View("jobs", Job.kind, "jobs", target, evolve, dense=True, last=(JobEnded,))


def writes(event: Event, meta: Meta) -> Sequence[Write]:
    """How items stand; one that is pending again has no state of its own."""
    db = target(event, meta).db
    at = utc_text(event.timestamp)

    def part(listing: str, item: int, name: str, value: Document) -> Write:
        id = item_document_id(listing, item)
        return PutPart(db, "job_items", id, name, event.originator_version, value)

    def progress(listing: str, items: Sequence[int], state: str | None, reason: str) -> list[Write]:
        value: Document = {"state": state, "reason": reason or None, "at": at}
        return [part(listing, item, "progress", value) for item in items]

    match event:
        case JobItemsBegun():
            begun = [
                part(event.listing, one.item, "begun", {"attempt": one.attempt, "at": at})
                for one in event.items
            ]
            return [*begun, *progress(event.listing, [one.item for one in event.items], "out", "")]
        case JobItemTriedInVain():
            return progress(event.listing, [event.item], None, event.reason)
        case JobItemWaited():
            return progress(event.item.listing, [event.item.item], "waiting", event.reason)
        case JobItemReached():
            return progress(event.listing, [event.item], None, "")
        case JobItemsEnded():
            return progress(
                event.listing, event.items, "succeeded" if event.succeeded else "failed", event.reason
            )
        case JobRetried():
            return progress(event.listing, event.items, None, "")
        case _:
            return ()


FEED = Feed("job-progress", Job.kind, writes)


def indexes(db: str) -> tuple[IndexSpec, ...]:
    return (
        index(db, "jobs", "-created_at"),
        index(db, "jobs", "state", "-created_at"),
        expiry(db, "jobs", "created_at", KEEP_S),
    )
