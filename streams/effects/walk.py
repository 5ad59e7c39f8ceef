"""Walks the facts of a partner that is behind: each object is owed once, as it is now."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Container
from datetime import datetime

from domain.aggregate import EventRegistry
from domain.owed import owed
from domain.pushes import Mark, OwedCdr
from domain.values import PartyId
from streams.effects.desk import Desk
from streams.following.facts import Fact, admitted
from streams.log import Log, LogUnavailableError
from streams.log.envelope import Fence, select_events
from streams.log.ranges import stretch

logger = logging.getLogger(__name__)

Want = Callable[[Desk, PartyId, OwedCdr, str, str], Awaitable[bool]]
"""Lets a CDR go, of a tenant and with a correlation id."""


class Walker:
    """`names` are those of the facts that are walked."""

    def __init__(
        self,
        log: Log,
        events: EventRegistry,
        names: Container[str],
        want: Want,
        clock: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._events = events
        self._names = names
        self._want = want
        self._clock = clock

    async def walk(self, desk: Desk, name: str) -> None:
        """Its facts since it is behind, some objects at a time, each as it is now."""
        outbox = desk.outbox
        try:
            while name in outbox.behind and name not in outbox.away:
                falls = outbox.falls[name]
                mark = outbox.behind[name]
                fence = Fence(mark.epoch)
                while outbox.falls[name] == falls and mark.offset < outbox.at.offset:
                    mark = await self._walk_on(desk, name, mark, fence)
                if outbox.falls[name] == falls:
                    outbox.caught_up(name, desk.contents)
                    desk.wake()
        except LogUnavailableError as error:
            logger.warning("%s stays behind at %s[%d]: %s", name, *desk.place, error)
        except Exception:
            logger.exception("%s stays behind at %s[%d]", name, *desk.place)

    async def _walk_on(self, desk: Desk, name: str, mark: Mark, fence: Fence) -> Mark:
        """As far as the facts have come; where it has fallen behind anew meanwhile, that is for nothing."""
        outbox, end, falls = desk.outbox, desk.outbox.at.offset, desk.outbox.falls[name]
        async with contextlib.aclosing(stretch(self._log, desk.place, mark.offset, end)) as batches:
            async for batch in batches:
                for stored in batch:
                    while outbox.room(name) <= 0:
                        desk.room.clear()
                        await desk.room.wait()
                    facts, damage = admitted(desk.place, fence, [stored])
                    if damage is not None:
                        raise damage
                    if outbox.falls[name] != falls:
                        return mark
                    for fact in facts:
                        await self._walk_over(desk, name, fact)
                    if outbox.falls[name] != falls:
                        return mark
                    outbox.walked(name, Mark(offset=stored.offset + 1, epoch=fence.epoch))
                desk.wake()
        mark = Mark(offset=end, epoch=fence.epoch)
        outbox.walked(name, mark)
        return mark

    async def _walk_over(self, desk: Desk, name: str, fact: Fact) -> None:
        means = owed(select_events(fact.decision, self._events, self._names), fact.offset)
        if means is None or str(means.to) != name:
            return
        meta = fact.decision.meta
        released = desk.outbox.owe(
            means,
            object_of(fact),
            mark_of(fact),
            self._clock(),
            tenant=meta.tenant,
            correlation_id=meta.correlation_id,
            walked=True,
        )
        for cdr in released:
            await self._want(desk, means.to, cdr, meta.tenant, meta.correlation_id)


def object_of(fact: Fact) -> str:
    """The id of the object that a fact is of."""
    return fact.aggregate.partition("|")[2]


def mark_of(fact: Fact) -> Mark:
    """Where it stands."""
    return Mark(offset=fact.offset, epoch=fact.decision.epoch)
