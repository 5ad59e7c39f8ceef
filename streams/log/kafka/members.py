"""Members of Kafka groups: who shares the partitions of topics with others.

What enters: a group's share of topics. What leaves: records, partitions gained and lost, positions kept. What it
never does: keep partitions of which it reads nothing, in silence. Whatever ends its work with the group, `poll`
raises it once, and the next one joins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import aiokafka
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from streams.log import Listener, LogUnavailableError, Member, Position, TopicPartition
from streams.log.kafka.clients import describe, end_of
from streams.log.kafka.private import rest, tasks_behind
from streams.log.kafka.reading import Batch, Broker, Topics

RETRY_SECONDS = 0.1
LOST_SECONDS = 5.0


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
        self._topics = Topics(broker, lambda topic: listener.gather(topic, gather))
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
            ended = end_of(self._hearing)
            await self._leave()
            raise LogUnavailableError(
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
                raise LogUnavailableError(
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
            raise LogUnavailableError(
                f"Kafka at {self._broker.bootstrap} did not commit positions of group {self._group}: "
                f"{describe(error)}"
            ) from error

    async def close(self) -> None:
        task, self._task = self._task, None
        self._broker.forget(self)
        if task is None:
            return
        self._failure = LogUnavailableError(f"member {self._node} of group {self._group} is closed")
        await self._broker.surely(self._close(task))

    async def _close(self, task: asyncio.Task[None]) -> None:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
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
        if self._task is None:
            self._broker.end(consumer)
            raise LogUnavailableError(f"member {self._node} of group {self._group} is closed")
        self._consumer = consumer
        rest(consumer)
        # After the start: a start with topics waits for the group without bound.
        consumer.subscribe(topics=self._names, listener=_Rebalance(self))
        self._hearing = asyncio.create_task(_hear(consumer))

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.cancel()
        if consumer is not None:
            self._change(lost=set(self._held), gained=set())
            await asyncio.shield(self._broker.end(consumer))

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
            except LogUnavailableError:
                await asyncio.sleep(RETRY_SECONDS)
        if not self._changes.empty() or self._consumer is None:
            return
        self._held |= positions.keys()
        await self._listener.gained(positions)
        begins = {place: self._listener.begin(place, position) for place, position in positions.items()}
        while self._changes.empty():
            try:
                await self._topics.read(begins)
                return
            except LogUnavailableError:
                await asyncio.sleep(RETRY_SECONDS)


async def _hear(consumer: aiokafka.AIOKafkaConsumer) -> None:
    """Poll a paused consumer: it gives nothing and counts as alive. Raises when anything of its work has ended."""
    behind = tasks_behind(consumer)
    while True:
        polling = asyncio.ensure_future(consumer.getmany(timeout_ms=60_000))
        try:
            await asyncio.wait([polling, *behind], return_when=asyncio.FIRST_COMPLETED)
        finally:
            polling.cancel()
        for task in behind:
            if task.done():
                raise end_of(task)
        polling.result()
