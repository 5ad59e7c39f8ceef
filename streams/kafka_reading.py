"""Reading from Kafka: one consumer for each topic, whose fetches keep a distance from one another.

What enters: positions by partition, or a group's share of topics. What leaves: records in order within a partition,
partitions gained and lost. What it never does: wait without bound, or give a record of positions that were changed.

A fetch of aiokafka names every partition of its consumer, in the request and in the answer, and costs the same for
one record as for hundreds. So quiet topics have consumers of their own beside the busy one, and the next fetch begins
`gather` seconds after the one before at the soonest: at rest a record is told as soon as it is there, under load many
come together.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import aiokafka
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from streams.kafka_clients import describe, stop_consumer
from streams.log import Listener, LogUnavailable, Member, Position, Reader, Stored, TopicPartition

LEAST_GATHER = 0.01
"""Seconds: what a fetch costs both sides is worth that of waiting."""
RETRY_SECONDS = 0.1
LOST_SECONDS = 5.0
TAKEN_AT_ONCE = 2000

Batch = Mapping[TopicPartition, Sequence[Stored]]
Closable = Callable[[], Coroutine[object, object, None]]
_Records = deque[tuple[TopicPartition, Sequence[aiokafka.ConsumerRecord]]]


class Broker(Protocol):
    """What reading needs of the log."""

    bootstrap: str
    timeout: float
    session_timeout: float

    async def new_consumer(self, **settings: object) -> aiokafka.AIOKafkaConsumer:
        """Started; raises LogUnavailable when the broker was away for the whole of `timeout`."""

    async def partitions(self, topic: str) -> int: ...
    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]: ...
    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]: ...
    def check_open(self) -> None: ...
    def check_away(self, since: float) -> None: ...
    def register(self, owner: object, close: Closable) -> None: ...
    def forget(self, owner: object) -> None: ...


class _Topic:
    """One topic's consumer, and what it has fetched and nobody has taken yet."""

    def __init__(self, consumer: aiokafka.AIOKafkaConsumer, gather: float, wake: asyncio.Event) -> None:
        self.consumer = consumer
        self.ready: _Records = deque()
        self.failure: KafkaError | None = None
        self.positions: Mapping[TopicPartition, int] = {}
        self._wake = wake
        self._taken = asyncio.Event()
        self._fetching: asyncio.Task[None] | None = None
        keep_distance(consumer, max(gather, LEAST_GATHER))

    def read(self, positions: Mapping[TopicPartition, int]) -> None:
        """From these positions on; nothing that was fetched before comes out any more."""
        self.drop()
        self.positions = positions
        self.consumer.assign([aiokafka.TopicPartition(*place) for place in positions])
        for place, offset in positions.items():
            self.consumer.seek(aiokafka.TopicPartition(*place), offset)
        self._fetching = asyncio.create_task(self._fetch())

    def drop(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
        self.ready.clear()
        self.failure = None

    def take(self, limit: int, into: dict[TopicPartition, Sequence[Stored]]) -> int:
        """Move at most `limit` records; returns how many. Raises the failure of a fetch, once."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            self._taken.set()
            raise failure
        count = 0
        while self.ready and count < limit:
            place, records = self.ready.popleft()
            if len(records) > limit - count:
                self.ready.appendleft((place, records[limit - count :]))
                records = records[: limit - count]
            into[place] = [
                Stored(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
                for r in records
            ]
            count += len(records)
        if not self.ready:
            self._taken.set()
        return count

    async def close(self) -> None:
        self.drop()
        if self._fetching is not None:
            await asyncio.wait([self._fetching])
        await stop_consumer(self.consumer)

    async def _fetch(self) -> None:
        while True:
            try:
                found = await self.consumer.getmany(timeout_ms=60_000, max_records=TAKEN_AT_ONCE)
            except KafkaError as error:
                self.failure, found = error, {}
            self.ready.extend((TopicPartition(*place), records) for place, records in found.items())
            if self.ready or self.failure:
                self._taken.clear()
                self._wake.set()
                await self._taken.wait()


def keep_distance(consumer: aiokafka.AIOKafkaConsumer, seconds: float) -> None:
    """Let no fetch begin sooner than `seconds` after the one before; meanwhile there is nothing to do."""
    fetcher = consumer._fetcher
    plan = fetcher._get_actions_per_node
    last = 0.0

    def spaced(
        assignment: Assignment,
    ) -> tuple[list[object], dict[object, object], float, bool, list[object]]:
        nonlocal last
        wait = last + seconds - time.monotonic()
        if wait > 0:
            return [], {}, wait, False, []
        planned: tuple[list[object], dict[object, object], float, bool, list[object]] = plan(assignment)
        if planned[0]:
            last = time.monotonic()
        return planned

    fetcher._get_actions_per_node = spaced


class Topics:
    """Reads partitions of several topics, each topic through a consumer of its own."""

    def __init__(self, broker: Broker, gather: float) -> None:
        self._broker = broker
        self._gather = gather
        self._topics: dict[str, _Topic] = {}
        self._wake = asyncio.Event()
        self._closed = False

    async def read(self, positions: Mapping[TopicPartition, int]) -> None:
        """Exactly these partitions, each from its position on. Raises LogUnavailable; then nothing is read."""
        self.drop()
        wanted: dict[str, dict[TopicPartition, int]] = {}
        for place, offset in positions.items():
            wanted.setdefault(place.topic, {})[place] = offset
        for topic in self._topics.keys() - wanted.keys():
            await self._topics.pop(topic).close()
        missing = [topic for topic in wanted if topic not in self._topics]
        consumers = await asyncio.gather(
            *(self._broker.new_consumer() for _ in missing), return_exceptions=True
        )
        failure: BaseException | None = None
        for topic, consumer in zip(missing, consumers, strict=True):
            if isinstance(consumer, BaseException):
                failure = consumer
            else:
                self._topics[topic] = _Topic(consumer, self._gather, self._wake)
        if failure is not None:
            raise failure
        for topic, places in wanted.items():
            self._topics[topic].read(places)

    def drop(self) -> None:
        """Give nothing more before the next `read`."""
        for topic in self._topics.values():
            topic.drop()

    async def poll(self, timeout: float, limit: int) -> Batch:
        """The next records; empty after `timeout` seconds, and when closed meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout)):
                while not self._closed and not any(t.ready or t.failure for t in self._topics.values()):
                    self._wake.clear()
                    await self._wake.wait()
        found: dict[TopicPartition, Sequence[Stored]] = {}
        for name, topic in list(self._topics.items()):
            try:
                limit -= topic.take(limit, found)
            except KafkaError as error:
                raise LogUnavailable(
                    f"Kafka at {self._broker.bootstrap} cannot be read: {describe(error)}"
                ) from error
            if topic.ready:
                break
            # Who was served goes to the end.
            self._topics[name] = self._topics.pop(name)
        return found

    async def close(self) -> None:
        """A poll that waits returns at once."""
        self._closed = True
        self._wake.set()
        topics, self._topics = self._topics, {}
        await asyncio.gather(*(topic.close() for topic in topics.values()))


class KafkaReader(Reader):
    """Reads chosen partitions; see `streams.log.Reader`."""

    def __init__(self, broker: Broker, gather: float) -> None:
        self._broker = broker
        self._topics = Topics(broker, gather)
        self._closed = False

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._broker.check_open()
        self._broker.register(self, self.close)
        await self._topics.read(positions)

    async def poll(self, timeout: float, limit: int = 500) -> Batch:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        self._check()
        found = await self._topics.poll(timeout, limit)
        if not found:
            self._check()
            self._broker.check_away(asked)
        return found

    async def close(self) -> None:
        self._closed = True
        self._broker.forget(self)
        await self._topics.close()

    def _check(self) -> None:
        self._broker.check_open()
        if self._closed:
            raise LogUnavailable("this reader is closed")


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, member: KafkaMember) -> None:
        self._member = member

    async def on_partitions_revoked(self, revoked: Iterable[aiokafka.TopicPartition]) -> None:
        await self._member.revoked({TopicPartition(*place) for place in revoked})

    async def on_partitions_assigned(self, assigned: Iterable[aiokafka.TopicPartition]) -> None:
        self._member.assigned({TopicPartition(*place) for place in assigned})


@dataclass(slots=True)
class _Change:
    lost: set[TopicPartition]
    gained: set[TopicPartition]
    done: asyncio.Event


class KafkaMember(Member):
    """A static member of a Kafka group; see `streams.log.Member`.

    One consumer speaks with the group and commits; it is paused and fetches nothing. Every rebalance takes all
    partitions and gives the new share: all are lost, then the share is gained. The listener is told from a task of
    our own, because aiokafka sends no heartbeats while its own listener works.
    """

    def __init__(
        self, broker: Broker, group: str, topics: Sequence[str], node: str, listener: Listener, gather: float
    ) -> None:
        self._broker = broker
        self._group = group
        self._names = list(topics)
        self._node = node
        self._listener = listener
        self._topics = Topics(broker, gather)
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._held: set[TopicPartition] = set()
        self._changes: asyncio.Queue[_Change] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def start(self) -> None:
        self._broker.check_open()
        self._task = asyncio.create_task(self._follow(), name=f"member-{self._group}-{self._node}")
        self._broker.register(self, self.close)
        try:
            await self._join()
        except BaseException:
            await self.close()
            raise

    async def poll(self, timeout: float, limit: int = 500) -> Batch:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        self._check()
        if self._hearing is not None and self._hearing.done():
            # Its coordination has ended for good: join anew with the next poll.
            ended = self._hearing.exception()
            await self._leave()
            raise LogUnavailable(
                f"Kafka at {self._broker.bootstrap} ended membership in group {self._group}: {describe(ended)}"
            )
        if self._consumer is None:
            await self._join()
        found = await self._topics.poll(asked + timeout - loop.time(), limit)
        if not found:
            self._check()
            self._broker.check_away(asked)
        return found

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        self._check()
        for place in positions:
            if self._consumer is None or place not in self._held:
                raise LogUnavailable(
                    f"{place.topic}/{place.partition} is not held by {self._node} of group {self._group}"
                )
        if self._consumer is None or not positions:
            return
        offsets = {
            aiokafka.TopicPartition(*place): (position.offset, position.note)
            for place, position in positions.items()
        }
        try:
            async with asyncio.timeout(self._broker.timeout):
                await self._consumer.commit(offsets)
        except (KafkaError, TimeoutError) as error:
            raise LogUnavailable(
                f"Kafka at {self._broker.bootstrap} did not commit positions of group {self._group}: "
                f"{describe(error)}"
            ) from error

    async def close(self) -> None:
        task, self._task = self._task, None
        self._broker.forget(self)
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        self._failure = LogUnavailable(f"member {self._node} of group {self._group} is closed")
        await asyncio.gather(self._leave(), self._topics.close())

    # --- called by aiokafka's coordination

    async def revoked(self, places: set[TopicPartition]) -> None:
        change = self._change(lost=places, gained=set())
        # The group waits for us no longer than this; the log's fence covers a listener that is slower.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOST_SECONDS):
                await change.done.wait()

    def assigned(self, places: set[TopicPartition]) -> None:
        if self._consumer is not None:
            self._consumer.pause(*(aiokafka.TopicPartition(*place) for place in places))
        self._change(lost=set(), gained=places)

    def _change(self, lost: set[TopicPartition], gained: set[TopicPartition]) -> _Change:
        change = _Change(lost, gained, asyncio.Event())
        self._topics.drop()
        if self._task is None:  # closed: nobody is to be told
            change.done.set()
        else:
            self._changes.put_nowait(change)
        return change

    # ---

    def _check(self) -> None:
        self._broker.check_open()
        if self._failure is not None:
            raise self._failure

    async def _join(self) -> None:
        session = int(self._broker.session_timeout * 1000)
        rebalance = session + int(LOST_SECONDS * 1000)
        for topic in self._names:
            await self._broker.partitions(topic)
        consumer = await self._broker.new_consumer(
            group_id=self._group,
            group_instance_id=self._node,
            partition_assignment_strategy=[RangePartitionAssignor],
            session_timeout_ms=session,
            heartbeat_interval_ms=session // 3,
            rebalance_timeout_ms=rebalance,
            # A join is answered when the whole group has joined.
            request_timeout_ms=rebalance + 2000,
        )
        self._consumer = consumer
        # After the start: a start with topics waits for the group without bound.
        consumer.subscribe(topics=self._names, listener=_Rebalance(self))
        self._hearing = asyncio.create_task(_hear(consumer))

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.cancel()
            await asyncio.wait([hearing])
        if consumer is not None:
            self._change(lost=set(self._held), gained=set())
            await stop_consumer(consumer)

    async def _follow(self) -> None:
        try:
            while True:
                change = await self._changes.get()
                self._topics.drop()
                if lost := frozenset(change.lost & self._held):
                    # Still held while the listener is told, so that it may commit its last positions.
                    await self._listener.lost(lost)
                    self._held -= lost
                if change.gained:
                    await self._gain(sorted(change.gained))
                change.done.set()
        except Exception as error:
            self._failure = error
            await self._topics.close()

    async def _gain(self, places: Sequence[TopicPartition]) -> None:
        """Tell the positions and read from them, unless the next change is here before they are known."""
        positions: dict[TopicPartition, Position] = {}
        while len(positions) < len(places):
            if not self._changes.empty():
                return
            try:
                positions = dict(await self._broker.committed(self._group, places))
                fresh = [place for place in places if place not in positions]
                for place, offset in (await self._broker.beginnings(fresh)).items():
                    positions[place] = Position(offset)
            except LogUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
        if not self._changes.empty() or self._consumer is None:
            return
        self._held |= positions.keys()
        await self._listener.gained(positions)
        while self._changes.empty():
            try:
                await self._topics.read({place: position.offset for place, position in positions.items()})
                return
            except LogUnavailable:
                await asyncio.sleep(RETRY_SECONDS)


async def _hear(consumer: aiokafka.AIOKafkaConsumer) -> None:
    """Poll a paused consumer: it gives nothing, counts as alive, and raises when its group has ended it."""
    while True:
        await consumer.getmany(timeout_ms=60_000)
