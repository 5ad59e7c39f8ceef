"""The API over a real store and hand-written neighbours, or over a real decider on the embedded log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
from fastapi import FastAPI

from api.auth import issue_token
from api.services import Services
from api.v1 import v1_router
from application.keys import LogKeys
from application.limiter import RateLimiter, Verdict
from application.live.fanout import Fanout
from application.principal import BadTokenError, Principal
from application.tenant_documents import TenantDocuments
from application.vault import DestroyedError, KeyStore, Vault
from chargesphere.registry import BLOCKS, EVENTS, FEEDS, HUB_INDEXES, RULES, VIEWS
from commands.base import Area, Command, Meta, Refusal
from commands.processes import POLICIES as ALL_POLICIES
from commands.processes import Policies, charging_session
from commands.processes import fleet as fleet_process
from commands.processes import job as job_process
from commands.processes import location as location_process
from domain.tenant import Configuration, TenantConfigured
from domain.values import Authorization, PartyId, TagRef
from gateway.ocpp.versions import fits
from projections import audit as audit_view
from projections.store import HUB, Document, Insert, tenant_database
from projections.store.generations import Generation
from projections.store.sqlite import SqliteReadStore
from projections.tenant import configuration_document
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.deciding.decider import Decider
from streams.deciding.feed import Feed
from streams.deciding.processes import Processes
from streams.following.follower import Follower
from streams.log.envelope import Reply
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import topics
from streams.projecting.projector import Projector
from tests.api.answers import see
from tests.application.live.public_log import PublicLog, fanout_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEY, PREVIOUS_KEY = b"k" * 32, b"p" * 32

POLICIES: Policies = {
    **{event: [("charging_session", policy)] for event, policy in charging_session.POLICIES.items()},
    **{event: [("fleet", policy)] for event, policy in fleet_process.POLICIES.items()},
    **{event: [("job", policy)] for event, policy in job_process.POLICIES.items()},
    **{
        event: [
            ("fleet", fleet_process.POLICIES[event]),
            ("location", policy),
        ]
        for event, policy in location_process.POLICIES.items()
    },
    TenantConfigured: ALL_POLICIES[TenantConfigured],
}


class Keys(KeyStore):
    """Data keys in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.destroyed: set[str] = set()

    async def get(self, subject: str) -> str | None:
        return self.kept.get(subject)

    async def create(self, subject: str, wrapped: str) -> str:
        if subject in self.destroyed:
            raise DestroyedError(subject)
        return self.kept.setdefault(subject, wrapped)

    async def destroy(self, subject: str) -> None:
        self.kept.pop(subject, None)
        self.destroyed.add(subject)


class FakeBus:
    """Answers what it is told to answer, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Command, Meta]] = []
        self.replies: list[Reply | Exception] = []

    async def tell(self, command: Command, meta: Meta) -> None:
        self.asked.append((command, meta))

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        self.asked.append((command, meta))
        reply = self.replies.pop(0) if self.replies else Reply()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def refuses(self, refusal: Refusal, message: str) -> None:
        self.replies.append(Reply(refusal=refusal, message=message))


class Allowance(RateLimiter):
    """Lets everything through until it is told how long to wait, or which keys are `empty`."""

    def __init__(self) -> None:
        self.wait = 0.0
        self.empty: set[str] = set()
        self.taken: list[tuple[str, float, float]] = []

    async def take(self, key: str, capacity: float, rate: float, amount: float = 1.0) -> Verdict:
        self.taken.append((key, capacity, rate))
        return Verdict(self.wait == 0 and key not in self.empty, self.wait)

    async def close(self) -> None: ...


class Known:
    """Credentials that are good: the keys that it was given, and every token."""

    def __init__(self) -> None:
        self.keys: dict[str, Principal] = {}

    async def of_key(self, text: str, address: str) -> Principal:
        if text not in self.keys:
            raise BadTokenError("the key is not valid here")
        return self.keys[text]

    async def check_token(self, principal: Principal) -> None: ...

    async def hear(self, aggregate_id: str, version: int, patience: float) -> None: ...


class One:
    """Read models of one generation."""

    known = Generation()

    async def newest(self) -> Generation:
        return self.known


class Tags:
    """Knows every tag, and accepts it."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def resolve(
        self, tenant: str, charge_point_id: str, id_tag: str, for_start: bool
    ) -> tuple[TagRef, Authorization]:
        key = self._vault.token_key("RFID", id_tag)
        tag = TagRef(key=key, sealed=await self._vault.seal(key, id_tag))
        return tag, Authorization(status="Accepted", source="tag", as_of=NOW)


@dataclass(frozen=True)
class Handshake:
    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class Step:
    name: str
    url: str
    verdict: str
    http_status: int = 200
    ocpi_status: int = 1000
    milliseconds: int = 12
    message: str = ""


class Prober:
    """Finds what it is told to find of each partner."""

    def __init__(self) -> None:
        self.steps: list[Step] | None = None

    async def run(self, partner_id: str) -> list[Step] | None:
        return self.steps


class Registrar:
    """Notes whom it was asked to register; fails with the text that it is given."""

    def __init__(self) -> None:
        self.registered: list[str] = []
        self.rotated: list[str] = []
        self.unregistered: list[str] = []
        self.failure = ""

    async def rotate(self, partner_id: str) -> Handshake:
        self.rotated.append(partner_id)
        return Handshake(not self.failure, self.failure)

    async def unregister(self, partner_id: str) -> Handshake:
        self.unregistered.append(partner_id)
        return Handshake(not self.failure, self.failure)

    async def register(self, partner_id: str) -> Handshake:
        self.registered.append(partner_id)
        return Handshake(not self.failure, self.failure)


class World:
    """The API with its neighbours. `bus` is the fake one unless the world has a decider, in whose `log` keys are.
    Without `live` no stream has room."""

    def __init__(
        self,
        store: SqliteReadStore,
        bus: CommandBus | None = None,
        log: SqliteLog | None = None,
        live: Fanout | None = None,
    ) -> None:
        self.store = store
        self.bus = FakeBus()
        self.vault = Vault(b"m" * 32, Keys())
        self.limiter = Allowance()
        self.registrar = Registrar()
        self.prober = Prober()
        self.now = NOW
        self.known = Known()
        self.keys = (
            LogKeys(log, store, One(), EVENTS, "projector", self.vault, lambda: self.now) if log else None
        )
        self.services = Services(
            credentials=self.keys or self.known,
            store=store,
            tenants=TenantDocuments(store),
            bus=bus or self.bus,
            vault=self.vault,
            limiter=self.limiter,
            authorizer=Tags(self.vault),
            registrar=self.registrar,
            partner_test=self.prober,
            live=live or fanout_of(PublicLog(), streams=0),
            fits=fits,
            clock=lambda: self.now,
            jwt_keys=(KEY, PREVIOUS_KEY),
            hub=PartyId(country_code="DE", party_id="HUB"),
            public_url="https://hub.example",
            visible_within=2.0 if bus is not None else 0.02,
        )
        self.app = FastAPI(title="ChargeSphere", version="0")
        self.app.include_router(v1_router(self.services))
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app),
            base_url="http://test/api/v1",
            event_hooks={"response": [see]},
        )

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        role: str = "tenant_admin",
        tenant: str | None = "demo",
        headers: dict[str, str] | None = None,
        key: str = "",
        subject: str = "ann",
    ) -> httpx.Response:
        """With a token for the role, or with an API key."""
        who = None if role == "platform_admin" else tenant
        bearer = key or issue_token(KEY, role, who, self.now, subject=subject)
        sent = {"authorization": f"Bearer {bearer}", **(headers or {})}
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            sent["content-type"] = "application/json"
        return await self.http.request(method, path, content=content, headers=sent)

    async def keep(self, db: str, collection: str, id: str, document: Document) -> None:
        await self.store.apply([Insert(db, collection, id, document)])

    async def add_tenant(self, id: str = "demo", **configuration: object) -> None:
        settings = msgspec.convert(configuration, Configuration)
        await self.keep(
            HUB,
            "tenants",
            id,
            {
                "name": id.title(),
                "database_name": tenant_database(id),
                "configuration": configuration_document(settings),
                "party": str(settings.ocpi.id) if settings.ocpi else None,
                "created_at": "2026-01-01T00:00:00Z",
                "status": "active",
            },
        )

    async def add_charge_point(self, id: str = "CP1", tenant_id: str = "demo", **fields: object) -> None:
        document: Document = {
            "tenant_id": tenant_id,
            "automatic": False,
            "connected": True,
            "connectors": [],
            "changing": [],
            "wanted": [],
            "configuration_state": None,
            "availability": [],
            "availability_state": None,
            "location_id": "L1",
            "created_at": "2026-01-02T00:00:00Z",
        }
        document |= msgspec.to_builtins(fields)
        await self.keep(tenant_database(tenant_id), "charge_points", id, document)


def problem(response: httpx.Response) -> Document:
    """The body of an error, which must be a problem detail (RFC 9457)."""
    assert response.headers["content-type"] == "application/problem+json"
    body: Document = response.json()
    assert body["status"] == response.status_code
    assert {"type", "title", "detail"} <= body.keys()
    return body


@contextlib.asynccontextmanager
async def deciding(folder: Path) -> AsyncIterator[World]:
    """A world whose commands are really decided and projected."""
    log = SqliteLog(folder / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    store = SqliteReadStore(folder / "read")
    await store.ensure(spec for make in HUB_INDEXES for spec in make())
    channel = LocalChannel("one")
    areas = list(Area)
    world = World(store, CommandBus(log, channel), log, Fanout(log))
    assert world.keys is not None
    feed = Feed()
    decider = Decider(log, RULES, channel, "one", lambda: world.now, areas=areas, feed=feed)
    projector = Projector(store, EVENTS, VIEWS, FEEDS, BLOCKS, stories=audit_view.audit_writes)
    follower = Follower(log, "projector", areas, "one", projector.handle, keeper=projector.kept)
    processes = Processes(
        log,
        POLICIES,
        {},
        EVENTS,
        RULES.commands,
        "one",
        lambda: world.now,
        feed.join,
        areas=areas,
    )
    engines = (decider.run, follower.run, processes.run, world.keys.run)
    tasks = [asyncio.create_task(run()) for run in engines]
    try:
        async with asyncio.timeout(60):
            # On a loaded machine it takes a while.
            while not (decider.held and decider.ready and world.keys.is_current):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield world
    finally:
        await world.services.live.close()
        await world.http.aclose()
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await log.close()
        await store.close()


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)
