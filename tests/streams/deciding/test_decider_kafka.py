"""The decider on a real Kafka: the same promises, with rebalances, a stopped process and a broker that is killed."""

from __future__ import annotations

import asyncio
import itertools
import signal
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from streams.deciding.bus import CommandBus
from streams.deciding.channel import LogChannel
from streams.log.envelope import Reply
from streams.log.kafka.log import KafkaLog
from streams.log.layout import Layout
from tests.servers import Kafka
from tests.servers.plugin import _own
from tests.streams.counter import Add
from tests.streams.harness import AREA_TOPICS, Node, agree, decisions, insist, result, totals, until, worker
from tests.streams.worker import SESSION_TIMEOUT

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(pytestconfig: pytest.Config) -> Iterator[Kafka]:
    """One for all tests here, as its topics take seconds to make; keys are each test's own."""
    with _own(pytestconfig, "kafka") as server:
        assert isinstance(server, Kafka)
        yield server


@pytest.fixture
async def log(broker: Kafka) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(broker.url, session_timeout=SESSION_TIMEOUT)
    await log.start()
    await log.ensure(AREA_TOPICS)
    yield log
    await log.close()


class Edge:
    """Callers of their own node, each of whom asks for one addition after the other."""

    def __init__(self, log: KafkaLog, counters: int = 12) -> None:
        self.log = log
        mark = uuid.uuid4().hex[:8]
        self.names = [f"{mark}-{i}" for i in range(counters)]
        self.channel = LogChannel(f"edge-{mark}", log)
        self.bus = CommandBus(log, self.channel, patience=1.0)
        self.replies: dict[str, Reply] = {}
        self._going = True
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Edge:
        self._receiving = asyncio.create_task(self.channel.run())
        await self.channel.ready.wait()
        return self

    def begin(self, padding: int = 0) -> None:
        self._tasks = [asyncio.create_task(self._ask_on(name, padding)) for name in self.names]

    async def more(self, count: int) -> None:
        """Wait for so many more replies."""
        goal = len(self.replies) + count
        await until(lambda: len(self.replies) >= goal, 60)

    async def __aexit__(self, *_: object) -> None:
        self._receiving.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._receiving, *self._tasks, return_exceptions=True)

    async def done(self) -> None:
        self._going = False
        await asyncio.gather(*self._tasks)

    async def holds(self) -> None:
        """Every reply equals the decision in the log, and each command was decided once."""
        keys = [f"counter|{name}" for name in self.names]
        valid = [d for d in await decisions(self.log, *keys) if d.reply.aggregate in keys]
        agree(valid, self.replies)
        assert totals(valid) == {
            f"counter|{n}": sum(id.startswith(f"{n}-") for id in self.replies) for n in self.names
        }

    async def _ask_on(self, name: str, padding: int) -> None:
        for number in itertools.count():
            if not self._going:
                return
            id = f"{name}-{number}"
            command = Add(counter=name, amount=1, padding=padding)
            self.replies[id] = await insist(self.bus, command, id)


def decider(log: KafkaLog, name: str) -> Node:
    return Node(log, name, channel=LogChannel(name, log), checkpoint_every=0.2)


async def test_commands_are_decided_and_repeats_recognised_after_a_restart(log: KafkaLog) -> None:
    async with Edge(log, 1) as edge:
        async with decider(log, "one"):
            first = await insist(edge.bus, Add(counter=edge.names[0], amount=3), edge.names[0])
        async with decider(log, "one"):
            again = await insist(edge.bus, Add(counter=edge.names[0], amount=3), edge.names[0])

    assert again == first
    assert result(first) == 3


async def test_decisions_larger_than_16_kb_stay_whole(log: KafkaLog) -> None:
    async with Edge(log, 20) as edge, decider(log, "one"):
        edge.begin(padding=100_000)
        await edge.more(40)
        await edge.done()
        await edge.holds()


@pytest.mark.long(10)
@pytest.mark.kill
async def test_two_deciders_share_the_partitions_and_hand_them_over_under_traffic(log: KafkaLog) -> None:
    async with Edge(log) as edge, decider(log, "one") as first:
        edge.begin()
        await edge.more(50)
        async with decider(log, "two") as second:
            await until(lambda: first.decider.held == second.decider.held == Layout().partitions // 2, 30)
            await edge.more(100)
        await until(lambda: first.decider.held == Layout().partitions, 30)
        await edge.more(100)
        await edge.done()
        await edge.holds()


@pytest.mark.kill
async def test_a_decider_stopped_past_its_session_and_continued_contradicts_nothing(
    log: KafkaLog, broker: Kafka
) -> None:
    async with Edge(log) as edge, decider(log, "one") as other:
        with worker(f"kafka:{broker.url}", "stopped") as process:
            await until(lambda: other.decider.held == Layout().partitions // 2, 40)
            edge.begin()
            await edge.more(100)
            process.send_signal(signal.SIGSTOP)
            await until(lambda: other.decider.held == Layout().partitions, 40)
            await edge.more(100)
            process.send_signal(signal.SIGCONT)
            await until(lambda: other.decider.held == Layout().partitions // 2, 40)
            await edge.more(100)
            await edge.done()
        await edge.holds()


@pytest.mark.kill
async def test_a_decider_killed_under_traffic_loses_nothing(log: KafkaLog, broker: Kafka) -> None:
    async with Edge(log) as edge:
        edge.begin()
        for _ in range(3):
            with worker(f"kafka:{broker.url}", "killed"):
                await edge.more(100)
        async with decider(log, "killed"):
            await edge.done()
        await edge.holds()


@pytest.mark.long(10)
@pytest.mark.kill
async def test_a_broker_killed_and_started_again_costs_time_only(log: KafkaLog, broker: Kafka) -> None:
    async with Edge(log) as edge, decider(log, "one"):
        edge.begin()
        await edge.more(100)
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await edge.more(100)
        await edge.done()
        await edge.holds()
