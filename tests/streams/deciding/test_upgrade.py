"""The upgrade drill: two releases of one noun, and every order in which a rolling upgrade replaces the processes.

Given the processes of an installation, each old or new, over one log in virtual time; when one after the other is
replaced, under traffic, by the other release; then what a process does not know halts one partition with one line,
the other partitions go on, nothing is decided as failed for it, and once all are new everything that had halted goes
on: nothing is lost, and nothing is decided twice.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter as Counted
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random

import msgspec
import pytest

from commands.base import Area, Command, Meta, Refusal
from projections.store import HUB
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.deciding.decider import Decider
from streams.deciding.processes import Processes
from streams.following.follower import Follower
from streams.log import TopicPartition
from streams.log.envelope import Decision, Fence
from streams.log.layout import Layout
from streams.log.topology import events_topic, topics
from streams.projecting.projector import Projector
from tests.simulation.broker import Broker
from tests.simulation.log import SimLog
from tests.simulation.loop import Node, SimLoop
from tests.simulation.network import Network
from tests.simulation.store import Shelf, SimReadStore
from tests.streams.counter import SetAlarm
from tests.streams.releases import NEW, OLD, Release

ROLES = ("projector", "decider", "effects", "gateway")
NOBODY = frozenset[str]()
CHARGE_POINT = [Area.CHARGE_POINT]
ALARM = datetime(2099, 1, 1, tzinfo=UTC)
SETTLED_S = 12.0
"""Virtual seconds after which nothing is under way any more: a session of the group is 3 s."""
UPGRADE = "written by a newer release, upgrade this process"


def apart(*names: str) -> tuple[str, ...]:
    """Counters whose partitions, and those of their mirrors and echoes, are not those of the others'."""
    found: list[str] = []
    taken = {Layout().partition_of("counter|mirror-sorry")}
    for name in names:
        for number in itertools.count():
            own = {
                Layout().partition_of(f"counter|{prefix}{name}{number}")
                for prefix in ("", "mirror-", "echo-")
            }
            if not own & taken:
                found.append(f"{name}{number}")
                taken |= own
                break
    return tuple(found)


CHANGED, SAME = apart("changed", "same")
"""A counter whose commands and events have a newer form, and one that only ever meets what both releases know."""


class Installation:
    """One process of each role over one log and one read store; `new` names the roles that run the newer release."""

    def __init__(self, loop: SimLoop, new: frozenset[str] = NOBODY) -> None:
        self.loop = loop
        self.broker = Broker(Network(loop))
        self.broker.begin()
        self.broker.make(topics(Layout()))
        self.shelf = Shelf()
        self.new = set(new)
        self.nodes: dict[str, Node] = {}
        self.engines: dict[str, Decider | Follower] = {}
        self.logs: dict[str, SimLog] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.asked: list[tuple[str, int]] = []
        self.alarms = 0
        self.store = SimReadStore(self.shelf)

    def release(self, role: str) -> Release:
        return NEW if role in self.new else OLD

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.broker.network.wall(self.loop.world), UTC)

    async def __aenter__(self) -> Installation:
        for role in ROLES:
            await self.start(role)
        return self

    async def __aexit__(self, *_: object) -> None:
        for role in ROLES:
            await self.end(role)

    async def start(self, role: str) -> None:
        node = self.nodes[role] = self.loop.node(role)
        release, log = self.release(role), SimLog(self.broker, node)
        self.logs[role] = log
        await self.loop.spawn(node, log.start())
        if role == "projector":
            projector = Projector(SimReadStore(self.shelf), release.events, [release.view], [])
            follower = Follower(log, role, CHARGE_POINT, role, projector.handle, forget=projector.forget)
            self.engines[role] = follower
            self.tasks[role] = self.loop.spawn(node, follower.run())
        elif role == "effects":
            processes = Processes(
                log,
                release.policies,
                release.refusals,
                release.events,
                release.rules.commands,
                role,
                self.now,
                partial(log.member, role, [events_topic(area) for area in CHARGE_POINT], role),
                areas=CHARGE_POINT,
            )
            self.engines[role] = processes.follower
            self.tasks[role] = self.loop.spawn(node, processes.run())
        elif role == "decider":
            channel = LocalChannel(role)
            decider = Decider(
                log, release.rules, channel, role, self.now, areas=CHARGE_POINT, checkpoint_every=1.0
            )
            self.engines[role] = decider
            self.tasks[role] = self.loop.spawn(node, decider.run())
        else:
            self.bus = CommandBus(log, LocalChannel(role))

    async def end(self, role: str) -> None:
        """As SIGTERM."""
        task = self.tasks.pop(role, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.logs[role].close()

    async def replace(self, role: str) -> None:
        """Ended, and begun again with the other release."""
        await self.end(role)
        self.new ^= {role}
        await self.start(role)

    async def upgrade(self) -> None:
        """Everything old is replaced, readers first."""
        for role in ROLES:
            if role not in self.new:
                await self.replace(role)
        await asyncio.sleep(SETTLED_S)

    async def traffic(self) -> None:
        """An addition that is refused; when that has settled, two more, and what both releases know."""
        release = self.release("gateway")
        for amount in (0, 3, 4):
            id = f"add-{len(self.asked)}"
            self.asked.append((id, amount))
            await self.tell(release.add(CHANGED, amount), id)
            if amount == 0:
                await asyncio.sleep(SETTLED_S)
        self.alarms += 1
        alarm = ALARM + timedelta(days=self.alarms)
        await self.tell(SetAlarm(counter=SAME, alarm=alarm), f"alarm-{self.alarms}")
        await asyncio.sleep(SETTLED_S)

    async def tell(self, command: Command, id: str) -> None:
        meta = Meta(command_id=id, at=self.now(), tenant="t")
        await self.loop.spawn(self.nodes["gateway"], self.bus.tell(command, meta))

    # -- what is there now -----------------------------------------------------------------------------------------

    @property
    def halted(self) -> set[tuple[str, int]]:
        """Role and number of each partition that waits."""
        return {(role, place.partition) for role, engine in self.engines.items() for place in engine.halted}

    def decisions(self, counter: str) -> list[Decision]:
        id = f"counter|{counter}"
        place = TopicPartition(events_topic(Area.CHARGE_POINT), Layout().partition_of(id))
        fence = Fence()
        admitted = [fence.admit(stored) for stored in self.broker.partitions[place].records]
        return [decision for decision in admitted if decision is not None and decision.reply.aggregate == id]

    async def document(self, counter: str) -> tuple[object, object]:
        """The total and the alarms that are read of a counter."""
        found = await self.store.get(HUB, "counters", counter) or {}
        return found.get("total", 0), found.get("alarms", 0)


def partitions(*counters: str) -> set[int]:
    return {Layout().partition_of(f"counter|{counter}") for counter in counters}


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimLoop]:
    loop: SimLoop = SimLoop(Random(7))  # type: ignore[abstract]
    monkeypatch.setattr(time, "monotonic", loop.time)
    yield loop
    assert [error for _, error in loop.exceptions if not isinstance(error, asyncio.CancelledError)] == []


async def others_went_on(installation: Installation) -> None:
    """What both releases know was decided, projected and answered by its process, whoever halted elsewhere."""
    assert await installation.document(SAME) == (0, installation.alarms)
    assert await installation.document(f"echo-{SAME}") == (0, installation.alarms)


def halts_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever was wrong is a partition that halts, in one line that says the way out."""
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert all("halts" in line and line.endswith(UPGRADE) for line in errors)


def nothing_is_missing(installation: Installation) -> None:
    """Each command was decided once, with the reply of the release that decided it; none failed."""
    for counter in (CHANGED, f"mirror-{CHANGED}", "mirror-sorry", SAME, f"echo-{SAME}"):
        first = [decision for decision in installation.decisions(counter) if not decision.repeat]
        assert max(Counted(decision.meta.command_id for decision in first).values()) == 1
        assert Refusal.FAILED not in {decision.reply.refusal for decision in first}
    decided = {d.meta.command_id: d for d in installation.decisions(CHANGED) if not d.repeat}
    assert list(decided) == [id for id, _ in installation.asked]
    total = 0
    for id, amount in installation.asked:
        decision = decided[id]
        total += amount
        if amount == 0:
            assert decision.reply.refusal is Refusal.INVALID
        else:
            unit = NEW.unit if decision.command == "counter.add.v2" else OLD.unit
            assert msgspec.json.decode(decision.reply.result) == total * unit


async def all_is_known(installation: Installation) -> None:
    added = sum(amount for _, amount in installation.asked)
    refused = sum(amount == 0 for _, amount in installation.asked)
    assert installation.halted == set()
    nothing_is_missing(installation)
    assert await installation.document(CHANGED) == (added, 0)
    assert await installation.document(f"mirror-{CHANGED}") == (added, 0)
    assert await installation.document("mirror-sorry") == (refused, 0)
    await others_went_on(installation)


@pytest.mark.parametrize("order", list(itertools.permutations(ROLES)), ids="-".join)
def test_in_every_order_of_a_rolling_upgrade_nothing_is_lost_failed_or_decided_twice(
    loop: SimLoop, caplog: pytest.LogCaptureFixture, order: Sequence[str]
) -> None:
    async def drill() -> None:
        async with Installation(loop) as installation:
            await installation.traffic()
            for role in order:
                await installation.replace(role)
                await installation.traffic()
                await others_went_on(installation)
            await installation.upgrade()
            await all_is_known(installation)

    loop.run_until_complete(drill())
    halts_are_said(caplog)


def test_in_the_order_of_operations_only_effects_wait_for_their_turn(loop: SimLoop) -> None:
    """docs/operations.md: projectors, deciders, effects, gateways."""

    async def drill() -> None:
        waiting: list[set[str]] = []
        async with Installation(loop) as installation:
            for role in ROLES:
                await installation.replace(role)
                await installation.traffic()
                waiting.append({role for role, _ in installation.halted})
            await all_is_known(installation)
        assert waiting == [set(), {"effects"}, set(), set()]

    loop.run_until_complete(drill())


CONFIGURATIONS = [frozenset(chosen) for count in range(5) for chosen in itertools.combinations(ROLES, count)]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("new", CONFIGURATIONS, ids=lambda new: "+".join(sorted(new)) or "none")
def test_from_every_mixture_each_process_can_be_upgraded_or_rolled_back(
    loop: SimLoop, caplog: pytest.LogCaptureFixture, new: frozenset[str], role: str
) -> None:
    """A decider that is rolled back meets the states, the commands and the events of the newer one."""

    async def drill() -> None:
        async with Installation(loop, new) as installation:
            await installation.traffic()
            await installation.replace(role)
            await installation.traffic()
            await others_went_on(installation)
            await installation.upgrade()
            await all_is_known(installation)

    loop.run_until_complete(drill())
    halts_are_said(caplog)


@pytest.mark.parametrize("new", CONFIGURATIONS, ids=lambda new: "+".join(sorted(new)) or "none")
def test_what_a_process_does_not_know_halts_one_partition_with_one_line(
    loop: SimLoop, caplog: pytest.LogCaptureFixture, new: frozenset[str]
) -> None:
    """Who decides with a newer release makes newer events, and who asks with one makes newer commands."""
    mirrors = partitions(f"mirror-{CHANGED}", "mirror-sorry")
    expected: set[tuple[str, int]] = set()
    if "decider" in new:
        # The decisions on the first additions; no mirror gets any before who sends them knows of it.
        reached = partitions(CHANGED) | (mirrors if "effects" in new else set())
        expected |= {("projector", number) for number in reached if "projector" not in new}
        expected |= {("effects", number) for number in partitions(CHANGED) if "effects" not in new}
    elif "gateway" in new:
        expected = {("decider", number) for number in partitions(CHANGED)}
    elif "effects" in new:
        expected = {("decider", number) for number in mirrors}

    async def drill() -> None:
        async with Installation(loop, new) as installation:
            await installation.traffic()
            assert installation.halted == expected
            await others_went_on(installation)

    loop.run_until_complete(drill())
    halts_are_said(caplog)
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == len(expected)
