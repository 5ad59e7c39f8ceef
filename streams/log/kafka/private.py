"""All that is used of aiokafka's private parts, and nowhere else; `tests/test_private_hooks.py` holds it."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import TypeAlias

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import ProducerClosed

from streams.log.kafka.sessions import Session, SessionFetch

LOOK_SECONDS = 2.0

Client: TypeAlias = aiokafka.AIOKafkaConsumer | aiokafka.AIOKafkaProducer | AIOKafkaAdminClient
_Plan: TypeAlias = tuple[list[tuple[int, SessionFetch]], dict[object, object], float, bool, list[object]]


def network(client: Client) -> aiokafka.AIOKafkaClient:
    """The connections of a consumer, a producer or an admin client."""
    return client.client if isinstance(client, aiokafka.AIOKafkaProducer) else client._client


def spare_fetches(consumer: aiokafka.AIOKafkaConsumer, seconds: float) -> None:
    """Let no fetch begin sooner than `seconds` after the one before, and each name only what has changed."""
    rest(consumer)
    fetcher, client = consumer._fetcher, consumer._client
    plan, send = fetcher._get_actions_per_node, client.send
    sessions: defaultdict[int, Session] = defaultdict(Session)
    last = 0.0

    def spaced(assignment: Assignment) -> _Plan:
        nonlocal last
        wait = last + seconds - time.monotonic()
        if wait > 0:
            return [], {}, wait, False, []
        requests, *others = plan(assignment)
        if requests:
            last = time.monotonic()
        return [(node, SessionFetch(whole, sessions[node])) for node, whole in requests], *others

    async def noted(node: int, request: object, **options: object) -> object:
        if not isinstance(request, SessionFetch):
            return await send(node, request, **options)
        try:
            response = await send(node, request, **options)
        except BaseException:
            request.session.begin_anew()
            raise
        request.session.answered(response)
        return response

    fetcher._get_actions_per_node = spaced
    client.send = noted


def rest(consumer: aiokafka.AIOKafkaConsumer) -> None:
    """Let its fetcher look for work once in `LOOK_SECONDS` where nothing wakes it, not five times a second."""
    consumer._fetcher._fetcher_timeout = LOOK_SECONDS


def tasks_behind(consumer: aiokafka.AIOKafkaConsumer) -> Sequence[asyncio.Task[None]]:
    """What a started consumer does in the background; whose end `getmany` does not tell."""
    coordinator = consumer._coordinator
    grouped = hasattr(coordinator, "_coordination_task")
    return (
        consumer._client._sync_task,
        consumer._fetcher._fetch_task,
        coordinator._coordination_task if grouped else coordinator._reset_committed_task,
    )


def close_forgotten(error: BaseException) -> None:
    """A start that is broken off in the middle of a question forgets the connection on which it asked: only the
    frames of its error still know it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        connection = frame.f_locals.get("bootstrap_conn")
        if connection is not None:
            connection.close()


def give_up_messages(producer: aiokafka.AIOKafkaProducer) -> asyncio.Task[None] | None:
    """Count the producer as closed though messages are left in it; returns the task that sends, where started."""
    producer._closed = True
    sender: asyncio.Task[None] | None = producer._sender.sender_task
    return sender


def tell_given_up(producer: aiokafka.AIOKafkaProducer) -> None:
    """Let nobody wait for messages that are left in it, once the task that sends has ended."""
    accumulator = producer._message_accumulator
    accumulator._closed = True
    # What was to be sent again counts as sent until it is done.
    accumulator._pending_batches.update(chain.from_iterable(accumulator._batches.values()))
    for batch in list(accumulator._pending_batches):
        if not batch.future.done():
            batch.future.set_exception(ProducerClosed())
            batch.future.exception()  # for some of them nobody waits any more


async def cut(network: aiokafka.AIOKafkaClient, task: asyncio.Future[None] | None = None) -> None:
    """End the connections at once, and let `task` end, which works with them: no request and no metadata shall be
    waited for any more."""
    for connection in network._conns.values():
        # A close, also one that has begun, waits until the broker has read what was written.
        transport = connection._protocol and connection._protocol._transport
        if transport is not None:
            transport.abort()
    await network.close()
    while task is not None and not task.done():
        # A closed client still promises metadata, to everybody who asks, and never gets any.
        promised = network._md_update_fut
        if promised is not None and not promised.done():
            promised.set_result(False)
        await asyncio.wait([task], timeout=0.02)
    # What the task opened meanwhile.
    await network.close()
