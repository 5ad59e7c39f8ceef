"""How Faust reads Kafka here: fetches keep a distance from one another, and a message needs no tasks of its own.

What enters: Faust's own transport. What leaves: the same records in the same order, at less cost under load. What it
never does: change what Faust commits, or what it does when partitions move.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode.services import Service, WaitResults

from streams.kafka_reading import _keep_distance

GATHER_SECONDS = 0.05
"""Between the beginnings of two fetches: each names every partition, and costs as much for one record as for many."""


class HandingOver(Service):  # type: ignore[misc]  # Faust has no types
    """Faust hands over each message as one of two coroutines, the other of which ends when partitions move.

    It makes four tasks of that. A message that nothing holds up is handed over here and now.
    """

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:
        if len(coros) != 2:
            return await super().wait_first(*coros, timeout=timeout)
        delivery, moved = coros
        try:
            held_up_by = delivery.send(None)
        except StopIteration:
            moved.close()
            return WaitResults([delivery], [None], False)
        except BaseException:
            moved.close()
            raise
        return await super().wait_first(_rest(delivery, held_up_by), moved, timeout=timeout)


class _Thread(AIOKafkaConsumerThread):  # type: ignore[misc]
    async def on_start(self) -> None:
        await super().on_start()
        _keep_distance(self._ensure_consumer(), GATHER_SECONDS)


class _Consumer(HandingOver, Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class SparingTransport(Transport):  # type: ignore[misc]
    """To be set as the application's transport before its first agent."""

    Consumer = _Consumer


async def _rest(begun: Coroutine[object, object, None], held_up_by: object) -> None:
    """What a coroutine still has to do that has begun already and waits."""
    await _resumed(begun, held_up_by)


@types.coroutine
def _resumed(begun: Coroutine[object, object, None], held_up_by: object) -> Generator[object, object, None]:
    while True:
        try:
            try:
                sent = yield held_up_by
            except BaseException as error:
                held_up_by = begun.throw(error)
            else:
                held_up_by = begun.send(sent)
        except StopIteration:
            return
