"""The edges' way in: what is told waits for others under load, and what is asked takes it along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from commands.base import Area, Meta
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.log import LogUnavailableError, Record, TopicPartition
from streams.log.envelope import decode_command
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import commands_topic
from tests.streams.counter import Add
from tests.streams.harness import AREA_TOPICS, FlakyLog, now, place_of, records

COMMANDS = commands_topic(Area.CHARGE_POINT)


class Appends(FlakyLog):
    """What was appended to the commands, and how; `broken` fails it."""

    broken = False

    def __init__(self, log: SqliteLog) -> None:
        super().__init__(log, "")
        self.made: list[tuple[str, list[str]]] = []

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        self._note("in haste", topic, records)
        return await self.inner.append(topic, partition, records)

    async def append_patiently(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        self._note("patiently", topic, records)
        return await self.inner.append_patiently(topic, partition, records)

    def _note(self, how: str, topic: str, records: Sequence[Record]) -> None:
        if topic == COMMANDS:
            if self.broken:
                raise LogUnavailableError("the log is away")
            self.made.append((how, [(record.key or b"").decode().partition("|")[2] for record in records]))


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Appends]:
    inner = SqliteLog(tmp_path / "log.db")
    await inner.start()
    await inner.ensure(AREA_TOPICS)
    yield Appends(inner)
    await inner.close()


def bus_of(log: Appends, patience: float = 5.0) -> CommandBus:
    return CommandBus(log, LocalChannel("one"), patience=patience)


def meta(id: str) -> Meta:
    return Meta(command_id=id, at=now(), tenant="t")


async def told(bus: CommandBus, *counters: str) -> None:
    await asyncio.gather(*(bus.tell(Add(counter=name, amount=1), meta(name)) for name in counters))


async def test_what_is_told_has_patience_and_who_asks_is_in_haste(log: Appends) -> None:
    bus = bus_of(log, patience=0.3)
    await told(bus, "a")
    with pytest.raises(LogUnavailableError, match=r"no decision on asked in 0\.3 s"):
        await bus.ask(Add(counter="b", amount=1), meta("asked"))
    assert log.made == [("patiently", ["a"]), ("in haste", ["b"])]


async def test_who_asks_takes_along_what_was_told_before_in_the_order_in_which_it_came(log: Appends) -> None:
    bus = bus_of(log, patience=0.3)
    await told(bus, "a")
    waiting = [
        asyncio.create_task(bus.tell(Add(counter="a", amount=number), meta(f"told {number}")))
        for number in range(3)
    ]
    await asyncio.sleep(0)
    with pytest.raises(LogUnavailableError, match=r"no decision on asked in 0\.3 s"):
        await bus.ask(Add(counter="a", amount=1), meta("asked"))
    await asyncio.gather(*waiting)

    place = TopicPartition(COMMANDS, place_of("counter|a").partition)
    ids = [decode_command(stored).meta.command_id for stored in await records(log, place)]
    assert ids == ["a", "told 0", "told 1", "told 2", "asked"]


async def test_where_the_log_is_away_each_of_those_that_waited_together_learns_it(log: Appends) -> None:
    bus = bus_of(log)
    log.broken = True
    found = await asyncio.gather(
        *(bus.tell(Add(counter=name, amount=1), meta(name)) for name in "abc"), return_exceptions=True
    )
    assert [str(error) for error in found] == ["the log is away"] * 3
    log.broken = False
    await told(bus, "a")


async def test_one_whose_caller_has_gone_costs_the_others_nothing(log: Appends) -> None:
    bus = bus_of(log)
    await told(bus, "a")
    gone, stays = (asyncio.create_task(told(bus, "a")) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert gone.cancelled()


async def test_a_command_too_large_fails_alone(
    log: Appends,
) -> None:
    bus = bus_of(log)
    await told(bus, "a")
    big, huge = "b" * 400_000, "c" * 1_100_000
    found = await asyncio.gather(
        *(
            bus.tell(Add(counter="a", amount=1), Meta(command_id=id, at=now(), tenant="t"))
            for id in (big, big, huge, big)
        ),
        return_exceptions=True,
    )
    assert [type(one).__name__ for one in found] == ["NoneType", "NoneType", "LogError", "NoneType"]
