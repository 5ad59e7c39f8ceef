"""A stretch of one partition, read to its end or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from streams.log import Log, LogUnavailable, Stored, TopicPartition

BATCH = 5000
SILENT_SECONDS = 10


async def stretch(
    log: Log, place: TopicPartition, start: int = 0, end: int | None = None
) -> AsyncGenerator[Sequence[Stored], None]:
    """The records from `start` to `end` (not included; by itself where the partition ends now), in batches.

    It never stops short: the end is where the reader's position says so. Raises LogUnavailable.
    """
    if end is None:
        end = (await log.ends([place]))[place]
    at = max(start, (await log.beginnings([place]))[place])
    if at >= end:
        return
    reader = log.reader()
    silent = 0
    try:
        await reader.assign({place: at})
        while at < end:
            batch = [s for s in (await reader.poll(1.0, BATCH)).get(place, ()) if s.offset < end]
            if batch:
                at = batch[-1].offset + 1
                silent = 0
                yield batch
                continue
            position = await reader.position(place)
            silent = 0 if position > at else silent + 1
            at = max(at, position)
            if silent > SILENT_SECONDS:
                raise LogUnavailable(
                    f"{place.topic}[{place.partition}] could be read up to {at}, not to {end}"
                )
    finally:
        await reader.close()
