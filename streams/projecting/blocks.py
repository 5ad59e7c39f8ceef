"""Blocks are kept: entries of the log's partitions enter, in order, and the blocks that changed are written together.

Blocks wait in memory, so a position may move only up to what `unwritten` says. Whoever begins with a lane, after a
start, a gain or when the memory was needed for others, reads the lane's block first. A lane goes on at the block that
began at or before its entry: newer ones, which a bulk may have brought that was cut, are folded again to what they
are.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from projections.blocks import Block, Entry, Lane, lane_of
from projections.store import ReadStore, StoreRejectedError, StoreUnavailableError
from streams.following.facts import TransientError
from streams.log import TopicPartition

WRITE_SECONDS = 2.0
"""How far apart the beginnings of two writes are; what comes after a quiet moment is written at once."""
MOST_WAITING = 8_000_000
"""Characters of blocks that may wait to be written; each block counts as `OVERHEAD` more."""
MOST_KEPT = 32_000_000
"""The same of all blocks that are kept in memory to go on with."""
OVERHEAD = 2_000
AT_ONCE = 50
"""Lanes whose blocks are read at once."""


class Spot(NamedTuple):
    """What stands at an offset, and the epoch there."""

    offset: int
    epoch: int
    entries: Sequence[Entry]


@dataclass(slots=True, eq=False)
class Held:
    """What is known of one partition while it is held without a break; `gone` when it is no more."""

    source: str
    lanes: OrderedDict[Lane, Block] = field(default_factory=OrderedDict)
    changed: dict[str, Block] = field(default_factory=dict)
    first: tuple[int, int] | None = None
    """The offset of the first change, and the epoch there."""
    writing: dict[str, Block] = field(default_factory=dict)
    writing_first: tuple[int, int] | None = None
    taking: bool = False
    """Whether blocks were read that are needed at once: none is dropped."""
    gone: bool = False


class _Change:
    """A block as it is written, with its entries that are new."""

    __slots__ = ("block", "new", "put")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.put = block.put()
        self.new = block.new


class BlockWriter:
    """`take` what comes, `write` now and then.

    `refused` is told of each block that the store does not take, and how many of its entries are new.
    """

    def __init__(
        self, store: ReadStore, refused: Callable[[Block, int, StoreRejectedError], Awaitable[None]]
    ) -> None:
        self._store = store
        self._refused = refused
        self._held: dict[TopicPartition, Held] = {}
        self._turn = asyncio.Lock()
        self._next_at = 0.0
        self._waiting = 0
        self._kept = 0
        self.entries = 0
        """How many entries have been written."""

    def use(self, store: ReadStore) -> None:
        """Write into this store from now on, of which nothing is known yet."""
        self._store = store
        for place in [*self._held]:
            self.forget(place)

    def held(self, place: TopicPartition) -> Held:
        """Whoever has read records of this partition asks for it before anything else may happen to the partition."""
        if place not in self._held:
            self._held[place] = Held(f"{place.topic.partition('.')[2]}-{place.partition}")
        return self._held[place]

    def forget(self, place: TopicPartition) -> None:
        """This partition comes or goes: what is not written is taken again by whoever holds it then."""
        held = self._held.pop(place, None)
        if held is not None:
            held.gone = True
            self._kept -= sum(block.size + OVERHEAD for block in held.lanes.values())

    def unwritten(self, place: TopicPartition) -> tuple[int, int] | None:
        """The first offset of which something is not written yet, and the epoch there; None where all is."""
        held = self._held.get(place)
        return None if held is None else held.writing_first or held.first

    async def take(self, held: Held, spots: Sequence[Spot]) -> None:
        """Fold what stands at these offsets, in order; what was folded before changes nothing.

        Nothing is taken once the partition is gone. Raises TransientError while the store is away: the same can be
        taken again.
        """
        work: list[tuple[Spot, dict[Lane, list[Entry]]]] = []
        begun: dict[Lane, int] = {}
        for spot in spots:
            lanes: dict[Lane, list[Entry]] = {}
            for entry in spot.entries:
                lanes.setdefault(lane_of(entry, held.source), []).append(entry)
            work.append((spot, lanes))
            for lane in lanes:
                if lane not in held.lanes:
                    begun.setdefault(lane, spot.offset)
        held.taking = True
        try:
            await self._read(held, list(begun.items()))
        finally:
            held.taking = False
        if held.gone:
            return
        for spot, lanes in work:
            for lane, entries in lanes.items():
                self._fold(held, lane, entries, spot)
        if self._waiting > MOST_WAITING:
            await self.write()
        self._drop()

    def _fold(self, held: Held, lane: Lane, entries: Sequence[Entry], spot: Spot) -> None:
        block = held.lanes.get(lane)
        if block is not None and spot.offset <= block.version:
            return
        if block is None or not block.has_room(entries):
            if block is not None:
                self._kept -= block.size + OVERHEAD
            block = held.lanes[lane] = Block.begin(lane, entries[0], spot.offset)
            self._kept += OVERHEAD
        before = block.size
        block.add(entries, spot.offset)
        self._kept += block.size - before
        self._waiting += block.size - before if block.id in held.changed else block.size + OVERHEAD
        held.lanes.move_to_end(lane)
        held.changed[block.id] = block
        held.first = held.first or (spot.offset, spot.epoch)

    async def _read(self, held: Held, begun: Sequence[tuple[Lane, int]]) -> None:
        try:
            for at in range(0, len(begun), AT_ONCE):
                some = begun[at : at + AT_ONCE]
                pages = await asyncio.gather(
                    *(self._store.find(lane.newest_until(offset)) for lane, offset in some)
                )
                for (lane, _), page in zip(some, pages, strict=True):
                    if page.items and not held.gone:
                        block = held.lanes[lane] = Block.of(lane, page.items[0])
                        self._kept += block.size + OVERHEAD
        except StoreUnavailableError as error:
            raise TransientError(str(error)) from error

    def _drop(self) -> None:
        """Beyond the bound of memory, what was longest untouched; it is read again when it is needed."""
        for held in self._held.values():
            if self._kept <= MOST_KEPT:
                return
            if held.taking:
                continue
            for lane, block in [*held.lanes.items()]:
                if self._kept <= MOST_KEPT:
                    return
                if block.id not in held.changed and block.id not in held.writing:
                    del held.lanes[lane]
                    self._kept -= block.size + OVERHEAD

    async def write_due(self) -> None:
        """`write`, where the last one began long enough ago."""
        if asyncio.get_running_loop().time() >= self._next_at:
            await self.write()

    async def write(self) -> None:
        """All that has changed. Raises TransientError while the store is away, and nothing is forgotten then."""
        async with self._turn:
            every = [held for held in self._held.values() if held.changed]
            if not every:
                return
            self._next_at = asyncio.get_running_loop().time() + WRITE_SECONDS
            waiting, self._waiting = self._waiting, 0
            for held in every:
                held.writing, held.changed = held.changed, {}
                held.writing_first, held.first = held.first, None
            try:
                await self._apply([_Change(block) for held in every for block in held.writing.values()])
            except BaseException:
                self._waiting += waiting
                for held in every:
                    held.changed = {**held.writing, **held.changed}
                    held.first = held.writing_first
                raise
            finally:
                for held in every:
                    held.writing, held.writing_first = {}, None

    async def _apply(self, changes: Sequence[_Change]) -> None:
        try:
            await self._store.apply([change.put for change in changes])
        except StoreUnavailableError as error:
            raise TransientError(str(error)) from error
        except StoreRejectedError as error:
            if len(changes) == 1:
                try:
                    await self._refused(changes[0].block, changes[0].new, error)
                except StoreUnavailableError as away:
                    raise TransientError(str(away)) from away
                changes[0].block.new -= changes[0].new
                return
            middle = len(changes) // 2
            await self._apply(changes[:middle])
            await self._apply(changes[middle:])
        else:
            for change in changes:
                change.block.was_stored(change.put)
                change.block.new -= change.new
                self.entries += change.new
