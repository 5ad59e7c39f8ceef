"""Many records become appends that the log takes: what goes together is at most MAX_APPEND_BYTES."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from streams.log import MAX_APPEND_BYTES, Log, Record


def record_size(record: Record) -> int:
    """As `log.append_size` counts one record."""
    size = 32 + len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += 10 + 4 * len(name) + len(value)
    return size


def portions(records: Iterable[Record], limit: int = MAX_APPEND_BYTES) -> Iterator[list[Record]]:
    """In order, each portion within the limit; a record that is over it alone is a portion, which the log refuses."""
    portion: list[Record] = []
    size = 0
    for record in records:
        more = record_size(record)
        if portion and size + more > limit:
            yield portion
            portion, size = [], 0
        portion.append(record)
        size += more
    if portion:
        yield portion


async def append_all(
    log: Log, topic: str, partition: int, records: Iterable[Record], *, patiently: bool = False
) -> Sequence[int]:
    """Append in order, portion after portion: each is all or nothing, and none follows one that failed."""
    append = log.append_patiently if patiently else log.append
    offsets: list[int] = []
    for portion in portions(records):
        offsets.extend(await append(topic, partition, portion))
    return offsets
