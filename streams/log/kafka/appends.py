"""Appending to Kafka: for each partition all that waits becomes one record batch, one batch at a time, and those of
all partitions go in one request.

What enters: records by partition, some of them in haste. What leaves: offsets that all in-sync replicas acknowledged,
or LogUnavailableError within the log's timeout, whose outcome is unknown. What it never does: append again for a
caller who was told so.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import aiokafka

from streams.log import MAX_APPEND_BYTES, LogUnavailableError, Record, TopicPartition, append_size
from streams.log.departures import Departures
from streams.log.kafka.clients import describe
from streams.log.kafka.private import Client


@dataclass(slots=True)
class _Append:
    records: Sequence[Record]
    size: int
    timestamp: int
    done: asyncio.Future[Sequence[int]]


class Broker(Protocol):
    """What appending needs of the log."""

    bootstrap: str
    timeout: float

    async def new_producer(self) -> aiokafka.AIOKafkaProducer:
        """Started; raises LogUnavailableError when the broker was away for the whole of `timeout`."""

    def end(self, client: Client, *, abandon: bool = False) -> asyncio.Task[None]: ...


class Appender:
    """An idempotent producer of aiokafka retries a batch for ever, and is dead for ever after some errors. So it is
    thrown away after any failure or timeout, with all that it still holds, and the next append starts a new one.
    """

    def __init__(self, log: Broker) -> None:
        self._log = log
        self._waiting: defaultdict[TopicPartition, deque[_Append]] = defaultdict(deque)
        self._departures = Departures(self._depart)
        self._pumps: dict[TopicPartition, asyncio.Task[None]] = {}
        self._starting: asyncio.Task[aiokafka.AIOKafkaProducer] | None = None
        self._producer: aiokafka.AIOKafkaProducer | None = None

    async def append(
        self, place: TopicPartition, records: Sequence[Record], *, patiently: bool = False
    ) -> Sequence[int]:
        size = append_size(records)
        loop = asyncio.get_running_loop()
        item = _Append(records, size, time.time_ns() // 1_000_000, loop.create_future())
        self._waiting[place].append(item)
        if patiently:
            self._departures.patiently()
        else:
            self._departures.soon()
        return await item.done

    def _depart(self) -> None:
        for place in self._waiting.keys() - self._pumps.keys():
            self._pumps[place] = asyncio.create_task(self._pump(place), name=f"kafka-append-{place.topic}")

    async def close(self) -> None:
        self._departures.now()
        if self._pumps:
            await asyncio.wait(list(self._pumps.values()))
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if self._producer is not None:
            await asyncio.wait([self._log.end(self._producer)])

    async def _pump(self, place: TopicPartition) -> None:
        waiting = self._waiting[place]
        try:
            while waiting:
                batch: list[_Append] = []
                size = 0
                while waiting and size + waiting[0].size <= MAX_APPEND_BYTES:
                    item = waiting.popleft()
                    if not item.done.done():  # its caller may have gone
                        batch.append(item)
                        size += item.size
                if not batch:
                    continue
                try:
                    offset = await self._send(place, batch)
                except BaseException as error:
                    # Who waits behind would only wait as long again.
                    waiting.extendleft(reversed(batch))
                    if not isinstance(error, Exception):
                        raise
                    _fail(waiting, error)
                else:
                    for item in batch:
                        if not item.done.done():
                            item.done.set_result(range(offset, offset + len(item.records)))
                        offset += len(item.records)
        finally:
            _fail(
                waiting, LogUnavailableError(f"an append to {place.topic}/{place.partition} was broken off")
            )
            del self._pumps[place], self._waiting[place]

    async def _send(self, place: TopicPartition, batch: Sequence[_Append]) -> int:
        producer = self._producer or await self._start()
        why = ""
        try:
            async with asyncio.timeout(self._log.timeout):
                builder = producer.create_batch()
                for item in batch:
                    for record in item.records:
                        taken = builder.append(
                            timestamp=item.timestamp,
                            key=record.key,
                            value=record.value,
                            headers=list(record.headers),
                        )
                        assert taken is not None, "max_batch_size has room for MAX_APPEND_BYTES"
                sent = await producer.send_batch(builder, place.topic, partition=place.partition)
                offset: int = (await sent).offset
                if offset >= 0:
                    return offset
                why = ": the broker has the records but not their offsets"
        except TimeoutError:
            pass
        except Exception as error:
            why = f": {describe(error)}"
        except asyncio.CancelledError:
            self._discard(producer)
            raise
        self._discard(producer)
        raise LogUnavailableError(
            f"Kafka at {self._log.bootstrap} did not acknowledge an append to {place.topic}/{place.partition} "
            f"within {self._log.timeout:g} s{why}"
        )

    async def _start(self) -> aiokafka.AIOKafkaProducer:
        """One attempt for all who wait."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._log.new_producer())
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    def _started(self, task: asyncio.Task[aiokafka.AIOKafkaProducer]) -> None:
        self._starting = None
        if not task.cancelled() and task.exception() is None:
            self._producer = task.result()

    def _discard(self, producer: aiokafka.AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
            self._log.end(producer, abandon=True)


def _fail(waiting: deque[_Append], error: Exception) -> None:
    for item in waiting:
        if not item.done.done():
            item.done.set_exception(error)
    waiting.clear()
