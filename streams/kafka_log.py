"""The log on Kafka, through aiokafka, of which nothing is seen from outside.

What enters: records, positions, topic shapes. What leaves: offsets that all in-sync replicas acknowledged, records in
order, partitions gained and lost. What it never does: wait without bound, retry an append for a caller who was told
that its outcome is unknown, or read a group's position as "none" because the broker did not know it yet.

Appends are in `kafka_appends`, readers and members in `kafka_reading`, the end of clients in `kafka_clients`. They
share the rules for a broker that is away: every call is tried again until its time is over and then raises
LogUnavailable with the address; a poll raises only when the broker was silent all along.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TypeVar

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from streams.kafka_appends import Appender
from streams.kafka_clients import describe, stop_consumer
from streams.kafka_reading import KafkaMember, KafkaReader
from streams.log import (
    Listener,
    Log,
    LogError,
    LogUnavailable,
    Member,
    Position,
    Reader,
    Record,
    TopicPartition,
    TopicSpec,
    TopologyMismatch,
)

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
PROBE_SECONDS = 1.0
FETCH_WAIT_MS = 500
"""How long the broker holds a fetch for which it has nothing."""
CREATE_SECONDS = 60.0
"""Of all topics at the first start: a small broker makes a thousand partitions in some ten seconds."""

COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "segment.ms": "3600000",
    "min.cleanable.dirty.ratio": "0.2",
}

T = TypeVar("T")
Closable = Callable[[], Coroutine[object, object, None]]


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
            self._offsets = await self.new_consumer()
        except LogError:
            await self._admin.close()
            raise
        self._appender = Appender(self)
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
        """A started consumer that belongs to whoever asked. Raises LogUnavailable."""

        async def attempt() -> aiokafka.AIOKafkaConsumer:
            consumer = aiokafka.AIOKafkaConsumer(
                bootstrap_servers=self.bootstrap,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_min_bytes=1,
                fetch_max_wait_ms=FETCH_WAIT_MS,
                max_partition_fetch_bytes=2 * 1024 * 1024,
                consumer_timeout_ms=1000,
                **{"request_timeout_ms": int(self.timeout * 1000)} | settings,
            )
            try:
                await consumer.start()
            except BaseException:
                await stop_consumer(consumer)
                raise
            return consumer

        return await self.within("be reached", attempt)

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

    def reader(self, gather: float = 0.0) -> Reader:
        return KafkaReader(self, gather)

    def member(
        self, group: str, topics: Sequence[str], node: str, listener: Listener, gather: float = 0.0
    ) -> Member:
        return KafkaMember(self, group, topics, node, listener, gather)

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
