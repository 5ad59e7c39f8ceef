"""One fan-out a process: the public topics are read once, however many listen, and not at all while nobody does.

What enters: records of the public topics. What leaves: events in the buffer of each subscription that wants them.
The reader never waits for a listener: one without room is behind, and is told the rest once it has taken what waits,
by a second reader that serves all who are behind in turns. Who is behind by no more than is kept in memory joins from
there in one step. It appends nothing and keeps no position: bookmarks are their holders'.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence

import msgspec

from application.live.bookmark import Bookmark, read_bookmark
from application.live.events import (
    GAP,
    INTERRUPTED,
    LAGGED,
    SHUTDOWN,
    Gap,
    Lagged,
    LiveEvent,
    Told,
    Wanted,
    tenant_of,
)
from application.live.subscription import Bounds, Subscription
from domain.errors import ChargeSphereError
from streams.log import Log, LogError, LogShortenedError, LogUnavailableError, Reader, Stored, TopicPartition
from streams.log.topology import PUBLIC

logger = logging.getLogger(__name__)

GATHER_S = 0.05
"""Seconds between two fetches of what happens, under load."""
QUIET_S = 10.0
AT_ONCE = 500
"""Records that are handed on without a pause."""
NEAR = 5_000
"""Records that a turn begins earlier for others who are behind."""
AGAIN_S = 0.5


class TooManyStreamsError(ChargeSphereError):
    """No stream more: `of_tenant` where the tenant has its share already, else the process has."""

    def __init__(self, most: int, *, of_tenant: bool) -> None:
        super().__init__(f"there are {most} live streams {'of this tenant' if of_tenant else 'here'} already")
        self.of_tenant = of_tenant


class Fanout:
    """`subscribe`, and at the end `close`.

    `counts` holds the numbers of now (`subscribers`, `behind`, `waiting_bytes`) and since the start (`told`,
    `lagged`, `gaps`, `refused`).
    """

    def __init__(self, log: Log, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self._log = log
        self._places = [place for topic in PUBLIC.values() for place in log.places(topic)]
        self._index = {place: index for index, place in enumerate(self._places)}
        self._here = self._bookmark([0] * len(self._places))
        self._kept: deque[tuple[int, Stored]] = deque()
        self._kept_bytes = 0
        self._kept_from = list(self._here.offsets)
        """From where on everything up to `_here` is in memory."""
        self._streams: Counter[str] = Counter()
        self._all: dict[Subscription, None] = {}
        self._live: dict[str, dict[Subscription, None]] = {}
        self._behind: dict[Subscription, None] = {}
        """In the order of their turns."""
        self._wanting = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self._totals: Counter[str] = Counter()

    @property
    def counts(self) -> Mapping[str, int]:
        """What it counts, for metrics."""
        return {
            "subscribers": self._streams.total(),
            "behind": len(self._behind),
            "waiting_bytes": sum(one.waiting_bytes for one in self._all),
            **{name: self._totals[name] for name in ("told", "lagged", "gaps", "refused")},
        }

    async def subscribe(self, wanted: Wanted, since: str | None = None) -> Subscription:
        """Listen from now on, or from a bookmark on.

        Raises BookmarkError, TooManyStreamsError, LogUnavailableError.
        """
        mark = None if since is None else read_bookmark(since, self._log.layout)
        self._admit(wanted.tenant)
        try:
            await self._begin()
        except BaseException:
            self._let_go(wanted.tenant)
            raise
        subscription = Subscription(self, wanted, self.bounds, mark)
        self._all[subscription] = None
        if mark is None:
            self._live.setdefault(wanted.tenant, {})[subscription] = None
        else:
            self._behind[subscription] = None
            self._wanting.set()
        return subscription

    async def close(self) -> None:
        """End every stream as `shutdown`; none begins any more."""
        self._closed = True
        self._end_all(SHUTDOWN)
        self._stop()
        if self._starting is not None:
            self._ending.add(self._starting)
        while self._ending:
            await asyncio.wait(self._ending)
            self._ending = {task for task in self._ending if not task.done()}

    # -- what subscriptions say ----------------------------------------------------------------------------------

    def here(self) -> str:
        return self._here.text()

    def drained(self, subscription: Subscription) -> None:
        if subscription in self._behind:
            self._wanting.set()

    def leave(self, subscription: Subscription) -> None:
        if subscription in self._all:
            del self._all[subscription]
            self._remove(subscription)
            self._let_go(subscription.wanted.tenant)

    def _remove(self, subscription: Subscription) -> None:
        self._behind.pop(subscription, None)
        tenant = subscription.wanted.tenant
        live = self._live.get(tenant, {})
        live.pop(subscription, None)
        if not live:
            self._live.pop(tenant, None)

    # -- who may listen, and when is read ------------------------------------------------------------------------

    def _admit(self, tenant: str) -> None:
        if self._closed:
            raise LogUnavailableError("live streams end: this process is told to end")
        bounds = self.bounds
        for full, most, of_tenant in (
            (self._streams[tenant] >= bounds.streams_of_tenant, bounds.streams_of_tenant, True),
            (self._streams.total() >= bounds.streams, bounds.streams, False),
        ):
            if full:
                self._totals["refused"] += 1
                raise TooManyStreamsError(most, of_tenant=of_tenant)
        self._streams[tenant] += 1

    def _let_go(self, tenant: str) -> None:
        self._streams[tenant] -= 1
        if not self._streams[tenant]:
            del self._streams[tenant]
        if not self._streams:
            self._stop()

    async def _begin(self) -> None:
        """Returns once it is read from some position on."""
        if not self._tasks:
            if self._starting is None:
                self._starting = asyncio.create_task(self._start())
            await asyncio.shield(self._starting)
        if not self._tasks:
            raise LogUnavailableError("live streams were interrupted")

    async def _start(self) -> None:
        reader = self._log.reader(GATHER_S)
        try:
            ends = await self._log.ends(self._places)
            await reader.assign(ends)
        except BaseException:
            await reader.close()
            raise
        finally:
            self._starting = None
        if not self._streams or self._closed:
            await reader.close()
            return
        self._here = self._bookmark([ends[place] for place in self._places])
        self._kept.clear()
        self._kept_bytes = 0
        self._kept_from = list(self._here.offsets)
        for work in (self._follow(reader), self._catch_up()):
            task = asyncio.create_task(work)
            task.add_done_callback(self._done)
            self._tasks.append(task)

    def _stop(self) -> None:
        """Nothing is read any more."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if task is not asyncio.current_task():
                task.cancel()
            if not task.done():
                self._ending.add(task)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("live streams are interrupted", exc_info=error)
            if task in self._tasks:
                self._interrupt()

    def _interrupt(self) -> None:
        """Who listens comes back with a bookmark, and is told from there."""
        self._end_all(INTERRUPTED)
        self._stop()

    def _end_all(self, reason: str) -> None:
        for subscription in self._all:
            subscription.end(reason)
        self._live.clear()
        self._behind.clear()

    # -- what happens just now -----------------------------------------------------------------------------------

    async def _follow(self, reader: Reader) -> None:
        try:
            while True:
                try:
                    found = await reader.poll(QUIET_S, AT_ONCE)
                except LogShortenedError as error:
                    logger.warning("live streams are interrupted: %s", error)
                    self._interrupt()
                    return
                except LogError as error:
                    logger.warning("live streams wait: %s", error)
                    await asyncio.sleep(AGAIN_S)
                    continue
                for place, batch in found.items():
                    index = self._index[place]
                    for stored in batch:
                        self._tell(index, stored)
                await asyncio.sleep(0)
        finally:
            with contextlib.suppress(LogError):
                await reader.close()

    def _tell(self, index: int, stored: Stored) -> None:
        self._here.move(index, stored.offset + 1)
        self._keep(index, stored)
        listening = self._live.get(tenant_of(stored))
        told = _told(stored) if listening else None
        if listening and told is not None:
            for subscription in list(listening):
                if subscription.ahead:
                    if told.offset < subscription.ahead.get(index, 0):
                        continue
                    subscription.ahead.pop(index, None)
                if subscription.wanted.takes(told):
                    event = LiveEvent(self._here.text(), told.name, told.data)
                    if subscription.has_room(event):
                        self._put(subscription, event)
                    else:
                        self._fall_behind(subscription, index, told.offset)

    def _keep(self, index: int, stored: Stored) -> None:
        self._kept.append((index, stored))
        self._kept_bytes += _weight(stored)
        while len(self._kept) > self.bounds.kept or self._kept_bytes > self.bounds.kept_bytes:
            first, oldest = self._kept.popleft()
            self._kept_bytes -= _weight(oldest)
            self._kept_from[first] = oldest.offset + 1

    def _put(self, subscription: Subscription, event: LiveEvent) -> None:
        subscription.put(event)
        self._totals["told"] += 1

    def _fall_behind(self, subscription: Subscription, index: int, offset: int) -> None:
        """This record has no room."""
        mark = self._here.copy()
        mark.move(index, offset)
        for place, at in subscription.ahead.items():
            mark.move(place, max(at, mark.offsets[place]))
        self._remove(subscription)
        subscription.behind, subscription.ahead = mark, {}
        self._behind[subscription] = None
        self._totals["lagged"] += 1
        text = mark.text()
        subscription.put(LiveEvent(text, LAGGED, msgspec.json.encode(Lagged(text))))

    # -- what has happened before --------------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        """Turn after turn, while anybody is behind who has taken what waited."""
        while True:
            await self._wanting.wait()
            self._wanting.clear()
            while (leader := next((one for one in self._behind if one.idle), None)) is not None:
                try:
                    await self._turn(leader)
                except LogError as error:
                    logger.warning("live streams that are behind wait: %s", error)
                    await asyncio.sleep(AGAIN_S)
                if leader in self._behind:
                    del self._behind[leader]
                    self._behind[leader] = None

    async def _turn(self, leader: Subscription) -> None:
        riders = [one for one in self._behind if one.idle]
        begins = await self._log.beginnings(self._places)
        ends = await self._log.ends(self._places)
        for one in riders:
            self._fit(one, begins, ends)
        riders = self._still_behind(riders)
        if not riders:
            return
        start = _start_of(leader if leader in riders else riders[0], riders)
        reader = self._log.reader()
        try:
            await reader.assign(dict(zip(self._places, start, strict=True)))
            read = 0
            while riders and read < self.bounds.turn:
                found = await reader.poll(QUIET_S, AT_ONCE)
                for place, batch in found.items():
                    read += len(batch)
                    riders = self._tell_again(riders, self._index[place], batch, start)
                if not found:
                    await self._nothing_there(reader, riders, start)
                riders = self._still_behind(riders)
                if not found:
                    break
                await asyncio.sleep(0)
        finally:
            with contextlib.suppress(LogError):
                await reader.close()
        await asyncio.sleep(self.bounds.apart)

    def _fit(
        self,
        one: Subscription,
        begins: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        """Where its bookmark is not in the log, say so, and go on at the nearest position that is."""
        assert one.behind is not None
        topics: dict[str, None] = {}
        names = {topic: name for name, topic in PUBLIC.items()}
        for index, place in enumerate(self._places):
            at = one.behind.offsets[index]
            there = min(max(at, begins[place]), ends[place])
            if there != at:
                one.behind.move(index, there)
                topics[names[place.topic]] = None
        if topics:
            self._totals["gaps"] += 1
            one.put(LiveEvent(one.behind.text(), GAP, msgspec.json.encode(Gap(list(topics)))))

    def _still_behind(self, riders: Sequence[Subscription]) -> list[Subscription]:
        """Those whom memory does not reach; the others join, or wait for room."""
        return [one for one in riders if one in self._behind and not self._join(one)]

    def _join(self, one: Subscription) -> bool:
        """From memory up to what happens just now, in one step; False where memory does not reach so far back."""
        mark = one.behind
        assert mark is not None
        if any(at < first for at, first in zip(mark.offsets, self._kept_from, strict=True)):
            return False
        for index, stored in self._kept:
            if stored.offset >= mark.offsets[index] and not self._hand(one, mark, index, stored):
                return True
        here = self._here.offsets
        one.ahead = {index: at for index, at in enumerate(mark.offsets) if at > here[index]}
        one.behind = None
        del self._behind[one]
        self._live.setdefault(one.wanted.tenant, {})[one] = None
        return True

    def _hand(self, one: Subscription, mark: Bookmark, index: int, stored: Stored) -> bool:
        """One record to one who is behind; False where it has no room."""
        told = _told(stored) if tenant_of(stored) == one.wanted.tenant else None
        before = mark.offsets[index]
        mark.move(index, stored.offset + 1)
        if told is not None and one.wanted.takes(told):
            event = LiveEvent(mark.text(), told.name, told.data)
            if not one.has_room(event):
                mark.move(index, before)
                return False
            self._put(one, event)
        return True

    def _tell_again(
        self, riders: Sequence[Subscription], index: int, batch: Sequence[Stored], start: Sequence[int]
    ) -> list[Subscription]:
        """These records to all who have not heard them; those who have room for more."""
        by_tenant: dict[str, list[Stored]] = {}
        for stored in batch:
            by_tenant.setdefault(tenant_of(stored), []).append(stored)
        going_on: list[Subscription] = []
        for one in riders:
            mark = one.behind
            if one not in self._behind or mark is None:
                continue
            if mark.offsets[index] < start[index]:
                going_on.append(one)  # in this partition it needs an earlier turn
                continue
            for stored in by_tenant.get(one.wanted.tenant, ()):
                if stored.offset >= mark.offsets[index] and not self._hand(one, mark, index, stored):
                    break
            else:
                mark.move(index, max(mark.offsets[index], batch[-1].offset + 1))
                going_on.append(one)
        return going_on

    async def _nothing_there(
        self, reader: Reader, riders: Sequence[Subscription], start: Sequence[int]
    ) -> None:
        """No record is left of these offsets: then they were told."""
        for index, place in enumerate(self._places):
            needing = [
                mark
                for one in riders
                if (mark := one.behind) is not None
                and start[index] <= mark.offsets[index] < self._kept_from[index]
            ]
            if needing:
                at = await reader.position(place)
                for mark in needing:
                    mark.move(index, max(mark.offsets[index], at))

    def _bookmark(self, offsets: Sequence[int]) -> Bookmark:
        return Bookmark(self._log.layout.partitions, offsets)


def _start_of(leader: Subscription, riders: Sequence[Subscription]) -> list[int]:
    """Where a turn begins: where its leader stands, or a little before it where that is of use to others."""
    assert leader.behind is not None
    own = leader.behind.offsets
    start = list(own)
    for one in riders:
        if one.behind is not None:
            earlier = list(map(min, start, one.behind.offsets))
            if sum(a - b for a, b in zip(own, earlier, strict=True)) <= NEAR:
                start = earlier
    return start


def _told(stored: Stored) -> Told | None:
    try:
        return Told(stored)
    except (KeyError, ValueError):
        logger.warning("%s[%d]@%d is no public event", stored.topic, stored.partition, stored.offset)
        return None


def _weight(stored: Stored) -> int:
    return 500 + len(stored.value or b"")
