"""The processes of a world: the real engines, put together as the front door does, over simulated adapters.

Faust itself cannot run here; its part is played by `SimFaust`: the product's own rows and epochs, driven by a
stand-in that skips records after a kill, as Faust was measured to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from application.authorization import TagAuthorizer
from application.directory import StoreDirectory, StoreTariffs
from application.frame_audit import FrameRecorder
from application.keys import LogKeys
from application.limiter import LocalLimiter
from application.live.fanout import Fanout
from application.live.subscription import Bounds
from application.quota import LogQuota
from application.vault import StoreKeys, Vault
from chargesphere import registry
from chargesphere.backbone import PROJECTOR, SWEEP_BEHIND, SWEEPER
from commands.base import Area, Command, Meta
from commands.processes import POLICIES, REFUSALS, Policies
from domain.aggregate import Event
from domain.charge_point.events import (
    MeterValuesRecorded,
    ReadingTaken,
    TransactionStarted,
    TransactionStopped,
)
from domain.values import PartyId
from gateway.mqtt.connection import Broker as MqttBroker
from gateway.mqtt.connection import BrokerAwayError, Outgoing
from gateway.mqtt.publisher import Teller
from gateway.mqtt.publisher import sink_of as mqtt_sink
from gateway.ocpi.partners import PartnerBook
from gateway.ocpi.real_time import OcpiRealTime
from gateway.ocpi.sender import OcpiSender
from gateway.ocpp.options import Options
from gateway.ocpp.orphaned_connections import end_lost_connections
from gateway.ocpp.server import OcppGateway
from gateway.ocpp.services import Services as OcppServices
from projections.store.generations import Generation
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LogChannel
from streams.deciding.decider import Decider
from streams.deciding.feed import Feed
from streams.deciding.processes import Processes
from streams.effects.deliveries import Deliveries
from streams.effects.originals import Originals
from streams.effects.public import PublicTopics
from streams.effects.pushes import Pushes
from streams.faust.epochs import Epochs
from streams.faust.rows import Change, RowProjector
from streams.following.facts import TransientError
from streams.following.follower import Follower
from streams.following.group import Group
from streams.following.readings import Readings
from streams.log import Listener, LogUnavailableError, Position, Record, TopicPartition
from streams.log.envelope import Reply, decode_events
from streams.log.founding import join
from streams.log.topology import FAUST, FAUST_TABLES, events_topic
from streams.projecting.frames import FrameProjector
from streams.projecting.projector import Projector
from tests.simulation.facts import MASTER_KEY
from tests.simulation.log import SimLog
from tests.simulation.loop import Node
from tests.simulation.network import Fate
from tests.simulation.partner import SimOcpiClient
from tests.simulation.store import SimReadStore

if TYPE_CHECKING:
    from tests.simulation.world import World

logger = logging.getLogger(__name__)

HUB = PartyId(country_code="DE", party_id="HUB")
MISTAKEN: Final = (MeterValuesRecorded, TransactionStarted, TransactionStopped)
"""From one of them nothing can be worked out in a poisoned world."""
OPTIONS = Options(lost_after=1.0, ping_every=20.0, silent_after=60.0, sweep_every=5.0)


@dataclass(slots=True)
class Asked:
    """One question to the log as its asker sees it; times are the world's."""

    command_id: str
    aggregate: str
    asked_at: float
    until: float = 0.0
    """When it is no longer waited for."""
    answered_at: float = 0.0
    reply: Reply | None = None
    told: bool = False
    beside: bool = False
    """Whether it is a reading that nobody decides."""


class WatchedBus(CommandBus):
    """The edges' way in, with a ledger of what was asked and answered."""

    def __init__(self, log: SimLog, channel: LogChannel, ledger: list[Asked]) -> None:
        super().__init__(log, channel)
        self._sim = log
        self._ledger = ledger

    async def tell(self, command: Command, meta: Meta) -> None:
        asked = Asked(meta.command_id, command.aggregate_id, self._sim.loop.now, told=True)
        await super().tell(command, meta)
        asked.answered_at = self._sim.loop.now
        self._ledger.append(asked)

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        now = self._sim.loop.now
        asked = Asked(meta.command_id, command.aggregate_id, now, now + (timeout or self._patience))
        asked.reply = await super().ask(command, meta, timeout)
        asked.answered_at = self._sim.loop.now
        self._ledger.append(asked)
        return asked.reply


class WatchedReadings(Readings):
    """The edge's way to what nobody decides, with the same ledger."""

    def __init__(self, log: SimLog, ledger: list[Asked]) -> None:
        super().__init__(log, registry.EVENTS)
        self._sim = log
        self._ledger = ledger

    async def append(self, reading: ReadingTaken, meta: Meta) -> int:
        asked = Asked(meta.command_id, reading.originator_id, self._sim.loop.now, told=True, beside=True)
        offset = await super().append(reading, meta)
        asked.answered_at = self._sim.loop.now
        self._ledger.append(asked)
        return offset


class _Gateway(OcppGateway):
    """Without sockets: simulated charge points call what the websocket server would."""

    async def begin(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep_forever())
        self._undertaker = asyncio.create_task(end_lost_connections(self._services, self.registry))
        self._teller = asyncio.create_task(self._knocks.run())


class StoreNetwork:
    """The way of one process to the read store."""

    def __init__(self, world: World, node: Node) -> None:
        self._world = world
        self._node = node

    async def request(self, kind: str) -> None:
        trap = self._node.trap
        if trap is not None and trap("store" if kind == "apply" else "reads"):
            await asyncio.sleep(0)
        await self._world.store_request(self._node)

    async def response(self, kind: str) -> None:
        await self._world.store_response(self._node)

    def cut(self, count: int) -> int:
        """A bulk is done in part now and then, where the weather is bad."""
        if self._world.network.fate("store") is Fate.DONE:
            return count
        return int(self._world.loop.chance.random() * count)


@dataclass
class Process:
    """One life of one process. `engines` by name, for the checker."""

    world: World
    name: str
    role: str
    node: Node
    engines: dict[str, Any] = field(default_factory=dict)
    bus: WatchedBus | None = None
    ready: bool = False

    def start(self) -> None:
        """Begin, in the process's own time."""
        self.world.loop.spawn(self.node, self._run())

    def clock(self) -> datetime:
        return self.world.network.wall_time(self.node)

    async def _run(self) -> None:
        world = self.world
        self.log = SimLog(world.broker, self.node)
        while True:
            try:
                await self.log.start()
                await join(self.log)
                break
            except LogUnavailableError:
                await asyncio.sleep(0.5)
        self.store = SimReadStore(world.shelf, StoreNetwork(world, self.node))
        self.channel = LogChannel(self.name, self.log)
        self.bus = WatchedBus(self.log, self.channel, world.asked)
        self.vault = Vault(MASTER_KEY, StoreKeys(self.store), monotonic=world.loop.time)
        self.limiter = LocalLimiter(world.loop.time)
        self.keep("channel", self.channel.run)
        await ROLES[self.role](self)
        self.ready = True

    def keep(self, name: str, run: Callable[[], Any]) -> None:
        """As the backbone does: an engine that raises is started again."""
        asyncio.create_task(self._keep(name, run), name=name)  # noqa: RUF006  # the loop keeps a node's tasks

    async def _keep(self, name: str, run: Callable[[], Any]) -> None:
        wait = 0.5
        while True:
            try:
                await run()
                return
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self.world.note(f"{self.name}: {name} starts again: {type(error).__name__}: {error}")
            await asyncio.sleep(wait)
            wait = min(wait * 2, 10.0)

    # -- roles -------------------------------------------------------------------------------------------------

    async def decider(self) -> None:
        world = self.world
        feed = Feed()
        processes = Processes(
            self.log,
            self._policies(),
            REFUSALS,
            registry.EVENTS,
            registry.RULES.commands,
            self.name,
            self.clock,
            feed.join,
            areas=world.areas,
            retention=world.retention,
        )
        decider = Decider(
            self.log,
            world.rules,
            self.channel,
            self.name,
            self.clock,
            areas=world.areas,
            checkpoint_every=world.shape.checkpoint_every,
            commit_every=1.0,
            hot=world.shape.hot,
            resend=processes.again,
            feed=feed,
        )
        self.engines["decider"], self.engines["processes"] = decider, processes
        self.keep("decider", decider.run)
        self.keep("processes", processes.run)

    def _policies(self) -> Policies:
        """Those of the product, with a mistake in one where the world is poisoned."""
        if "poison" not in self.world.shape.faults:
            return POLICIES

        def mistaken(event: Event, meta: Meta) -> Sequence[Command]:
            if self.world.poisoned.get(event.originator_id) is type(event):
                raise ZeroDivisionError("a mistake of ours")
            return ()

        return {
            **POLICIES,
            **{event: (*POLICIES.get(event, ()), ("mistaken", mistaken)) for event in MISTAKEN},
        }

    async def projector(self) -> None:
        world = self.world
        projector = Projector(
            self.store,
            registry.EVENTS,
            registry.VIEWS,
            registry.FEEDS,
            registry.BLOCKS,
            stories=registry.told if world.shape.stories else None,
            reread_every=1.0,
        )
        swept = (Area.SESSION, Area.TOKEN) if world.shape.faust else ()
        first = [area for area in world.areas if area not in swept]
        follower = Follower(
            self.log,
            PROJECTOR,
            first,
            self.name,
            projector.handle,
            readings=True,
            commit_every=1.0,
            forget=projector.forget,
            keeper=projector.kept,
        )
        self.engines["projector"], self.engines["projector-follower"] = projector, follower
        self.keep("projector", follower.run)
        if world.shape.frames:
            frames = FrameProjector(self.log, self.store, self.name)
            self.engines["frames"] = frames
            self.keep("frames", frames.run)
        if not swept:
            return
        sweeper = Projector(
            self.store,
            registry.EVENTS,
            registry.VIEWS,
            registry.FEEDS,
            stories=registry.told if world.shape.stories else None,
            sweeping=True,
            reread_every=1.0,
        )
        sweep = Follower(
            self.log,
            SWEEPER,
            swept,
            self.name,
            sweeper.handle,
            behind=SWEEP_BEHIND,
            commit_every=1.0,
            forget=sweeper.forget,
        )
        self.engines["sweeper"], self.engines["sweeper-follower"] = sweeper, sweep
        self.keep("sweeper", sweep.run)
        faust = SimFaust(self)
        self.engines["faust"] = faust
        self.keep("faust", faust.run)

    async def effects(self) -> None:
        world = self.world
        client: Any = SimOcpiClient(world.network, self.node, world.inbox)
        partners = PartnerBook(self.store, self.vault, world.loop.time)
        sender = OcpiSender(self.vault, partners, client, self.clock)
        assert self.bus is not None
        log, bus, store, gate = self.log, self.bus, self.store, world.gate
        pushes = Pushes(log, bus, registry.EVENTS, registry.PUSHED, store, sender, gate, self.clock)
        originals = Originals(log, registry.EVENTS, registry.DELIVERED, store)
        deliveries = Deliveries(log, bus, registry.EVENTS, originals.find, sender, gate, self.clock)
        sinks = [pushes.sink, deliveries.sink]
        if world.shape.public:
            sinks.append(PublicTopics(self.log, registry.EVENTS).sink)
        if world.shape.mqtt:
            teller = Teller(self.store, registry.EVENTS, SimMqtt(world, self.node))
            sinks.append(mqtt_sink(self.log, teller, teller.handle))
        apart = world.shape.most_in_a_sink
        for sink in sinks:
            sink.most_in_all = apart
            self.engines[sink.name] = sink
        self.keep("effects", Group(self.log, "effects", self.name, sinks, most_apart=apart).run)

    async def gateway(self) -> None:
        world = self.world
        assert self.bus is not None
        client: Any = SimOcpiClient(world.network, self.node, world.inbox)
        partners = PartnerBook(self.store, self.vault, world.loop.time)
        authorizer = TagAuthorizer(
            self.store,
            self.vault,
            self.bus,
            OcpiRealTime(partners, client, (HUB.country_code, HUB.party_id)),
            self.clock,
        )
        frames: Any = _NoFrames()
        if world.shape.frames:
            frames = FrameRecorder(self.log, self.vault, clock=world.loop.time)
            self.keep("frame-recorder", frames.run)
        directory = StoreDirectory(self.store, HUB)
        gateway = _Gateway(
            OcppServices(
                channel=self.channel,
                bus=self.bus,
                readings=WatchedReadings(self.log, world.asked),
                directory=directory,
                quota=LogQuota(self.bus, self.clock),
                authorizer=authorizer,
                tariffs=StoreTariffs(self.store, directory),
                vault=self.vault,
                frames=frames,
                clock=self.clock,
                options=OPTIONS,
            )
        )
        await gateway.begin()
        self.engines["gateway"] = gateway

    async def api(self) -> None:
        """Its bus, through which operators ask, live streams that are soon full, and what it knows of keys."""
        if self.world.shape.live:
            self.engines["live"] = Fanout(self.log, Bounds(waiting=2, kept=4, turn=20, apart=0.1, linger=0.1))
        if not self.world.shape.keys:
            return
        keys = LogKeys(self.log, self.store, _One(), registry.EVENTS, PROJECTOR, self.vault, self.clock)
        self.engines["keys"] = keys
        self.keep("keys", keys.run)


ROLES: dict[str, Callable[[Process], Any]] = {
    "decider": Process.decider,
    "projector": Process.projector,
    "effects": Process.effects,
    "gateway": Process.gateway,
    "api": Process.api,
}


class _One:
    """Read models of one generation."""

    known = Generation()

    async def newest(self) -> Generation:
        return self.known


class _NoFrames:
    def record(self, frame: object) -> None:
        """Nothing: this world has no audit."""


class SimMqtt(MqttBroker):
    """The broker as one process sees it; it remembers what it acknowledged, and takes what it does not."""

    def __init__(self, world: World, node: Node) -> None:
        self._world = world
        self._node = node

    async def publish(self, messages: Sequence[Outgoing], acknowledged: set[str]) -> None:
        network = self._world.network
        for message in messages:
            await asyncio.sleep(network.delay("mqtt"))
            if not network.reaches(self._node, "mqtt"):
                await asyncio.sleep(0.5)
                raise BrokerAwayError("the simulated broker is away")
            self._world.published.append((message.topic, message.event_id, message.payload))
            acknowledged.add(message.event_id)


class SimFaust(Listener):
    """Faust's part: a consumer of its own group with tables from changelogs; after a kill it may skip records."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._log = process.log
        self._epochs = Epochs(self._log, SWEEPER)
        self._rows = RowProjector(process.store, registry.FAUST_VIEWS)
        self._areas = {events_topic(area): area for area in FAUST_TABLES}
        self._tables: dict[TopicPartition, dict[str, bytes | None]] = {}
        self._done: dict[TopicPartition, int] = {}
        self.gaps = 0

    async def run(self) -> None:
        member = self._log.member(FAUST, tuple(self._areas), self._process.name, self)
        await member.start()
        try:
            while True:
                try:
                    batches = await member.poll(1.0, 200)
                    for place, batch in batches.items():
                        await self._take(place, batch)
                    done = {place: Position(at) for place, at in self._done.items() if place in self._tables}
                    if done:
                        await member.commit(done)
                except LogUnavailableError:
                    await asyncio.sleep(0.5)
        finally:
            await member.close()

    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        """The table from its changelog; what was polled before a kill and not done is skipped now and then."""
        for place in positions:
            changelog = self._changelog(place)
            table: dict[str, bytes | None] = {}
            for stored in self._world.broker.partitions[changelog].records:
                if stored.key is not None:
                    table[stored.key.decode()] = stored.value
            self._tables[place] = table

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        for place in places:
            self._tables.pop(place, None)
            self._done.pop(place, None)

    async def _take(self, place: TopicPartition, batch: Sequence[Any]) -> None:
        if self._world.loop.chance.random() < self._world.shape.faust_skips:
            self._done[place] = batch[-1].offset + 1
            return
        changes: list[Change] = []
        for stored in batch:
            decision = await self._epochs.admit(stored)
            if decision is not None:
                changes.extend(
                    Change(event, decision.meta) for event in decode_events(decision, registry.EVENTS)
                )
        table = self._tables.get(place, {})
        while changes:
            try:
                outcome = await self._rows.project(changes, table.get)
                break
            except (TransientError, Exception):
                await asyncio.sleep(0.5)
        else:
            outcome = None
        if outcome is not None:
            self.gaps += outcome.gaps
            table.update(outcome.rows)
            if outcome.rows:
                changelog = self._changelog(place)
                records = [Record(id.encode(), row) for id, row in outcome.rows.items()]
                await self._surely(changelog, records)
        self._done[place] = batch[-1].offset + 1

    async def _surely(self, place: TopicPartition, records: Sequence[Record]) -> None:
        """Append them, however often it takes: what was polled is not polled again."""
        while True:
            try:
                await self._log.append(place.topic, place.partition, records)
                return
            except LogUnavailableError:
                await asyncio.sleep(0.5)

    def _changelog(self, place: TopicPartition) -> TopicPartition:
        table = FAUST_TABLES[self._areas[place.topic]]
        return TopicPartition(f"{FAUST}-{table}-changelog", place.partition)
