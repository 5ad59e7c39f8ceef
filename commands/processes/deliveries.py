"""What a partner is told: every change of a session of its token, and its CDR.

The version wanted is the aggregate's version, so that a newer state replaces an older one still on its way.
"""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Command, Meta, Policy
from commands.delivery import Want
from domain.aggregate import Event
from domain.session import (
    CdrIssued,
    EndCorrected,
    SessionEnded,
    SessionStarted,
    UsageRecorded,
    session_aggregate_id,
)


def _session_id(aggregate: str) -> str:
    return aggregate.removeprefix(session_aggregate_id(""))


def started(event: SessionStarted, meta: Meta) -> Sequence[Command]:
    owner = event.authorization.owner
    if owner is None or event.status == "INVALID":
        return ()
    return (
        Want(
            to=owner,
            module="sessions",
            object_id=event.session_id,
            tenant=event.tenant,
            version=event.originator_version,
            urgent=True,
        ),
    )


def changed(event: UsageRecorded | SessionEnded | EndCorrected, meta: Meta) -> Sequence[Command]:
    if event.owner is None:
        return ()
    return (
        Want(
            to=event.owner,
            module="sessions",
            object_id=_session_id(event.originator_id),
            tenant=meta.tenant,
            version=event.originator_version,
            urgent=isinstance(event, SessionEnded | EndCorrected),
            last=isinstance(event, SessionEnded | EndCorrected),
            after_all=isinstance(event, EndCorrected),
        ),
    )


def issued(event: CdrIssued, meta: Meta) -> Sequence[Command]:
    """With its CDR that was withheld a session changes too: its energy and cost are known at last."""
    if event.owner is None:
        return ()
    session = Want(
        to=event.owner,
        module="sessions",
        object_id=_session_id(event.originator_id),
        tenant=meta.tenant,
        version=event.originator_version,
        urgent=True,
        last=True,
        after_all=True,
    )
    return (
        *((session,) if event.was_withheld else ()),
        Want(
            to=event.owner,
            module="cdrs",
            object_id=event.cdr_id,
            tenant=meta.tenant,
            version=event.originator_version,
            urgent=True,
            last=True,
        ),
    )


POLICIES: dict[type[Event], Policy] = {
    SessionStarted: started,
    UsageRecorded: changed,
    SessionEnded: changed,
    EndCorrected: changed,
    CdrIssued: issued,
}
