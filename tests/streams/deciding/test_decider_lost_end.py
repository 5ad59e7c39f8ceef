"""A decider whose commands topic loses its end under it, on the simulated log: what stands there is decided."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random

from commands.base import Meta
from streams.log import Position, Record, TopicPartition
from streams.log.layout import Layout
from streams.log.topology import commands_topic, events_topic
from tests.simulation.broker import Broker
from tests.simulation.log import SimLog
from tests.simulation.loop import SimLoop
from tests.simulation.network import Network
from tests.streams.counter import Add
from tests.streams.harness import AREA_TOPICS, CHARGE_POINT, FlakyLog, Node, decisions, now, until

NUMBER = Layout().partition_of("counter|a")
COMMANDS = TopicPartition(commands_topic(CHARGE_POINT), NUMBER)
EVENTS = TopicPartition(events_topic(CHARGE_POINT), NUMBER)


class SlowLog(FlakyLog):
    """Its appends of decisions wait until `open`."""

    def __init__(self, log: SimLog) -> None:
        super().__init__(log, EVENTS.topic)
        self.open = asyncio.Event()
        self.open.set()

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        if topic == EVENTS.topic and any(b'"claim"' not in (one.value or b"") for one in records):
            await self.open.wait()
        return await super().append(topic, partition, records)


class Machine:
    """One broker with one decider that has decided on command `0`."""

    def __init__(self, broker: Broker, log: SlowLog) -> None:
        self.broker = broker
        self.log = log

    @contextlib.asynccontextmanager
    async def decider(self) -> AsyncIterator[Node]:
        async with Node(self.log, batch=1) as self.node:
            yield self.node

    async def ready(self) -> None:
        """Until the decider has claimed its partition."""
        lanes = self.node.decider._lanes
        await until(lambda: COMMANDS in lanes and lanes[COMMANDS].partition is not None)

    async def tell(self, *ids: str) -> None:
        for id in ids:
            await self.node.bus.tell(Add(counter="a", amount=1), Meta(command_id=id, at=now(), tenant="t"))

    async def given(self, waiting: int, of: int) -> None:
        """Until the decider was given `of` commands and so many of them wait."""

        def is_so() -> bool:
            lane = self.node.decider._lanes.get(COMMANDS)
            return lane is not None and (len(lane.backlog), lane.backlog._offered) == (waiting, of)

        await until(is_so)

    def lose_the_last(self) -> None:
        """The power goes, and with it the newest command."""
        partition = self.broker.partitions[COMMANDS]
        partition.flushed = partition.end - 1
        assert self.broker.cut_tail([COMMANDS]) == 1

    async def seen(self) -> None:
        """Until the decider knows that there is less than it was given."""
        await until(lambda: self.node.decider._lanes[COMMANDS].backlog.went_back)

    async def decided(self, *ids: str) -> None:
        async def are_all() -> bool:
            return [decision.meta.command_id for decision in await decisions(self.log, "counter|a")] == [*ids]

        await until(are_all, 60)

    async def position(self, offset: int) -> None:
        async def is_there() -> bool:
            position = (await self.log.committed("decider", [COMMANDS])).get(COMMANDS)
            return position is not None and position.offset == offset

        await until(is_there, 60)


def run(course: Callable[[Machine], Awaitable[None]]) -> None:
    loop: SimLoop = SimLoop(Random(1))  # type: ignore[abstract]

    async def whole() -> None:
        broker = Broker(Network(loop))
        broker.begin()
        machine = Machine(broker, SlowLog(SimLog(broker, loop.world)))
        await machine.log.start()
        await machine.log.ensure(AREA_TOPICS)
        async with machine.decider() as node:
            await node.ask(Add(counter="a", amount=1), "0")
            await machine.position(1)
        await course(machine)
        await machine.log.close()

    loop.run_until_complete(whole())
    assert not loop.exceptions


def test_what_waited_behind_a_slow_decision_and_still_stands_is_decided() -> None:
    async def course(machine: Machine) -> None:
        async with machine.decider():
            await machine.ready()
            machine.log.open.clear()
            await machine.tell("1", "2", "3")
            await machine.given(2, of=4)
            machine.lose_the_last()
            await machine.seen()
            machine.log.open.set()
            await machine.decided("0", "1", "2")
            await machine.tell("4")
            await machine.decided("0", "1", "2", "4")

    run(course)


def test_what_is_written_where_a_command_was_lost_is_decided_in_its_place() -> None:
    """Its decision was under way when it was lost, and was not taken by the log."""

    async def course(machine: Machine) -> None:
        async with machine.decider():
            await machine.ready()
            machine.log.open.clear()
            machine.log.before.add(1)
            await machine.tell("1")
            await machine.given(0, of=2)
            machine.lose_the_last()
            await machine.seen()
            await machine.tell("2")
            await machine.given(1, of=2)
            machine.log.open.set()
            await machine.decided("0", "2")

    run(course)


def test_a_loss_while_the_partition_is_claimed_leaves_no_position_behind_what_was_decided() -> None:
    async def course(machine: Machine) -> None:
        async with machine.decider():
            await machine.ready()
            await machine.tell("1")
            await until(lambda: machine.broker.partitions[EVENTS].end == 4)
        # It was killed before its position got there.
        machine.broker.group("decider").positions[COMMANDS] = Position(1)
        machine.log.hearing.clear()
        async with machine.decider():
            await machine.tell("2")
            await machine.given(2, of=3)
            machine.lose_the_last()
            await machine.seen()
            machine.log.hearing.set()
            await machine.position(2)

    run(course)
