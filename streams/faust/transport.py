"""How Faust reads Kafka here: an event reaches its stream only once its partition was sought, and fetches keep a
distance from one another and name what has changed, as those of `kafka_reading` do.

What enters: Faust's own transport. What leaves: every record from what is committed on, in the same order, at less
cost under load. What it never does: commit, or share partitions out. All that is used of Faust's private parts stands
here; `tests/test_private_hooks.py` holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from mode.utils.queues import ThrowableQueue

from streams.log.kafka.private import spare_fetches

GATHER_SECONDS = 0.025
"""Between the beginnings of two fetches: each costs as much for one record as for many."""


class _Thread(AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust has no types
    async def on_start(self) -> None:
        await super().on_start()
        spare_fetches(self._ensure_consumer(), GATHER_SECONDS)


class _Consumer(Consumer):  # type: ignore[misc]
    """After its recovery Faust resumes the partitions of events, then seeks them one after the other to what is
    committed, and then empties the queues of its streams. What it reads meanwhile of a partition that was sought is
    thrown away, and the position is behind it: nobody handles it, and it may be committed as handled. Here they are
    held until all that is done.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._held: set[TP] = set()
        self._position = asyncio.Lock()
        """Of whoever moves the positions: a fetch, or a seek."""
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        events = {tp for tp in tps if not self._is_changelog_tp(tp)}
        self._held |= events
        super().resume_partitions(set(tps) - events)

    def resume_flow(self) -> None:
        super().resume_flow()
        super().resume_partitions(self._held)
        self._held.clear()

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Nothing is held any more: who pauses seeks before he resumes."""
        self._held.clear()
        super().pause_partitions(tps)
        # Faust reads one whose queue was full all the same, and resumes it when the queue is empty.
        self._buffered_partitions.difference_update(tps)

    async def perform_seek(self) -> None:
        """Also to its beginning a partition of which nothing is committed: Faust leaves it wherever it stands."""
        async with self._position:
            await super().perform_seek()
            uncommitted = [
                TopicPartition(*tp)
                for tp in self.assignment()
                if not self._is_changelog_tp(tp) and not self._read_offset[tp]
            ]
            if uncommitted:
                await self._thread.seek_to_beginning(*uncommitted)

    async def _getmany(self, active_partitions: Iterable[TP], timeout: float) -> Mapping[TP, list[Any]]:
        """Of what was active when it began: Faust's own set may become empty meanwhile, which means all."""
        async with self._position:
            active = frozenset(active_partitions)
            return await self._thread.getmany(active, timeout) if active else {}


class SparingTransport(Transport):  # type: ignore[misc]
    """To be set as the application's transport before its first agent."""

    Consumer = _Consumer


def has_failed(queue: ThrowableQueue) -> bool:
    """Whether an error waits in a stream's queue, for the stream to raise."""
    return bool(queue._errors)
