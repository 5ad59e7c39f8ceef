"""One process: its roles on one backbone, its HTTP door, its charge points' door, until it is told to end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import math
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException as StarletteHTTPException

from api.dashboard import dashboard_router
from api.health import Check, failing, health_router
from api.ocpi import ocpi_router
from api.openapi import describe, docs_router
from api.problems import no_such_path
from api.v1 import v1_router
from application.authorization import TagAuthorizer
from application.directory import StoreDirectory, StoreTariffs
from application.frame_audit import FrameRecorder
from application.keys import LogKeys
from application.live.fanout import Fanout
from application.live.subscription import Bounds
from application.quota import LogQuota
from chargesphere import __version__, registry
from chargesphere.backbone import EFFECTS, PROJECTOR, Backbone, open_backbone
from chargesphere.errors import CannotBeginError
from chargesphere.http import HttpServer, allowed_connections
from chargesphere.metrics import Metrics
from chargesphere.settings import Settings, is_loopback, need_for_scale_out, read_settings
from chargesphere.tuning import settle
from chargesphere.wiring import RemoteCommandDoor, ocpi_ports, v1_services
from commands.base import Area, Meta
from commands.directory import ClaimParties
from domain.charge_point import charge_point_key
from domain.directory import PartyRole
from domain.values import PartyId
from gateway.mqtt.commands import Commands as MqttCommands
from gateway.mqtt.connection import BrokerConnection as MqttConnection
from gateway.mqtt.publisher import Publisher as MqttPublisher
from gateway.ocpi.client import OcpiClient
from gateway.ocpi.partners import PartnerBook
from gateway.ocpi.real_time import OcpiRealTime
from gateway.ocpi.sender import OcpiSender
from gateway.ocpi.url_policy import UrlPolicy
from gateway.ocpp.client_address import Proxies
from gateway.ocpp.options import Options as OcppOptions
from gateway.ocpp.server import OcppGateway
from gateway.ocpp.services import Services as OcppServices
from streams.deciding.channel import LogChannel
from streams.deciding.decider import Decider
from streams.effects.deliveries import Deliveries
from streams.effects.originals import Originals
from streams.effects.public import PublicTopics
from streams.effects.pushes import Pushes
from streams.faust.app import FaustProjector
from streams.following.group import Group
from streams.following.readings import Readings
from streams.log import TopicPartition
from streams.log.topology import REPLIES

logger = logging.getLogger(__name__)

READY_SOON = 30.0
"""Seconds after which a process that is not ready yet says what it waits for."""

ALL = ("gateway", "api", "decider", "projector", "effects")
FOLLOWING = frozenset({"projector", "effects"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and where to listen."""

    roles: frozenset[str]
    node: str
    host: str
    http_port: int
    ocpp_port: int
    data: Path


@dataclass(frozen=True, slots=True)
class Running:
    """Where it listens, and what must answer for it to be ready."""

    http_url: str
    ocpp_url: str
    backbone: Backbone
    checks: Mapping[str, Check]


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan of `serve` or of one scaled-out process."""
    alone = options.command == "serve"
    return Plan(
        roles=frozenset(ALL if alone else (options.command,)),
        node="serve" if alone else options.node,
        host=options.host,
        http_port=options.http_port,
        ocpp_port=getattr(options, "ocpp_port", 0),
        data=getattr(options, "data", Path("data")),
    )


async def run_process(options: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; exit status 0."""
    settings = read_settings()
    if options.command != "serve":
        need_for_scale_out(settings)
    plan = plan_of(options)
    settle(follows=plan.roles <= FOLLOWING)
    async with running(plan, settings) as process:
        announcing = asyncio.create_task(announce(plan, process))
        try:
            await _told_to_end()
        finally:
            announcing.cancel()
    return 0


async def announce(plan: Plan, process: Running, soon: float = READY_SOON) -> None:
    """Say where it listens once it is ready; on standard error, after `soon` seconds, what it still waits for."""
    loop = asyncio.get_running_loop()
    late = loop.time() + soon
    while missing := await failing(process.checks):
        if loop.time() > late:
            waiting = ", ".join(f"{name} ({reason})" for name, reason in missing.items())
            print(f"{plan.node} is not ready after {soon:g} s and waits for: {waiting}", file=sys.stderr)
            late = math.inf
        await asyncio.sleep(0.05)
    if "gateway" in plan.roles:
        print(f"charge points: {process.ocpp_url}/ocpp/{{tenant}}/{{charge point}}")
    print(f"{plan.node} is ready: {process.http_url}", flush=True)


async def _told_to_end() -> None:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    await end.wait()


@contextlib.asynccontextmanager
async def running(plan: Plan, settings: Settings) -> AsyncIterator[Running]:
    """The process with all of its roles. Raises CannotBeginError, LogError or SettingsError before anything
    listens."""
    with contextlib.ExitStack() as sockets:
        http = sockets.enter_context(_bound("--http-port", plan.host, plan.http_port))
        if "gateway" in plan.roles:
            _bound("--ocpp-port", plan.host, plan.ocpp_port).close()
        backbone = await open_backbone(settings, plan.node, plan.data)
        process = _Process(plan, settings, backbone, http)
        try:
            yield await process.start()
        finally:
            await process.stop()


class _Process:
    """The parts of one process in the order of their start."""

    def __init__(self, plan: Plan, settings: Settings, backbone: Backbone, http: socket.socket) -> None:
        self._plan = plan
        self._settings = settings
        self._backbone = backbone
        self._http = http
        port = http.getsockname()[1]
        host = "127.0.0.1" if plan.host == "0.0.0.0" else plan.host  # noqa: S104
        self.http_url = f"http://{host}:{port}"
        self._public_url = settings.public_url or self.http_url
        self._private = settings.allow_private_urls
        if self._private is None:
            self._private = is_loopback(plan.host)
        self._hub = PartyId(country_code=settings.hub_party[0], party_id=settings.hub_party[1])
        self._client = OcpiClient(UrlPolicy(self._private))
        self._partners = PartnerBook(backbone.store, backbone.vault)
        self._real_time = OcpiRealTime(self._partners, self._client, settings.hub_party)
        self._authorizer = TagAuthorizer(
            backbone.store,
            backbone.vault,
            backbone.bus,
            self._real_time,
            backbone.clock,
        )
        self._keys = LogKeys(
            backbone.log,
            backbone.store,
            backbone.store,
            registry.EVENTS,
            PROJECTOR,
            backbone.vault,
            backbone.clock,
        )
        self._live = Fanout(backbone.log, Bounds(streams=min(Bounds().streams, allowed_connections() // 2)))
        self._gateway: OcppGateway | None = None
        self._http_server: HttpServer | None = None
        self._faust = contextlib.AsyncExitStack()
        self._metrics = Metrics(backbone)

    async def start(self) -> Running:
        plan, backbone = self._plan, self._backbone
        if plan.roles - {"decider", "projector"}:
            backbone.start_channel(downlinks="gateway" in plan.roles)
        backbone.start_probe()
        if plan.roles - {"projector"}:
            backbone.start_lag(read_models="api" in plan.roles)
        if "api" in plan.roles:
            backbone.start("hub-party", self._claim_hub_party)
            backbone.start("keys", self._keys.run)
            backbone.start("key-uses", self._keys.note_uses)
        if "decider" in plan.roles:
            backbone.start_decider()
        if "projector" in plan.roles:
            await self._start_projector()
        if "effects" in plan.roles:
            self._start_effects()
        ocpp_url = await self._start_gateway() if "gateway" in plan.roles else ""
        checks = self._checks()
        await self._start_http(checks)
        return Running(self.http_url, ocpp_url, backbone, checks)

    async def _claim_hub_party(self) -> None:
        """Nobody else may speak for the hub's own party."""
        role = PartyRole(role="OTHER", country_code=self._hub.country_code, party_id=self._hub.party_id)
        meta = Meta(command_id=f"hub|{self._hub}", at=self._backbone.clock(), principal="hub")
        reply = await self._backbone.bus.ask(ClaimParties(owner="hub", roles=(role,)), meta)
        if reply.refusal is not None:
            logger.error("the hub's party %s belongs to somebody else: %s", self._hub, reply.message)

    async def stop(self) -> None:
        # Streams end by themselves only when they are told to.
        await self._live.close()
        if self._gateway is not None:
            await self._gateway.stop()
        if self._http_server is not None:
            await self._http_server.stop()
        await self._faust.aclose()
        self._metrics.close()
        try:
            await self._backbone.close()
        finally:
            # What effects had begun to send is answered before they hand over.
            await self._client.aclose()

    async def _start_projector(self) -> None:
        backbone, settings = self._backbone, self._settings
        backbone.start("indexes", backbone.keep_indexes)
        beside_faust = settings.kafka_bootstrap is not None
        backbone.start_projector(behind_faust=beside_faust)
        backbone.start_frames()
        if settings.kafka_bootstrap is not None:
            faust = FaustProjector(
                settings.kafka_bootstrap,
                backbone.log,
                backbone.store,
                registry.EVENTS,
                registry.FAUST_VIEWS,
                backbone.node,
                observe=backbone.observe("faust"),
            )
            backbone.engines["faust"] = faust
            await self._faust.enter_async_context(faust.running())

    def _start_effects(self) -> None:
        backbone = self._backbone
        sender = OcpiSender(backbone.vault, self._partners, self._client, backbone.clock)
        log, store, gate = backbone.log, backbone.store, backbone.gate
        pushes = Pushes(
            log, backbone.bus, registry.EVENTS, registry.PUSHED, store, sender, gate, backbone.clock
        )
        originals = Originals(log, registry.EVENTS, registry.DELIVERED, store)
        deliveries = Deliveries(
            log, backbone.bus, registry.EVENTS, originals.find, sender, gate, backbone.clock
        )
        public = PublicTopics(log, registry.EVENTS)
        backbone.engines |= {"pushes": pushes, "deliveries": deliveries, "public": public}
        sinks = [pushes.sink, deliveries.sink, public.sink]
        if self._settings.mqtt_url is not None:
            connection = MqttConnection(self._settings.mqtt_url, identifier=f"chargesphere-{backbone.node}")
            publisher = MqttPublisher(
                backbone.log,
                backbone.store,
                registry.EVENTS,
                connection,
                tell_history=self._settings.mqtt_history,
            )
            door = RemoteCommandDoor(backbone, self._authorizer)
            commands = MqttCommands(self._settings.mqtt_url, door, backbone.node, backbone.clock)
            backbone.engines["mqtt"], backbone.engines["mqtt-commands"] = publisher, commands
            backbone.start("mqtt", publisher.run)
            backbone.start("mqtt-commands", commands.run)
            sinks.append(publisher.sink)
        backbone.start(EFFECTS, Group(backbone.log, EFFECTS, backbone.node, sinks).run)

    async def _start_gateway(self) -> str:
        plan, backbone = self._plan, self._backbone
        frames = FrameRecorder(backbone.log, backbone.vault)
        backbone.engines["frame-recorder"] = frames
        backbone.start("frame-recorder", frames.run)
        directory = StoreDirectory(backbone.store, self._hub)
        self._gateway = OcppGateway(
            OcppServices(
                channel=backbone.channel,
                bus=backbone.bus,
                readings=Readings(backbone.log, registry.EVENTS),
                directory=directory,
                quota=LogQuota(backbone.bus, backbone.clock),
                authorizer=self._authorizer,
                tariffs=StoreTariffs(backbone.store, directory),
                vault=backbone.vault,
                frames=frames,
                clock=backbone.clock,
                busy=self._decider_is_behind,
                options=OcppOptions(proxies=Proxies(self._settings.trusted_proxies)),
            )
        )
        try:
            port = await self._gateway.start(plan.host, plan.ocpp_port)
        except OSError as error:
            raise _busy("--ocpp-port", plan.host, plan.ocpp_port, error) from None
        host = "127.0.0.1" if plan.host == "0.0.0.0" else plan.host  # noqa: S104
        return f"ws://{host}:{port}"

    def _decider_is_behind(self, tenant: str, charge_point_id: str) -> bool:
        partition = self._backbone.log.layout.partition_of(charge_point_key(tenant, charge_point_id))
        behind = self._backbone.lag.behind_seconds(Area.CHARGE_POINT, partition)
        return behind > self._settings.max_decider_lag

    async def _start_http(self, checks: Mapping[str, Check]) -> None:
        app = FastAPI(
            title="ChargeSphere", version=__version__, redirect_slashes=False, docs_url=None, redoc_url=None
        )
        for router in self._routers(checks):
            app.include_router(router)
        app.add_exception_handler(StarletteHTTPException, no_such_path)
        describe(app)
        proxies = [str(network) for network in self._settings.trusted_proxies]
        self._http_server = HttpServer(app, self._http, proxies=proxies)
        self._backbone.engines["http"] = self._http_server
        await self._http_server.start()

    def _checks(self) -> dict[str, Check]:
        """What must answer for this process to be ready: the log, and in time its own partitions."""
        backbone = self._backbone

        async def log() -> None:
            await backbone.log.ends([TopicPartition(REPLIES, 0)])
            backbone.log.writes.check()

        async def store() -> None:
            await backbone.store.ping()
            backbone.store.writes.check()

        async def decider() -> None:
            engine = backbone.engines.get("decider")
            if isinstance(engine, Decider) and not (engine.held and engine.ready):
                raise RuntimeError("partitions are still being taken and folded")

        async def replies() -> None:
            channel = backbone.channel
            if isinstance(channel, LogChannel) and not channel.ready.is_set():
                raise RuntimeError("replies are not read yet")

        async def keys() -> None:
            if not self._keys.has_begun:
                raise RuntimeError("whether keys and tokens were revoked is not known yet")

        checks: dict[str, Check] = {"log": log}
        if self._plan.roles - {"decider", "projector"}:
            checks["replies"] = replies
        if "decider" in self._plan.roles:
            checks["decider"] = decider
        publisher = backbone.engines.get("mqtt")
        if isinstance(publisher, MqttPublisher):
            checks["mqtt"] = publisher.ready
        if "api" in self._plan.roles or "projector" in self._plan.roles:
            checks["store"] = store
        if "api" in self._plan.roles:
            checks["keys"] = keys
        return checks

    def _routers(self, checks: Mapping[str, Check]) -> Iterator[APIRouter]:
        backbone = self._backbone
        yield health_router(checks)
        if "api" in self._plan.roles:
            yield ocpi_router(
                ocpi_ports(
                    backbone,
                    self._authorizer,
                    self._real_time,
                    self._client,
                    self._public_url,
                    self._hub,
                )
            )
            yield v1_router(
                v1_services(
                    backbone,
                    self._authorizer,
                    self._client,
                    self._live,
                    self._public_url,
                    self._hub,
                    self._keys,
                )
            )
            backbone.engines["live"] = self._live
            yield dashboard_router()
            yield docs_router()


def _bound(option: str, host: str, port: int) -> socket.socket:
    """A listening socket, so that a busy port is said before anything starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise _busy(option, host, port, error) from None
    return listening


def _busy(option: str, host: str, port: int, error: OSError) -> CannotBeginError:
    if error.errno == errno.EADDRINUSE:
        return CannotBeginError(
            f"port {port} on {host} is in use; choose another with {option} (0 = a free one)"
        )
    return CannotBeginError(f"cannot listen on {host}:{port}: {error.strerror or error}")
