"""Aggregates that a follower cannot go on with: their facts wait in the log, and everybody else's go on.

What enters: an aggregate whose fact raised, with its offset. What leaves: a record in the compacted topic of the
dead, which says to every later holder of the partition where that aggregate stands. A retry is a record too: the
holder then reads the facts that waited from the log and hands them over in order. Nothing is skipped, and nothing
is kept twice.
"""

from __future__ import annotations

import contextlib
from datetime import datetime

import msgspec

from streams.envelope import damaged, halt_at_newer
from streams.log import Log, Record, Stored, TopicPartition
from streams.ranges import stretch
from streams.topology import DEAD

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


class Parking:
    """The parked aggregates of every group. All methods raise LogUnavailable; those that read raise
    DamagedRecordError and NewerReleaseError."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def all(self) -> dict[str, Parked]:
        """Whatever waits now, by its id."""
        return await self._waiting("")

    async def of_group(self, group: str) -> dict[str, Parked]:
        """What waits for this group, by its id."""
        return await self._waiting(f"{group}|")

    async def of(self, group: str, place: TopicPartition) -> dict[str, Parked]:
        """What waits for this group in this partition, by aggregate."""
        found = await self._waiting(_id(group, place.topic, place.partition, ""))
        return {parked.aggregate: parked for parked in found.values()}

    async def _waiting(self, begins: str) -> dict[str, Parked]:
        """Those whose ids begin so; nobody halts at what a newer release has parked for somebody else."""
        found: dict[str, Stored] = {}
        async with contextlib.aclosing(stretch(self._log, PLACE)) as batches:
            async for batch in batches:
                for stored in batch:
                    key = (stored.key or b"").decode()
                    if stored.value is None:
                        found.pop(key, None)
                    elif key.startswith(begins):
                        found[key] = stored
        return {key: _decode(stored) for key, stored in found.items()}

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
