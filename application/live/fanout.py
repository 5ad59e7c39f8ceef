"""One fan-out a process: the public topics are read once, however many listen, and not at all once nobody does.

What enters: records of the public topics. What leaves: events in the buffer of each subscription that wants them.
The reader never waits for a listener: one without room is behind, and is told the rest once it has taken what waits
(`catching_up`). It appends nothing and keeps no position: bookmarks are their holders'.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from application.live.bookmark import Bookmark, read_bookmark
from application.live.catching_up import CatchingUp
from application.live.events import (
    INTERRUPTED,
    LAGGED,
    SHUTDOWN,
    Lagged,
    LiveEvent,
    Told,
    Wanted,
    tenant_of,
)
from application.live.recent import Recent
from application.live.subscription import Bounds, Subscription
from domain.errors import ChargeSphereError
from streams.log import Log, LogError, LogShortenedError, LogUnavailableError, Reader, Stored
from streams.log.topology import PUBLIC

logger = logging.getLogger(__name__)

GATHER_S = 0.05
"""Seconds between two fetches of what happens, under load."""
QUIET_S = 10.0
AT_ONCE = 500
STEP = 25
"""Records that are handed on before others have their turn: each may be for hundreds of listeners."""
AGAIN_S = 0.5
LONGEST_END_S = 5.0


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
        self._totals: Counter[str] = Counter()
        self._recent = Recent(self.bounds)
        self._behind = CatchingUp(log, self._places, self._recent, self.bounds, self._totals, self._joined)
        self._streams: Counter[str] = Counter()
        self._all: dict[Subscription, None] = {}
        self._live: dict[str, dict[Subscription, None]] = {}
        self._starting: asyncio.Task[None] | None = None
        self._lingering: asyncio.TimerHandle | None = None
        """Set while nobody listens and it is still read."""
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

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
            self._behind.add(subscription)
        return subscription

    async def close(self) -> None:
        """End every stream as `shutdown`; none begins any more."""
        self._closed = True
        self._end_all(SHUTDOWN)
        self._linger_no_more()
        self._stop()
        if self._starting is not None:
            self._ending.add(self._starting)
        if self._ending:
            await asyncio.wait(self._ending, timeout=LONGEST_END_S)

    # -- what subscriptions say ----------------------------------------------------------------------------------

    def here(self) -> str:
        return self._here.text()

    def drained(self, subscription: Subscription) -> None:
        self._behind.drained(subscription)

    def leave(self, subscription: Subscription) -> None:
        if subscription in self._all:
            del self._all[subscription]
            self._remove(subscription)
            self._let_go(subscription.wanted.tenant)

    def _remove(self, subscription: Subscription) -> None:
        self._behind.remove(subscription)
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
        self._linger_no_more()

    def _let_go(self, tenant: str) -> None:
        self._streams[tenant] -= 1
        if not self._streams[tenant]:
            del self._streams[tenant]
        if not self._streams and not self._closed:
            # Readers cost far more than what they read: who comes and goes in a loop shall not make one each time.
            self._lingering = asyncio.get_running_loop().call_later(self.bounds.linger, self._rest)

    def _rest(self) -> None:
        self._lingering = None
        self._stop()

    def _linger_no_more(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

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
        if self._closed or not (self._streams or self._lingering):
            await reader.close()
            return
        self._here = self._bookmark([ends[place] for place in self._places])
        self._recent.restart(self._here.offsets)
        for work in (self._follow(reader), self._behind.run()):
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
                    for number, stored in enumerate(batch, 1):
                        self._tell(index, stored)
                        if number % STEP == 0:
                            await asyncio.sleep(0)
                await asyncio.sleep(0)
        finally:
            with contextlib.suppress(LogError):
                await reader.close()

    def _tell(self, index: int, stored: Stored) -> None:
        self._here.move(index, stored.offset + 1)
        self._recent.keep(index, stored)
        listening = self._live.get(tenant_of(stored))
        told = Told.of(stored) if listening else None
        if listening and told is not None:
            for subscription in list(listening):
                if subscription.ahead:
                    if stored.offset < subscription.ahead.get(index, 0):
                        continue
                    subscription.ahead.pop(index, None)
                if subscription.wanted.takes(told):
                    event = subscription.wanted.event(told, self._here.text())
                    if subscription.has_room(event):
                        subscription.put(event)
                        self._totals["told"] += 1
                    else:
                        self._fall_behind(subscription, index, stored.offset)

    def _fall_behind(self, subscription: Subscription, index: int, offset: int) -> None:
        """This record has no room."""
        mark = self._here.copy()
        mark.move(index, offset)
        for place, at in subscription.ahead.items():
            mark.move(place, max(at, mark.offsets[place]))
        self._remove(subscription)
        subscription.behind, subscription.ahead = mark, {}
        self._behind.add(subscription)
        self._totals["lagged"] += 1
        text = mark.text()
        subscription.put(LiveEvent(text, LAGGED, msgspec.json.encode(Lagged(text))))

    def _joined(self, subscription: Subscription, mark: Bookmark) -> None:
        """It has heard everything up to here, and in some places perhaps more."""
        here = self._here.offsets
        subscription.ahead = {index: at for index, at in enumerate(mark.offsets) if at > here[index]}
        self._live.setdefault(subscription.wanted.tenant, {})[subscription] = None

    def _bookmark(self, offsets: Sequence[int]) -> Bookmark:
        return Bookmark(self._log.layout.partitions, offsets)
