"""A Faust whose start is cancelled leaves none of its clients open."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import aiokafka
import pytest

from projections.store.sqlite import SqliteReadStore
from streams.faust.app import AREAS, FaustProjector
from streams.log.kafka.log import KafkaLog
from streams.log.layout import Layout
from streams.log.topology import FAUST, events_topic, topics
from tests.projections.facts import EVENTS
from tests.servers import Kafka
from tests.streams.faust_worker import VIEWS

TOPICS = tuple(
    spec
    for spec in topics(Layout())
    if spec.name in {events_topic(area) for area in AREAS} or spec.name.startswith(f"{FAUST}-")
)


@pytest.fixture
async def log(own_kafka: Kafka) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(own_kafka.url)
    await log.start()
    await log.ensure(TOPICS)
    yield log
    await log.close()


def left_open() -> list[object]:
    """The consumers and producers that were started and not ended."""
    kinds = (aiokafka.AIOKafkaConsumer, aiokafka.AIOKafkaProducer)
    return [one for one in gc.get_objects() if isinstance(one, kinds) and one._closed is False]


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Faust's own unawaited coroutines
async def test_a_start_that_is_cancelled_leaves_no_client_open(
    own_kafka: Kafka, log: KafkaLog, tmp_path: Path
) -> None:
    before = len(left_open())
    store = SqliteReadStore(tmp_path)
    for number, seconds in enumerate((0.8, 1.2)):
        faust = FaustProjector(own_kafka.url, log, store, EVENTS, VIEWS, f"n{number}")

        async def run(faust: FaustProjector = faust) -> None:
            async with faust.running():
                await asyncio.Event().wait()

        task = asyncio.create_task(run())
        await asyncio.wait([task], timeout=seconds)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()
    await store.close()
    assert len(left_open()) == before
