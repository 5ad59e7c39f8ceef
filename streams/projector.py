"""The projector engine: decisions become read models, in order, coalesced, each write guarded by its version.

The same engine runs as the embedded projector, as the sweeper beside Faust, and for a rebuild. A projection that
raises parks its document: later events of it wait, everything else goes on.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime

from commands.base import Meta
from domain.aggregate import Event, EventRegistry, kind_of
from projections.base import Feed, Target, View, utc_text
from projections.store import (
    HUB,
    Applied,
    Document,
    Insert,
    Put,
    ReadStore,
    Remove,
    StoreError,
    StoreUnavailable,
    Write,
)
from streams.envelope import decode_events
from streams.follower import Fact, TransientError
from streams.log import TopicPartition
from streams.writer import StoreWriter

logger = logging.getLogger(__name__)

Key = tuple[str, str, str]
CACHED = 50_000


class Projector:
    """`handle` is a follower's function. `observe(seconds)` is told the delay from the log to the store."""

    def __init__(
        self,
        store: ReadStore,
        events: EventRegistry,
        views: Sequence[View],
        feeds: Sequence[Feed],
        *,
        stories: Callable[[Fact], Sequence[Write]] | None = None,
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        self._store = store
        self._writer = StoreWriter(store)
        self._events = events
        self._views: dict[str, list[View]] = {}
        for view in views:
            self._views.setdefault(view.kind, []).append(view)
        self._feeds: dict[str, list[Feed]] = {}
        for feed in feeds:
            self._feeds.setdefault(feed.kind, []).append(feed)
        self._cache: OrderedDict[Key, tuple[int, Document | None]] = OrderedDict()
        self._parked: set[Key] = set()
        self._stories = stories
        self._observe = observe
        self.applied = 0
        self.stale = 0
        self.projected_at: dict[TopicPartition, datetime] = {}

    async def handle(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        """Project one batch; raises TransientError while the store is away, and nothing has been lost then."""
        work: list[tuple[Fact, Event, Meta]] = [
            (fact, event, fact.decision.meta)
            for fact in facts
            for event in decode_events(fact.decision, self._events)
        ]
        told = [write for fact in facts for write in self._stories(fact)] if self._stories else []
        if work or told:
            await self._load(work)
            writes, touched = self._project(work)
            writes.extend(told)
            try:
                applied = await self._writer.apply(writes)
            except TransientError:
                for key in touched:
                    self._cache.pop(key, None)
                raise
            except StoreError as error:
                for key in touched:
                    self._cache.pop(key, None)
                logger.error("the store refuses a write of %s[%d]: %s", place.topic, place.partition, error)
                raise TransientError(str(error)) from error
            self._count(applied)
            if self._observe is not None:
                now = time.time()
                for fact in facts:
                    if fact.decision.events:
                        self._observe(place.topic, max(0.0, now - fact.written_at.timestamp()))
        self.projected_at[place] = facts[-1].written_at

    def _count(self, applied: Applied) -> None:
        self.applied += applied.applied
        self.stale += applied.stale

    async def _load(self, work: Sequence[tuple[Fact, Event, Meta]]) -> None:
        """Bring the documents that the batch touches into the cache, by one read a collection."""
        wanted: dict[tuple[str, str], set[str]] = {}
        for _, event, meta in work:
            for view in self._views.get(kind_of(event.originator_id), ()):
                db, id = view.target(event, meta)
                if (db, view.collection, id) not in self._cache:
                    wanted.setdefault((db, view.collection), set()).add(id)
        for (db, collection), ids in wanted.items():
            try:
                found = await self._store.get_many(db, collection, ids)
            except StoreUnavailable as error:
                raise TransientError(str(error)) from error
            for id in ids:
                document = found.get(id)
                version = document.get("version") if document else None
                self._cache[(db, collection, id)] = (version if isinstance(version, int) else 0, document)

    def _project(self, work: Sequence[tuple[Fact, Event, Meta]]) -> tuple[list[Write], list[Key]]:
        changed: dict[Key, tuple[View, Target]] = {}
        inserts: list[Write] = []
        for fact, event, meta in work:
            kind = kind_of(event.originator_id)
            for view in self._views.get(kind, ()):
                target = view.target(event, meta)
                key = (target.db, view.collection, target.id)
                if key in self._parked:
                    continue
                version, document = self._cache[key]
                if event.originator_version <= version:
                    continue
                try:
                    after = view.evolve(
                        None if document is None else {k: v for k, v in document.items() if k not in _STORES},
                        event,
                        meta,
                    )
                except Exception as error:
                    inserts.append(self._park(view.name, key, fact, error))
                    continue
                self._cache[key] = (event.originator_version, after)
                if after is not None or document is not None:
                    changed[key] = (view, target)
            for feed in self._feeds.get(kind, ()):
                try:
                    inserts.extend(feed.writes(event, meta))
                except Exception as error:
                    inserts.append(self._park(feed.name, (HUB, feed.name, event.originator_id), fact, error))
        writes = [*inserts]
        for key, (view, target) in changed.items():
            version, document = self._cache[key]
            if document is None:
                writes.append(Remove(*key, version))
                continue
            body = {k: v for k, v in document.items() if k not in view.keep and k not in _STORES}
            writes.append(Put(*key, version, deepcopy(body), view.keep))
            if view.also is not None:
                writes.extend(view.also(target, body, version))
        while len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return writes, list(changed)

    def _park(self, name: str, key: Key, fact: Fact, error: Exception) -> Write:
        """The document waits for a person; the reason and the place in the log are listed as a dead letter."""
        self._parked.add(key)
        logger.exception("%s parks %s", name, "/".join(key))
        place = f"{fact.place.topic}|{fact.place.partition}|{fact.offset}"
        return Insert(
            HUB,
            "dead_letters",
            f"{name}|{'|'.join(key)}|{place}",
            {
                "projection": name,
                "document": "/".join(key),
                "topic": fact.place.topic,
                "partition": fact.place.partition,
                "offset": fact.offset,
                "reason": f"{type(error).__name__}: {error}",
                "parked_at": utc_text(datetime.now(UTC)),
            },
        )

    @property
    def parked(self) -> frozenset[Key]:
        return frozenset(self._parked)

    def projected_until(self, places: Iterable[TopicPartition]) -> Mapping[TopicPartition, datetime]:
        """Up to when each partition's decisions are readable."""
        return {place: self.projected_at[place] for place in places if place in self.projected_at}


_STORES = frozenset({"_id", "version"})
