"""Ending aiokafka's clients, also when the broker is away: their own `stop` may wait for the broker without bound."""

from __future__ import annotations

import asyncio

import aiokafka

STOP_SECONDS = 3.0


def describe(error: BaseException | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__


async def stop_consumer(consumer: aiokafka.AIOKafkaConsumer) -> None:
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stopping], timeout=STOP_SECONDS)
    await _break(consumer._client, stopping)
    stopping.exception()


async def stop_producer(producer: aiokafka.AIOKafkaProducer) -> None:
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait([stopping], timeout=STOP_SECONDS)
    if not stopping.done():
        await abandon_producer(producer)
    await asyncio.wait([stopping])
    stopping.exception()


async def abandon_producer(producer: aiokafka.AIOKafkaProducer) -> None:
    """Close without delivering what is still in it."""
    producer._closed = True
    sender = producer._sender.sender_task
    sender.cancel()
    await _break(producer.client, sender)
    if not sender.cancelled():
        sender.exception()


async def _break(client: aiokafka.AIOKafkaClient, task: asyncio.Future[None]) -> None:
    """Let `task` end, which works with `client`: no request and no metadata shall be waited for any more."""
    await client.close()
    while not task.done():
        # A closed client still promises metadata, to everybody who asks, and never gets any.
        promised = client._md_update_fut
        if promised is not None and not promised.done():
            promised.set_result(False)
        await asyncio.wait([task], timeout=0.02)
