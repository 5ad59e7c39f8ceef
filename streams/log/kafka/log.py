"""The log on Kafka, through aiokafka, of which nothing is seen from outside.

What enters: records, positions, topic shapes. What leaves: offsets that all in-sync replicas acknowledged, records in
order, partitions gained and lost. What it never does: wait without bound, retry an append for a caller who was told
that its outcome is unknown, or read a group's position as "none" because the broker did not know it yet.

Appends are in `kafka_appends`, readers in `kafka_reading`, members of groups in `kafka_members`, the shapes of topics
in `kafka_topics`, clients from their start to their end in `kafka_clients`. They share the rules for a broker that is
away: every call is tried again until its time is over and then raises LogUnavailableError with the address; a poll
raises only when the broker was silent all along.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TypeVar

import aiokafka
from aiokafka.errors import KafkaError, for_code

from streams.log import (
    Listener,
    Log,
    LogError,
    LogUnavailableError,
    Member,
    Position,
    Reader,
    Record,
    TopicPartition,
    TopicSpec,
    TopologyMismatchError,
)
from streams.log.kafka.appends import Appender
from streams.log.kafka.clients import Chores, Clients, describe
from streams.log.kafka.members import KafkaMember
from streams.log.kafka.private import Client
from streams.log.kafka.reading import KafkaReader
from streams.log.kafka.topics import (
    Fault,
    check_partitions,
    describe_all,
    find_faults,
)
from streams.log.kafka.topics import create as create_topics
from streams.log.kafka.topics import describe as describe_topics

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
PROBE_SECONDS = 1.0
CREATE_SECONDS = 60.0
"""Of all topics at the first start: a small broker makes a thousand partitions in some ten seconds."""

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
        self.fewest_replicas = 0
        """Of the topics that were compared last."""
        self._partitions: dict[str, int] = {}
        self._compacted: set[str] = set()
        self._coordinators: dict[str, int] = {}
        """Who keeps the positions of a group; asked again where it has failed."""
        self._open = False
        self._away_since: float | None = None
        self._closers: dict[object, Closable] = {}
        self._chores = Chores()
        self._closing: asyncio.Task[None] | None = None

    # --- life

    async def start(self) -> None:
        if logging.getLogger("aiokafka").level == logging.NOTSET:
            # It repeats each failed attempt; what matters is said once, below, or raised.
            logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self.clients = Clients(self.bootstrap, self.timeout, self._chores)
        try:
            self._admin = await self.within("be reached", self.clients.admin)
            self._offsets = await self.new_consumer()
        except BaseException:
            await self._chores.surely(self.clients.close())
            raise
        self._appender = Appender(self)
        self._closing = None
        self._open = True
        self._prober = asyncio.create_task(self._probe(), name="kafka-probe")

    async def close(self) -> None:
        if self._closing is None:
            if not self._open:
                await self._chores.finish()
                return
            self._open = False
            self._closing = self._chores.begin(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._prober.cancel()
        await asyncio.wait([self._prober])
        await self._appender.close()
        for close in list(self._closers.values()):
            await close()
        await self.clients.close()
        await self._chores.finish()

    async def new_consumer(self, **settings: object) -> aiokafka.AIOKafkaConsumer:
        """A started consumer, which whoever asked must `end`. Raises LogUnavailableError."""
        return await self.within("be reached", lambda: self.clients.consumer(**settings))

    async def new_producer(self) -> aiokafka.AIOKafkaProducer:
        return await self.within("take appends", self.clients.producer)

    def end(self, client: Client, *, abandon: bool = False) -> asyncio.Task[None]:
        return self.clients.end(client, abandon=abandon)

    async def surely(self, work: Coroutine[object, object, None]) -> None:
        """Wait for its end, or be cancelled and let it go on; `close` waits for it."""
        await self._chores.surely(work)

    # --- what the port asks

    async def ensure(self, topics: Sequence[TopicSpec]) -> None:
        for fault in await self.topic_faults(topics):
            if fault.fatal:
                raise TopologyMismatchError(
                    f"{fault} (Kafka at {self.bootstrap}); {fault.way_out(self.bootstrap)}"
                )

    async def topic_faults(self, topics: Sequence[TopicSpec]) -> list[Fault]:
        """Make the topics that are missing; what is wrong with the settings of all. Raises TopologyMismatchError
        where a topic has another number of partitions."""
        self.check_open()
        names = [spec.name for spec in topics]
        shapes = await self.within("describe its topics", lambda: describe_topics(self._admin, names))
        missing = [spec for spec in topics if spec.name not in shapes]
        if missing:
            await self.within(
                "create topics",
                lambda: create_topics(self._admin, self.bootstrap, missing, self._replication),
                CREATE_SECONDS,
            )
            shapes = await self.within(
                "show its new topics", lambda: describe_all(self._admin, names), CREATE_SECONDS
            )
        check_partitions(self.bootstrap, topics, shapes)
        found = await self.within("describe its topics", lambda: find_faults(self._admin, topics, shapes))
        self._partitions |= {name: shape.partitions for name, shape in shapes.items()}
        self._compacted |= {spec.name for spec in topics if spec.compacted}
        self.fewest_replicas = min((shape.replicas for shape in shapes.values()), default=0)
        return found

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        return await self._append(topic, partition, records, patiently=False)

    async def append_patiently(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        return await self._append(topic, partition, records, patiently=True)

    async def _append(
        self, topic: str, partition: int, records: Sequence[Record], *, patiently: bool
    ) -> Sequence[int]:
        self.check_open()
        if not 0 <= partition < await self.partitions(topic):
            raise TopologyMismatchError(
                f"Kafka at {self.bootstrap} has no partition {partition} of topic {topic}"
            )
        if topic in self._compacted and any(record.key is None for record in records):
            raise LogError(f"a record for the compacted topic {topic} needs a key")
        if not records:
            return ()
        return await self._appender.append(TopicPartition(topic, partition), records, patiently=patiently)

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
            coordinator = self._coordinators.pop(group, None)
            if coordinator is None:
                coordinator = await self._admin.find_coordinator(group)
            found = await self._admin.list_consumer_group_offsets(group, coordinator, asked)
            self._coordinators[group] = coordinator
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
            raise LogUnavailableError(f"the log on Kafka at {self.bootstrap} is closed")

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
            raise LogUnavailableError(
                f"Kafka at {self.bootstrap} did not {what} within {limit:g} s{why}"
            ) from failure

    def check_away(self, since: float) -> None:
        """Raises LogUnavailableError when the broker has been silent since `since` (the loop's time) or longer."""
        if self._away_since is not None and self._away_since <= since:
            raise LogUnavailableError(f"Kafka at {self.bootstrap} does not answer")

    def register(self, owner: object, close: Closable) -> None:
        self._closers[owner] = close

    def forget(self, owner: object) -> None:
        self._closers.pop(owner, None)

    async def _probe(self) -> None:
        """Ask for nothing once a second: who polls an idle topic learns only so that the broker is away."""
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            try:
                async with asyncio.timeout(2 * PROBE_SECONDS):
                    await self._admin.describe_topics([])
            except (
                Exception
            ) as error:  # whatever it is: a probe that ends tells nobody that the broker is away
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
            found = await self.within(
                f"describe topic {topic}", lambda: describe_topics(self._admin, [topic])
            )
            if topic not in found:
                raise TopologyMismatchError(f"Kafka at {self.bootstrap} has no topic {topic}")
            self._partitions[topic] = found[topic].partitions
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
                raise TopologyMismatchError(
                    f"Kafka at {self.bootstrap} has no partition {place.partition} of topic {place.topic}"
                )
        asked = [aiokafka.TopicPartition(*place) for place in places]
        found = await self.within("tell its offsets", lambda: ask(asked))
        return {TopicPartition(*place): offset for place, offset in found.items()}
