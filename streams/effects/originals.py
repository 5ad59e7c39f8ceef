"""Finds what a delivery is of: a CDR in the read model, or where that is behind in the fact that issued it; what
became of a command in the delivery itself."""

from __future__ import annotations

import contextlib

import msgspec

from commands.base import Area
from domain.aggregate import EventRegistry, event_name
from domain.delivery import AttemptDue
from domain.session import CdrIssued
from projections.base import View
from projections.store import HUB, Document, ReadStore
from streams.effects.target import Content
from streams.log import Log, TopicPartition
from streams.log.envelope import DamagedRecordError, Decision, decode_entry, select_events
from streams.log.ranges import stretch
from streams.log.topology import events_topic

_ISSUED = frozenset({event_name(CdrIssued)})


class Originals:
    """`view` is that of CDRs."""

    def __init__(self, log: Log, events: EventRegistry, view: View, store: ReadStore) -> None:
        self._log = log
        self._events = events
        self._view = view
        self._store = store

    async def find(self, event: AttemptDue) -> Content:
        """Raises StoreUnavailableError, LogUnavailableError, and DamagedRecordError where the log has no such CDR."""
        if event.result is not None:
            document: Document = msgspec.to_builtins(event.result)
            return Content(document | {"holder": event.result.asker.holder}, event.wanted)
        return await self._stored(event) or await self._issued(event)

    async def _stored(self, event: AttemptDue) -> Content | None:
        """As the read model has it, once it has this version."""
        document = await self._store.get(HUB, self._view.collection, event.object_id)
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
                        if isinstance(issued, CdrIssued) and issued.cdr_id == event.object_id:
                            document = self._view.evolve(None, issued, entry.meta)
                            return Content(document or {}, issued.originator_version)
        raise DamagedRecordError(
            f"{place.topic}[{place.partition}]@{event.offset} issues no {event.object_id}"
        )
