"""The backbone of a process: the adapters that the settings pick, and the engines that its roles run on them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from application.limiter import LocalLimiter, RateLimiter, RedisLimiter
from application.vault import MasterKeyError, StoreKeys, Vault
from chargesphere import registry
from chargesphere.settings import Settings, SettingsError, local_secrets
from chargesphere.writes import (
    EmbeddedLog,
    LogBeside,
    SharedLog,
    WatchedStore,
    embedded_store,
    probe,
    shared_store,
)
from commands.base import Area
from commands.processes import POLICIES, REFUSALS
from projections.store import HUB, IndexSpec, Query, ReadStore, StoreUnavailableError, every
from projections.store.files import own_folder
from projections.store.generations import Generation
from projections.tenant import configuration_of
from streams.deciding.bus import CommandBus
from streams.deciding.channel import Channel, LocalChannel, LogChannel
from streams.deciding.decider import Decider
from streams.deciding.feed import Feed
from streams.deciding.processes import Processes
from streams.effects.gate import Gate, LocalGate, RedisGate
from streams.following.delays import Delays
from streams.following.follower import Follower
from streams.following.lag import Lag
from streams.log import LogUnavailableError
from streams.log.founding import found, join
from streams.log.topology import FAUST, topics
from streams.projecting.frames import FrameProjector
from streams.projecting.generations import in_each_generation
from streams.projecting.projector import Projector

logger = logging.getLogger(__name__)

EFFECTS = "effects"
PROJECTOR, SWEEPER = "projector", "sweeper"
"""The groups in which events become read models; Faust has its own."""

SWEEP_BEHIND = 3.0
"""How far the sweeper stays behind Faust, in seconds."""
SWEEP_GATHER = 0.5
EVENTS_GATHER = 0.025
"""Seconds between two fetches of events, of the 100 ms in which they are to be read."""
READINGS_GATHER = 0.5
"""The same of readings, which stand in blocks that are written every 2 s (ADR 18)."""
POSITIONS_EVERY = 0.25
"""Seconds between two positions of who writes read models: lists by time end where they stand."""


SHORTEST_WAIT, LONGEST_WAIT = 0.5, 10.0
RAN_WELL = 60.0
"""Seconds after which an engine that ends did not fail at its start."""


TOLD_AGAIN = 10.0
"""Seconds after which an engine that has not ended is told so again; what it has to hand over takes less."""


async def end(tasks: Sequence[asyncio.Task[None]], again: float = TOLD_AGAIN) -> None:
    """Cancel them in their order and wait for their end. A library may lose a cancellation: another one follows."""
    waiting = list(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=again)
        waiting = [task for task in waiting if not task.done()]
        if waiting:
            names = ", ".join(task.get_name() for task in waiting)
            logger.warning("%s: told to end, and not ended after %g s; told again", names, again)


def restart_wait(before: float, ran: float) -> float:
    """How long an engine that has ended waits to be started again: longer each time, until it has run well."""
    return SHORTEST_WAIT if ran >= RAN_WELL else min(max(2 * before, SHORTEST_WAIT), LONGEST_WAIT)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Backbone:
    """What every role of a process shares."""

    node: str
    settings: Settings
    log: EmbeddedLog | LogBeside | SharedLog
    store: WatchedStore
    channel: Channel
    bus: CommandBus
    vault: Vault
    limiter: RateLimiter
    gate: Gate
    jwt_keys: tuple[bytes, ...]
    clock: Callable[[], datetime] = utc_now
    lag: Lag = field(init=False)
    engines: dict[str, object] = field(default_factory=dict)
    delays: dict[str, Delays] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _prepared: set[str] = field(default_factory=set)
    _readings_days: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        beside_faust = self.settings.kafka_bootstrap is not None
        sessions = (FAUST, SWEEPER) if beside_faust else (PROJECTOR,)
        self.lag = Lag(
            self.log,
            self.clock,
            {
                **dict.fromkeys((Area.SESSION, Area.TOKEN), sessions),
                **dict.fromkeys((Area.PARTY, Area.LOCATION, Area.CHARGE_POINT), (PROJECTOR,)),
            },
            generations=self.store,
        )

    def start(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run an engine until the end; one that raises is started again, and said."""
        self._tasks.append(asyncio.create_task(self._keep(name, run), name=name))

    async def _keep(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        wait = 0.0
        while True:
            begun = loop.time()
            try:
                await run()
                return
            except asyncio.CancelledError:
                raise
            except (LogUnavailableError, StoreUnavailableError) as error:
                logger.warning("%s starts again: %s", name, error)
            except Exception:
                logger.exception("%s starts again", name)
            wait = restart_wait(wait, ran=loop.time() - begun)
            await asyncio.sleep(wait)

    def observe(self, kind: str) -> Callable[[str, float], None]:
        """Keeps the newest delays of an engine, for metrics and the bench."""
        kept = self.delays.setdefault(kind, Delays())

        def note(_: str, seconds: float) -> None:
            kept.note((seconds,))

        return note

    async def close(self) -> None:
        # What effects hand over at their end is decided before the others end.
        effects = [task for task in self._tasks if task.get_name() == EFFECTS]
        for ending in (effects, [task for task in reversed(self._tasks) if task not in effects]):
            await end(ending)
        await self.limiter.close()
        await self.gate.close()
        await self.log.close()
        await self.store.close()

    async def keep_indexes(self) -> None:
        """Make the hub's indexes, and each tenant's when it first appears; take away what has expired."""
        while True:
            try:
                await self.prepare_store()
                async for db, days in readings_days(self.store):
                    await self.prepare_store([db])
                    await self.keep_readings(db, days)
                await self.store.purge(self.clock())
            except StoreUnavailableError as error:
                logger.warning("indexes: %s", error)
            await asyncio.sleep(5.0)

    # -- roles -------------------------------------------------------------------------------------------------

    def start_channel(self, *, downlinks: bool = True) -> None:
        """Hear the replies to what this process asks, and the `downlinks` to those whom it holds."""
        self.start("channel", partial(self.channel.run, downlinks=downlinks))

    def start_probe(self) -> None:
        """Learn when a log or a store that could not be written can be again."""

        async def run() -> None:
            assert not isinstance(self.log, LogBeside)
            await probe(self.log, self.store)

        self.start("write-probe", run)

    def start_lag(self, *, read_models: bool) -> None:
        """Learn how far the decider is behind; `read_models`: they too, for who lists from them."""
        if not read_models:
            self.lag = Lag(self.log, self.clock, every=2.0)
        self.start("lag", self.lag.run)

    def start_decider(self) -> Decider:
        """Decide commands, and let processes follow events."""
        feed = Feed()
        processes = Processes(
            self.log,
            POLICIES,
            REFUSALS,
            registry.EVENTS,
            registry.RULES.commands,
            self.node,
            self.clock,
            feed.join,
        )
        decider = Decider(
            self.log, registry.RULES, self.channel, self.node, self.clock, resend=processes.again, feed=feed
        )
        self.engines["decider"], self.engines["processes"] = decider, processes
        self.start("decider", decider.run)
        self.start("processes", processes.run)
        return decider

    def start_projector(self, *, behind_faust: bool = False) -> Projector:
        """Project every event; beside Faust, what Faust owns is swept a few seconds later."""
        projector = Projector(
            self.store,
            registry.EVENTS,
            registry.VIEWS,
            registry.FEEDS,
            registry.BLOCKS,
            stories=registry.told,
            observe=self.observe("projector"),
        )
        self.engines["projector"] = projector
        swept = (Area.SESSION, Area.TOKEN) if behind_faust else ()
        first = tuple(area for area in Area if area not in swept)
        follower = Follower(
            self.log,
            PROJECTOR,
            first,
            self.node,
            projector.handle,
            readings=True,
            commit_every=POSITIONS_EVERY,
            gather=EVENTS_GATHER,
            gather_readings=READINGS_GATHER,
            forget=projector.forget,
            keeper=projector.kept,
        )
        self.engines["projector-follower"] = follower
        self._start_projecting("projector", projector, follower)
        if swept:
            sweeper = Projector(
                self.store,
                registry.EVENTS,
                registry.VIEWS,
                registry.FEEDS,
                stories=registry.told,
                sweeping=True,
            )
            sweep = Follower(
                self.log,
                SWEEPER,
                swept,
                self.node,
                sweeper.handle,
                behind=SWEEP_BEHIND,
                gather=SWEEP_GATHER,
                commit_every=POSITIONS_EVERY,
                forget=sweeper.forget,
            )
            self.engines["sweeper"], self.engines["sweeper-follower"] = sweeper, sweep
            self._start_projecting("sweeper", sweeper, sweep)
        return projector

    def _start_projecting(self, name: str, projector: Projector, follower: Follower) -> None:
        """Into the read models of the generation that is read."""

        def take(generation: Generation, store: ReadStore) -> None:
            projector.use(store)
            follower.generation = generation

        self.start(name, lambda: in_each_generation(name, self.store, take, follower.run))

    def start_frames(self) -> FrameProjector:
        """Project the audit of frames."""
        frames = FrameProjector(self.log, self.store, self.node)
        self.engines["frames"] = frames
        self.start("frames", lambda: in_each_generation("frames", self.store, frames.use, frames.run))
        return frames

    async def keep_readings(self, db: str, days: int) -> None:
        """Readings expire after the tenant's own time, which may change."""
        if self._readings_days.get(db) != days:
            await self.store.ensure([registry.READINGS_EXPIRY(db, days)])
            self._readings_days[db] = days

    async def prepare_store(self, tenants: Iterable[str] = ()) -> None:
        """Make the indexes that are missing: the hub's once, a tenant's when it is first seen."""
        specs: list[IndexSpec] = []
        names: list[str] = []
        if HUB not in self._prepared:
            names.append(HUB)
            specs.extend(spec for make in registry.HUB_INDEXES for spec in make())
        for db in tenants:
            if db not in self._prepared:
                names.append(db)
                specs.extend(spec for make in registry.TENANT_INDEXES for spec in make(db))
        if specs:
            await self.store.ensure(specs)
            self._prepared.update(names)


async def readings_days(store: ReadStore) -> AsyncIterator[tuple[str, int]]:
    """Each tenant's database, and for how many days its readings can be read."""
    async for tenant in every(store, Query(HUB, "tenants", limit=500)):
        yield str(tenant["database_name"]), configuration_of(tenant).readings_days


async def open_backbone(
    settings: Settings,
    node: str,
    data: Path,
    *,
    store_prefix: str = "",
    create_topics: bool = True,
    beside: bool = False,
) -> Backbone:
    """Connect to what the settings name, or open the embedded stand-ins in `data`; `beside`: only to read, whoever
    holds them.

    Raises LogError or SettingsError with one line where that cannot be.
    """
    log: EmbeddedLog | LogBeside | SharedLog
    if settings.kafka_bootstrap:
        log = SharedLog(settings.kafka_bootstrap)
    else:
        try:
            await asyncio.to_thread(own_folder, data)
        except OSError as error:
            raise SettingsError(f"the data folder {data} cannot be made: {error.strerror or error}") from None
        log = LogBeside(data / "log.db") if beside else EmbeddedLog(data / "log.db")
    url = settings.mongo_url
    store = shared_store(url, store_prefix) if url else embedded_store(data / "read")
    if settings.jwt_secret is not None and settings.master_key is not None:
        jwt, master = settings.jwt_secret, settings.master_key
    else:
        local_jwt, local_master = local_secrets(data)
        jwt, master = settings.jwt_secret or local_jwt, settings.master_key or local_master
    previous = (settings.jwt_secret_previous,) if settings.jwt_secret_previous else ()
    limiter: RateLimiter = RedisLimiter(settings.redis_url) if settings.redis_url else LocalLimiter()
    gate: Gate = RedisGate(settings.redis_url) if settings.redis_url else LocalGate()
    vault = Vault(master, StoreKeys(store))
    try:
        # First the log, whose lock says whether the folder is another process's.
        await log.start()
        if create_topics:
            await found(log, settings.partitions)
            await log.ensure(topics(log.layout))
        else:
            await join(log, settings.partitions)
        await _check_keys(vault)
    except BaseException:
        await limiter.close()
        await gate.close()
        await log.close()
        await store.close()
        raise
    channel: Channel = LocalChannel(node) if isinstance(log, EmbeddedLog) else LogChannel(node, log)
    return Backbone(
        node=node,
        settings=settings,
        log=log,
        store=store,
        channel=channel,
        bus=CommandBus(log, channel),
        vault=vault,
        limiter=limiter,
        gate=gate,
        jwt_keys=(jwt, *previous),
    )


async def _check_keys(vault: Vault) -> None:
    try:
        await vault.check()
    except MasterKeyError:
        raise SettingsError(
            "CHARGESPHERE_MASTER_KEY is not the key under which this read store's data keys were wrapped"
        ) from None
    except StoreUnavailableError as error:
        logger.warning("%s; it is tried again when it is needed", error)


COUNTED = (
    "decided",
    "repeats",
    "claims",
    "lag_seconds",
    "handled",
    "applied",
    "stale",
    "commanded",
    "held",
    "gaps",
    "told",
    "dropped",
    "recorded",
    "waiting",
    "behind",
)


def engine_numbers(engines: Mapping[str, object]) -> dict[tuple[str, str], float]:
    """The numbers that engines count, by (engine, name); `counts` may be a mapping or an object of numbers."""
    out: dict[tuple[str, str], float] = {}
    for name, engine in engines.items():
        counts = getattr(engine, "counts", None)
        if isinstance(counts, Mapping):
            for key, value in counts.items():
                out[(name, str(key))] = float(value)
        sink = getattr(getattr(engine, "follower", engine), "sink", None)
        for source in (engine, counts, sink):
            for key in COUNTED:
                value = getattr(source, key, None)
                if isinstance(value, int | float):
                    out.setdefault((name, key), float(value))
    return out
