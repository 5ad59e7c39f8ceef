"""Between a decider and the processes in it: who ends by a mistake and begins again goes on where it was."""

from __future__ import annotations

from streams.feed import Feed
from streams.sqlite_log import SqliteLog
from streams.topology import PARTITIONS
from tests.streams.counter import Add
from tests.streams.harness import Node, place_of, until
from tests.streams.test_processes import beside


async def test_processes_that_ended_by_a_mistake_go_on_where_they_were(embedded: SqliteLog) -> None:
    feed, place = Feed(), place_of("counter|a")
    async with Node(embedded, feed=feed) as node:
        async with beside(embedded, feed.join) as first:
            await node.ask(Add(counter="a", amount=5), "1")
            await until(lambda: first.commanded == 2)
            end = (await embedded.ends([place]))[place]
            await until(lambda: first.follower.positions[place] == end)
        async with beside(embedded, feed.join) as second:
            await until(lambda: len(second.follower.positions) == PARTITIONS)
            await node.ask(Add(counter="a", amount=1), "2")
            await until(lambda: second.commanded == 2 or second.follower.halted)
            assert second.follower.halted == {}


async def test_a_decider_that_ends_leaves_nothing_to_be_followed(embedded: SqliteLog) -> None:
    feed = Feed()
    async with beside(embedded, feed.join) as processes:
        async with Node(embedded, feed=feed):
            await until(lambda: len(processes.follower.positions) == PARTITIONS)
        assert processes.follower.positions == {}
