"""Readings beside the events: facts that nobody decides, appended by the edge that answers them, and read back.

What enters: a reading to append, or a mark up to which those of a transaction were carried into its aggregate. What
leaves: where it stands, or the readings behind the mark. They are read where nobody knows them any more: by the edge
that a charge point comes back to, and where a transaction ends without a word of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from commands.base import Area, Meta
from domain.aggregate import Event, EventRegistry
from domain.charge_point import (
    ReadingTaken,
    TransactionClosed,
    TransactionStopped,
    TransactionSuperseded,
)
from domain.values import Carried
from streams.envelope import DamagedRecordError, Reading, decode_entry, raw, record
from streams.log import Log, Stored, TopicPartition
from streams.ranges import BATCH, stretch
from streams.topology import partition_of, readings_topic

TOPIC: Final = readings_topic(Area.CHARGE_POINT)
LONGEST_APPEND: Final = timedelta(minutes=10)
"""By so much the log may have taken a reading after it was received, by the clocks of both."""
APART: Final = timedelta(seconds=5)
"""By so much the clocks of two edges differ at most."""


class Found(NamedTuple):
    """A reading and where it stands."""

    offset: int
    reading: ReadingTaken


class Readings:
    """Where an edge puts readings, and finds those of edges before it."""

    def __init__(self, log: Log, events: EventRegistry) -> None:
        self._log = log
        self._events = events

    async def append(self, reading: ReadingTaken, meta: Meta) -> int:
        """Returns its offset once it is durable. Raises LogUnavailable: whether it was taken is then unknown."""
        id = reading.originator_id
        value = Reading(aggregate=id, meta=meta, event=raw(reading))
        [offset] = await self._log.append(TOPIC, partition_of(id), [record(id, value, meta.tenant)])
        return offset

    async def end(self, charge_point: str) -> int:
        """The offset behind the last reading of this charge point's partition. Raises LogUnavailable."""
        place = _place(charge_point)
        return (await self._log.ends([place]))[place]

    async def behind(self, charge_point: str, transaction_id: int, carried: Carried) -> Sequence[Found]:
        """The readings of a transaction behind the mark, in order. Raises LogUnavailable, LogDamaged."""
        return await behind(self._log, self._events, charge_point, transaction_id, carried)


async def behind(
    log: Log, events: EventRegistry, charge_point: str, transaction_id: int, carried: Carried
) -> Sequence[Found]:
    """As `Readings.behind`. A topic that has lost its end since the mark was set is read from the mark's time on."""
    place = _place(charge_point)
    end = (await log.ends([place]))[place]
    start = carried.offset if carried.call is not None else carried.offset + 1
    found: list[Found] = []
    lost = start > end or (carried.call is not None and start == end)
    if not lost:
        async with contextlib.aclosing(stretch(log, place, start, end)) as batches:
            async for batch in batches:
                if carried.call is not None and batch[0].offset <= carried.offset:
                    first = _reading(batch[0], events)
                    if first.originator_id != charge_point or first.call != carried.call:
                        lost = True
                        break
                if _take(found, batch, events, charge_point, transaction_id, carried):
                    break
    if lost:
        found = []
        start = await _before(log, place, end, carried.until - LONGEST_APPEND)
        async with contextlib.aclosing(stretch(log, place, start, end)) as batches:
            async for batch in batches:
                if _take(found, batch, events, charge_point, transaction_id, carried):
                    break
    return [one for one in found if lost or one.offset > carried.offset]


async def completed(log: Log, events: EventRegistry, event: Event) -> Event:
    """The event itself; the end of a transaction that its charge point did not report comes with all its readings,
    and no sooner than the last of them: nobody who knew them decided it. What came after it does not belong to it,
    however late this is asked. Raises as `Readings.behind`.
    """
    if not isinstance(event, TransactionSuperseded | TransactionClosed | TransactionStopped):
        return event
    if event.carried is None or (isinstance(event, TransactionStopped) and not event.assumed):
        return event
    beside = await behind(log, events, event.originator_id, event.transaction_id, event.carried)
    found = [one for one in beside if one.reading.timestamp <= event.timestamp + APART]
    samples = dict.fromkeys((*event.samples, *(sample for one in found for sample in one.reading.samples)))
    whole = msgspec.structs.replace(event, samples=tuple(sorted(samples, key=lambda sample: sample.at)))
    if isinstance(whole, TransactionStopped):
        return whole
    last = max([whole.shown_at, *(one.reading.showed_itself_at for one in found)])
    if isinstance(whole, TransactionSuperseded) and whole.began_at is not None:
        last = max(whole.shown_at, min(last, whole.began_at))
    return msgspec.structs.replace(whole, occurred_at=last)


def _take(
    found: list[Found],
    batch: Sequence[Stored],
    events: EventRegistry,
    charge_point: str,
    transaction_id: int,
    carried: Carried,
) -> bool:
    """Whether no more is to be expected: what stands here was received long after the mark's time, and taken by the
    log then too. A log that was restored took all of it when it was restored.
    """
    key, late = charge_point.encode(), carried.until + LONGEST_APPEND
    for stored in batch:
        if _taken_at(stored) > late and _received_at(stored) > late:
            return True
        if stored.key == key:
            reading = _reading(stored, events)
            if reading.transaction_id == transaction_id:
                found.append(Found(stored.offset, reading))
    return False


async def _before(log: Log, place: TopicPartition, end: int, moment: datetime) -> int:
    """An offset that the log took before this moment, or the first one."""
    begin = (await log.beginnings([place]))[place]
    start = end
    while start > begin:
        start = max(begin, start - BATCH)
        async with contextlib.aclosing(stretch(log, place, start, min(start + 1, end))) as batches:
            async for batch in batches:
                if _taken_at(batch[0]) < moment:
                    return start
    return start


def _taken_at(stored: Stored) -> datetime:
    return datetime.fromtimestamp(stored.timestamp / 1000, UTC)


def _received_at(stored: Stored) -> datetime:
    """As its edge says; where it cannot be read, as the log does: it may be another charge point's."""
    with contextlib.suppress(DamagedRecordError):
        entry = decode_entry(stored)
        if isinstance(entry, Reading):
            return entry.meta.at
    return _taken_at(stored)


def _reading(stored: Stored, events: EventRegistry) -> ReadingTaken:
    entry = decode_entry(stored)
    event = events.decode(entry.event) if isinstance(entry, Reading) else None
    if not isinstance(event, ReadingTaken):
        raise DamagedRecordError(f"{stored.topic}[{stored.partition}]@{stored.offset}: it is no reading")
    return event


def _place(charge_point: str) -> TopicPartition:
    return TopicPartition(TOPIC, partition_of(charge_point))
