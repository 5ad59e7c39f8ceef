"""The projector engine: decisions become read models, in order, coalesced, each write guarded by its version.

The same engine runs as the embedded projector, as the sweeper beside Faust, and for a rebuild. A projection that
raises, or a document that the store refuses, parks that document: later events of it wait, everything else goes on.
What is parked is listed in `dead_letters` and stays so over restarts; a letter that is taken away (see
`streams.projecting.letters.retry`) lets its document go on, and an event that it lacks by then parks it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from commands.base import Meta
from domain.aggregate import Event, EventRegistry, Observation, kind_of
from domain.errors import ChargeSphereError
from projections.base import Blocks, Feed, Target, View
from projections.blocks import Block
from projections.moment import utc_text
from projections.store import (
    ABSENT,
    HUB,
    JSON,
    Applied,
    Document,
    Insert,
    Put,
    Query,
    ReadStore,
    Remove,
    StoreError,
    StoreRejectedError,
    StoreUnavailableError,
    Write,
    every,
)
from streams.following.facts import Fact, TransientError
from streams.log import TopicPartition
from streams.log.envelope import all_events
from streams.log.topology import PREFIX
from streams.projecting.blocks import BlockWriter, Spot
from streams.projecting.joined_reads import JoinedReads
from streams.projecting.writer import StoreWriter

logger = logging.getLogger(__name__)

Key = tuple[str, str, str]
Held = tuple[int, Document | None]
"""A document and its version; 0 and None where there is none."""
CACHED = 5_000
"""Documents of one partition that are kept in memory."""
_STORES = frozenset({"_id", "version"})
LETTERS = "dead_letters"
REREAD_SECONDS = 2.0
"""How old the list of what is parked may be."""
GATHER_SECONDS = 0.04
"""How far apart a busy projector's bulks begin."""


class MissingEventError(ChargeSphereError):
    """A document lacks an event that came before this one."""


@dataclass(slots=True)
class _Batch:
    """What one batch writes, by document, so that one which the store refuses can be found."""

    writes: dict[Key, list[Write]] = field(default_factory=dict)
    facts: dict[Key, Fact] = field(default_factory=dict)
    names: dict[Key, str] = field(default_factory=dict)
    parked: set[Key] = field(default_factory=set)
    spots: list[Spot] = field(default_factory=list)

    def add(self, name: str, key: Key, fact: Fact, writes: Iterable[Write]) -> None:
        self.writes.setdefault(key, []).extend(writes)
        self.facts[key], self.names[key] = fact, name


class Projector:
    """`handle` is a follower's function. `observe(seconds)` is told the delay from the log to the store.

    What goes into blocks is written later, by `kept.write`: a follower's position must not pass `kept.unwritten`.
    """

    def __init__(
        self,
        store: ReadStore,
        events: EventRegistry,
        views: Sequence[View],
        feeds: Sequence[Feed],
        blocks: Sequence[Blocks] = (),
        *,
        stories: Callable[[Fact], Sequence[Write]] | None = None,
        observe: Callable[[str, float], None] | None = None,
        reread_every: float = REREAD_SECONDS,
        sweeping: bool = False,
    ) -> None:
        self._hold(store)
        self._events = events
        self._views: dict[str, list[View]] = {}
        for view in views:
            self._views.setdefault(view.kind, []).append(view)
        self._feeds: dict[str, list[Feed]] = {}
        for feed in feeds:
            self._feeds.setdefault(feed.kind, []).append(feed)
        self._blocks: dict[str, list[Blocks]] = {}
        for one in blocks:
            self._blocks.setdefault(one.kind, []).append(one)
        self.kept = BlockWriter(store, self._refused)
        self._caches: dict[TopicPartition, OrderedDict[Key, Held]] = {}
        self._parked: frozenset[Key] = frozenset()
        self._reread_every = reread_every
        self._letters_at = -math.inf
        self._reading = asyncio.Lock()
        self._stories = stories
        self._observe = observe
        self._sweeping = sweeping
        self.applied = 0
        self.stale = 0

    def use(self, store: ReadStore) -> None:
        """Project into this store from now on, of which nothing is known yet."""
        self._hold(store)
        self.kept.use(store)
        self._caches.clear()
        self._parked = frozenset()
        self._letters_at = -math.inf

    def _hold(self, store: ReadStore) -> None:
        self._store = store
        self._writer = StoreWriter(store, gather=GATHER_SECONDS)
        self._documents = JoinedReads(store.get_many)
        self._versions = JoinedReads(store.versions)

    async def handle(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        """Project one batch; raises TransientError while the store is away, and nothing has been lost then."""
        work: list[tuple[Fact, Event, Meta]] = [
            (fact, event, fact.decision.meta)
            for fact in facts
            for event in all_events(fact.decision, self._events)
        ]
        batch = _Batch()
        if work:
            # First of all: blocks take what they are given in order, whatever raises on somebody's facts.
            held = self.kept.held(place)
            for fact, event, meta in work:
                self._gather(batch, kind_of(event.originator_id), fact, event, meta)
            if batch.spots:
                await self.kept.take(held, batch.spots)
        told = [write for fact in facts for write in self._stories(fact)] if self._stories else []
        if work or told:
            await self._read_letters()
            cache = self._caches.setdefault(place, OrderedDict())
            await self._load(work, cache)
            self._project(batch, work, cache)
            try:
                applied = await self._apply(place, batch, told, cache)
            except BaseException:
                # Also where the partition was taken away meanwhile: what was not written is not there.
                for key in batch.writes:
                    cache.pop(key, None)
                raise
            self._parked |= batch.parked
            self._count(applied)
            if self._observe is not None:
                now = time.time()
                for fact in facts:
                    if fact.decision.events:
                        self._observe(place.topic, max(0.0, now - fact.written_at.timestamp()))

    def forget(self, place: TopicPartition) -> None:
        """What is known of this partition's documents: it comes or goes, and others write them."""
        self._caches.pop(place, None)
        self.kept.forget(place)

    def _count(self, applied: Applied) -> None:
        self.applied += applied.applied
        self.stale += applied.stale

    async def _apply(
        self, place: TopicPartition, batch: _Batch, told: Sequence[Write], cache: OrderedDict[Key, Held]
    ) -> Applied:
        if self._sweeping:
            # What is applied besides stories, somebody else had skipped.
            await self._writer_or_nothing(place, told)
            told = ()
        try:
            return await self._writer.apply([*told, *(w for writes in batch.writes.values() for w in writes)])
        except StoreError as error:
            logger.error("the store refuses a write of %s[%d]: %s", place.topic, place.partition, error)
        applied = [await self._writer_or_nothing(place, told)]
        for key, writes in batch.writes.items():
            try:
                applied.append(await self._writer.apply(writes))
            except StoreError as error:
                cache.pop(key, None)
                batch.parked.add(key)
                letter = self._letter(batch.names[key], key, batch.facts[key], error)
                applied.append(await self._writer.apply([letter]))
        return Applied(sum(a.applied for a in applied), sum(a.stale for a in applied))

    async def _writer_or_nothing(self, place: TopicPartition, writes: Sequence[Write]) -> Applied:
        """Stories are for reading by persons: one that the store refuses is said and left out."""
        try:
            return await self._writer.apply(writes)
        except StoreError as error:
            logger.error("a story of %s[%d] is left out: %s", place.topic, place.partition, error)
            return Applied(0, 0)

    async def _read_letters(self) -> None:
        """Learn what is parked, by whomever, and read anew what is parked no longer."""
        if time.monotonic() - self._letters_at >= self._reread_every:
            async with self._reading:
                if time.monotonic() - self._letters_at >= self._reread_every:
                    await self._reread_letters()

    async def _reread_letters(self) -> None:
        now = time.monotonic()
        found: set[Key] = set()
        try:
            async for letter in every(self._store, Query(HUB, LETTERS, limit=500)):
                db, _, rest = str(letter.get("document", "")).partition("/")
                collection, _, id = rest.partition("/")
                found.add((db, collection, id))
        except StoreUnavailableError as error:
            raise TransientError(str(error)) from error
        for cache in self._caches.values():
            for key in self._parked - found:
                cache.pop(key, None)
        self._parked = frozenset(found)
        self._letters_at = now

    async def _load(self, work: Sequence[tuple[Fact, Event, Meta]], cache: OrderedDict[Key, Held]) -> None:
        """Bring the documents that the batch touches into the cache, by one read a collection.

        One over which the batch leaves a gap is read again: somebody else may have written it meanwhile.
        """
        wanted: dict[tuple[str, str], set[str]] = {}
        swept: dict[tuple[str, str], dict[str, int]] = {}
        met: set[Key] = set()
        for _, event, meta in work:
            for view in self._views_of(event):
                db, id = view.target(event, meta)
                key = (db, view.collection, id)
                if self._sweeping and view.also is None:
                    swept.setdefault(key[:2], {})[id] = event.originator_version
                elif (known := cache.get(key)) is not None:
                    if known[0] + 1 < event.originator_version and key not in met:
                        wanted.setdefault(key[:2], set()).add(id)
                    met.add(key)
                elif event.originator_version == 1:
                    # Nothing stands there yet, or the event comes again: then the store finds the writes old.
                    cache[key] = (0, None)
                    met.add(key)
                else:
                    wanted.setdefault(key[:2], set()).add(id)
        try:
            for place, newest in swept.items():
                wanted[place] = wanted.get(place, set()) | await self._skipped(place, newest, cache)
            for place, ids in wanted.items():
                if ids:
                    await self._read(place, ids, cache)
        except StoreUnavailableError as error:
            raise TransientError(str(error)) from error

    async def _skipped(
        self, place: tuple[str, str], newest: Mapping[str, int], cache: OrderedDict[Key, Held]
    ) -> set[str]:
        """The documents that are there without the newest event; the others need no reading, whatever they hold."""
        stored = await self._versions.get(place, newest)
        for id in newest:
            cache[(*place, id)] = (stored.get(id, 0), None)
        return {id for id, version in newest.items() if 0 < stored.get(id, 0) < version}

    async def _read(self, place: tuple[str, str], ids: Iterable[str], cache: OrderedDict[Key, Held]) -> None:
        found = await self._documents.get(place, ids)
        for id in ids:
            document = found.get(id)
            version = document.get("version") if document else None
            if document is not None:
                document = {k: v for k, v in document.items() if k not in _STORES}
            cache[(*place, id)] = (version if isinstance(version, int) else 0, document)

    def _project(
        self, batch: _Batch, work: Sequence[tuple[Fact, Event, Meta]], cache: OrderedDict[Key, Held]
    ) -> None:
        changed: dict[Key, tuple[View, Target, Fact]] = {}
        before: dict[Key, Held] = {}
        for fact, event, meta in work:
            kind = kind_of(event.originator_id)
            if fact.decision.repeat:
                continue
            for view in self._views_of(event):
                target = view.target(event, meta)
                key = (target.db, view.collection, target.id)
                if key in self._parked or key in batch.parked:
                    continue
                version, document = cache[key]
                if event.originator_version <= version:
                    if view.also is not None and document is not None:
                        # The document was written, and then we were ended: what follows from it is written again.
                        changed.setdefault(key, (view, target, fact))
                    continue
                try:
                    missing = document is not None and event.originator_version > version + 1
                    if missing and not event.begins:
                        raise MissingEventError(
                            f"version {version} cannot take in {event.originator_version}"
                        )
                    after = view.evolve(None if document is None else document.copy(), event, meta)
                except Exception as error:
                    self._park(batch, view.name, key, fact, error)
                    continue
                before.setdefault(key, (version, document))
                cache[key] = (event.originator_version, after)
                cache.move_to_end(key)
                if after is not None or document is not None:
                    changed[key] = (view, target, fact)
            for feed in self._feeds.get(kind, ()):
                key = (HUB, feed.name, event.originator_id)
                if key in self._parked or key in batch.parked:
                    continue
                try:
                    batch.add(feed.name, key, fact, feed.writes(event, meta))
                except Exception as error:
                    self._park(batch, feed.name, key, fact, error)
        for key, (view, target, fact) in changed.items():
            version, document = cache[key]
            batch.add(view.name, key, fact, writes_of(view, target, version, document, before.get(key)))
        while len(cache) > CACHED:
            cache.popitem(last=False)

    def _gather(self, batch: _Batch, kind: str, fact: Fact, event: Event, meta: Meta) -> None:
        """What goes into blocks, repeats too, so that they are the same whoever folds them. Where an event cannot be
        taken in, a letter says so, and they go on without."""
        for blocks in self._blocks.get(kind, ()):
            place = f"{fact.place.topic.partition('.')[2]}-{fact.place.partition}-{fact.offset}"
            try:
                entries = blocks.entries(event, meta, place)
            except Exception as error:
                self._park(batch, blocks.name, (HUB, blocks.name, event.originator_id), fact, error)
                continue
            if entries:
                last = batch.spots[-1] if batch.spots else None
                if last is not None and last.offset == fact.offset:
                    batch.spots[-1] = last._replace(entries=(*last.entries, *entries))
                else:
                    batch.spots.append(Spot(fact.offset, fact.decision.epoch, entries))

    async def _refused(self, block: Block, new: int, error: StoreRejectedError) -> None:
        """A block that the store refuses is left out, and a letter says so."""
        name = f"{block.db}/{block.collection}/{block.id}"
        logger.error("the store refuses the block %s: %s", name, error)
        topic, _, partition = block.source.rpartition("-")
        document: Document = {
            "projection": block.collection,
            "document": name,
            "topic": f"{PREFIX}.{topic}",
            "partition": int(partition),
            "offset": block.version,
            "reason": f"{type(error).__name__}: {error}",
            "parked_at": utc_text(datetime.now(UTC)),
        }
        with contextlib.suppress(StoreRejectedError):
            await self._store.apply([Insert(HUB, LETTERS, name, document)])

    def _views_of(self, event: Event) -> Sequence[View]:
        """The views that fold it: none an observation, which is no version of its aggregate."""
        return () if isinstance(event, Observation) else self._views.get(kind_of(event.originator_id), ())

    def _park(self, batch: _Batch, name: str, key: Key, fact: Fact, error: Exception) -> None:
        """The document waits for a person; what it was before is still written."""
        logger.error("%s parks %s", name, "/".join(key), exc_info=error)
        batch.parked.add(key)
        batch.add(name, key, fact, [self._letter(name, key, fact, error)])

    @staticmethod
    def _letter(name: str, key: Key, fact: Fact, error: Exception) -> Write:
        """The reason and the place in the log, for a person."""
        place = f"{fact.place.topic}|{fact.place.partition}|{fact.offset}"
        return Insert(
            HUB,
            LETTERS,
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
        """What waits, by database, collection and id; for a feed the hub's, its name and the aggregate."""
        return self._parked


def writes_of(
    view: View, target: Target, version: int, document: Document | None, before: Held | None = None
) -> Sequence[Write]:
    """What puts this document of a view into the store; `before` is what is believed to stand there.

    The parts of a document are shared with those before and after it: a view never changes what it was given.
    """
    if document is None:
        return [Remove(target.db, view.collection, target.id, version)]
    body = {k: v for k, v in document.items() if k not in view.keep} if view.keep else document
    base, changed = _difference(view, before, body)
    put = Put(target.db, view.collection, target.id, version, body, view.keep, base, changed)
    return [put] if view.also is None else [put, *view.also(target, body, version)]


def _difference(view: View, before: Held | None, body: Document) -> tuple[int | None, Mapping[str, JSON]]:
    """`base` and `changed` of a Put; none where that is not known, or where fields have gone."""
    if before is None:
        return None, {}
    version, document = before
    if document is None:
        return ABSENT, {}
    if not document.keys() <= body.keys() | set(view.keep):
        return None, {}
    return version, {k: v for k, v in body.items() if k not in document or document[k] is not v}
