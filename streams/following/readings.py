"""Readings beside the events: facts that nobody decides, appended by the edge that answers them, and read back.

What enters: a reading to append, or a mark up to which those of a transaction were carried into its aggregate. What
leaves: where it stands, or the readings behind the mark. They are read where nobody knows them any more: by the edge
that a charge point comes back to, and where a transaction ends without a word of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from commands.base import Area, Meta
from domain.aggregate import Event, EventRegistry, UnknownEventError
from domain.charge_point import (
    ReadingTaken,
    TransactionClosed,
    TransactionStopped,
    TransactionSuperseded,
)
from domain.values import Carried
from streams.log import Log, LogUnavailableError, Stored, TopicPartition
from streams.log.envelope import DamagedRecordError, Reading, decode_entry, raw, record
from streams.log.ranges import BATCH, stretch
from streams.log.topology import readings_topic

TOPIC: Final = readings_topic(Area.CHARGE_POINT)
LONGEST_APPEND: Final = timedelta(minutes=10)
"""By so much the log may have taken a reading after it was received, by the clocks of both."""
APART: Final = timedelta(seconds=5)
"""By so much the clocks of two edges differ at most."""


class Found(NamedTuple):
    """A reading and where it stands."""

    offset: int
    reading: ReadingTaken


@dataclass(slots=True, eq=False)
class _Search:
    """The readings of one transaction behind its mark, from `begin` on; `failure` is why one cannot be read.

    `proven` once that of the mark was seen where it stands; `by_time` where it is gone, and what was read since the
    mark's time is looked for.
    """

    charge_point: str
    transaction_id: int
    carried: Carried
    begin: int
    found: list[Found] = field(default_factory=list)
    failure: Exception | None = None
    proven: bool = False
    by_time: bool = False

    @property
    def late(self) -> datetime:
        """What was taken and received after it does not belong to the mark."""
        return self.carried.until + LONGEST_APPEND

    def is_astray(self, end: int) -> bool:
        """Whether a partition that ends there has lost its end since the mark was set."""
        return self.begin > end or (self.carried.call is not None and not self.proven)

    def take(self, stored: Stored, events: EventRegistry) -> None:
        """A record of its charge point."""
        if self.failure is not None or stored.offset < self.begin:
            return
        try:
            reading = _reading(stored, events)
        except (DamagedRecordError, UnknownEventError) as error:
            self.failure = error
            return
        if not self.by_time and stored.offset <= self.carried.offset:
            self.proven = reading.call == self.carried.call
        elif reading.transaction_id == self.transaction_id:
            self.found.append(Found(stored.offset, reading))


Question = tuple[_Search, "asyncio.Future[Sequence[Found]]"]


class Readings:
    """Where an edge puts readings, and finds those of edges before it."""

    def __init__(self, log: Log, events: EventRegistry) -> None:
        self._log = log
        self._events = events
        self._asked: dict[TopicPartition, list[Question]] = {}
        self._answering: dict[TopicPartition, asyncio.Task[None]] = {}

    async def append(self, reading: ReadingTaken, meta: Meta) -> int:
        """Returns its offset once it is durable. Raises LogUnavailableError: whether it was taken is then unknown."""
        id = reading.originator_id
        value = Reading(aggregate=id, meta=meta, event=raw(reading))
        records = [record(id, value, meta.tenant)]
        partition = self._log.layout.partition_of(id)
        [offset] = await self._log.append_patiently(TOPIC, partition, records)
        return offset

    async def end(self, charge_point: str) -> int:
        """The offset behind the last reading of this charge point's partition. Raises LogUnavailableError."""
        place = _place(self._log, charge_point)
        return (await self._log.ends([place]))[place]

    async def behind(self, charge_point: str, transaction_id: int, carried: Carried) -> Sequence[Found]:
        """The readings of a transaction behind the mark, in order. Raises LogUnavailableError, LogDamagedError,
        DamagedRecordError, UnknownEventError.

        Whoever asks while their partition is read shares the next reading: a herd that comes back costs a few.
        """
        place = _place(self._log, charge_point)
        answer: asyncio.Future[Sequence[Found]] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(place, []).append((_search(charge_point, transaction_id, carried), answer))
        if place not in self._answering:
            self._answering[place] = asyncio.create_task(self._answer(place))
        return await answer

    async def _answer(self, place: TopicPartition) -> None:
        """Until nobody asks."""
        asked: Sequence[Question] = ()
        try:
            while asked := self._asked.pop(place, ()):
                failure: Exception | None = None
                try:
                    await _look(self._log, self._events, place, [search for search, _ in asked])
                except Exception as error:
                    failure = error
                for search, answer in asked:
                    if not answer.done():
                        why = failure or search.failure
                        answer.set_result(search.found) if why is None else answer.set_exception(why)
        finally:
            del self._answering[place]
            for _, answer in (*asked, *self._asked.pop(place, ())):
                if not answer.done():
                    answer.set_exception(LogUnavailableError("the reading was broken off"))


async def _look(log: Log, events: EventRegistry, place: TopicPartition, searches: Sequence[_Search]) -> None:
    """All of one partition. Where it has lost its end since a mark was set, it is read from the mark's time on.
    Raises LogUnavailableError, LogDamagedError.
    """
    end = (await log.ends([place]))[place]
    near: list[_Search] = []
    for search in sorted(searches, key=lambda one: one.begin):
        if near and search.begin - near[-1].begin > BATCH:
            await _walk(log, events, place, near, end)
            near = []
        near.append(search)
    await _walk(log, events, place, near, end)
    for search in searches:
        if search.failure is None and search.is_astray(end):
            search.found, search.by_time = [], True
            search.begin = await _before(log, place, end, search.carried.until - LONGEST_APPEND)
            await _walk(log, events, place, [search], end)


async def _walk(
    log: Log, events: EventRegistry, place: TopicPartition, searches: Sequence[_Search], end: int
) -> None:
    """From the first of them on, until the end or until no more is to be expected: what stands there was received
    long after their marks' times, and taken by the log then too. A log that was restored took all of it when it was.
    """
    wanted: dict[bytes | None, list[_Search]] = {}
    for search in searches:
        wanted.setdefault(search.charge_point.encode(), []).append(search)
    late = max(search.late for search in searches)
    begin = min(search.begin for search in searches)
    async with contextlib.aclosing(stretch(log, place, begin, end)) as batches:
        async for batch in batches:
            for stored in batch:
                if _taken_at(stored) > late and _received_at(stored) > late:
                    return
                for search in wanted.get(stored.key, ()):
                    search.take(stored, events)


async def completed(log: Log, events: EventRegistry, event: Event) -> Event:
    """The event itself; the end of a transaction that its charge point did not report comes with all its readings,
    and no sooner than the last of them: nobody who knew them decided it. What came after it does not belong to it,
    however late this is asked. Raises as `Readings.behind`.
    """
    if not isinstance(event, TransactionSuperseded | TransactionClosed | TransactionStopped):
        return event
    if event.carried is None or (isinstance(event, TransactionStopped) and not event.assumed):
        return event
    search = _search(event.originator_id, event.transaction_id, event.carried)
    await _look(log, events, _place(log, event.originator_id), [search])
    if search.failure is not None:
        raise search.failure
    found = [one for one in search.found if one.reading.timestamp <= event.timestamp + APART]
    samples = dict.fromkeys((*event.samples, *(sample for one in found for sample in one.reading.samples)))
    whole = msgspec.structs.replace(event, samples=tuple(sorted(samples, key=lambda sample: sample.at)))
    if isinstance(whole, TransactionStopped):
        return whole
    last = max([whole.shown_at, *(one.reading.showed_itself_at for one in found)])
    if isinstance(whole, TransactionSuperseded) and whole.began_at is not None:
        last = max(whole.shown_at, min(last, whole.began_at))
    return msgspec.structs.replace(whole, occurred_at=last)


def _search(charge_point: str, transaction_id: int, carried: Carried) -> _Search:
    begin = carried.offset if carried.call is not None else carried.offset + 1
    return _Search(charge_point, transaction_id, carried, begin)


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


def _place(log: Log, charge_point: str) -> TopicPartition:
    return TopicPartition(TOPIC, log.layout.partition_of(charge_point))
