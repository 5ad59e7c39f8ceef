"""Reading from Kafka: one consumer for each topic, whose fetches keep a distance from one another.

What enters: positions by partition. What leaves: records in order within a partition. What it never does: wait
without bound, give a record of positions that were changed, or stop reading in silence. Whatever ends a consumer's
work, `poll` raises it once, and the next one reads on, with a new consumer, from the first record that nobody took.
Where a position is not in the log, reading goes on at the nearest that is: at the first record that retention has
left, or at the end of a log that has lost its tail, never again at the beginning of all.

A fetch costs the same for one record as for hundreds, and its broker looks at each partition of its consumer. So
quiet topics have consumers of their own beside the busy one, and the next fetch begins `gather` seconds after the one
before at the soonest: at rest a record is told as soon as it is there, under load many come together. Another
assignment is another consumer: a fetch that the broker holds would be in the way of the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Protocol

import aiokafka
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams.log import LogShortenedError, LogUnavailableError, Position, Reader, Stored, TopicPartition
from streams.log.kafka.clients import describe, end_of
from streams.log.kafka.private import Client, spare_fetches, tasks_behind

logger = logging.getLogger(__name__)

LEAST_GATHER = 0.01
"""Seconds: what a fetch costs both sides is worth that of waiting."""
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
        """Started; raises LogUnavailableError when the broker was away for the whole of `timeout`."""

    def end(self, client: Client, *, abandon: bool = False) -> asyncio.Task[None]: ...
    async def surely(self, work: Coroutine[object, object, None]) -> None: ...
    async def partitions(self, topic: str) -> int: ...
    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]: ...
    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]: ...
    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]: ...
    def check_open(self) -> None: ...
    def check_away(self, since: float) -> None: ...
    def register(self, owner: object, close: Closable) -> None: ...
    def forget(self, owner: object) -> None: ...


class _Topic:
    """One topic's consumer, and what it has fetched and nobody has taken yet."""

    def __init__(
        self, broker: Broker, consumer: aiokafka.AIOKafkaConsumer, gather: float, wake: asyncio.Event
    ) -> None:
        self.ready: _Records = deque()
        self.failure: BaseException | None = None
        self.positions: dict[TopicPartition, int] = {}
        """The first records that nobody has taken."""
        self._broker = broker
        self._consumer = consumer
        self._wake = wake
        self._taken = asyncio.Event()
        self._fetching: asyncio.Task[None] | None = None
        self._closed = False
        self.begun = False
        spare_fetches(consumer, max(gather, LEAST_GATHER))
        for task in tasks_behind(consumer):
            task.add_done_callback(self._fail)

    def read(self, positions: Mapping[TopicPartition, int]) -> None:
        """From these positions on; only once."""
        self.begun = True
        self.positions = dict(positions)
        self._consumer.assign([aiokafka.TopicPartition(*place) for place in positions])
        for place, offset in positions.items():
            self._consumer.seek(aiokafka.TopicPartition(*place), offset)
        self._fetching = asyncio.create_task(self._fetch())
        self._fetching.add_done_callback(self._fetched)

    def drop(self) -> None:
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.cancel()
        self.ready.clear()
        self.positions = {}

    def take(self, limit: int, into: dict[TopicPartition, Sequence[Stored]]) -> int:
        """Move at most `limit` records; returns how many."""
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
            self.positions[place] = records[-1].offset + 1
            count += len(records)
        if not self.ready:
            self._taken.set()
        return count

    async def position(self, place: TopicPartition, timeout: float) -> int:
        """Behind what was taken, and behind what compaction has left nothing of."""
        taken = self.positions[place]
        if any(waiting == place for waiting, _ in self.ready):
            return taken
        try:
            async with asyncio.timeout(timeout):
                fetched = int(await self._consumer.position(aiokafka.TopicPartition(*place)))
        except (KafkaError, TimeoutError) as error:
            raise LogUnavailableError(
                f"the position in {place.topic}[{place.partition}] is not known: {describe(error)}"
            ) from error
        return taken if any(waiting == place for waiting, _ in self.ready) else max(taken, fetched)

    def end(self) -> asyncio.Task[None]:
        """Begin its end, which nobody need wait for."""
        self._closed = True
        self.drop()
        return self._broker.end(self._consumer)

    async def _fetch(self) -> None:
        while True:
            found = await self._consumer.getmany(timeout_ms=60_000, max_records=TAKEN_AT_ONCE)
            self.ready.extend((TopicPartition(*place), records) for place, records in found.items())
            if self.ready:
                self._taken.clear()
                self._wake.set()
                await self._taken.wait()

    def _fetched(self, task: asyncio.Task[None]) -> None:
        if task is self._fetching:
            self._fail(task)
        elif not task.cancelled():
            task.exception()

    def _fail(self, task: asyncio.Task[None]) -> None:
        """Work on which reading depends has ended, whatever ended it."""
        failure = end_of(task)
        if not self._closed and self.failure is None:
            self.failure = failure
            self._wake.set()


class Topics:
    """Reads partitions of several topics, each topic through a consumer of its own."""

    def __init__(self, broker: Broker, gather: Callable[[str], float]) -> None:
        """`gather` says for a topic how many seconds its records may wait under load."""
        self._broker = broker
        self._gather = gather
        self._topics: dict[str, _Topic] = {}
        self._ended: dict[str, Mapping[TopicPartition, int]] = {}
        """Topics whose consumer has failed, and from where on another one shall read."""
        self._astray: set[str] = set()
        """Those of them that have a position which is not in the log."""
        self._assignment = 0
        self._shortened: set[TopicPartition] = set()
        self._wake = asyncio.Event()
        self._closed = False

    async def read(self, positions: Mapping[TopicPartition, int]) -> None:
        """Exactly these partitions, each from its position on. Raises LogUnavailableError; then nothing is read."""
        self.drop()
        assignment = self._assignment
        wanted: dict[str, dict[TopicPartition, int]] = {}
        for place, offset in positions.items():
            wanted.setdefault(place.topic, {})[place] = offset
        done = [
            name
            for name, topic in self._topics.items()
            if topic.begun or name not in wanted or topic.failure is not None
        ]
        if done:
            await asyncio.wait([self._topics.pop(name).end() for name in done])
        missing = [name for name in wanted if name not in self._topics]
        # Each keeps its consumer by itself: who is cancelled here never sees what they return.
        opened = await asyncio.gather(*(self._open(name) for name in missing), return_exceptions=True)
        for failure in opened:
            if failure is not None:
                raise failure
        if self._closed:
            raise LogUnavailableError("this reader is closed")
        if self._assignment != assignment:
            return
        if given_up := wanted.keys() - self._topics.keys():  # by a poll, while another was opened
            raise LogUnavailableError(f"reading {', '.join(sorted(given_up))} has ended before it began")
        for name, places in wanted.items():
            self._topics[name].read(places)

    def drop(self) -> None:
        """Give nothing more before the next `read`."""
        self._assignment += 1
        self._ended.clear()
        self._astray.clear()
        for topic in self._topics.values():
            topic.drop()

    async def poll(self, timeout: float, limit: int) -> Batch:
        """The next records; empty after `timeout` seconds, and when closed meanwhile. Raises LogUnavailableError
        where reading has ended, before anything is taken."""
        await self._read_again()
        if self._shortened:
            shortened, self._shortened = frozenset(self._shortened), set()
            raise LogShortenedError(shortened)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout)):
                while not self._closed and not any(t.ready or t.failure for t in self._topics.values()):
                    self._wake.clear()
                    await self._wake.wait()
        self._give_up_failed()
        found: dict[TopicPartition, Sequence[Stored]] = {}
        for name, topic in list(self._topics.items()):
            limit -= topic.take(limit, found)
            if topic.ready:
                break
            # Who was served goes to the end.
            self._topics[name] = self._topics.pop(name)
        return found

    async def position(self, place: TopicPartition) -> int:
        """Where the next record that nobody has taken may stand. Raises LogUnavailableError where it is not known."""
        topic = self._topics.get(place.topic)
        if topic is None or place not in topic.positions:
            raise LogUnavailableError(f"{place.topic}[{place.partition}] is not being read")
        return await topic.position(place, self._broker.timeout)

    async def close(self) -> None:
        """A poll that waits returns at once."""
        self._closed = True
        self._wake.set()
        ending = [topic.end() for topic in self._topics.values()]
        self._topics = {}
        if ending:
            await asyncio.wait(ending)

    async def _open(self, name: str) -> None:
        consumer = await self._broker.new_consumer(auto_offset_reset="none")
        if self._closed or name in self._topics:
            self._broker.end(consumer)
        if self._closed:
            raise LogUnavailableError("this reader is closed")
        if name not in self._topics:
            self._topics[name] = _Topic(self._broker, consumer, self._gather(name), self._wake)

    def _give_up_failed(self) -> None:
        """Keep from where on to read what has failed; raises its failure."""
        failure: tuple[str, BaseException] | None = None
        for name, topic in list(self._topics.items()):
            if topic.failure is None:
                continue
            del self._topics[name]
            if topic.positions:
                self._ended[name] = topic.positions
            topic.end()
            if isinstance(topic.failure, OffsetOutOfRangeError):
                self._astray.add(name)
                continue
            failure = failure or (name, topic.failure)
            if not isinstance(topic.failure, KafkaError):
                logger.error("reading %s has ended", name, exc_info=topic.failure)
        if failure is not None:
            name, error = failure
            raise LogUnavailableError(
                f"{name} on Kafka at {self._broker.bootstrap} cannot be read: {describe(error)}"
            ) from error

    async def _read_again(self) -> None:
        """Go on with new consumers where the former ones have failed. Raises LogUnavailableError."""
        for name, positions in list(self._ended.items()):
            if name in self._astray:
                positions = await self._nearest(positions)
            await self._open(name)
            if self._ended.pop(name, None) is not None:  # nobody dropped it meanwhile
                self._astray.discard(name)
                self._topics[name].read(positions)

    async def _nearest(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        places = list(positions)
        first, end = await self._broker.beginnings(places), await self._broker.ends(places)
        for place, at in positions.items():
            if at > end[place]:
                logger.error(
                    "%s[%d] on Kafka at %s ends at %d, and %d was read already: the log has lost its tail",
                    *place,
                    self._broker.bootstrap,
                    end[place],
                    at,
                )
                self._shortened.add(place)
        return {place: min(max(at, first[place]), end[place]) for place, at in positions.items()}


class KafkaReader(Reader):
    """Reads chosen partitions; see `streams.log.Reader`."""

    def __init__(self, broker: Broker, gather: float) -> None:
        self._broker = broker
        self._topics = Topics(broker, lambda _: gather)
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

    async def position(self, place: TopicPartition) -> int:
        self._check()
        return await self._topics.position(place)

    async def close(self) -> None:
        self._closed = True
        self._broker.forget(self)
        await self._topics.close()

    def _check(self) -> None:
        self._broker.check_open()
        if self._closed:
            raise LogUnavailableError("this reader is closed")
