"""A simulated listener to live streams: it loses its connection now and then, and comes back with its last id.

What enters: what the API's process tells. What leaves: the ids of all events that it heard, in order. What a killed
process had handed over and the network had not is lost to it.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from application.live.bookmark import Bookmark, read_bookmark
from application.live.events import GAP, LiveEvent, Wanted
from streams.log import LogUnavailableError, TopicPartition
from streams.log.topology import PUBLIC
from tests.simulation.facts import TENANT

if TYPE_CHECKING:
    from tests.simulation.world import World

LONGEST: Final = 6.0
"""Seconds of a connection."""


class Listener:
    """`heard` are the ids of events, repeats included; `gaps` how often one was told."""

    def __init__(self, world: World) -> None:
        self.heard: list[str] = []
        self.gaps = 0
        self._world = world
        self._chance = Random(f"listener|{world.seed}")
        self._connection = 0
        self._last: str | None = None
        self._first: Bookmark | None = None

    async def listen(self) -> None:
        """One connection after another, until the world ends."""
        world = self._world
        while True:
            process = world.processes.get("api-0")
            fanout = process.engines.get("live") if process is not None else None
            if process is not None and fanout is not None and process.node.alive:
                self._connection += 1
                serving = world.loop.spawn(process.node, self._serve(fanout, self._connection))
                until = world.loop.now + LONGEST * self._chance.random()
                while not serving.done() and process.node.alive and world.loop.now < until:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                serving.cancel()
            await asyncio.sleep(0.3 * self._chance.random())

    async def _serve(self, fanout: Any, connection: int) -> None:
        """The process's side of a connection: what it says on one that was given up reaches nobody."""
        try:
            subscription = await fanout.subscribe(Wanted(TENANT, people=True), self._last)
        except LogUnavailableError:
            return
        try:
            self._told(connection, subscription.bookmark)
            while not subscription.ended:
                for event in await subscription.next(1.0):
                    await asyncio.sleep(0.3 * self._chance.random() ** 4)
                    self._take(connection, event)
                self._told(connection, subscription.bookmark)
        finally:
            subscription.close()

    def _take(self, connection: int, event: LiveEvent) -> None:
        if connection == self._connection:
            self.gaps += event.name == GAP
            if id := msgspec.json.decode(event.data).get("id"):
                self.heard.append(id)
            self._last = event.id

    def _told(self, connection: int, bookmark: str | None) -> None:
        if connection == self._connection and bookmark is not None:
            self._last = bookmark
            if self._first is None:
                self._first = read_bookmark(bookmark, self._world.processes["api-0"].log.layout)

    def told(self) -> dict[TopicPartition, list[str]]:
        """The ids that stand in public since its first bookmark."""
        broker = self._world.broker
        if self._first is None:
            return {}
        places = [TopicPartition(topic, n) for topic in PUBLIC.values() for n in range(broker.count(topic))]
        return {
            place: [
                dict(stored.headers)["ce_id"].decode()
                for stored in broker.partitions[place].records
                if stored.offset >= offset
            ]
            for place, offset in zip(places, self._first.offsets, strict=True)
        }

    def missing(self) -> list[str]:
        """What it has not heard."""
        heard = set(self.heard)
        return [id for ids in self.told().values() for id in ids if id not in heard]
