"""The Faust application: the read-side folds of sessions, their CDRs and token authorizations.

What enters: the events topics of sessions and tokens. What leaves: the same guarded writes as the projector engine
makes, from tables that hold each aggregate's documents. What it never does: decide, send, or be the only one: after a
kill Faust may skip records, and the sweeper repairs in order what it skipped (ADR 4). An event is acknowledged after
its write (`noack`); what is not exactly the next version of a document is left to the sweeper and counted.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faust
import msgspec
from faust.contrib.asgi import faust_app_running

from commands.base import Area
from domain.aggregate import Event, EventRegistry, UnknownEventError, kind_of
from projections.base import View
from projections.store import Document, Put, ReadStore, Remove, StoreUnavailable, Write
from streams.envelope import DamagedRecordError, Decision, Fence, decode_events
from streams.follower import TransientError
from streams.log import Log, LogUnavailable, Stored, TopicPartition
from streams.topology import FAUST, FAUST_TABLES, PARTITIONS, events_topic
from streams.writer import StoreWriter

logger = logging.getLogger(__name__)

AREAS = tuple(FAUST_TABLES)
SWEEPER_GROUP = "sweeper"


@dataclass(slots=True)
class Counts:
    """What happened since the start: handled, and left to the sweeper because of a gap."""

    handled: int = 0
    gaps: int = 0
    stale: int = 0
    seconds: list[float] = field(default_factory=list)


class _Row(msgspec.Struct):
    """A table's value: the version that the documents of one aggregate have, and the documents."""

    version: int
    documents: dict[str, Any]


class FaustProjector:
    """`running()` runs the application inside the current event loop."""

    def __init__(
        self,
        bootstrap: str,
        log: Log,
        store: ReadStore,
        events: EventRegistry,
        views: Sequence[View],
        node: str,
        *,
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        self.counts = Counts()
        self._log = log
        self._store = store
        self._writer = StoreWriter(store)
        self._events = events
        self._observe = observe
        self._views: dict[str, list[View]] = {}
        for view in views:
            self._views.setdefault(view.kind, []).append(view)
        self._fences: dict[TopicPartition, Fence] = {}
        self._seen: dict[TopicPartition, int] = {}
        self.app = faust.App(
            FAUST,
            broker=";".join(f"kafka://{server}" for server in bootstrap.split(",")),
            key_serializer="raw",
            value_serializer="raw",
            store="memory://",
            processing_guarantee="at_least_once",
            topic_partitions=PARTITIONS,
            topic_disable_leader=True,
            topic_replication_factor=1,
            consumer_group_instance_id=f"{FAUST}-{node}",
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=6.0,
            broker_heartbeat_interval=2.0,
            broker_commit_interval=0.5,
            stream_wait_empty=False,
            web_enabled=False,
            autodiscover=False,
            # Its tables are in memory; it wants a folder all the same.
            datadir=str(Path(tempfile.gettempdir()) / f"{FAUST}-{node}"),
        )
        self._tables = {
            area: self.app.Table(FAUST_TABLES[area], key_type=bytes, value_type=bytes, partitions=PARTITIONS)
            for area in AREAS
        }
        for area in AREAS:
            self._agent(area)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """From the start of its consumers to their stop."""
        while True:
            try:
                await self._find_epochs()
                break
            except LogUnavailable as error:
                logger.warning("faust waits: %s", error)
        async with faust_app_running(self.app, stop_timeout=10.0):
            yield

    def _agent(self, area: Area) -> None:
        topic = self.app.topic(events_topic(area), key_type=bytes, value_type=bytes)
        table = self._tables[area]

        async def project(stream: faust.Stream) -> None:
            async for event in stream.noack().events():
                await self._take(event, table)

        self.app.agent(topic, name=f"project-{area.value}", concurrency=1)(project)

    async def _take(self, event: Any, table: Any) -> None:
        message = event.message
        stored = Stored(
            message.topic,
            message.partition,
            message.offset,
            int(message.timestamp * 1000),
            message.key,
            message.value,
        )
        while True:
            try:
                fence = await self._fence(stored)
                decision = fence.admit(stored)
                if decision is not None:
                    await self._project(decision, table)
                break
            except (StoreUnavailable, TransientError, LogUnavailable) as error:
                logger.warning("faust waits: %s", error)
                await asyncio.sleep(0.5)
            except (UnknownEventError, DamagedRecordError):
                logger.exception("faust halts at %s[%d]", stored.topic, stored.partition)
                await asyncio.Event().wait()
        self._seen[stored.place] = stored.offset
        event.ack()
        if decision is not None and decision.events:
            self.counts.handled += 1
            if self._observe is not None:
                self._observe(stored.topic, max(0.0, time.time() - message.timestamp))

    async def _project(self, decision: Decision, table: Any) -> None:
        writes: list[Write] = []
        rows: dict[str, _Row] = {}
        for event in decode_events(decision, self._events):
            id = event.originator_id
            row = rows.get(id) or self._row(table, id)
            if row is None and event.originator_version == 1:
                row = _Row(0, {})
            if row is None or event.originator_version > row.version + 1:
                row = await self._resynchronised(event, decision)
            if row is None or event.originator_version > row.version + 1:
                self.counts.gaps += 1
                rows.pop(id, None)
                continue
            if event.originator_version <= row.version:
                self.counts.stale += 1
                continue
            writes.extend(self._evolve(row, event, decision))
            row.version = event.originator_version
            rows[id] = row
        await self._writer.apply(writes)
        for id, row in rows.items():
            table[id.encode()] = msgspec.json.encode(row)

    @staticmethod
    def _row(table: Any, id: str) -> _Row | None:
        data = table.get(id.encode())
        return None if data is None else msgspec.json.decode(data, type=_Row)

    async def _resynchronised(self, event: Event, decision: Decision) -> _Row | None:
        """What the sweeper has made of the aggregate meanwhile, where that is exactly what comes before the event."""
        row = _Row(-1, {})
        for view in self._views.get(kind_of(event.originator_id), ()):
            if not view.dense:
                continue
            target = view.target(event, decision.meta)
            document = await self._store.get(target.db, view.collection, target.id)
            version = document.get("version") if document else None
            if not isinstance(version, int) or version < event.originator_version - 1:
                return None
            row.version = version
            row.documents[view.name] = {
                k: v for k, v in (document or {}).items() if k not in ("_id", "version")
            }
        return row if row.version >= 0 else None

    def _evolve(self, row: _Row, event: Event, decision: Decision) -> list[Write]:
        writes: list[Write] = []
        for view in self._views.get(kind_of(event.originator_id), ()):
            target = view.target(event, decision.meta)
            before: Document | None = row.documents.get(view.name)
            after = view.evolve(dict(before) if before is not None else None, event, decision.meta)
            row.documents[view.name] = after
            if after is not None:
                body = {k: v for k, v in after.items() if k not in view.keep}
                version = event.originator_version
                writes.append(Put(target.db, view.collection, target.id, version, body, view.keep))
                if view.also is not None:
                    writes.extend(view.also(target, body, version))
            elif before is not None:
                writes.append(Remove(target.db, view.collection, target.id, event.originator_version))
        return writes

    async def _find_epochs(self) -> None:
        """Every partition's epoch at once, from the sweeper's positions to the ends.

        What an older epoch wrote before the newest claim then looks stale: it is the sweeper's.
        """
        places = [
            TopicPartition(events_topic(area), number) for area in AREAS for number in range(PARTITIONS)
        ]
        positions = await self._log.committed(SWEEPER_GROUP, places)
        begins, ends = await self._log.beginnings(places), await self._log.ends(places)
        open_: dict[TopicPartition, int] = {}
        for place in places:
            position = positions.get(place)
            self._fences[place] = Fence(int(position.note) if position is not None and position.note else -1)
            self._seen[place] = -1
            at = position.offset if position is not None else begins[place]
            if at < ends[place]:
                open_[place] = at
        if not open_:
            return
        reader = self._log.reader()
        try:
            await reader.assign(open_)
            while open_:
                batches = await reader.poll(1.0, 5000)
                for place, batch in batches.items():
                    for stored in batch:
                        self._fences[place].admit(stored)
                    if batch[-1].offset + 1 >= ends[place]:
                        open_.pop(place, None)
        finally:
            await reader.close()

    async def _fence(self, stored: Stored) -> Fence:
        """The partition's fence; where reading begins or jumps, its epoch is found from the sweeper's position on."""
        fence = self._fences.get(stored.place)
        seen = self._seen.get(stored.place)
        if fence is not None and seen is not None and stored.offset > seen:
            return fence
        place = stored.place
        position = (await self._log.committed(SWEEPER_GROUP, [place])).get(place)
        fence = Fence(int(position.note) if position is not None and position.note else -1)
        at = position.offset if position is not None else (await self._log.beginnings([place]))[place]
        if at < stored.offset:
            reader = self._log.reader()
            try:
                await reader.assign({place: at})
                while at < stored.offset:
                    for earlier in (await reader.poll(1.0, 1000)).get(place, ()):
                        if earlier.offset >= stored.offset:
                            at = stored.offset
                            break
                        fence.admit(earlier)
                        at = earlier.offset + 1
            finally:
                await reader.close()
        self._fences[place] = fence
        return fence
