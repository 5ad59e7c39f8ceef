"""Finds what a delivery is of: a CDR in the read model, or where that is behind in the fact that issued it; what
became of a command in the delivery itself."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from commands.base import Area
from domain.aggregate import Event, EventRegistry, event_name, kind_of
from domain.delivery import AttemptDue
from domain.foreign_cdr import ForeignCdrPosted
from domain.session import CdrIssued
from projections.base import View
from projections.store import HUB, Document, ReadStore
from streams.effects.target import Content
from streams.log import Log, TopicPartition
from streams.log.envelope import DamagedRecordError, Decision, decode_entry, select_events
from streams.log.ranges import stretch
from streams.log.topology import events_topic

_ISSUED = frozenset({event_name(CdrIssued), event_name(ForeignCdrPosted)})


class Originals:
    """`views` are those of CDRs, one for each kind, all of one collection."""

    def __init__(self, log: Log, events: EventRegistry, views: Sequence[View], store: ReadStore) -> None:
        self._log = log
        self._events = events
        self._views = {view.kind: view for view in views}
        [self._collection] = {view.collection for view in views}
        self._store = store

    async def find(self, event: AttemptDue) -> Content:
        """Raises StoreUnavailableError, LogUnavailableError, and DamagedRecordError where the log has no such CDR."""
        if event.result is not None:
            document: Document = msgspec.to_builtins(event.result)
            return Content(document | {"holder": event.result.asker.holder}, event.wanted)
        return await self._stored(event) or await self._issued(event)

    async def _stored(self, event: AttemptDue) -> Content | None:
        """As the read model has it, once it has this version."""
        document = await self._store.get(HUB, self._collection, event.object_id)
        version = document.get("version") if document is not None else None
        if document is None or not isinstance(version, int) or version < event.wanted:
            return None
        return Content(document, version)

    async def _issued(self, event: AttemptDue) -> Content:
        """As the fact says that issued it. Raises DamagedRecordError where that does not."""
        place = TopicPartition(events_topic(Area.SESSION), event.partition)
        async with contextlib.aclosing(stretch(self._log, place, event.offset, event.offset + 1)) as batches:
            async for batch in batches:
                for stored in batch:
                    # It was admitted when it was followed.
                    entry = decode_entry(stored)
                    if not isinstance(entry, Decision):
                        continue
                    for issued in select_events(entry, self._events, _ISSUED):
                        if _object_id(issued) == event.object_id:
                            view = self._views[kind_of(issued.originator_id)]
                            document = view.evolve(None, issued, entry.meta)
                            return Content(document or {}, issued.originator_version)
        raise DamagedRecordError(
            f"{place.topic}[{place.partition}]@{event.offset} issues no {event.object_id}"
        )


def _object_id(issued: Event) -> str:
    """The id of the CDR's document."""
    return issued.cdr_id if isinstance(issued, CdrIssued) else issued.originator_id.partition("|")[2]
