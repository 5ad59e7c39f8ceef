"""The Faust application: the read-side folds of sessions, their CDRs and token authorizations.

What enters: the events topics of sessions and tokens. What leaves: the same guarded writes as the projector engine
makes, from tables that hold each aggregate's documents. What it never does: decide, send, or be the only one: what
Faust leaves or may skip, the sweeper repairs in order (ADR 4). Events are taken in batches and acknowledged after
their writes (`noack`); what is not exactly the next version of a document is left to the sweeper and counted
(`streams.faust.rows`). An event of a newer release, or that fails to be taken in, halts its partition and no other.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust
from faust.contrib.asgi import bind_to_running_loop
from faust.exceptions import ProducerSendError

from commands.base import Area
from domain.aggregate import EventRegistry, UnknownEventError
from projections.base import View
from projections.store import ReadStore, StoreUnavailableError
from streams.faust.epochs import Epochs
from streams.faust.rows import BatchOutcome, Change, RowProjector
from streams.faust.transport import SparingTransport, has_failed
from streams.following.facts import TransientError
from streams.log import Log, LogUnavailableError, Stored, TopicPartition
from streams.log.envelope import DamagedRecordError, decode_events
from streams.log.topology import FAUST, FAUST_TABLES, events_topic

logger = logging.getLogger(__name__)

AREAS = tuple(FAUST_TABLES)
SWEEPER_GROUP = "sweeper"
BATCH = 200
GATHER_SECONDS = 0.02
"""How long a batch that is not full waits for more: a write for each event costs more than the events."""
RETRY_SECONDS = 0.5
STOP_SECONDS = 10.0
ROWS_BYTES = 262_144
"""Of rows that one partition's changelog takes at once."""


@dataclass(slots=True)
class Counts:
    """What happened since the start: decisions handled, events left to the sweeper, and repeated ones."""

    handled: int = 0
    gaps: int = 0
    stale: int = 0


@dataclass(frozen=True, slots=True)
class _Admitted:
    """Faust's event, and what it changes: nothing where it is a claim or of a stale decider."""

    source: Any
    partition: int
    changes: list[Change]


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
        self._epochs = Epochs(log, SWEEPER_GROUP)
        self._places = [place for area in AREAS for place in log.places(events_topic(area))]
        self._projector = RowProjector(store, views)
        self._events = events
        self._observe = observe
        self._halted: set[TopicPartition] = set()
        self.app = faust.App(
            FAUST,
            broker=";".join(f"kafka://{server}" for server in bootstrap.split(",")),
            key_serializer="raw",
            value_serializer="raw",
            store="memory://",
            processing_guarantee="at_least_once",
            topic_partitions=log.layout.partitions,
            topic_disable_leader=True,
            topic_replication_factor=1,
            consumer_group_instance_id=f"{FAUST}-{node}",
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=6.0,
            broker_heartbeat_interval=2.0,
            broker_commit_interval=1.0,
            producer_linger=0.05,
            producer_max_batch_size=ROWS_BYTES,
            stream_wait_empty=False,
            web_enabled=False,
            autodiscover=False,
            # Its tables are in memory; it wants a folder all the same.
            datadir=str(Path(tempfile.gettempdir()) / f"{FAUST}-{node}"),
        )
        self.app.transport = SparingTransport(self.app.conf.broker_consumer, self.app)
        self._tables = {
            area: self.app.Table(
                FAUST_TABLES[area], key_type=bytes, value_type=bytes, partitions=log.layout.partitions
            )
            for area in AREAS
        }
        for area in AREAS:
            self._agent(area)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """From the start of its consumers to their stop."""
        places = self._places
        while True:
            try:
                await self._epochs.find(places)
                break
            except LogUnavailableError as error:
                logger.warning("faust waits: %s", error)
        bind_to_running_loop(self.app)
        self.app.finalize()
        try:
            # Not by Faust's own context, which leaves its clients open where its start is cancelled.
            await self.app.maybe_start()
            yield
        finally:
            async with asyncio.timeout(STOP_SECONDS):
                await self.app.stop()

    def _agent(self, area: Area) -> None:
        topic = self.app.topic(events_topic(area), key_type=bytes, value_type=bytes)
        table = self._tables[area]

        async def project(stream: faust.Stream) -> None:
            unacknowledged = stream.noack()
            queue = unacknowledged.channel.queue
            async for event in unacknowledged.events():
                await self._take([event, *await self._waiting(queue)], table)

        self.app.agent(topic, name=f"project-{area.value}", concurrency=1)(project)

    async def _waiting(self, queue: Any) -> list[Any]:
        """What comes behind an event within `GATHER_SECONDS`, taken as Faust's own stream would take it."""
        if queue.qsize() < BATCH:
            await asyncio.sleep(GATHER_SECONDS)
        waiting: list[Any] = []
        # An error in the queue is the stream's: it stops the agent once this batch is done.
        while queue.qsize() and len(waiting) < BATCH and not has_failed(queue):
            event = queue.get_nowait()
            generation = event.message.generation_id
            if self.app.flow_control.is_active() and generation == self.app.consumer_generation_id:
                self.app.consumer.track_message(event.message)
                waiting.append(event)
        return waiting

    async def _take(self, events: Sequence[Any], table: Any) -> None:
        """One batch: its writes, then its rows, then its acknowledgements."""
        admitted = [one for event in events if (one := await self._admit(event)) is not None]
        outcome = await self._project([change for one in admitted for change in one.changes], table)
        partitions = {change.event.originator_id: one.partition for one in admitted for change in one.changes}
        for id, row in outcome.rows.items():
            await self._keep(table, partitions[id], id.encode(), row)
        self.counts.gaps += outcome.gaps
        self.counts.stale += outcome.stale
        now = time.time()
        for one in admitted:
            one.source.ack()
            if one.changes:
                self.counts.handled += 1
                if self._observe is not None:
                    self._observe(one.source.message.topic, max(0.0, now - one.source.message.timestamp))

    async def _keep(self, table: Any, partition: int, key: bytes, row: bytes | None) -> None:
        """A row in the table and, soon, in its changelog: Faust flushes its producer before it commits. None takes
        it out of both.

        Not by `table[key] = row`: that takes the changelog's partition from the event which Faust gave out last, and
        lets everything wait while more than a hundred rows are under way.
        """
        if row is None:
            table.data.pop(key, None)
        else:
            table.data[key] = row
        try:
            sent = await self.app.producer.send(table.changelog_topic_name, key, row, partition, None, None)
            sent.add_done_callback(_say_what_is_lost)
        except ProducerSendError as error:
            logger.warning("faust keeps no row of %s: %s", key.decode(), error)

    async def _project(self, changes: Sequence[Change], table: Any) -> BatchOutcome:
        """Nothing is lost while the store is away: the same batch comes again."""
        while True:
            try:
                return await self._projector.project(changes, lambda id: table.data.get(id.encode()))
            except (StoreUnavailableError, TransientError) as error:
                logger.warning("faust waits: %s", error)
            except Exception:
                logger.exception("faust fails, tried again")
            await asyncio.sleep(RETRY_SECONDS)

    async def _admit(self, event: Any) -> _Admitted | None:
        """The event with its changes; None on a partition that is halted, where nothing is acknowledged any more."""
        message = event.message
        stored = Stored(
            message.topic,
            message.partition,
            message.offset,
            int(message.timestamp * 1000),
            message.key,
            message.value,
        )
        if stored.place in self._halted:
            return None
        while True:
            try:
                return _Admitted(event, stored.partition, await self._changes(stored))
            except LogUnavailableError as error:
                logger.warning("faust waits: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            except (UnknownEventError, DamagedRecordError) as error:
                logger.error("faust halts at %s[%d]: %s", stored.topic, stored.partition, error)
                break
            except Exception:
                # Not to Faust: it would begin the agent anew behind the batch, and may commit what it lost.
                logger.exception("faust halts at %s[%d]", stored.topic, stored.partition)
                break
        self._halted.add(stored.place)
        return None

    async def _changes(self, stored: Stored) -> list[Change]:
        decision = await self._epochs.admit(stored)
        if decision is None:
            return []
        return [Change(event, decision.meta) for event in decode_events(decision, self._events)]


def _say_what_is_lost(sent: asyncio.Future[Any]) -> None:
    """A row that its changelog lacks is made anew from the read store after a restart."""
    if not sent.cancelled() and (error := sent.exception()) is not None:
        logger.warning("faust keeps no row: %s", error)
