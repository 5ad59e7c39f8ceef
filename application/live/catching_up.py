"""Those who are behind what happens, because they came back with a bookmark or took too slowly.

What enters: subscriptions with their bookmarks. What leaves: the events that they have missed, as far as each has
room, and the subscriptions themselves once nothing lies between their bookmark and what happens just now. One reader
serves all of them in turns; each turn begins where the one stands who has waited longest, and whoever stands near
rides along. Whom memory reaches joins from there in one step, in which nothing can come in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from application.live.bookmark import Bookmark
from application.live.events import GAP, Gap, LiveEvent, Told, tenant_of
from application.live.recent import Recent
from application.live.subscription import Bounds, Subscription
from streams.log import Log, LogError, Reader, Stored, TopicPartition
from streams.log.topology import PUBLIC

logger = logging.getLogger(__name__)

PATIENCE_S = 10.0
AT_ONCE = 500
"""Records that are handed on without a pause."""
AGAIN_S = 0.5

_NOUNS = {topic: name for name, topic in PUBLIC.items()}


class CatchingUp:
    """`joined` is told who is not behind any more; `totals` counts `told` and `gaps`."""

    def __init__(
        self,
        log: Log,
        places: Sequence[TopicPartition],
        recent: Recent,
        bounds: Bounds,
        totals: Counter[str],
        joined: Callable[[Subscription, Bookmark], None],
    ) -> None:
        self._log = log
        self._places = places
        self._index = {place: index for index, place in enumerate(places)}
        self._recent = recent
        self._bounds = bounds
        self._totals = totals
        self._joined = joined
        self._behind: dict[Subscription, None] = {}
        """In the order of their turns."""
        self._wanting = asyncio.Event()

    def __len__(self) -> int:
        return len(self._behind)

    def add(self, one: Subscription) -> None:
        """It is behind; its turn comes once it has taken what waits."""
        self._behind[one] = None
        self._wanting.set()

    def remove(self, one: Subscription) -> None:
        """It listens no more."""
        self._behind.pop(one, None)

    def clear(self) -> None:
        """Nobody listens any more."""
        self._behind.clear()

    def drained(self, one: Subscription) -> None:
        """It has taken what waited."""
        if one in self._behind:
            self._wanting.set()

    async def run(self) -> None:
        """Turn after turn, while anybody is behind who has taken what waited; until cancelled. After one that could
        not be read the next leader goes without those before it: they may stand where nobody can read on."""
        while True:
            await self._wanting.wait()
            self._wanting.clear()
            near, said = self._bounds.near, ""
            while (leader := next((one for one in self._behind if one.idle), None)) is not None:
                try:
                    await self._turn(leader, near)
                    near = self._bounds.near
                except LogError as error:
                    if str(error) != said:
                        logger.warning("live streams that are behind wait: %s", error)
                    near, said = 0, str(error)
                    await asyncio.sleep(AGAIN_S)
                if leader in self._behind:
                    del self._behind[leader]
                    self._behind[leader] = None

    async def _turn(self, leader: Subscription, near: int) -> None:
        riders = [one for one in self._behind if one.idle]
        begins = await self._log.beginnings(self._places)
        ends = await self._log.ends(self._places)
        for one in riders:
            self._fit(one, begins, ends)
        riders = await self._not_reached(riders)
        if not riders:
            return
        start, riders = _start_of(leader if leader in riders else riders[0], riders, near)
        reader = self._log.reader()
        try:
            await reader.assign(dict(zip(self._places, start, strict=True)))
            read = 0
            while riders and read < self._bounds.turn:
                found = await reader.poll(PATIENCE_S, AT_ONCE)
                for place, batch in found.items():
                    read += len(batch)
                    riders = await self._tell(riders, self._index[place], batch)
                if not found:
                    await self._pass_over(reader, riders)
                riders = await self._not_reached(riders)
                if not found:
                    break
                await asyncio.sleep(0)
        finally:
            with contextlib.suppress(LogError):
                await reader.close()
        await asyncio.sleep(self._bounds.apart)

    def _fit(
        self, one: Subscription, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> None:
        """Where its bookmark is not in the log, say so, and go on at the nearest position that is."""
        mark = one.behind
        assert mark is not None
        nouns: dict[str, None] = {}
        for index, place in enumerate(self._places):
            at = min(max(mark.offsets[index], begins[place]), ends[place])
            if at != mark.offsets[index]:
                mark.move(index, at)
                nouns[_NOUNS[place.topic]] = None
        if nouns:
            self._totals["gaps"] += 1
            one.put(LiveEvent(mark.text(), GAP, msgspec.json.encode(Gap(list(nouns)))))

    async def _not_reached(self, riders: Sequence[Subscription]) -> list[Subscription]:
        """Those whom memory does not reach yet; the others join, or wait for room."""
        left: list[Subscription] = []
        for one in riders:
            if one in self._behind and not self._join(one):
                left.append(one)
            await asyncio.sleep(0)
        return [one for one in left if one in self._behind]

    def _join(self, one: Subscription) -> bool:
        """From memory up to what happens just now; False where memory does not reach so far back."""
        mark = one.behind
        assert mark is not None
        if not self._recent.reaches(mark.offsets):
            return False
        for index, stored in self._recent:
            if stored.offset >= mark.offsets[index] and not self._hand(one, mark, index, stored):
                return True
        one.behind = None
        del self._behind[one]
        self._joined(one, mark)
        return True

    async def _tell(
        self, riders: Sequence[Subscription], index: int, batch: Sequence[Stored]
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
            for stored in by_tenant.get(one.wanted.tenant, ()):
                if stored.offset >= mark.offsets[index] and not self._hand(one, mark, index, stored):
                    break
            else:
                mark.move(index, max(mark.offsets[index], batch[-1].offset + 1))
                going_on.append(one)
            await asyncio.sleep(0)
        return going_on

    def _hand(self, one: Subscription, mark: Bookmark, index: int, stored: Stored) -> bool:
        """One record to one who is behind; False where it has no room."""
        told = Told.of(stored) if tenant_of(stored) == one.wanted.tenant else None
        before = mark.offsets[index]
        mark.move(index, stored.offset + 1)
        if told is not None and one.wanted.takes(told):
            event = one.wanted.event(told, mark.text())
            if not one.has_room(event):
                mark.move(index, before)
                return False
            one.put(event)
            self._totals["told"] += 1
        return True

    async def _pass_over(self, reader: Reader, riders: Sequence[Subscription]) -> None:
        """Of offsets of which no record is left nothing is told."""
        for index, place in enumerate(self._places):
            needing = [
                mark
                for one in riders
                if (mark := one.behind) is not None and mark.offsets[index] < self._recent.begins[index]
            ]
            if needing:
                at = await reader.position(place)
                for mark in needing:
                    mark.move(index, max(mark.offsets[index], at))


def _start_of(
    leader: Subscription, riders: Sequence[Subscription], near: int
) -> tuple[list[int], list[Subscription]]:
    """Where a turn begins, and who rides along: where its leader stands, or up to `near` records before it where
    others stand there. Whoever stands before that waits for a turn of its own."""
    assert leader.behind is not None
    own = leader.behind.offsets
    start, along = own, [leader]
    for one in riders:
        if one is not leader and one.behind is not None:
            earlier = list(map(min, start, one.behind.offsets))
            if sum(a - b for a, b in zip(own, earlier, strict=True)) <= near:
                start = earlier
                along.append(one)
    return list(start), along
