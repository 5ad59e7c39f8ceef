"""A tag that may charge at one charge point at a time: it is held while a transaction runs with it."""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Command, Meta, Policy
from commands.tag import FreeTag, HoldTag
from domain.aggregate import Event
from domain.charge_point.events import TagReleased, TransactionStarted


def started(event: TransactionStarted, meta: Meta) -> Sequence[Command]:
    if not event.holds_tag:
        return ()
    return (
        HoldTag(
            tenant=event.tenant,
            key=event.id_tag.key,
            charge_point_id=event.charge_point_id,
            session_id=event.session_id,
            told=event.originator_version,
        ),
    )


def released(event: TagReleased, meta: Meta) -> Sequence[Command]:
    return (
        FreeTag(
            tenant=event.tenant,
            key=event.tag,
            charge_point_id=event.charge_point_id,
            session_id=event.session_id,
            told=event.originator_version,
        ),
    )


POLICIES: dict[type[Event], Policy] = {TransactionStarted: started, TagReleased: released}
