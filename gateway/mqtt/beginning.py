"""From where on MQTT tells: what had happened before it was switched on is taken in, and not told.

What enters: partitions in which MQTT may have no position: it is new, or nobody told for so long that the log forgot
where it was. What leaves: for each the offset before which nothing is told. It stands in the read store, so
that a restart in between changes nothing. Once a partition is there, its charge points' status is told as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from projections.moment import utc_text
from projections.store import Document, Put, ReadStore, StoreUnavailableError
from streams.log import Log, LogUnavailableError, TopicPartition

logger = logging.getLogger(__name__)

COLLECTION = "beginnings"
SOON = timedelta(days=1)
"""Who has no position so soon after the beginning has not committed any yet: it is the same beginning."""


class Beginning:
    """`gained` before anything is handled; nothing below `of(place)` is told."""

    def __init__(
        self,
        log: Log,
        store: ReadStore,
        database: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._log = log
        self._store = store
        self._database = database
        self._clock = clock
        self._offsets: dict[TopicPartition, int] = {}
        self.awaited = asyncio.Event()
        """Set while some partition is not where it begins to tell."""
        self.known = asyncio.Event()
        """Set once the first partitions were gained."""

    def of(self, place: TopicPartition) -> int:
        return self._offsets.get(place, 0)

    async def gained(self, known: Mapping[TopicPartition, bool]) -> None:
        """Partitions, and whether MQTT has a position there. Waits for the log and the store."""
        while True:
            try:
                await self._find(known)
                break
            except (LogUnavailableError, StoreUnavailableError) as error:
                logger.warning("it is not known yet from where on MQTT tells: %s", error)
                await asyncio.sleep(0.5)
        self.known.set()
        if self._offsets:
            self.awaited.set()

    def forget(self, places: Collection[TopicPartition]) -> None:
        """They are another node's."""
        for place in places:
            self._offsets.pop(place, None)
        if not self._offsets:
            self.awaited.clear()

    def reached(self, positions: Mapping[TopicPartition, int]) -> Sequence[TopicPartition]:
        """The partitions whose position is where they begin to tell."""
        return [place for place, begin in self._offsets.items() if positions.get(place, -1) >= begin]

    async def begun(self, places: Collection[TopicPartition]) -> None:
        """Their status was told: nothing is held back any more, also after a restart. Raises StoreError."""
        begun = [(place, begin) for place in places if (begin := self._offsets.get(place)) is not None]
        await self._store.apply([self._put(place, begin, begun=True) for place, begin in begun])
        self.forget(places)

    async def _find(self, known: Mapping[TopicPartition, bool]) -> None:
        places = list(known)
        begun = await self._store.get_many(self._database, COLLECTION, [_id(place) for place in places])
        ends = await self._log.ends(places)
        found: dict[TopicPartition, int] = {}
        fresh: list[Put] = []
        for place in places:
            document = begun.get(_id(place))
            without = not known[place]
            if without and (document is None or self._old(document)):
                found[place] = ends[place]
                fresh.append(self._put(place, ends[place], begun=False))
            elif document is not None and (without or not document["begun"]):
                # A log that was restored since may be shorter.
                found[place] = min(int(str(document["offset"])), ends[place])
        await self._store.apply(fresh)
        for place in places:
            self._offsets.pop(place, None)
        self._offsets |= found

    def _old(self, document: Document) -> bool:
        return datetime.fromisoformat(str(document["at"])) < self._clock() - SOON

    def _put(self, place: TopicPartition, offset: int, *, begun: bool) -> Put:
        now = self._clock()
        document: Document = {"offset": offset, "at": utc_text(now), "begun": begun}
        return Put(self._database, COLLECTION, _id(place), round(now.timestamp() * 1000), document)


def _id(place: TopicPartition) -> str:
    return f"{place.topic}-{place.partition}"
