"""Read models are built anew beside running projectors, in virtual time: nothing is missing afterwards, whoever ends.

Given projectors and a reader over one log and one store, on a network where every question takes its time; when a
rebuild runs beside them, and it or a projector is killed before any step that it takes, or two rebuilds run at once;
then a document is never less than it was when a rebuild began, and once all is quiet the documents that are read are
what the log folds to.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from commands.base import Area
from projections.store import HUB, ReadStore
from projections.store.generations import DATABASE, KEPT, Generation, GenerationStore, place
from streams.following.follower import Follower
from streams.log import Record, TopicPartition
from streams.log.envelope import Claim, encode, record
from streams.log.layout import Layout
from streams.log.topology import events_topic, topics
from streams.projecting.frames import FrameWriter
from streams.projecting.generations import in_each_generation
from streams.projecting.projector import Projector
from streams.projecting.rebuild import build_anew
from tests.simulation.broker import Broker
from tests.simulation.log import SimLog
from tests.simulation.loop import Node, SimLoop
from tests.simulation.network import Network
from tests.simulation.store import Shelf, SimReadStore
from tests.streams.counter import EVENTS
from tests.streams.counting import FEED, Faulty, added

COUNTERS = tuple(f"c{number}" for number in range(4))
QUIET_S = 15.0
PARTS = 4
SEEDS = int(os.environ.get("REBUILD_SEEDS", "4"))
EVERY = int(os.environ.get("REBUILD_KILLS_EVERY", "24"))
"""Of the steps before which somebody is killed; 1 are all of them."""
LAST_STEPS = 120
"""Of a rebuild: the last round, the switch, and taking the older ones away."""


class Slow:
    """The way to the store: each question takes a moment of its own."""

    def __init__(self, loop: SimLoop) -> None:
        self._chance = loop.chance

    async def request(self, kind: str) -> None:
        await asyncio.sleep(0.002 * self._chance.random())

    async def response(self, kind: str) -> None:
        await asyncio.sleep(0.002 * self._chance.random())

    def cut(self, count: int) -> int:
        return count


class Installation:
    """Projectors, a reader, and what is appended meanwhile."""

    def __init__(self, seed: int) -> None:
        self.loop: SimLoop = SimLoop(Random(seed))  # type: ignore[abstract]
        self.broker = Broker(Network(self.loop))
        self.broker.begin()
        self.broker.make(topics(Layout()))
        self.shelf = Shelf()
        self.versions = dict.fromkeys(COUNTERS, 0)
        self.least = dict.fromkeys(COUNTERS, 0)
        self.less: list[str] = []
        self.nodes: list[Node] = []
        self.projectors: list[Node] = []
        self.epochs: dict[int, int] = {}

    def node(self, name: str) -> Node:
        node = self.loop.node(name)
        self.nodes.append(node)
        return node

    def store(self) -> GenerationStore:
        return GenerationStore(SimReadStore(self.shelf, Slow(self.loop)), monotonic=self.loop.time)

    async def log(self, node: Node) -> SimLog:
        log = SimLog(self.broker, node)
        await self.loop.spawn(node, log.start())
        return log

    # -- processes -----------------------------------------------------------------------------------------------

    async def start_faust(self) -> Node:
        """As Faust does: into whatever is read, as far as its process knows, with positions that know of nothing."""
        node = self.node("faust")
        projector = Projector(self.store(), EVENTS, [Faulty().view], [FEED], reread_every=5.0)
        follower = Follower(await self.log(node), "faust", [Area.CHARGE_POINT], "faust", projector.handle)
        self.loop.spawn(node, follower.run())
        return node

    async def start_projector(self, name: str = "one", *, sweeping: bool = False) -> Node:
        node = self.node(f"projector-{name}")
        self.projectors.append(node)
        projector = Projector(
            self.store(), EVENTS, [Faulty().view], [FEED], reread_every=5.0, sweeping=sweeping
        )
        log = await self.log(node)
        follower = Follower(
            log, "projector", [Area.CHARGE_POINT], name, projector.handle, forget=projector.forget
        )

        def take(generation: Generation, store: ReadStore) -> None:
            projector.use(store)
            follower.generation = generation

        self.loop.spawn(node, in_each_generation("projector", self.store(), take, follower.run))
        return node

    async def start_rebuild(self, name: str = "a") -> tuple[Node, asyncio.Task[bool]]:
        node = self.node(f"rebuild-{name}")
        log, store = await self.log(node), self.store()
        for counter in COUNTERS:
            self.least[counter] = max(self.least[counter], await self.projected(counter))

        def projectors(target: ReadStore) -> tuple[Projector, FrameWriter]:
            return Projector(target, EVENTS, [Faulty().view], [FEED]), FrameWriter(target)

        async def prepare(target: ReadStore) -> None:
            """There are no indexes."""

        async def run() -> bool:
            built = await build_anew(store, log, projectors, prepare)
            if built is not None:
                await asyncio.sleep(KEPT)
                await store.take_away_older()
            return built is not None

        return node, self.loop.spawn(node, run())

    async def read_forever(self) -> None:
        store, at_least = self.store(), dict(self.least)
        while True:
            for counter in COUNTERS:
                at_least[counter] = self.least[counter]
                found = await store.get(HUB, "counters", counter)
                version = int(str(found["version"])) if found else 0
                if version < at_least[counter]:
                    self.less.append(f"{counter} was {at_least[counter]} and is {version}")
            await asyncio.sleep(0.25)

    async def append_forever(self) -> None:
        while True:
            await asyncio.sleep(0.02 + 0.4 * self.loop.chance.random())
            self.append(self.loop.chance.choice(COUNTERS))

    def append(self, counter: str) -> None:
        """One more is added, now and then by a decider that has just claimed the partition."""
        where = TopicPartition(events_topic(Area.CHARGE_POINT), Layout().partition_of(f"counter|{counter}"))
        if where.partition not in self.epochs or self.loop.chance.random() < 0.05:
            before = self.epochs.get(where.partition)
            self.epochs[where.partition] = self.broker.append(where, [Record(None, encode(Claim(owner="x")))])
            if before is not None:
                stale = added(counter, self.versions[counter] + 1, 1000, epoch=before)
                self.broker.append(where, [record(f"counter|{counter}", stale, "t")])
        self.versions[counter] += 1
        fact = added(counter, self.versions[counter], 1, epoch=self.epochs[where.partition])
        self.broker.append(where, [record(f"counter|{counter}", fact, "t")])

    # -- what is there -------------------------------------------------------------------------------------------

    async def projected(self, counter: str) -> int:
        """The version that is read now, as whoever asks at once would see it."""
        found = await GenerationStore(SimReadStore(self.shelf)).get(HUB, "counters", counter)
        return int(str(found["version"])) if found else 0

    async def is_whole(self) -> None:
        """What is read is what the log folds to; no letter, and of what was inserted nothing is missing."""
        store = GenerationStore(SimReadStore(self.shelf))
        for counter in COUNTERS:
            found = await store.get(HUB, "counters", counter) or {}
            count = self.versions[counter]
            assert (found.get("version", 0), found.get("total", 0)) == (count, count)
            names = [f"counter|{counter}|{version}" for version in range(1, count + 1)]
            assert (await store.get_many(HUB, "additions", names)).keys() == set(names)
        assert await store.get_many(HUB, "dead_letters", ["any"]) == {}
        assert self.less == []


@asynccontextmanager
async def living(made: Installation, projectors: int = 1, *, faust: bool = False) -> AsyncIterator[None]:
    """It runs for a while before the drill and after it, and is whole at the end."""
    if faust:
        await made.start_faust()
    for number in range(projectors):
        await made.start_projector(f"p{number}", sweeping=faust)
    made.loop.spawn(made.node("reader"), made.read_forever())
    appending = made.loop.spawn(made.node("deciders"), made.append_forever())
    await asyncio.sleep(8.0)
    try:
        yield
        appending.cancel()
        await asyncio.sleep(QUIET_S)
        await made.is_whole()
    finally:
        for node in made.nodes:
            made.loop.thaw(node)
            for task in node.tasks:
                task.cancel()
        await asyncio.sleep(QUIET_S)


def run(
    monkeypatch: pytest.MonkeyPatch, seed: int, drill: Callable[[Installation], Coroutine[Any, Any, None]]
) -> None:
    """The drill in a world of its own."""
    made = Installation(seed)
    with monkeypatch.context() as virtual:
        virtual.setattr(time, "monotonic", made.loop.time)
        made.loop.run_until_complete(drill(made))
    assert [error for _, error in made.loop.exceptions if not isinstance(error, asyncio.CancelledError)] == []


async def only_what_is_read_is_left(made: Installation) -> None:
    shelf = SimReadStore(made.shelf)
    current = await GenerationStore(shelf).current()
    assert await shelf.databases() == [DATABASE, place(HUB, current.number)]


def kill_before(made: Installation, node: Node, step: int) -> None:
    """As SIGKILL before this step of a process from now on; what it has asked of others still happens."""
    steps = itertools.count()

    def watch() -> None:
        if next(steps) == step:
            made.loop.freeze(node)

    node.watch = watch


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_rebuild_beside_running_projectors_leaves_what_the_log_folds_to(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    async def drill(made: Installation) -> None:
        async with living(made, projectors=1 + seed % 3):
            for name in ("a", "b"):
                _, task = await made.start_rebuild(name)
                assert await task
                await only_what_is_read_is_left(made)

    run(monkeypatch, seed, drill)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_faust_wrote_into_what_was_there_before_the_sweeper_repairs(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    async def drill(made: Installation) -> None:
        async with living(made, faust=True):
            _, task = await made.start_rebuild()
            assert await task

    run(monkeypatch, seed, drill)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_of_two_rebuilds_at_once_one_is_read_and_nothing_is_left_of_the_other(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    async def drill(made: Installation) -> None:
        async with living(made, projectors=2):
            _, first = await made.start_rebuild("a")
            await asyncio.sleep(seed * 0.01)
            _, second = await made.start_rebuild("b")
            assert any(await asyncio.gather(first, second))
            await only_what_is_read_is_left(made)

    run(monkeypatch, seed, drill)


def steps_of_a_rebuild(monkeypatch: pytest.MonkeyPatch, seed: int) -> int:
    """How many a rebuild takes until it has switched and some more."""
    count = itertools.count()

    async def drill(made: Installation) -> None:
        async with living(made):
            node, task = await made.start_rebuild()

            def watch() -> None:
                next(count)

            node.watch = watch
            assert await task

    run(monkeypatch, seed, drill)
    return next(count)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_rebuild_killed_before_any_step_leaves_all_whole_and_its_remains_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """The steps about the switch, and some of the long way to it."""
    seed = 3
    steps = steps_of_a_rebuild(monkeypatch, seed)
    assert steps > 2 * LAST_STEPS
    chosen = [*range(0, steps - LAST_STEPS, 4 * EVERY), *range(steps - LAST_STEPS, steps - 2, EVERY)]
    for step in chosen[part::PARTS]:

        async def drill(made: Installation, step: int = step) -> None:
            async with living(made):
                node, _ = await made.start_rebuild("killed")
                kill_before(made, node, step)
                while not node.frozen:  # noqa: ASYNC110
                    await asyncio.sleep(1.0)
                _, task = await made.start_rebuild("next")
                assert await task
                await only_what_is_read_is_left(made)

        run(monkeypatch, seed, drill)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_projector_killed_or_stopped_before_any_step_of_a_switch_leaves_nothing_out(
    monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """One that was stopped goes on after the others have: what it writes then goes where nobody reads."""
    for step in range(part * EVERY, 320, PARTS * EVERY):

        async def drill(made: Installation, step: int = step) -> None:
            async with living(made, projectors=1 + step % 2):
                node = made.projectors[0]
                _, task = await made.start_rebuild()
                kill_before(made, node, step)
                await asyncio.sleep(6.0)
                assert node.frozen
                if step % 2:
                    made.loop.thaw(node)
                else:
                    await made.start_projector("p0")
                assert await task

        run(monkeypatch, step % 7, drill)
