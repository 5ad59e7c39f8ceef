"""Between a decider and the processes in it: who ends by a mistake and begins again goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from streams.deciding.feed import Feed
from streams.log import Listener, Position, Record, Stored, TopicPartition, stored_as
from streams.log.envelope import Claim, encode
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from tests.streams.counter import Add
from tests.streams.deciding.test_processes import beside
from tests.streams.harness import Node, place_of, until


class Told(Listener):
    """Hears what is gained and lost; or cannot begin."""

    def __init__(self, *, broken: bool = False) -> None:
        self.heard: list[tuple[str, set[TopicPartition]]] = []
        self._broken = broken

    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        if self._broken:
            raise ZeroDivisionError("a mistake of ours")
        self.heard.append(("gained", set(positions)))

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        self.heard.append(("lost", set(places)))


A, B, C = (TopicPartition("events", number) for number in range(3))


def claim(place: TopicPartition, offset: int) -> Stored:
    [stored] = stored_as(place, [offset], [Record(None, encode(Claim(owner="one")))], datetime.now(UTC))
    return stored


async def test_partitions_that_are_claimed_about_at_once_begin_together() -> None:
    """What is asked of the log for those that begin is asked once."""
    feed, follower = Feed(), Told()
    member = feed.join(follower)
    await member.start()
    for place in (A, B, C):
        await feed.begin(place, Position(3), claim(place, 7))
    await feed.end(B)
    polled = await member.poll(1.0)
    assert follower.heard == [("gained", {A, C})]
    assert {place: [one.offset for one in records] for place, records in polled.items()} == {A: [7], C: [7]}
    await feed.end(A)
    assert follower.heard[1:] == [("lost", {A})]


async def test_a_follower_that_cannot_begin_is_no_matter_of_its_decider() -> None:
    feed = Feed()
    member = feed.join(Told(broken=True))
    await member.start()
    await feed.begin(A, Position(3), claim(A, 7))
    with pytest.raises(ZeroDivisionError):
        await member.poll(1.0)


async def test_what_is_decided_before_a_follower_begins_is_given_once() -> None:
    feed, follower = Feed(), Told()
    member = feed.join(follower)
    await member.start()
    await feed.begin(A, Position(3), claim(A, 7))
    feed.offer(A, [claim(A, 8)])
    [[first]] = (await member.poll(1.0)).values()
    feed.offer(A, [claim(A, 9)])
    [[second]] = (await member.poll(1.0)).values()
    assert (first.offset, second.offset) == (8, 9)


async def test_processes_that_ended_by_a_mistake_go_on_where_they_were(embedded: SqliteLog) -> None:
    feed, place = Feed(), place_of("counter|a")
    async with Node(embedded, feed=feed) as node:
        async with beside(embedded, feed.join) as first:
            await node.ask(Add(counter="a", amount=5), "1")
            await until(lambda: first.commanded == 2)
            end = (await embedded.ends([place]))[place]
            await until(lambda: first.follower.positions[place] == end)
        async with beside(embedded, feed.join) as second:
            await until(lambda: len(second.follower.positions) == Layout().partitions)
            await node.ask(Add(counter="a", amount=1), "2")
            await until(lambda: second.commanded == 2 or second.follower.halted)
            assert second.follower.halted == {}


async def test_a_decider_that_ends_leaves_nothing_to_be_followed(embedded: SqliteLog) -> None:
    feed = Feed()
    async with beside(embedded, feed.join) as processes:
        async with Node(embedded, feed=feed):
            await until(lambda: len(processes.follower.positions) == Layout().partitions)
        assert processes.follower.positions == {}
