"""The hub's OCPI doors over a bus that decides and projects at once, on a real read store and a real vault.

Commands and events make the trip through the log's JSON; a repeated command id gets the first reply.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from fastapi import FastAPI

from api.ocpi import Identity, Peers, Ports, ocpi_router
from application.authorization import Answer as SaidInRealTime
from application.authorization import NoAnswer
from application.limiter import LocalLimiter
from application.partner_authorization import PartnerAuthorizations
from application.partner_commands import PartnerCommands
from application.ports import Bus
from application.read_back import wait_visible
from application.remote_commands import RemoteCommandPorts
from application.roaming import Place
from application.token_store import HubTokens
from application.vault import DestroyedError, KeyStore, Vault
from commands import (
    directory,
    foreign_cdr,
    foreign_session,
    location,
    partner,
    remote_command,
    session,
    tariff,
    tenant,
    token,
)
from commands.base import Area, Command, Meta, Rejected, Route
from commands.directory import ClaimParties
from commands.partner import TOKEN_DIGEST, CreatePartner, vault_subject
from domain import directory as directory_events
from domain import foreign_cdr as foreign_cdr_events
from domain import foreign_session as foreign_session_events
from domain import location as location_events
from domain import partner as partner_events
from domain import remote_command as remote_command_events
from domain import session as session_events
from domain import tariff as tariff_events
from domain import tenant as tenant_events
from domain import token as token_events
from domain.aggregate import Aggregate, EventRegistry, kind_of
from domain.directory import PartyRole
from domain.partner import PartnerRole, Secret
from domain.values import Authorization, PartyId, TagRef
from gateway.ocpi.url_policy import UrlPolicy
from gateway.ocpp.versions import fits
from projections import foreign_cdr as foreign_cdr_view
from projections import foreign_session as foreign_session_view
from projections import location as location_view
from projections import partner as partner_view
from projections import remote_command as remote_command_view
from projections import tariff as tariff_view
from projections import tenant as tenant_view
from projections import token as token_view
from projections.base import View
from projections.store import JSON, Document, Put
from projections.store.sqlite import SqliteReadStore
from streams.deciding.bus import CommandBus
from streams.log import LogUnavailableError
from streams.log.envelope import CommandRegistry, Reply, raw
from streams.projecting.projector import writes_of

HUB_PARTY = PartyId(country_code="DE", party_id="HUB")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
VIEWS: tuple[View, ...] = (
    location_view.VIEW,
    partner_view.VIEW,
    remote_command_view.VIEW,
    tariff_view.VIEW,
    tenant_view.VIEW,
    token_view.VIEW,
    foreign_session_view.VIEW,
    foreign_cdr_view.VIEW,
)
EVENTS = EventRegistry(
    {
        foreign_session_events.ForeignSession: foreign_session_events.AGGREGATE_EVENTS,
        foreign_cdr_events.ForeignCdr: foreign_cdr_events.AGGREGATE_EVENTS,
        directory_events.Directory: directory_events.AGGREGATE_EVENTS,
        location_events.Location: location_events.AGGREGATE_EVENTS,
        partner_events.Partner: partner_events.AGGREGATE_EVENTS,
        remote_command_events.RemoteCommand: remote_command_events.AGGREGATE_EVENTS,
        session_events.Session: session_events.AGGREGATE_EVENTS,
        tariff_events.Tariff: tariff_events.AGGREGATE_EVENTS,
        tenant_events.Tenant: tenant_events.AGGREGATE_EVENTS,
        token_events.Token: token_events.AGGREGATE_EVENTS,
    }
)
ROUTES: dict[type[Command], Route] = {
    **directory.ROUTES,
    **location.ROUTES,
    **foreign_session.ROUTES,
    **foreign_cdr.ROUTES,
    **partner.ROUTES,
    **remote_command.ROUTES,
    **session.ROUTES,
    **tariff.ROUTES,
    **tenant.ROUTES,
    **token.ROUTES,
}


class InstantBus:
    """Decides, projects and answers before it returns; `away` makes the log unavailable."""

    def __init__(self, store: SqliteReadStore) -> None:
        self._store = store
        self._commands = CommandRegistry(ROUTES)
        self._aggregates: dict[str, Aggregate[Any]] = {}
        self._replies: dict[tuple[str, str], Reply] = {}
        self.asked: list[tuple[Command, Meta]] = []
        self.away = False
        self.meanwhile: Callable[[Command], Awaitable[None]] | None = None
        """What happens between the making of a command and its decision."""

    async def tell(self, command: Command, meta: Meta) -> None:
        await self.ask(command, meta)

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        if self.away:
            raise LogUnavailableError("the log is away")
        if self.meanwhile is not None:
            await self.meanwhile(command)
        again = self._commands.decode(raw(command))
        self.asked.append((again, meta))
        id = again.aggregate_id
        if (id, meta.command_id) in self._replies:
            return self._replies[id, meta.command_id]
        aggregate = self._aggregates.setdefault(id, EVENTS.aggregate(kind_of(id)).blank(id))
        outcome = ROUTES[type(again)].handler(aggregate, again, meta)
        for event in aggregate.collect_events():
            await self._project(EVENTS.decode(msgspec.json.encode(event)), meta)
        if isinstance(outcome, Rejected):
            reply = Reply(
                aggregate=id, version=aggregate.version, refusal=outcome.refusal, message=outcome.message
            )
        else:
            reply = Reply(aggregate=id, version=aggregate.version, result=raw(outcome.reply))
        self._replies[id, meta.command_id] = reply
        return reply

    async def _project(self, event: Any, meta: Meta) -> None:
        for view in VIEWS:
            if view.kind != kind_of(event.originator_id):
                continue
            target = view.target(event, meta)
            found = await self._store.get(target.db, view.collection, target.id)
            bare = {k: v for k, v in found.items() if k not in ("_id", "version")} if found else None
            document = view.evolve(bare, event, meta)
            await self._store.apply(writes_of(view, target, event.originator_version, document))


class Keys(KeyStore):
    """Data keys in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.gone: set[str] = set()

    async def get(self, subject: str) -> str | None:
        return self.kept.get(subject)

    async def create(self, subject: str, wrapped: str) -> str:
        if subject in self.gone:
            raise DestroyedError(f"the key of {subject} was destroyed")
        return self.kept.setdefault(subject, wrapped)

    async def destroy(self, subject: str) -> None:
        self.kept.pop(subject, None)
        self.gone.add(subject)


class NoPeers:
    """For tests in which nobody is called back."""

    async def discover(self, versions_url: str, token: str, wanted: Sequence[str]) -> Any:
        raise AssertionError("nobody should be called back")


class NoReader:
    """Nobody holds a card before a reader here."""

    async def resolve(
        self, tenant: str, charge_point_id: str, id_tag: str, for_start: bool
    ) -> tuple[TagRef, Authorization]:
        raise AssertionError("who asks by a command has authorized its token")


class Owners:
    """The owners of tokens, as far as they can be reached: they are asked, and say `answer`."""

    def __init__(self) -> None:
        self.answer: SaidInRealTime | NoAnswer = NoAnswer.UNREACHABLE
        self.asked: list[tuple[str, str, str, Place]] = []

    async def authorize(self, owner: PartyId, uid: str, type: str, place: Place) -> SaidInRealTime | NoAnswer:
        self.asked.append((str(owner), uid, type, place))
        return self.answer


async def named(address: str, port: int) -> Sequence[str]:
    """Names of hosts that lie in our own network begin with `inside`."""
    return ["10.0.0.7" if address.startswith("inside") else "8.8.8.8"]


class Readable:
    """Everything can be read up to `until`; it notes what was waited for."""

    def __init__(self) -> None:
        self.until: datetime | None = datetime(9999, 1, 1, tzinfo=UTC)
        self.waited: list[tuple[Area, datetime]] = []
        self.replaced: list[bool] = []

    async def reach(self, area: Area, moment: datetime, patience: float) -> datetime:
        self.waited.append((area, moment))
        if self.until is None:
            raise LogUnavailableError("it is not known")
        return self.until

    def holds(self) -> bool:
        """What was true of read models that were replaced while they were read is not."""
        return not (self.replaced.pop() if self.replaced else False)


class Hub:
    """The doors with everything behind them. `client` talks to them without a network."""

    def __init__(
        self, folder: Path, peers: Peers | None = None, bus: CommandBus | None = None, **settings: Any
    ) -> None:
        self.store = SqliteReadStore(folder)
        self.vault = Vault(b"m" * 32, settings.pop("keys", None) or Keys())
        self.bus = InstantBus(self.store)
        used = bus or self.bus
        self.now = NOON
        self.readable = Readable()
        self.owners = Owners()
        self.made = 0
        readable = settings.pop("readable", self.readable)
        given = {"public_url": "http://hub.test", **settings}
        self.ports = Ports(
            bus=used,
            store=self.store,
            vault=self.vault,
            tokens=HubTokens(used, self.store, self.vault),
            commands=PartnerCommands(
                RemoteCommandPorts(self.store, used, self.vault, NoReader(), lambda: self.now, fits),
                self.refer,
                UrlPolicy(resolve=named).verdict,
            ),
            authorizations=PartnerAuthorizations(
                self.store, self.vault, used, self.owners, LocalLimiter(self.seconds), self.seconds
            ),
            peers=peers or NoPeers(),
            limiter=LocalLimiter(),
            readable=readable,
            clock=lambda: self.now,
            new_token=self.new_token,
            hub=HUB_PARTY,
            **given,
        )
        self.app = FastAPI()
        self.app.include_router(ocpi_router(self.ports))
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app, raise_app_exceptions=True), base_url="http://hub.test"
        )

    def new_token(self) -> str:
        self.made += 1
        return f"made-here-{self.made}"

    def seconds(self) -> float:
        return self.now.timestamp()

    async def refer(self, tenant: str, id_tag: str) -> TagRef:
        return TagRef(key=self.vault.token_key("RFID", id_tag))

    def publish(self, public_url: str) -> None:
        """Hand out URLs under this base from now on."""
        object.__setattr__(self.ports, "public_url", public_url)

    def use(self, bus: Bus) -> None:
        """Send writes through this bus from now on."""
        object.__setattr__(self.ports, "bus", bus)
        object.__setattr__(self.ports, "tokens", HubTokens(bus, self.store, self.vault))

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def close(self) -> None:
        await self.client.aclose()
        await self.store.close()

    async def secret(self, partner_id: str, text: str) -> Secret:
        sealed = await self.vault.seal(vault_subject(partner_id), text)
        return Secret(digest=self.vault.digest(TOKEN_DIGEST, text), sealed=sealed)

    async def plan(
        self,
        partner_id: str = "tnm",
        a: str = "token-a",
        parties: Sequence[str] = ("NL*TNM",),
        role: str = "EMSP",
        **more: Any,
    ) -> None:
        """A partner that may register with this token A; all its parties play the same role."""
        roles = tuple(
            PartnerRole(role=role, country_code=p[:2], party_id=p[3:], business_details={"name": partner_id})
            for p in parties
        )
        claims = tuple(PartyRole(role=role, country_code=p[:2], party_id=p[3:]) for p in parties)
        await self.do(ClaimParties(owner=partner_id, roles=claims, first=True))
        await self.do(
            CreatePartner(
                partner_id=partner_id,
                name=partner_id,
                roles=roles,
                token_a=await self.secret(partner_id, a),
                **more,
            )
        )

    async def connect(self, partner_id: str = "tnm", c: str = "token-c", **more: Any) -> None:
        """A partner that has registered; version 2.3.0 unless said otherwise."""
        version = more.pop("version", "2.3.0")
        receives: Sequence[str] = more.pop("receives", ())
        await self.plan(partner_id, f"{c}-a", **more)
        await wait_visible(self.store, "chargesphere", "partners", partner_id, 1, patience=10)
        document = await self.partner(partner_id)
        await self.do(
            partner.Register(
                partner_id=partner_id,
                token_a_digest=self.vault.digest(TOKEN_DIGEST, f"{c}-a"),
                connection=partner_events.PartnerConnection(
                    version=version,
                    versions_url="https://tnm.example/versions",
                    endpoints=(
                        partner_events.Endpoint(
                            identifier="credentials", role="SENDER", url="https://tnm.example/credentials"
                        ),
                        *(
                            partner_events.Endpoint(
                                identifier=module, role="RECEIVER", url=f"https://tnm.example/{module}"
                            )
                            for module in receives
                        ),
                    ),
                    roles=msgspec.convert(document["roles"], tuple[PartnerRole, ...]),
                    token_b=await self.vault.seal(vault_subject(partner_id), "token-b"),
                    token_c=await self.secret(partner_id, c),
                ),
            )
        )

    async def do(self, command: Command) -> Reply:
        """Decide a command that must be accepted."""
        self.made += 1
        reply = await self.ports.bus.ask(command, Meta(command_id=f"test-{self.made}", at=self.now))
        assert reply.refusal is None, reply.message
        return reply

    async def partner(self, partner_id: str = "tnm") -> Document:
        document = await self.store.get("chargesphere", "partners", partner_id)
        assert document is not None
        return document

    async def change_partner(self, partner_id: str = "tnm", **changes: JSON) -> None:
        """Its document, as a later version of it would be."""
        document = await self.partner(partner_id)
        body = {name: value for name, value in document.items() if name not in ("_id", "version")}
        version = document["version"]
        assert isinstance(version, int)
        await self.store.apply(
            [Put("chargesphere", "partners", partner_id, version + 1, {**body, **changes})]
        )

    async def holder(self, partner_id: str = "tnm") -> str:
        """Whom the objects of its parties belong to."""
        return str((await self.partner(partner_id))["holder"])

    async def visible(self, db: str, collection: str, id: str, version: int) -> object:
        return await wait_visible(self.store, db, collection, id, version)

    @property
    def identity(self) -> Identity:
        return Identity(self.store, self.ports.public_url, HUB_PARTY, self.ports.hub_name)


def token_header(token: str) -> dict[str, str]:
    """Authorization as 2.2.1 and 2.3.0 have it."""
    return {"Authorization": "Token " + base64.b64encode(token.encode()).decode()}


def checked(response: httpx.Response, http: int = 200, status_code: int = 1000) -> Any:
    """The data of an answer, which must be an envelope with these codes and the ids of a message."""
    body = response.json()
    assert (response.status_code, body.get("status_code")) == (http, status_code), response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["X-Request-ID"] and response.headers["X-Correlation-ID"]
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    return body.get("data")


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """The application on a free port of loopback; yields its base URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="warning", lifespan="off", ws="none", timeout_keep_alive=1
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
