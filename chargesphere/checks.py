"""`chargesphere check`: what the settings name enters, a line for each neighbour and each damage leaves."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import redis.asyncio
from redis.exceptions import RedisError

from chargesphere import registry
from chargesphere.errors import CannotBeginError
from chargesphere.settings import read_settings
from commands.base import Area
from gateway.mqtt.connection import BrokerConnection as MqttConnection
from projections.store import StoreError
from projections.store.mongo import MongoReadStore
from projections.store.sqlite import SqliteReadStore
from streams.following.replay import places
from streams.log import Log, LogError, TopicPartition
from streams.log.founding import join
from streams.log.kafka.log import KafkaLog
from streams.log.sqlite.beside import SqliteLogBeside
from streams.log.topology import topics
from streams.log.verify import damages

MOST_LINES = 100
"""How many damages of the log are named."""


async def check(options: argparse.Namespace) -> int:
    """Try the settings and what they name, one line each, and read the log through; nothing is made or changed."""
    settings = read_settings()
    trials: dict[str, Callable[[], Awaitable[str]]] = {}
    if settings.kafka_bootstrap:
        trials[f"Kafka at {settings.kafka_bootstrap}"] = lambda: _try_kafka(str(settings.kafka_bootstrap))
    else:
        trials[f"the embedded log in {options.data}"] = lambda: _try_embedded(options.data)
    if settings.mongo_url:
        trials["MongoDB"] = lambda: _try_mongo(str(settings.mongo_url))
    if settings.redis_url:
        trials["Redis"] = lambda: _try_redis(str(settings.redis_url))
    if settings.mqtt_url:
        trials["MQTT"] = lambda: _try_mqtt(str(settings.mqtt_url))
    wrong = 0
    for name, trial in trials.items():
        try:
            print(f"ok    {name}: {await trial()}")
        except (LogError, StoreError, OSError, RedisError, TimeoutError, CannotBeginError) as error:
            wrong += 1
            print(f"wrong {name}: {str(error) or type(error).__name__}")
    return 1 if wrong else 0


async def _try_kafka(bootstrap: str) -> str:
    log = KafkaLog(bootstrap)
    try:
        await log.start()
        await join(log, read_settings().partitions)
        specs = topics(log.layout)
        await log.ends([TopicPartition(spec.name, spec.partitions - 1) for spec in specs])
        await _read_through(log, dense=False)
    finally:
        await log.close()
    return f"{len(specs)} topics, read through"


async def _try_embedded(data: Path) -> str:
    if not (data / "log.db").exists():
        return "not there yet, `serve` makes it"
    log = SqliteLogBeside(data / "log.db")
    try:
        await log.start()
        await join(log, read_settings().partitions)
        ends = await log.ends(places(log, Area))
        await log.inspect()
        store = await _damages_of_read_models(data / "read") if (data / "read").is_dir() else []
        await _read_through(log, dense=True, beside=store)
    finally:
        await log.close()
    return f"{sum(ends.values())} records of decisions, read through"


async def _damages_of_read_models(folder: Path) -> list[str]:
    store = SqliteReadStore(folder)
    try:
        return await store.damages()
    finally:
        await store.close()


async def _read_through(log: Log, *, dense: bool, beside: Sequence[str] = ()) -> None:
    """One line for each damage, those found beside the log first; raises LogError with how many there are."""
    count = len(beside)
    for line in beside[:MOST_LINES]:
        print(f"wrong {line}")
    async with contextlib.aclosing(damages(log, registry.EVENTS, dense=dense)) as found:
        async for line in found:
            count += 1
            if count <= MOST_LINES:
                print(f"wrong {line}")
    if count:
        raise LogError(f"{count} damages" + (f", the first {MOST_LINES} above" if count > MOST_LINES else ""))


async def _try_mongo(url: str) -> str:
    store = MongoReadStore(url)
    try:
        return f"{len(await store.databases())} databases"
    finally:
        await store.close()


async def _try_redis(url: str) -> str:
    client = redis.asyncio.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    try:
        await client.ping()
    finally:
        await client.aclose()
    return "answers"


async def _try_mqtt(url: str) -> str:
    connection = MqttConnection(url)
    running = asyncio.create_task(connection.run())
    try:
        async with asyncio.timeout(5):
            await connection.connected.wait()
    except TimeoutError:
        raise CannotBeginError(
            f"{connection.address} cannot be reached, or refuses user and password"
        ) from None
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    return "answers"
