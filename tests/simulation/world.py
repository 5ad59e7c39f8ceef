"""One world: its servers, processes, charge points and partner, its storm and its calm, all from one seed.

What enters: a seed, perhaps an ablation. What leaves: an `Outcome` with the trace's hash and whatever the checker
found. A world begins from the same provisioned log and read models, which are made once a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import importlib
import inspect
import itertools
import logging
import os
import random
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import msgspec

from application.partner_commands import CommandAnswer
from application.quota import FRESH
from application.vault import StoreKeys, Vault
from chargesphere import registry
from commands.base import Area, Command, Meta
from commands.charge_point.models import EndTransaction, Remove
from commands.delivery import Retry
from commands.partner import CreatePartner, Resume
from commands.remote_command import RequestRemoteCommand
from commands.token import PutToken
from domain import outbox
from domain.aggregate import Event
from domain.charge_point import passwords, session_id
from domain.intents import ClearCache, Intent, Reset, ResetKind, Unlock, kind_of
from domain.partner import holder_text
from projections import blocks
from streams.deciding import checkpoints
from streams.effects.gate import LocalGate
from streams.following.parking import Parking
from streams.log import LogUnavailableError, Position, topology
from streams.log.founding import found
from streams.log.layout import Layout
from streams.log.topology import commands_topic, state_topic
from tests.simulation import cpo, keys, location, wishes
from tests.simulation.asking import app_in
from tests.simulation.broker import Broker
from tests.simulation.charge_point import TAGS, ChargePoint, Quirks
from tests.simulation.facts import CHARGE_POINTS, EMSP, MASTER_KEY, OWN_TAG, ROOM, TENANT, provisioning
from tests.simulation.job import job_in
from tests.simulation.keys import Shown
from tests.simulation.listener import Listener
from tests.simulation.log import SimLog
from tests.simulation.loop import DeadlockError, Node, SimLoop, current_node
from tests.simulation.nemesis import Nemeses
from tests.simulation.network import CALM, Fate, Network, Weather
from tests.simulation.partner import Inbox
from tests.simulation.processes import Asked, Process
from tests.simulation.store import Shelf, SimReadStore
from tests.simulation.stranger import Stranger

PARTITIONS: Final = 2
QUIET_SECONDS: Final = 4.0
LONGEST_CALM: Final = 400.0
ANSWERED_WITHIN: Final = 100.0
MONTH: Final = 60.0
"""Seconds for which commands are kept in a world of months."""


@dataclass(slots=True)
class Shape:
    """What there is in this world; the seed draws it. `faults` names the nemeses that it may meet."""

    gateways: int = 1
    deciders: int = 2
    projectors: int = 1
    effects: int = 1
    charge_points: int = 1
    charges: int = 2
    readings: int = 4
    """Of a charge; always fewer."""
    faust: bool = False
    faust_skips: float = 0.0
    mqtt: bool = False
    public: bool = False
    live: bool = False
    """Whether somebody listens to what is told in public, through the API's process."""
    frames: bool = False
    operators: bool = False
    job: bool = False
    """Whether an operator has a job done by all charge points, of which some never connect and one is nobody's."""
    asks: bool = False
    """Whether a partner's app asks for charges by commands."""
    wishes: bool = False
    """Whether an operator wants variables to have values, and makes and gives up reservations."""
    stories: bool = False
    most_in_a_sink: int = 5_000
    """Records that wait for one of effects' sinks."""
    most_named: int = 100
    """Objects that an account of pushes names of one partner."""
    checkpoint_every: float = 5.0
    hot: int = 4
    whole_fetches: float = 0.7
    areas: tuple[Area, ...] = tuple(Area)
    """What is worked on; the rest of the log stays as it was provisioned."""
    storm: float = 20.0
    faults: tuple[str, ...] = ()
    pace: float = 1.0
    """What the pauses between the harm that nemeses do are multiplied with."""
    lasting: float = 1.0
    """What the time is multiplied with for which their harm lasts."""
    severity: float = 1.0
    """What the share of requests is multiplied with that go wrong in bad weather."""
    victims: tuple[str, ...] = ()
    """The roles of the processes that they harm; empty for all."""
    places: tuple[str, ...] = ()
    """Before what a process is killed or stands still; empty for anything."""
    times: int = 0
    """At the so many-th time that it gets there; 0 for one of the first three."""
    targets: tuple[str, ...] = ()
    """The servers that they harm; empty for all."""
    strangers: int = 0
    """So many knock at once, more than there is room for, and some more once it is calm."""
    months: bool = False
    """Whether commands are kept, and what is over is remembered, for a minute; some minutes pass after the calm."""
    exclusive: bool = False
    """Whether the tenant's tags charge at one charge point at a time: all drivers have the same one."""
    foreign: int = 0
    """So many charges at another CPO's are pushed by it, of the partner's token."""
    keys: int = 0
    """So many API keys are made and shown at two api processes all the while; most of them are revoked."""
    pushes: int = 0
    """So many requests of a CPO about one Location, which overtake one another."""
    longest_calm: float = LONGEST_CALM
    """Seconds after the storm in which everything has to come to rest."""


@dataclass(slots=True)
class Outcome:
    """What became of a world."""

    seed: int
    trace: str
    steps: int
    violations: list[str]
    notes: list[str]
    shape: Shape
    events: list[str]
    """What the nemeses did, in order."""


class World:
    """Everything of one seed."""

    def __init__(
        self,
        seed: int,
        shape: Shape | None = None,
        faults: Sequence[str] | None = None,
        wanted: Mapping[str, Any] | None = None,
    ) -> None:
        """`faults` and `wanted` (fields of the shape) stand instead of what the seed draws."""
        self.seed = seed
        self.chance = Random(seed)
        self.loop: SimLoop = SimLoop(self.chance)  # type: ignore[abstract]
        self.network = Network(self.loop)
        self.broker = Broker(self.network)
        self.shelf = Shelf()
        self.inbox = Inbox()
        self.gate = LocalGate(self.loop.time)
        """What all processes know of the partner, as it stands in Redis."""
        self.shape = shape or draw_shape(self.chance)
        if shape is None:
            self.shape.exclusive = Random(f"tags|{seed}").random() < 0.04
            self.shape.keys = 3 * (Random(f"keys|{seed}").random() < 0.06)
            self.shape.job = Random(f"job|{seed}").random() < 0.12
            self.shape.asks = self.shape.effects > 0 and Random(f"asks|{seed}").random() < 0.2
            self.shape.pushes = 14 * (Random(f"pushes|{seed}").random() < 0.08)
            self.shape.foreign = 2 * (Random(f"cpo|{seed}").random() < 0.12)
            self.shape.live = self.shape.public and Random(f"live|{seed}").random() < 0.5
        if faults is not None:
            self.shape.faults = tuple(faults)
        for name, value in (wanted or {}).items():
            setattr(self.shape, name, value)
        self.network.whole = self.shape.whole_fetches
        self.shape.job = self.shape.job and not self.shape.months  # there it lasts longer than a month
        self.shape.asks = self.shape.asks and not self.shape.months
        self.shape.foreign *= not self.shape.months
        operated = self.shape.operators or self.shape.months or self.shape.job or self.shape.asks
        needed = [Area.REMOTE_COMMAND] * operated
        needed += [Area.JOB] * self.shape.job + [Area.LOCATION] * (self.shape.pushes > 0)
        needed += [Area.TOKEN] * (self.shape.faust or self.shape.exclusive)
        party = self.shape.months or self.shape.strangers > 0 or "gone" in self.shape.faults
        needed += [Area.PARTY] * party + [Area.KEY] * (self.shape.keys > 0)
        self.shape.areas += tuple(area for area in needed if area not in self.shape.areas)
        if "poison" in self.shape.faults or self.shape.exclusive:
            self.shape.charge_points = max(2, self.shape.charge_points)
        self.areas = self.shape.areas
        self.retention = timedelta(seconds=MONTH) if self.shape.months else topology.RETENTION
        self.rules = copy.copy(registry.RULES)
        self.rules.retention = self.retention
        self.asked: list[Asked] = []
        self.published: list[tuple[str, str, bytes]] = []
        self.processes: dict[str, Process] = {}
        self.charge_points: list[ChargePoint] = []
        self.strangers: list[Stranger] = []
        self.listener = Listener(self)
        self.violations: list[str] = []
        self.notes: list[str] = []
        self.commands: list[str] = []
        """Ids of the remote commands that operators asked for and were told of."""
        self.poisoned: dict[str, type[Event]] = {}
        """Aggregates, with the kind of event from which nothing can be worked out."""
        self.foreign: list[cpo.Charge] = []
        self.keys: list[Shown] = []
        self.keys_done = False
        self.answers: dict[str, CommandAnswer] = {}
        """What a partner was answered at once to its commands."""
        self.nemeses = Nemeses(self)
        self.wanted: dict[str, str] = {}
        """Processes that shall run, by name, with their roles."""

    # -- what others ask of it -----------------------------------------------------------------------------------

    def violation(self, text: str) -> None:
        self.violations.append(text)

    def note(self, text: str) -> None:
        self.notes.append(f"{self.loop.now - 1000:.3f} {text}")

    def gateways(self) -> list[tuple[Node, Any]]:
        """Gateways that take connections."""
        return [
            (process.node, process.engines["gateway"])
            for process in self.processes.values()
            if process.role == "gateway" and process.ready and process.node.alive and not process.node.frozen
        ]

    async def store_request(self, node: Node) -> None:
        from projections.store import StoreUnavailableError

        await asyncio.sleep(self.network.delay("store"))
        if not self.network.reaches(node, "store"):
            await asyncio.sleep(0.5)
            raise StoreUnavailableError("sim", "it cannot be reached")
        if self.network.fate("store") is Fate.REFUSED:
            raise StoreUnavailableError("sim", "it is not ready")

    async def store_response(self, node: Node) -> None:
        from projections.store import StoreUnavailableError

        await asyncio.sleep(self.network.delay("store"))
        if not self.network.reaches(node, "store") or self.network.fate("store") in (
            Fate.UNANSWERED,
            Fate.LATE,
        ):
            await asyncio.sleep(0.5)
            raise StoreUnavailableError("sim", "no answer")

    # -- processes -----------------------------------------------------------------------------------------------

    def start(self, name: str, role: str) -> Process:
        """A process comes up, or up again."""
        node = self.loop.node(name)
        node.skew = self.nemeses.skew_of(name)
        process = Process(self, name, role, node)
        self.processes[name] = process
        self.wanted[name] = role
        process.start()
        return process

    def kill(self, name: str) -> None:
        self.loop.kill(self.processes[name].node)

    # -- the course of a world -----------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """From the provisioned beginning through the storm to the calm, and then it is checked."""
        from tests.simulation.checker import check

        with sealed(self):
            try:
                self.loop.run_until_complete(self._course())
            except DeadlockError:
                self.violation("nothing would ever happen again")
        if not self.violations or all(not text.startswith("not quiet") for text in self.violations):
            check(self)
        for node, error in self.loop.exceptions:
            self.note(f"{node}: nobody heard {type(error).__name__}: {error}")
        trace = self.broker.trace.copy()
        trace.update(f"{self.loop.steps}|{self.loop.now:.6f}|{len(self.inbox.cdrs)}".encode())
        return Outcome(
            self.seed,
            trace.hexdigest(),
            self.loop.steps,
            self.violations,
            self.notes,
            self.shape,
            self.nemeses.done,
        )

    async def _course(self) -> None:
        snapshot = genesis()
        self.broker.begin_from(snapshot.broker)
        self.shelf = snapshot.shelf.fork()
        self.broker.begin()
        outbox.MOST_NAMED = self.shape.most_named  # type: ignore[misc]
        shape = self.shape
        for role, count in (
            ("decider", shape.deciders),
            ("projector", shape.projectors),
            ("effects", shape.effects),
            ("gateway", shape.gateways),
            ("api", 1 + (shape.keys > 0)),
        ):
            for number in range(count):
                self.start(f"{role}-{number}", role)
        running: list[asyncio.Task[Any]] = []
        for id in CHARGE_POINTS[: shape.charge_points]:
            charge_point = ChargePoint(self, id, draw_quirks(self.chance))
            self.charge_points.append(charge_point)
            self.loop.spawn(charge_point.node, charge_point.run())
            running.append(self.loop.spawn(charge_point.node, self._drivers(charge_point)))
        if shape.operators:
            running.append(self.loop.spawn(self.loop.world, self._operators()))
        if shape.keys:
            running.append(self.loop.spawn(self.loop.world, keys.course(self)))
        if shape.pushes:
            running.append(self.loop.spawn(self.loop.world, location.course(self)))
        if shape.foreign:
            running.append(self.loop.spawn(self.loop.world, cpo.pushing(self)))
        if shape.job:
            running.append(self.loop.spawn(self.loop.world, job_in(self)))
        if shape.asks:
            running.append(self.loop.spawn(self.loop.world, app_in(self)))
        if shape.wishes:
            running.append(self.loop.spawn(self.loop.world, wishes.course(self)))
        if shape.strangers:
            running.append(self.loop.spawn(self.loop.world, self._herd()))
        if shape.live:
            self.loop.spawn(self.loop.world, self.listener.listen())
        storm = asyncio.create_task(self.nemeses.rage())
        await asyncio.sleep(shape.storm)
        storm.cancel()
        self.nemeses.calm()
        await self._partner_is_back("after the storm")
        await asyncio.gather(*running)
        if self.poisoned:
            await self._mend()
        await self._quiet()
        if shape.operators and not self.violations:
            await self._call_once_more()
            await self._quiet()
        if shape.keys and not self.violations:
            await keys.at_rest(self)
        if shape.strangers and not self.violations:
            await self._one_by_one()
        if shape.months and not self.violations:
            await self._months()

    # -- strangers ---------------------------------------------------------------------------------------------

    async def _herd(self) -> None:
        """Strangers come at once; of one an operator rids the tenant again."""
        await asyncio.sleep(self.chance.random() * self.shape.storm / 4)
        coming = [self._stranger() for _ in range(self.shape.strangers)]
        await asyncio.sleep(self.chance.random() * self.shape.storm / 4)
        process = self.processes["api-0"]
        if process.bus is not None and process.node.alive:
            self.loop.spawn(process.node, self._remove(process, self.strangers[0], "storm"))
        await asyncio.gather(*coming)

    def _stranger(self) -> asyncio.Task[None]:
        stranger = Stranger(self, f"NEW-{len(self.strangers)}")
        self.strangers.append(stranger)
        return self.loop.spawn(stranger.node, stranger.come())

    async def _remove(self, process: Process, stranger: Stranger, when: str) -> None:
        command = Remove(tenant=TENANT, charge_point_id=stranger.id)
        meta = Meta(command_id=f"remove|{stranger.id}|{when}", at=process.clock(), tenant=TENANT)
        with contextlib.suppress(LogUnavailableError):
            assert process.bus is not None
            await process.bus.ask(command, meta)

    async def _one_by_one(self) -> None:
        """On a quiet day each is let in or sent away by what there is in the log; a place given back is given."""
        from tests.simulation.checker import read, registered

        for turn in range(4):
            if turn == 2:
                there = registered(read(self)).automatic
                last = next((one for one in self.strangers if one.id in there), None)
                if last is not None:
                    api = self.processes["api-0"]
                    await self.loop.spawn(api.node, self._remove(api, last, "calm"))
            await self._quiet()
            await asyncio.sleep(FRESH + 1)
            expected = len(registered(read(self)).automatic) < ROOM
            await self._stranger()
            if self.strangers[-1].let_in is not expected:
                self.violation(
                    f"quota: {self.strangers[-1].id} was let in: {not expected}, by the log {expected}"
                )
        await self._quiet()

    # -- months ------------------------------------------------------------------------------------------------

    async def _months(self) -> None:
        """What was over for long is forgotten; then it is asked for again in every way that there is.

        A charge that a person has ended gets its true stop, or one that has run all the while ends; the id of a
        remote command comes again, a CDR is to be delivered once more, deciders begin anew, without states perhaps,
        and the log's servers forget how far the processes have come.
        """
        point, api = self.charge_points[0], self.processes["api-0"]
        gate = asyncio.Event()
        held = self.loop.spawn(point.node, point.charge(1, TAGS[0], 2, 1.0, until=gate))
        self._command(api, "rc-month", ClearCache(), 30.0)
        await asyncio.sleep(0.1)
        charge = point.charges[-1]
        while charge.transaction_id is None:  # noqa: ASYNC110  # virtual time
            await asyncio.sleep(0.5)
        end = EndTransaction(
            tenant=TENANT, charge_point_id=point.id, transaction_id=charge.transaction_id, reason="it is gone"
        )
        if self.chance.random() < 0.6:
            await self._ask_for(end, "month-end")
        await self._quiet()
        for month in range(2):
            await asyncio.sleep(1.3 * MONTH)
            for area in self.areas:
                self.broker.expire_before(commands_topic(area), self.broker.wall_ms() - int(MONTH * 1000))
            storm = asyncio.create_task(self.nemeses.rage())
            for number in range(3):
                await self.loop.spawn(point.node, point.charge(2, TAGS[number % len(TAGS)], 1, 0.5))
                # By what is decided in it, a partition knows how late it is.
                self._command(api, f"rc-{month}-{number}", ClearCache(), 30.0)
            await asyncio.sleep(2 * self.shape.checkpoint_every + 1)
            storm.cancel()
            self.nemeses.calm()
            await self._partner_is_back(f"in month {month}")
            if self.poisoned:
                await self._mend()
            await self._quiet()
            for area in self.areas:
                self.broker.compact(state_topic(area))
            if self.chance.random() < 0.5:
                if month and self.chance.random() < 0.5:
                    # It stands beside the decider's own position.
                    positions = self.broker.group("decider").positions
                    positions.update({place: Position(at.offset) for place, at in positions.items()})
                await self._begin_anew()
        self._command(api, "rc-month", Reset(type=ResetKind.SOFT), 30.0, again="again")
        gate.set()
        await held
        await self._quiet()
        if self.shape.effects:
            for first in point.charges[:2]:
                if first.transaction_id is not None and first.tag != OWN_TAG:
                    cdr = session_id(TENANT, point.id, first.transaction_id)
                    await self._ask_for(
                        Retry(to=EMSP, module="cdrs", object_id=cdr, by="ann"), f"month-{cdr}"
                    )
        await self._quiet()
        if self.chance.random() < 0.4:
            for area in self.areas:
                self.broker.expire(state_topic(area))
            await self._begin_anew()
            await self.loop.spawn(point.node, point.charge(2, TAGS[0], 1, 0.5))
            await self._quiet()

    async def _partner_is_back(self, when: str) -> None:
        if "gone" in self.shape.faults:
            while not self.processes["api-0"].ready:  # noqa: ASYNC110  # virtual time
                await asyncio.sleep(0.5)
            await self._ask_for(Resume(partner_id="tnm"), f"partner is back {when}")

    async def _begin_anew(self) -> None:
        """All deciders."""
        for name in [name for name, role in self.wanted.items() if role == "decider"]:
            self.kill(name)
            self.start(name, "decider")
        await self._quiet()

    async def _ask_for(self, command: Command, id: str) -> None:
        """An operator asks, until there is an answer."""
        api = self.processes["api-0"]
        meta = Meta(command_id=id, at=api.clock(), tenant=TENANT, principal="operator:ann")
        await self.loop.spawn(api.node, _ask(api, command, meta))

    async def _call_once_more(self) -> None:
        """On a quiet day a call gets to its charge point, whatever calls before it were never answered."""
        point, api = self.charge_points[0], self.processes["api-0"]
        connection = self._connection_of(point)
        before = len(point.calls)
        if connection is None:
            return
        deadline = self.loop.now + ANSWERED_WITHIN
        while "rc-last" not in self.commands and self.loop.now < deadline:
            # Behind an append of the storm that the log never answered, it may have to be asked for again.
            await self._command(api, "rc-last", ClearCache(), ANSWERED_WITHIN)
        while len(point.calls) == before and self._connection_of(point) is connection:
            if self.loop.now > deadline:
                self.violation(f"calls: {point.id} was not called in {ANSWERED_WITHIN:g} s of calm")
                return
            await asyncio.sleep(1.0)

    def _connection_of(self, point: ChargePoint) -> Any:
        for _, gateway in self.gateways():
            for connection in gateway.registry:
                if connection.key[1] == point.id and connection.is_open:
                    return connection
        return None

    async def _mend(self) -> None:
        """The mistake is found, and who was parked for it is tried again."""
        self.poisoned.clear()

        async def retry() -> None:
            parking = Parking(self.processes["api-0"].log)
            for id in sorted(await parking.all()):
                await parking.retry(id)

        deadline = self.loop.now + self.shape.longest_calm
        while not self.processes["api-0"].ready or any(not point.idle for point in self.charge_points):
            if self.loop.now > deadline:
                return
            await asyncio.sleep(1.0)
        await asyncio.sleep(6.0)
        await self.loop.spawn(self.processes["api-0"].node, retry())

    async def _drivers(self, charge_point: ChargePoint) -> None:
        chance = self.chance
        for number in range(self.shape.charges):
            await asyncio.sleep(chance.random() * self.shape.storm / 4)
            tag = TAGS[int(chance.random() * len(TAGS)) * (not self.shape.exclusive)]
            pause = self.shape.storm / (4 * self.shape.charges)
            await charge_point.charge(
                1 + (number % 2),
                tag,
                int(chance.random() * self.shape.readings),
                pause * (0.3 + chance.random()) * 4 / self.shape.readings,
            )

    async def _operators(self) -> None:
        chance = self.chance
        intents: tuple[Intent, ...] = (
            ClearCache(),
            Reset(type=ResetKind.SOFT),
            Unlock(connector_id=1),
        )
        for number in range(4):
            await asyncio.sleep(chance.random() * self.shape.storm / 3)
            process = self.processes.get("api-0")
            if process is None or not process.node.alive or process.bus is None:
                continue
            intent = intents[int(chance.random() * len(intents))]
            self._command(process, f"rc-{number}", intent, 30.0)

    def _command(
        self,
        process: Process,
        id: str,
        intent: Intent,
        within: float,
        again: str = "",
    ) -> asyncio.Task[None]:
        """An operator asks for it, through this process; within so many seconds or not at all."""
        bus, now = process.bus, process.clock()
        assert bus is not None
        command = RequestRemoteCommand(
            tenant=TENANT,
            command_id=id,
            charge_point_id=self.charge_points[0].id,
            command_type=kind_of(intent),
            intent=intent,
            fingerprint=id + again,
            by="operator:ann",
            expires_at=now + timedelta(seconds=within),
        )
        meta = Meta(command_id=f"remote|{id}{again}", at=now, tenant=TENANT, principal="operator:ann")

        async def ask() -> None:
            with contextlib.suppress(LogUnavailableError):
                await bus.ask(command, meta)
                self.commands.append(id)

        return self.loop.spawn(process.node, ask())

    async def _quiet(self) -> None:
        """Until nothing is left to be done and nothing has happened for a while."""
        from tests.simulation.checker import undone

        deadline = self.loop.now + self.shape.longest_calm
        while True:
            if next(undone(self), None) is None:
                return
            if self.loop.now > deadline:
                left = "; ".join(itertools.islice(undone(self), 5))
                self.violation(f"not quiet {self.shape.longest_calm:g} s after the storm: {left}")
                return
            await asyncio.sleep(1.0)


def draw_shape(chance: Random) -> Shape:
    """Some of everything, so that what seldom meets meets now and then."""

    def yes(share: float) -> bool:
        return chance.random() < share

    whole = yes(0.45)  # else the log's side alone: cheaper, and most of what can be lost is lost there
    operators = yes(0.25)
    faust = whole and yes(0.3)
    areas = [Area.CHARGE_POINT, Area.SESSION, Area.DELIVERY]
    areas += [Area.REMOTE_COMMAND] * operators + [Area.TOKEN] * faust + [Area.PARTY] * yes(0.08)
    return Shape(
        gateways=1 + yes(0.25),
        deciders=1 + yes(0.5),
        projectors=whole and 1 + yes(0.25),
        effects=whole and 1 + yes(0.2),
        charge_points=1 + yes(0.12),
        charges=1 + yes(0.25),
        faust=faust,
        areas=tuple(areas),
        faust_skips=0.2 if yes(0.3) else 0.0,
        mqtt=whole and yes(0.25),
        public=whole and yes(0.25),
        frames=whole and yes(0.1),
        operators=operators,
        stories=yes(0.2),
        checkpoint_every=1.0 + chance.random() * 6,
        hot=1 + int(chance.random() * 6),
        storm=3.0 + chance.random() * 7,
        faults=Nemeses.draw(chance),
        most_in_a_sink=chance.choice((2, 12, 5_000)),
        most_named=chance.choice((0, 1, 100)),
        months=yes(0.02),  # one costs five others
        strangers=5 * yes(0.06),
        wishes=(wishing := yes(0.12)),
        longest_calm=10 * LONGEST_CALM if wishing else LONGEST_CALM,
    )


def draw_quirks(chance: Random) -> Quirks:
    def some(share: float, value: float) -> float:
        return value if chance.random() < share else 0.0

    return Quirks(
        clock_s=some(0.2, chance.choice((-7200.0, 3600.0, 90.0, -40.0))),
        repeats=some(0.3, 0.3),
        deaf=some(0.3, 0.5),
        impatient=6.0 + chance.random() * 20,
        statuses=chance.random() < 0.8,
        reboots=some(0.4, 0.5),
        forgets_values=some(0.4, 0.6),
        keeps_values=chance.random() < 0.8,
        slow=some(0.4, 0.5),
    )


# -- the provisioned beginning -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Snapshot:
    broker: Broker
    shelf: Shelf


_genesis: list[Snapshot] = []


def genesis() -> Snapshot:
    """A provisioned log with its read models, made once a process."""
    if not _genesis:
        raise RuntimeError("prepare() comes first")
    return _genesis[0]


def prepare() -> None:
    """Make the beginning of all worlds, and set this process up for them."""
    from tests.simulation.checker import know

    if _genesis:
        return
    take_real_clocks_away()
    checkpoints.SAVED_AT_ONCE = 1
    blocks.BLOCK_SIZE = 1_000
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda _: None  # a killed process's coroutines end in the middle
    world = World(0, Shape(deciders=1, projectors=1, charge_points=0, storm=0, faults=()))

    async def course() -> None:
        world.broker.make(topology.topics(Layout(PARTITIONS)))
        world.broker.begin()
        first = SimLog(world.broker, world.loop.node("genesis"))
        await first.start()
        await found(first, PARTITIONS)
        await first.close()
        for name in ("decider", "projector", "api"):
            world.start(f"genesis-{name}", name)
        api = world.processes["genesis-api"]
        while not api.ready:  # noqa: ASYNC110  # virtual time
            await asyncio.sleep(0.1)
        vault = Vault(MASTER_KEY, StoreKeys(SimReadStore(world.shelf)), monotonic=world.loop.time)
        number, holder = 0, ""
        async for group in provisioning(vault):
            for command in group:
                number += 1
                meta = Meta(command_id=f"genesis|{number}", at=api.clock(), tenant=TENANT)
                if isinstance(command, CreatePartner):
                    holder = holder_text(command.partner_id, meta.at)
                elif isinstance(command, PutToken) and command.owner is not None:
                    command = msgspec.structs.replace(command, holder=holder)
                asking = world.loop.spawn(api.node, _ask(api, command, meta))
                reply = await asking
                assert reply.refusal is None, reply
        await asyncio.sleep(20)
        for name in list(world.processes):
            world.kill(name)

    with sealed(world):
        world.loop.run_until_complete(course())
    world.broker.flush()
    for group in world.broker.groups.values():
        group.seats.clear()
    _genesis.append(Snapshot(world.broker, world.shelf))
    know(world.broker)
    # What is broken off in the middle must not end in the time and with the chance of another world: worlds run in
    # children of this process, and what they leave behind goes with these.
    gc.collect()
    gc.freeze()
    gc.disable()


async def _ask(process: Process, command: Command, meta: Meta) -> Any:
    while True:
        try:
            assert process.bus is not None
            return await process.bus.ask(command, meta)
        except LogUnavailableError:
            await asyncio.sleep(0.2)


# -- chance and time -----------------------------------------------------------------------------------------------


_real_monotonic = time.monotonic


def _monotonic() -> float:
    """The monotonic clock of the world that runs."""
    return time.monotonic()


def take_real_clocks_away() -> None:
    """What takes the monotonic clock as a default has bound the real one when its module was imported."""
    for name, module in list(sys.modules.items()):
        if not name.startswith(PRODUCT):
            continue
        for one in vars(module).values():
            for function in vars(one).values() if isinstance(one, type) else (one,):
                if not inspect.isfunction(function):
                    continue
                if function.__defaults__ is not None:
                    function.__defaults__ = tuple(map(_of_the_world, function.__defaults__))
                if function.__kwdefaults__ is not None:
                    for key, value in function.__kwdefaults__.items():
                        function.__kwdefaults__[key] = _of_the_world(value)


def _unheard(_: object) -> None:
    """What is added to a set that nobody looks into."""


def _of_the_world(default: Any) -> Any:
    return _monotonic if default is _real_monotonic else default


PRODUCT: Final = (
    "api.",
    "application.",
    "chargesphere.",
    "commands.",
    "domain.",
    "gateway.",
    "projections.",
    "streams.",
)


@contextlib.contextmanager
def sealed(world: World) -> Iterator[None]:
    """While a world runs, time and chance come from it alone."""
    loop, network = world.loop, world.network
    urandom = Random(world.seed ^ 0x5EED)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return network.wall_time(current_node.get(loop.world))

        @classmethod
        def fromtimestamp(cls, timestamp: float, tz: Any = None) -> Any:
            return datetime.fromtimestamp(timestamp, tz)

    def random_bytes(count: int) -> bytes:
        return urandom.randbytes(count)

    def quick_hash(password: bytes, salt: bytes) -> str:
        return f"quick:{salt.hex()}:{password.hex()}"

    before = [
        (time, "monotonic", time.monotonic),
        (time, "time", time.time),
        (time, "time_ns", time.time_ns),
        (os, "urandom", os.urandom),
        (random, "_urandom", random._urandom),  # type: ignore[attr-defined]
    ]
    for module, name in _CLOCKED:
        found = importlib.import_module(module)
        if hasattr(found, name):
            before.append((found, name, getattr(found, name)))
            setattr(found, name, Clock)
    credentials = importlib.import_module("gateway.ocpp.credentials")
    before.append((credentials, "hash_password", credentials.hash_password))
    before.append((credentials, "verify_password", credentials.verify_password))
    credentials.hash_password = quick_hash  # type: ignore[attr-defined]
    credentials.verify_password = (  # type: ignore[attr-defined]
        lambda password, stored: stored.endswith(f":{password.hex()}")
    )
    if world.shape.exclusive:
        tenant, transactions = (importlib.import_module(name) for name in _TAGS)
        settings = tenant.Configuration.settings
        before.append((tenant.Configuration, "settings", settings))
        tenant.Configuration.settings = lambda self, revision, hub: msgspec.structs.replace(
            settings(self, revision, hub), concurrent_transactions=False
        )
        # A world lasts less than the minute for which starts count as kept.
        before.append((transactions, "UNSURE", transactions.UNSURE))
        transactions.UNSURE = timedelta(0)  # type: ignore[attr-defined]
    vault = importlib.import_module("application.vault")
    real = vault.AESGCM

    class Keys:
        """Data keys come from the seed too."""

        def __new__(cls, key: bytes) -> Any:
            return real(key)

        @staticmethod
        def generate_key(bits: int) -> bytes:
            return random_bytes(bits // 8)

    before.append((vault, "AESGCM", real))
    vault.AESGCM = Keys  # type: ignore[attr-defined]
    # asyncio's own set of all tasks, for which nobody asks: those of a killed process would stay in it.
    every_task = [
        tasks
        for name in ("_all_tasks", "_scheduled_tasks")
        if (tasks := getattr(asyncio.tasks, name, None)) is not None
    ]
    for tasks in every_task:
        tasks.add = _unheard
    time.monotonic = loop.time
    time.time = lambda: network.wall(current_node.get(loop.world))
    time.time_ns = lambda: int(network.wall(current_node.get(loop.world)) * 1e9)
    os.urandom = random_bytes
    random._urandom = random_bytes  # type: ignore[attr-defined]
    state = random.getstate()
    random.seed(world.seed)
    try:
        yield
    finally:
        random.setstate(state)
        for changed, name, value in before:
            setattr(changed, name, value)
        for tasks in every_task:
            del tasks.add


_TAGS = ("domain.tenant", "commands.charge_point.transactions")
_CLOCKED = (
    ("streams.following.sink", "datetime"),
    ("streams.following.facts", "datetime"),
    ("streams.projecting.projector", "datetime"),
)


def digest(values: Mapping[str, Any]) -> int:
    """A number that stands for these values."""
    return zlib.crc32(repr(sorted(values.items())).encode())


_ = (UTC, CALM, Weather, Callable, field, passwords)
