"""The fan-out on a real Kafka: what one process told is gone on with by another one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from application.live.events import Wanted
from application.live.fanout import Fanout
from application.live.subscription import Bounds
from streams.log import Record
from streams.log.kafka.log import KafkaLog
from streams.log.layout import Layout
from streams.log.topology import PUBLIC, topics
from tests.application.live.public_log import Listener, headers
from tests.servers import Kafka

STARTED = "chargesphere.session.started.v1"


async def test_who_is_cut_off_hears_the_rest_from_another_process(
    kafka: Kafka, unique: Callable[[str], str]
) -> None:
    logs = [KafkaLog(kafka.url), KafkaLog(kafka.url)]
    tenant, other = unique("demo"), unique("acme")
    wanted = Wanted(tenant)

    async def tell(whose: str, count: int) -> list[str]:
        """Spread over the partitions."""
        ids = [
            f"{whose}|{topic}|{number}|{count}" for topic in ("sessions", "cdrs") for number in range(count)
        ]
        for number, id in enumerate(ids):
            record = Record(id.encode(), b"{}", headers(id, STARTED, whose))
            await logs[0].append(PUBLIC[id.split("|")[-3]], number % 24, [record])
        return ids

    async with contextlib.AsyncExitStack() as stack:
        for log in logs:
            await log.start()
            stack.push_async_callback(log.close)
        await logs[0].ensure([spec for spec in topics(Layout()) if spec.name in PUBLIC.values()])
        fanouts = [Fanout(log, Bounds(kept=1)) for log in logs]
        for fanout in fanouts:
            stack.push_async_callback(fanout.close)
        async with asyncio.timeout(60):
            first = await Listener(fanouts[0], wanted).begin()
            before = await tell(tenant, 3)
            await tell(other, 2)
            await first.hear(*before)
            first.subscription.close()
            missed = await tell(tenant, 4)
            back = await Listener(fanouts[1], wanted).begin(first.last)
            await back.hear(*missed)
            now = await tell(tenant, 1)
            await back.hear(*now)

    assert sorted(first.ids) == sorted(before)
    assert sorted(back.ids) == sorted([*missed, *now])
