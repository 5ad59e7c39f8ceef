"""What the decider's tests share on both logs: nodes, ways to read the log, a log that fails on demand."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from commands.base import Area, Command, Meta
from streams.deciding.bus import CommandBus
from streams.deciding.channel import Channel, LocalChannel
from streams.deciding.decider import Decider
from streams.deciding.feed import Feed
from streams.log import (
    Listener,
    Log,
    LogUnavailableError,
    Member,
    Position,
    Reader,
    Record,
    Stored,
    TopicPartition,
    TopicSpec,
)
from streams.log.envelope import Claim, Decision, Fence, Reply, decode_entry, decode_events
from streams.log.layout import Layout
from streams.log.topology import events_topic, topics
from tests.streams.counter import EVENTS, RULES, Added

CHARGE_POINT = Area.CHARGE_POINT
AREA_TOPICS = tuple(
    spec
    for spec in topics(Layout())
    if spec.name.endswith(f".{CHARGE_POINT.value}")
    or spec.name in ("chargesphere.replies", "chargesphere.downlinks")
)


def now() -> datetime:
    return datetime.now(UTC)


class Node:
    """A decider with the bus of an edge, all in this process."""

    def __init__(
        self,
        log: Log,
        name: str = "one",
        *,
        channel: Channel | None = None,
        checkpoint_every: float = 30.0,
        hot: int = 2_000,
        batch: int = 500,
        patience: float = 5.0,
        feed: Feed | None = None,
    ) -> None:
        self.log = log
        self.channel = channel or LocalChannel(name)
        self.bus = CommandBus(log, self.channel, patience=patience)
        self.decider = Decider(
            log,
            RULES,
            self.channel,
            name,
            now,
            areas=[CHARGE_POINT],
            batch=batch,
            checkpoint_every=checkpoint_every,
            commit_every=0.05,
            hot=hot,
            feed=feed,
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Node:
        self._task = asyncio.create_task(self.decider.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def ask(self, command: Command, id: str) -> Reply:
        return await self.bus.ask(command, Meta(command_id=id, at=now(), tenant="t"))


@contextlib.contextmanager
def worker(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`tests.streams.worker` with these arguments, killed at the end."""
    process = subprocess.Popen([sys.executable, "-m", "tests.streams.worker", *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def insist(bus: CommandBus, command: Command, id: str, within: float = 60.0) -> Reply:
    """As an edge whose caller comes again with the same id until there is a reply."""
    async with asyncio.timeout(within):
        while True:
            try:
                return await bus.ask(command, Meta(command_id=id, at=now(), tenant="t"))
            except LogUnavailableError:
                await asyncio.sleep(0.05)


def place_of(key: str) -> TopicPartition:
    return TopicPartition(events_topic(CHARGE_POINT), Layout().partition_of(key))


async def records(log: Log, place: TopicPartition) -> list[Stored]:
    """Everything that a partition holds now."""
    end = (await log.ends([place]))[place]
    at = (await log.beginnings([place]))[place]
    found: list[Stored] = []
    if at >= end:
        return found
    reader = log.reader()
    await reader.assign({place: at})
    async with asyncio.timeout(30):
        while not found or found[-1].offset < end - 1:
            found.extend((await reader.poll(1.0)).get(place, ()))
    await reader.close()
    return found


async def decisions(log: Log, *keys: str) -> list[Decision]:
    """The valid decisions in the partitions of these aggregates."""
    found: list[Decision] = []
    for place in sorted({place_of(key) for key in keys}):
        fence = Fence()
        found.extend(d for stored in await records(log, place) if (d := fence.admit(stored)) is not None)
    return found


async def claims(log: Log, key: str) -> int:
    return sum(isinstance(decode_entry(stored), Claim) for stored in await records(log, place_of(key)))


def totals(valid: Sequence[Decision]) -> dict[str, int]:
    """A fold of the log by hand; the versions of each aggregate rise by one."""
    sums: dict[str, int] = {}
    versions: dict[str, int] = {}
    for decision in valid:
        for event in decode_events(decision, EVENTS):
            id = event.originator_id
            versions[id] = versions.get(id, 0) + 1
            assert event.originator_version == versions[id]
            if isinstance(event, Added):
                sums[id] = sums.get(id, 0) + event.amount
    return sums


def agree(valid: Sequence[Decision], replies: Mapping[str, Reply]) -> None:
    """Every reply received is the reply of the first valid decision, and each command was decided once."""
    first: dict[str, Reply] = {}
    for decision in valid:
        id = decision.meta.command_id
        if decision.repeat:
            assert decision.reply == first[id]
        else:
            assert id not in first, f"{id} was decided twice"
            first[id] = decision.reply
    for id, reply in replies.items():
        assert first[id] == reply


def result(reply: Reply) -> object:
    return msgspec.json.decode(reply.result)


class InHaste(Log):
    """Before an adapter whose `append` a test replaces: everything is appended by it."""

    async def append_patiently(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        return await self.append(topic, partition, records)


class FlakyLog(Log):
    """A log in front of another, whose appends to one topic fail when told so, before or after they happen."""

    def __init__(self, log: Log, topic: str) -> None:
        self.inner = log
        self._topic = topic
        self.before: set[int] = set()
        self.after: set[int] = set()
        self._numbers = itertools.count()
        self.hearing = asyncio.Event()
        self.hearing.set()

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        if topic != self._topic or all(b'"claim"' in (record.value or b"") for record in records):
            return await self.inner.append(topic, partition, records)
        number = next(self._numbers)
        if number in self.before:
            raise LogUnavailableError("the append did not happen")
        offsets = await self.inner.append(topic, partition, records)
        if number in self.after:
            raise LogUnavailableError("the append happened, and nobody heard of it")
        return offsets

    def reader(self, gather: float = 0.0) -> Reader:
        return _Hearing(self, self.inner.reader(gather))

    async def start(self) -> None:
        await self.inner.start()

    async def ensure(self, topics: Sequence[TopicSpec]) -> None:
        await self.inner.ensure(topics)

    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return await self.inner.beginnings(places)

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return await self.inner.ends(places)

    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]:
        return await self.inner.committed(group, places)

    def member(
        self, group: str, topics: Sequence[str], node: str, listener: Listener, gather: float = 0.0
    ) -> Member:
        return self.inner.member(group, topics, node, listener, gather)

    async def close(self) -> None:
        await self.inner.close()


class _Hearing(Reader):
    """Hands over nothing until its log hears."""

    def __init__(self, log: FlakyLog, reader: Reader) -> None:
        self._log = log
        self._reader = reader

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        await self._reader.assign(positions)

    async def poll(self, timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[Stored]]:
        found = await self._reader.poll(timeout, limit)
        await self._log.hearing.wait()
        return found

    async def position(self, place: TopicPartition) -> int:
        return await self._reader.position(place)

    async def close(self) -> None:
        await self._reader.close()


async def until(condition: Callable[[], object], timeout: float = 60.0) -> None:
    async with asyncio.timeout(timeout):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return
            await asyncio.sleep(0.02)
