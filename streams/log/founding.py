"""The first start of a log says how many partitions it has; every later one reads that and obeys.

The first record of the topology topic counts, whoever wrote it: of two that begin at once with two settings one is
refused. It stands there before any other topic is made.
"""

from __future__ import annotations

import contextlib

import msgspec

from streams.log import Log, LogError, Record, TopicPartition, TopologyMismatchError
from streams.log.envelope import VERSION, NewerReleaseError, encode
from streams.log.layout import Layout
from streams.log.ranges import stretch
from streams.log.topology import TOPOLOGY, topology_topic

PLACE = TopicPartition(TOPOLOGY, 0)
KEY = b"topology"


class TopologyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`partitions` of every topic that goes by key."""

    v: int = VERSION
    partitions: int


_record = msgspec.json.Decoder(TopologyRecord)


async def found(log: Log, wanted: int | None = None) -> None:
    """Give the log its layout, with `wanted` partitions where this is its first start.

    Raises LogUnavailableError, NewerReleaseError, and TopologyMismatchError where it has another number than is
    wanted.
    """
    await log.ensure([topology_topic()])
    if await _first(log) is None:
        value = TopologyRecord(partitions=wanted if wanted is not None else Layout().partitions)
        await log.append(*PLACE, [Record(KEY, encode(value))])
    await join(log, wanted)


async def join(log: Log, wanted: int | None = None) -> None:
    """Give the log the layout that it has, and make nothing. Raises as `found`, also where it has none yet."""
    has = await _first(log)
    if has is None:
        raise TopologyMismatchError(
            "the log has no topology yet: start `serve`, or run `chargesphere topics`"
        )
    if wanted not in (None, has):
        raise TopologyMismatchError(
            f"CHARGESPHERE_PARTITIONS is {wanted}, and the log has had {has} partitions since its first start: "
            "leave it out"
        )
    log.layout = Layout(has)


async def _first(log: Log) -> int | None:
    async with contextlib.aclosing(stretch(log, PLACE)) as batches:
        async for batch in batches:
            return read(batch[0].value or b"")
    return None


def read(value: bytes) -> int:
    """How many partitions a record of the topology topic says. Raises LogError, NewerReleaseError."""
    try:
        record = _record.decode(value)
    except msgspec.DecodeError as error:
        raise LogError(f"{TOPOLOGY}[0]@0 cannot be read: {error}") from error
    if record.v > VERSION:
        raise NewerReleaseError(f"{TOPOLOGY}[0]@0 is of version {record.v}: upgrade this process")
    return record.partitions
