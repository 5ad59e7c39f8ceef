"""The port of the log: topics with partitions, offsets, keys, and positions of consumer groups.

Two adapters: Kafka (`streams.log.kafka.log`) and one SQLite file (`streams.log.sqlite.log`). A test suite in
`tests/streams/` holds both to the contracts written here.

    LogError
     ├── LogUnavailableError      the log cannot be reached or did not answer in time; the outcome may be unknown
     │    └── LogShortenedError   the log holds less than was read from it
     ├── LogDamagedError          the log does not hold what was appended: its reader halts
     └── TopologyMismatchError    the topics are not as this release needs them
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec

from domain.errors import ChargeSphereError
from streams.log.layout import Layout

MAX_APPEND_BYTES = 1_000_000
"""Of one append, by `append_size`: a broker's usual `message.max.bytes` (1 MiB) less a reserve."""


class LogError(ChargeSphereError):
    """Anything wrong with the log; the message names the thing, the value and the way out."""


class LogUnavailableError(LogError):
    """The log is away or silent. For an append: whether it happened is unknown."""


class LogShortenedError(LogUnavailableError):
    """The log holds less of these places than was read: it was restored, or has lost its end. Said once by `poll`,
    which then goes on at the end that there is."""

    def __init__(self, places: frozenset[TopicPartition]) -> None:
        names = ", ".join(f"{place.topic}[{place.partition}]" for place in sorted(places))
        super().__init__(f"the log holds less than was read of {names}")
        self.places = places


class TopologyMismatchError(LogError):
    """A topic is missing, or its partition count or hash is not what this release needs."""


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class LogDamagedError(LogError):
    """Records are damaged or missing; of `place`, where it is known, nothing more is read. Waiting does not help."""

    def __init__(self, message: str, place: TopicPartition | None = None) -> None:
        super().__init__(message)
        self.place = place


class Record(msgspec.Struct, frozen=True, gc=False):
    """What is appended. A `None` value deletes the key in a compacted topic."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def append_size(records: Sequence[Record]) -> int:
    """The bytes that these records may take in an append; LogError when it is too much for one."""
    size = 0
    for record in records:
        size += 32 + len(record.key or b"") + len(record.value or b"")
        for name, value in record.headers:
            size += 10 + 4 * len(name) + len(value)
    if size > MAX_APPEND_BYTES:
        raise LogError(f"an append of {len(records)} records has {size} bytes, over {MAX_APPEND_BYTES}")
    return size


class Stored(msgspec.Struct, frozen=True, gc=False):
    """What is read. Offsets rise within a partition, not always by one.

    `timestamp` in ms since 1970: when the log took it; on Kafka so with `topology.LOG_TIME`, else when it was sent.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


def stored_as(
    place: TopicPartition, offsets: Sequence[int], records: Sequence[Record], at: datetime
) -> list[Stored]:
    """What was appended just now, as it will be read. `at` is about the log's time, which is not our own clock's."""
    timestamp = int(at.timestamp() * 1000)
    return [
        Stored(*place, offset, timestamp, record.key, record.value, record.headers)
        for offset, record in zip(offsets, records, strict=True)
    ]


class Position(NamedTuple):
    """Where a group will go on reading, with up to 4 KB of text of its own."""

    offset: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be. `retention_ms` None = for ever."""

    name: str
    partitions: int
    compacted: bool = False
    retention_ms: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


class Reader(ABC):
    """Reads chosen partitions from chosen offsets; it belongs to no group and never sees uncommitted data."""

    @abstractmethod
    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read exactly these partitions, each from its offset on; earlier ones are forgotten. An offset that
        retention has deleted means the first one left."""

    @abstractmethod
    async def poll(self, timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[Stored]]:
        """The next records, in order within a partition; empty after `timeout` seconds without any.

        Raises LogUnavailableError when the log has been away for the whole of `timeout`, LogShortenedError.
        """

    @abstractmethod
    async def position(self, place: TopicPartition) -> int:
        """The offset up to which everything that there is of this partition was given. It is the only sign of an
        end: compaction may leave nothing of the last offsets, and silence may mean anything. Raises
        LogUnavailableError."""

    @abstractmethod
    async def close(self) -> None: ...


class Listener(ABC):
    """Told by a `Member` which partitions it holds. Both are awaited before anything else is polled.

    A change in the group may take partitions away and give them back at once: what is gained starts again from the
    committed position. What a listener raises ends its member: `poll` raises it from then on.
    """

    @abstractmethod
    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        """These are ours now; each position is the group's committed one, or the beginning.

        `commit` works already. It may take long: the group does not miss us meanwhile.
        """

    def begin(self, place: TopicPartition, position: Position) -> int:
        """From where on a partition is read that was gained with this position: an offset that its note may say."""
        return position.offset

    def gather(self, topic: str, least: float) -> float:
        """Seconds that records of this topic may wait under load; `least` is what the member was made with."""
        return least

    @abstractmethod
    async def lost(self, places: frozenset[TopicPartition]) -> None:
        """These are no longer ours: stop work on them. A last `commit` works here, at most for some seconds;
        after that the next holder may have begun already, and a commit may fail."""


class Member(ABC):
    """One member of a consumer group: shares the topics' partitions with the group's other members."""

    @abstractmethod
    async def start(self) -> None:
        """Join. The listener is called from within `poll` or from a task of the member's own."""

    @abstractmethod
    async def poll(self, timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[Stored]]:
        """As `Reader.poll`, over the partitions held."""

    @abstractmethod
    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Durably move the group's positions. A failure raises LogUnavailableError and changes nothing we rely on."""

    @abstractmethod
    async def close(self) -> None:
        """Leave; the listener is not told. With static membership the partitions stay reserved for this node's
        next start, until its session has timed out."""


class Log(ABC):
    """The log. One instance a process; its methods may be called concurrently."""

    layout: Layout = Layout()
    """What `streams.log.founding` found, or made, when the log was opened."""

    def places(self, topic: str) -> list[TopicPartition]:
        """Every partition of a topic that goes by key."""
        return [TopicPartition(topic, number) for number in range(self.layout.partitions)]

    @abstractmethod
    async def start(self) -> None:
        """Connect; raises LogUnavailableError with the address."""

    @abstractmethod
    async def ensure(self, topics: Sequence[TopicSpec]) -> None:
        """Create what is missing and verify the rest; raises TopologyMismatchError."""

    @abstractmethod
    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        """Append in order, all or nothing, and return the offsets once durable.

        Raises LogUnavailableError in bounded time: outcome unknown, it may still happen. Calls for one partition are
        appended in the order in which they were made. LogError when it is over
        MAX_APPEND_BYTES, or a record for a compacted topic has no key.
        """

    async def append_patiently(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        """`append` without haste: up to 20 ms later, so that those of all partitions go together, and along with
        any `append` before that. After a quiet moment it goes at once."""
        return await self.append(topic, partition, records)

    @abstractmethod
    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The first offset that can still be read."""

    @abstractmethod
    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The offset that the next record will get (or a later one)."""

    @abstractmethod
    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]:
        """A group's positions; partitions never committed are left out."""

    @abstractmethod
    def reader(self, gather: float = 0.0) -> Reader:
        """`gather`: seconds that records may wait under load, so that more of them come together; at rest none."""

    @abstractmethod
    def member(
        self, group: str, topics: Sequence[str], node: str, listener: Listener, gather: float = 0.0
    ) -> Member:
        """A member named `node` of `group`. Two members of one node name may not live at once. `gather` as for
        `reader`."""

    @abstractmethod
    async def close(self) -> None:
        """Finish the appends under way; readers and members raise LogUnavailableError from now on."""
