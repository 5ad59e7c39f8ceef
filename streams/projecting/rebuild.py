"""Building read models from the log: a projector enters, everything that the log holds goes through it.

It goes on from where it stood as often as it is asked, so that it can come as near to the log's end as it needs while
others append. It commits nothing: where it stands are the floors of the generation that it builds. `build_anew`
builds one beside the read models that are read, and has it read from one moment on; whenever it is killed, what is
read is whole, and what it had built is taken away by a later one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from commands.base import Area
from projections.store import ReadStore, StoreError, StoreUnavailableError
from projections.store.generations import Generation, GenerationStore
from streams.following.facts import admitted
from streams.following.replay import places, readings_places
from streams.log import Log, TopicPartition
from streams.log.envelope import Fence, halt_at_newer
from streams.log.ranges import stretch
from streams.log.topology import FRAMES
from streams.projecting.frames import FrameWriter
from streams.projecting.projector import Projector

logger = logging.getLogger(__name__)

FIRST: Final = (Area.PARTY,)
"""Tenants are known before what belongs to them."""

NEAR: Final = 200
"""Records that may be left to the projectors when they go on in what was built."""
ROUNDS: Final = 20

Progress = Callable[[int, int], None]
"""Is told how many records of this round are done, and of how many."""


async def _nothing() -> None:
    """Where nothing is to be prepared."""


class Rebuild:
    """`frames` takes the audit of frames, as far back as its topic reaches; None leaves it out."""

    def __init__(self, log: Log, projector: Projector, frames: FrameWriter | None = None) -> None:
        self._log = log
        self.projector = projector
        self.frames = frames
        self._offsets: dict[TopicPartition, int] = {}
        self._fences: dict[TopicPartition, Fence] = {}
        self.decisions = 0

    @property
    def floors(self) -> Mapping[tuple[str, int], tuple[int, int]]:
        """By topic and partition the first offset that was not taken, and the fence's epoch there."""
        return {
            (place.topic, place.partition): (offset, self._fence(place).epoch)
            for place, offset in self._offsets.items()
        }

    async def go_on(
        self,
        progress: Progress = lambda done, all: None,
        prepare: Callable[[], Awaitable[None]] = _nothing,
    ) -> int:
        """Take everything up to where the log ends now; returns how many records those were.

        `prepare` is called once tenants are known as far as this round goes. Raises LogUnavailableError,
        TransientError, and for what no projector can read UnknownEventError, DamagedRecordError and
        NewerReleaseError.
        """
        first = places(self._log, FIRST)
        others = [area for area in Area if area not in FIRST]
        rest = [*places(self._log, others), *readings_places(self._log, others)]
        frames = self._log.places(FRAMES) if self.frames else []
        every = [*first, *rest, *frames]
        ends, begins = await self._log.ends(every), await self._log.beginnings(every)
        starts = {place: max(self._offsets.get(place, 0), begins[place]) for place in every}
        total = sum(ends[place] - starts[place] for place in every)
        done = 0
        for place in every:
            if rest and place == rest[0]:
                await prepare()
            at = starts[place]
            async with contextlib.aclosing(stretch(self._log, place, at, ends[place])) as batches:
                async for batch in batches:
                    if place.topic == FRAMES:
                        assert self.frames is not None
                        for stored in batch:
                            halt_at_newer(stored)
                        await self.frames.take(self.frames.kept.held(place), batch)
                    else:
                        facts, halt = admitted(place, self._fence(place), batch)
                        if halt is not None:
                            raise halt
                        if facts:
                            await self.projector.handle(place, facts)
                        self.decisions += len(facts)
                    done += batch[-1].offset + 1 - at
                    at = batch[-1].offset + 1
                    progress(done, total)
            done += ends[place] - at
            self._offsets[place] = ends[place]
        await self.projector.kept.write()
        if self.frames is not None:
            await self.frames.kept.write()
        progress(total, total)
        return total

    def _fence(self, place: TopicPartition) -> Fence:
        return self._fences.setdefault(place, Fence())


async def build_anew(
    store: GenerationStore,
    log: Log,
    projectors: Callable[[ReadStore], tuple[Projector, FrameWriter | None]],
    prepare: Callable[[ReadStore], Awaitable[None]],
    progress: Progress = lambda done, all: None,
) -> Rebuild | None:
    """What was built and is read now; None where one that began later is read already, and this one is taken away.

    `prepare` is given the new read models before anything is written and whenever more tenants are known. Raises as
    `Rebuild.go_on` and StoreError, and nothing has changed then.
    """
    generation = await store.begin()
    target = store.fixed(generation)
    building = Rebuild(log, *projectors(target))
    try:
        await prepare(target)
        for _ in range(ROUNDS):
            if await building.go_on(progress, lambda: prepare(target)) <= NEAR:
                break
    except BaseException:
        with contextlib.suppress(StoreError):
            await store.take_away(generation)
        raise
    while True:
        try:
            switched = await store.switch(Generation(generation.number, building.floors))
            break
        except StoreUnavailableError as error:
            # It may have happened: nothing is taken away before that is known.
            logger.warning("the switch waits: %s", error)
        await asyncio.sleep(0.5)
    if not switched:
        await store.take_away(generation)
        return None
    return building
