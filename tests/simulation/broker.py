"""The log's servers: topics, their partitions, consumer groups. Shared by all processes of a world, with no I/O.

It behaves as one Kafka cluster does towards our adapter: appends of a batch are atomic, offsets may have holes after
compaction, a group gives its partitions in ranges by the members' names after all have given up theirs, static
members keep theirs over a restart, and a member that is silent for a session is left out. Positions are durable.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from streams.log import Position, Record, Stored, TopicPartition, TopicSpec
from tests.simulation.network import Network

if TYPE_CHECKING:
    from tests.simulation.log import Cursor, SimMember

SESSION_SECONDS: Final = 3.0
REBALANCE_SECONDS: Final = 7.0
HEARTBEAT_SECONDS: Final = 1.0


class Lost(NamedTuple):
    """A record that was lost `at` a time, in ms since 1970."""

    place: TopicPartition
    offset: int
    at: int
    value: bytes


@dataclass(slots=True)
class Partition:
    """The records of one partition. `flushed` is the offset up to which they lie on the disk."""

    place: TopicPartition
    spec: TopicSpec
    records: list[Stored] = field(default_factory=list)
    begin: int = 0
    end: int = 0
    flushed: int = 0
    watchers: dict[Cursor, None] = field(default_factory=dict)

    def read(self, offset: int, most: int) -> list[Stored]:
        """Records from this offset on."""
        if not self.records:
            return []
        first = self.records[0].offset
        index = offset - first
        if not (0 <= index < len(self.records) and self.records[index].offset == offset):
            index = bisect_left(self.records, offset, key=lambda stored: stored.offset)
        return self.records[index : index + most]


@dataclass(slots=True)
class Seat:
    """One member of a group."""

    member: SimMember
    topics: frozenset[str]
    heard: float
    generation: int = -1
    told: int = -1
    places: frozenset[TopicPartition] = frozenset()


class Group:
    """The members of one consumer group and its positions."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.broker = broker
        self.name = name
        self.seats: dict[str, Seat] = {}
        self.left_out: dict[SimMember, None] = {}
        """Whose sessions were over, and who do not know it yet."""
        self.positions: dict[TopicPartition, Position] = {}
        self.generation = 0
        self.joining: set[str] | None = None
        self._round = 0

    def join(self, member: SimMember, topics: frozenset[str]) -> None:
        """A member comes, or comes back under its name within its session."""
        now = self.broker.loop.now
        known = self.seats.get(member.name)
        seat = Seat(member, topics, now)
        self.seats[member.name] = seat
        if known is not None and self.joining is None and known.topics == topics and known.generation >= 0:
            seat.generation = seat.told = self.generation
            seat.places = known.places
            self.broker.tell(member, lambda: member.assigned(seat.generation, seat.places))
        else:
            self.rebalance()

    def leave(self, name: str) -> None:
        """Its session is over."""
        self._leave_out(name)
        self.rebalance()

    def _leave_out(self, name: str) -> None:
        self.left_out[self.seats.pop(name).member] = None

    def rebalance(self) -> None:
        """All give up what they hold; who has not done so in time is left out."""
        self.generation += 1
        self.joining = set(self.seats)
        self._round += 1
        number = self._round
        for seat in self.seats.values():
            self._revoke(seat)
        self.broker.later(REBALANCE_SECONDS, lambda: self._close(number))
        self._see()

    def _revoke(self, seat: Seat) -> None:
        generation = self.generation
        member = seat.member

        def told() -> None:
            if self.seats.get(member.name) is seat and seat.told < generation:
                seat.told = generation
                member.revoked(generation)

        self.broker.tell(member, told)

    def joined(self, member: SimMember, generation: int) -> None:
        """It has given up what it held."""
        seat = self.seats.get(member.name)
        if self.joining is None or seat is None or seat.member is not member or generation != self.generation:
            return
        self.joining.discard(member.name)
        self._see()

    def _close(self, number: int) -> None:
        if number != self._round or self.joining is None:
            return
        for name in sorted(self.joining):
            self._leave_out(name)
        self.joining = set()
        self._see()

    def _see(self) -> None:
        if self.joining is None or self.joining:
            return
        self.joining = None
        for name, places in self.shares().items():
            seat = self.seats[name]
            seat.generation, seat.places = self.generation, places
            self.broker.tell(seat.member, self._assignment(seat))

    def _assignment(self, seat: Seat) -> Callable[[], None]:
        generation, places = seat.generation, seat.places
        return lambda: seat.member.assigned(generation, places)

    def shares(self) -> dict[str, frozenset[TopicPartition]]:
        """Of each topic a range of partitions by the members' names."""
        shares: dict[str, set[TopicPartition]] = {name: set() for name in sorted(self.seats)}
        for topic in sorted({topic for seat in self.seats.values() for topic in seat.topics}):
            names = [name for name in shares if topic in self.seats[name].topics]
            count = self.broker.count(topic)
            share, extra = divmod(count, len(names))
            at = 0
            for index, name in enumerate(names):
                size = share + (index < extra)
                shares[name].update(TopicPartition(topic, number) for number in range(at, at + size))
                at += size
        return {name: frozenset(places) for name, places in shares.items()}

    def may_commit(self, member: SimMember, generation: int) -> bool:
        """Whether the broker takes this member's positions."""
        seat = self.seats.get(member.name)
        if seat is None or seat.member is not member:
            return False
        current = self.generation if self.joining is None else self.generation - 1
        return generation == current

    def beat(self) -> None:
        """Heartbeats, and what follows from their absence."""
        now = self.broker.loop.now
        network = self.broker.network
        gone: list[str] = []
        for name, seat in self.seats.items():
            node = seat.member.node
            if seat.member.open and node.alive and not node.frozen and network.reaches(node, "log"):
                seat.heard = now
                if self.joining is not None and name in self.joining and seat.told < self.generation:
                    self._revoke(seat)
            elif now - seat.heard > SESSION_SECONDS:
                gone.append(name)
        for name in gone:
            self.leave(name)
        for member in list(self.left_out):
            if not (member.open and member.node.alive):
                del self.left_out[member]
            elif not member.node.frozen and network.reaches(member.node, "log"):
                del self.left_out[member]
                self.broker.tell(member, member.left_out)


class Broker:
    """The servers. `trace` is the hash of everything that was appended, in order."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.loop = network.loop
        self.partitions: dict[TopicPartition, Partition] = {}
        self.specs: dict[str, TopicSpec] = {}
        self.groups: dict[str, Group] = {}
        self.trace = hashlib.blake2b(digest_size=8)
        self.compacts_at_once = False
        """As the embedded log does, and a broker may."""
        self.appended = 0
        self.lost: list[Lost] = []
        """What the servers lost after they had acknowledged it, in order."""
        self.full: set[str] = set()
        """Topics for which there is no room on the disk."""

    def begin_from(self, other: Broker) -> None:
        """What another broker holds: its topics, records and positions."""
        self.specs = dict(other.specs)
        for place, held in other.partitions.items():
            self.partitions[place] = Partition(
                place, held.spec, list(held.records), held.begin, held.end, held.end
            )
        for name, group in other.groups.items():
            mine = self.group(name)
            mine.positions = dict(group.positions)

    def begin(self) -> None:
        """Heartbeats from now on."""
        self.later(HEARTBEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        for group in list(self.groups.values()):
            group.beat()
        self.later(HEARTBEAT_SECONDS, self._beat)

    # -- topics ------------------------------------------------------------------------------------------------

    def make(self, specs: Iterable[TopicSpec]) -> None:
        for spec in specs:
            if spec.name not in self.specs:
                self.specs[spec.name] = spec
                for number in range(spec.partitions):
                    place = TopicPartition(spec.name, number)
                    self.partitions[place] = Partition(place, spec)

    def count(self, topic: str) -> int:
        return self.specs[topic].partitions

    def append(self, place: TopicPartition, records: Sequence[Record]) -> int:
        """The offset of the first record; the time is the servers' own, as our topics are set up."""
        partition = self.partitions[place]
        first, topic, now = partition.end, place.topic, self.wall_ms()
        partition.records += [
            Stored(topic, place.partition, offset, now, record.key, record.value, record.headers)
            for offset, record in enumerate(records, first)
        ]
        self.trace.update(b"".join([record.value or b"-" for record in records]))
        self.trace.update(f"{place.topic}|{place.partition}|{first}|{self.loop.now:.6f}".encode())
        partition.end = first + len(records)
        if self.compacts_at_once and partition.spec.compacted:
            self._compact(partition)
        self.appended += len(records)
        for cursor in list(partition.watchers):
            cursor.wake()
        return first

    def wall_ms(self) -> int:
        """The servers' clock, in ms since 1970."""
        return int(self.network.wall(self.loop.world) * 1000)

    def flush(self) -> None:
        """Everything lies on the disk now."""
        for partition in self.partitions.values():
            partition.flushed = partition.end

    def cut_tail(self, places: Iterable[TopicPartition]) -> int:
        """Power was lost: of these partitions some of what was not on the disk is gone, acknowledged or not."""
        cut = 0
        for place in places:
            partition = self.partitions[place]
            unflushed = partition.end - max(partition.flushed, partition.begin)
            if unflushed <= 0:
                continue
            end = partition.end - self.loop.chance.randint(1, unflushed)
            while partition.records and partition.records[-1].offset >= end:
                gone = partition.records.pop()
                self.lost.append(Lost(place, gone.offset, self.wall_ms(), gone.value or b""))
                cut += 1
            partition.end = end
            for cursor in partition.watchers:
                # Whoever had read further asks for what is not there, before others have written it anew.
                cursor.cut_off(place, end)
            for cursor in list(partition.watchers):
                cursor.wake()
        return cut

    def compact(self, topic: str) -> None:
        """Of each key the newest record stays; deletions go, even at the end."""
        for number in range(self.count(topic)):
            self._compact(self.partitions[TopicPartition(topic, number)])

    def _compact(self, partition: Partition) -> None:
        newest = {stored.key: stored.offset for stored in partition.records}
        partition.records = [
            stored
            for stored in partition.records
            if newest[stored.key] == stored.offset and stored.value is not None
        ]

    def expire(self, topic: str, keep: int = 0) -> None:
        """Retention: all but the newest `keep` records go."""
        for number in range(self.count(topic)):
            partition = self.partitions[TopicPartition(topic, number)]
            del partition.records[: max(0, len(partition.records) - keep)]
            partition.begin = partition.records[0].offset if partition.records else partition.end

    def expire_before(self, topic: str, time_ms: int) -> None:
        """Retention by time."""
        for number in range(self.count(topic)):
            partition = self.partitions[TopicPartition(topic, number)]
            partition.records = [stored for stored in partition.records if stored.timestamp >= time_ms]
            partition.begin = partition.records[0].offset if partition.records else partition.end

    # -- groups ------------------------------------------------------------------------------------------------

    def group(self, name: str) -> Group:
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(self, name)
        return group

    def positions(self, group: str, places: Iterable[TopicPartition]) -> Mapping[TopicPartition, Position]:
        known = self.group(group).positions
        return {place: known[place] for place in places if place in known}

    # -- time --------------------------------------------------------------------------------------------------

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Something of the servers' own, after this time."""
        self.loop.call_at(self.loop.now + seconds, work, context=self.loop.world_context)

    def tell(self, member: SimMember, work: Callable[[], None]) -> None:
        """A message on its way to a member; it is lost where the network is cut."""

        def arrive() -> None:
            if self.network.reaches(member.node, "log"):
                work()
            elif member.node.alive:
                member.heard_at = max(member.heard_at, self.loop.now + 0.2)
                self.loop.call_at(member.heard_at, arrive, context=self.loop.world_context)

        member.heard_at = max(member.heard_at, self.loop.now + self.network.delay("log"))
        self.loop.call_at(member.heard_at, arrive, context=self.loop.world_context)
