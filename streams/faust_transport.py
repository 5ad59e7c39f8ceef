"""How Faust reads Kafka here: its fetches keep a distance from one another, as those of `kafka_reading` do.

What enters: Faust's own transport. What leaves: the same records in the same order, at less cost under load. What it
never does: change what Faust commits, or what it does when partitions move. All that is used of Faust's private parts
stands here; `tests/test_private_hooks.py` holds it.
"""

from __future__ import annotations

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode.utils.queues import ThrowableQueue

from streams.kafka_private import keep_distance

GATHER_SECONDS = 0.05
"""Between the beginnings of two fetches: each names every partition, and costs as much for one record as for many."""


class _Thread(AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust has no types
    async def on_start(self) -> None:
        await super().on_start()
        keep_distance(self._ensure_consumer(), GATHER_SECONDS)


class _Consumer(Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class SparingTransport(Transport):  # type: ignore[misc]
    """To be set as the application's transport before its first agent."""

    Consumer = _Consumer


def has_failed(queue: ThrowableQueue) -> bool:
    """Whether an error waits in a stream's queue, for the stream to raise."""
    return bool(queue._errors)
