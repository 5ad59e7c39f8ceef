"""Stretches of partitions, each read to its end or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence

from streams.log import Log, LogUnavailableError, Stored, TopicPartition

BATCH = 5000
SILENT_SECONDS = 10


async def stretch(
    log: Log, place: TopicPartition, start: int = 0, end: int | None = None
) -> AsyncGenerator[Sequence[Stored], None]:
    """The records of one partition from `start` to `end` (not included; by itself where it ends now), in batches.

    It never stops short: the end is where the reader's position says so. Raises LogUnavailableError.
    """
    ends = None if end is None else {place: end}
    async with contextlib.aclosing(stretches(log, {place: start}, ends)) as batches:
        async for _, batch in batches:
            yield batch


async def last_keyed(log: Log, places: Sequence[TopicPartition]) -> dict[TopicPartition, Stored]:
    """The newest record with a key of each partition; those that have none are left out. Raises
    LogUnavailableError."""
    ends = {place: end for place, end in (await log.ends(list(places))).items() if end}
    found: dict[TopicPartition, Stored] = {}
    back = 1
    while ends:
        starts = {place: max(0, end - back) for place, end in ends.items()}
        async with contextlib.aclosing(stretches(log, starts, ends)) as batches:
            async for place, batch in batches:
                keyed = [stored for stored in batch if stored.key is not None]
                if keyed:
                    found[place] = keyed[-1]
        ends = {place: start for place, start in starts.items() if start and place not in found}
        back *= 10
    return found


async def stretches(
    log: Log, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int] | None = None
) -> AsyncGenerator[tuple[TopicPartition, Sequence[Stored]], None]:
    """As `stretch`, of several partitions by one reader: in order within each of them."""
    if ends is None:
        ends = await log.ends(list(starts))
    begins = await log.beginnings(list(starts))
    at = {place: max(start, begins[place]) for place, start in starts.items()}
    at = {place: offset for place, offset in at.items() if offset < ends[place]}
    if not at:
        return
    reader = log.reader()
    silent = 0
    try:
        await reader.assign(at)
        while at:
            polled = await reader.poll(1.0, BATCH)
            moved = False
            for place in [*at]:
                batch = [stored for stored in polled.get(place, ()) if stored.offset < ends[place]]
                if batch:
                    reached = batch[-1].offset + 1
                    yield place, batch
                elif polled and place not in polled:
                    continue  # its turn comes
                else:
                    reached = max(at[place], await reader.position(place))
                moved = moved or reached > at[place]
                at[place] = reached
                if reached >= ends[place]:
                    del at[place]
            silent = 0 if moved else silent + 1
            if silent > SILENT_SECONDS:
                place, offset = next(iter(at.items()))
                raise LogUnavailableError(
                    f"{place.topic}[{place.partition}] could be read up to {offset}, not to {ends[place]}"
                )
    finally:
        await reader.close()


async def newest(log: Log, place: TopicPartition, end: int | None = None) -> dict[bytes, Stored]:
    """The newest record of each key of a compacted partition, deletions too; `end` is where it ended just now.

    What is written anew while it is read takes the place of a record that was not read yet: so it is read on until
    nothing has come meanwhile. Raises LogUnavailableError.
    """
    found: dict[bytes, Stored] = {}
    at = 0
    if end is None:
        end = (await log.ends([place]))[place]
    while at < end:
        async with contextlib.aclosing(stretch(log, place, at, end)) as batches:
            async for batch in batches:
                found.update((stored.key, stored) for stored in batch if stored.key is not None)
        at, end = end, (await log.ends([place]))[place]
    return found
