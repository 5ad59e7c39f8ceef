"""What a partner is owed by a decision: a session as it is at that version, and the CDRs that were issued with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from domain.aggregate import Event
from domain.foreign_cdr import ForeignCdrPosted
from domain.foreign_session import (
    ForeignSessionBegun,
    ForeignSessionEnded,
    ForeignSessionPatched,
    ForeignSessionPut,
)
from domain.pushes import OwedCdr
from domain.session import CdrIssued, EndCorrected, SessionEnded, SessionStarted, UsageRecorded
from domain.values import PartyId


class Owed(NamedTuple):
    """What a decision means for a partner: the object's version, and the CDRs that were issued with it. `urgent`: it
    does not wait for the spacing."""

    to: PartyId
    version: int
    urgent: bool
    cdrs: tuple[OwedCdr, ...] = ()


def posted(events: Iterable[Event], offset: int) -> tuple[PartyId, OwedCdr] | None:
    """The CDR of others that a decision took in, and the partner whose token it bears; None for none."""
    for event in events:
        if isinstance(event, ForeignCdrPosted) and (to := event.bearer.told_to) is not None:
            return to, OwedCdr(
                id=event.originator_id.partition("|")[2],
                version=event.originator_version,
                offset=offset,
                issued_at=event.timestamp.replace(microsecond=0),
            )
    return None


def owed(events: Iterable[Event], offset: int) -> Owed | None:
    """What the events of one decision on a session mean for the partner whose token it is; None for nothing."""
    to: PartyId | None = None
    version, urgent = 0, False
    cdrs: list[OwedCdr] = []
    for event in events:
        version = event.originator_version
        if isinstance(event, SessionStarted):
            if event.authorization.owner is not None and event.status != "INVALID":
                to, urgent = event.authorization.owner, True
        elif isinstance(
            event, ForeignSessionBegun | ForeignSessionPut | ForeignSessionPatched | ForeignSessionEnded
        ):
            if event.owner is not None:
                to, urgent = (
                    event.owner,
                    urgent or isinstance(event, ForeignSessionBegun | ForeignSessionEnded),
                )
        elif (
            isinstance(event, UsageRecorded | SessionEnded | EndCorrected | CdrIssued)
            and event.owner is not None
        ):
            to = event.owner
            urgent = urgent or not isinstance(event, UsageRecorded)
            if isinstance(event, CdrIssued):
                issued_at = event.timestamp.replace(microsecond=0)
                cdrs.append(OwedCdr(id=event.cdr_id, version=version, offset=offset, issued_at=issued_at))
    return Owed(to, version, urgent, tuple(cdrs)) if to is not None else None
