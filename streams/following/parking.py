"""Aggregates that a follower cannot go on with: their facts wait in the log, and everybody else's go on.

What enters: an aggregate whose fact raised, with its offset. What leaves: a record in the compacted topic of the
dead, which says to every later holder of the partition where that aggregate stands. A retry is a record too: the
holder then reads the facts that waited from the log and hands them over in order. Nothing is skipped, and nothing
is kept twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

import msgspec

from streams.log import Log, Record, Stored, TopicPartition
from streams.log.envelope import damaged, halt_at_newer
from streams.log.ranges import newest
from streams.log.topology import DEAD

PLACE = TopicPartition(DEAD, 0)


class Parked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One aggregate that waits. `offset` is that of its first fact that was not taken, `epoch` the fence's there;
    `retries` were asked for."""

    v: int = 1
    group: str
    topic: str
    partition: int
    aggregate: str
    offset: int
    epoch: int = -1
    reason: str
    at: datetime
    retries: int = 0

    @property
    def id(self) -> str:
        """Its name for a person, and its key in the topic."""
        return _id(self.group, self.topic, self.partition, self.aggregate)

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


_decoder = msgspec.json.Decoder(Parked)
_encoder = msgspec.json.Encoder()


def _id(group: str, topic: str, partition: int, aggregate: str) -> str:
    return f"{group}|{topic}|{partition}|{aggregate}"


def _decode(stored: Stored) -> Parked:
    halt_at_newer(stored)
    try:
        return _decoder.decode(stored.value or b"")
    except msgspec.DecodeError as error:
        raise damaged(stored, error) from None


Waiting = Mapping[str, Stored]
"""What waits in one partition, by aggregate, not read yet."""


def parked(waiting: Waiting) -> dict[str, Parked]:
    """By aggregate. Raises DamagedRecordError and NewerReleaseError."""
    return {aggregate: _decode(stored) for aggregate, stored in waiting.items()}


class Parking:
    """The parked aggregates of every group. All methods raise LogUnavailableError; those that read raise
    DamagedRecordError and NewerReleaseError."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def all(self) -> dict[str, Parked]:
        """Whatever waits now, by its id."""
        return await self._waiting("")

    async def of_group(self, group: str) -> dict[str, Parked]:
        """What waits for this group, by its id."""
        return await self._waiting(f"{group}|")

    async def _waiting(self, begins: str) -> dict[str, Parked]:
        return {key: _decode(stored) for key, stored in (await self._records(begins)).items()}

    async def in_places(self, group: str) -> Mapping[TopicPartition, Waiting]:
        """What waits for this group, by its partition."""
        found: defaultdict[TopicPartition, dict[str, Stored]] = defaultdict(dict)
        for key, stored in (await self._records(f"{group}|")).items():
            _, topic, partition, aggregate = key.split("|", 3)
            found[TopicPartition(topic, int(partition))][aggregate] = stored
        return found

    async def _records(self, begins: str) -> dict[str, Stored]:
        """Those whose ids begin so; nobody halts at what a newer release has parked for somebody else."""
        found = {key.decode(): stored for key, stored in (await newest(self._log, PLACE)).items()}
        return {
            key: stored
            for key, stored in found.items()
            if stored.value is not None and key.startswith(begins)
        }

    async def put(self, parked: Parked) -> None:
        """It waits from now on, or again."""
        await self._log.append(*PLACE, [Record(parked.id.encode(), _encoder.encode(parked))])

    async def release(self, parked: Parked) -> None:
        """All its facts were taken."""
        await self._log.append(*PLACE, [Record(parked.id.encode(), None)])

    async def retry(self, id: str) -> Parked | None:
        """Ask for another try by whoever holds its partition; None where nothing of this id waits."""
        parked = (await self.all()).get(id)
        if parked is not None:
            await self.put(msgspec.structs.replace(parked, retries=parked.retries + 1))
        return parked
