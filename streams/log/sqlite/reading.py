"""How the embedded log is read: cursors, readers, and the members that share a group's partitions.

What enters: positions, and the wake-ups of a log that has something new. What leaves: records in order within a
partition, from memory where they are young and from the file where they are not. All on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from streams.log import (
    Listener,
    Log,
    LogDamagedError,
    LogError,
    LogUnavailableError,
    Member,
    Position,
    Reader,
    Stored,
    TopicPartition,
)

Batch = Mapping[TopicPartition, Sequence[Stored]]


class Tail:
    """The newest records of a partition: all from `start` up to `end`, without holes."""

    __slots__ = ("end", "records", "start")

    def __init__(self, end: int) -> None:
        self.start = self.end = end
        self.records: deque[Stored] = deque()

    def slice(self, offset: int, limit: int) -> list[Stored]:
        skip = offset - self.start
        return list(islice(self.records, skip, skip + limit))


class TailedLog(Log):
    """A log of this process whose newest records are in memory, as its readers need it."""

    @abstractmethod
    def check_open(self) -> None:
        """Raises LogUnavailableError once it is closed."""

    @abstractmethod
    def partitions(self, topic: str) -> int:
        """How many the topic has. Raises TopologyMismatchError for one that is not there."""

    @abstractmethod
    def tail(self, place: TopicPartition) -> Tail:
        """The newest records of the partition. Raises TopologyMismatchError for one that is not there."""

    @abstractmethod
    async def read_file(self, place: TopicPartition, offset: int, end: int, limit: int) -> list[Stored]:
        """Older ones, at most `limit`, from `offset` up to `end`. Raises LogDamagedError, LogUnavailableError."""

    @abstractmethod
    def watch(self, place: TopicPartition, cursor: Cursor) -> None:
        """Wake the cursor when the partition grows."""

    @abstractmethod
    def unwatch(self, place: TopicPartition, cursor: Cursor) -> None: ...

    @abstractmethod
    def group(self, name: str) -> Group:
        """The group with this name, made where it is new."""

    @abstractmethod
    async def commit(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        """Returns once the group's positions are on the disk. Raises LogUnavailableError."""


class Cursor:
    """Positions in the log, and what to read next. All on the event loop."""

    def __init__(self, log: TailedLog, gather: float) -> None:
        self._log = log
        self._gather = gather
        self._next = 0.0
        self.positions: dict[TopicPartition, int] = {}
        self._ready: dict[TopicPartition, None] = {}
        self.woken = asyncio.Event()
        self.gate = asyncio.Lock()  # held while records are taken, and by a member while its listener is told

    def put(self, place: TopicPartition, offset: int) -> None:
        self._log.tail(place)
        self.positions[place] = offset
        self._log.watch(place, self)
        self.wake(place)

    def drop(self, place: TopicPartition) -> None:
        self.positions.pop(place, None)
        self._ready.pop(place, None)
        self._log.unwatch(place, self)

    def clear(self) -> None:
        for place in list(self.positions):
            self.drop(place)

    def wake(self, place: TopicPartition) -> None:
        self._ready[place] = None
        self.woken.set()

    async def poll(self, timeout: float, limit: int, check: Callable[[], None]) -> Batch:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        await asyncio.sleep(min(self._next - loop.time(), timeout))
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    await self.gate.acquire()
                try:
                    check()
                    self.woken.clear()
                    if found := await self._take(limit):
                        self._next = loop.time() + self._gather
                        return found
                finally:
                    self.gate.release()
                if not self._ready:
                    async with asyncio.timeout_at(deadline):
                        await self.woken.wait()
        except TimeoutError:
            return {}

    async def _take(self, limit: int) -> Batch:
        found: dict[TopicPartition, Sequence[Stored]] = {}
        later: list[TopicPartition] = []
        while self._ready and limit > 0:
            place = next(iter(self._ready))
            del self._ready[place]
            if place in found:
                # An append made it ready again while the file was read: its next records come with the next poll.
                later.append(place)
                continue
            offset = self.positions[place]
            tail = self._log.tail(place)
            end = tail.end
            if offset >= end:
                continue
            if offset >= tail.start:
                records = tail.slice(offset, limit)
                after = records[-1].offset + 1
            elif found:
                # No waiting with records in hand: a cancelled poll must not lose them.
                later.append(place)
                continue
            else:
                try:
                    records = await self._log.read_file(place, offset, end, limit)
                except LogDamagedError:
                    raise  # said once, and again whenever the partition grows; the others go on
                except BaseException:
                    self._ready.setdefault(place)
                    raise
                if self.positions.get(place) != offset:
                    continue
                after = records[-1].offset + 1 if len(records) == limit else end
            self.positions[place] = after
            if after < tail.end:
                later.append(place)
            if records:
                found[place] = records
                limit -= len(records)
        for place in later:
            self._ready.setdefault(place)
        return found


class SqliteReader(Reader):
    def __init__(self, log: TailedLog, gather: float) -> None:
        self._log = log
        self._cursor = Cursor(log, gather)

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._cursor.clear()
        for place, offset in positions.items():
            self._cursor.put(place, offset)

    async def poll(self, timeout: float, limit: int = 500) -> Batch:
        return await self._cursor.poll(timeout, limit, self._log.check_open)

    async def position(self, place: TopicPartition) -> int:
        self._log.check_open()
        return self._cursor.positions[place]

    async def close(self) -> None:
        self._cursor.clear()


class Group:
    """The living members of one group, and who holds what."""

    def __init__(self, log: TailedLog) -> None:
        self._log = log
        self.members: dict[str, SqliteMember] = {}
        self.holders: dict[TopicPartition, SqliteMember] = {}

    def share(self, node: str) -> set[TopicPartition]:
        """What a node shall hold: of each topic an even run of neighbouring partitions."""
        mine: set[TopicPartition] = set()
        for topic in self.members[node].topics:
            nodes = sorted(name for name, member in self.members.items() if topic in member.topics)
            count = self._log.partitions(topic)
            mine |= {TopicPartition(topic, p) for p in range(count) if nodes[p * len(nodes) // count] == node}
        return mine

    def turn(self) -> None:
        for member in self.members.values():
            member.turn.set()


class SqliteMember(Member):
    def __init__(
        self, log: TailedLog, group: str, topics: Sequence[str], node: str, listener: Listener, gather: float
    ) -> None:
        self.topics = frozenset(topics)
        self.turn = asyncio.Event()
        self._log = log
        self._name = group
        self._node = node
        self._listener = listener
        self._cursor = Cursor(log, gather)
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def start(self) -> None:
        self._log.check_open()
        for topic in self.topics:
            self._log.partitions(topic)
        self._group = self._log.group(self._name)
        if self._node in self._group.members:
            raise LogError(f"group {self._name} has a living member named {self._node} already")
        self._group.members[self._node] = self
        self._task = asyncio.create_task(self._follow(), name=f"member-{self._name}-{self._node}")
        self._group.turn()

    async def poll(self, timeout: float, limit: int = 500) -> Batch:
        return await self._cursor.poll(timeout, limit, self._check)

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        for place in positions:
            self._check_held(place)
        await self._log.commit(self._name, positions)

    async def close(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        self._cursor.clear()
        del self._group.members[self._node]
        for place in [place for place, holder in self._group.holders.items() if holder is self]:
            del self._group.holders[place]
        self._group.turn()

    def _check(self) -> None:
        self._log.check_open()
        if self._failure is not None:
            raise self._failure

    def _check_held(self, place: TopicPartition) -> None:
        self._check()
        if self._task is None or self._group.holders.get(place) is not self:
            raise LogUnavailableError(
                f"{place.topic}/{place.partition} is not held by {self._node} of group {self._name}"
            )

    async def _follow(self) -> None:
        """Give up what is another's now, take what is ours and free, and tell the listener of both."""
        try:
            while True:
                await self.turn.wait()
                self.turn.clear()
                holders = self._group.holders
                mine = self._group.share(self._node)
                losing = frozenset(p for p, holder in holders.items() if holder is self and p not in mine)
                if losing:
                    async with self._cursor.gate:
                        for place in losing:
                            self._cursor.drop(place)
                        await self._listener.lost(losing)
                    for place in losing:
                        del holders[place]
                    self._group.turn()
                gaining = sorted(place for place in mine if place not in holders)
                if gaining:
                    holders.update(dict.fromkeys(gaining, self))
                    async with self._cursor.gate:
                        await self._gain(gaining)
                    self._cursor.woken.set()
        except Exception as error:
            self._failure = error
            self._cursor.woken.set()

    async def _gain(self, places: Sequence[TopicPartition]) -> None:
        positions = dict(await self._log.committed(self._name, places))
        fresh = [place for place in places if place not in positions]
        for place, offset in (await self._log.beginnings(fresh)).items():
            positions[place] = Position(offset)
        await self._listener.gained(positions)
        for place, position in positions.items():
            self._cursor.put(place, self._listener.begin(place, position))
