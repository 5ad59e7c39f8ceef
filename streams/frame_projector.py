"""Frames of the log become documents (`ocpp_{tenant}.frames`): records enter batch by batch, inserts leave.

A record that cannot be read, or that the store refuses, is left out with one line and counted; the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence

import msgspec

from projections.frame import FrameRecord, indexes, insert
from projections.store import Insert, ReadStore, StoreRejected, StoreUnavailable, tenant_database
from projections.store.generations import Generation
from streams.envelope import NewerReleaseError, halt_at_newer
from streams.facts import TransientError
from streams.follower import noted, standing
from streams.log import Listener, Log, LogUnavailable, Member, Position, Stored, TopicPartition
from streams.ranges import stretch
from streams.topology import FRAMES
from streams.writer import StoreWriter

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.2
"""How far apart a busy projector takes what has come: each time costs a write a tenant, and a position."""


class FrameWriter:
    """Writes batches of the frames topic into the read store; a record that cannot be written costs no other one."""

    def __init__(self, store: ReadStore) -> None:
        self._store = store
        self._writer = StoreWriter(store)
        self._ready: set[str] = set()
        self._decoder = msgspec.json.Decoder(FrameRecord)
        self.counts = {"projected": 0, "refused": 0}

    def use(self, store: ReadStore) -> None:
        """Write into this store from now on."""
        self._store = store
        self._writer = StoreWriter(store)
        self._ready.clear()

    async def write(self, batch: Sequence[Stored]) -> None:
        """Raises TransientError or StoreUnavailable while the store is away: the same batch can be written again."""
        records: list[tuple[FrameRecord, str]] = []
        for stored in batch:
            if stored.value is None:
                continue
            place = f"{stored.partition}-{stored.offset}"
            try:
                records.append((self._decoder.decode(stored.value), place))
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                self._refuse(1, f"frame {place}", error)
        for tenant in {record.tenant for record, _ in records} - self._ready:
            try:
                await self._store.ensure(indexes(tenant_database(tenant)))
            except StoreRejected as error:
                left = [one for one in records if one[0].tenant != tenant]
                self._refuse(len(records) - len(left), f"frames of tenant {tenant!r}", error)
                records = left
            else:
                self._ready.add(tenant)
        await self._apply([insert(record, place) for record, place in records])

    async def _apply(self, writes: Sequence[Insert]) -> None:
        try:
            await self._writer.apply(writes)
        except StoreRejected as error:
            if len(writes) == 1:
                self._refuse(1, f"frame {writes[0].id} of {writes[0].db}", error)
                return
            middle = len(writes) // 2
            await self._apply(writes[:middle])
            await self._apply(writes[middle:])
        else:
            self.counts["projected"] += len(writes)

    def _refuse(self, count: int, what: str, error: Exception) -> None:
        self.counts["refused"] += count
        logger.error("%s left out: %s", what, str(error)[:300])


class FrameProjector(Listener):
    """Frames into `ocpp_{tenant}.frames`, batch by batch, as a member of the group `frames`; `run` until cancelled.

    The position moves after the write; what is written again has the same id and changes nothing. A frame of a newer
    release halts its partition, and no other.
    """

    def __init__(self, log: Log, store: ReadStore, node: str) -> None:
        self._log = log
        self._writer = FrameWriter(store)
        self._node = node
        self.generation = Generation()
        self._missing: dict[TopicPartition, tuple[int, int]] = {}
        self._halted: set[TopicPartition] = set()
        self.counts = self._writer.counts

    def use(self, generation: Generation, store: ReadStore) -> None:
        """Project into this generation's store from now on."""
        self.generation = generation
        self._writer.use(store)

    async def run(self) -> None:
        member = self._log.member("frames", [FRAMES], self._node, self)
        try:
            await member.start()
            loop, next_at = asyncio.get_running_loop(), 0.0
            while True:
                try:
                    await self._project_missing(member)
                    await asyncio.sleep(max(0.0, next_at - loop.time()))
                    polled = await member.poll(1.0, 2000)
                    batches = {place: self._known(place, batch) for place, batch in polled.items()}
                    if any(batches.values()):
                        next_at = loop.time() + GATHER_SECONDS
                        await self._project([stored for batch in batches.values() for stored in batch])
                        await member.commit(
                            {
                                place: Position(batch[-1].offset + 1, noted(-1, self.generation))
                                for place, batch in batches.items()
                                if batch and place not in self._missing
                            }
                        )
                except LogUnavailable as error:
                    logger.warning("frames: %s", error)
                    await asyncio.sleep(0.5)
        finally:
            await member.close()

    def _known(self, place: TopicPartition, batch: Sequence[Stored]) -> Sequence[Stored]:
        """The frames up to one of a newer release."""
        if place in self._halted:
            return ()
        for index, stored in enumerate(batch):
            try:
                halt_at_newer(stored)
            except NewerReleaseError as error:
                logger.error("frames halt at %s[%d]: %s", place.topic, place.partition, error)
                self._halted.add(place)
                return batch[:index]
        return batch

    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        self._halted -= positions.keys()
        for place, position in positions.items():
            begin, _ = standing(position, place, self.generation)
            if begin < position.offset:
                self._missing[place] = (begin, position.offset)

    async def _project_missing(self, member: Member) -> None:
        """What stands before a position that holds for another generation, from this one's floor on."""
        while self._missing:
            place, (begin, end) = next(iter(self._missing.items()))
            async with contextlib.aclosing(stretch(self._log, place, begin, end)) as batches:
                async for batch in batches:
                    await self._project(self._known(place, batch))
            if self._missing.get(place) == (begin, end):
                if place not in self._halted:
                    await member.commit({place: Position(end, noted(-1, self.generation))})
                del self._missing[place]

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        """What is written after the loss is written once more by the next holder, with the same ids."""
        for place in places:
            self._missing.pop(place, None)

    async def _project(self, batch: Sequence[Stored]) -> None:
        wait = 0.05
        while True:
            try:
                await self._writer.write(batch)
                return
            except (TransientError, StoreUnavailable) as error:
                logger.warning("frames wait: %s", error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)
