"""The clients of aiokafka of one log, from their making to their end.

What enters: who asks for a client. What leaves: a client that is started, which whoever asked must `end`; or none,
and then nothing is left of it, also where the caller was cancelled in the middle of a start. What it never does: wait
for a broker without bound, as aiokafka's own `stop` may.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TypeVar

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient

from streams.log import MAX_APPEND_BYTES, LogUnavailableError
from streams.log.kafka.private import Client, close_forgotten, cut, give_up_messages, network, tell_given_up

logger = logging.getLogger(__name__)

STOP_SECONDS = 3.0
FETCH_WAIT_SHARE = 0.25
"""Of the log's timeout: how long the broker holds a fetch for which it has nothing."""

C = TypeVar("C", bound=Client)


def describe(error: BaseException | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def end_of(task: asyncio.Task[None]) -> BaseException:
    """What ended a task that was to go on for ever."""
    error = None if task.cancelled() else task.exception()
    return error or RuntimeError("it was broken off")


class Chores:
    """Work that goes on to its end whoever is cancelled meanwhile. What it raises is logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def surely(self, work: Coroutine[object, object, None]) -> None:
        """Wait for its end, or be cancelled and let it go on."""
        await asyncio.shield(self.begin(work))

    async def finish(self) -> None:
        """Wait for all of it, except for who asks."""
        while others := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(others)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a client of Kafka did not end well", exc_info=error)


class Clients:
    """Makes, starts and ends them. `alive` counts those that have not ended."""

    def __init__(self, bootstrap: str, timeout: float, chores: Chores) -> None:
        self._bootstrap = bootstrap
        self._timeout = timeout
        self._chores = chores
        self._alive: dict[Client, asyncio.Task[None]] = {}
        """Each with its start."""
        self._ending: dict[Client, asyncio.Task[None]] = {}
        self._open = True

    @property
    def alive(self) -> int:
        return len(self._alive)

    async def consumer(self, **settings: object) -> aiokafka.AIOKafkaConsumer:
        self._check()
        return await self._started(
            aiokafka.AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                enable_auto_commit=False,
                fetch_min_bytes=1,
                fetch_max_wait_ms=int(self._timeout * 1000 * FETCH_WAIT_SHARE),
                max_partition_fetch_bytes=2 * 1024 * 1024,
                consumer_timeout_ms=1000,
                **{
                    "auto_offset_reset": "earliest",
                    "request_timeout_ms": int(self._timeout * 1000),
                    **settings,
                },
            )
        )

    async def producer(self) -> aiokafka.AIOKafkaProducer:
        self._check()
        return await self._started(
            aiokafka.AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                acks="all",
                enable_idempotence=True,
                linger_ms=0,
                max_batch_size=2 * MAX_APPEND_BYTES,
                request_timeout_ms=int(self._timeout * 1000),
                retry_backoff_ms=20,
            )
        )

    async def admin(self) -> AIOKafkaAdminClient:
        self._check()
        return await self._started(
            AIOKafkaAdminClient(
                bootstrap_servers=self._bootstrap, request_timeout_ms=int(self._timeout * 1000)
            )
        )

    def end(self, client: Client, *, abandon: bool = False) -> asyncio.Task[None]:
        """Begin its end, which nobody need wait for. `abandon`: without delivering what is still in a producer."""
        if client not in self._ending:
            self._ending[client] = self._chores.begin(self._end(client, abandon))
        return self._ending[client]

    async def close(self) -> None:
        """End all of them; nobody gets another one."""
        self._open = False
        if self._alive:
            await asyncio.wait([self.end(client) for client in self._alive])

    def _check(self) -> None:
        if not self._open:
            raise LogUnavailableError(f"the log on Kafka at {self._bootstrap} is closed")

    async def _started(self, client: C) -> C:
        # In a task of its own: a start that meets a cancellation may lose it, and come to its end all the same.
        starting = self._alive[client] = asyncio.create_task(_start(client))
        try:
            await asyncio.wait([starting])
            self._check()
            starting.result()
        except BaseException:
            self.end(client, abandon=True)
            raise
        return client

    async def _end(self, client: Client, abandon: bool) -> None:
        try:
            starting = self._alive[client]
            starting.cancel()
            await asyncio.wait([starting])
            if not starting.cancelled():
                starting.exception()
            if abandon and isinstance(client, aiokafka.AIOKafkaProducer):
                await _abandon(client)
            else:
                await _stop(client)
        finally:
            del self._alive[client], self._ending[client]


async def _start(client: Client) -> None:
    try:
        await client.start()
    except BaseException as error:
        close_forgotten(error)
        raise


async def _stop(client: Client) -> None:
    """As aiokafka stops it, within `STOP_SECONDS`."""
    stop = client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop()
    stopping = asyncio.ensure_future(stop)
    await asyncio.wait([stopping], timeout=STOP_SECONDS)
    if not isinstance(client, aiokafka.AIOKafkaProducer):
        await cut(network(client), stopping)
    elif not stopping.done():
        await _abandon(client)
        await asyncio.wait([stopping])
    if not stopping.cancelled() and (error := stopping.exception()) is not None:
        logger.debug("a client of Kafka was stopped with: %s", describe(error))


async def _abandon(producer: aiokafka.AIOKafkaProducer) -> None:
    sender = give_up_messages(producer)
    if sender is not None:
        sender.cancel()
    await cut(network(producer), sender)
    tell_given_up(producer)
    if sender is not None and not sender.cancelled():
        sender.exception()
