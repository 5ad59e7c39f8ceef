"""The log's port over the simulated broker: one adapter for each process.

It keeps the promises of `streams.log` as the Kafka adapter does: departures for all partitions together, one batch at
a time for each partition, everybody who waits behind a batch that failed fails with it, an append gives up after five
seconds with an unknown outcome, and what was given up may still arrive. `tests/streams/log_contract.py` holds it to
the port.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from streams.log import (
    MAX_APPEND_BYTES,
    Listener,
    Log,
    LogError,
    LogShortenedError,
    LogUnavailableError,
    Member,
    Position,
    Reader,
    Record,
    Stored,
    TopicPartition,
    TopicSpec,
    TopologyMismatchError,
    append_size,
)
from streams.log.departures import Departures
from tests.simulation.broker import Broker
from tests.simulation.loop import Handle, Node
from tests.simulation.network import Fate

LOST_SECONDS: Final = 5.0
LATEST: Final = 8.0
"""Up to so many seconds after it was sent an append may arrive."""
RETRY_SECONDS: Final = 0.1
IDLE: Final = 10.0

Batch = Mapping[TopicPartition, Sequence[Stored]]
T = TypeVar("T")


@dataclass(slots=True)
class _Append:
    records: Sequence[Record]
    size: int
    done: asyncio.Future[Sequence[int]]


@dataclass(slots=True)
class _Pump:
    """What waits for one partition, and the batch that is under way."""

    waiting: deque[_Append] = field(default_factory=deque)
    sent: list[_Append] = field(default_factory=list)
    number: int = 0
    timer: Handle | None = None


class SimLog(Log):
    """The log as the process `node` sees it."""

    def __init__(self, broker: Broker, node: Node, *, timeout: float = 5.0) -> None:
        self.broker = broker
        self.network = broker.network
        self.loop = broker.loop
        self.node = node
        self.timeout = timeout
        self._pumps: dict[TopicPartition, _Pump] = {}
        self._departures = Departures(self._depart)
        self._open = False
        self._owned: dict[Cursor | SimMember, None] = {}

    async def start(self) -> None:
        self._open = True
        try:
            await self._asked(lambda: None)
        except LogUnavailableError:
            self._open = False
            raise

    async def close(self) -> None:
        self._open = False
        for owned in list(self._owned):
            if isinstance(owned, SimMember):
                await owned.close()
            else:
                owned.wake_now()

    def check_open(self) -> None:
        if not self._open:
            raise LogUnavailableError("the simulated log is closed")

    async def ensure(self, topics: Sequence[TopicSpec]) -> None:
        def work() -> None:
            for spec in topics:
                known = self.broker.specs.get(spec.name)
                if known is not None and known.partitions != spec.partitions:
                    raise TopologyMismatchError(
                        f"topic {spec.name} has {known.partitions} partitions, "
                        f"this release needs {spec.partitions}"
                    )
                if known is not None and known.compacted != spec.compacted:
                    raise TopologyMismatchError(f"topic {spec.name} differs in being compacted")
            self.broker.make(topics)

        await self._asked(work)

    # -- appending ---------------------------------------------------------------------------------------------

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        return await self._wait(topic, partition, records, self._departures.soon)

    async def append_patiently(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        return await self._wait(topic, partition, records, self._departures.patiently)

    async def _wait(
        self, topic: str, partition: int, records: Sequence[Record], depart: Callable[[], None]
    ) -> Sequence[int]:
        self.check_open()
        place = self._known(TopicPartition(topic, partition))
        if self.broker.specs[topic].compacted and any(record.key is None for record in records):
            raise LogError(f"a record for the compacted topic {topic} needs a key")
        size = append_size(records)
        if not records:
            return ()
        item = _Append(tuple(records), size, self.loop.create_future())
        pump = self._pumps.get(place)
        if pump is None:
            pump = self._pumps[place] = _Pump()
        pump.waiting.append(item)
        trap = self.node.trap
        if trap is not None:
            trap(_kind(topic))
        depart()
        return await item.done

    def _depart(self) -> None:
        for place, pump in self._pumps.items():
            if pump.waiting and not pump.sent:
                self._send(place, pump)

    def _send(self, place: TopicPartition, pump: _Pump) -> None:
        batch: list[_Append] = []
        size = 0
        while pump.waiting and size + pump.waiting[0].size <= MAX_APPEND_BYTES:
            item = pump.waiting.popleft()
            if not item.done.done():
                batch.append(item)
                size += item.size
        if not batch:
            return
        pump.sent = batch
        pump.number += 1
        number = pump.number
        pump.timer = self.loop.call_later(self.timeout, self._failed, place, pump, number, "no answer")
        records = [record for item in batch for record in item.records]
        self.broker.later(
            self.network.delay("log"),
            lambda: self._arrive(place, pump, number, records, self.loop.now + self.timeout),
        )

    def _arrive(
        self,
        place: TopicPartition,
        pump: _Pump,
        number: int,
        records: Sequence[Record],
        until: float,
    ) -> None:
        """At the broker; what does not reach it is sent again until its time is over."""
        loop, broker = self.loop, self.broker
        if not self.network.reaches(self.node, "log"):
            if loop.now < until and self.node.alive:
                broker.later(0.2, lambda: self._arrive(place, pump, number, records, until))
            return
        fate = self.network.fate("log")
        if fate is Fate.REFUSED or place.topic in broker.full:
            self._answer(lambda: self._failed(place, pump, number, "refused"))
        elif fate is Fate.LATE:
            # Sent, and stuck on its way: the client gives up, the broker takes it all the same.
            broker.later(LATEST * loop.chance.random(), lambda: self._append(place, records))
            self._break(place, pump, number)
        else:
            first = broker.append(place, records)
            if fate is Fate.DONE:
                self._answer(lambda: self._done(place, pump, number, first))
            else:
                self._break(place, pump, number)

    def _break(self, place: TopicPartition, pump: _Pump, number: int) -> None:
        """The connection ends instead of an answer, now and then; else the client waits its time out."""
        if self.loop.chance.random() < 0.5:
            self._answer(lambda: self._failed(place, pump, number, "the connection broke"))

    def _append(self, place: TopicPartition, records: Sequence[Record]) -> None:
        self.broker.append(place, records)

    def _answer(self, work: Callable[[], None]) -> None:
        """A response on its way to the process; it arrives there, once the process runs."""

        def arrive() -> None:
            if self.network.reaches(self.node, "log"):
                work()

        self.loop.call_at(self.loop.now + self.network.delay("log"), arrive, context=self.node.context)

    def _done(self, place: TopicPartition, pump: _Pump, number: int, first: int) -> None:
        if number != pump.number or not pump.sent:
            return
        offset = first
        for item in pump.sent:
            if not item.done.done():
                item.done.set_result(range(offset, offset + len(item.records)))
            offset += len(item.records)
        self._over(place, pump)

    def _failed(self, place: TopicPartition, pump: _Pump, number: int, why: str) -> None:
        if number != pump.number or not pump.sent:
            return
        error = LogUnavailableError(
            f"an append to {place.topic}/{place.partition} was not acknowledged: {why}"
        )
        for item in (*pump.sent, *pump.waiting):
            if not item.done.done():
                item.done.set_exception(error)
        pump.waiting.clear()
        self._over(place, pump)

    def _over(self, place: TopicPartition, pump: _Pump) -> None:
        pump.sent = []
        pump.number += 1
        if pump.timer is not None:
            pump.timer.cancel()
        if pump.waiting:
            self._send(place, pump)

    # -- asking ------------------------------------------------------------------------------------------------

    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        partitions = [self.broker.partitions[self._known(place)] for place in places]
        return await self._asked(lambda: {p.place: p.begin for p in partitions})

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        partitions = [self.broker.partitions[self._known(place)] for place in places]
        return await self._asked(lambda: {p.place: p.end for p in partitions})

    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]:
        return await self._asked(lambda: self.broker.positions(group, places))

    def reader(self, gather: float = 0.0) -> Reader:
        return SimReader(self, gather)

    def member(
        self, group: str, topics: Sequence[str], node: str, listener: Listener, gather: float = 0.0
    ) -> Member:
        return SimMember(self, group, topics, node, listener, gather)

    # -- within the adapter ------------------------------------------------------------------------------------

    def _known(self, place: TopicPartition) -> TopicPartition:
        if place not in self.broker.partitions:
            raise TopologyMismatchError(
                f"the simulated log has no partition {place.partition} of topic {place.topic}"
            )
        return place

    async def _asked(self, work: Callable[[], T]) -> T:
        """Ask the broker, again and again until the time is over."""
        self.check_open()
        loop = self.loop
        deadline = loop.time() + self.timeout
        while True:
            await asyncio.sleep(self.network.delay("log"))
            if self.network.reaches(self.node, "log") and self.network.fate("log") is Fate.DONE:
                answer = work()
                await asyncio.sleep(self.network.delay("log"))
                if self.network.reaches(self.node, "log"):
                    self.check_open()
                    return answer
            if loop.time() >= deadline:
                raise LogUnavailableError("the simulated broker does not answer")
            await asyncio.sleep(RETRY_SECONDS)

    def own(self, one: Cursor | SimMember) -> None:
        self._owned[one] = None

    def disown(self, one: Cursor | SimMember) -> None:
        self._owned.pop(one, None)


class Cursor:
    """Positions in the log, and what is to be read from there."""

    def __init__(self, log: SimLog, gather: float) -> None:
        self._log = log
        self._gather = gather
        self._next = 0.0
        self._arrives = 0.0
        self._came = False
        self._generation = 0
        self.positions: dict[TopicPartition, int] = {}
        self.shortened: set[TopicPartition] = set()
        self._waiter: asyncio.Future[None] | None = None
        self._waking = False

    def put(self, place: TopicPartition, offset: int) -> None:
        """Read this partition from this offset on; one that is not there means the first there is."""
        partition = self._log.broker.partitions[place]
        self.positions[place] = offset
        partition.watchers[self] = None
        self._generation += 1
        self.wake_now()

    def drop(self, place: TopicPartition) -> None:
        if self.positions.pop(place, None) is not None:
            self._log.broker.partitions[place].watchers.pop(self, None)
            self._generation += 1

    def clear(self) -> None:
        for place in list(self.positions):
            self.drop(place)

    def cut_off(self, place: TopicPartition, end: int) -> None:
        """The partition has lost its end: what is on its way from there does not arrive."""
        self._generation += 1
        if self.positions[place] > end:
            self.positions[place] = end
            self.shortened.add(place)

    def wake(self) -> None:
        """From the broker: something came. The process hears of it after the network's delay."""
        if not self._waking and self._waiter is not None:
            self._waking = True
            self._log.broker.later(self._log.network.delay("log"), self._arrived)

    def _arrived(self) -> None:
        """What was waited for has come with the answer that says so."""
        self._came = self._waiter is not None
        self.wake_now()

    def wake_now(self) -> None:
        self._waking = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def poll(self, timeout: float, limit: int, check: Callable[[], None]) -> Batch:
        log, loop = self._log, self._log.loop
        deadline = loop.time() + timeout
        if self._gather and self._next > loop.time():
            await asyncio.sleep(min(self._next - loop.time(), timeout))
        heard = False
        while True:
            check()
            if self.shortened:
                shortened, self.shortened = frozenset(self.shortened), set()
                raise LogShortenedError(shortened)
            if log.network.reaches(log.node, "log"):
                heard = True
                generation = self._generation
                found, after = ({}, {}) if log.node.name in log.network.stalled else self._look(limit)
                if found:
                    if self._came:
                        self._arrives = loop.now
                    elif not self._arrives:
                        self._arrives = loop.now + log.network.delay("log")
                    if self._arrives > deadline:
                        # A slow fetch: who polls gets nothing meanwhile, though there is something.
                        await asyncio.sleep(max(0.0, deadline - loop.now))
                        return {}
                    if self._arrives > loop.now:
                        await asyncio.sleep(self._arrives - loop.now)
                    self._arrives, self._came = 0.0, False
                    if generation == self._generation and log.network.reaches(log.node, "log"):
                        self.positions.update(after)
                        if log.node.trap is not None:
                            for place in found:
                                log.node.trap(f"{_kind(place.topic)} read")
                        self._next = loop.time() + self._gather
                        return found
                    continue
            left = deadline - loop.time()
            if left <= 0:
                if not heard and timeout > 0:
                    raise LogUnavailableError("the simulated broker does not answer")
                return {}
            self._waiter = waiter = loop.create_future()
            alarm = loop.call_at(loop.now + (left if heard else min(left, 0.2)), _wake, waiter)
            try:
                await waiter
            finally:
                alarm.cancel()
                self._waiter = None
                self._waking = False

    def _look(self, limit: int) -> tuple[dict[TopicPartition, Sequence[Stored]], dict[TopicPartition, int]]:
        """What a fetch brings now, and where reading goes on after it; how much comes at once is the seed's
        choice."""
        found: dict[TopicPartition, Sequence[Stored]] = {}
        after: dict[TopicPartition, int] = {}
        partitions = self._log.broker.partitions
        chance = self._log.loop.chance
        for place, offset in self.positions.items():
            partition = partitions[place]
            if offset == partition.end or limit <= 0:
                continue
            if offset > partition.end:
                # As the Kafka adapter: at the nearest offset that there is, and said.
                self.positions[place] = partition.end
                self.shortened.add(place)
                continue
            offset = max(offset, partition.begin)
            records = partition.read(
                offset, limit if chance.random() < self._log.network.whole else 1 + int(3 * chance.random())
            )
            records = records[:limit]
            if records:
                found[place] = records
                after[place] = records[-1].offset + 1
                limit -= len(records)
                if records[-1] is partition.records[-1]:
                    after[place] = partition.end
            else:
                self.positions[place] = partition.end
        return found, after


def _kind(topic: str) -> str:
    return topic.removeprefix("chargesphere.").partition(".")[0]


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class SimReader(Reader):
    """Belongs to no group."""

    def __init__(self, log: SimLog, gather: float) -> None:
        self._log = log
        self._cursor = Cursor(log, gather)
        log.own(self._cursor)

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
        self._log.disown(self._cursor)


class SimMember(Member):
    """One member of a group, in a process."""

    def __init__(
        self, log: SimLog, group: str, topics: Sequence[str], name: str, listener: Listener, gather: float
    ) -> None:
        self.name = name
        self.node = log.node
        self.open = False
        self.heard_at = 0.0
        self._log = log
        self._group = log.broker.group(group)
        self._topics = frozenset(topics)
        self._listener = listener
        self._cursor = Cursor(log, gather)
        self._held: set[TopicPartition] = set()
        self._generation = -1
        self._changes: deque[tuple[str, int, frozenset[TopicPartition]]] = deque()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def start(self) -> None:
        await self._log._asked(lambda: None)
        for topic in self._topics:
            if topic not in self._log.broker.specs:
                raise TopologyMismatchError(f"the simulated log has no topic {topic}")
        seat = self._group.seats.get(self.name)
        if seat is not None and seat.member.open and seat.member.node is self.node:
            raise LogError(f"group {self._group.name} has a living member named {self.name} already")
        self.open = True
        self._failure = None
        self._log.own(self)
        self._task = asyncio.create_task(self._follow())
        self._answer(self._join)

    def _join(self) -> None:
        if self.open and self.node.alive:
            self._group.join(self, self._topics)

    async def poll(self, timeout: float, limit: int = 500) -> Batch:
        # An idle member has nothing else to do: it is woken less often, so that a world costs less.
        return await self._cursor.poll(timeout * (IDLE if timeout >= 1.0 else 1.0), limit, self._check)

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        self._check()
        for place in positions:
            if place not in self._held:
                raise LogUnavailableError(
                    f"{place.topic}/{place.partition} is not held by {self.name} of group {self._group.name}"
                )
        log, generation = self._log, self._generation
        await asyncio.sleep(log.network.delay("log"))
        fate = log.network.fate("log")
        if log.network.reaches(self.node, "log") and fate is not Fate.REFUSED:
            if not self._group.may_commit(self, generation):
                raise LogUnavailableError(f"{self.name} is no member of group {self._group.name} any more")
            self._group.positions.update(positions)
            await asyncio.sleep(log.network.delay("log"))
            if log.network.reaches(self.node, "log") and fate is Fate.DONE:
                return
        raise LogUnavailableError(f"positions of group {self._group.name} were not acknowledged")

    async def close(self) -> None:
        if not self.open:
            return
        self.open = False
        self._log.disown(self)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._cursor.clear()
        self._held.clear()

    def _check(self) -> None:
        self._log.check_open()
        if self._failure is not None:
            raise self._failure
        if not self.open:
            raise LogUnavailableError(f"member {self.name} of group {self._group.name} is closed")

    # -- from the broker ---------------------------------------------------------------------------------------

    def revoked(self, generation: int) -> None:
        self._change("revoked", generation, frozenset())

    def assigned(self, generation: int, places: frozenset[TopicPartition]) -> None:
        self._change("assigned", generation, places)

    def left_out(self) -> None:
        self._change("left out", self._generation, frozenset())

    def _change(self, kind: str, generation: int, places: frozenset[TopicPartition]) -> None:
        if not self.open:
            return

        def arrive() -> None:
            self._changes.append((kind, generation, places))
            self._changed.set()

        self._log.loop.call_soon(arrive, context=self.node.context)

    async def _follow(self) -> None:
        try:
            while True:
                while not self._changes:
                    self._changed.clear()
                    await self._changed.wait()
                kind, generation, places = self._changes.popleft()
                if kind != "assigned":
                    lost = frozenset(self._held)
                    self._cursor.clear()
                    if lost:
                        await self._listener.lost(lost)
                        self._held -= lost
                    if kind == "revoked":
                        self._generation = generation
                        self._answer(partial(self._group.joined, self, generation))
                    else:
                        self._answer(self._join)
                elif generation >= self._generation:
                    self._generation = generation
                    await self._gain(sorted(places))
        except Exception as error:
            self._failure = error
            self._cursor.wake_now()

    def _answer(self, work: Callable[[], None]) -> None:
        """To the broker, which is asked again until it hears it."""

        def arrive() -> None:
            if self._log.network.reaches(self.node, "log"):
                work()
            elif self.open and self.node.alive:
                self._log.broker.later(0.2, arrive)

        self._log.broker.later(self._log.network.delay("log"), arrive)

    async def _gain(self, places: Sequence[TopicPartition]) -> None:
        """Tell the positions and read from them, unless the next change is here before they are known."""
        if not places:
            return
        positions: dict[TopicPartition, Position] = {}
        while True:
            if self._changes:
                return
            try:
                positions = dict(await self._log.committed(self._group.name, places))
                fresh = [place for place in places if place not in positions]
                for place, offset in (await self._log.beginnings(fresh)).items():
                    positions[place] = Position(offset)
                break
            except LogUnavailableError:
                await asyncio.sleep(RETRY_SECONDS)
        if self._changes:
            return
        self._held |= positions.keys()
        await self._listener.gained(positions)
        if not self._changes:
            for place, position in positions.items():
                self._cursor.put(place, self._listener.begin(place, position))
