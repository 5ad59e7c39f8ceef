"""The log on Kafka, through aiokafka, of which nothing is seen from outside.

What enters: records, positions, topic shapes. What leaves: offsets that all in-sync replicas acknowledged, records in
order, partitions gained and lost. What it never does: wait without bound, retry an append for a caller who was told
that its outcome is unknown, or read a group's position as "none" because the broker did not know it yet.

It is one module because its classes share the rules for a broker that is away: every call is tried again until its
time is over and then raises LogUnavailable with the address; a poll raises only when the broker was silent all along.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import aiokafka
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError, for_code

from streams.log import (
    MAX_APPEND_BYTES,
    Listener,
    Log,
    LogError,
    LogUnavailable,
    Member,
    Position,
    Reader,
    Record,
    Stored,
    TopicPartition,
    TopicSpec,
    TopologyMismatch,
    append_size,
)

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
PROBE_SECONDS = 1.0
LOST_SECONDS = 5.0
STOP_SECONDS = 3.0
CREATE_SECONDS = 60.0
"""Of all topics at the first start: a small broker makes a thousand partitions in some ten seconds."""

COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "segment.ms": "3600000",
    "min.cleanable.dirty.ratio": "0.2",
}

T = TypeVar("T")
Batch = Mapping[TopicPartition, Sequence[Stored]]
Closable = Callable[[], Coroutine[object, object, None]]


@dataclass(slots=True)
class _Append:
    records: Sequence[Record]
    size: int
    timestamp: int
    done: asyncio.Future[Sequence[int]]


class KafkaLog(Log):
    """The log of the brokers at `bootstrap` ("host:port,host:port").

    `timeout`: seconds until a call gives up. `replication`: of topics that `ensure` makes; None = the broker's own
    default. `session_timeout`: seconds until the partitions of a silent member go to others.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        timeout: float = 5.0,
        replication: int | None = None,
        session_timeout: float = 6.0,
    ) -> None:
        self.bootstrap = bootstrap
        self.timeout = timeout
        self.session_timeout = session_timeout
        self._replication = replication
        self._partitions: dict[str, int] = {}
        self._compacted: set[str] = set()
        self._open = False
        self._away_since: float | None = None
        self._closers: dict[object, Closable] = {}
        self._background: set[asyncio.Task[None]] = set()

    # --- life

    async def start(self) -> None:
        if logging.getLogger("aiokafka").level == logging.NOTSET:
            # It repeats each failed attempt; what matters is said once, below, or raised.
            logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._admin = await self.within("be reached", self._new_admin)
        try:
            self._offsets = await self.within("be reached", self.new_consumer)
        except LogError:
            await self._admin.close()
            raise
        self._appender = _Appender(self)
        self._open = True
        self._prober = asyncio.create_task(self._probe(), name="kafka-probe")

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._prober.cancel()
        await asyncio.wait([self._prober])
        await self._appender.close()
        for close in list(self._closers.values()):
            await close()
        await stop_consumer(self._offsets)
        await self._admin.close()
        if self._background:
            await asyncio.wait(self._background)

    async def _new_admin(self) -> AIOKafkaAdminClient:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self.bootstrap, request_timeout_ms=int(self.timeout * 1000)
        )
        try:
            await admin.start()
        except BaseException:
            await admin.close()
            raise
        return admin

    async def new_consumer(self, **settings: object) -> aiokafka.AIOKafkaConsumer:
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_min_bytes=1,
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=2 * 1024 * 1024,
            consumer_timeout_ms=100,
            **{"request_timeout_ms": int(self.timeout * 1000)} | settings,
        )
        try:
            await consumer.start()
        except BaseException:
            await stop_consumer(consumer)
            raise
        return consumer

    # --- what the port asks

    async def ensure(self, topics: Sequence[TopicSpec]) -> None:
        self.check_open()
        wanted = {spec.name: spec for spec in topics}
        found = await self.within("describe its topics", lambda: self._describe(list(wanted)))
        missing = [spec for name, spec in wanted.items() if name not in found]
        if missing:
            await self.within("create topics", lambda: self._create(missing), CREATE_SECONDS)
            found = await self.within(
                "show its new topics", lambda: self._describe_all(wanted), CREATE_SECONDS
            )
        for name, partitions in found.items():
            if partitions != wanted[name].partitions:
                raise TopologyMismatch(
                    f"topic {name} has {partitions} partitions on Kafka at {self.bootstrap}, "
                    f"this release needs {wanted[name].partitions}"
                )
        made = {spec.name for spec in missing}
        old = [spec for spec in topics if spec.name not in made]
        if old:
            await self.within("describe its topics", lambda: self._verify_settings(old))
        self._partitions |= found
        self._compacted |= {spec.name for spec in topics if spec.compacted}

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        self.check_open()
        if not 0 <= partition < await self.partitions(topic):
            raise TopologyMismatch(f"Kafka at {self.bootstrap} has no partition {partition} of topic {topic}")
        if topic in self._compacted and any(record.key is None for record in records):
            raise LogError(f"a record for the compacted topic {topic} needs a key")
        if not records:
            return ()
        return await self._appender.append(TopicPartition(topic, partition), records)

    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return await self._offsets_of(places, lambda asked: self._offsets.beginning_offsets(asked))

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return await self._offsets_of(places, lambda asked: self._offsets.end_offsets(asked))

    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]:
        self.check_open()
        if not places:
            return {}
        asked = [aiokafka.TopicPartition(*place) for place in places]

        async def attempt() -> dict[TopicPartition, Position]:
            found = await self._admin.list_consumer_group_offsets(group, partitions=asked)
            if any(place not in found for place in asked):
                # A coordinator that still loads its groups answers with no partitions at all.
                raise for_code(14)()
            return {
                TopicPartition(*place): Position(at.offset, at.metadata or "")
                for place, at in found.items()
                if at.offset >= 0
            }

        return await self.within(f"tell the positions of group {group}", attempt)

    def reader(self) -> Reader:
        return _KafkaReader(self)

    def member(self, group: str, topics: Sequence[str], node: str, listener: Listener) -> Member:
        return _KafkaMember(self, group, topics, node, listener)

    # --- within the adapter

    def check_open(self) -> None:
        if not self._open:
            raise LogUnavailable(f"the log on Kafka at {self.bootstrap} is closed")

    async def within(self, what: str, attempt: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """Attempt again until it succeeds or the time is over (the log's timeout, if not said)."""
        limit = self.timeout if seconds is None else seconds
        failure: Exception | None = None
        try:
            async with asyncio.timeout(limit):
                while True:
                    try:
                        return await attempt()
                    except (KafkaError, OSError, TimeoutError, AttributeError) as error:
                        # AttributeError: aiokafka's admin client without a known controller.
                        failure = error
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            why = f": {describe(failure)}" if failure else ""
            raise LogUnavailable(
                f"Kafka at {self.bootstrap} did not {what} within {limit:g} s{why}"
            ) from failure

    def check_away(self, since: float) -> None:
        """Raises LogUnavailable when the broker has been silent since `since` (the loop's time) or longer."""
        if self._away_since is not None and self._away_since <= since:
            raise LogUnavailable(f"Kafka at {self.bootstrap} does not answer")

    def register(self, owner: object, close: Closable) -> None:
        self._closers[owner] = close

    def forget(self, owner: object) -> None:
        self._closers.pop(owner, None)

    def later(self, work: Coroutine[object, object, None]) -> None:
        """Let a task end by itself; `close` waits for it."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _probe(self) -> None:
        """Ask for nothing once a second: who polls an idle topic learns only so that the broker is away."""
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            try:
                async with asyncio.timeout(2 * PROBE_SECONDS):
                    await self._admin.describe_topics([])
            except (KafkaError, OSError, TimeoutError) as error:
                if self._away_since is None:
                    self._away_since = asked
                    logger.warning("Kafka at %s does not answer: %s", self.bootstrap, describe(error))
            else:
                if self._away_since is not None:
                    self._away_since = None
                    logger.info("Kafka at %s answers again", self.bootstrap)
            await asyncio.sleep(PROBE_SECONDS)

    async def partitions(self, topic: str) -> int:
        if topic not in self._partitions:
            found = await self.within(f"describe topic {topic}", lambda: self._describe([topic]))
            if topic not in found:
                raise TopologyMismatch(f"Kafka at {self.bootstrap} has no topic {topic}")
            self._partitions |= found
        return self._partitions[topic]

    async def _offsets_of(
        self,
        places: Sequence[TopicPartition],
        ask: Callable[[list[aiokafka.TopicPartition]], Awaitable[Mapping[aiokafka.TopicPartition, int]]],
    ) -> Mapping[TopicPartition, int]:
        self.check_open()
        if not places:
            return {}
        for place in places:
            if not 0 <= place.partition < await self.partitions(place.topic):
                raise TopologyMismatch(
                    f"Kafka at {self.bootstrap} has no partition {place.partition} of topic {place.topic}"
                )
        asked = [aiokafka.TopicPartition(*place) for place in places]
        found = await self.within("tell its offsets", lambda: ask(asked))
        return {TopicPartition(*place): offset for place, offset in found.items()}

    # --- topics

    async def _describe(self, names: Sequence[str]) -> dict[str, int]:
        """The partition count of each topic that exists."""
        found: dict[str, int] = {}
        for topic in await self._admin.describe_topics(list(names)):
            if topic["error_code"] == 3:  # unknown topic
                continue
            if topic["error_code"]:
                raise for_code(topic["error_code"])(topic["topic"])
            if any(partition["error_code"] for partition in topic["partitions"]):
                raise for_code(5)(topic["topic"])  # a partition without a leader yet
            found[topic["topic"]] = len(topic["partitions"])
        return found

    async def _describe_all(self, wanted: Mapping[str, TopicSpec]) -> dict[str, int]:
        found = await self._describe(list(wanted))
        if found.keys() != wanted.keys():
            raise for_code(3)(", ".join(wanted.keys() - found.keys()))
        return found

    async def _create(self, specs: Sequence[TopicSpec]) -> None:
        replication = self._replication or await self._default_replication()
        new = [
            NewTopic(spec.name, spec.partitions, replication, topic_configs=_settings(spec)) for spec in specs
        ]
        response = await self._admin.create_topics(new)
        for name, code, *message in response.topic_errors:
            if code in (0, 36):  # made, or made meanwhile by another process
                continue
            error = for_code(code)
            if not error.retriable:
                raise LogError(
                    f"Kafka at {self.bootstrap} refused to create topic {name}: {message or error.description}"
                )
            raise error(name)

    async def _default_replication(self) -> int:
        [node, *_] = (await self._admin.describe_cluster())["brokers"]
        broker = ConfigResource(
            ConfigResourceType.BROKER, str(node["node_id"]), {"default.replication.factor": ""}
        )
        [response] = await self._admin.describe_configs([broker])
        return int(_entries(response.resources[0])["default.replication.factor"])

    async def _verify_settings(self, specs: Sequence[TopicSpec]) -> None:
        """What would lose records: another cleanup policy, or a retention where none is wanted."""
        asked = {"cleanup.policy": "", "retention.ms": "", "retention.bytes": ""}
        resources = [ConfigResource(ConfigResourceType.TOPIC, spec.name, asked) for spec in specs]
        entries: dict[str, dict[str, str]] = {}
        for response in await self._admin.describe_configs(resources):
            for resource in response.resources:
                if resource[0]:
                    raise for_code(resource[0])(resource[1])
                entries[resource[3]] = _entries(resource)
        for spec in specs:
            wanted = _settings(spec)
            names = ["cleanup.policy"]
            if not spec.compacted and spec.retention_ms is None:
                names += ["retention.ms", "retention.bytes"]
            for name in names:
                if entries[spec.name].get(name) != wanted[name]:
                    raise TopologyMismatch(
                        f"topic {spec.name} on Kafka at {self.bootstrap} has {name}="
                        f"{entries[spec.name].get(name)}, this release needs {wanted[name]}"
                    )


def _settings(spec: TopicSpec) -> dict[str, str]:
    if spec.compacted:
        return {**COMPACTED, **spec.settings}
    retention = -1 if spec.retention_ms is None else spec.retention_ms
    kept = {"cleanup.policy": "delete", "retention.ms": str(retention), "retention.bytes": "-1"}
    return {**kept, **spec.settings}


def _entries(resource: Sequence[Sequence[Sequence[str]]]) -> dict[str, str]:
    return {entry[0]: entry[1] for entry in resource[4]}


def describe(error: Exception | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class _Appender:
    """Appends: for each partition all that waits becomes one record batch, one batch at a time.

    An idempotent producer of aiokafka retries a batch for ever, and is dead for ever after some errors. So it is
    thrown away after any failure or timeout, with all that it still holds, and the next append starts a new one.
    """

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._waiting: defaultdict[TopicPartition, deque[_Append]] = defaultdict(deque)
        self._pumps: dict[TopicPartition, asyncio.Task[None]] = {}
        self._starting: asyncio.Task[aiokafka.AIOKafkaProducer] | None = None
        self._producer: aiokafka.AIOKafkaProducer | None = None

    async def append(self, place: TopicPartition, records: Sequence[Record]) -> Sequence[int]:
        size = append_size(records)
        loop = asyncio.get_running_loop()
        item = _Append(records, size, time.time_ns() // 1_000_000, loop.create_future())
        self._waiting[place].append(item)
        if place not in self._pumps:
            self._pumps[place] = asyncio.create_task(self._pump(place), name=f"kafka-append-{place.topic}")
        return await item.done

    async def close(self) -> None:
        if self._pumps:
            await asyncio.wait(list(self._pumps.values()))
        if self._producer is not None:
            await stop_producer(self._producer)

    async def _pump(self, place: TopicPartition) -> None:
        waiting = self._waiting[place]
        while waiting:
            batch: list[_Append] = []
            size = 0
            while waiting and size + waiting[0].size <= MAX_APPEND_BYTES:
                item = waiting.popleft()
                if not item.done.done():  # its caller may have gone
                    batch.append(item)
                    size += item.size
            if not batch:
                continue
            try:
                offset = await self._send(place, batch)
            except Exception as error:
                # Who waits behind would only wait as long again.
                for item in (*batch, *waiting):
                    if not item.done.done():
                        item.done.set_exception(error)
                waiting.clear()
            else:
                for item in batch:
                    if not item.done.done():
                        item.done.set_result(range(offset, offset + len(item.records)))
                    offset += len(item.records)
        del self._pumps[place], self._waiting[place]

    async def _send(self, place: TopicPartition, batch: Sequence[_Append]) -> int:
        producer = self._producer or await self._start()
        why = ""
        try:
            async with asyncio.timeout(self._log.timeout):
                builder = producer.create_batch()
                for item in batch:
                    for record in item.records:
                        taken = builder.append(
                            timestamp=item.timestamp,
                            key=record.key,
                            value=record.value,
                            headers=list(record.headers),
                        )
                        assert taken is not None, "max_batch_size has room for MAX_APPEND_BYTES"
                sent = await producer.send_batch(builder, place.topic, partition=place.partition)
                offset: int = (await sent).offset
                if offset >= 0:
                    return offset
                why = ": the broker has the records but not their offsets"
        except (KafkaError, TimeoutError, AssertionError) as error:
            why = f": {describe(error)}" if isinstance(error, KafkaError) else ""
        except asyncio.CancelledError:
            self._discard(producer)
            raise
        self._discard(producer)
        raise LogUnavailable(
            f"Kafka at {self._log.bootstrap} did not acknowledge an append to {place.topic}/{place.partition} "
            f"within {self._log.timeout:g} s{why}"
        )

    async def _start(self) -> aiokafka.AIOKafkaProducer:
        """One attempt for all who wait."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._log.within("take appends", self._new))
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    def _started(self, task: asyncio.Task[aiokafka.AIOKafkaProducer]) -> None:
        self._starting = None
        if not task.cancelled() and task.exception() is None:
            self._producer = task.result()

    async def _new(self) -> aiokafka.AIOKafkaProducer:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self._log.bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=2 * MAX_APPEND_BYTES,
            request_timeout_ms=int(self._log.timeout * 1000),
            retry_backoff_ms=20,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    def _discard(self, producer: aiokafka.AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
            self._log.later(abandon_producer(producer))


class _Fetch:
    """Takes records from a consumer, and gives up when its assignment changes meanwhile.

    Records that arrive with the change are dropped: positions are set anew after it.
    """

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._turn = 0
        self._task: (
            asyncio.Future[Mapping[aiokafka.TopicPartition, Sequence[aiokafka.ConsumerRecord]]] | None
        ) = None

    def interrupt(self) -> None:
        self._turn += 1
        if self._task is not None:
            self._task.cancel()

    async def take(self, consumer: aiokafka.AIOKafkaConsumer, timeout: float, limit: int) -> Batch:
        """The next records; empty after `timeout` seconds, or at once when interrupted."""
        turn = self._turn
        waiting = max(0, int(timeout * 1000))
        self._task = asyncio.ensure_future(consumer.getmany(timeout_ms=waiting, max_records=limit))
        try:
            found = await self._task
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if turn == self._turn or (task is not None and task.cancelling()):
                raise
            return {}
        except KafkaError as error:
            raise LogUnavailable(
                f"Kafka at {self._log.bootstrap} cannot be read: {describe(error)}"
            ) from error
        finally:
            self._task = None
        if turn != self._turn:
            return {}
        return {
            TopicPartition(*place): [
                Stored(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
                for r in records
            ]
            for place, records in found.items()
        }


class _KafkaReader(Reader):
    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._assigned = asyncio.Event()
        self._fetch = _Fetch(log)

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._log.check_open()
        if self._consumer is None:
            self._consumer = await self._log.within("be reached", self._log.new_consumer)
            self._log.register(self, self.close)
        consumer: aiokafka.AIOKafkaConsumer = self._consumer
        self._fetch.interrupt()
        if not positions:
            self._assigned.clear()
            consumer.unsubscribe()
            return
        consumer.assign([aiokafka.TopicPartition(*place) for place in positions])
        for place, offset in positions.items():
            consumer.seek(aiokafka.TopicPartition(*place), offset)
        self._assigned.set()

    async def poll(self, timeout: float, limit: int = 500) -> Batch:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        while True:
            self._log.check_open()
            try:
                async with asyncio.timeout_at(asked + timeout):
                    await self._assigned.wait()
            except TimeoutError:
                return {}
            if self._consumer is None:
                raise LogUnavailable("this reader is closed")
            if found := await self._fetch.take(self._consumer, asked + timeout - loop.time(), limit):
                return found
            if loop.time() >= asked + timeout - 0.001:
                self._log.check_away(asked)
                return {}

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._log.forget(self)
        self._fetch.interrupt()
        if consumer is not None:
            await stop_consumer(consumer)


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, member: _KafkaMember) -> None:
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


class _KafkaMember(Member):
    """A static member of a Kafka group.

    Every rebalance takes all partitions and gives the new share: all are lost, then the share is gained. The listener
    is told from a task of our own, because aiokafka sends no heartbeats while its own listener works.
    """

    def __init__(
        self, log: KafkaLog, group: str, topics: Sequence[str], node: str, listener: Listener
    ) -> None:
        self._log = log
        self._group = group
        self._topics = list(topics)
        self._node = node
        self._listener = listener
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._held: set[TopicPartition] = set()
        self._changes: asyncio.Queue[_Change] = asyncio.Queue()
        self._settled = asyncio.Event()
        self._settled.set()
        self._fetch = _Fetch(log)
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def start(self) -> None:
        self._log.check_open()
        self._task = asyncio.create_task(self._follow(), name=f"member-{self._group}-{self._node}")
        self._log.register(self, self.close)
        try:
            await self._join()
        except BaseException:
            await self.close()
            raise

    async def poll(self, timeout: float, limit: int = 500) -> Batch:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        while True:
            self._check()
            if self._consumer is None:
                await self._join()
            try:
                async with asyncio.timeout_at(asked + timeout):
                    await self._settled.wait()
                self._check()
                if self._consumer is not None and (
                    found := await self._fetch.take(self._consumer, asked + timeout - loop.time(), limit)
                ):
                    return found
            except TimeoutError:
                self._check()
            except LogUnavailable as error:
                if isinstance(error.__cause__, KafkaError):
                    # Its coordination may have ended for good: join anew with the next poll.
                    await self._leave()
                raise
            if loop.time() >= asked + timeout - 0.001:
                self._log.check_away(asked)
                return {}

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        consumer = self._held_by(positions)
        offsets = {
            aiokafka.TopicPartition(*place): (position.offset, position.note)
            for place, position in positions.items()
        }
        if not offsets:
            return
        try:
            async with asyncio.timeout(self._log.timeout):
                await consumer.commit(offsets)
        except (KafkaError, TimeoutError) as error:
            raise LogUnavailable(
                f"Kafka at {self._log.bootstrap} did not commit positions of group {self._group}: {describe(error)}"
            ) from error

    async def seek(self, place: TopicPartition, offset: int) -> None:
        consumer = self._held_by([place])
        try:
            consumer.seek(aiokafka.TopicPartition(*place), offset)
        except IllegalStateError as error:
            raise LogUnavailable(f"{place.topic}/{place.partition} is being reassigned") from error

    async def close(self) -> None:
        task, self._task = self._task, None
        self._log.forget(self)
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        self._failure = LogUnavailable(f"member {self._node} of group {self._group} is closed")
        await self._leave()

    # --- called by aiokafka's coordination

    async def revoked(self, places: set[TopicPartition]) -> None:
        change = self._change(lost=places, gained=set())
        # The group waits for us no longer than this; the log's fence covers a listener that is slower.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOST_SECONDS):
                await change.done.wait()

    def assigned(self, places: set[TopicPartition]) -> None:
        self._change(lost=set(), gained=places)

    def _change(self, lost: set[TopicPartition], gained: set[TopicPartition]) -> _Change:
        change = _Change(lost, gained, asyncio.Event())
        self._fetch.interrupt()
        if self._task is None:  # closed: nobody is to be told
            change.done.set()
        else:
            self._settled.clear()
            self._changes.put_nowait(change)
        return change

    # ---

    def _check(self) -> None:
        self._log.check_open()
        if self._failure is not None:
            raise self._failure

    def _held_by(self, places: Iterable[TopicPartition]) -> aiokafka.AIOKafkaConsumer:
        self._check()
        for place in places:
            if self._consumer is None or place not in self._held:
                raise LogUnavailable(
                    f"{place.topic}/{place.partition} is not held by {self._node} of group {self._group}"
                )
        return self._consumer

    async def _join(self) -> None:
        session = int(self._log.session_timeout * 1000)
        rebalance = session + int(LOST_SECONDS * 1000)
        for topic in self._topics:
            await self._log.partitions(topic)
        consumer = await self._log.within(
            "be reached",
            lambda: self._log.new_consumer(
                group_id=self._group,
                group_instance_id=self._node,
                partition_assignment_strategy=[RangePartitionAssignor],
                session_timeout_ms=session,
                heartbeat_interval_ms=session // 3,
                rebalance_timeout_ms=rebalance,
                # A join is answered when the whole group has joined.
                request_timeout_ms=rebalance + 2000,
                max_poll_interval_ms=600_000,
            ),
        )
        # After the start: a start with topics waits for the group without bound.
        consumer.subscribe(topics=self._topics, listener=_Rebalance(self))
        self._consumer = consumer

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            self._change(lost=set(self._held), gained=set())
            await stop_consumer(consumer)

    async def _follow(self) -> None:
        try:
            while True:
                change = await self._changes.get()
                if lost := frozenset(change.lost & self._held):
                    # Still held while the listener is told, so that it may commit its last positions.
                    await self._listener.lost(lost)
                    self._held -= lost
                if change.gained:
                    await self._gain(sorted(change.gained))
                change.done.set()
                if self._changes.empty():
                    self._settled.set()
        except Exception as error:
            self._failure = error
            self._settled.set()

    async def _gain(self, places: Sequence[TopicPartition]) -> None:
        """Tell the positions, unless the next change is here before they are known."""
        positions: dict[TopicPartition, Position] = {}
        while len(positions) < len(places):
            if not self._changes.empty():
                return
            try:
                positions = dict(await self._log.committed(self._group, places))
                fresh = [place for place in places if place not in positions]
                for place, offset in (await self._log.beginnings(fresh)).items():
                    positions[place] = Position(offset)
            except LogUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
        if not self._changes.empty() or self._consumer is None:
            return
        with contextlib.suppress(IllegalStateError):  # taken away again: the next change says so
            for place, position in positions.items():
                self._consumer.seek(aiokafka.TopicPartition(*place), position.offset)
        self._held |= positions.keys()
        await self._listener.gained(positions)


# --- ending aiokafka's clients, also when the broker is away: its own `stop` may wait for the broker without bound


async def stop_consumer(consumer: aiokafka.AIOKafkaConsumer) -> None:
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stopping], timeout=STOP_SECONDS)
    await _break(consumer._client, stopping)
    stopping.exception()


async def stop_producer(producer: aiokafka.AIOKafkaProducer) -> None:
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait([stopping], timeout=STOP_SECONDS)
    if not stopping.done():
        await abandon_producer(producer)
    await asyncio.wait([stopping])
    stopping.exception()


async def abandon_producer(producer: aiokafka.AIOKafkaProducer) -> None:
    """Close without delivering what is still in it."""
    producer._closed = True
    sender = producer._sender.sender_task
    sender.cancel()
    await _break(producer.client, sender)
    if not sender.cancelled():
        sender.exception()


async def _break(client: aiokafka.AIOKafkaClient, task: asyncio.Future[None]) -> None:
    """Let `task` end, which works with `client`: no request and no metadata shall be waited for any more."""
    await client.close()
    while not task.done():
        # A closed client still promises metadata, to everybody who asks, and never gets any.
        promised = client._md_update_fut
        if promised is not None and not promised.done():
            promised.set_result(False)
        await asyncio.wait([task], timeout=0.02)
