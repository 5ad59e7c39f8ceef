"""Frames of the log become blocks (`ocpp_{tenant}.frames`): records enter batch by batch, blocks leave.

A record that cannot be read is left out with one line and counted, as is a block that the store refuses; the others
go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence

import msgspec

from projections.blocks import Block
from projections.frame import FrameRecord, entry, indexes
from projections.store import ReadStore, StoreRejectedError, StoreUnavailableError, tenant_database
from projections.store.generations import Generation
from streams.following.facts import TransientError
from streams.following.follower import noted, standing
from streams.log import Listener, Log, LogUnavailableError, Member, Position, Stored, TopicPartition
from streams.log.envelope import NewerReleaseError, halt_at_newer
from streams.log.ranges import stretch
from streams.log.topology import FRAMES
from streams.projecting.blocks import BlockWriter, Held, Spot

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.2
"""How far apart a busy projector takes what has come."""


class FrameWriter:
    """Folds batches of the frames topic into blocks, which `kept` writes; a bad record costs no other one."""

    def __init__(self, store: ReadStore) -> None:
        self._store = store
        self.kept = BlockWriter(store, self._refused)
        self._ready: set[str] = set()
        self._decoder = msgspec.json.Decoder(FrameRecord)
        self._refused_frames = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """Frames that were written, and those that were left out."""
        return {"projected": self.kept.entries, "refused": self._refused_frames}

    def use(self, store: ReadStore) -> None:
        """Write into this store from now on."""
        self._store = store
        self.kept.use(store)
        self._ready.clear()

    async def take(self, held: Held, batch: Sequence[Stored]) -> None:
        """Raises TransientError or StoreUnavailableError while the store is away: the same batch can be taken
        again."""
        records: list[tuple[FrameRecord, Stored]] = []
        for stored in batch:
            if stored.value is None:
                continue
            try:
                records.append((self._decoder.decode(stored.value), stored))
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                self._refuse(1, f"frame {stored.partition}-{stored.offset}", error)
        for tenant in {record.tenant for record, _ in records} - self._ready:
            try:
                await self._store.ensure(indexes(tenant_database(tenant)))
            except StoreRejectedError as error:
                left = [one for one in records if one[0].tenant != tenant]
                self._refuse(len(records) - len(left), f"frames of tenant {tenant!r}", error)
                records = left
            else:
                self._ready.add(tenant)
        spots: list[Spot] = []
        for record, stored in records:
            try:
                one = entry(record, stored.value or b"", f"{stored.partition}-{stored.offset}")
            except (ValueError, OverflowError) as error:
                self._refuse(1, f"frame {stored.partition}-{stored.offset}", error)
            else:
                spots.append(Spot(stored.offset, -1, (one,)))
        await self.kept.take(held, spots)

    async def _refused(self, block: Block, new: int, error: StoreRejectedError) -> None:
        self._refuse(new, f"block {block.id} of {block.db}", error)

    def _refuse(self, count: int, what: str, error: Exception) -> None:
        self._refused_frames += count
        logger.error("%s left out: %s", what, str(error)[:300])


class FrameProjector(Listener):
    """Frames into `ocpp_{tenant}.frames`, as a member of the group `frames`; `run` until cancelled.

    The position moves after the write; what is taken again changes nothing. A frame of a newer release halts its
    partition, and no other.
    """

    def __init__(self, log: Log, store: ReadStore, node: str) -> None:
        self._log = log
        self._writer = FrameWriter(store)
        self._kept = self._writer.kept
        self._node = node
        self.generation = Generation()
        self._missing: dict[TopicPartition, tuple[int, int]] = {}
        self._halted: set[TopicPartition] = set()
        self._reached: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        return self._writer.counts

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
                    await asyncio.sleep(max(0.0, next_at - loop.time()))
                    polled = await member.poll(1.0, 2000)
                    # Before anything else is awaited: a partition may be taken away and given back at any time.
                    taken = [(place, self._kept.held(place), batch) for place, batch in polled.items()]
                    next_at = loop.time() + GATHER_SECONDS * bool(polled)
                    await self._take_missing()
                    for place, held, batch in taken:
                        await self._take(place, held, batch)
                    await self._kept.write_due()
                    await self._commit(member)
                except (LogUnavailableError, TransientError) as error:
                    logger.warning("frames: %s", error)
                    await asyncio.sleep(0.5)
        finally:
            try:
                with contextlib.suppress(LogUnavailableError, TransientError, TimeoutError):
                    async with asyncio.timeout(2):
                        await self._finish(member)
            finally:
                await member.close()
                await self.lost(frozenset(self._missing.keys() | self._reached.keys()))

    async def _finish(self, member: Member) -> None:
        await self._kept.write()
        await self._commit(member)

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
        await self.lost(frozenset(positions))
        for place, position in positions.items():
            begin, _ = standing(position, place, self.generation)
            if begin < position.offset:
                self._missing[place] = (begin, position.offset)

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        """What is not written is taken again by the next holder."""
        self._halted -= places
        for place in places:
            self._kept.forget(place)
            for known in (self._missing, self._reached, self._committed):
                known.pop(place, None)

    async def _take_missing(self) -> None:
        """First what stands before a position that holds for another generation, from this one's floor on."""
        while self._missing:
            place, (begin, end) = next(iter(self._missing.items()))
            held = self._kept.held(place)
            async with contextlib.aclosing(stretch(self._log, place, begin, end)) as batches:
                async for batch in batches:
                    await self._take(place, held, batch)
            if not held.gone:
                if place not in self._halted:
                    self._reached[place] = end
                del self._missing[place]

    async def _take(self, place: TopicPartition, held: Held, batch: Sequence[Stored]) -> None:
        """Until it is taken, or the partition is gone."""
        known = self._known(place, batch)
        wait = 0.05
        while known and not held.gone:
            try:
                await self._writer.take(held, known)
            except (TransientError, StoreUnavailableError) as error:
                logger.warning("frames wait: %s", error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)
            else:
                if not held.gone:
                    self._reached[place] = known[-1].offset + 1
                return

    async def _commit(self, member: Member) -> None:
        """Up to what is written."""
        moved: dict[TopicPartition, int] = {}
        for place, reached in self._reached.items():
            unwritten = self._kept.unwritten(place)
            offset = reached if unwritten is None else min(reached, unwritten[0])
            if offset > self._committed.get(place, 0):
                moved[place] = offset
        if moved:
            note = noted(-1, self.generation)
            await member.commit({place: Position(offset, note) for place, offset in moved.items()})
            self._committed.update(
                (place, offset) for place, offset in moved.items() if place in self._reached
            )
