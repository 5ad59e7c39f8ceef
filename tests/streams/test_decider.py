"""The decider on the embedded log: one decision for a command, replies only from what was read back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from commands.base import Area, Command, Meta, Refusal
from streams.bus import CommandBus
from streams.channel import LocalChannel
from streams.decider import Decider
from streams.envelope import Decision, Fence, Reply, decode_events
from streams.log import Log, Stored, TopicPartition
from streams.sqlite_log import SqliteLog
from streams.topology import events_topic, partition_of, topics
from tests.streams.counter import EVENTS, RULES, Add, SetAlarm


def now() -> datetime:
    return datetime.now(UTC)


class Node:
    """A decider with the bus of an edge, all in this process."""

    def __init__(self, log: Log, name: str = "one", *, checkpoint_every: float = 30.0) -> None:
        self.log = log
        self.channel = LocalChannel(name)
        self.bus = CommandBus(log, self.channel)
        self.decider = Decider(
            log, RULES, self.channel, name, now, areas=[Area.CHARGE_POINT], checkpoint_every=checkpoint_every
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


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics())
    yield log
    await log.close()


async def entries(log: Log, key: str) -> list[Stored]:
    place = TopicPartition(events_topic(Area.CHARGE_POINT), partition_of(key))
    end = (await log.ends([place]))[place]
    reader = log.reader()
    await reader.assign({place: 0})
    found: list[Stored] = []
    while not found or found[-1].offset < end - 1:
        found.extend((await reader.poll(1.0)).get(place, ()))
    await reader.close()
    return found


async def decisions(log: Log, key: str) -> list[Decision]:
    fence = Fence()
    return [d for stored in await entries(log, key) if (d := fence.admit(stored)) is not None]


async def test_a_command_is_answered_with_its_decision(log: SqliteLog) -> None:
    async with Node(log) as node:
        reply = await node.ask(Add(counter="a", amount=3), "1")

    assert (reply.refusal, msgspec.json.decode(reply.result), reply.version) == (None, 3, 1)
    [decision] = await decisions(log, "counter|a")
    assert decision.meta.command_id == "1"
    assert decision.reply == reply


async def test_a_repeat_gets_the_stored_reply_and_makes_no_event(log: SqliteLog) -> None:
    async with Node(log) as node:
        first = await node.ask(Add(counter="a", amount=3), "1")
        await node.ask(Add(counter="a", amount=4), "2")
        again = await node.ask(Add(counter="a", amount=3), "1")

    assert again == first
    events = [e for d in await decisions(log, "counter|a") for e in decode_events(d, EVENTS)]
    assert [e.originator_version for e in events] == [1, 2]


async def test_a_repeat_is_recognised_after_a_restart(log: SqliteLog) -> None:
    async with Node(log) as node:
        first = await node.ask(Add(counter="a", amount=3), "1")
    async with Node(log) as node:
        again = await node.ask(Add(counter="a", amount=3), "1")
        more = await node.ask(Add(counter="a", amount=4), "2")

    assert again == first
    assert msgspec.json.decode(more.result) == 7


async def test_a_refusal_is_a_decision_without_events(log: SqliteLog) -> None:
    async with Node(log) as node:
        reply = await node.ask(Add(counter="a", amount=0), "1")

    assert (reply.refusal, reply.message) == (Refusal.INVALID, "amount 0 adds nothing")
    [decision] = await decisions(log, "counter|a")
    assert decision.events == []


async def test_a_command_past_its_deadline_is_refused_as_expired(log: SqliteLog) -> None:
    async with Node(log) as node:
        meta = Meta(command_id="1", at=now(), deadline=now() - timedelta(seconds=1))
        reply = await node.bus.ask(Add(counter="a", amount=3), meta)

    assert reply.refusal is Refusal.EXPIRED


async def test_a_handler_that_raises_is_a_failed_decision_and_the_key_goes_on(log: SqliteLog) -> None:
    async with Node(log) as node:
        await node.ask(Add(counter="a", amount=1), "1")
        failed = await node.ask(Add(counter="a", amount=13), "2")
        after = await node.ask(Add(counter="a", amount=1), "3")

    assert failed.refusal is Refusal.FAILED
    assert "ValueError" in failed.message
    assert (msgspec.json.decode(after.result), after.version) == (2, 2)


async def test_states_are_a_cache_and_recovery_from_them_equals_a_fold(log: SqliteLog) -> None:
    async with Node(log, checkpoint_every=0.0) as node:
        for i in range(50):
            await node.ask(Add(counter=f"c{i % 7}", amount=1), str(i))
    async with Node(log) as node:
        replies = [await node.ask(Add(counter=f"c{i}", amount=100), f"x{i}") for i in range(7)]

    expected = [len([i for i in range(50) if i % 7 == n]) + 100 for n in range(7)]
    assert [msgspec.json.decode(reply.result) for reply in replies] == expected


async def test_a_timer_is_decided_when_its_time_has_come(log: SqliteLog) -> None:
    async with Node(log) as node:
        await node.ask(SetAlarm(counter="a", alarm=now() + timedelta(milliseconds=50)), "1")
        await until(lambda: decided(log, "timer.due.v1"))

    names = [d.command for d in await decisions(log, "counter|a")]
    assert names == ["counter.set_alarm.v1", "timer.due.v1"]


async def test_a_timer_due_while_nobody_ran_fires_once_after_the_restart(log: SqliteLog) -> None:
    async with Node(log, checkpoint_every=0.0) as node:
        await node.ask(SetAlarm(counter="a", alarm=now() + timedelta(milliseconds=100)), "1")
        await node.ask(Add(counter="a", amount=1), "2")
    async with Node(log):
        await until(lambda: decided(log, "timer.due.v1"))

    events = [e for d in await decisions(log, "counter|a") for e in decode_events(d, EVENTS)]
    assert [type(e).__name__ for e in events].count("Rang") == 1


async def test_decisions_larger_than_16_kb_stay_whole(log: SqliteLog) -> None:
    async with Node(log) as node:
        reply = await node.ask(Add(counter="a", amount=5, padding=100_000), "1")

    assert msgspec.json.decode(reply.result) == 5
    [decision] = await decisions(log, "counter|a")
    assert len(decision.events) == 1


async def test_a_decider_whose_partition_was_claimed_by_another_never_contradicts_the_log(
    log: SqliteLog,
) -> None:
    """A stopped and resumed decider: the log holds a later claim that it has not seen."""
    async with Node(log) as node:
        await node.ask(Add(counter="a", amount=1), "1")
        other = RULES
        from streams.envelope import Claim, encode
        from streams.log import Record

        place = TopicPartition(events_topic(Area.CHARGE_POINT), partition_of("counter|a"))
        await log.append(place.topic, place.partition, [Record(None, encode(Claim(owner="other")))])
        reply = await node.ask(Add(counter="a", amount=1), "2")
        assert other is RULES

    valid = {d.meta.command_id: d.reply for d in await decisions(log, "counter|a")}
    assert valid["2"] == reply
    assert msgspec.json.decode(reply.result) == 2


async def decided(log: Log, command: str) -> bool:
    return any(d.command == command for d in await decisions(log, "counter|a"))


async def until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    async with asyncio.timeout(timeout):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return
            await asyncio.sleep(0.02)
